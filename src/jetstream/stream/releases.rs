//! When the space of removed messages may be used again.
//!
//! A removal is applied with the help of the message that goes: its subject and its size. After a crash the log is
//! applied again from the last checkpoint, removals included. Were the space of a removed message used again before a
//! checkpoint has the removal, the second time would find nothing to read, and counts would differ from those of the
//! first. So removed messages wait here for the checkpoint. Memory streams, which start empty, need not wait.
//!
//! What is to be overwritten is overwritten before its space is given back, and is part of every checkpoint until that has
//! been done: a crash in between must not leave the bytes.

use headwater_storage::SequenceSet;

use super::effects::Effects;

/// Removed messages on their way to being released.
#[derive(Default)]
pub struct Releases {
    /// Removed since the last checkpoint was begun.
    open: Releasable,
    /// Covered by a checkpoint that is being written.
    covered: Releasable,
    /// Covered by a durable checkpoint, and to be overwritten before it is given back.
    erasing: Releasable,
}

/// What may be given back to storage.
#[derive(Clone, Default)]
pub struct Releasable {
    /// Everything below; 0 for nothing.
    pub before: u64,
    /// Single messages at or above `before`.
    pub sequences: SequenceSet,
    /// Those of them, or below `before`, whose bytes must be overwritten.
    erase: SequenceSet,
}

impl Releases {
    /// Takes in what an entry removed.
    pub fn note(&mut self, effects: &Effects) {
        self.open.before = self.open.before.max(effects.removed_before.unwrap_or(0));
        for removed in &effects.removed {
            self.open.sequences.insert(removed.sequence);
        }
        for sequence in &effects.erase {
            self.open.erase.insert(*sequence);
        }
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

    /// Every checkpoint begun so far is durable: what may be released of that at once. The rest is to be
    /// [erased](Self::to_erase).
    pub fn checkpoint_durable(&mut self) -> Releasable {
        let mut covered = std::mem::take(&mut self.covered);
        covered.sequences.remove_below(covered.before);
        if covered.erase.is_empty() && self.erasing.is_empty() {
            return covered;
        }
        self.erasing.join(covered);
        Releasable::default()
    }

    /// Takes in what a checkpoint had as still to be overwritten.
    pub fn erase_again(&mut self, sequences: &SequenceSet) {
        join(&mut self.erasing.erase, sequences);
    }

    /// What may be overwritten now.
    pub fn to_erase(&self) -> &SequenceSet {
        &self.erasing.erase
    }

    /// These were overwritten: what may be released now that they are.
    pub fn erased(&mut self, done: &SequenceSet) -> Releasable {
        let left = self.erasing.erase.iter().filter(|sequence| !done.contains(*sequence)).collect();
        self.erasing.erase = left;
        if self.erasing.erase.is_empty() { std::mem::take(&mut self.erasing) } else { Releasable::default() }
    }

    /// Everything that was to be overwritten and is not known to have been.
    pub fn erasures(&self) -> SequenceSet {
        let mut all = self.open.erase.clone();
        join(&mut all, &self.covered.erase);
        join(&mut all, &self.erasing.erase);
        all
    }

    /// True when the next checkpoint would let something be released.
    pub fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// True when bytes wait for a checkpoint to be overwritten: a reason to take one soon.
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
        join(&mut self.sequences, &later.sequences);
        join(&mut self.erase, &later.erase);
    }
}

fn join(into: &mut SequenceSet, other: &SequenceSet) {
    for run in other.runs() {
        into.insert_range(run);
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
        releases.note(&removed(&[12], Some(5)));
        assert!(releases.is_waiting());
        let released = releases.checkpoint_durable();
        assert_eq!((released.before, released.sequences.iter().collect()), (0, vec![3, 4, 9]));
        releases.checkpoint_begun();
        releases.note(&removed(&[13], None));
        releases.checkpoint_begun();
        let released = releases.checkpoint_durable();
        assert_eq!((released.before, released.sequences.iter().collect()), (5, vec![12, 13]));
        assert!(!releases.is_waiting() && releases.checkpoint_durable().is_empty());
    }

    #[test]
    fn what_is_to_be_erased_is_released_when_it_is_and_remembered_until_then() {
        let set = |sequences: &[u64]| sequences.iter().copied().collect::<SequenceSet>();
        let listed = |set: &SequenceSet| set.iter().collect::<Vec<_>>();
        let mut releases = Releases::default();
        let mut effects = removed(&[3, 4], None);
        effects.erase.extend([3, 4]);
        releases.note(&effects);
        assert!(releases.has_erasures() && releases.to_erase().is_empty(), "no checkpoint has the removal");
        releases.checkpoint_begun();
        releases.note(&removed(&[7], None));
        releases.checkpoint_begun();
        assert!(releases.checkpoint_durable().is_empty());
        assert_eq!((listed(releases.to_erase()), listed(&releases.erasures())), (vec![3, 4], vec![3, 4]));
        assert!(!releases.has_erasures());
        // One could not be opened just then.
        assert!(releases.erased(&set(&[3])).is_empty());
        assert_eq!(listed(&releases.erasures()), [4]);
        releases.note(&removed(&[9], None));
        releases.checkpoint_begun();
        assert!(releases.checkpoint_durable().is_empty());
        let released = releases.erased(&set(&[4]));
        assert_eq!(listed(&released.sequences), [3, 4, 7, 9]);
        assert!(releases.erasures().is_empty());
        releases.erase_again(&set(&[11]));
        assert_eq!(listed(releases.to_erase()), [11]);
    }
}
