//! The replicated part of a consumer: what was delivered, what is not acknowledged, where to go on.
//!
//! It changes only by [`ConsumerState::apply`], on every replica in the order of the log, and by nothing that depends
//! on a clock. The leader's [`super::Consumer`] keeps a copy of its own to which it applies each delta as it proposes it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::delta::{self, Delta, MalformedDelta};
use super::last_per_subject::LastPerSubject;
use super::pending::{Pending, PendingMap};
use crate::jetstream::api::consumer_config::AckPolicy;

/// A place in a consumer's order of deliveries and in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequencePair {
    pub consumer: u64,
    pub stream: u64,
}

/// The durable state of one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerState {
    pub(super) ack_policy: AckPolicy,
    pub(super) delivered: SequencePair,
    pub(super) ack_floor: SequencePair,
    /// When something was last delivered and last acknowledged; 0 for never.
    pub(super) delivered_time: i64,
    pub(super) acked_time: i64,
    /// The lowest stream sequence that may still get its first delivery.
    pub(super) next: u64,
    pub(super) pending: PendingMap,
    /// Messages delivered as often as allowed, with how often: not pending, kept by the stream until acked or removed.
    pub(super) exhausted: BTreeMap<u64, u32>,
    /// The ack floor that is told while a message that was given up holds it back.
    pub(super) held_floor: Option<SequencePair>,
    /// No deliveries before this time; 0 when never paused.
    pub(super) pause_until: i64,
    pub(super) last_per_subject: Option<Box<LastPerSubject>>,
}

impl ConsumerState {
    /// A consumer that has delivered nothing and begins at stream sequence `next`.
    pub fn new(ack_policy: AckPolicy, next: u64) -> Self {
        let next = next.max(1);
        let start = SequencePair { consumer: 0, stream: next - 1 };
        Self {
            ack_policy,
            delivered: start,
            ack_floor: start,
            delivered_time: 0,
            acked_time: 0,
            next,
            pending: PendingMap::default(),
            exhausted: BTreeMap::new(),
            held_floor: None,
            pause_until: 0,
            last_per_subject: None,
        }
    }

    pub fn ack_policy(&self) -> AckPolicy {
        self.ack_policy
    }

    pub fn delivered(&self) -> SequencePair {
        self.delivered
    }

    /// Below it nothing is pending; what the consumer decides by.
    pub fn ack_floor(&self) -> SequencePair {
        self.ack_floor
    }

    /// The ack floor as told: giving up a message does not move it. It catches up with the other when an ack, or a
    /// removal, leaves nothing pending.
    pub fn told_floor(&self) -> SequencePair {
        self.held_floor.unwrap_or(self.ack_floor)
    }

    /// When something was last delivered.
    pub fn delivered_time(&self) -> Option<i64> {
        Some(self.delivered_time).filter(|time| *time != 0)
    }

    /// When something was last acknowledged, or left the stream while an ack was awaited.
    pub fn acked_time(&self) -> Option<i64> {
        Some(self.acked_time).filter(|time| *time != 0)
    }

    /// The lowest stream sequence that may still get its first delivery.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn pending(&self) -> &PendingMap {
        &self.pending
    }

    pub fn pause_until(&self) -> Option<i64> {
        Some(self.pause_until).filter(|until| *until != 0)
    }

    /// How many messages were delivered more than once and are not done.
    pub fn redelivered(&self) -> usize {
        self.pending.redelivered() + self.exhausted.len()
    }

    /// The messages below the ack floor that the stream still keeps for this consumer.
    pub fn exhausted(&self) -> impl Iterator<Item = u64> + '_ {
        self.exhausted.keys().copied()
    }

    /// True while the message, which must match the filter, may not leave a stream that keeps what consumers need.
    pub fn needs(&self, stream: u64) -> bool {
        if self.exhausted.contains_key(&stream) {
            return true;
        }
        if stream <= self.ack_floor.stream {
            return false;
        }
        if stream < self.next {
            // What was passed over did not match by then, and nobody will acknowledge it.
            return self.pending.contains(stream);
        }
        self.last_per_subject.as_ref().is_none_or(|list| list.wants(stream))
    }

    /// Applies an encoded batch. Appends to `released` the messages this consumer has just stopped needing.
    ///
    /// A malformed batch is applied up to the first malformed delta, which is the same one on every replica.
    pub fn apply_batch(&mut self, batch: &[u8], released: &mut Vec<RangeInclusive<u64>>) -> Result<(), MalformedDelta> {
        for delta in delta::decode(batch) {
            self.apply(&delta?, |sequence| match released.last_mut() {
                Some(range) if range.end().checked_add(1) == Some(sequence) => *range = *range.start()..=sequence,
                _ => released.push(sequence..=sequence),
            });
        }
        Ok(())
    }

    /// Applies one change, telling the messages this consumer has just stopped needing.
    pub fn apply(&mut self, delta: &Delta, mut released: impl FnMut(u64)) {
        match *delta {
            Delta::Delivered { stream, consumer, count, time } => {
                self.apply_delivered(stream, consumer, u64::from(count), time, released);
            }
            Delta::Redelivered { stream, consumer, deliveries, time } => {
                if consumer > self.delivered.consumer {
                    self.delivered.consumer = consumer;
                    self.delivered_time = time;
                }
                self.pending.redeliver(stream, deliveries, time);
            }
            Delta::Acked { stream, count, time } => {
                self.acked_time = time;
                if count == 1 {
                    self.apply_acked(stream, released);
                    return;
                }
                let Some(last) = stream.checked_add(u64::from(count)).map(|end| end.saturating_sub(1)) else { return };
                let before = self.pending.len();
                self.pending.remove_range(stream, last, |sequence, _| released(sequence));
                self.forget_exhausted(stream, last, &mut released);
                self.settle_floors(before);
            }
            Delta::AckedThrough { stream, consumer, time } => {
                self.apply_acked_through(stream, consumer, time, released)
            }
            Delta::Rescheduled { stream, time } => self.pending.set_time(stream, time),
            Delta::Exhausted { stream, deliveries } => {
                if self.pending.remove(stream).is_some() {
                    self.exhausted.insert(stream, deliveries);
                    let told = self.told_floor();
                    self.settle_ack_floor();
                    self.held_floor = Some(told).filter(|told| *told != self.ack_floor);
                }
            }
            Delta::Removed { stream, count, time } => {
                self.note_removal(time);
                let Some(last) = stream.saturating_add(count).checked_sub(1) else { return };
                let before = self.pending.len();
                self.pending.remove_range(stream, last, |_, _| {});
                self.forget_exhausted(stream, last, &mut |_| {});
                self.settle_floors(before);
            }
            Delta::Purged { stream, time } => {
                self.note_removal(time);
                self.apply_purged(stream);
            }
            Delta::Advanced { stream } => self.advance(stream),
            Delta::Reset { stream } => self.apply_reset(stream),
            Delta::Paused { until } => self.pause_until = until,
        }
    }

    fn apply_delivered(&mut self, stream: u64, consumer: u64, count: u64, time: i64, released: impl FnMut(u64)) {
        // What this consumer has numbered already is a repetition.
        let known = self.delivered.consumer.saturating_add(1).saturating_sub(consumer);
        if known >= count {
            return;
        }
        let (stream, consumer, count) = (stream + known, consumer + known, count - known);
        let last = SequencePair { consumer: consumer + count - 1, stream: stream + count - 1 };
        self.delivered = SequencePair { consumer: last.consumer, stream: self.delivered.stream.max(last.stream) };
        self.delivered_time = time;
        if self.ack_policy == AckPolicy::None {
            self.ack_floor = self.delivered;
            (stream..=last.stream).for_each(released);
        } else {
            for offset in 0..count {
                let pending = Pending { consumer_sequence: consumer + offset, time, deliveries: 1 };
                self.pending.insert(stream + offset, pending);
            }
        }
        self.advance(last.stream + 1);
    }

    fn apply_acked(&mut self, stream: u64, mut released: impl FnMut(u64)) {
        let before = self.pending.len();
        let was_pending = self.pending.remove(stream).is_some();
        if was_pending || (!self.exhausted.is_empty() && self.exhausted.remove(&stream).is_some()) {
            released(stream);
        }
        self.settle_floors(before);
    }

    fn apply_acked_through(&mut self, stream: u64, consumer: u64, time: i64, mut released: impl FnMut(u64)) {
        self.acked_time = time;
        let stream = stream.min(self.delivered.stream);
        if stream <= self.ack_floor.stream {
            return;
        }
        self.pending.remove_range(0, stream, |sequence, _| released(sequence));
        self.forget_exhausted(0, stream, &mut released);
        self.ack_floor.stream = stream;
        self.ack_floor.consumer = self.ack_floor.consumer.max(consumer.min(self.delivered.consumer));
        self.held_floor = None;
    }

    fn apply_purged(&mut self, first: u64) {
        let Some(last) = first.checked_sub(1) else { return };
        let mut floor = self.ack_floor;
        self.pending.remove_range(0, last, |_, pending| floor.consumer = floor.consumer.max(pending.consumer_sequence));
        self.forget_exhausted(0, last, &mut |_| {});
        floor.stream = floor.stream.max(last);
        self.delivered.stream = self.delivered.stream.max(last);
        self.ack_floor = floor;
        self.advance(first);
        if self.pending.is_empty() {
            self.ack_floor = self.delivered;
        }
        // What held the floor back is gone.
        self.held_floor = self.held_floor.filter(|held| held.stream >= last);
    }

    fn note_removal(&mut self, time: i64) {
        if time != 0 {
            self.acked_time = time;
        }
    }

    fn apply_reset(&mut self, next: u64) {
        let next = next.max(1);
        self.pending.clear();
        self.exhausted.clear();
        self.held_floor = None;
        self.delivered = SequencePair { consumer: 0, stream: next - 1 };
        self.ack_floor = self.delivered;
        self.delivered_time = 0;
        self.acked_time = 0;
        self.next = next;
        if let Some(list) = &mut self.last_per_subject {
            list.rewind();
        }
        self.advance(next);
    }

    /// Nothing below `next` is left for a first delivery.
    fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
        let Some(list) = &mut self.last_per_subject else { return };
        if list.first_from(self.next).is_none() {
            self.next = self.next.max(list.resume().saturating_add(1));
            self.last_per_subject = None;
        }
    }

    fn forget_exhausted(&mut self, first: u64, last: u64, released: &mut impl FnMut(u64)) {
        while let Some((sequence, _)) = self.exhausted.range(first..=last).next().map(|(key, value)| (*key, *value)) {
            self.exhausted.remove(&sequence);
            released(sequence);
        }
    }

    /// After acks and removals. The floor that is told waits for one of a pending message that leaves none behind.
    fn settle_floors(&mut self, pending_before: usize) {
        self.settle_ack_floor();
        if self.pending.is_empty() && pending_before > 0 {
            self.held_floor = None;
        }
    }

    /// The ack floor follows the oldest message that is still pending.
    fn settle_ack_floor(&mut self) {
        match self.pending.first() {
            None => {
                self.ack_floor.consumer = self.delivered.consumer;
                self.ack_floor.stream = self.ack_floor.stream.max(self.delivered.stream);
            }
            Some((stream, pending)) if pending.consumer_sequence > self.ack_floor.consumer.saturating_add(1) => {
                self.ack_floor.consumer = pending.consumer_sequence - 1;
                self.ack_floor.stream = self.ack_floor.stream.max(stream - 1);
            }
            Some(_) => {}
        }
    }
}
