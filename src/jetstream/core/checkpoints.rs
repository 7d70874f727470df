//! Checkpoints of the stream: what is made for the journal to write, and what may go once it is durable.

use bytes::Bytes;
use headwater_storage::RecordRef;

use super::Core;
use crate::jetstream::checkpoint;
use crate::jetstream::workers::Job;

impl Core {
    /// After a start nothing is known to be covered by a durable checkpoint but what the next one will have.
    pub fn release_with_next_checkpoint(&mut self) {
        if !self.is_memory() {
            self.releases.note_all(self.machine.first_sequence(), self.machine.deleted());
        }
    }

    /// A part of a checkpoint is durable; with the last one, what the checkpoint covers may go.
    pub(super) fn checkpoint_durable(&mut self, record: &RecordRef<'_>) {
        if !is_last_part(record.payload()) {
            return;
        }
        self.log.compact(record.header.index);
        self.checkpoints_begun = self.checkpoints_begun.saturating_sub(1);
        if self.checkpoints_begun > 0 {
            return;
        }
        let released = self.releases.checkpoint_durable();
        for sequence in &released.erase {
            self.store.erase(*sequence);
        }
        if released.before > 0 {
            self.store.release_before(released.before);
        }
        for sequence in released.sequences.iter() {
            self.store.release(sequence);
        }
        if self.releases.has_erasures() {
            self.shared.queue(Job::checkpoint(self.log.id()));
        }
    }

    /// The checkpoint just made could not be written; the next one covers what it would have.
    pub fn checkpoint_refused(&mut self) {
        self.checkpoints_begun = self.checkpoints_begun.saturating_sub(1);
    }

    /// A checkpoint of everything that the log up to `applied` made: index, term, body.
    /// It must be written at once, since what was removed up to here is released when it is durable.
    pub fn checkpoint(&mut self) -> Option<(u64, u64, Bytes)> {
        if !self.held.is_empty() {
            // What is held is in no checkpoint; it must be read from the log again.
            return None;
        }
        let index = self.log.applied();
        let term = self.log.group().entry_term(index).filter(|_| index > self.log.group().compacted())?;
        let body = checkpoint::encode(&self.machine, &self.consumers, self.log.time());
        self.releases.checkpoint_begun();
        self.checkpoints_begun += 1;
        Some((index, term, self.log.wrap_checkpoint(body)))
    }
}

/// A checkpoint comes in parts: `part u32 | parts u32 | bytes`.
fn is_last_part(payload: &[u8]) -> bool {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let part = payload.get(..4).and_then(number);
    let parts = payload.get(4..8).and_then(number);
    part.zip(parts).is_some_and(|(part, parts)| part.saturating_add(1) >= parts)
}
