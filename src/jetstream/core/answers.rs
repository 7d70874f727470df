//! Who waits for what, and what they are told: acknowledgements of messages, refusals, answers to requests.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Core, Done};
use crate::jetstream::api::{ApiError, error_codes};
use crate::jetstream::stream::{Outcome, Ticket};
use crate::router::Publisher;

/// Who waits for an entry.
pub(super) enum Waiting {
    /// A publisher, for its PubAck, or a fast batch to settle.
    Stored {
        index: u64,
        reply: Reply,
        of_batch: Option<Ticket>,
    },
    Duplicate {
        index: u64,
        duplicate: Duplicate,
    },
    /// The publisher of a batch, whose last message this entry is.
    Batch {
        index: u64,
        id: Box<[u8]>,
        count: u64,
        reply: Reply,
    },
    Control {
        index: u64,
        /// What the request takes that nothing is written for; 0 when something is, which bounds it.
        bytes: usize,
        done: Done,
    },
    /// Empty replies to acknowledgements.
    Acked {
        index: u64,
        replies: Vec<Bytes>,
    },
}

/// A message that is the duplicate of one that is on its way, as `sequence`.
pub(super) struct Duplicate {
    pub sequence: u64,
    pub reply: Reply,
    /// It came in a fast batch.
    pub of_batch: Option<Ticket>,
}

impl Waiting {
    fn index(&self) -> u64 {
        match self {
            Self::Stored { index, .. }
            | Self::Duplicate { index, .. }
            | Self::Batch { index, .. }
            | Self::Control { index, .. }
            | Self::Acked { index, .. } => *index,
        }
    }
}

const REPLY_INLINE: usize = 78;

/// Bytes of replies to acknowledgements that may wait for the disk. Above, an ack that asks for a reply is dropped: the client
/// tries again.
const ACKED_BYTES_MAX: usize = 8 << 20;
/// Bytes of requests that write nothing and wait for the disk all the same. Above, what can be answered at once is, and
/// the others are refused.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Room for so many who wait is kept when nobody does any more.
const WAITING_KEPT_MAX: usize = 16 * 1024;
/// What a reply that waits takes besides its subject.
const REPLY_OVERHEAD: usize = 128;

/// What replies to acknowledgements take while they wait.
pub(super) fn reply_bytes(replies: &[Bytes]) -> usize {
    replies.iter().map(|reply| reply.len() + REPLY_OVERHEAD).sum()
}

/// Why nothing is changed while what consumers have done before waits for the journal.
pub(super) fn not_taken() -> ApiError {
    error_codes::STREAM_STORE_FAILED.with("the journal does not take the change")
}

/// A reply subject, kept without an allocation when it is of usual length.
pub(super) enum Reply {
    Inline { len: u8, bytes: [u8; REPLY_INLINE] },
    Heap(Box<[u8]>),
}

impl Reply {
    pub fn new(subject: &[u8]) -> Self {
        match u8::try_from(subject.len()) {
            Ok(len) if subject.len() <= REPLY_INLINE => {
                let mut bytes = [0; REPLY_INLINE];
                bytes[..subject.len()].copy_from_slice(subject);
                Self::Inline { len, bytes }
            }
            _ => Self::Heap(subject.into()),
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Core {
    /// Replies with nothing once everything appended so far is applied.
    pub fn reply_after_commit(&mut self, replies: Vec<Bytes>, publisher: &mut Publisher) {
        if self.failed {
            // Nobody knows whether it is durable: the client tries again.
            return;
        }
        let index = self.log.group().last_index();
        self.acked_bytes += reply_bytes(&replies);
        self.waiting.push_back(Waiting::Acked { index, replies });
        if self.log.in_flight() == 0 {
            self.answer(index, Outcome::Done, publisher);
        }
    }

    /// No more acknowledgements are taken that ask for a reply.
    pub(super) fn has_too_many_replies(&self) -> bool {
        self.acked_bytes > ACKED_BYTES_MAX
    }

    /// No more requests may wait that write nothing.
    fn has_too_many_requests(&self) -> bool {
        self.request_bytes > REQUEST_BYTES_MAX
    }

    /// Why a request that writes nothing can not wait for what is on its way, if it can not.
    pub(super) fn refused_to_wait(&self) -> Option<ApiError> {
        self.has_too_many_requests().then(|| error_codes::STREAM_TOO_MANY_REQUESTS.error())
    }

    /// Calls `look` once the messages and configurations accepted so far are applied; at once when none is on its way, or
    /// the journal takes none: nobody should wait for a disk that is full or broken to be told so. At once, too, when
    /// others wait enough already. `bytes` is what the request takes while it waits.
    pub fn when_stored(
        &mut self,
        bytes: usize,
        publisher: &mut Publisher,
        look: impl FnOnce(&mut Core, &mut Publisher) + Send + 'static,
    ) {
        let is_settled = self.machine.in_flight() == 0 && self.updating.is_empty();
        if self.failed || is_settled || self.has_too_many_requests() || self.shared.journal.admit().is_err() {
            return look(self, publisher);
        }
        let index = self.log.group().last_index();
        let done = Box::new(move |core: &mut Core, publisher: &mut Publisher, _| look(core, publisher));
        self.wait_for(index, bytes, done);
    }

    fn wait_for(&mut self, index: u64, bytes: usize, done: Done) {
        self.request_bytes += bytes;
        self.waiting.push_back(Waiting::Control { index, bytes, done });
    }

    /// Calls `done` once everything appended so far is applied. `bytes` is what the request takes until then; see
    /// `refused_to_wait`.
    pub fn after_commit(&mut self, bytes: usize, publisher: &mut Publisher, done: Done) {
        if self.failed || !self.unlogged.is_empty() {
            return done(self, publisher, Err(not_taken()));
        }
        self.when_applied(bytes, publisher, done);
    }

    /// As [`after_commit`](Self::after_commit), for what nothing is to be written for.
    pub fn when_applied(&mut self, bytes: usize, publisher: &mut Publisher, done: Done) {
        let refused = match (self.closed, self.failed) {
            (true, _) => Some(error_codes::STREAM_NOT_FOUND.error()),
            (_, true) => Some(error_codes::STREAM_STORE_FAILED.with("the journal has failed")),
            _ => None,
        };
        if let Some(error) = refused {
            return done(self, publisher, Err(error));
        }
        let index = self.log.group().last_index();
        self.wait_for(index, bytes, done);
        if self.log.in_flight() == 0 {
            self.answer(index, Outcome::Done, publisher);
        }
    }

    /// Answers everybody who waited for entries up to `index`.
    pub(super) fn answer(&mut self, index: u64, outcome: Outcome, publisher: &mut Publisher) {
        while self.waiting.front().is_some_and(|waiting| waiting.index() <= index) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            match waiting {
                Waiting::Stored { reply, of_batch, .. } => {
                    self.tell_stored(reply.as_slice(), of_batch, self.sequence_of(outcome), publisher);
                }
                Waiting::Duplicate { duplicate, .. } => {
                    let Duplicate { sequence, reply, of_batch } = duplicate;
                    match of_batch {
                        None => self.acknowledge_duplicate(reply.as_slice(), sequence, publisher),
                        Some(ticket) => self.settle_fast(ticket, None, reply.as_slice(), publisher),
                    }
                }
                Waiting::Batch { id, count, reply, .. } => {
                    self.acknowledge_batch(reply.as_slice(), self.sequence_of(outcome), &id, count, publisher);
                }
                Waiting::Control { bytes, done, .. } => {
                    self.request_bytes -= bytes;
                    done(self, publisher, Ok(outcome));
                }
                Waiting::Acked { replies, .. } => {
                    self.acked_bytes -= reply_bytes(&replies);
                    for reply in replies {
                        publisher.publish_cached(&mut self.cache, &reply, None, &[], &[]);
                    }
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > WAITING_KEPT_MAX {
            self.waiting = VecDeque::new();
        }
    }

    /// The sequence of the message that an entry stored.
    fn sequence_of(&self, outcome: Outcome) -> u64 {
        match outcome {
            Outcome::Stored { sequence, .. } | Outcome::Skipped { sequence, .. } => sequence,
            _ => self.machine.last_sequence(),
        }
    }

    /// Nothing more will become durable: everybody who waits gets the reason.
    pub fn fail(&mut self, error: &ApiError, publisher: &mut Publisher) {
        self.failed = true;
        self.acked_bytes = 0;
        self.request_bytes = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Stored { reply, of_batch, .. }
                | Waiting::Duplicate { duplicate: Duplicate { reply, of_batch, .. }, .. } => {
                    self.tell_lost(reply.as_slice(), of_batch, error, publisher);
                }
                Waiting::Batch { reply, .. } => self.refuse(reply.as_slice(), error, publisher),
                Waiting::Control { done, .. } => done(self, publisher, Err(error.clone())),
                // The acknowledgement is not durable, so it gets no answer: the client tries again.
                Waiting::Acked { .. } => {}
            }
        }
    }

    /// A message is stored as `sequence`: says so, or counts it for its fast batch.
    #[inline]
    pub(super) fn tell_stored(
        &mut self,
        reply: &[u8],
        of_batch: Option<Ticket>,
        sequence: u64,
        publisher: &mut Publisher,
    ) {
        match of_batch {
            None => self.acknowledge(reply, sequence, publisher),
            Some(ticket) => self.settle_fast(ticket, Some(sequence), reply, publisher),
        }
    }

    /// A message that was accepted will not be stored.
    pub(super) fn tell_lost(
        &mut self,
        reply: &[u8],
        of_batch: Option<Ticket>,
        error: &ApiError,
        publisher: &mut Publisher,
    ) {
        match of_batch {
            None => self.refuse(reply, error, publisher),
            Some(ticket) => self.fail_fast(ticket, reply, error, publisher),
        }
    }

    pub(super) fn acknowledge(&mut self, reply: &[u8], sequence: u64, publisher: &mut Publisher) {
        self.line.clear();
        self.pub_ack.stored(&mut self.line, sequence);
        publisher.publish_cached(&mut self.cache, reply, None, &[], &[&self.line]);
    }

    pub(super) fn acknowledge_duplicate(&mut self, reply: &[u8], sequence: u64, publisher: &mut Publisher) {
        self.line.clear();
        self.pub_ack.duplicate(&mut self.line, sequence);
        publisher.publish_cached(&mut self.cache, reply, None, &[], &[&self.line]);
    }

    pub(super) fn acknowledge_batch(
        &mut self,
        reply: &[u8],
        sequence: u64,
        id: &[u8],
        count: u64,
        publisher: &mut Publisher,
    ) {
        self.line.clear();
        self.pub_ack.batch(&mut self.line, sequence, &String::from_utf8_lossy(id), count);
        publisher.publish_cached(&mut self.cache, reply, None, &[], &[&self.line]);
    }

    pub(super) fn refuse(&mut self, reply: &[u8], error: &ApiError, publisher: &mut Publisher) {
        self.line.clear();
        self.pub_ack.refused(&mut self.line, error);
        // Too many open batches have the same code and no status line.
        let too_many = error.err_code == error_codes::STREAM_TOO_MANY_REQUESTS.err_code;
        let block: &[u8] = if too_many { b"NATS/1.0 429 Too Many Requests\r\n\r\n" } else { &[] };
        publisher.publish_cached(&mut self.cache, reply, None, block, &[&self.line]);
    }
}
