//! What the journal tells the layer above.

use bytes::Bytes;

use super::queue::visit_records;
use crate::error::JournalError;
use crate::format::batch::BATCH_HEADER_BYTES;
use crate::format::record::{GroupId, RecordRef, parse, record_position};
use crate::location::Location;

/// The receiver of completions. Called on the completion thread, or on the writer thread when nothing else waits;
/// batches come in order. It may append, but must not wait for the journal.
pub trait DurableSink: Send + Sync {
    /// Everything in the batch, and all before it, is durable.
    fn durable(&self, batch: &DurableBatch);
    /// A write or sync failed: nothing more will become durable. `groups` have records that are lost.
    fn failed(&self, error: &JournalError, groups: &[GroupId]);
    /// The group holds back old segments, or has written much since its last checkpoint.
    fn checkpoint_wanted(&self, group: GroupId);
    /// The disk is full, or there is space again.
    fn space(&self, full: bool);
}

/// One batch that is durable.
pub struct DurableBatch {
    pub(crate) bytes: Bytes,
    pub(crate) length: usize,
    pub(crate) segment: u32,
    pub(crate) base: u32,
    pub(crate) groups: Vec<(GroupId, u64)>,
}

impl DurableBatch {
    /// Every group with a record in the batch, once, in order of append, with the index of its last durable entry.
    pub fn groups(&self) -> &[(GroupId, u64)] {
        &self.groups
    }

    /// The records in order of append, the journal's own left out.
    pub fn records(&self) -> Records<'_> {
        Records { bytes: &self.bytes[..self.length], segment: self.segment, base: self.base, at: first_record() }
    }

    /// Visits the records in order of append, the journal's own left out.
    pub fn for_each_record(&self, mut visit: impl FnMut(Location, RecordRef<'_>)) {
        visit_records(&self.bytes[..self.length], self.segment, self.base, &mut |location, bytes| {
            if let Ok(record) = parse(bytes)
                && record.header.group != GroupId::JOURNAL
            {
                visit(location, record);
            }
        });
    }
}

/// Iterates over the records of a batch; a clone looks ahead.
#[derive(Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    segment: u32,
    base: u32,
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = (Location, RecordRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
            let record = parse(rest).ok()?;
            let location = Location { segment: self.segment, offset: self.base + self.at as u32 };
            self.at = record_position(self.at + record.bytes().len());
            if record.header.group != GroupId::JOURNAL {
                return Some((location, record));
            }
        }
    }
}

fn first_record() -> usize {
    record_position(BATCH_HEADER_BYTES)
}

/// A sink that ignores everything.
pub struct IgnoringSink;

impl DurableSink for IgnoringSink {
    fn durable(&self, _: &DurableBatch) {}
    fn failed(&self, _: &JournalError, _: &[GroupId]) {}
    fn checkpoint_wanted(&self, _: GroupId) {}
    fn space(&self, _: bool) {}
}
