//! Everything a consumer does because time has passed, and the one deadline it asks to be called at.

use super::NEVER;
use super::live::Consumer;
use super::outputs::{Advisory, Event, Outputs, UnpinReason};
use super::view::Context;

impl Consumer {
    /// The earliest time at which [`timer`](Self::timer) has something to do; `None` without any.
    pub fn deadline(&self) -> Option<i64> {
        let deadlines = [
            self.ack_check_at,
            self.stock_at,
            self.pulls.deadline(),
            self.heartbeat_at,
            self.pause_ends_at,
            self.paced_until,
            self.pin_deadline(),
            self.inactivity.deadline(),
        ];
        deadlines.into_iter().min().filter(|deadline| *deadline != NEVER)
    }

    /// Time has passed; to be called at the deadline asked for, harmless earlier. Deliver afterwards.
    pub fn timer(&mut self, context: &Context<'_>, out: &mut Outputs) {
        let now = context.now;
        if self.timer_at <= now {
            self.timer_at = NEVER;
        }
        if self.paced_until <= now {
            self.paced_until = NEVER;
        }
        if self.pause_ends_at <= now {
            self.pause_ends_at = NEVER;
            out.advisory(Advisory::Paused { until: self.state.pause_until, paused: false });
        }
        self.take_stock(context, out);
        self.check_acks(now, out);
        if self.pulls.deadline() <= now {
            // Requests that do not wait were spared while an ack might have made room; when there is something to tell
            // to any request, that is over, as there.
            let is_full = self.state.pending.len() >= self.settings.ack_pending_max
                && self.redeliveries.front(&self.state.pending).is_none();
            self.sweep_pulls_at(is_full && self.pulls.is_due(now), context, out);
        }
        if self.pin_deadline() <= now {
            self.end_pin(UnpinReason::Timeout, out);
        }
        self.send_heartbeat(now, out);
        self.check_inactivity(context, out);
        self.announce_timer(out);
    }

    /// The timers of a stream's consumers are set anew. The same as [`deadline`](Self::deadline), which is taken for asked for.
    pub fn renew_timer(&mut self) -> Option<i64> {
        let deadline = self.deadline();
        self.timer_at = deadline.unwrap_or(NEVER);
        deadline
    }

    /// Asks to be called earlier than was asked for before.
    pub(super) fn announce_timer(&mut self, out: &mut Outputs) {
        let Some(at) = self.deadline() else { return };
        if at < self.timer_at {
            self.timer_at = at;
            out.event(Event::SetTimer { at });
        }
    }
}
