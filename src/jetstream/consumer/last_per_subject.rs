//! The list of sequences that a consumer with `deliver_policy: last_per_subject` delivers first (U-03).
//!
//! It is taken when the consumer is created and does not change: a message that leaves the stream is skipped, a
//! newer one of the same subject comes in its turn, after the list.

/// The last message of each matching subject, and where the stream ended then.
#[derive(Clone, Debug)]
pub struct LastPerSubject {
    /// Ascending.
    sequences: Box<[u64]>,
    /// The last sequence of the stream at creation: ordinary delivery goes on after it.
    resume: u64,
    /// Where the last look-up ended; a mere hint.
    cursor: usize,
}

impl LastPerSubject {
    /// `sequences` need not be in order.
    pub fn new(mut sequences: Vec<u64>, resume: u64) -> Self {
        sequences.sort_unstable();
        sequences.dedup();
        Self { sequences: sequences.into(), resume, cursor: 0 }
    }

    pub fn sequences(&self) -> &[u64] {
        &self.sequences
    }

    pub fn resume(&self) -> u64 {
        self.resume
    }

    /// The first listed sequence at or after `from`.
    pub fn first_from(&mut self, from: u64) -> Option<u64> {
        if self.cursor > 0 && self.sequences[self.cursor - 1] >= from {
            self.cursor = 0;
        }
        // Usually the answer is where the last one was, or next to it.
        if self.sequences.get(self.cursor).is_some_and(|sequence| *sequence < from) {
            self.cursor += 1;
            if self.sequences.get(self.cursor).is_some_and(|sequence| *sequence < from) {
                self.cursor = self.sequences.partition_point(|sequence| *sequence < from);
            }
        }
        self.sequences.get(self.cursor).copied()
    }

    /// The listed sequences at or after `from`.
    pub fn remaining(&self, from: u64) -> &[u64] {
        &self.sequences[self.sequences.partition_point(|sequence| *sequence < from)..]
    }

    /// True for a message that this list, or the stream after it, still delivers.
    pub fn wants(&self, sequence: u64) -> bool {
        sequence > self.resume || self.sequences.binary_search(&sequence).is_ok()
    }

    pub fn rewind(&mut self) {
        self.cursor = 0;
    }
}

impl PartialEq for LastPerSubject {
    fn eq(&self, other: &Self) -> bool {
        self.resume == other.resume && self.sequences == other.sequences
    }
}

impl Eq for LastPerSubject {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_find_the_first_at_or_after() {
        let mut list = LastPerSubject::new(vec![9, 3, 5, 20], 22);
        for (from, expected) in [(1, Some(3)), (3, Some(3)), (4, Some(5)), (10, Some(20)), (4, Some(5)), (21, None)] {
            assert_eq!(list.first_from(from), expected, "from {from}");
        }
        assert_eq!(list.remaining(6), &[9, 20]);
        assert!(list.wants(9) && list.wants(23) && !list.wants(21));
    }
}
