//! Messages that were not acknowledged in time, or as often as allowed (U-06 to U-08), and messages that leave the
//! stream while they are pending.

use super::NEVER;
use super::delta::Delta;
use super::live::Consumer;
use super::outputs::{Advisory, DropReason, Outputs};
use super::view::Context;
use crate::jetstream::api::time::MILLISECOND;

/// Bursts of deliveries are looked at together; more pending messages are looked at less often.
const CHECK_GAP_MIN: i64 = MILLISECOND;
const CHECK_GAP_PER_PENDING: i64 = 100;

impl Consumer {
    /// Makes sure that pending messages are looked at by `deadline`.
    pub(super) fn check_acks_by(&mut self, deadline: i64) {
        self.ack_check_at = self.ack_check_at.min(deadline);
    }

    /// A message was just delivered, or reported as being worked on, for the `deliveries`-th time.
    pub(super) fn watch_acks_of(&mut self, deliveries: u32, now: i64) {
        if let Some(wait) = self.settings.redelivery_wait(deliveries).filter(|wait| *wait > 0) {
            self.check_acks_by(now.saturating_add(wait));
        }
    }

    /// Queues for redelivery what is due, or gives up what was delivered as often as allowed.
    pub(super) fn check_acks(&mut self, now: i64, out: &mut Outputs) {
        if now < self.ack_check_at {
            return;
        }
        let Self { settings, state, redeliveries, .. } = self;
        let mut next = NEVER;
        let mut exhausted = Vec::new();
        redeliveries.push_where(&mut state.pending, |sequence, pending| {
            let Some(wait) = settings.redelivery_wait(pending.deliveries) else { return false };
            let due = pending.time.saturating_add(wait);
            if due > now {
                next = next.min(due);
                return false;
            }
            let is_exhausted = settings.deliveries_max > 0 && pending.deliveries >= settings.deliveries_max;
            if is_exhausted {
                exhausted.push((sequence, pending.deliveries));
            }
            !is_exhausted
        });
        for (sequence, deliveries) in exhausted {
            self.exhaust(sequence, deliveries, out);
        }
        let gap = CHECK_GAP_MIN.max(self.state.pending.len() as i64 * CHECK_GAP_PER_PENDING);
        self.ack_check_at = if next == NEVER { NEVER } else { next.max(now.saturating_add(gap)) };
    }

    pub(super) fn is_exhausted(&self, deliveries: u32) -> bool {
        self.settings.deliveries_max > 0 && deliveries >= self.settings.deliveries_max
    }

    /// Gives up a message; told once, as it is no longer pending afterwards.
    pub(super) fn exhaust(&mut self, stream: u64, deliveries: u32, out: &mut Outputs) {
        out.advisory(Advisory::MaxDeliveries { stream_sequence: stream, deliveries });
        self.record(Delta::Exhausted { stream, deliveries }, out);
    }

    /// A single message left the stream: deleted, replaced by a newer one of its subject, or beyond a limit. To be told
    /// of each before the next step, in any order.
    pub fn message_removed(&mut self, sequence: u64, subject: &[u8], now: i64, out: &mut Outputs) {
        if self.is_ahead(sequence) {
            if self.settings.filter.matches(subject) {
                self.backlog.removed(sequence);
            }
            return;
        }
        self.drop_message(sequence, Some(DropReason::Deleted), now, out);
    }

    /// Everything below `first` left the stream by a limit, too much to tell one by one.
    pub fn messages_removed_before(&mut self, first: u64, now: i64, out: &mut Outputs) {
        self.drop_where(Some(DropReason::Limits), |sequence| sequence < first, now, out);
        if self.next < first {
            self.backlog.forget();
        }
    }

    /// The stream was purged: wholly, up to a sequence, or of some subjects.
    pub fn stream_purged(&mut self, context: &Context<'_>, out: &mut Outputs) {
        let first = context.stream.first_sequence();
        if self.state.told_floor().stream + 1 < first {
            let was_pending = self.state.pending.first().is_some_and(|(oldest, _)| oldest < first);
            let time = if was_pending { context.now } else { 0 };
            self.record(Delta::Purged { stream: first, time }, out);
            self.next = self.next.max(self.state.next);
        }
        self.drop_where(None, |sequence| !context.stream.exists(sequence), context.now, out);
        self.backlog.forget();
    }

    /// Forgets what left the stream while nobody led this consumer: it would count against `max_ack_pending` until its
    /// wait is over, and what was given up for ever.
    pub(super) fn take_stock(&mut self, context: &Context<'_>, out: &mut Outputs) {
        if self.stock_at <= context.now {
            self.stock_at = NEVER;
            self.drop_where(None, |sequence| !context.stream.exists(sequence), context.now, out);
        }
    }

    /// The messages that were delivered and are not done.
    pub(super) fn tracked(&self) -> impl Iterator<Item = u64> {
        let pending = self.state.pending.iter().map(|(sequence, _)| sequence);
        pending.chain(self.state.exhausted.keys().copied())
    }

    fn drop_where(&mut self, reason: Option<DropReason>, gone: impl Fn(u64) -> bool, now: i64, out: &mut Outputs) {
        let dropped: Vec<u64> = self.tracked().filter(|sequence| gone(*sequence)).collect();
        for sequence in dropped {
            self.drop_message(sequence, reason, now, out);
        }
    }

    /// Forgets a message that was delivered and is not done.
    pub(super) fn drop_message(&mut self, stream: u64, reason: Option<DropReason>, now: i64, out: &mut Outputs) {
        let pending = self.state.pending.get(stream);
        if let (Some(pending), Some(reason)) = (pending, reason) {
            out.advisory(Advisory::Dropped {
                consumer_sequence: pending.consumer_sequence,
                stream_sequence: stream,
                deliveries: pending.deliveries,
                reason,
            });
        }
        if pending.is_some() || self.state.exhausted.contains_key(&stream) {
            self.record(Delta::Removed { stream, count: 1, time: now }, out);
        }
    }
}
