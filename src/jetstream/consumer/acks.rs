//! Acks of delivered messages. What is unknown, older or acked already is ignored, but answered when the
//! client asks for an answer.

use bytes::Bytes;

use super::ack_body::AckBody;
use super::delta::Delta;
use super::live::Consumer;
use super::outputs::{Advisory, Event, Outputs};
use super::reply_subject::ReplyNumbers;
use super::view::Context;
use crate::jetstream::api::consumer_config::AckPolicy;

impl Consumer {
    /// An ack: the numbers of the subject it was sent to, its body, and the subject on which the client waits for the
    /// answer.
    pub fn ack(
        &mut self,
        numbers: &ReplyNumbers,
        body: &[u8],
        reply: Option<&[u8]>,
        context: &Context<'_>,
        out: &mut Outputs,
    ) {
        self.inactivity.touch(context.now);
        let names_message = numbers.stream_sequence > 0;
        let answered = match AckBody::parse(body) {
            AckBody::Ack => self.acknowledge(numbers, true, context, out),
            AckBody::AckAndNext(request) => {
                self.acknowledge(numbers, true, context, out);
                if let Some(reply) = reply {
                    self.pull_request(reply, request, context, out);
                }
                false
            }
            AckBody::Nak { delay } => {
                self.nak(numbers, delay, context, out);
                names_message
            }
            AckBody::InProgress => {
                self.in_progress(numbers.stream_sequence, context, out);
                names_message
            }
            AckBody::Term { reason } => self.terminate(numbers, reason, context, out),
            AckBody::Unknown => names_message,
        };
        if let Some(reply) = reply.filter(|_| answered) {
            let subject = out.hold(&Bytes::copy_from_slice(reply));
            out.event(Event::ReplyAfterCommit { subject });
            out.urgent = true;
        }
    }

    /// False for an ack that names a message this consumer cannot have delivered: that gets no answer.
    fn acknowledge(&mut self, numbers: &ReplyNumbers, sample: bool, context: &Context<'_>, out: &mut Outputs) -> bool {
        let stream = numbers.stream_sequence;
        if stream >= self.next {
            return false;
        }
        let time = context.now;
        match self.settings.ack_policy {
            AckPolicy::None => return false,
            AckPolicy::Explicit => {
                if let Some(pending) = self.state.pending.get(stream) {
                    if sample && self.is_sampled() {
                        out.advisory(Advisory::AckSample {
                            consumer_sequence: numbers.consumer_sequence,
                            stream_sequence: stream,
                            deliveries: numbers.deliveries,
                            delay: time.saturating_sub(pending.time),
                        });
                    }
                } else if !self.state.exhausted.contains_key(&stream) {
                    return true;
                }
                self.record(Delta::Acked { stream, count: 1, time }, out);
            }
            AckPolicy::All | AckPolicy::FlowControl => {
                if stream > self.state.ack_floor.stream {
                    let consumer = numbers.consumer_sequence;
                    self.record(Delta::AckedThrough { stream, consumer, time }, out);
                }
                // As nats-server does it, which answers such an ack where each is explicit.
                return stream > 0;
            }
        }
        true
    }

    fn nak(&mut self, numbers: &ReplyNumbers, delay: i64, context: &Context<'_>, out: &mut Outputs) {
        let ReplyNumbers { stream_sequence: stream, consumer_sequence, deliveries, .. } = *numbers;
        let Some(pending) = self.state.pending.get(stream) else { return };
        out.advisory(Advisory::Naked { consumer_sequence, stream_sequence: stream, deliveries });
        // The time from which the wait for redelivery ends after the delay.
        let wait = self.settings.redelivery_wait(pending.deliveries).unwrap_or(0);
        let time = context.now.saturating_sub(wait).saturating_add(delay);
        if delay > 0 {
            self.redeliveries.remove(stream, &mut self.state.pending);
            self.record(Delta::Rescheduled { stream, time }, out);
            self.check_acks_by(context.now.saturating_add(delay));
            return;
        }
        if self.is_exhausted(pending.deliveries) {
            self.exhaust(stream, pending.deliveries, out);
            return;
        }
        // Not lost with the leader: the next one finds it due.
        self.record(Delta::Rescheduled { stream, time }, out);
        self.redeliveries.push(stream, &mut self.state.pending);
    }

    /// The client works on it: the wait for redelivery begins anew.
    fn in_progress(&mut self, stream: u64, context: &Context<'_>, out: &mut Outputs) {
        let Some(pending) = self.state.pending.get(stream) else { return };
        self.redeliveries.remove(stream, &mut self.state.pending);
        self.record(Delta::Rescheduled { stream, time: context.now }, out);
        self.watch_acks_of(pending.deliveries, context.now);
    }

    /// Told also when the message is done already, or never was delivered: as nats-server does it.
    fn terminate(&mut self, numbers: &ReplyNumbers, reason: &[u8], context: &Context<'_>, out: &mut Outputs) -> bool {
        let ReplyNumbers { stream_sequence, consumer_sequence, deliveries, .. } = *numbers;
        let known = self.acknowledge(numbers, false, context, out);
        let reason = out.hold_copy(reason);
        out.advisory(Advisory::Terminated { consumer_sequence, stream_sequence, deliveries, reason });
        known
    }

    /// Takes every n-th ack so that exactly the wanted share is reported.
    fn is_sampled(&mut self) -> bool {
        let credit = self.sample_credit + self.settings.sample_percent;
        self.sample_credit = if credit >= 100 { credit - 100 } else { credit };
        credit >= 100
    }
}
