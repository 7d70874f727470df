//! What a consumer needs to know of the world around it: its stream, who listens, the time.
//!
//! The consumer asks; it never waits. Everything here must answer from memory or from an index.

use super::filter::Filter;

/// Consecutive stream sequences that all exist and all match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    /// At least 1.
    pub count: u64,
}

/// The sizes that decide over byte limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageSize {
    pub subject: u32,
    pub headers: u32,
    pub payload: u32,
}

/// Why a message that is there can not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It will never be readable.
    Damaged,
    /// The disk refuses it, which may pass.
    Refused,
}

/// The committed content of the stream. It must not change during one call of the consumer.
pub trait StreamView {
    /// The sequence of the oldest message, or one past the last when there is none.
    fn first_sequence(&self) -> u64;

    /// The highest committed sequence; nothing beyond it is ever delivered.
    fn last_sequence(&self) -> u64;

    /// The lowest existing message at or after `from` that matches.
    fn next_matching(&self, from: u64, filter: &Filter) -> Option<u64>;

    /// As [`next_matching`](Self::next_matching), with up to `count_max` matching messages that follow without a gap.
    fn next_matching_run(&self, from: u64, filter: &Filter, count_max: u64) -> Option<Run> {
        let _ = count_max;
        self.next_matching(from, filter).map(|first| Run { first, count: 1 })
    }

    /// The highest existing message that matches.
    fn last_matching(&self, filter: &Filter) -> Option<u64>;

    /// How many existing messages at or after `from` match; exact.
    fn count_matching(&self, from: u64, filter: &Filter) -> u64;

    /// The last message of each matching subject, in any order.
    fn last_per_subject(&self, filter: &Filter) -> Vec<u64>;

    /// The first sequence stored at or after this time; one past the last when there is none.
    fn sequence_at_time(&self, time: i64) -> u64;

    /// The sizes of a message that exists, which is read for it.
    fn size_of(&self, sequence: u64) -> Result<MessageSize, Unread>;

    /// `None` when the message does not exist.
    fn time_of(&self, sequence: u64) -> Option<i64>;

    fn exists(&self, sequence: u64) -> bool {
        self.time_of(sequence).is_some()
    }

    /// True when the stream keeps one message per subject, so that the last of each is all there is.
    fn keeps_one_per_subject(&self) -> bool {
        false
    }
}

/// Whether somebody listens on a reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Present,
    Gone,
    /// Gone on the far side of an account import, where a status still finds its way.
    GoneBehindImport,
}

/// What the server around the consumer answers.
pub trait Environment {
    fn interest(&self, reply: &[u8]) -> Interest;

    /// A text nobody had before: the id of a pin.
    fn unique_id(&self) -> [u8; 22];
}

/// What every step is given.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Nanoseconds since the epoch; the consumer has no other clock.
    pub now: i64,
    pub stream: &'a dyn StreamView,
    pub environment: &'a dyn Environment,
}
