//! Which messages a stream holds, in numbers: sequences, counts and bytes (T-43, T-44).

use headwater_storage::SequenceSet;

use super::super::api::stream_config::StorageType;

/// No sequence is above this, so that one past the last is always a sequence too.
pub const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// The counters of a stream and the gaps in its sequences.
#[derive(Clone, Default)]
pub struct Content {
    /// The oldest message; one past `last` when there is none.
    pub first: u64,
    /// The highest sequence ever given.
    pub last: u64,
    /// The time of the message `last`; 0 before the first one.
    pub last_time: i64,
    pub messages: u64,
    pub bytes: u64,
    /// Messages went of which could not be told what they counted for: `bytes` may be too high.
    pub bytes_uncertain: bool,
    /// Sequences between `first` and `last` that hold no message.
    pub deleted: SequenceSet,
    /// Over every stored message the hash of its sequence, added up.
    pub hash: u64,
}

impl Content {
    /// An empty stream whose first message gets `first_sequence`; 0 counts as 1.
    pub fn new(first_sequence: u64) -> Self {
        let first = first_sequence.clamp(1, SEQUENCE_MAX);
        Self { first, last: first - 1, ..Self::default() }
    }

    pub fn is_stored(&self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence) && !self.deleted.contains(sequence)
    }

    /// The lowest stored sequence at or above `from`.
    pub fn next_stored(&self, from: u64) -> Option<u64> {
        let from = from.max(self.first);
        if from > self.last {
            return None;
        }
        self.deleted.next_absent(from).filter(|sequence| *sequence <= self.last)
    }

    /// The highest stored sequence at or below `from`.
    pub fn previous_stored(&self, from: u64) -> Option<u64> {
        let from = from.min(self.last);
        if from < self.first {
            return None;
        }
        // How far down everything is gone: doubled until too far, then halved. A long gap is rare, but must not be
        // walked through step by step.
        let all_gone = |length: u64| self.deleted.count_in(from - (length - 1)..=from) == length;
        let longest = from - self.first + 1;
        let (mut gone, mut step) = (0, 1);
        while step > 0 {
            let longer = (gone + step).min(longest);
            if longer > gone && all_gone(longer) {
                gone = longer;
                step *= 2;
            } else {
                step /= 2;
            }
        }
        (gone < longest).then(|| from - gone)
    }

    /// The last of the stored sequences that follow `first`, itself stored, without a gap.
    pub fn run_end(&self, first: u64) -> u64 {
        self.deleted.next_present(first).map_or(self.last, |gap| gap - 1)
    }

    /// How many messages are stored at or above `from`.
    pub fn count_from(&self, from: u64) -> u64 {
        let from = from.max(self.first);
        if from > self.last || self.messages == 0 {
            return 0;
        }
        self.last - from + 1 - self.deleted.count_in(from..=self.last)
    }

    /// Takes in the message that follows `last`.
    pub fn store(&mut self, sequence: u64, time: i64, bytes: u64) {
        assert!(sequence == self.last + 1, "invariant: sequences are given without gaps");
        self.last = sequence;
        self.last_time = time;
        self.messages += 1;
        self.bytes += bytes;
        self.hash = self.hash.wrapping_add(mix(sequence));
    }

    /// Uses up the sequence that follows `last` without storing anything.
    pub fn skip(&mut self, sequence: u64, time: i64) {
        assert!(sequence == self.last + 1, "invariant: sequences are given without gaps");
        self.last = sequence;
        self.last_time = time;
        if self.messages == 0 {
            self.first = sequence + 1;
        } else {
            self.deleted.insert(sequence);
        }
    }

    /// Takes out a stored message.
    pub fn remove(&mut self, sequence: u64, bytes: u64) {
        // Counting a message out twice would count another one out with it.
        assert!(self.is_stored(sequence), "invariant: only what is stored is removed");
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.hash = self.hash.wrapping_sub(mix(sequence));
        if self.messages == 0 {
            self.clear_to(self.last + 1);
        } else if sequence == self.first {
            let next = self.deleted.next_absent(sequence + 1);
            self.first = next.expect("invariant: one of the remaining messages follows the first");
            self.deleted.remove_below(self.first);
        } else {
            self.deleted.insert(sequence);
        }
    }

    /// Takes out everything; the next message gets `next` or, when that was given already, the one after `last`.
    pub fn clear_to(&mut self, next: u64) {
        self.first = next.min(SEQUENCE_MAX).max(self.last + 1);
        self.last = self.first - 1;
        self.messages = 0;
        self.bytes = 0;
        self.bytes_uncertain = false;
        self.deleted = SequenceSet::new();
        self.hash = 0;
    }
}

/// What a message counts for in `bytes`, as in the genuine server: limits and quotas depend on it.
pub fn message_bytes(storage: StorageType, subject: usize, headers: usize, payload: usize) -> u64 {
    let overhead = match storage {
        StorageType::Memory => 16,
        StorageType::File if headers == 0 => 30,
        StorageType::File => 34,
    };
    (overhead + subject + headers + payload) as u64
}

/// Spreads a number over 64 bits (the finalizer of SplitMix64). Part of the state hash: never to be changed.
pub(super) fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(messages: u64) -> Content {
        let mut content = Content::new(1);
        (1..=messages).for_each(|sequence| content.store(sequence, sequence as i64, 10));
        content
    }

    #[test]
    fn bytes_follow_the_formulas_of_the_genuine_server() {
        // Observed: 5 bytes of subject, 1 of payload.
        assert_eq!(message_bytes(StorageType::File, 5, 0, 1), 36);
        assert_eq!(message_bytes(StorageType::Memory, 5, 0, 1), 22);
        assert_eq!(message_bytes(StorageType::File, 5, 20, 1), 60);
        assert_eq!(message_bytes(StorageType::Memory, 5, 20, 1), 42);
    }

    #[test]
    fn the_first_moves_over_gaps_and_past_the_end() {
        let mut content = with(5);
        content.remove(3, 10);
        content.remove(2, 10);
        assert_eq!((content.first, content.deleted.len()), (1, 2));
        content.remove(1, 10);
        assert_eq!((content.first, content.deleted.len()), (4, 0));
        content.remove(5, 10);
        assert_eq!((content.first, content.last, content.messages), (4, 5, 1));
        assert_eq!(content.next_stored(5), None);
        assert_eq!(content.previous_stored(9), Some(4));
        content.remove(4, 10);
        assert_eq!((content.first, content.last, content.bytes, content.hash), (6, 5, 0, 0));
        content.clear_to(20);
        assert_eq!((content.first, content.last), (20, 19));
        content.clear_to(3);
        assert_eq!((content.first, content.last), (20, 19));
    }

    #[test]
    fn long_gaps_are_jumped_over_downwards() {
        let mut content = with(1000);
        (2..=900).for_each(|sequence| content.remove(sequence, 10));
        content.remove(950, 10);
        for (from, expected) in [(900, 1), (500, 1), (2, 1), (1, 1), (901, 901), (950, 949), (951, 951), (2000, 1000)] {
            assert_eq!(content.previous_stored(from), Some(expected), "{from}");
        }
        assert_eq!(content.previous_stored(0), None);
    }

    #[test]
    fn skipped_sequences_are_gaps() {
        let mut content = Content::new(10);
        content.skip(10, 1);
        assert_eq!((content.first, content.last), (11, 10));
        content.store(11, 2, 10);
        content.skip(12, 3);
        content.store(13, 4, 10);
        assert_eq!((content.first, content.messages, content.deleted.len()), (11, 2, 1));
        assert_eq!(content.count_from(12), 1);
        assert_eq!(content.count_from(0), 2);
        assert_eq!(content.count_from(14), 0);
    }
}
