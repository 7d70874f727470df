//! Which message goes next, to whom, and whether at all: one pass delivers until a rule stops it.
//!
//! HOT PATH: an unfiltered replay asks the stream once per run of messages and allocates nothing per message.

use super::delta::Delta;
use super::live::Consumer;
use super::outputs::{Delivery, DropReason, Event, Outputs, TextRef};
use super::priority::{Candidate, Claim};
use super::reply_subject::ReplyNumbers;
use super::status::Status;
use super::view::{Context, MessageSize, Run};

/// How far the position may run ahead of the durable one over messages that do not match, before it is worth a delta.
const UNRECORDED_MAX: u64 = 8192;

/// What the numbers of a reply subject usually take.
const REPLY_NUMBERS_LEN: usize = 36;

/// The rule that keeps a consumer from delivering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Everything that matches is delivered.
    NothingPending,
    /// As many messages are unacknowledged as may be.
    MaxAckPending,
    /// Nobody waits for a message.
    NoWaitingPull,
    /// Requests wait, but the priority policy gives them nothing now.
    NoEligiblePull,
    Paused,
    /// Nobody listens on the deliver subject.
    NoInterest,
    /// The client has not answered a flow control request.
    FlowControl,
    RateLimit,
    /// Replay at the original pace: the next message is not due.
    ReplayPace,
    /// The disk refuses the next message.
    Unread,
}

/// How much one pass may deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassBound {
    pub messages: usize,
    /// Subjects, headers and payloads; the message that reaches it is the last one.
    pub bytes: u64,
}

/// The end of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub delivered: usize,
    /// `None` when the pass ended at the bound it was given: call again.
    pub blocked: Option<Blocked>,
}

/// What one pass knows.
struct Pass {
    /// The last committed sequence.
    last: u64,
    run: Option<Run>,
    run_max: u64,
}

impl Consumer {
    /// Delivers until the bound is reached or a rule stops it.
    pub fn deliver(&mut self, bound: PassBound, context: &Context<'_>, out: &mut Outputs) -> Progress {
        self.pass += 1;
        self.check_acks(context.now, out);
        let mut progress = Progress { delivered: 0, blocked: self.gate(context.now) };
        if progress.blocked.is_none() {
            self.num_pending(context.stream);
            let mut pass = Pass { last: context.stream.last_sequence(), run: None, run_max: bound.messages as u64 };
            let mut bytes = 0;
            while progress.delivered < bound.messages && bytes < bound.bytes {
                match self.deliver_one(&mut pass, context, out) {
                    Ok(delivered_bytes) => {
                        progress.delivered += 1;
                        bytes += delivered_bytes;
                    }
                    Err(blocked) => {
                        progress.blocked = Some(blocked);
                        break;
                    }
                }
            }
        }
        self.end_pass(&progress, context, out);
        progress
    }

    /// The rule that forbids any delivery, whatever the stream holds.
    pub(super) fn gate(&self, now: i64) -> Option<Blocked> {
        if self.state.pause_until > now {
            return Some(Blocked::Paused);
        }
        if self.settings.is_push() {
            if !self.interested {
                return Some(Blocked::NoInterest);
            }
            return self.is_stalled().then_some(Blocked::FlowControl);
        }
        self.pulls.is_empty().then_some(Blocked::NoWaitingPull)
    }

    fn is_stalled(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.is_stalled())
    }

    fn end_pass(&mut self, progress: &Progress, context: &Context<'_>, out: &mut Outputs) {
        if progress.delivered > 0 {
            self.postpone_heartbeat(context.now);
            if !self.settings.is_push() {
                self.inactivity.touch(context.now);
            }
        }
        // A request that does not wait ends here, except that a place to be freed by an ack is worth waiting for.
        let is_end = progress.blocked.is_some_and(|blocked| blocked != Blocked::MaxAckPending);
        if !self.pulls.is_empty() && is_end && (self.pulls.deadline() <= context.now || self.pulls.any_no_wait()) {
            let facts = self.heartbeat_facts();
            self.pulls.sweep(true, facts, context, out);
        }
        if self.replay.as_ref().is_some_and(|replay| replay.is_over(self.next)) {
            self.replay = None;
        }
        if self.next.saturating_sub(self.state.next) >= UNRECORDED_MAX && self.state.last_per_subject.is_none() {
            self.record(Delta::Advanced { stream: self.next }, out);
        }
    }

    /// Delivers the next message, or passes over one that can not be read, and returns its bytes.
    fn deliver_one(&mut self, pass: &mut Pass, context: &Context<'_>, out: &mut Outputs) -> Result<u64, Blocked> {
        if self.settings.is_push() {
            if self.is_stalled() {
                return Err(Blocked::FlowControl);
            }
        } else if self.pulls.is_empty() {
            return Err(Blocked::NoWaitingPull);
        }
        let (candidate, is_first) = match self.next_redelivery(context, out) {
            Some(candidate) => (candidate, false),
            None => (self.next_first_delivery(pass, context, out)?, true),
        };
        // It is read here, and found again when it is sent.
        let size = match self.look_at(candidate.sequence, context)? {
            Some(size) => size,
            None => {
                self.pass_over(candidate.sequence, is_first, context, out);
                return Ok(0);
            }
        };
        let bytes = self.typical_bytes(size);
        let claim = if self.settings.is_push() {
            self.check_pace(&candidate, is_first, bytes, context)?;
            Claim { target: self.push_target(out), pin: TextRef::NONE, completed: None }
        } else {
            self.check_pace(&candidate, is_first, bytes, context)?;
            let claim = self.claim_pull(candidate, context, out);
            claim.ok_or(if self.pulls.is_empty() { Blocked::NoWaitingPull } else { Blocked::NoEligiblePull })?
        };
        self.emit(candidate, is_first, claim, context, out);
        self.count_pushed(bytes, context.now, out);
        if is_first && let Some(run) = &mut pass.run {
            (run.first, run.count) = (run.first + 1, run.count - 1);
        }
        Ok(bytes)
    }

    /// The message at the head of the redelivery queue. It needs no free place among the unacknowledged ones.
    fn next_redelivery(&mut self, context: &Context<'_>, out: &mut Outputs) -> Option<Candidate> {
        loop {
            let sequence = self.redeliveries.front(&self.state.pending)?;
            let deliveries = self.state.pending.get(sequence).map_or(0, |pending| pending.deliveries);
            if !context.stream.exists(sequence) {
                self.drop_message(sequence, Some(DropReason::Deleted), context.now, out);
            } else if self.is_exhausted(deliveries) {
                self.exhaust(sequence, deliveries, out);
            } else {
                let pending = self.backlog.messages().saturating_add(1);
                return Some(Candidate { sequence, deliveries: deliveries.saturating_add(1), pending });
            }
        }
    }

    fn next_first_delivery(
        &mut self,
        pass: &mut Pass,
        context: &Context<'_>,
        out: &mut Outputs,
    ) -> Result<Candidate, Blocked> {
        if !self.has_place() {
            return Err(Blocked::MaxAckPending);
        }
        let sequence = match self.next_listed(context, out) {
            Some(sequence) => Some(sequence),
            None => self.next_in_stream(pass, context),
        };
        let Some(sequence) = sequence else {
            self.next = self.next.max(pass.last + 1);
            self.backlog.ran_dry(pass.last);
            return Err(Blocked::NothingPending);
        };
        // Everything before it is looked at, also when it cannot go now.
        self.next = sequence;
        Ok(Candidate { sequence, deliveries: 1, pending: self.backlog.messages() })
    }

    /// The next one of the list that a `last_per_subject` consumer delivers first.
    fn next_listed(&mut self, context: &Context<'_>, out: &mut Outputs) -> Option<u64> {
        loop {
            let list = self.state.last_per_subject.as_mut()?;
            match list.first_from(self.next) {
                Some(sequence) if context.stream.exists(sequence) => return Some(sequence),
                Some(sequence) => self.next = sequence + 1,
                None => {
                    // The rest of the list has left the stream.
                    let stream = list.resume() + 1;
                    self.record(Delta::Advanced { stream }, out);
                    self.next = self.next.max(self.state.next);
                }
            }
        }
    }

    fn next_in_stream(&mut self, pass: &mut Pass, context: &Context<'_>) -> Option<u64> {
        if pass.run.is_none_or(|run| run.count == 0 || run.first != self.next) {
            let run = context.stream.next_matching_run(self.next, &self.settings.filter, pass.run_max);
            pass.run = run.filter(|run| run.first <= pass.last);
        }
        // Never beyond what is committed.
        pass.run.map(|run| run.first).filter(|sequence| *sequence <= pass.last)
    }

    /// Holds a message back that the original pace or the rate limit does not let go yet.
    fn check_pace(
        &mut self,
        candidate: &Candidate,
        is_first: bool,
        bytes: u64,
        context: &Context<'_>,
    ) -> Result<(), Blocked> {
        let now = context.now;
        if let Some(replay) = self.replay.as_ref().filter(|_| is_first) {
            let ready_at = context.stream.time_of(candidate.sequence).map_or(now, |stored| replay.ready_at(stored));
            if ready_at > now {
                self.paced_until = ready_at;
                return Err(Blocked::ReplayPace);
            }
        }
        if let Some(rate) = &mut self.rate {
            let ready_at = rate.ready_at(bytes, now);
            if ready_at > now {
                self.paced_until = ready_at;
                return Err(Blocked::RateLimit);
            }
            rate.take(bytes, now);
        }
        Ok(())
    }

    fn emit(&mut self, candidate: Candidate, is_first: bool, claim: Claim, context: &Context<'_>, out: &mut Outputs) {
        let Candidate { sequence, deliveries, .. } = candidate;
        let time = context.now;
        let consumer = self.state.delivered.consumer + 1;
        if is_first {
            self.backlog.delivered();
            self.record(Delta::Delivered { stream: sequence, consumer, count: 1, time }, out);
            self.next = (sequence + 1).max(self.state.next);
            if let Some(replay) = &mut self.replay {
                replay.delivered(context.stream.time_of(sequence).unwrap_or(time), time);
            }
        } else {
            self.redeliveries.remove(sequence, &mut self.state.pending);
            self.record(Delta::Redelivered { stream: sequence, consumer, deliveries, time }, out);
        }
        self.watch_acks_of(deliveries, time);
        let pending = self.backlog.messages();
        let Claim { target, pin, completed } = claim;
        out.event(Event::Deliver(Delivery { sequence, consumer_sequence: consumer, pending, deliveries, target, pin }));
        if let Some(remaining) = completed {
            out.status(target, Status::BatchCompleted(remaining));
        }
    }

    /// Near enough for a window, a rate and a pass: the numbers of the reply subject count as an average.
    fn typical_bytes(&self, size: MessageSize) -> u64 {
        let reply = self.settings.stream.reply_prefix.len() + REPLY_NUMBERS_LEN;
        u64::from(size.subject) + reply as u64 + u64::from(self.body_bytes(size))
    }

    fn body_bytes(&self, size: MessageSize) -> u32 {
        if self.settings.headers_only { headers_only_bytes(size) } else { size.headers.saturating_add(size.payload) }
    }

    /// The size of a message as a client counts it: subject, reply subject, headers and payload.
    pub(super) fn message_bytes(&self, candidate: &Candidate, context: &Context<'_>) -> u64 {
        let size = context.stream.size_of(candidate.sequence).unwrap_or_default();
        let numbers = ReplyNumbers {
            deliveries: candidate.deliveries,
            stream_sequence: candidate.sequence,
            consumer_sequence: self.state.delivered.consumer + 1,
            time: context.stream.time_of(candidate.sequence).unwrap_or(0),
            pending: candidate.pending.saturating_sub(1),
        };
        let reply = self.settings.stream.reply_prefix.len() + numbers.text_len();
        u64::from(size.subject) + reply as u64 + u64::from(self.body_bytes(size))
    }
}

/// Without its payload, whose size stands in a header instead.
fn headers_only_bytes(size: MessageSize) -> u32 {
    const FIRST_LINE: u32 = "NATS/1.0\r\n\r\n".len() as u32;
    const HEADER: u32 = "Nats-Msg-Size: \r\n".len() as u32;
    let digits = size.payload.checked_ilog10().unwrap_or(0) + 1;
    size.headers.max(FIRST_LINE) + HEADER + digits
}
