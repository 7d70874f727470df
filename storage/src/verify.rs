//! Looks at a store without a server and changes nothing: `headwater store verify` and `inspect`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::OpenError;
use crate::format::record::GroupId;
use crate::io::Io;
use crate::journal::look;
use crate::options::JournalOptions;
use crate::report::{Damage, Progress, RecoveryReport};

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct StoreReport {
    /// Random, the same in all segments.
    pub journal: u64,
    /// By number.
    pub segments: Vec<SegmentSummary>,
    /// By id.
    pub groups: Vec<GroupSummary>,
    /// Files that an earlier start could make nothing of and put aside.
    pub quarantined: Vec<String>,
    /// What a start would find.
    pub recovery: RecoveryReport,
    /// Every damage, those that only a check of every record finds included.
    pub damages: Vec<Damage>,
}

/// One segment.
#[derive(Clone, Debug, Default)]
pub struct SegmentSummary {
    /// Its number.
    pub number: u32,
    /// Bytes of the file.
    pub file_bytes: u32,
    /// Where its data ends.
    pub data_end: u32,
    /// Records.
    pub record_count: u32,
    /// It has a valid footer.
    pub sealed: bool,
    /// It holds survivors of others.
    pub compacted: bool,
}

/// One group.
#[derive(Clone, Debug, Default)]
pub struct GroupSummary {
    /// The group.
    pub group: GroupId,
    /// Segments with entries or messages of it.
    pub segments: usize,
    /// Raft entries in the log.
    pub entries: u64,
    /// Stored messages, released ones included.
    pub messages: u64,
    /// Bytes of its records.
    pub record_bytes: u64,
    /// First and last index of the unbroken log.
    pub indexes: (u64, u64),
    /// Lowest and highest sequence.
    pub sequences: (u64, u64),
    /// Index of the latest complete checkpoint.
    pub checkpoint: Option<u64>,
    /// A state record is there.
    pub has_state: bool,
    /// What the group says that it is, in the words of the layer above.
    pub definition: Option<Bytes>,
    /// What that means, for who reads the report; for the layer above to fill in.
    pub label: String,
}

/// Reads a store. With `every_record` all records are checked, not only what a start looks at.
pub fn verify(
    io: Arc<dyn Io>,
    directory: &Path,
    every_record: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<StoreReport, OpenError> {
    // Nothing depends on it, so nothing is waited for.
    let options = JournalOptions { manual: true, ..JournalOptions::default() };
    look(io, directory, options, every_record, progress)
}

impl StoreReport {
    /// Groups with messages that do not say what they are.
    pub fn nameless(&self) -> impl Iterator<Item = &GroupSummary> {
        self.groups.iter().filter(|group| group.messages > 0 && group.definition.is_none())
    }

    /// True when nothing is damaged, nothing is in quarantine, and every group with messages says what it is.
    pub fn is_well(&self) -> bool {
        self.damages.is_empty() && self.quarantined.is_empty() && self.nameless().next().is_none()
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "journal {:016x}: {} segments, {} groups",
            self.journal,
            self.segments.len(),
            self.groups.len()
        )?;
        for segment in &self.segments {
            let state = if segment.sealed { "sealed" } else { "open" };
            let compacted = if segment.compacted { ", compacted" } else { "" };
            writeln!(
                formatter,
                "  segment {:>6}: {:>10} bytes of data, {:>8} records, {state}{compacted}",
                segment.number, segment.data_end, segment.record_count
            )?;
        }
        for group in &self.groups {
            write!(
                formatter,
                "  group {:>8}: log {}..={} ({} entries), {} messages {}..={}, {} bytes in {} segments",
                group.group.0,
                group.indexes.0,
                group.indexes.1,
                group.entries,
                group.messages,
                group.sequences.0,
                group.sequences.1,
                group.record_bytes,
                group.segments
            )?;
            match group.checkpoint {
                Some(index) => writeln!(formatter, ", checkpoint at {index}")?,
                None => writeln!(formatter, ", no checkpoint")?,
            }
            if !group.label.is_empty() {
                writeln!(formatter, "  {:>14}  {}", "", group.label)?;
            }
        }
        if !self.quarantined.is_empty() {
            writeln!(formatter, "in quarantine since an earlier start: {}", self.quarantined.join(", "))?;
        }
        for group in self.nameless() {
            writeln!(formatter, "group {} has messages and does not say what it is", group.group.0)?;
        }
        if self.damages.is_empty() {
            let other = if self.is_well() { "" } else { "other " };
            return writeln!(formatter, "no {other}damage found");
        }
        writeln!(formatter, "{} damages:", self.damages.len())?;
        self.damages.iter().try_for_each(|damage| writeln!(formatter, "  {damage}"))
    }
}
