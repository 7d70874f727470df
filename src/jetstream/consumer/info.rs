//! What a consumer says about itself: the numbers of an info reply, and why nothing is being delivered.

use super::deliver::Blocked;
use super::live::Consumer;
use super::outputs::Outputs;
use super::state::SequencePair;
use super::view::Context;
use crate::jetstream::api::consumer_info::{ConsumerInfo, PriorityGroupState, SequenceInfo};
use crate::jetstream::api::time::Timestamp;

impl Consumer {
    /// The info reply as of now, without what the consumer does not know: names, creation time, configuration, cluster.
    /// Requests that are over are ended first, so that they do not count.
    pub fn info(&mut self, context: &Context<'_>, out: &mut Outputs) -> ConsumerInfo {
        if !self.settings.is_push() {
            self.sweep_pulls(context, out);
        }
        let num_pending = self.num_pending(context.stream);
        let state = &self.state;
        let pause_remaining = state.pause_until.saturating_sub(context.now).max(0);
        let group = self.settings.priority_groups.first().map(|group| PriorityGroupState {
            group: group.to_string(),
            pinned_client_id: self
                .pin
                .as_ref()
                .map_or_else(String::new, |pin| String::from_utf8_lossy(pin.id()).into()),
            pinned_ts: self.pin.as_ref().map_or(Timestamp::ZERO, |pin| Timestamp(pin.since())),
        });
        ConsumerInfo {
            delivered: sequence_info(state.delivered, state.delivered_time()),
            ack_floor: sequence_info(state.told_floor(), state.acked_time()),
            num_ack_pending: state.pending.len() as u64,
            // With a single delivery allowed there are no redeliveries to report.
            num_redelivered: if self.settings.deliveries_max == 1 { 0 } else { state.redelivered() as u64 },
            num_waiting: self.pulls.len() as u64,
            num_pending,
            push_bound: self.settings.is_push() && self.interested,
            paused: pause_remaining > 0,
            pause_remaining,
            ts: Timestamp(context.now),
            priority_groups: group.into_iter().collect(),
            ..ConsumerInfo::default()
        }
    }

    /// The rule that keeps this consumer from delivering; `None` when a call of [`deliver`](Self::deliver) is due.
    /// A consumer for which this stays `None` without a delivery is stuck, which is a defect.
    pub fn why_not_delivering(&self, context: &Context<'_>) -> Option<Blocked> {
        let now = context.now;
        if let Some(blocked) = self.gate(now) {
            return Some(blocked);
        }
        if self.is_refused(now) {
            return Some(Blocked::Unread);
        }
        if self.paced_until != super::NEVER && self.paced_until > now {
            return Some(if self.replay.is_some() { Blocked::ReplayPace } else { Blocked::RateLimit });
        }
        let mut redeliveries = self.redeliveries.clone();
        let redelivers = redeliveries.front(&self.state.pending).is_some();
        if !redelivers && !self.has_place() {
            return Some(Blocked::MaxAckPending);
        }
        if !redelivers && !self.has_more(context) {
            return Some(Blocked::NothingPending);
        }
        (!self.settings.is_push() && !self.any_eligible()).then_some(Blocked::NoEligiblePull)
    }

    fn has_more(&self, context: &Context<'_>) -> bool {
        let stream = context.stream;
        let listed = self
            .state
            .last_per_subject
            .as_ref()
            .is_some_and(|list| list.remaining(self.next).iter().any(|sequence| stream.exists(*sequence)));
        let from = self.state.last_per_subject.as_ref().map_or(self.next, |list| self.next.max(list.resume() + 1));
        let next = stream.next_matching(from, &self.settings.filter);
        listed || next.is_some_and(|sequence| sequence <= stream.last_sequence())
    }
}

fn sequence_info(pair: SequencePair, active_at: Option<i64>) -> SequenceInfo {
    SequenceInfo { consumer_seq: pair.consumer, stream_seq: pair.stream, last_active: active_at.map(Timestamp) }
}
