//! When the space of removed messages may be used again.
//!
//! A removal is applied with the help of the message that goes: its subject and its size. After a crash the log is
//! applied again from the last checkpoint, removals included. Were the space of a removed message used again before a
//! checkpoint has the removal, the second time would find nothing to read, and counts would differ from those of the
//! first. So removed messages wait here for the checkpoint. Memory streams, which start empty, need not wait.

use headwater_storage::SequenceSet;

use super::effects::Effects;

/// Removed messages on their way to being released.
#[derive(Default)]
pub struct Releases {
    /// Removed since the last checkpoint was begun.
    open: Releasable,
    /// Covered by a checkpoint that is being written.
    covered: Releasable,
}

/// What may be given back to storage.
#[derive(Clone, Default)]
pub struct Releasable {
    /// Everything below; 0 for nothing.
    pub before: u64,
    /// Single messages at or above `before`.
    pub sequences: SequenceSet,
    /// Those of them, or below `before`, whose bytes must be overwritten.
    pub erase: Vec<u64>,
}

impl Releases {
    /// Takes in what an entry removed.
    pub fn note(&mut self, effects: &Effects) {
        self.open.before = self.open.before.max(effects.removed_before.unwrap_or(0));
        for removed in &effects.removed {
            self.open.sequences.insert(removed.sequence);
        }
        self.open.erase.extend_from_slice(&effects.erase);
    }

    /// Takes in everything that is not stored, as after a start.
    pub fn note_all(&mut self, first: u64, deleted: &SequenceSet) {
        self.open.before = self.open.before.max(first);
        for run in deleted.runs() {
            self.open.sequences.insert_range(run);
        }
    }

    /// A checkpoint was taken that has everything noted so far.
    pub fn checkpoint_begun(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.covered.join(open);
    }

    /// Every checkpoint begun so far is durable: what it covers may be released.
    pub fn checkpoint_durable(&mut self) -> Releasable {
        let mut released = std::mem::take(&mut self.covered);
        released.sequences.remove_below(released.before);
        released
    }

    /// True when bytes wait to be overwritten: a reason to take a checkpoint soon.
    pub fn has_erasures(&self) -> bool {
        !self.open.erase.is_empty() || !self.covered.erase.is_empty()
    }
}

impl Releasable {
    pub fn is_empty(&self) -> bool {
        self.before == 0 && self.sequences.is_empty() && self.erase.is_empty()
    }

    fn join(&mut self, later: Releasable) {
        self.before = self.before.max(later.before);
        for run in later.sequences.runs() {
            self.sequences.insert_range(run);
        }
        self.erase.extend(later.erase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(sequences: &[u64], before: Option<u64>) -> Effects {
        let mut effects = Effects::default();
        effects.removed_before = before;
        sequences.iter().for_each(|sequence| effects.remove(*sequence, b"s"));
        effects
    }

    #[test]
    fn nothing_is_released_before_its_checkpoint_is_durable() {
        let mut releases = Releases::default();
        releases.note(&removed(&[3, 4, 9], None));
        assert!(releases.checkpoint_durable().is_empty());
        releases.checkpoint_begun();
        let mut erased = removed(&[12], Some(5));
        erased.erase.push(12);
        releases.note(&erased);
        assert!(releases.has_erasures());
        let released = releases.checkpoint_durable();
        assert_eq!((released.before, released.sequences.iter().collect()), (0, vec![3, 4, 9]));
        releases.checkpoint_begun();
        releases.note(&removed(&[13], None));
        releases.checkpoint_begun();
        let released = releases.checkpoint_durable();
        assert_eq!((released.before, released.sequences.iter().collect()), (5, vec![12, 13]));
        assert_eq!(released.erase, [12]);
        assert!(!releases.has_erasures() && releases.checkpoint_durable().is_empty());
    }
}
