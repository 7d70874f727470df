//! The consumer as its leader runs it: the durable state and everything that lives only as long as the leadership -
//! waiting requests, timers, the redelivery queue, flow control.
//!
//! A pure machine: each input is one method, with the time and the world passed in; what is to be done comes out in an
//! [`Outputs`]. It never waits, reads a clock or rolls dice. Every durable change goes through [`Consumer::record`], so
//! that the replicas, applying the same deltas, arrive at the same state.

use super::NEVER;
use super::backlog::Backlog;
use super::delta::Delta;
use super::flow_control::FlowControl;
use super::inactivity::Inactivity;
use super::outputs::{Outputs, TextRef};
use super::priority::Pin;
use super::pull::{HeartbeatFacts, PullQueue};
use super::rate_limit::RateLimit;
use super::redelivery::RedeliveryQueue;
use super::replay::Replay;
use super::settings::Settings;
use super::state::ConsumerState;
use super::unread::Refused;
use super::view::Context;
use crate::jetstream::api::consumer_config::AckPolicy;

/// A consumer on its leader.
#[derive(Clone, Debug)]
pub struct Consumer {
    pub(super) settings: Box<Settings>,
    /// The durable state with all proposed deltas applied: ahead of the replicas, never behind.
    pub(super) state: ConsumerState,
    /// The lowest stream sequence not looked at; at least that of the state.
    pub(super) next: u64,
    pub(super) backlog: Backlog,
    pub(super) pulls: PullQueue,
    pub(super) redeliveries: RedeliveryQueue,
    pub(super) flow: Option<Box<FlowControl>>,
    pub(super) rate: Option<Box<RateLimit>>,
    pub(super) replay: Option<Replay>,
    pub(super) pin: Option<Box<Pin>>,
    pub(super) inactivity: Inactivity,
    /// Somebody listens on the deliver subject.
    pub(super) interested: bool,
    /// When pending messages are next looked at for redelivery.
    pub(super) ack_check_at: i64,
    /// When messages that left the stream without this consumer being told are forgotten.
    pub(super) stock_at: i64,
    pub(super) heartbeat_at: i64,
    pub(super) pause_ends_at: i64,
    pub(super) refused: Option<Refused>,
    /// The rate limit, the replay or the disk says not before.
    pub(super) paced_until: i64,
    /// When the requests were last searched for those that are over.
    pub(super) swept_at: i64,
    /// Numbers the calls of `deliver`.
    pub(super) pass: u64,
    pub(super) sample_credit: u8,
    pub(super) push_text: TextRef,
    pub(super) pin_text: TextRef,
}

impl Consumer {
    /// Takes up a consumer from its durable state. Call [`timer`](Self::timer) once to start it; a push consumer waits
    /// for [`interest_changed`](Self::interest_changed) besides.
    pub fn new(settings: Settings, state: ConsumerState, context: &Context<'_>) -> Self {
        let now = context.now;
        let push = settings.push.as_deref();
        let mut consumer = Self {
            next: state.next,
            backlog: Backlog::default(),
            pulls: PullQueue::default(),
            redeliveries: RedeliveryQueue::default(),
            flow: push.filter(|push| push.flow_control).map(|_| Box::default()),
            rate: push
                .filter(|push| push.rate_bytes > 0)
                .map(|push| Box::new(RateLimit::new(push.rate_bytes, push.burst_bytes))),
            replay: settings.replay_original.then(|| Replay::new(context.stream.last_sequence())),
            pin: None,
            inactivity: Inactivity::new(now),
            interested: false,
            ack_check_at: NEVER,
            stock_at: NEVER,
            heartbeat_at: push.filter(|push| push.heartbeat > 0).map_or(NEVER, |push| now + push.heartbeat),
            pause_ends_at: state.pause_until().filter(|until| *until > now).unwrap_or(NEVER),
            refused: None,
            paced_until: NEVER,
            swept_at: i64::MIN,
            pass: 0,
            sample_credit: 0,
            push_text: TextRef::NONE,
            pin_text: TextRef::NONE,
            settings: Box::new(settings),
            state,
        };
        if !consumer.state.pending.is_empty() && consumer.settings.redelivery_wait(1).is_some() {
            consumer.ack_check_at = now;
        }
        // The leader before this one may have ended between a removal and its own record of it.
        if consumer.tracked().any(|sequence| !context.stream.exists(sequence)) {
            consumer.stock_at = now;
        }
        consumer.watch_inactivity(now);
        consumer
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The durable state as it will be once everything proposed is committed.
    pub fn state(&self) -> &ConsumerState {
        &self.state
    }

    /// True when a stored message, or anything else that changed, may lead to a delivery: call
    /// [`deliver`](Self::deliver) then. Cheap; no message is missed when false.
    pub fn wants_messages(&self, now: i64) -> bool {
        self.gate(now).is_none() && (self.has_place() || !self.redeliveries.is_surely_empty())
    }

    /// True when one message more may be unacknowledged.
    pub(super) fn has_place(&self) -> bool {
        self.state.pending.len() < self.settings.ack_pending_max
    }

    /// How many requests wait, without looking whether somebody still listens.
    pub fn num_waiting(&self) -> usize {
        self.pulls.len()
    }

    /// Makes one durable change: here at once, on the replicas when the deltas are committed.
    pub(super) fn record(&mut self, delta: Delta, out: &mut Outputs) {
        self.state.apply(&delta, |_| {});
        out.urgent |= self.settings.stream.removes_acked && self.releases(&delta);
        out.delta(delta);
    }

    /// True for changes that may let the stream remove a message.
    fn releases(&self, delta: &Delta) -> bool {
        match delta {
            Delta::Acked { .. } | Delta::AckedThrough { .. } => true,
            Delta::Delivered { .. } => self.settings.ack_policy == AckPolicy::None,
            _ => false,
        }
    }

    pub(super) fn heartbeat_facts(&self) -> HeartbeatFacts {
        HeartbeatFacts { last_consumer: self.state.delivered.consumer, last_stream: self.next - 1 }
    }

    /// Ends requests that are over or have nobody listening, and sends due heartbeats. Returns how many messages the
    /// others wait for.
    pub fn sweep_pulls(&mut self, context: &Context<'_>, out: &mut Outputs) -> i64 {
        self.sweep_pulls_at(false, context, out)
    }

    /// The same, and ends also what does not wait when `end_of_stream`.
    pub(super) fn sweep_pulls_at(&mut self, end_of_stream: bool, context: &Context<'_>, out: &mut Outputs) -> i64 {
        self.swept_at = context.now;
        let facts = self.heartbeat_facts();
        self.pulls.sweep(end_of_stream, facts, context, out)
    }
}
