//! HOT PATH: no allocation per message, no lock, no clock.
//! Fast batches that are open (P-12): what was received of each, what of that is stored for good, and how far that was
//! told. The messages themselves go to the log one by one, as those of any publisher; only the answers differ.
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
//!
//! Of one batch: `told <= stored <= received`. `stored` moves by `settle` only, which is for what is durable, so a
//! position that was told is there after a crash.

use std::num::NonZeroU64;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::api::validate::required_level_is_met;
use super::super::api::{ApiError, error_codes};
use super::batch::{BatchBudget, ID_BYTES_MAX, Share};
use super::fast_reply::{FastReply, Operation};

/// All publishers of a stream together get an acknowledgement after this many messages, at the latest.
const FLOW_MAX: u16 = 500;

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

/// What the publisher of a batch is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Everything up to this place is stored, but for gaps if they are ok. The next word comes after so many messages.
    Flow { sequence: u64, messages: u16 },
    /// Messages are missing: from `expected` to the one before `received`.
    Gap { expected: u64, received: u64 },
    /// The message at this place is not stored.
    Error { sequence: u64, error: ApiError },
    /// There is no such batch, or none any more.
    Refused(ApiError),
    /// The end of the batch.
    Committed(Committed),
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The reply subject of the message that ended it.
    pub reply: Box<[u8]>,
    pub id: Box<[u8]>,
    /// The stream's sequence of the last message that was stored; 0 when none was.
    pub sequence: u64,
    /// The place of the last message.
    pub count: u64,
    /// The only message of the batch was there already, as `sequence`.
    pub is_duplicate: bool,
}

/// A message with the reply subject of a fast batch.
#[derive(Clone, Copy, Debug)]
pub struct FastMessage<'a> {
    pub reply: &'a [u8],
    /// The API level that its publisher asks for.
    pub required_level: Option<&'a [u8]>,
}

struct FastBatch {
    id: Box<[u8]>,
    gap_ok: bool,
    /// A word after so many messages, and the most that the publisher wants.
    flow: u16,
    flow_max: u16,
    /// The last place in the batch that was taken.
    received: u64,
    /// Everything up to this place is settled.
    stored: u64,
    /// The last multiple of `flow` that was told.
    told: u64,
    /// Messages on their way.
    pending: u64,
    /// The stream's sequence of the last message stored.
    last_sequence: u64,
    /// The reply subject of the message that ended the batch.
    ending: Option<Box<[u8]>>,
    /// The batch is one message only, which is the duplicate of this one.
    duplicate_of: Option<u64>,
    /// When it is forgotten unless something comes.
    idle_at: i64,
    _share: Share,
}

impl FastBatch {
    fn flow_notice(&self) -> Notice {
        Notice::Flow { sequence: self.told, messages: self.flow }
    }

    /// With nothing on its way, all that was received counts: stored, found to be there, or missing by permission.
    fn settle_idle(&mut self) {
        if self.pending == 0 {
            self.stored = self.received;
        }
    }

    /// Tells how far things are, when it is time to. The publishers of a stream share [`FLOW_MAX`]; each approaches its
    /// part in steps of two.
    fn check_flow(&mut self, open: usize, out: &mut Vec<Notice>) -> bool {
        let step = u64::from(self.flow);
        if self.stored < self.told.saturating_add(step) {
            return false;
        }
        self.told += (self.stored - self.told) / step * step;
        let part = (usize::from(FLOW_MAX) / open.max(1)).max(1) as u16;
        let most = part.min(self.flow_max);
        self.flow = if self.flow < most { self.flow.saturating_mul(2).min(most) } else { (self.flow / 2).max(most) };
        out.push(self.flow_notice());
        true
    }
}

/// The open fast batches of one stream, on its leader.
pub struct FastBatches {
    limits: FastLimits,
    budget: Arc<BatchBudget>,
    numbers: HashMap<Box<[u8]>, NonZeroU64>,
    open: HashMap<NonZeroU64, FastBatch>,
    next: NonZeroU64,
    /// When idle batches are to be looked for; not after the first of them is idle.
    look_at: i64,
}

impl FastBatches {
    pub fn new(limits: FastLimits, budget: Arc<BatchBudget>) -> Self {
        let (numbers, open) = (HashMap::new(), HashMap::new());
        Self { limits, budget, numbers, open, next: NonZeroU64::MIN, look_at: i64::MAX }
    }

    /// Takes in a message. A ticket says that it is to be decided on, and then one of [`accepted`](Self::accepted),
    /// [`duplicate`](Self::duplicate) and [`refused`](Self::refused) be called.
    pub fn step(&mut self, message: &FastMessage<'_>, now: i64, out: &mut Vec<Notice>) -> Option<Ticket> {
        match self.find(message, now) {
            Ok((batch, asked)) if asked.operation == Operation::Ping => {
                self.ping(batch, asked.sequence, message.reply, out);
                None
            }
            Ok((batch, asked)) => self.receive(batch, &asked, message.reply, out),
            Err(error) => {
                out.push(Notice::Refused(error));
                None
            }
        }
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
        if let Some(batch) = self.open.get_mut(&number) {
            batch.idle_at = idle_at;
        }
        Ok((number, asked))
    }

    fn begin(&mut self, asked: &FastReply<'_>) -> Option<NonZeroU64> {
        if self.open.len() >= self.limits.open_per_stream {
            return None;
        }
        let share = Share::of(&self.budget, self.limits.open_per_server)?;
        // With company, a publisher begins slowly.
        let flow = if self.open.is_empty() { asked.flow.min(FLOW_MAX) } else { 1 };
        let batch = FastBatch {
            id: asked.id.into(),
            gap_ok: asked.gap_ok,
            flow,
            flow_max: asked.flow,
            received: 0,
            stored: 0,
            told: 0,
            pending: 0,
            last_sequence: 0,
            ending: None,
            duplicate_of: None,
            idle_at: i64::MAX,
            _share: share,
        };
        let number = self.next;
        self.next = number.saturating_add(1);
        self.numbers.insert(asked.id.into(), number);
        self.open.insert(number, batch);
        Some(number)
    }

    fn receive(
        &mut self,
        number: NonZeroU64,
        asked: &FastReply<'_>,
        reply: &[u8],
        out: &mut Vec<Notice>,
    ) -> Option<Ticket> {
        let batch = self.open.get_mut(&number).filter(|batch| batch.ending.is_none())?;
        let (sequence, next) = (asked.sequence, batch.received + 1);
        if sequence != next {
            out.push(Notice::Gap { expected: next, received: sequence });
            if !batch.gap_ok || sequence < next {
                self.end(number, reply, out);
                return None;
            }
        }
        batch.received = sequence;
        match asked.operation {
            Operation::CommitMarker => {
                batch.received -= 1;
                self.end(number, reply, out);
                return None;
            }
            Operation::Commit => batch.ending = Some(reply.into()),
            Operation::Start => out.push(batch.flow_notice()),
            Operation::Append | Operation::Ping => {}
        }
        Some(Ticket { batch: number, sequence })
    }

    /// `sequence` is that of the last message sent.
    fn ping(&mut self, number: NonZeroU64, sequence: u64, reply: &[u8], out: &mut Vec<Notice>) {
        let open = self.open.len();
        let Some(batch) = self.open.get_mut(&number) else { return };
        if batch.ending.is_none() && sequence > batch.received {
            out.push(Notice::Gap { expected: batch.received + 1, received: sequence + 1 });
            if !batch.gap_ok {
                if !self.end(number, reply, out) {
                    out.extend(self.open.get(&number).map(FastBatch::flow_notice));
                }
                return;
            }
            batch.received = sequence;
            batch.settle_idle();
            if batch.check_flow(open, out) {
                return;
            }
        }
        out.push(batch.flow_notice());
    }

    /// The message was accepted: it will be in the log.
    pub fn accepted(&mut self, ticket: Ticket) {
        if let Some(batch) = self.open.get_mut(&ticket.batch) {
            batch.pending += 1;
        }
    }

    /// The message is the duplicate of one with this sequence. True while that is on its way: then
    /// [`settle`](Self::settle) is due once it is stored.
    pub fn duplicate(&mut self, ticket: Ticket, of: u64, in_flight: bool, out: &mut Vec<Notice>) -> bool {
        let open = self.open.len();
        let Some(batch) = self.open.get_mut(&ticket.batch) else { return false };
        if batch.ending.is_some() && !batch.gap_ok && batch.received == 1 {
            batch.duplicate_of = Some(of);
        }
        if in_flight {
            batch.pending += 1;
            return true;
        }
        batch.settle_idle();
        batch.check_flow(open, out);
        self.finish(ticket.batch, out);
        false
    }

    /// The message is not stored. Unless gaps are ok, that ends the batch before it.
    pub fn refused(&mut self, ticket: Ticket, reply: &[u8], error: ApiError, out: &mut Vec<Notice>) {
        let Some(batch) = self.open.get_mut(&ticket.batch) else { return };
        if !batch.gap_ok && batch.received == 1 {
            // As for a message of no batch: there is nothing else to tell of.
            self.remove(ticket.batch);
            out.push(Notice::Refused(error));
            return;
        }
        out.push(Notice::Error { sequence: ticket.sequence, error });
        if batch.gap_ok && batch.ending.is_none() {
            return;
        }
        batch.received -= 1;
        self.end(ticket.batch, reply, out);
    }

    /// The message is stored for good, as `sequence`, or was before when there is none.
    pub fn settle(&mut self, ticket: Ticket, sequence: Option<u64>, out: &mut Vec<Notice>) {
        let open = self.open.len();
        let Some(batch) = self.open.get_mut(&ticket.batch) else { return };
        batch.pending = batch.pending.saturating_sub(1);
        batch.last_sequence = sequence.unwrap_or(batch.last_sequence);
        batch.stored = batch.stored.max(ticket.sequence);
        batch.settle_idle();
        if !self.finish(ticket.batch, out)
            && let Some(batch) = self.open.get_mut(&ticket.batch)
        {
            batch.check_flow(open, out);
        }
    }

    /// The message will never be stored, nor any other of its batch. False when the batch has ended otherwise.
    pub fn fail(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket.batch).is_some()
    }

    /// Nothing more is taken. True when that was all.
    fn end(&mut self, number: NonZeroU64, reply: &[u8], out: &mut Vec<Notice>) -> bool {
        if let Some(batch) = self.open.get_mut(&number) {
            batch.ending.get_or_insert_with(|| reply.into());
        }
        self.finish(number, out)
    }

    fn finish(&mut self, number: NonZeroU64, out: &mut Vec<Notice>) -> bool {
        if self.open.get(&number).is_none_or(|batch| batch.ending.is_none() || batch.pending > 0) {
            return false;
        }
        let Some(batch) = self.remove(number) else { return false };
        out.push(Notice::Committed(Committed {
            reply: batch.ending.unwrap_or_default(),
            id: batch.id,
            sequence: batch.duplicate_of.unwrap_or(batch.last_sequence),
            count: batch.received,
            is_duplicate: batch.duplicate_of.is_some(),
        }));
        true
    }

    fn remove(&mut self, number: NonZeroU64) -> Option<FastBatch> {
        let batch = self.open.remove(&number)?;
        self.numbers.remove(&batch.id);
        Some(batch)
    }

    /// Forgets the batches that nothing came for. One whose messages are on their way is not silent: the disk is.
    pub fn expire(&mut self, now: i64) {
        let idle = self.limits.idle;
        let mut look_at = i64::MAX;
        self.open.retain(|_, batch| {
            if batch.pending > 0 {
                batch.idle_at = batch.idle_at.max(now.saturating_add(idle));
            }
            let stays = batch.idle_at > now;
            if stays {
                look_at = look_at.min(batch.idle_at);
            } else {
                self.numbers.remove(&batch.id);
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
#[path = "fast_batch_tests.rs"]
mod tests;
