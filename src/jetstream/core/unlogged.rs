//! What consumers have done and the journal did not take: it is full or busy.
//!
//! The leader's half of a consumer has done it already, so it must reach the log, and in order, before anything else of
//! a consumer does. Until then nothing is delivered and nobody is told that anything is durable.

use std::collections::VecDeque;

use bytes::Bytes;
use headwater_storage::Urgency;

use super::Core;
use super::answers::reply_bytes;
use crate::jetstream::stream::Control;
use crate::router::Publisher;

/// Above this many bytes, those of replies included, what clients send to consumers is dropped: they get no answer and try
/// again.
const BYTES_MAX: usize = 1 << 20;
/// How long until the journal is asked again, in nanoseconds.
const PAUSE: i64 = 50_000_000;

#[derive(Default)]
pub(super) struct Unlogged {
    entries: VecDeque<Control>,
    bytes: usize,
    /// An ack of what is acknowledged already changes nothing, and is answered all the same.
    replies: Vec<Bytes>,
}

impl Unlogged {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes > BYTES_MAX
    }
}

impl Core {
    /// Appends what a consumer has done, now or when the journal takes it; then the replies are due once it is durable.
    pub(super) fn log_deltas(
        &mut self,
        deltas: Option<(Control, Urgency)>,
        replies: Vec<Bytes>,
        publisher: &mut Publisher,
    ) {
        if let Some((control, urgency)) = deltas
            && (!self.unlogged.is_empty() || !self.try_propose(&control, urgency, publisher))
        {
            if self.failed || self.closed {
                return;
            }
            if let Control::Consumer { body, .. } = &control {
                self.unlogged.bytes += body.len();
            }
            self.unlogged.entries.push_back(control);
            self.set_timer(self.shared.now() + PAUSE);
        }
        if replies.is_empty() {
            return;
        }
        if self.unlogged.is_empty() {
            self.reply_after_commit(replies, publisher);
        } else {
            self.unlogged.bytes += reply_bytes(&replies);
            self.unlogged.replies.extend(replies);
        }
    }

    /// Tries again. Consumers go on once nothing is left.
    pub(super) fn log_unlogged(&mut self, publisher: &mut Publisher) {
        if self.unlogged.is_empty() || self.failed || self.closed {
            return;
        }
        while let Some(control) = self.unlogged.entries.pop_front() {
            if !self.try_propose(&control, Urgency::Wake, publisher) {
                self.unlogged.entries.push_front(control);
                self.set_timer(self.shared.now() + PAUSE);
                return;
            }
        }
        self.unlogged.bytes = 0;
        let replies = std::mem::take(&mut self.unlogged.replies);
        if !replies.is_empty() {
            self.reply_after_commit(replies, publisher);
        }
        self.deliver_all(publisher);
    }

    /// False when the journal does not take it.
    fn try_propose(&mut self, control: &Control, urgency: Urgency, publisher: &mut Publisher) -> bool {
        match self.append(control, urgency) {
            Ok(index) => {
                self.after_append(control, index, None, publisher);
                true
            }
            Err(_) => false,
        }
    }
}
