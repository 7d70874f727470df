//! HOT PATH: no allocation per message, one lock of the journal's queue per burst.
//!
//! Messages on their way into a stream: decided, encoded into the journal's batch, acknowledged when applied.

use headwater_storage::{AppendClass, Appender, Journal, MemoryInput, RecordHeader, RecordKind, Urgency};

use super::answers::{Duplicate, Reply, Waiting};
use super::{Core, StoredMessage, refusal};
use crate::account::InternalMessage;
use crate::jetstream::api::stream_config::{PersistMode, Retention};
use crate::jetstream::api::{ApiError, error_codes};
use crate::jetstream::group_log::Placed;
use crate::jetstream::stream::{Accept, Interest as _, MESSAGE, Publish, Refusal, Room, Ticket};
use crate::router::Publisher;

/// What is stored of a message.
pub(super) struct Record<'a> {
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub tag: u8,
}

/// A message of a burst that was accepted, by its place in the burst.
pub(super) struct Accepted {
    message: usize,
    accept: Accept,
    of_batch: Option<Ticket>,
}

impl Core {
    /// Takes a burst of messages. Returns the bytes that wait in the journal's queue.
    pub fn publish(&mut self, messages: &[InternalMessage<'_>], publisher: &mut Publisher) -> usize {
        if self.closed {
            return 0;
        }
        if !self.subject_rules.transforms() {
            return self.take(messages, publisher);
        }
        let subjects: Vec<Vec<u8>> =
            messages.iter().map(|message| self.subject_rules.stored_as(message.subject)).collect();
        let transformed: Vec<InternalMessage<'_>> =
            messages.iter().zip(&subjects).map(|(message, subject)| InternalMessage { subject, ..*message }).collect();
        self.take(&transformed, publisher)
    }

    /// As [`publish`](Self::publish), with the subjects under which the messages are to be stored.
    fn take(&mut self, messages: &[InternalMessage<'_>], publisher: &mut Publisher) -> usize {
        if self.is_memory() {
            self.publish_to_memory(messages, publisher);
            return 0;
        }
        let shared = self.shared.clone();
        // Asked first: once decided, a message must be appended. A decision may read from the journal, so its queue
        // cannot stay locked in between.
        if let Err(problem) = shared.journal.admit() {
            let error = refusal(&problem);
            for message in messages {
                if self.is_of_fast_batch(message) {
                    self.take_fast(message, Err(&error), publisher);
                } else {
                    self.refuse_message(message, &error, publisher);
                }
            }
            return 0;
        }
        let mut accepted = std::mem::take(&mut self.accepted);
        let room = self.room();
        // They arrived together.
        let now = shared.now();
        let mut queued = 0;
        for (at, message) in messages.iter().enumerate() {
            if self.is_of_fast_batch(message) {
                if let Some((accept, ticket)) = self.take_fast(message, Ok(&room), publisher) {
                    accepted.push(Accepted { message: at, accept, of_batch: Some(ticket) });
                }
                continue;
            }
            if self.is_of_batch(message) {
                if let Some(commit) = self.stage(message, publisher) {
                    // What came before the batch is in the log before it.
                    self.append_burst(messages, &accepted, publisher);
                    accepted.clear();
                    queued = self.commit(&commit, message, publisher);
                }
                continue;
            }
            match self.decide(message, now, &room, publisher) {
                Some(accept) => accepted.push(Accepted { message: at, accept, of_batch: None }),
                None => continue,
            }
        }
        queued = queued.max(self.append_burst(messages, &accepted, publisher));
        accepted.clear();
        self.accepted = accepted;
        let index = self.log.group().last_index();
        self.waiting.extend(self.duplicates.drain(..).map(|duplicate| Waiting::Duplicate { index, duplicate }));
        queued
    }

    fn append_burst(
        &mut self,
        messages: &[InternalMessage<'_>],
        accepted: &[Accepted],
        publisher: &mut Publisher,
    ) -> usize {
        if accepted.is_empty() {
            return 0;
        }
        let shared = self.shared.clone();
        let no_ack = self.config().no_ack;
        let (mut appender, first) = match self.begin_append(&shared.journal, accepted.len()) {
            Ok(begun) => begun,
            Err(error) => {
                let lost = accepted[0].accept.sequence;
                self.machine.take_back(lost);
                for accepted in accepted {
                    if let Some(reply) =
                        messages[accepted.message].reply.filter(|_| is_answered(no_ack, accepted.of_batch))
                    {
                        self.tell_lost(reply, accepted.of_batch, &error, publisher);
                    }
                }
                // Duplicates of what is not stored are not stored either.
                for duplicate in self.duplicates.extract_if(.., |one| one.sequence >= lost).collect::<Vec<_>>() {
                    self.tell_lost(duplicate.reply.as_slice(), duplicate.of_batch, &error, publisher);
                }
                return 0;
            }
        };
        let acks_at_once = self.machine.config().persist_mode == PersistMode::Async;
        for (index, accepted) in (first.index..).zip(accepted) {
            let message = &messages[accepted.message];
            self.write(message, &accepted.accept, Placed { index, ..first }, &mut appender);
            if let Some(reply) = message.reply.filter(|_| !acks_at_once && is_answered(no_ack, accepted.of_batch)) {
                let (reply, of_batch) = (Reply::new(reply), accepted.of_batch);
                self.waiting.push_back(Waiting::Stored { index, reply, of_batch });
            }
        }
        self.log.written();
        let queued = appender.queued_bytes();
        appender.finish(Urgency::EndOfTurn);
        if acks_at_once {
            self.ack_before_written(messages, accepted, publisher);
        }
        queued
    }

    /// The journal's batch and the places of `count` entries in the log: all of them or none, before anything is written.
    /// On an error, what was accepted for them must be taken back; what is on its way already is not touched.
    pub(super) fn begin_append<'a>(
        &mut self,
        journal: &'a Journal,
        count: usize,
    ) -> Result<(Appender<'a>, Placed), ApiError> {
        let appender = journal.append(AppendClass::Admitted).map_err(|problem| refusal(&problem))?;
        let first = self.log.propose_many(count as u64);
        let first = first.map_err(|problem| error_codes::STREAM_STORE_FAILED.with(problem))?;
        Ok((appender, first))
    }

    /// The operator asked for it with `persist_mode: async` (T-36): these may be lost in a crash, and are seen by readers
    /// only when they are written.
    fn ack_before_written(
        &mut self,
        messages: &[InternalMessage<'_>],
        appended: &[Accepted],
        publisher: &mut Publisher,
    ) {
        let no_ack = self.config().no_ack;
        for accepted in appended.iter().filter(|accepted| is_answered(no_ack, accepted.of_batch)) {
            let Some(reply) = messages[accepted.message].reply else { continue };
            self.tell_stored(reply, accepted.of_batch, accepted.accept.sequence, publisher);
        }
    }

    fn write(&mut self, message: &InternalMessage<'_>, accept: &Accept, placed: Placed, appender: &mut Appender<'_>) {
        let headers = accept.headers.as_deref().unwrap_or(message.headers);
        let record = Record { subject: message.subject, headers, payload: message.payload, tag: MESSAGE };
        self.write_record(&record, accept, placed, appender);
    }

    #[inline]
    pub(super) fn write_record(
        &mut self,
        record: &Record<'_>,
        accept: &Accept,
        placed: Placed,
        appender: &mut Appender<'_>,
    ) {
        let Record { subject, headers, payload, tag } = *record;
        // Subjects are bounded by the control line, headers and payloads by the largest payload.
        let header = RecordHeader {
            group: self.log.id(),
            index: placed.index,
            term: placed.term,
            kind: RecordKind::Message,
            tag,
            sequence: accept.sequence,
            time: accept.time,
            subject_len: subject.len() as u16,
            headers_len: headers.len() as u32,
            payload_len: payload.len() as u32,
        };
        let location = appender.record(&header, &[subject, headers, payload]);
        self.log.placed(location);
        self.log.set_time(accept.time);
    }

    fn decide(
        &mut self,
        message: &InternalMessage<'_>,
        now: i64,
        room: &Room,
        publisher: &mut Publisher,
    ) -> Option<Accept> {
        let publish = self.as_publish(message, publisher)?;
        let room = Room { is_unwanted: self.is_unwanted(message.subject), ..*room };
        match self.machine.decide(&publish, now, &room, &self.store) {
            Ok(accept) => Some(accept),
            Err(refusal) => {
                self.refused(message, refusal, publisher);
                None
            }
        }
    }

    /// What the account and the server may still store in streams of this kind.
    pub(super) fn room(&self) -> Room {
        let storage = self.config().storage;
        let (account_bytes, server_is_full) = (self.usage.room(storage), self.shared.is_full(storage));
        Room { account_bytes, server_is_full, is_unwanted: false }
    }

    /// True when no consumer of a stream that keeps what consumers need wants such a message (T-41). One that is being
    /// created or changed may want it, and so may the stream.
    fn is_unwanted(&self, subject: &[u8]) -> bool {
        let is_settled = self.creating.is_empty() && self.updating_consumers.is_empty() && self.updating.is_empty();
        self.config().retention == Retention::Interest && is_settled && !self.consumers.wants(subject)
    }

    fn publish_to_memory(&mut self, messages: &[InternalMessage<'_>], publisher: &mut Publisher) {
        let no_ack = self.config().no_ack;
        let now = self.shared.now();
        for message in messages {
            let room = self.room();
            let (accept, of_batch) = if self.is_of_fast_batch(message) {
                let Some((accept, ticket)) = self.take_fast(message, Ok(&room), publisher) else { continue };
                (accept, Some(ticket))
            } else if self.is_of_batch(message) {
                if let Some(commit) = self.stage(message, publisher) {
                    self.commit(&commit, message, publisher);
                }
                continue;
            } else {
                let Some(accept) = self.decide(message, now, &room, publisher) else { continue };
                (accept, None)
            };
            let headers = accept.headers.as_deref().unwrap_or(message.headers);
            let stored = self.remember(message.subject, headers, message.payload, &accept, publisher);
            match (stored, message.reply.filter(|_| is_answered(no_ack, of_batch))) {
                (Ok(()), Some(reply)) => self.tell_stored(reply, of_batch, accept.sequence, publisher),
                (Err(error), Some(reply)) => self.tell_lost(reply, of_batch, &error, publisher),
                (_, None) => {}
            }
        }
        self.deliver_all(publisher);
        self.watch_expiry();
    }

    /// Stores a message of a memory stream: durable in the sense of such a stream at once, hence applied at once.
    ///
    /// # Errors
    /// This replica leads no more; nothing was stored.
    pub(super) fn remember(
        &mut self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
        accept: &Accept,
        publisher: &mut Publisher,
    ) -> Result<(), ApiError> {
        let placed = self.log.propose().map_err(|problem| {
            self.machine.take_back(accept.sequence);
            error_codes::STREAM_STORE_FAILED.with(problem)
        })?;
        let (sequence, time) = (accept.sequence, accept.time);
        let (index, term) = (placed.index, placed.term);
        self.store.remember(&MemoryInput { sequence, time, index, term, tag: MESSAGE, subject, headers, payload });
        self.apply_message(&StoredMessage { subject, headers, payload, sequence, time }, publisher);
        self.settle_memory();
        Ok(())
    }

    /// Replaces expired messages by delete markers (T-31).
    pub(super) fn publish_markers(&mut self, publisher: &mut Publisher) {
        // They are as many as messages may be, and are let in like these. Who is refused comes back in a while.
        let is_wanted = self.markers_wanted && self.machine.wants_markers();
        if is_wanted && !self.is_memory() && self.shared.journal.admit().is_err() {
            return;
        }
        // Those on their way are not looked for with every commit.
        self.markers_wanted = false;
        if !is_wanted {
            return;
        }
        for marker in self.machine.decide_markers(self.shared.now(), &self.store) {
            if self.is_memory() {
                if self.remember(&marker.subject, &marker.headers, &[], &marker.accept, publisher).is_err() {
                    return;
                }
                continue;
            }
            let shared = self.shared.clone();
            let Ok((mut appender, placed)) = self.begin_append(&shared.journal, 1) else {
                self.machine.take_back(marker.accept.sequence);
                return;
            };
            let record = Record { subject: &marker.subject, headers: &marker.headers, payload: &[], tag: MESSAGE };
            self.write_record(&record, &marker.accept, placed, &mut appender);
            self.log.written();
            appender.finish(Urgency::Lazy);
        }
    }

    pub(super) fn refused(&mut self, message: &InternalMessage<'_>, refusal: Refusal, publisher: &mut Publisher) {
        let wants_ack = !self.machine.config().no_ack;
        match refusal {
            Refusal::Busy => self.refuse_message(message, &error_codes::STREAM_TOO_MANY_REQUESTS.error(), publisher),
            Refusal::Error(error) => self.refuse_message(message, &error, publisher),
            Refusal::Duplicate { sequence, in_flight } => {
                let Some(reply) = message.reply.filter(|_| wants_ack) else { return };
                if in_flight {
                    // Nothing is acknowledged before the original is durable, which may be part of this very burst.
                    self.duplicates.push(Duplicate { sequence, reply: Reply::new(reply), of_batch: None });
                } else {
                    self.acknowledge_duplicate(reply, sequence, publisher);
                }
            }
        }
    }

    /// What the machine decides on. A message whose subject, as it is to be stored, does not fit into a record is refused.
    pub(super) fn as_publish<'a>(
        &mut self,
        message: &InternalMessage<'a>,
        publisher: &mut Publisher,
    ) -> Option<Publish<'a>> {
        let InternalMessage { subject, reply, headers, payload, .. } = *message;
        if subject.len() > usize::from(u16::MAX) {
            self.refuse_message(message, &error_codes::STREAM_MESSAGE_EXCEEDS_MAXIMUM.error(), publisher);
            return None;
        }
        Some(Publish { subject, reply, headers, payload })
    }

    pub(super) fn refuse_message(
        &mut self,
        message: &InternalMessage<'_>,
        error: &ApiError,
        publisher: &mut Publisher,
    ) {
        if let Some(reply) = message.reply.filter(|_| !self.machine.config().no_ack) {
            self.refuse(reply, error, publisher);
        }
    }
}

/// What is told of a fast batch, and whether, is its own business.
fn is_answered(no_ack: bool, of_batch: Option<Ticket>) -> bool {
    !no_ack || of_batch.is_some()
}
