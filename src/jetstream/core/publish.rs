//! HOT PATH: no allocation per message, one lock of the journal's queue per burst.
//!
//! Messages on their way into a stream: decided, encoded into the journal's batch, acknowledged when applied.

use headwater_storage::{AppendClass, Appender, Journal, MemoryInput, RecordHeader, RecordKind, Urgency};

use super::answers::{Reply, Waiting};
use super::{Core, StoredMessage, refusal};
use crate::account::InternalMessage;
use crate::jetstream::api::stream_config::PersistMode;
use crate::jetstream::api::{ApiError, error_codes};
use crate::jetstream::group_log::Placed;
use crate::jetstream::stream::{Accept, MESSAGE, Publish, Refusal, Room};
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
                self.refuse_message(message, &error, publisher);
            }
            return 0;
        }
        let mut accepted = std::mem::take(&mut self.accepted);
        let room = self.room();
        let mut queued = 0;
        for (at, message) in messages.iter().enumerate() {
            if self.is_of_batch(message) {
                if let Some(commit) = self.stage(message, publisher) {
                    // What came before the batch is in the log before it.
                    self.append_burst(messages, &accepted, publisher);
                    accepted.clear();
                    queued = self.commit(&commit, message, publisher);
                }
                continue;
            }
            match self.decide(message, &room, publisher) {
                Some(accept) => accepted.push(Accepted { message: at, accept }),
                None => continue,
            }
        }
        queued = queued.max(self.append_burst(messages, &accepted, publisher));
        accepted.clear();
        self.accepted = accepted;
        let index = self.log.group().last_index();
        let duplicates = self.duplicates.drain(..);
        self.waiting.extend(duplicates.map(|(sequence, reply)| Waiting::Duplicate { index, sequence, reply }));
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
        let (mut appender, first) = match self.begin_append(&shared.journal, accepted.len()) {
            Ok(begun) => begun,
            Err(error) => {
                let lost = accepted[0].accept.sequence;
                self.machine.take_back(lost);
                for accepted in accepted {
                    self.refuse_message(&messages[accepted.message], &error, publisher);
                }
                // Duplicates of what is not stored are not stored either.
                for (_, reply) in self.duplicates.extract_if(.., |(sequence, _)| *sequence >= lost).collect::<Vec<_>>()
                {
                    self.refuse(reply.as_slice(), &error, publisher);
                }
                return 0;
            }
        };
        let wants_ack = !self.machine.config().no_ack;
        let acks_at_once = self.machine.config().persist_mode == PersistMode::Async;
        for (index, accepted) in (first.index..).zip(accepted) {
            let message = &messages[accepted.message];
            self.write(message, &accepted.accept, Placed { index, ..first }, &mut appender);
            if let Some(reply) = message.reply.filter(|_| wants_ack && !acks_at_once) {
                self.waiting.push_back(Waiting::Stored { index, reply: Reply::new(reply) });
            }
        }
        self.log.written();
        let queued = appender.queued_bytes();
        appender.finish(Urgency::EndOfTurn);
        if acks_at_once && wants_ack {
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
        for accepted in appended {
            let Some(reply) = messages[accepted.message].reply else { continue };
            self.acknowledge(reply, accepted.accept.sequence, publisher);
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

    fn decide(&mut self, message: &InternalMessage<'_>, room: &Room, publisher: &mut Publisher) -> Option<Accept> {
        let publish = as_publish(message)?;
        match self.machine.decide(&publish, self.shared.now(), room, &self.store) {
            Ok(accept) => Some(accept),
            Err(refusal) => {
                self.refused(message, refusal, publisher);
                None
            }
        }
    }

    /// What the account may still store in streams of this kind.
    pub(super) fn room(&self) -> Room {
        Room { account_bytes: self.usage.room(self.config().storage), server_is_full: false }
    }

    fn publish_to_memory(&mut self, messages: &[InternalMessage<'_>], publisher: &mut Publisher) {
        let wants_ack = !self.machine.config().no_ack;
        for message in messages {
            if self.is_of_batch(message) {
                if let Some(commit) = self.stage(message, publisher) {
                    self.commit(&commit, message, publisher);
                }
                continue;
            }
            let room = self.room();
            let Some(accept) = self.decide(message, &room, publisher) else { continue };
            let headers = accept.headers.as_deref().unwrap_or(message.headers);
            if !self.remember(message.subject, headers, message.payload, &accept, publisher) {
                continue;
            }
            if let Some(reply) = message.reply.filter(|_| wants_ack) {
                self.acknowledge(reply, accept.sequence, publisher);
            }
        }
        self.deliver_all(publisher);
        self.watch_expiry();
    }

    /// Stores a message of a memory stream: durable in the sense of such a stream at once, hence applied at once.
    pub(super) fn remember(
        &mut self,
        subject: &[u8],
        headers: &[u8],
        payload: &[u8],
        accept: &Accept,
        publisher: &mut Publisher,
    ) -> bool {
        let Ok(placed) = self.log.propose() else {
            self.machine.take_back(accept.sequence);
            return false;
        };
        let (sequence, time) = (accept.sequence, accept.time);
        let (index, term) = (placed.index, placed.term);
        self.store.remember(&MemoryInput { sequence, time, index, term, tag: MESSAGE, subject, headers, payload });
        self.apply_message(&StoredMessage { subject, headers, payload, sequence, time }, publisher);
        self.settle_memory();
        true
    }

    /// Replaces expired messages by delete markers (T-31).
    pub(super) fn publish_markers(&mut self, publisher: &mut Publisher) {
        let waiting: Vec<u64> = self.machine.waiting_for_markers().collect();
        for sequence in waiting {
            let Some(marker) = self.machine.decide_marker(sequence, self.shared.now(), &self.store) else { continue };
            if self.is_memory() {
                self.remember(&marker.subject, &marker.headers, &[], &marker.accept, publisher);
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
                    self.duplicates.push((sequence, Reply::new(reply)));
                } else {
                    self.acknowledge_duplicate(reply, sequence, publisher);
                }
            }
        }
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

/// What the machine decides on. A subject that does not fit into a record has no answer: the control line bounds it.
pub(super) fn as_publish<'a>(message: &InternalMessage<'a>) -> Option<Publish<'a>> {
    let InternalMessage { subject, reply, headers, payload, .. } = *message;
    (subject.len() <= usize::from(u16::MAX)).then_some(Publish { subject, reply, headers, payload })
}
