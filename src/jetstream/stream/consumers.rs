//! What the machine must know of the stream's consumers. Their state lives beside it, in the same log.

use std::ops::RangeInclusive;

use super::control::ConsumerChange;

/// Which messages the consumers need; what removal under interest and workqueue retention follows from.
///
/// Answers come from replicated state only: they are part of what every replica must decide alike. Consumers of mirrors
/// and sources (`direct`) have no part in it.
pub trait Interest {
    /// True when the stream has no consumer.
    fn is_empty(&self) -> bool;

    /// True when some consumer's filter matches the subject.
    fn wants(&self, subject: &[u8]) -> bool;

    /// True when some consumer whose filter matches has not yet done with this stored message.
    fn needs(&self, sequence: u64, subject: &[u8]) -> bool;

    /// True when some consumer, whatever its filter, has not yet done with this stored message: for one whose subject
    /// can not be read.
    fn may_need(&self, sequence: u64) -> bool;
}

/// The consumers as entries change them.
pub trait Consumers: Interest {
    /// Applies a consumer entry. Appends to `acked` the sequences that the consumer has done with by it; those of
    /// messages that are long gone do no harm. Gives the interest that ends with the entry, if one does.
    fn apply(
        &mut self,
        change: ConsumerChange,
        id: u64,
        body: &[u8],
        time: i64,
        acked: &mut Vec<RangeInclusive<u64>>,
    ) -> Option<LostInterest>;
}

/// What a consumer needed before it was deleted, reset, or its filter changed. Everything else is as needed as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostInterest {
    /// Empty for every subject.
    pub filters: Vec<Box<[u8]>>,
    /// It had done with what is below this, except for `below`.
    pub from: u64,
    pub below: Vec<u64>,
    /// What is at or above this is needed as before.
    pub until: u64,
}

impl LostInterest {
    /// Both, of one consumer with the same filters.
    pub fn and(mut self, other: Self) -> Self {
        self.below.extend(other.below);
        Self { from: self.from.min(other.from), until: self.until.max(other.until), ..self }
    }
}

/// No consumers at all, as while a stream is rebuilt for inspection.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoConsumers;

impl Interest for NoConsumers {
    fn is_empty(&self) -> bool {
        true
    }

    fn wants(&self, _: &[u8]) -> bool {
        false
    }

    fn needs(&self, _: u64, _: &[u8]) -> bool {
        false
    }

    fn may_need(&self, _: u64) -> bool {
        false
    }
}

impl Consumers for NoConsumers {
    fn apply(
        &mut self,
        _: ConsumerChange,
        _: u64,
        _: &[u8],
        _: i64,
        _: &mut Vec<RangeInclusive<u64>>,
    ) -> Option<LostInterest> {
        None
    }
}
