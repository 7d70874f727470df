//! What the journal tells the layer above.

use bytes::Bytes;

use super::records::Records;
use crate::directory::Run;
use crate::error::JournalError;
use crate::format::record::{GroupId, RecordRef};
use crate::location::Location;

/// The receiver of completions. Called on the completion thread, or on the writer thread when nothing else waits;
/// batches come in order. It may append, but must not wait for the journal.
pub trait DurableSink: Send + Sync {
    /// Everything in the batch, and all before it, is durable.
    fn durable(&self, batch: &DurableBatch);
    /// A write or sync failed: nothing more will become durable. `groups` have records that are lost. Told on the completion
    /// thread; where there is none, as after the close or with the `manual` option, by whoever finds it out.
    fn failed(&self, error: &JournalError, groups: &[GroupId]);
    /// The group holds back old segments, or has written much since its last checkpoint. It is asked again, after a pause,
    /// until a checkpoint of it is appended: whoever can not write one just now need not remember that.
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
    pub(crate) runs: Vec<Run>,
}

impl DurableBatch {
    /// Every group with a record in the batch, once, in order of append, with the index of its last durable entry.
    pub fn groups(&self) -> &[(GroupId, u64)] {
        &self.groups
    }

    /// The runs of [`records`](Self::records), in the same order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The records in order of append, the journal's own left out.
    pub fn records(&self) -> impl Iterator<Item = (Location, RecordRef<'_>)> {
        Records::new(&self.bytes[..self.length], self.segment, self.base)
            .filter(|(_, record)| record.header.group != GroupId::JOURNAL)
    }
}

/// A sink that ignores everything.
pub struct IgnoringSink;

impl DurableSink for IgnoringSink {
    fn durable(&self, _: &DurableBatch) {}
    fn failed(&self, _: &JournalError, _: &[GroupId]) {}
    fn checkpoint_wanted(&self, _: GroupId) {}
    fn space(&self, _: bool) {}
}
