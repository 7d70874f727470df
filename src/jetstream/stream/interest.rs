//! Removal of what no consumer needs any more: work queues and interest retention (T-41, T-42).

use std::ops::RangeInclusive;

use super::consumers::{Consumers, Interest, LostInterest};
use super::control::ConsumerChange;
use super::effects::Effects;
use super::machine::StreamMachine;
use super::remove::stored_from;
use super::source::{MessageSource, MessageView};
use crate::jetstream::api::stream_config::Retention;

impl StreamMachine {
    #[allow(clippy::too_many_arguments)] // One entry, taken apart.
    pub(super) fn apply_to_consumers<S: MessageSource>(
        &mut self,
        change: ConsumerChange,
        id: u64,
        body: &[u8],
        time: i64,
        source: &S,
        consumers: &mut dyn Consumers,
        effects: &mut Effects,
    ) {
        let mut acked = Vec::new();
        let lost = consumers.apply(change, id, body, time, &mut acked);
        if self.rules.retention == Retention::Limits {
            return;
        }
        for range in acked {
            self.acked(range, source, consumers, effects);
        }
        if let Some(lost) = lost.filter(|_| self.rules.retention == Retention::Interest) {
            if consumers.is_empty() {
                self.remove_all(self.content.last + 1, effects);
            } else {
                self.interest_lost(&lost, source, consumers, effects);
            }
        }
    }

    /// Removes what only that interest has kept. A stream may be long, and what the others need is none of this.
    fn interest_lost<S: MessageSource>(
        &mut self,
        lost: &LostInterest,
        source: &S,
        interest: &dyn Interest,
        effects: &mut Effects,
    ) {
        for sequence in &lost.below {
            if self.content.is_stored(*sequence) {
                self.remove_if_unneeded(*sequence, source, interest, effects);
            }
        }
        let mut from = lost.from;
        while let Some(sequence) = self.next_matching(from, &lost.filters, source).filter(|next| *next < lost.until) {
            self.remove_if_unneeded(sequence, source, interest, effects);
            from = sequence + 1;
        }
    }

    /// A consumer has done with these sequences: removes those that no other consumer needs.
    fn acked<S: MessageSource>(
        &mut self,
        range: RangeInclusive<u64>,
        source: &S,
        interest: &dyn Interest,
        effects: &mut Effects,
    ) {
        let mut next = self.content.next_stored(*range.start());
        // In a work queue a message is one consumer's alone, and needs not be read to go.
        let is_queue = self.rules.retention == Retention::WorkQueue;
        while let Some(sequence) = next.filter(|sequence| range.contains(sequence)) {
            if is_queue && source.read(sequence).is_err() {
                self.remove(sequence, source, effects);
            } else {
                self.remove_if_unneeded(sequence, source, interest, effects);
            }
            next = self.content.next_stored(sequence + 1);
        }
    }

    /// Consumers begin to count: removes what they have done with. What none of them ever wanted stays, as in the genuine
    /// server: whoever changes the retention asks for nothing to be removed that nobody has seen.
    pub(super) fn remove_done<S: MessageSource>(&mut self, source: &S, interest: &dyn Interest, effects: &mut Effects) {
        let mut next = stored_from(&self.content, 0).next();
        while let Some(sequence) = next {
            let is_done = source.inspect(sequence, |message| {
                interest.wants(message.subject) && !interest.needs(sequence, message.subject)
            });
            if is_done == Ok(true) {
                self.remove(sequence, source, effects);
            }
            next = self.content.next_stored(sequence + 1);
        }
    }

    fn remove_if_unneeded<S: MessageSource>(
        &mut self,
        sequence: u64,
        source: &S,
        interest: &dyn Interest,
        effects: &mut Effects,
    ) {
        // A disk that refuses a read today may give the message tomorrow: nothing is unneeded because it can not be read.
        let needed = match source.read(sequence) {
            Ok(message) => interest.needs(sequence, message.subject()),
            Err(_) => interest.may_need(sequence),
        };
        if !needed {
            self.remove(sequence, source, effects);
        }
    }
}
