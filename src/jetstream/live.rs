//! What the leader does with one consumer: it runs the consumer's machine and carries out what it says.

use std::sync::Arc;

use super::api::ConsumerConfig;
use super::consumer::reply_subject::{self, ReplyNumbers, ReplyText};
use super::consumer::{
    Advisory, Consumer, Delivery, DropReason, Environment, Event, Interest, Outputs, Settings, StreamTraits,
    Undelivered, flow_control,
};
use super::names;
use super::store::Store;
use super::stream::MessageRef;
use super::{advisory, consumer_advisory};
use crate::account::{Account, Watch};
use crate::protocol::headers;
use crate::router::{MatchCache, Publisher};
use bytes::Bytes;

/// A consumer on its leader.
pub struct Live {
    pub consumer: Consumer,
    pub name: Arc<str>,
    pub config: Arc<ConsumerConfig>,
    /// The account's generation of interest when it was last asked who listens.
    pub interest_seen: u64,
    /// On the deliver subject.
    pub watch: Option<Watch>,
    /// Its subscriber is far behind, and a worker is to go on with it, soon or when the subscriber has read: nobody
    /// else delivers until then.
    pub is_aside: bool,
}

/// Whether somebody listens to a push consumer, as of a generation of the account's interest.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub present: bool,
    pub seen: u64,
}

/// What carrying out needs of the stream around the consumer.
pub struct Surroundings<'a> {
    pub account: &'a Arc<Account>,
    pub stream: &'a str,
    pub domain: &'a str,
    pub store: &'a Store,
    pub now: i64,
}

/// What is left to be done with the stream's log after the events.
#[derive(Default)]
pub struct Leftover {
    /// Reply to these once the deltas are durable.
    pub replies: Vec<Bytes>,
    /// Nobody has used the consumer for too long.
    pub delete: bool,
    /// Deliveries that came to nothing: the message, the subject that it was sent to, and why.
    pub undelivered: Vec<(u64, Bytes, Undelivered)>,
}

/// What carrying out the events of one pass writes again and again.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    numbers: ReplyText,
}

/// The answers to a consumer's questions about who listens.
pub struct Listeners<'a>(pub &'a Account);

impl Environment for Listeners<'_> {
    fn interest(&self, reply: &[u8]) -> Interest {
        if self.0.interest.any_match(reply, |_| true) { Interest::Present } else { Interest::Gone }
    }

    fn unique_id(&self) -> [u8; 22] {
        names::unique_letters()
    }
}

/// The settings of a consumer from its configuration and its stream.
pub fn settings(
    config: &ConsumerConfig,
    name: &str,
    stream: &str,
    removes_acked: bool,
    bytes_max: u64,
    id: u64,
) -> Settings {
    Settings::new(
        config,
        StreamTraits {
            removes_acked,
            message_bytes_max: bytes_max,
            reply_prefix: reply_subject::prefix(stream, name).into(),
            flow_prefix: flow_control::prefix(stream, name).into(),
            jitter: id,
        },
    )
}

impl Live {
    /// Nobody but one subscriber waits for its deliveries, or those who listen wait for the slowest of them. Of those
    /// who pull, or share the deliveries in a group, others go on.
    pub fn waits_as_a_whole(&self) -> bool {
        self.consumer.settings().is_push() && self.config.deliver_group.is_empty()
    }

    /// None is: nothing has changed.
    pub fn follow_interest(&mut self, listening: Option<Listening>, now: i64) {
        if let Some(Listening { present, seen }) = listening {
            self.interest_seen = seen;
            self.consumer.interest_changed(present, now);
        }
    }

    /// Carries out the events in order. The publisher is flushed by the caller, outside of the stream's lock.
    pub fn carry_out(
        &self,
        outputs: &Outputs,
        around: &Surroundings<'_>,
        publisher: &mut Publisher,
        cache: &mut MatchCache,
    ) -> Leftover {
        let mut left = Leftover::default();
        let mut scratch = Scratch::default();
        for event in &outputs.events {
            match event {
                Event::Deliver(delivery) => {
                    let deliver = |message: MessageRef<'_>| {
                        self.deliver(delivery, message, outputs, publisher, cache, &mut scratch)
                    };
                    let why = match around.store.inspect(delivery.sequence, deliver) {
                        Ok(0) => Undelivered::NobodyThere,
                        Ok(_) => continue,
                        Err(_) => Undelivered::Unread,
                    };
                    left.undelivered.push((delivery.sequence, outputs.shared_text(delivery.target), why));
                }
                Event::Status { target, status } => {
                    let line = &mut scratch.line;
                    line.clear();
                    status.write(outputs, line);
                    let reply = Some(outputs.text(status.reply())).filter(|reply| !reply.is_empty());
                    publisher.publish_cached(cache, outputs.text(*target), reply, line, &[]);
                }
                Event::ReplyAfterCommit { subject } => left.replies.push(outputs.shared_text(*subject)),
                Event::Reply { subject } => {
                    publisher.publish_cached(cache, outputs.text(*subject), None, &[], &[]);
                }
                Event::Advisory(advisory) => self.advise(advisory, outputs, around, publisher),
                Event::DeleteInactive => left.delete = true,
            }
        }
        cache.settle();
        left
    }

    /// HOT PATH: no allocation per message once the line has grown. Gives how many get it.
    fn deliver(
        &self,
        delivery: &Delivery,
        message: MessageRef<'_>,
        outputs: &Outputs,
        publisher: &mut Publisher,
        cache: &mut MatchCache,
        scratch: &mut Scratch,
    ) -> usize {
        let settings = self.consumer.settings();
        let line = &mut scratch.line;
        line.clear();
        line.extend_from_slice(&settings.stream.reply_prefix);
        let numbers = ReplyNumbers {
            deliveries: delivery.deliveries,
            stream_sequence: delivery.sequence,
            consumer_sequence: delivery.consumer_sequence,
            time: message.time,
            pending: delivery.pending,
        };
        scratch.numbers.write(&numbers, line);
        let target = outputs.text(delivery.target);
        let plain = delivery.pin.is_none() && !settings.headers_only;
        if plain {
            return publisher.publish_with_line(cache, target, message.subject, line, message.headers, message.payload);
        }
        let mut block = message.headers.to_vec();
        if settings.headers_only {
            headers::append(&mut block, "Nats-Msg-Size", message.payload.len().to_string().as_bytes());
        }
        if !delivery.pin.is_none() {
            headers::append(&mut block, "Nats-Pin-Id", outputs.text(delivery.pin));
        }
        let payload: &[u8] = if settings.headers_only { &[] } else { message.payload };
        publisher.publish_with_line(cache, target, message.subject, line, &block, payload)
    }

    fn advise(&self, event: &Advisory, outputs: &Outputs, around: &Surroundings<'_>, publisher: &mut Publisher) {
        if let Advisory::Dropped { stream_sequence, reason: DropReason::Unreadable, .. } = event {
            let (stream, consumer) = (around.stream, &*self.name);
            tracing::error!(
                stream,
                consumer,
                sequence = stream_sequence,
                "a message can not be read: it is passed over"
            );
        }
        let about = consumer_advisory::About {
            stream: around.stream,
            consumer: &self.name,
            account: around.account.name(),
            domain: around.domain,
        };
        let (subject, kind, body) = consumer_advisory::describe(event, outputs, &about);
        advisory::publish_raw(publisher, around.account, &subject, kind, around.now, body);
    }
}
