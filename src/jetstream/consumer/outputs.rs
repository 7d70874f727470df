//! What a consumer wants done: a reusable buffer of small events, of durable changes to propose, and of the few texts
//! that the events refer to.
//!
//! One buffer is one unit: the deltas belong before everything that waits for a commit, and the events keep their order.
//!
//! HOT PATH: an event per delivered message, copied, without allocation once the buffer has grown.

use bytes::Bytes;

use super::delta::{self, Delta};
use super::status::Status;

/// Refers to a text of the same buffer: a subject, the id of a pin, a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRef(u32);

impl TextRef {
    /// Refers to nothing; its text is empty.
    pub const NONE: TextRef = TextRef(u32::MAX);

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub sequence: u64,
    pub consumer_sequence: u64,
    /// How many messages the consumer has after this one.
    pub pending: u64,
    /// How often this message was delivered, with this time.
    pub deliveries: u32,
    /// The subject to send it to: that of the pull request, or the deliver subject.
    pub target: TextRef,
    /// The value for the header `Nats-Pin-Id`; `NONE` when the header is not to be added.
    pub pin: TextRef,
}

/// Something to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Deliver(Delivery),
    /// A message without payload whose header block is the status.
    Status {
        target: TextRef,
        status: Status,
    },
    /// An empty message, once everything this consumer has proposed so far is committed.
    ReplyAfterCommit {
        subject: TextRef,
    },
    /// An empty message, now.
    Reply {
        subject: TextRef,
    },
    Advisory(Advisory),
    /// Nobody has used the consumer for its inactive threshold.
    DeleteInactive,
}

/// Something to tell whoever watches (6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advisory {
    MaxDeliveries {
        stream_sequence: u64,
        deliveries: u32,
    },
    Naked {
        consumer_sequence: u64,
        stream_sequence: u64,
        deliveries: u32,
    },
    Terminated {
        consumer_sequence: u64,
        stream_sequence: u64,
        deliveries: u32,
        reason: TextRef,
    },
    /// `reason` is one of the server's own.
    Dropped {
        consumer_sequence: u64,
        stream_sequence: u64,
        deliveries: u32,
        reason: DropReason,
    },
    /// The metric of a sampled ack; `delay` is how long it took.
    AckSample {
        consumer_sequence: u64,
        stream_sequence: u64,
        deliveries: u32,
        delay: i64,
    },
    Pinned {
        group: TextRef,
        id: TextRef,
    },
    Unpinned {
        group: TextRef,
        reason: UnpinReason,
    },
    Paused {
        until: i64,
        paused: bool,
    },
}

/// Why a consumer has done with a message by itself; told as a termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It was deleted or replaced.
    Deleted,
    /// A limit of the stream removed it with others.
    Limits,
    /// It is there and can not be read.
    Unreadable,
}

impl DropReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "Unacknowledged message was deleted",
            Self::Limits => "Message deleted by stream limits",
            Self::Unreadable => "Message can not be read",
        }
    }
}

/// Why a client is no longer the pinned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpinReason {
    Admin,
    Timeout,
}

impl UnpinReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Timeout => "timeout",
        }
    }
}

/// The buffer.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    pub events: Vec<Event>,
    /// To be proposed together, in order.
    pub deltas: Vec<Delta>,
    /// Somebody waits for the commit of the deltas; otherwise they may wait for company.
    pub urgent: bool,
    texts: Vec<Bytes>,
}

impl Outputs {
    pub fn clear(&mut self) {
        self.events.clear();
        self.deltas.clear();
        self.texts.clear();
        self.urgent = false;
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.deltas.is_empty()
    }

    /// The text an event refers to.
    pub fn text(&self, text: TextRef) -> &[u8] {
        self.texts.get(text.0 as usize).map_or(&[], AsRef::as_ref)
    }

    /// As [`text`](Self::text), shared: for whoever keeps it longer than the buffer.
    pub fn shared_text(&self, text: TextRef) -> Bytes {
        self.texts.get(text.0 as usize).cloned().unwrap_or_default()
    }

    /// Appends the encoded deltas, as they go into a log entry.
    pub fn encode_deltas(&self, out: &mut Vec<u8>) {
        delta::encode(&self.deltas, out);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn status(&mut self, target: TextRef, status: Status) {
        self.events.push(Event::Status { target, status });
    }

    pub(super) fn advisory(&mut self, advisory: Advisory) {
        self.events.push(Event::Advisory(advisory));
    }

    pub(super) fn delta(&mut self, delta: Delta) {
        if !self.deltas.last_mut().is_some_and(|last| last.join(&delta)) {
            self.deltas.push(delta);
        }
    }

    /// Holds a text for the events that refer to it.
    pub(super) fn hold(&mut self, text: &Bytes) -> TextRef {
        self.texts.push(text.clone());
        TextRef((self.texts.len() - 1) as u32)
    }

    pub(super) fn hold_copy(&mut self, text: &[u8]) -> TextRef {
        if text.is_empty() {
            return TextRef::NONE;
        }
        self.hold(&Bytes::copy_from_slice(text))
    }

    /// As [`hold`](Self::hold), once per buffer: `known` remembers where the text is.
    pub(super) fn hold_once(&mut self, text: &Bytes, known: &mut TextRef) -> TextRef {
        let is_held = self.texts.get(known.0 as usize).is_some_and(|held| std::ptr::eq(&held[..], &text[..]));
        if !is_held {
            *known = self.hold(text);
        }
        *known
    }
}
