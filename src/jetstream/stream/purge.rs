//! Purges (T-65): everything, up to a sequence, all but the last few, and each of these below a filter.

use std::ops::ControlFlow;

use super::effects::Effects;
use super::machine::StreamMachine;
use super::remove::stored_from;
use super::source::MessageSource;
use crate::protocol::subject;

impl StreamMachine {
    /// Says how many messages were removed.
    pub(super) fn purge<S: MessageSource>(
        &mut self,
        filter: &str,
        up_to: u64,
        keep: u64,
        source: &S,
        effects: &mut Effects,
    ) -> u64 {
        if up_to == 1 {
            return 0;
        }
        if !filter.is_empty() && filter != ">" {
            return self.purge_matching(filter.as_bytes(), up_to, keep, source, effects);
        }
        if up_to > self.content.last {
            // Beyond the end: later messages begin there.
            return self.remove_all(up_to, effects);
        }
        if up_to > 0 {
            return self.remove_before(up_to, source, effects);
        }
        match self.content.messages.checked_sub(keep) {
            Some(removed) if keep > 0 => {
                let bound = self.sequence_after(removed);
                self.remove_before(bound, source, effects)
            }
            Some(_) => self.remove_all(self.content.last + 1, effects),
            None => 0,
        }
    }

    /// The sequence of the message that is left first when `count` of the oldest are gone.
    fn sequence_after(&self, count: u64) -> u64 {
        // Messages below a sequence grow with it: halve until exactly `count` are below.
        let (mut low, mut high) = (self.content.first, self.content.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.content.messages - self.content.count_from(middle) < count {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn purge_matching<S: MessageSource>(
        &mut self,
        filter: &[u8],
        up_to: u64,
        keep: u64,
        source: &S,
        effects: &mut Effects,
    ) -> u64 {
        let (_, matching) = self.subjects.count_matching(filter);
        let bound = if up_to == 0 { u64::MAX } else { up_to };
        let budget = matching.saturating_sub(keep);
        if budget == 0 {
            return 0;
        }
        let before = self.content.messages;
        let of_one = (keep == 0 && subject::is_literal(filter)).then(|| self.messages_of(filter, source));
        match self.single_messages(filter).or(of_one) {
            Some(mut sequences) => {
                sequences.sort_unstable();
                let purged = sequences.into_iter().take_while(|sequence| *sequence < bound).take(budget as usize);
                source.in_order(|| purged.for_each(|sequence| self.remove(sequence, source, effects)));
            }
            None => source.in_order(|| self.purge_by_scan(filter, bound, budget, keep > 0, source, effects)),
        }
        before - self.content.messages
    }

    /// The messages below a filter when each matching subject has just one whose sequence is known: no need to look for
    /// them then.
    fn single_messages(&self, filter: &[u8]) -> Option<Vec<u64>> {
        let mut sequences = Vec::new();
        let mut all_single = true;
        self.subjects.for_each_match(filter, |_, state| {
            all_single = state.messages == 1 && state.first_exact && self.content.is_stored(state.first);
            sequences.push(state.first);
            if all_single { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        all_single.then_some(sequences)
    }

    fn purge_by_scan<S: MessageSource>(
        &mut self,
        filter: &[u8],
        bound: u64,
        mut budget: u64,
        keeps_some: bool,
        source: &S,
        effects: &mut Effects,
    ) {
        let start = self.subjects.first_matching(&[filter], 0).map_or(u64::MAX, |bound| bound.sequence);
        let mut next = stored_from(&self.content, start).next();
        while let Some(sequence) = next.filter(|sequence| *sequence < bound && budget > 0) {
            let matches = source.inspect(sequence, |message| subject::matches(filter, message.subject)).ok();
            if matches == Some(true) {
                self.remove(sequence, source, effects);
            }
            // What can not be read may match, and would then go first: without it, one would go that is to be kept.
            if matches.unwrap_or(keeps_some) {
                budget -= 1;
            }
            next = self.content.next_stored(sequence + 1);
        }
    }
}
