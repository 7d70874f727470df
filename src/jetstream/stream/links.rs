//! For each message the next one of its subject: finds what becomes the oldest of a subject when the oldest goes.
//!
//! Kept only by streams that hold more than one and a limited number of messages per subject (a KV bucket with history);
//! 4 bytes per sequence, and no more than two links for each message that is stored. A link outlives its message, so that
//! chains can be followed across removed ones. Of older messages, and of all of them after a start, the store knows the next
//! one by its tables.

use std::collections::VecDeque;

/// No next message, or not known.
const NONE: u32 = 0;
/// Further away than a link can tell.
const FAR: u32 = u32::MAX;
/// So many links are kept however few messages there are.
const LINKS_MIN: u64 = 64 * 1024;

#[derive(Default)]
pub struct SubjectLinks {
    enabled: bool,
    /// The distance from the message `start + position` to the next of its subject.
    distances: VecDeque<u32>,
    start: u64,
}

impl SubjectLinks {
    /// Knows nothing of messages below `next_sequence`.
    pub fn new(per_subject_max: Option<u64>, next_sequence: u64) -> Self {
        let enabled = per_subject_max.is_some_and(|max| max > 1);
        Self { enabled, distances: VecDeque::new(), start: next_sequence }
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Notes the message `sequence`, before which `previous` was the last of its subject. Sequences may be left out. Two
    /// links are kept for each of the `messages` that are stored.
    pub fn append(&mut self, sequence: u64, previous: Option<u64>, messages: u64) {
        if !self.enabled {
            return;
        }
        self.forget_below((sequence + 1).saturating_sub(LINKS_MIN.max(messages.saturating_mul(2))));
        while self.start + (self.distances.len() as u64) <= sequence {
            self.distances.push_back(NONE);
        }
        let position = previous.and_then(|previous| previous.checked_sub(self.start));
        if let Some(slot) = position.and_then(|position| self.distances.get_mut(position as usize)) {
            let distance = sequence - (self.start + position.unwrap_or(0));
            *slot = u32::try_from(distance).unwrap_or(FAR);
        }
    }

    /// The message after `sequence` in its subject, as far as is known.
    pub fn next(&self, sequence: u64) -> Option<u64> {
        let position = usize::try_from(sequence.checked_sub(self.start)?).ok()?;
        match *self.distances.get(position)? {
            NONE | FAR => None,
            distance => Some(sequence + u64::from(distance)),
        }
    }

    /// Nobody will ask for messages below `first` any more.
    pub fn forget_below(&mut self, first: u64) {
        let gone = first.saturating_sub(self.start).min(self.distances.len() as u64);
        self.distances.drain(..gone as usize);
        self.start = self.start.max(first);
        if self.distances.capacity() > 1024 && self.distances.len() < self.distances.capacity() / 4 {
            self.distances.shrink_to(self.distances.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_followed_and_forgotten() {
        let mut links = SubjectLinks::new(Some(5), 10);
        links.append(10, None, 1);
        links.append(11, None, 2);
        links.append(14, Some(10), 3);
        links.append(15, Some(3), 4);
        links.append(16, Some(14), 5);
        assert_eq!((links.next(10), links.next(14), links.next(16)), (Some(14), Some(16), None));
        assert_eq!((links.next(3), links.next(11), links.next(99)), (None, None, None));
        links.forget_below(14);
        assert_eq!((links.next(10), links.next(14)), (None, Some(16)));
        links.forget_below(100);
        links.append(100, Some(16), 1);
        assert_eq!(links.next(100), None);
    }

    #[test]
    fn few_messages_far_apart_keep_few_links() {
        let mut links = SubjectLinks::new(Some(5), 1);
        links.append(1, None, 1);
        let last = 3 * LINKS_MIN;
        (2..=last).for_each(|sequence| links.append(sequence, (sequence > 2).then(|| sequence - 1), 2));
        assert_eq!(links.distances.len() as u64, LINKS_MIN);
        assert_eq!((links.next(2), links.next(last - 1)), (None, Some(last)));
        links.append(last + 1, Some(last), 4 * LINKS_MIN);
        assert_eq!(links.distances.len() as u64, LINKS_MIN + 1);
    }

    #[test]
    fn streams_that_need_no_links_keep_none() {
        for max in [None, Some(1)] {
            let mut links = SubjectLinks::new(max, 1);
            links.append(1, None, 1);
            assert!(links.distances.is_empty() && !links.is_enabled());
        }
    }
}
