//! Everything a consumer does because time has passed, and the one deadline it asks to be called at.

use super::NEVER;
use super::live::Consumer;
use super::outputs::{Advisory, Outputs, UnpinReason};
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
            let is_blocked = !self.has_place() && self.redeliveries.front(&self.state.pending).is_none();
            self.sweep_pulls_at(is_blocked && self.pulls.is_due(now), context, out);
        }
        if self.pin_deadline() <= now {
            self.end_pin(UnpinReason::Timeout, out);
        }
        self.send_heartbeat(now, out);
        self.check_inactivity(context, out);
    }
}
