//! How many messages a consumer still has to deliver for the first time (`num_pending`): exact, because clients detect
//! the end of a replay by it (appendix C 18).
//!
//! It is counted once, then kept: new messages are counted when somebody asks, removed ones are subtracted.

use super::live::Consumer;
use super::view::StreamView;

/// The number and what it covers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// Undelivered messages up to `counted_through`.
    messages: u64,
    counted_through: u64,
    is_known: bool,
}

impl Backlog {
    /// Must be counted anew: the filter, the position or the stream changed as a whole.
    pub fn forget(&mut self) {
        self.is_known = false;
    }

    pub fn delivered(&mut self) {
        self.messages = self.messages.saturating_sub(1);
    }

    /// Nothing is left up to `last`; heals the number should it ever be wrong.
    pub fn ran_dry(&mut self, last: u64) {
        *self = Self { messages: 0, counted_through: last, is_known: true };
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// A message that was not delivered has left the stream.
    pub fn removed(&mut self, sequence: u64) {
        if self.is_known && sequence <= self.counted_through {
            self.messages = self.messages.saturating_sub(1);
        }
    }
}

impl Consumer {
    /// The number of messages this consumer still has to deliver for the first time.
    pub fn num_pending(&mut self, stream: &dyn StreamView) -> u64 {
        let last = stream.last_sequence();
        if !self.backlog.is_known {
            let (listed, from) = match &self.state.last_per_subject {
                None => (0, self.next),
                Some(list) => {
                    let listed = list.remaining(self.next).iter().filter(|sequence| stream.exists(**sequence)).count();
                    (listed as u64, self.next.max(list.resume() + 1))
                }
            };
            let messages = listed + count_from(stream, from, self);
            self.backlog = Backlog { messages, counted_through: last, is_known: true };
        } else if self.backlog.counted_through < last {
            // A consumer may begin beyond the end of the stream.
            let from = self.next.max(self.backlog.counted_through + 1);
            self.backlog.messages += count_from(stream, from, self);
            self.backlog.counted_through = last;
        }
        self.backlog.messages
    }

    /// True for a message that is yet to be delivered for the first time, if it matches.
    pub(super) fn is_ahead(&self, sequence: u64) -> bool {
        sequence >= self.next && self.state.last_per_subject.as_ref().is_none_or(|list| list.wants(sequence))
    }
}

fn count_from(stream: &dyn StreamView, from: u64, consumer: &Consumer) -> u64 {
    if from > stream.last_sequence() { 0 } else { stream.count_matching(from, &consumer.settings.filter) }
}
