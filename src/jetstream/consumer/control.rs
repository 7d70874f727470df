//! What is done to a consumer rather than with it: pause, reset, new configuration, the end.

use super::NEVER;
use super::delta::Delta;
use super::live::Consumer;
use super::outputs::{Advisory, Outputs};
use super::pull::Pull;
use super::rate_limit::RateLimit;
use super::settings::Settings;
use super::status::Status;
use super::view::Context;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::consumer_config::DeliverPolicy;

/// Why a consumer cannot be reset to a sequence; the text of error 10204.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    #[error("below start seq")]
    BelowStartSequence,
    #[error("below start time")]
    BelowStartTime,
    #[error("not allowed")]
    NotAllowed,
}

/// Why a leader lets go of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Deleted,
    LeadershipLost,
    ServerStops,
}

impl Consumer {
    /// No deliveries before `until`; a time in the past, or 0, resumes. True when the consumer is paused now.
    pub fn pause(&mut self, until: i64, context: &Context<'_>, out: &mut Outputs) -> bool {
        // Any time of long ago means the same.
        let until = until.max(0);
        let paused = until > context.now;
        if until != self.state.pause_until {
            self.record(Delta::Paused { until }, out);
            out.urgent = true;
            out.advisory(Advisory::Paused { until, paused });
        }
        self.pause_ends_at = if paused { until } else { NEVER };
        paused
    }

    /// A new consumer may begin with a pause, which is told like any other, and with each update again.
    pub fn tell_paused(&self, context: &Context<'_>, out: &mut Outputs) {
        if self.state.pause_until > context.now {
            out.advisory(Advisory::Paused { until: self.state.pause_until, paused: true });
        }
    }

    /// Starts over at a sequence, or, for 0, after the ack floor. Returns the sequence; the answer to the client waits
    /// for the commit.
    pub fn reset(
        &mut self,
        sequence: u64,
        config: &ConsumerConfig,
        context: &Context<'_>,
        out: &mut Outputs,
    ) -> Result<u64, ResetError> {
        if sequence > 0 {
            check_reset(sequence, config, context)?;
        }
        let stream = if sequence == 0 { self.state.ack_floor.stream + 1 } else { sequence };
        self.record(Delta::Reset { stream }, out);
        out.urgent = true;
        self.next = self.state.next;
        self.redeliveries.clear();
        self.backlog.forget();
        self.ack_check_at = NEVER;
        Ok(stream)
    }

    /// There is to be another filter: tells what was passed over by this one. That must stand in the log before the
    /// change, and nothing may be delivered in between: else the other replicas, and this one as it counts interest,
    /// take it for what the new filter has yet to deliver.
    pub fn filter_changes(&mut self, out: &mut Outputs) {
        if self.next > self.state.next && self.state.last_per_subject.is_none() {
            self.record(Delta::Advanced { stream: self.next }, out);
        }
    }

    /// A new configuration is in force; a new filter after [`filter_changes`](Self::filter_changes). Those fields that
    /// cannot change are expected to be the same.
    pub fn config_updated(&mut self, settings: Settings, context: &Context<'_>, out: &mut Outputs) {
        let old = std::mem::replace(&mut self.settings, Box::new(settings));
        let now = context.now;
        if old.filter != self.settings.filter {
            self.backlog.forget();
        }
        if old.ack_wait != self.settings.ack_wait || old.backoff != self.settings.backoff {
            self.check_acks_by(if self.state.pending.is_empty() { NEVER } else { now });
        }
        if let (Some(before), Some(push)) = (&old.push, &self.settings.push) {
            let (moved, heartbeat) = (before.subject != push.subject, before.heartbeat != push.heartbeat);
            if (before.rate_bytes, before.burst_bytes) != (push.rate_bytes, push.burst_bytes) {
                let (rate, burst) = (push.rate_bytes, push.burst_bytes);
                self.rate = (rate > 0).then(|| Box::new(RateLimit::new(rate, burst)));
                self.paced_until = self.paced_until.min(now);
            }
            if heartbeat {
                self.postpone_heartbeat(now);
            }
            if moved {
                // Whoever listens now has seen none of it.
                self.redeliver_all(out);
                self.interested = false;
            }
        }
        if old.priority_policy != self.settings.priority_policy {
            self.pin = None;
        }
        if old.inactive_threshold != self.settings.inactive_threshold {
            self.watch_inactivity(now);
        }
    }

    /// Queues everything pending, giving up what was delivered as often as allowed.
    fn redeliver_all(&mut self, out: &mut Outputs) {
        let Self { settings, state, redeliveries, .. } = self;
        let max = settings.deliveries_max;
        let mut exhausted = Vec::new();
        redeliveries.push_where(&mut state.pending, |sequence, pending| {
            let is_exhausted = max > 0 && pending.deliveries >= max;
            if is_exhausted {
                exhausted.push((sequence, pending.deliveries));
            }
            !is_exhausted
        });
        for (sequence, deliveries) in exhausted {
            self.exhaust(sequence, deliveries, out);
        }
    }

    /// Tells everybody who waits that it was in vain. The machine is to be dropped afterwards.
    pub fn end(&mut self, end: End, out: &mut Outputs) {
        let status = |pull: &Pull| match end {
            End::Deleted => Status::ConsumerDeleted,
            End::LeadershipLost => Status::LeadershipChange,
            End::ServerStops => Status::ServerShutdown(pull.remaining()),
        };
        self.pulls.end_all(status, out);
    }

    /// A pull request that needs a newer server than this one.
    pub fn refuse_api_level(reply: &[u8], out: &mut Outputs) {
        let target = out.hold_copy(reply);
        out.status(target, Status::RequiredApiLevel);
    }
}

fn check_reset(sequence: u64, config: &ConsumerConfig, context: &Context<'_>) -> Result<(), ResetError> {
    match config.deliver_policy {
        DeliverPolicy::All => Ok(()),
        DeliverPolicy::ByStartSequence if sequence < config.opt_start_seq => Err(ResetError::BelowStartSequence),
        DeliverPolicy::ByStartSequence => Ok(()),
        DeliverPolicy::ByStartTime => {
            let start = config.opt_start_time.map_or(i64::MIN, |time| time.0);
            let is_below = sequence < context.stream.sequence_at_time(start);
            if is_below { Err(ResetError::BelowStartTime) } else { Ok(()) }
        }
        DeliverPolicy::Last | DeliverPolicy::New | DeliverPolicy::LastPerSubject => Err(ResetError::NotAllowed),
    }
}
