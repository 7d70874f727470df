//! The push side of a consumer (D-01, D-15, U-20): interest in the deliver subject, heartbeats, flow control.

use bytes::Bytes;

use super::NEVER;
use super::live::Consumer;
use super::outputs::{Outputs, TextRef};
use super::reply_subject::ReplyNumbers;
use super::status::Status;
use super::view::Context;
use crate::jetstream::api::consumer_config::AckPolicy;
use crate::protocol::headers;

impl Consumer {
    /// Somebody began, or nobody goes on, to listen on the deliver subject.
    pub fn interest_changed(&mut self, interested: bool, now: i64) {
        if !self.settings.is_push() {
            return;
        }
        let changed = self.interested != interested;
        self.interested = interested;
        if changed {
            self.watch_inactivity(now);
        }
    }

    /// A message on a flow control subject of this consumer.
    pub fn flow_control_reply(&mut self, subject: &[u8], header: &[u8], context: &Context<'_>, out: &mut Outputs) {
        if !self.flow.as_mut().is_some_and(|flow| flow.answered(subject)) {
            return;
        }
        if self.settings.ack_policy == AckPolicy::FlowControl {
            // The answer says how far the client has come, which is its ack.
            let number = |name| headers::get_str(header, name).and_then(|text| text.parse().ok()).unwrap_or(0);
            let numbers = ReplyNumbers {
                stream_sequence: number("Nats-Last-Stream"),
                consumer_sequence: number("Nats-Last-Consumer"),
                deliveries: 1,
                ..ReplyNumbers::default()
            };
            if numbers.stream_sequence > 0 {
                self.ack(&numbers, b"", None, context, out);
            }
        }
    }

    /// Where a push consumer sends to.
    pub(super) fn push_target(&mut self, out: &mut Outputs) -> TextRef {
        match &self.settings.push {
            Some(push) => out.hold_once(&push.subject, &mut self.push_text),
            None => TextRef::NONE,
        }
    }

    /// Counts a pushed message; asks the client for a sign of life when it is time.
    pub(super) fn count_pushed(&mut self, bytes: u64, now: i64, out: &mut Outputs) {
        let waits_for_acks = self.settings.ack_policy == AckPolicy::FlowControl && !self.has_place();
        let Some(flow) = &mut self.flow else { return };
        if flow.sent(bytes) || (waits_for_acks && flow.unanswered().is_none()) {
            self.request_flow_control(now, out);
        }
    }

    fn request_flow_control(&mut self, now: i64, out: &mut Outputs) {
        let Some(flow) = &mut self.flow else { return };
        let subject = flow.request(&self.settings.stream.flow_prefix, now);
        let reply = out.hold(&subject);
        let target = self.push_target(out);
        out.status(target, Status::FlowControl { reply });
    }

    pub(super) fn postpone_heartbeat(&mut self, now: i64) {
        let heartbeat = self.settings.push.as_ref().map_or(0, |push| push.heartbeat);
        self.heartbeat_at = if heartbeat > 0 { now.saturating_add(heartbeat) } else { NEVER };
    }

    /// Tells an idle client that the consumer lives, paused or not.
    pub(super) fn send_heartbeat(&mut self, now: i64, out: &mut Outputs) {
        if now < self.heartbeat_at {
            return;
        }
        self.postpone_heartbeat(now);
        if !self.interested {
            return;
        }
        let facts = self.heartbeat_facts();
        let unanswered: Option<Bytes> = self.flow.as_ref().and_then(|flow| flow.unanswered().cloned());
        let stalled = unanswered.as_ref().map_or(TextRef::NONE, |subject| out.hold(subject));
        let target = self.push_target(out);
        let (last_consumer, last_stream) = (facts.last_consumer, facts.last_stream);
        out.status(target, Status::IdleHeartbeat { last_consumer, last_stream, stalled });
        // With acks by flow control the last messages would never be acked without a request.
        let acks_by_flow = self.settings.ack_policy == AckPolicy::FlowControl;
        if acks_by_flow && unanswered.is_none() && !self.state.pending.is_empty() {
            self.request_flow_control(now, out);
        }
    }
}
