//! Who gets a message: a client's subscription, or a service inside the server.

use super::{Account, Outbound, Permissions, trie::Keyed};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A subscriber inside the server: stream ingest, `$JS.API.>`, `$SYS` services.
pub trait InternalSubscriber: Send + Sync {
    /// Called at the end of a connection's read burst, with consecutive messages for this subscriber in
    /// arrival order, on the publisher's thread. Must not block. The slices live only during the call.
    fn deliver(&self, account: &Arc<Account>, messages: &[InternalMessage<'_>]);

    /// Called after the last delivery of a burst to any subscriber. With `lone`, the burst was a client's message or two
    /// and nothing more: the client probably waits, and finishing on this thread may take as long as a quick disk does.
    fn end_turn(&self, _lone: bool) {}
}

/// A message as an internal subscriber sees it.
#[derive(Clone, Copy)]
pub struct InternalMessage<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// Empty when there are none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// The connection that published; none for messages made inside the server.
    pub client: Option<&'a Arc<ClientIdentity>>,
}

/// Who a connection is, fixed at CONNECT. Cheap to share with whatever outlives the connection.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    pub id: u64,
    pub kind: ClientKind,
    pub host: String,
    pub port: u16,
    pub start: SystemTime,
    pub name: String,
    pub lang: String,
    pub version: String,
    /// The user name or public nkey; `[REDACTED]` for a token; empty without authentication.
    pub user: String,
    pub account: String,
    pub round_trip: RoundTrip,
    /// It asked to be told when nobody is there for a request.
    pub no_responders: bool,
}

/// How long a client takes to answer a ping: the one thing about it that changes, shared with its connection.
#[derive(Clone, Debug, Default)]
pub struct RoundTrip(Arc<AtomicU64>);

impl RoundTrip {
    /// A round trip takes a nanosecond at least: zero is not measured yet.
    pub fn set(&self, nanoseconds: u64) {
        self.0.store(nanoseconds.max(1), Ordering::Relaxed);
    }

    /// The round trip, once it is known.
    pub fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|measured| *measured > 0).map(Duration::from_nanos)
    }
}

/// The transport of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    Nats,
    WebSocket,
    Mqtt,
}

impl ClientKind {
    /// As `/connz` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientKind::Nats => "nats",
            ClientKind::WebSocket => "websocket",
            ClientKind::Mqtt => "mqtt",
        }
    }
}

/// Interest of one subscriber in one subject.
pub struct Subscription {
    id: u64,
    pub subject: Box<[u8]>,
    pub queue: Option<Box<[u8]>>,
    pub sink: Sink,
    /// The owner's permissions, when deliveries have to be checked against its deny list (S-32).
    receive_filter: ArcSwapOption<Permissions>,
    delivered: AtomicU64,
    /// Deliveries after which the subscription ends; zero is no limit.
    delivered_max: AtomicU64,
    closed: AtomicBool,
}

pub enum Sink {
    Client { outbound: Arc<Outbound>, sid: Box<[u8]> },
    Internal(Arc<dyn InternalSubscriber>),
}

/// What is left to do after a delivery was counted against the limit of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Deliver,
    /// Deliver this message and then remove the subscription.
    DeliverLast,
    /// The limit was reached before.
    Refuse,
}

impl Subscription {
    pub fn new(
        subject: &[u8],
        queue: Option<&[u8]>,
        sink: Sink,
        receive_filter: Option<Arc<Permissions>>,
    ) -> Subscription {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Subscription {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            subject: subject.into(),
            queue: queue.map(Into::into),
            sink,
            receive_filter: ArcSwapOption::from(receive_filter),
            delivered: AtomicU64::new(0),
            delivered_max: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// The client behind it, if it is not internal.
    pub fn outbound(&self) -> Option<&Arc<Outbound>> {
        match &self.sink {
            Sink::Client { outbound, .. } => Some(outbound),
            Sink::Internal(_) => None,
        }
    }

    pub fn sid(&self) -> &[u8] {
        match &self.sink {
            Sink::Client { sid, .. } => sid,
            Sink::Internal(_) => b"",
        }
    }

    /// Whether a message with this subject may be delivered at all; asked when matching, not for each delivery.
    pub fn may_receive(&self, subject: &[u8]) -> bool {
        let filter = self.receive_filter.load();
        filter.as_ref().is_none_or(|filter| filter.can_receive(subject, self.queue.as_deref()))
    }

    /// The owner's permissions changed. Match caches have to be told by [`super::Interest::touch`].
    pub fn set_receive_filter(&self, filter: Option<Arc<Permissions>>) {
        self.receive_filter.store(filter);
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn delivered_max(&self) -> u64 {
        self.delivered_max.load(Ordering::Relaxed)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// True for the first to close it.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Arms the end after `max` deliveries in all; false when that many have been made already.
    pub fn limit(&self, max: u64) -> bool {
        self.delivered_max.store(max, Ordering::SeqCst);
        self.delivered.load(Ordering::SeqCst) < max
    }

    /// Counts deliveries of a subscription that had no limit when they were staged.
    pub fn count(&self, deliveries: u64) {
        self.delivered.fetch_add(deliveries, Ordering::SeqCst);
    }

    /// Counts one delivery against the limit.
    pub fn count_limited(&self) -> Counted {
        let max = self.delivered_max.load(Ordering::SeqCst);
        let now = self.delivered.fetch_add(1, Ordering::SeqCst) + 1;
        match now.cmp(&max) {
            _ if max == 0 => Counted::Deliver,
            std::cmp::Ordering::Less => Counted::Deliver,
            std::cmp::Ordering::Equal => Counted::DeliverLast,
            std::cmp::Ordering::Greater => Counted::Refuse,
        }
    }
}

impl Keyed for Arc<Subscription> {
    fn key(&self) -> u64 {
        self.id
    }
}
