//! Checkpoints of the stream: what is made for the journal to write, and what may go once it is durable.

use bytes::Bytes;
use headwater_storage::{Health, SequenceSet};

use super::Core;
use crate::jetstream::checkpoint;
use crate::jetstream::stream::Releasable;
use crate::jetstream::workers::Job;

/// So much less than it held is worth a checkpoint, though the stream may not be written to again. As much as the journal
/// lets a group write between two.
const RELEASE_BYTES: u64 = 64 * 1024 * 1024;

impl Core {
    /// After a start nothing is known to be covered by a durable checkpoint but what the next one will have.
    pub fn release_with_next_checkpoint(&mut self, erasures: &SequenceSet) {
        if !self.is_memory() {
            self.releases.erase_again(erasures);
            self.releases.note_all(self.machine.first_sequence(), self.machine.deleted());
        }
    }

    /// A checkpoint of everything up to `index` is durable: what it covers may go.
    pub(super) fn checkpoint_durable(&mut self, index: u64) {
        self.log.compact(index);
        if index < self.checkpoint_index {
            // It does not have all that was removed before the last one was begun.
            return;
        }
        let released = self.releases.checkpoint_durable();
        self.release(&released);
        self.go_on_erasing();
    }

    /// Has bytes overwritten that a durable checkpoint lets go, and asks for a checkpoint that lets others go. Not here: who
    /// writes to a file may find that the journal has failed, and everybody who is told of that locks the stream.
    pub fn go_on_erasing(&self) {
        if !self.releases.to_erase().is_empty() {
            self.shared.queue(Job::erase(self.log.id()));
        }
        if self.releases.has_erasures() {
            self.shared.queue(Job::checkpoint(self.log.id()));
        }
    }

    /// Messages whose bytes are to be overwritten now.
    pub fn to_erase(&self) -> SequenceSet {
        self.releases.to_erase().clone()
    }

    /// Their bytes are gone: their space may go, too.
    pub fn erased(&mut self, done: &SequenceSet) {
        let released = self.releases.erased(done);
        self.release(&released);
    }

    fn release(&mut self, released: &Releasable) {
        if released.before > 0 {
            self.store.release_before(released.before);
        }
        for sequence in released.sequences.iter() {
            self.store.release(sequence);
        }
    }

    /// Wants a checkpoint when so much has left the stream that its space should be given back, or anything while the disk is
    /// full. What leaves a stream that is written to need not wait for that: the journal asks by itself then.
    pub(super) fn give_space_back(&mut self) {
        let bytes = self.machine.bytes();
        self.bytes_held = self.bytes_held.max(bytes);
        let much = self.bytes_held - bytes >= RELEASE_BYTES;
        if much || self.releases.is_waiting() && matches!(self.shared.journal.health(), Health::Full) {
            self.bytes_held = bytes;
            self.shared.journal.want_checkpoint(self.log.id());
        }
    }

    /// A checkpoint of everything that the log up to `applied` made: index, term, body. It may be asked for again though
    /// nothing happened since: the journal keeps two, for one may be damaged.
    /// What was removed up to here is released when it is durable. If it never is, the next one has that, too.
    pub fn checkpoint(&mut self) -> Option<(u64, u64, Bytes)> {
        if self.closed || self.failed {
            // What was not applied as it should be must not become what the next start begins with.
            return None;
        }
        if !self.held.is_empty() {
            // What is held is in no checkpoint; it must be read from the log again.
            return None;
        }
        let (index, term) = self.log.checkpoint_at()?;
        let erasures = self.releases.erasures();
        let (machine, consumers) = (&self.machine, &self.consumers);
        let body = checkpoint::encode(machine, consumers, self.log.time(), &erasures, self.definition());
        self.releases.checkpoint_begun();
        self.checkpoint_index = index;
        Some((index, term, self.log.wrap_checkpoint(body)))
    }
}

#[cfg(test)]
mod tests {
    use headwater_storage::SimIo;

    use crate::jetstream::proofs::node_rig::Rig;

    /// Two were begun, and the second one never written. The first one does not have what was removed between them: what a
    /// start applies again would not have been there to be read.
    #[test]
    fn a_checkpoint_releases_nothing_that_a_later_one_was_begun_with() {
        let mut rig = Rig::start(&SimIo::new());
        rig.create_stream("");
        (0..3).for_each(|_| assert!(rig.store("s.a", b"one") > 0));
        let mut begin = |sequence: u64| {
            rig.grant("STREAM.MSG.DELETE.S", &format!(r#"{{"seq":{sequence},"no_erase":true}}"#));
            rig.stream().lock().checkpoint().map(|(index, ..)| index).unwrap()
        };
        let (first, second) = (begin(1), begin(2));
        assert!(first < second);
        let stream = rig.stream();
        let mut core = stream.lock();
        core.checkpoint_durable(first);
        let kept = core.releases.checkpoint_durable();
        assert_eq!(kept.sequences.iter().collect::<Vec<_>>(), [1, 2]);
    }
}
