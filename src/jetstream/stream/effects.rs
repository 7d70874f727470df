//! What applying an entry changed, for those who must act on it: storage gives space back, consumers adjust what is
//! pending, requests are answered. Reused from entry to entry, so that it allocates nothing in the long run.

use std::ops::Range;

/// Room for so many removed messages is kept from entry to entry: of a purge it may have been for millions.
const REMOVED_KEPT: usize = 16 * 1024;
/// Room for so many bytes of their subjects.
const SUBJECTS_KEPT: usize = 1024 * 1024;

/// The consequences of one entry.
#[derive(Debug, Default)]
pub struct Effects {
    pub outcome: Outcome,
    /// Messages that left the stream one by one, in the order in which they did.
    pub removed: Vec<Removed>,
    /// Every message below this sequence left the stream, too many to be told one by one.
    pub removed_before: Option<u64>,
    /// Messages whose bytes are to be overwritten; they are among the removed.
    pub erase: Vec<u64>,
    /// Messages that should be replaced by delete markers (T-31): the leader publishes one for each.
    pub markers: Vec<u64>,
    /// Messages that could not be read when they had to be.
    pub damaged: Vec<u64>,
    /// The subjects of the removed, one after another.
    subjects: Vec<u8>,
}

/// The answer to whoever proposed the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    #[default]
    Done,
    /// The message is in the stream.
    Stored {
        sequence: u64,
        time: i64,
    },
    /// Nobody is interested: the message got its sequence but is not kept (T-41).
    Skipped {
        sequence: u64,
        time: i64,
    },
    Purged(u64),
    /// Whether there was such a message.
    Deleted(bool),
    /// The stream has a new configuration.
    Updated,
}

/// A message that left the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub sequence: u64,
    subject: Range<usize>,
}

impl Effects {
    pub fn clear(&mut self) {
        self.outcome = Outcome::Done;
        self.removed.clear();
        self.removed_before = None;
        self.erase.clear();
        self.markers.clear();
        self.damaged.clear();
        self.subjects.clear();
        if self.removed.capacity() > REMOVED_KEPT {
            self.removed = Vec::new();
        }
        if self.subjects.capacity() > SUBJECTS_KEPT {
            self.subjects = Vec::new();
        }
    }

    /// The subject of a removed message; empty when it could not be read.
    pub fn subject(&self, removed: &Removed) -> &[u8] {
        &self.subjects[removed.subject.clone()]
    }

    pub(super) fn remove(&mut self, sequence: u64, subject: &[u8]) {
        let start = self.subjects.len();
        self.subjects.extend_from_slice(subject);
        self.removed.push(Removed { sequence, subject: start..self.subjects.len() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_large_purge_needed_is_given_back() {
        let mut effects = Effects::default();
        let subject = [b's'; 64];
        (1..=3 * REMOVED_KEPT as u64).for_each(|sequence| effects.remove(sequence, &subject));
        effects.clear();
        assert_eq!((effects.removed.capacity(), effects.subjects.capacity()), (0, 0));
        (1..=100).for_each(|sequence| effects.remove(sequence, &subject));
        effects.clear();
        assert!(effects.removed.capacity() >= 100 && effects.subjects.capacity() >= 6400);
    }
}
