//! Messages that can not be read when their turn comes, and deliveries that came to nothing: nobody was given them.

use super::deliver::Blocked;
use super::delta::Delta;
use super::live::Consumer;
use super::outputs::{Advisory, DropReason, Outputs};
use super::status::{Remaining, Status};
use super::view::{Context, MessageSize, Unread};
use crate::jetstream::api::time::SECOND;

/// Between two attempts to read a message that the disk refuses.
const REFUSED_PAUSE: i64 = SECOND;
/// After so many attempts in a row it is passed over: one bad sector must not end a consumer.
const REFUSED_MAX: u32 = 30;

/// The message that the disk refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    sequence: u64,
    attempts: u32,
    /// Not before.
    again_at: i64,
}

/// Why a delivery came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Nobody listens.
    NobodyThere,
    /// The message could not be read any more when it was sent.
    Unread,
}

impl Consumer {
    /// Reads the next message. `None` when it never can be; while the disk refuses it, it is waited for.
    pub(super) fn look_at(&mut self, sequence: u64, context: &Context<'_>) -> Result<Option<MessageSize>, Blocked> {
        let known = self.refused.filter(|refused| refused.sequence == sequence);
        if let Some(refused) = known.filter(|refused| refused.again_at > context.now) {
            // Whatever else has set it meanwhile.
            self.paced_until = refused.again_at;
            return Err(Blocked::Unread);
        }
        match context.stream.size_of(sequence) {
            Ok(size) => Ok(Some(size)),
            Err(Unread::Damaged) => Ok(None),
            Err(Unread::Refused) => {
                let attempts = known.map_or(0, |refused| refused.attempts) + 1;
                if attempts >= REFUSED_MAX {
                    self.refused = None;
                    return Ok(None);
                }
                let again_at = context.now.saturating_add(REFUSED_PAUSE);
                self.refused = Some(Refused { sequence, attempts, again_at });
                self.paced_until = again_at;
                Err(Blocked::Unread)
            }
        }
    }

    /// When a message is asked for again that the disk refused.
    pub(super) fn is_refused(&self, now: i64) -> bool {
        self.refused.is_some_and(|refused| refused.again_at > now)
    }

    /// Goes on behind a message that can not be read, and tells so. The stream keeps it.
    pub(super) fn pass_over(&mut self, sequence: u64, is_first: bool, context: &Context<'_>, out: &mut Outputs) {
        if !is_first {
            return self.drop_message(sequence, Some(DropReason::Unreadable), context.now, out);
        }
        self.backlog.delivered();
        out.advisory(Advisory::Dropped {
            consumer_sequence: 0,
            stream_sequence: sequence,
            deliveries: 0,
            reason: DropReason::Unreadable,
        });
        self.record(Delta::Advanced { stream: sequence + 1 }, out);
        self.next = (sequence + 1).max(self.state.next);
    }

    /// A message did not get to `target`, the subject it was sent to: a pull consumer delivers it again at once, this time
    /// not counting as one more.
    pub fn not_delivered(
        &mut self,
        sequence: u64,
        target: &[u8],
        why: Undelivered,
        context: &Context<'_>,
        out: &mut Outputs,
    ) {
        if self.settings.is_push() && why == Undelivered::NobodyThere {
            // It goes on when somebody listens again, and with this one when its wait is over.
            return;
        }
        match why {
            Undelivered::NobodyThere => self.pulls.forget(target),
            Undelivered::Unread if self.settings.is_push() || self.pulls.credit(target) => {}
            Undelivered::Unread => {
                // It was the last one of its request, which is over: whoever asked waits for it no longer.
                let target = out.hold_copy(target);
                out.status(target, Status::RequestTimeout(Remaining { messages: 1, bytes: 0 }));
            }
        }
        if let Some(pending) = self.state.pending.get(sequence) {
            let (consumer, deliveries) = (self.state.delivered.consumer, pending.deliveries.saturating_sub(1));
            // Due at once, also for the next leader.
            let time = context.now.saturating_sub(self.settings.redelivery_wait(deliveries).unwrap_or(0));
            self.record(Delta::Redelivered { stream: sequence, consumer, deliveries, time }, out);
            self.redeliveries.push(sequence, &mut self.state.pending);
        }
    }
}
