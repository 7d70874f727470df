//! The order in which pending messages are delivered again: as they were nak'd or expired, oldest first.
//!
//! An entry counts only while its message is marked as queued in the map of pending messages; acks and delays clear
//! the mark and leave the entry behind, to be skipped.

use std::collections::VecDeque;

use super::pending::PendingMap;

/// Entries without a mark are dropped when the queue is this much longer than the pending messages.
const STALE_MAX: usize = 64;

/// The queue; first in, first out.
#[derive(Clone, Debug, Default)]
pub struct RedeliveryQueue {
    sequences: VecDeque<u64>,
}

impl RedeliveryQueue {
    /// Appends a pending message unless it waits already; false when it is not pending.
    pub fn push(&mut self, sequence: u64, pending: &mut PendingMap) -> bool {
        match pending.set_queued(sequence, true) {
            None => return false,
            Some(true) => {}
            Some(false) => self.sequences.push_back(sequence),
        }
        self.drop_stale(pending);
        true
    }

    /// Appends, in order, all pending messages that do not wait and of which `wanted` says so.
    pub fn push_where(&mut self, pending: &mut PendingMap, mut wanted: impl FnMut(u64, super::Pending) -> bool) {
        pending.queue_where(|sequence, entry| {
            let queue = wanted(sequence, entry);
            if queue {
                self.sequences.push_back(sequence);
            }
            queue
        });
        self.drop_stale(pending);
    }

    /// The message to deliver next.
    pub fn front(&mut self, pending: &PendingMap) -> Option<u64> {
        while let Some(sequence) = self.sequences.front().copied() {
            if pending.is_queued(sequence) {
                return Some(sequence);
            }
            self.sequences.pop_front();
        }
        None
    }

    /// Takes a message out, wherever it is.
    pub fn remove(&mut self, sequence: u64, pending: &mut PendingMap) {
        pending.set_queued(sequence, false);
        if self.sequences.front() == Some(&sequence) {
            self.sequences.pop_front();
        }
    }

    /// How many messages wait.
    pub fn len(&mut self, pending: &mut PendingMap) -> usize {
        self.tidy(pending);
        self.sequences.len()
    }

    /// True when surely nothing waits; false may be wrong.
    pub fn is_surely_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub fn clear(&mut self) {
        self.sequences = VecDeque::new();
    }

    fn drop_stale(&mut self, pending: &mut PendingMap) {
        if self.sequences.len() > pending.len() + STALE_MAX {
            self.tidy(pending);
        }
    }

    /// Leaves one entry for each marked message, the oldest.
    fn tidy(&mut self, pending: &mut PendingMap) {
        self.sequences.retain(|sequence| pending.set_queued(*sequence, false) == Some(true));
        for sequence in &self.sequences {
            pending.set_queued(*sequence, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pending;
    use super::*;

    fn pending_of(count: u64) -> PendingMap {
        let mut pending = PendingMap::default();
        for sequence in 1..=count {
            pending.insert(sequence, Pending { consumer_sequence: sequence, time: 0, deliveries: 1 });
        }
        pending
    }

    #[test]
    fn first_in_first_out_and_each_once() {
        let mut pending = pending_of(5);
        let mut queue = RedeliveryQueue::default();
        for sequence in [4, 2, 4] {
            assert!(queue.push(sequence, &mut pending));
        }
        assert!(!queue.push(9, &mut pending));
        queue.push_where(&mut pending, |_, _| true);
        let mut order = Vec::new();
        while let Some(sequence) = queue.front(&pending) {
            queue.remove(sequence, &mut pending);
            order.push(sequence);
        }
        assert_eq!(order, [4, 2, 1, 3, 5]);
    }

    #[test]
    fn what_is_acked_or_delayed_meanwhile_is_skipped() {
        let mut pending = pending_of(3);
        let mut queue = RedeliveryQueue::default();
        queue.push_where(&mut pending, |_, _| true);
        pending.remove(1);
        queue.remove(2, &mut pending);
        assert_eq!(queue.front(&pending), Some(3));
        assert_eq!(queue.len(&mut pending), 1);
    }

    #[test]
    fn stale_entries_stay_few() {
        let mut pending = pending_of(2);
        let mut queue = RedeliveryQueue::default();
        queue.push(1, &mut pending);
        for _ in 0..1000 {
            queue.push(2, &mut pending);
            queue.remove(2, &mut pending);
        }
        assert!(queue.sequences.len() <= 2 + STALE_MAX + 1);
    }
}
