//! HOT PATH: no allocation per message.
//! The shell of fast batches (P-12): their messages go the way of all others, and this sends what their publishers are
//! told meanwhile. What `stream/fast_batches.rs` decides, this does.

use super::Core;
use super::answers::{Duplicate, Reply};
use crate::account::InternalMessage;
use crate::jetstream::api::{ApiError, batch_flow, error_codes};
use crate::jetstream::stream::{
    Accept, FastBatches, FastMessage, Notice, PublishHeaders, Refusal, Room, Ticket, is_of_fast_batch,
    without_required_level,
};
use crate::router::Publisher;

/// The fast batches of a stream that has had one.
pub(super) struct Fast {
    pub(super) batches: FastBatches,
    notices: Vec<Notice>,
}

impl Core {
    /// Whether the message belongs to a fast batch. A stream without them refuses it like any other message.
    #[inline]
    pub(super) fn is_of_fast_batch(&self, message: &InternalMessage<'_>) -> bool {
        self.config().allow_batched && message.reply.is_some_and(is_of_fast_batch)
    }

    /// Decides on a message of a fast batch; `admitted` is why the journal takes no message, when it does not. What is
    /// accepted must be stored, and then [`settle_fast`](Self::settle_fast) be called.
    pub(super) fn take_fast(
        &mut self,
        message: &InternalMessage<'_>,
        admitted: Result<&Room, &ApiError>,
        publisher: &mut Publisher,
    ) -> Option<(Accept, Ticket)> {
        let publish = self.as_publish(message, publisher)?;
        let reply = message.reply?;
        if let Ok(room) = admitted
            && let Err(refusal) = self.machine.check_part(&publish, room)
        {
            self.refused(message, refusal, publisher);
            return None;
        }
        let shared = &self.shared;
        let fast = self.fast.get_or_insert_with(|| {
            let batches = FastBatches::new(shared.limits().fast_batches, shared.fast_budget.clone());
            Box::new(Fast { batches, notices: Vec::new() })
        });
        let asked = PublishHeaders::parse(message.headers);
        let now = shared.now();
        let of_batch = FastMessage { reply, required_level: asked.required_level };
        let Fast { batches, notices } = &mut **fast;
        let taken = batches.step(&of_batch, now, notices).and_then(|ticket| {
            let decided = match admitted {
                Ok(room) => self.machine.decide_in_fast_batch(&publish, &asked, now, room, &self.store),
                Err(error) => Err(Refusal::Error(error.clone())),
            };
            match decided {
                Ok(accept) => {
                    batches.accepted(ticket);
                    return Some((accept, ticket));
                }
                Err(Refusal::Duplicate { sequence, in_flight }) => {
                    if batches.duplicate(ticket, sequence, in_flight, notices) {
                        let reply = Reply::new(reply);
                        self.duplicates.push(Duplicate { sequence, reply, of_batch: Some(ticket) });
                    }
                }
                Err(Refusal::Busy) => {
                    batches.refused(ticket, reply, error_codes::STREAM_TOO_MANY_REQUESTS.error(), notices);
                }
                Err(Refusal::Error(error)) => batches.refused(ticket, reply, error, notices),
            }
            None
        });
        self.tell_of_batch(reply, publisher);
        self.watch_fast_batches();
        let (mut accept, ticket) = taken?;
        if asked.required_level.is_some() {
            accept.headers =
                without_required_level(accept.headers.as_deref().unwrap_or(message.headers)).or(accept.headers);
        }
        Some((accept, ticket))
    }

    /// The message of this ticket is durable, as `sequence`; without one it is the duplicate of a message that is.
    pub(super) fn settle_fast(
        &mut self,
        ticket: Ticket,
        sequence: Option<u64>,
        reply: &[u8],
        publisher: &mut Publisher,
    ) {
        if let Some(fast) = &mut self.fast {
            fast.batches.settle(ticket, sequence, &mut fast.notices);
            self.tell_of_batch(reply, publisher);
        }
    }

    /// The message of this ticket will not be stored, which ends its batch.
    pub(super) fn fail_fast(&mut self, ticket: Ticket, reply: &[u8], error: &ApiError, publisher: &mut Publisher) {
        if self.fast.as_mut().is_some_and(|fast| fast.batches.fail(ticket)) {
            self.refuse(reply, error, publisher);
        }
    }

    /// The stream takes no fast batches any more.
    pub(super) fn forget_fast_batches(&mut self) {
        if let Some(fast) = &mut self.fast {
            fast.batches.clear();
        }
    }

    /// Forgets the batches whose publishers have fallen silent.
    pub(super) fn forget_idle_fast_batches(&mut self, now: i64) {
        if let Some(fast) = &mut self.fast {
            fast.batches.expire(now);
        }
        self.watch_fast_batches();
    }

    fn watch_fast_batches(&mut self) {
        if let Some(at) = self.fast.as_ref().and_then(|fast| fast.batches.deadline()) {
            self.set_timer(at);
        }
    }

    fn tell_of_batch(&mut self, reply: &[u8], publisher: &mut Publisher) {
        let Some(fast) = self.fast.as_mut().filter(|fast| !fast.notices.is_empty()) else { return };
        let mut notices = std::mem::take(&mut fast.notices);
        for notice in notices.drain(..) {
            self.tell(&notice, reply, publisher);
        }
        if let Some(fast) = &mut self.fast {
            fast.notices = notices;
        }
    }

    fn tell<'a>(&mut self, notice: &'a Notice, mut reply: &'a [u8], publisher: &mut Publisher) {
        let no_ack = self.config().no_ack;
        self.line.clear();
        match notice {
            // As there, a stream that acknowledges nothing answers what asks for it all the same, once a batch is under way.
            Notice::Flow { sequence: 0, .. } | Notice::Refused(_) if no_ack => return,
            Notice::Flow { sequence, messages } => batch_flow::write_ack(&mut self.line, *sequence, *messages),
            Notice::Gap { expected, received } => batch_flow::write_gap(&mut self.line, *expected, *received),
            Notice::Error { sequence, error } => batch_flow::write_error(&mut self.line, *sequence, error),
            Notice::Refused(error) => return self.refuse(reply, error, publisher),
            Notice::Committed(committed) => {
                let id = String::from_utf8_lossy(&committed.id);
                let (sequence, count) = (committed.sequence, committed.count);
                if committed.is_duplicate {
                    self.pub_ack.duplicate_batch(&mut self.line, sequence, &id, count);
                } else {
                    self.pub_ack.batch(&mut self.line, sequence, &id, count);
                }
                reply = &committed.reply;
            }
        }
        publisher.publish_cached(&mut self.cache, reply, None, &[], &[&self.line]);
    }
}
