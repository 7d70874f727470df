//! When a consumer that nobody uses is removed (U-22): a push consumer when nobody has listened, a pull consumer when
//! nobody has asked, for its inactive threshold.

use super::NEVER;
use super::live::Consumer;
use super::outputs::{Event, Outputs};
use super::view::Context;
use crate::jetstream::api::time::SECOND;

/// A removal that was asked for and did not happen is asked for again after this time.
const RETRY: i64 = 30 * SECOND;

/// When the consumer was last used and when to look again.
#[derive(Clone, Copy, Debug)]
pub struct Inactivity {
    used_at: i64,
    check_at: i64,
}

impl Inactivity {
    pub fn new(now: i64) -> Self {
        Self { used_at: now, check_at: NEVER }
    }

    pub fn touch(&mut self, now: i64) {
        self.used_at = self.used_at.max(now);
    }

    pub fn deadline(&self) -> i64 {
        self.check_at
    }
}

impl Consumer {
    /// Begins, or begins again, to count the time without use.
    pub fn watch_inactivity(&mut self, now: i64) {
        let threshold = self.settings.inactive_threshold;
        let watched = threshold > 0 && (!self.settings.is_push() || !self.interested);
        self.inactivity.touch(now);
        self.inactivity.check_at = if watched { now.saturating_add(threshold) } else { NEVER };
    }

    pub(super) fn check_inactivity(&mut self, context: &Context<'_>, out: &mut Outputs) {
        let now = context.now;
        let threshold = self.settings.inactive_threshold;
        if now < self.inactivity.check_at {
            return;
        }
        let mut again_at = self.inactivity.used_at.saturating_add(threshold);
        if again_at <= now && !self.settings.is_push() {
            let facts = self.heartbeat_facts();
            self.pulls.sweep(true, facts, context, out);
            if !self.pulls.is_empty() {
                again_at = now.saturating_add(threshold);
            }
            again_at = again_at.max(self.in_work_until(threshold, now));
        }
        if again_at > now {
            self.inactivity.check_at = again_at;
            return;
        }
        self.inactivity.check_at = now.saturating_add(RETRY);
        out.event(Event::DeleteInactive);
    }

    /// A client that works on a message has until its redelivery, and the threshold after that. What is due and nobody
    /// has asked for counts, as in nats-server, as delivered when it fell due.
    fn in_work_until(&self, threshold: i64, now: i64) -> i64 {
        let waits = self.state.pending.iter().filter_map(|(_, pending)| {
            let wait = self.settings.redelivery_wait(pending.deliveries)?;
            let due = pending.time.saturating_add(wait);
            let until = if due <= now { due.saturating_add(wait) } else { due };
            Some(until.saturating_add(threshold))
        });
        waits.max().unwrap_or(i64::MIN)
    }
}
