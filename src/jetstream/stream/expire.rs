//! Age: which messages are too old by `max_age` (T-10) or by their own time to live (P-08, T-74).
//!
//! The leader proposes an `Expire` entry when something is due; its log time says what goes. When delete markers are
//! wanted (T-31), the last message of a subject does not go by itself: it waits for the marker that replaces it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use headwater_storage::{Expired, TimerId, TimerWheel};

use super::super::api::time::{DurationNs, SECOND};
use super::content::mix;
use super::effects::Effects;
use super::machine::StreamMachine;
use super::publish_headers::{TTL, Ttl, is_delete_marker};
use super::source::{MessageSource, MessageView};
use crate::protocol::headers;

/// How long after the last entry a message that waits for its marker is looked at again.
const MARKER_RETRY: DurationNs = SECOND;
/// How long after it was looked for the age of what can not be read is looked for again.
const UNREADABLE_RETRY: DurationNs = SECOND;

/// Deadlines, and how far the age of messages has been looked at.
pub struct Expiry {
    wheel: TimerWheel<u64>,
    /// The deadlines of messages with a time to live, by sequence.
    deadlines: BTreeMap<u64, (u64, TimerId)>,
    /// Messages below this are not too old for `max_age`, or never will be.
    pub(super) cursor: u64,
    /// Messages whose time to live is over, and that no `Expire` entry had room for yet. Their deadlines say the same.
    due: BTreeSet<u64>,
    /// Messages that wait for their delete marker.
    pub(super) waiting: BTreeSet<u64>,
    /// Nothing from the cursor up to this could be read; the age of what follows stands for theirs. Not part of the state:
    /// it says what the disk gave when it was last asked.
    witness: u64,
    /// When that was.
    asked_at: i64,
    /// The message whose age was looked at last to know when the next is too old, and its time. Not part of the state
    /// either.
    oldest: Cell<Option<(u64, i64)>>,
}

impl Expiry {
    pub fn new() -> Self {
        Self {
            wheel: TimerWheel::new(),
            deadlines: BTreeMap::new(),
            cursor: 0,
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            witness: 0,
            asked_at: i64::MIN,
            oldest: Cell::new(None),
        }
    }

    pub fn clear(&mut self) {
        *self = Self { cursor: self.cursor, ..Self::new() };
    }

    pub fn set_deadline(&mut self, sequence: u64, time: i64, seconds: u64) {
        let life = seconds.saturating_mul(SECOND as u64);
        self.insert_deadline(sequence, u64::try_from(time).unwrap_or(0).saturating_add(life));
    }

    pub(super) fn insert_deadline(&mut self, sequence: u64, deadline: u64) {
        let timer = self.wheel.insert(deadline, sequence);
        self.deadlines.insert(sequence, (deadline, timer));
    }

    /// The message is gone.
    pub fn forget(&mut self, sequence: u64) {
        if let Some((_, timer)) = self.deadlines.remove(&sequence) {
            self.wheel.cancel(timer);
        }
        self.due.remove(&sequence);
        self.waiting.remove(&sequence);
    }

    pub fn forget_below(&mut self, first: u64) {
        let kept = self.deadlines.split_off(&first);
        for (_, (_, timer)) in std::mem::replace(&mut self.deadlines, kept) {
            self.wheel.cancel(timer);
        }
        self.due = self.due.split_off(&first);
        self.waiting = self.waiting.split_off(&first);
    }

    /// Another `max_age` makes all messages be looked at again.
    pub fn age_changed(&mut self, old: Option<i64>, new: Option<i64>, first: u64) {
        if old != new {
            self.cursor = first;
        }
    }

    /// Deadlines by sequence, for the checkpoint.
    pub(super) fn deadlines(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.deadlines.iter().map(|(sequence, (deadline, _))| (*sequence, *deadline))
    }

    pub(super) fn hash(&self) -> u64 {
        let deadlines =
            self.deadlines().fold(0_u64, |sum, (sequence, deadline)| sum.wrapping_add(mix(mix(sequence) ^ deadline)));
        let waiting = self.waiting.iter().fold(0_u64, |sum, sequence| sum.wrapping_add(mix(*sequence)));
        mix(deadlines) ^ mix(waiting.wrapping_add(1)) ^ mix(self.cursor.wrapping_add(2))
    }
}

impl StreamMachine {
    /// When the leader should propose an `Expire` entry; `None` while nothing can expire. It may turn out to be early
    /// by less than a minute, never late by more than a millisecond.
    pub fn next_expiry<S: MessageSource>(&self, source: &S) -> Option<i64> {
        let by_ttl = self.expiry.wheel.next_deadline().map(|deadline| i64::try_from(deadline).unwrap_or(i64::MAX));
        let left_over = (!self.expiry.due.is_empty()).then_some(self.clock);
        let by_age = self.rules.age_max.and_then(|age| self.next_by_age(age, source));
        // A marker that could not be published is tried again.
        let by_marker = (!self.expiry.waiting.is_empty()).then(|| self.clock.saturating_add(MARKER_RETRY));
        by_ttl.into_iter().chain(left_over).chain(by_age).chain(by_marker).min()
    }

    fn next_by_age<S: MessageSource>(&self, age: DurationNs, source: &S) -> Option<i64> {
        let oldest = self.content.next_stored(self.expiry.cursor)?;
        // What can not be read is no younger than what follows it.
        let time = self.time_of_oldest(oldest, source).or_else(|| {
            match self.content.next_stored(self.expiry.witness.max(oldest)) {
                Some(witness) => source.inspect(witness, |message| message.time).ok(),
                None => Some(self.content.last_time),
            }
        });
        Some(match time {
            Some(time) => time.saturating_add(age),
            None => self.expiry.asked_at.saturating_add(UNREADABLE_RETRY),
        })
    }

    /// It is asked for after every commit, and the same for long.
    fn time_of_oldest<S: MessageSource>(&self, oldest: u64, source: &S) -> Option<i64> {
        let known = self.expiry.oldest.get().filter(|(sequence, _)| *sequence == oldest);
        if let Some((_, time)) = known {
            return Some(time);
        }
        let time = source.inspect(oldest, |message| message.time).ok()?;
        self.expiry.oldest.set(Some((oldest, time)));
        Some(time)
    }

    /// Looks at `at_most` so many messages that are too old at `now`; 0 for all of them. What is left over is due again
    /// at once.
    pub(super) fn expire<S: MessageSource>(&mut self, now: i64, at_most: u64, source: &S, effects: &mut Effects) {
        let mut left = if at_most == 0 { u64::MAX } else { at_most };
        source.in_order(|| {
            self.settle_waiting(source, effects);
            self.expire_by_age(now, &mut left, source, effects);
            self.expire_by_ttl(now, left, source, effects);
        });
        self.dedupe.expire(now);
    }

    fn expire_by_age<S: MessageSource>(&mut self, now: i64, left: &mut u64, source: &S, effects: &mut Effects) {
        let Some(age) = self.rules.age_max else {
            return;
        };
        let bound = now.saturating_sub(age);
        let mut next = self.expiry.cursor.max(self.content.first);
        // A disk that refuses a read today may give the message tomorrow: nothing is too old because it can not be read.
        let mut first_unreadable = None;
        while let Some(sequence) = self.content.next_stored(next).filter(|_| *left > 0) {
            let fate = source.inspect(sequence, |message| (message.time <= bound).then(|| self.fate_of(&message)));
            match fate {
                Err(_) => first_unreadable = first_unreadable.or(Some(sequence)),
                Ok(None) => break,
                Ok(Some(fate)) => {
                    if let Some(first) = first_unreadable.take() {
                        self.remove_unreadable_run(first, sequence, source, effects);
                    }
                    self.meet(fate, sequence, source, effects);
                    *left -= 1;
                }
            }
            next = sequence + 1;
        }
        if let Some(first) = first_unreadable
            && self.content.last_time <= bound
        {
            self.remove_unreadable_run(first, next, source, effects);
            first_unreadable = None;
        }
        self.expiry.cursor = first_unreadable.unwrap_or(next);
        (self.expiry.witness, self.expiry.asked_at) = (next, now);
        // It may not be readable any more: then it must not seem to be due again and again.
        self.expiry.oldest.set(None);
    }

    /// Removes what is stored from `first` up to `end`: all of it is older than something that is too old.
    fn remove_unreadable_run<S: MessageSource>(&mut self, first: u64, end: u64, source: &S, effects: &mut Effects) {
        let mut next = self.content.next_stored(first);
        while let Some(sequence) = next.filter(|sequence| *sequence < end) {
            self.remove(sequence, source, effects);
            next = self.content.next_stored(sequence + 1);
        }
    }

    fn expire_by_ttl<S: MessageSource>(&mut self, now: i64, mut left: u64, source: &S, effects: &mut Effects) {
        let mut expired: Vec<Expired<u64>> = Vec::new();
        self.expiry.wheel.advance(u64::try_from(now).unwrap_or(0), &mut expired);
        self.expiry.due.extend(expired.into_iter().map(|expired| expired.key));
        while left > 0 {
            left -= 1;
            // Older messages first, so that the last of a subject is known as such.
            let Some(sequence) = self.expiry.due.pop_first() else { break };
            self.expiry.deadlines.remove(&sequence);
            if !self.content.is_stored(sequence) {
                continue;
            }
            let fate = match source.inspect(sequence, |message| self.fate_of(&message)) {
                Err(_) | Ok(Fate::Stays) => Fate::Goes,
                Ok(other) => other,
            };
            self.meet(fate, sequence, source, effects);
        }
    }

    /// Markers that were never published: their messages wait anew, or go when they are not the last of their subject.
    fn settle_waiting<S: MessageSource>(&mut self, source: &S, effects: &mut Effects) {
        for sequence in std::mem::take(&mut self.expiry.waiting) {
            let fate = source.inspect(sequence, |message| self.fate_of(&message)).unwrap_or(Fate::Goes);
            self.meet(fate, sequence, source, effects);
        }
    }

    fn fate_of(&self, message: &impl MessageView) -> Fate {
        let block = message.headers();
        let never_expires = !block.is_empty() && headers::get(block, TTL).and_then(Ttl::parse) == Some(Ttl::Never);
        if never_expires {
            return Fate::Stays;
        }
        let is_last = self.subjects.get(message.subject()).is_some_and(|state| state.messages == 1);
        if self.rules.marker_seconds.is_some() && is_last && !is_delete_marker(block) {
            return Fate::Waits;
        }
        Fate::Goes
    }

    fn meet<S: MessageSource>(&mut self, fate: Fate, sequence: u64, source: &S, effects: &mut Effects) {
        match fate {
            Fate::Goes => self.remove(sequence, source, effects),
            Fate::Stays => {}
            Fate::Waits => {
                self.expiry.waiting.insert(sequence);
                effects.markers.push(sequence);
            }
        }
    }
}

/// What becomes of a message that is too old.
enum Fate {
    Goes,
    /// It was published to live for ever.
    Stays,
    /// A marker will replace it.
    Waits,
}
