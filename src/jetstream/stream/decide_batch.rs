//! Whether messages of batches are accepted. An atomic batch (P-11) is accepted as a whole: every message is checked,
//! against the stream and against those before it in the batch, before the first one is given a sequence. Those of a fast
//! batch (P-12) are accepted one by one.
//!
//! What an atomic batch has written itself cannot be expected: within it, a look at the stream would be wrong and a look
//! at the batch is what nobody meant.

use std::collections::HashSet;

use super::super::api::error_codes;
use super::batch::StagedMessage;
use super::decide::{Accept, HEADER_BYTES_MAX, Publish, Refusal, Room, check_increment, check_schedules, refuse};
use super::machine::StreamMachine;
use super::publish_headers::{EXPECTED_LAST_MESSAGE_ID, PublishHeaders, Rollup};
use super::source::MessageSource;

/// What the messages checked so far have written.
#[derive(Default)]
struct Written<'a> {
    subjects: HashSet<&'a [u8]>,
    ids: HashSet<&'a [u8]>,
}

impl StreamMachine {
    /// What can be said about one message of a batch when it arrives.
    ///
    /// # Errors
    /// The answer to the publisher; the batch stays open.
    pub fn check_part(&self, publish: &Publish<'_>, room: &Room) -> Result<(), Refusal> {
        if self.rules.sealed {
            return refuse(&error_codes::STREAM_SEALED);
        }
        if room.server_is_full {
            return refuse(&error_codes::INSUFFICIENT_RESOURCES);
        }
        if self.bytes_of_publish(publish) > room.account_bytes {
            return refuse(&error_codes::ACCOUNT_RESOURCES_EXCEEDED);
        }
        self.check_message_size(publish)
    }

    /// Decides on a batch as [`decide`](Self::decide) does on a message: all of it, or nothing. The whole must be
    /// appended to the log, as one.
    ///
    /// # Errors
    /// The answer to the commit. Nothing has been accepted then.
    pub fn decide_batch<S: MessageSource>(
        &mut self,
        messages: &[StagedMessage],
        now: i64,
        room: &Room,
        source: &S,
    ) -> Result<Vec<Accept>, Refusal> {
        self.check_room_for(messages.len())?;
        self.check_batch(messages, now, source)?;
        let (next_sequence, proposed_time) = (self.next_sequence, self.proposed_time);
        let mut room = *room;
        let mut accepts = Vec::with_capacity(messages.len());
        for message in messages {
            let publish = message.as_publish();
            let asked = PublishHeaders::parse(publish.headers);
            let time = self.message_time(now);
            match self.accept(&publish, &asked, time, &room, source) {
                Ok(accept) => accepts.push(accept),
                Err(refusal) => {
                    self.take_back(next_sequence);
                    self.proposed_time = proposed_time;
                    return Err(refusal);
                }
            }
            room.account_bytes -= self.bytes_of_publish(&publish);
        }
        Ok(accepts)
    }

    /// Decides on a message of a fast batch, as [`decide`](Self::decide) does on one of none.
    ///
    /// # Errors
    /// The message is not stored.
    pub fn decide_in_fast_batch<S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        asked: &PublishHeaders<'_>,
        now: i64,
        room: &Room,
        source: &S,
    ) -> Result<Accept, Refusal> {
        self.check_room_for(1)?;
        let time = self.message_time(now);
        if !publish.headers.is_empty() {
            let last = self.next_sequence - 1;
            self.check_headers_in_batch(publish, asked, time, last, &Written::default(), source)?;
            self.check_last_id(asked)?;
        }
        self.accept(publish, asked, time, room, source)
    }

    fn check_batch<S: MessageSource>(
        &mut self,
        messages: &[StagedMessage],
        now: i64,
        source: &S,
    ) -> Result<(), Refusal> {
        let mut written = Written::default();
        let time = self.message_time(now);
        for (last, message) in (self.next_sequence - 1..).zip(messages) {
            let publish = message.as_publish();
            let asked = PublishHeaders::parse(publish.headers);
            if !publish.headers.is_empty() {
                if asked.expected_last_message_id.is_some() {
                    let refused = error_codes::ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH;
                    return Err(refused.with(EXPECTED_LAST_MESSAGE_ID).into());
                }
                match self.check_headers_in_batch(&publish, &asked, time, last, &written, source) {
                    Err(Refusal::Duplicate { .. }) => {
                        return refuse(&error_codes::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE);
                    }
                    checked => checked?,
                }
            }
            written.ids.extend(asked.message_id);
            written.subjects.insert(message.subject());
        }
        Ok(())
    }

    /// Everything that a header of a batch's message may ask for, in the order of the genuine server. `written` is what an
    /// atomic batch has written before.
    fn check_headers_in_batch<'a, S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        asked: &PublishHeaders<'a>,
        time: i64,
        last: u64,
        written: &Written<'a>,
        source: &S,
    ) -> Result<(), Refusal> {
        if publish.headers.len() > HEADER_BYTES_MAX {
            return refuse(&error_codes::STREAM_HEADER_EXCEEDS_MAXIMUM);
        }
        check_increment(asked)?;
        if asked.expected_stream.is_some_and(|name| name != self.config.name.as_bytes()) {
            return refuse(&error_codes::STREAM_NOT_MATCH);
        }
        if asked.ttl.is_some() && !self.rules.allows_ttl {
            return refuse(&error_codes::MESSAGE_TTL_DISABLED);
        }
        if asked.message_id.is_some_and(|id| written.ids.contains(id)) {
            return Err(Refusal::Duplicate { sequence: 0, in_flight: true });
        }
        self.check_duplicate(asked, time)?;
        if asked.stream_source.is_some() {
            return refuse(&error_codes::MESSAGE_SOURCE_HDR_NOT_ALLOWED);
        }
        if let Some(expected) = asked.expected_last_sequence {
            if expected != last {
                return Err(error_codes::STREAM_WRONG_LAST_SEQUENCE.with(last).into());
            }
            if !written.subjects.is_empty() {
                return refuse(&error_codes::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
            }
        }
        let expected_of = asked.expected_last_subject_sequence_subject.unwrap_or(publish.subject);
        if asked.expected_last_subject_sequence.is_some() && written.subjects.contains(expected_of) {
            return refuse(&error_codes::STREAM_WRONG_LAST_SEQUENCE_CONSTANT);
        }
        self.check_last_of_subject(publish.subject, asked, source)?;
        check_schedules(publish.subject, asked)?;
        self.check_rollup(asked)?;
        let misplaced = match asked.rollup.and_then(Rollup::parse) {
            Some(Rollup::Subject) if written.subjects.contains(publish.subject) => "batch rollup sub invalid",
            Some(Rollup::All) if !written.subjects.is_empty() => "batch rollup all invalid",
            _ => return Ok(()),
        };
        Err(error_codes::STREAM_ROLLUP_FAILED.with(misplaced).into())
    }
}
