//! What was found damaged, and what a start found.

use std::fmt;

use crate::format::record::{GroupId, RecordHeader};
use crate::scan::BadBytes;

/// One place that is bad.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The segment.
    pub segment: u32,
    /// Where in its file.
    pub offset: u32,
    /// What is bad there.
    pub kind: DamageKind,
    /// The group hit, when known.
    pub group: Option<GroupId>,
    /// The Raft index hit, when known.
    pub index: Option<u64>,
    /// The stream sequence hit, when known.
    pub sequence: Option<u64>,
}

/// What kind of bytes are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// One of the two headers of a segment; the other one serves.
    Header,
    /// The segment cannot be identified; its file was moved to `quarantine/`.
    Segment,
    /// The seal slot; the segment was scanned.
    SealSlot,
    /// The footer; the segment was scanned.
    Footer,
    /// A batch header; the records of the batch were found without it.
    Batch,
    /// A record that was durable once.
    Record,
    /// The file ends too early.
    Truncated,
    /// The file is gone.
    Missing,
    /// The file has the name of another segment; it is served as what its header says.
    Misnamed,
    /// The disk refused to read.
    Unreadable,
    /// A checkpoint is incomplete or unreadable; an older one serves, or none.
    Checkpoint,
    /// Log entries between the checkpoint and the last index are gone: `index` is the first of them.
    Gap,
}

impl Damage {
    pub(crate) fn at(segment: u32, offset: u32, kind: DamageKind) -> Self {
        Self { segment, offset, kind, group: None, index: None, sequence: None }
    }

    /// What a scan found.
    pub(crate) fn of(segment: u32, offset: u32, what: &BadBytes) -> Self {
        match what {
            BadBytes::Batch => Self::at(segment, offset, DamageKind::Batch),
            BadBytes::Truncated => Self::at(segment, offset, DamageKind::Truncated),
            BadBytes::Record(header) => Self::record(segment, offset, header.as_ref()),
        }
    }

    pub(crate) fn record(segment: u32, offset: u32, header: Option<&RecordHeader>) -> Self {
        let mut damage = Self::at(segment, offset, DamageKind::Record);
        if let Some(header) = header {
            damage.group = Some(header.group);
            damage.index = header.kind.is_log_entry().then_some(header.index);
            damage.sequence = header.kind.is_message().then_some(header.sequence);
        }
        damage
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "segment {} offset {}: {:?}", self.segment, self.offset, self.kind)?;
        for (name, value) in
            [("group", self.group.map(|group| group.0)), ("index", self.index), ("sequence", self.sequence)]
        {
            if let Some(value) = value {
                write!(formatter, " {name} {value}")?;
            }
        }
        Ok(())
    }
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Segments with data.
    pub segments: usize,
    /// Of these, read record by record, because they have no valid footer.
    pub segments_scanned: usize,
    /// Records scanned.
    pub records_scanned: u64,
    /// The last run ended with a close.
    pub clean: bool,
    /// Bytes of a batch that never became durable were cut off.
    pub torn_tail: bool,
    /// Everything that is bad.
    pub damages: Vec<Damage>,
}

/// How far a long piece of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: &'static str,
    /// Steps done.
    pub done: u64,
    /// Steps in all.
    pub total: u64,
}
