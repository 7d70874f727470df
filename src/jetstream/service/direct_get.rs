//! `DIRECT.GET`: messages as they are, with their coordinates in headers; statuses instead of JSON (T-61 to T-64).

use super::Request;
use crate::account::Account;
use crate::jetstream::api::Timestamp;
use crate::jetstream::api::message_get::{DirectStatus, MessageGetRequest};
use crate::jetstream::messages::Message;
use crate::jetstream::no_responders;
use crate::jetstream::replica::Replica;
use crate::jetstream::selection::{Batch, BatchBound, Selection};
use crate::protocol::headers;
use crate::router::Publisher;

/// Subjects that a multi-last request may match.
const RESULTS_MAX: usize = 1024;
/// Messages one batch request may ask for at a time; more are asked for by the next request.
const BATCH_MAX: usize = 64 * 1024;

/// What a message of a batch takes beside itself and the reply subject: its line and our headers.
const ENVELOPE_BYTES: usize = 1024;

/// What a batch tells about itself beside each message.
struct BatchPosition {
    pending: u64,
    last_sequence: u64,
}

impl Request<'_> {
    pub(super) fn direct_get(&self, name: &str) {
        let Some(reply) = self.reply else { return };
        let Some(stream) = self.account.find(name).filter(|stream| stream.config().allow_direct) else {
            return self.no_responders();
        };
        let mut sender = Sender::new(self, reply, &stream);
        match self.check_direct(MessageGetRequest::for_direct(self.body)) {
            Ok(request) => sender.answer(&request),
            Err(status) => sender.status(status),
        }
    }

    pub(super) fn direct_get_last(&self, name: &str) {
        let Some(reply) = self.reply else { return };
        let Some(stream) = self.account.find(name).filter(|stream| stream.config().allow_direct) else {
            return self.no_responders();
        };
        let key = self.tokens[3..].join(".");
        let mut sender = Sender::new(self, reply, &stream);
        match self.check_direct(MessageGetRequest::for_direct_last(self.body, &key)) {
            Ok(request) => sender.answer(&request),
            Err(status) => sender.status(status),
        }
    }

    fn check_direct(
        &self,
        request: Result<MessageGetRequest, DirectStatus>,
    ) -> Result<MessageGetRequest, DirectStatus> {
        self.check_level().map_err(|_| DirectStatus::REQUIRED_API_LEVEL)?;
        request
    }

    /// Nobody subscribes to the direct subjects of a stream that does not allow them, nor to the pull subject of a
    /// consumer that does not exist: the router of the genuine server would answer.
    pub(super) fn no_responders(&self) {
        // On a domain's prefix, too, it is the subject without the domain that nobody listens to.
        let subject = format!("{}{}", super::PREFIX, self.tokens.join("."));
        no_responders::tell(self.account.account(), self.client, subject.as_bytes(), self.reply);
    }
}

struct Sender<'a> {
    account: &'a Account,
    publisher: Publisher,
    reply: &'a [u8],
    stream: &'a Replica,
    pending_bytes_max: usize,
}

impl<'a> Sender<'a> {
    fn new(request: &'a Request<'_>, reply: &'a [u8], stream: &'a Replica) -> Self {
        let pending_bytes_max = request.node.options().pending_bytes_max;
        let account = request.account.account();
        Self { account, publisher: Publisher::new(account), reply, stream, pending_bytes_max }
    }

    fn answer(&mut self, request: &MessageGetRequest) {
        if !request.multi_last.is_empty() {
            self.multi_last(request);
        } else if request.batch != 0 {
            self.batch(request);
        } else {
            match self.stream.select(&Selection::of(request)) {
                Some(message) => self.message(&message, request.no_hdr, None),
                None => self.status(DirectStatus::MESSAGE_NOT_FOUND),
            }
        }
        self.publisher.flush();
    }

    fn status(&mut self, status: DirectStatus) {
        self.publisher.publish(self.reply, None, &status.block(), &[]);
        self.publisher.flush();
    }

    fn batch(&mut self, request: &MessageGetRequest) {
        let wanted = usize::try_from(request.batch).unwrap_or(0).min(BATCH_MAX);
        let batch = self.stream.batch(Selection::of(request), self.bound(request, wanted));
        if batch.messages.is_empty() && batch.total == 0 && wanted > 0 {
            return self.status(DirectStatus::MESSAGE_NOT_FOUND);
        }
        self.send_batch(&batch, request.no_hdr, None);
    }

    fn multi_last(&mut self, request: &MessageGetRequest) {
        let wanted = usize::try_from(request.batch).ok().filter(|batch| *batch > 0).unwrap_or(usize::MAX);
        match self.stream.multi_last(request, RESULTS_MAX, self.bound(request, wanted)) {
            Ok((batch, up_to)) => self.send_batch(&batch, false, Some(up_to)),
            Err(status) => self.status(status),
        }
    }

    fn send_batch(&mut self, batch: &Batch, no_headers: bool, up_to: Option<u64>) {
        let (mut pending, mut last_sequence) = (batch.total, 0);
        for message in &batch.messages {
            // Counted only where it is told with each message.
            pending = pending.saturating_sub(u64::from(!no_headers));
            self.message(message, no_headers, Some(BatchPosition { pending, last_sequence }));
            last_sequence = message.sequence();
        }
        self.end_of_batch(pending, last_sequence, up_to);
    }

    /// What the connection that asks has no room for is left to its next request.
    fn bound(&self, request: &MessageGetRequest, messages: usize) -> BatchBound {
        let asked = usize::try_from(request.max_bytes).ok().filter(|bytes| *bytes > 0);
        let overhead = ENVELOPE_BYTES + self.reply.len();
        // The end of the batch needs room, too.
        let room = self.account.room(self.reply).saturating_sub(overhead);
        BatchBound { messages, bytes: asked.unwrap_or(self.pending_bytes_max), room, overhead }
    }

    /// Original headers first, then ours (T-61).
    fn message(&mut self, message: &Message, no_headers: bool, position: Option<BatchPosition>) {
        let mut block = Vec::new();
        if !no_headers {
            block.extend_from_slice(message.headers());
            let mut time = String::new();
            Timestamp(message.time()).write(&mut time);
            headers::append(&mut block, "Nats-Stream", self.stream.name().as_bytes());
            headers::append(&mut block, "Nats-Subject", message.subject());
            headers::append(&mut block, "Nats-Sequence", message.sequence().to_string().as_bytes());
            headers::append(&mut block, "Nats-Time-Stamp", time.as_bytes());
            if let Some(position) = position {
                headers::append(&mut block, "Nats-Num-Pending", position.pending.to_string().as_bytes());
                headers::append(&mut block, "Nats-Last-Sequence", position.last_sequence.to_string().as_bytes());
            }
        }
        self.publisher.publish(self.reply, None, &block, &[message.payload()]);
    }

    fn end_of_batch(&mut self, pending: u64, last_sequence: u64, up_to: Option<u64>) {
        let mut block = headers::status(204, "EOB");
        headers::append(&mut block, "Nats-Num-Pending", pending.to_string().as_bytes());
        headers::append(&mut block, "Nats-Last-Sequence", last_sequence.to_string().as_bytes());
        if let Some(up_to) = up_to {
            headers::append(&mut block, "Nats-UpTo-Sequence", up_to.to_string().as_bytes());
        }
        self.publisher.publish(self.reply, None, &block, &[]);
    }
}
