//! HOT PATH: no allocation per message, no lock, no clock.
//! The fast batches that are open (P-12). Their messages go to the log one by one, as those of any publisher; only the
//! answers differ.
//!
//! Sends nothing: whoever calls sends the [`Notice`]s to the reply subject of the message at hand.
//!
//! ```text
//!  message --> step --> Ticket --> decided on --> accepted -----> (log) -----> settle
//!                |                     |                                          |
//!                |                     +-> duplicate, refused                     +-> Flow each time so many are stored
//!                +-> Gap, Refused; a ping: Flow
//!
//!  a commit, a gap or an error  -> ending: nothing more is taken; Committed once everything received is settled
//!  silence                      -> forgotten, without a word
//! ```

use std::num::NonZeroU64;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::api::validate::required_level_is_met;
use super::super::api::{ApiError, error_codes};
use super::batch::{BatchBudget, ID_BYTES_MAX, Share};
use super::fast_batch::{FastBatch, Notice};
use super::fast_reply::{FastReply, Operation};

/// How many fast batches may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastLimits {
    pub open_per_stream: usize,
    pub open_per_server: usize,
    /// Nanoseconds without a message after which a batch is forgotten.
    pub idle: i64,
}

impl Default for FastLimits {
    fn default() -> Self {
        Self { open_per_stream: 1000, open_per_server: 50_000, idle: 10_000_000_000 }
    }
}

/// A message of a batch that is on its way into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Never given twice, unlike the batch's id.
    batch: NonZeroU64,
    /// The message's place in the batch.
    sequence: u64,
}

/// A message with the reply subject of a fast batch.
#[derive(Clone, Copy, Debug)]
pub struct FastMessage<'a> {
    pub reply: &'a [u8],
    /// The API level that its publisher asks for.
    pub required_level: Option<&'a [u8]>,
}

struct Open {
    batch: FastBatch,
    /// When it is forgotten unless something comes.
    idle_at: i64,
    _share: Share,
}

/// The open fast batches of one stream, on its leader.
pub struct FastBatches {
    limits: FastLimits,
    budget: Arc<BatchBudget>,
    numbers: HashMap<Box<[u8]>, NonZeroU64>,
    open: HashMap<NonZeroU64, Open>,
    next: NonZeroU64,
    /// When idle batches are to be looked for; not after the first of them is idle.
    look_at: i64,
}

impl FastBatches {
    pub fn new(limits: FastLimits, budget: Arc<BatchBudget>) -> Self {
        let (numbers, open) = (HashMap::new(), HashMap::new());
        Self { limits, budget, numbers, open, next: NonZeroU64::MIN, look_at: i64::MAX }
    }

    pub fn set_limits(&mut self, limits: FastLimits) {
        self.limits = limits;
    }

    /// Takes in a message. A ticket says that it is to be decided on, and then one of [`accepted`](Self::accepted),
    /// [`duplicate`](Self::duplicate) and [`refused`](Self::refused) be called.
    pub fn step(&mut self, message: &FastMessage<'_>, now: i64, out: &mut Vec<Notice>) -> Option<Ticket> {
        let (number, asked) = match self.find(message, now) {
            Ok(found) => found,
            Err(error) => {
                out.push(Notice::Refused(error));
                return None;
            }
        };
        let open = self.open.len();
        let batch = self.batch(number)?;
        if asked.operation == Operation::Ping {
            let asks_still = batch.ping(asked.sequence, message.reply, open, out);
            let notice = batch.flow_notice();
            if !self.finish(number, out) && asks_still {
                out.push(notice);
            }
            return None;
        }
        if batch.receive(&asked, message.reply, out) {
            return Some(Ticket { batch: number, sequence: asked.sequence });
        }
        self.finish(number, out);
        None
    }

    fn find<'a>(&mut self, message: &FastMessage<'a>, now: i64) -> Result<(NonZeroU64, FastReply<'a>), ApiError> {
        let asked = FastReply::parse(message.reply).ok_or(error_codes::BATCH_PUBLISH_INVALID_PATTERN.error())?;
        if asked.id.len() > ID_BYTES_MAX {
            return Err(error_codes::BATCH_PUBLISH_INVALID_BATCH_ID.error());
        }
        if now >= self.look_at {
            self.expire(now);
        }
        let number = match self.numbers.get(asked.id) {
            Some(number) => *number,
            None if asked.sequence != 1 || asked.operation == Operation::Ping => {
                return Err(error_codes::BATCH_PUBLISH_UNKNOWN_BATCH_ID.error());
            }
            None => self.begin(&asked).ok_or(error_codes::BATCH_PUBLISH_TOO_MANY_INFLIGHT.error())?,
        };
        let level = message.required_level.map(String::from_utf8_lossy);
        if !required_level_is_met(level.as_deref()) {
            self.remove(number);
            return Err(error_codes::REQUIRED_API_LEVEL.error());
        }
        let idle_at = now.saturating_add(self.limits.idle);
        self.look_at = self.look_at.min(idle_at);
        if let Some(open) = self.open.get_mut(&number) {
            open.idle_at = idle_at;
        }
        Ok((number, asked))
    }

    fn begin(&mut self, asked: &FastReply<'_>) -> Option<NonZeroU64> {
        if self.open.len() >= self.limits.open_per_stream {
            return None;
        }
        let share = Share::of(&self.budget, self.limits.open_per_server)?;
        let batch = FastBatch::new(asked, self.open.is_empty());
        let number = self.next;
        self.next = number.saturating_add(1);
        self.numbers.insert(asked.id.into(), number);
        self.open.insert(number, Open { batch, idle_at: i64::MAX, _share: share });
        Some(number)
    }

    /// The message was accepted: it will be in the log.
    pub fn accepted(&mut self, ticket: Ticket) {
        if let Some(batch) = self.batch(ticket.batch) {
            batch.accepted();
        }
    }

    /// The message is the duplicate of one with this sequence. True while that is on its way: then
    /// [`settle`](Self::settle) is due once it is stored.
    pub fn duplicate(&mut self, ticket: Ticket, of: u64, in_flight: bool, out: &mut Vec<Notice>) -> bool {
        let open = self.open.len();
        let Some(batch) = self.batch(ticket.batch) else { return false };
        let waits = batch.duplicate(of, in_flight, open, out);
        self.finish(ticket.batch, out);
        waits
    }

    /// The message is not stored. Unless gaps are ok, that ends the batch before it.
    pub fn refused(&mut self, ticket: Ticket, reply: &[u8], error: ApiError, out: &mut Vec<Notice>) {
        let Some(batch) = self.batch(ticket.batch) else { return };
        if batch.falls_with_its_first() {
            self.remove(ticket.batch);
            out.push(Notice::Refused(error));
            return;
        }
        batch.refused(ticket.sequence, reply, error, out);
        self.finish(ticket.batch, out);
    }

    /// The message is stored for good, as `sequence`, or was before when there is none.
    pub fn settle(&mut self, ticket: Ticket, sequence: Option<u64>, out: &mut Vec<Notice>) {
        let open = self.open.len();
        let Some(batch) = self.batch(ticket.batch) else { return };
        batch.settle(ticket.sequence, sequence);
        if !batch.is_finished() {
            batch.check_flow(open, out);
        }
        self.finish(ticket.batch, out);
    }

    /// The message will never be stored, nor any other of its batch. False when the batch has ended otherwise.
    pub fn fail(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket.batch).is_some()
    }

    fn batch(&mut self, number: NonZeroU64) -> Option<&mut FastBatch> {
        Some(&mut self.open.get_mut(&number)?.batch)
    }

    fn finish(&mut self, number: NonZeroU64, out: &mut Vec<Notice>) -> bool {
        if !self.open.get(&number).is_some_and(|open| open.batch.is_finished()) {
            return false;
        }
        out.extend(self.remove(number).map(|batch| Notice::Committed(batch.into_committed())));
        true
    }

    fn remove(&mut self, number: NonZeroU64) -> Option<FastBatch> {
        let batch = self.open.remove(&number)?.batch;
        self.numbers.remove(batch.id());
        Some(batch)
    }

    /// Forgets the batches that nothing came for. One whose messages are on their way is not silent: the disk is.
    pub fn expire(&mut self, now: i64) {
        let idle = self.limits.idle;
        let mut look_at = i64::MAX;
        self.open.retain(|_, open| {
            if open.batch.is_pending() {
                open.idle_at = open.idle_at.max(now.saturating_add(idle));
            }
            let stays = open.idle_at > now;
            if stays {
                look_at = look_at.min(open.idle_at);
            } else {
                self.numbers.remove(open.batch.id());
            }
            stays
        });
        self.look_at = look_at;
    }

    /// When to [`expire`](Self::expire) the next time.
    pub fn deadline(&self) -> Option<i64> {
        (self.look_at < i64::MAX).then_some(self.look_at)
    }

    /// Forgets all of them: the stream takes no batches any more.
    pub fn clear(&mut self) {
        self.open.clear();
        self.numbers.clear();
        self.look_at = i64::MAX;
    }
}

#[cfg(test)]
#[path = "fast_batches_tests.rs"]
mod tests;
