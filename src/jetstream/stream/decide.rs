//! HOT PATH: no allocation per plain message, no lock, no log.
//! Whether a publish is accepted, and as which sequence: the checks of section 4.3, in the order of a single genuine
//! server (P-21). Only the leader decides; what it accepts is beyond doubt and not checked again.

use headwater_storage::format::record::RECORD_BYTES_MAX;

use super::super::api::error::ErrorTemplate;
use super::super::api::{ApiError, error_codes};
use super::content::{SEQUENCE_MAX, message_bytes};
use super::fast_reply::is_of_fast_batch;
use super::in_flight::{Accepted, OfSubject};
use super::machine::StreamMachine;
use super::publish_headers::{PublishHeaders, REQUEST_INFO, Rollup, TTL, Ttl};
use super::source::MessageSource;
use crate::protocol::{headers, subject};

/// Headers and payload of a message. A subject of any length that a connection takes, and headers that are added, fit into
/// the rest of a record.
const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX - 128 * 1024;

/// Larger header blocks are refused (P-17).
pub(super) const HEADER_BYTES_MAX: usize = u16::MAX as usize;

/// A message that somebody published to a subject of the stream, after the stream's own subject transform.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// Empty when there are none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// How much more may be stored.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes that the account may still store; beyond them 10002.
    pub account_bytes: u64,
    /// The server has no space left (10023).
    pub server_is_full: bool,
    /// Nobody wants the message: it gets its sequence, is not kept, and so no limit of what is kept is in its way.
    pub is_unwanted: bool,
}

impl Room {
    pub const UNLIMITED: Room = Room { account_bytes: u64::MAX, server_is_full: false, is_unwanted: false };
}

/// The message is to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    pub sequence: u64,
    /// The log time of its record.
    pub time: i64,
    /// The headers to store instead of those given; empty is none.
    pub headers: Option<Vec<u8>>,
}

/// The message is not to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Error(ApiError),
    /// It is in the stream already. While `in_flight`, the answer must wait until `sequence` is applied.
    Duplicate {
        sequence: u64,
        in_flight: bool,
    },
    /// Too many are on the way: error 10167 under the status line `429 Too Many Requests` (P-18).
    Busy,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl StreamMachine {
    /// Decides on a publish. What is accepted must be appended to the log, in the order of its sequences, or
    /// [`take_back`](Self::take_back) be called.
    pub fn decide<S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        now: i64,
        room: &Room,
        source: &S,
    ) -> Result<Accept, Refusal> {
        self.check_room_for(1)?;
        if self.rules.sealed {
            return refuse(&error_codes::STREAM_SEALED);
        }
        if publish.reply.is_some_and(is_of_fast_batch) {
            self.check_size(publish)?;
            return refuse(&error_codes::BATCH_PUBLISH_DISABLED);
        }
        let time = self.message_time(now);
        let asked = PublishHeaders::parse(publish.headers);
        if !publish.headers.is_empty() {
            self.check_size(publish)?;
            self.check_headers(publish, &asked, time, source)?;
        }
        self.accept(publish, &asked, time, room, source)
    }

    /// Whether so many more may be on their way, and have sequences.
    #[inline]
    pub(super) fn check_room_for(&self, count: usize) -> Result<(), Refusal> {
        if !self.in_flight.has_room_for(count) {
            return Err(Refusal::Busy);
        }
        if self.next_sequence > SEQUENCE_MAX + 1 - count as u64 {
            return refuse_store("maximum messages exceeded");
        }
        Ok(())
    }

    /// Gives a message whose headers were checked its sequence, if sizes and limits let it pass.
    #[inline]
    pub(super) fn accept<S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        asked: &PublishHeaders<'_>,
        time: i64,
        room: &Room,
        source: &S,
    ) -> Result<Accept, Refusal> {
        self.check_size(publish)?;
        if room.server_is_full {
            return refuse(&error_codes::INSUFFICIENT_RESOURCES);
        }
        let size = self.bytes_of_publish(publish);
        if size > room.account_bytes && !room.is_unwanted {
            return refuse(&error_codes::ACCOUNT_RESOURCES_EXCEEDED);
        }
        // What is not kept has no life to be limited: nobody looks at how long.
        let headers = if room.is_unwanted { None } else { self.headers_to_store(publish.headers, asked)? };
        let rollup = asked.rollup.filter(|_| self.rules.allows_rollup).and_then(Rollup::parse);
        let (messages, bytes) = match self.rules.refuses_at_limits {
            _ if room.is_unwanted => (0, 0),
            true => self.check_limits(publish, rollup, size, source)?,
            false => (1, size as i64),
        };
        let sequence = self.next_sequence;
        let id = asked.message_id.unwrap_or_default();
        self.in_flight.push(&Accepted { sequence, subject: publish.subject, id, messages, bytes, rollup });
        self.next_sequence += 1;
        self.proposed_time = time;
        Ok(Accept { sequence, time, headers })
    }

    /// Everything that a header may ask for, in the order of the genuine server.
    fn check_headers<S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        asked: &PublishHeaders<'_>,
        time: i64,
        source: &S,
    ) -> Result<(), Refusal> {
        if asked.batch_id.is_some() {
            return refuse(&error_codes::ATOMIC_PUBLISH_DISABLED);
        }
        check_increment(asked)?;
        if asked.expected_stream.is_some_and(|name| name != self.config.name.as_bytes()) {
            return refuse(&error_codes::STREAM_NOT_MATCH);
        }
        if !self.rules.allows_ttl && asked.ttl.and_then(Ttl::parse).is_some() {
            return refuse(&error_codes::MESSAGE_TTL_DISABLED);
        }
        self.check_last_of_subject(publish.subject, asked, source)?;
        let last = self.next_sequence - 1;
        if asked.expected_last_sequence.is_some_and(|expected| expected != last) {
            return Err(error_codes::STREAM_WRONG_LAST_SEQUENCE.with(last).into());
        }
        check_schedules(publish.subject, asked)?;
        if asked.stream_source.is_some() {
            return refuse(&error_codes::MESSAGE_SOURCE_HDR_NOT_ALLOWED);
        }
        self.check_duplicate(asked, time)?;
        self.check_last_id(asked)?;
        self.check_rollup(asked)
    }

    /// Compare-and-set on a subject (P-04), or on what a filter matches (P-05).
    pub(super) fn check_last_of_subject<S: MessageSource>(
        &mut self,
        subject: &[u8],
        asked: &PublishHeaders<'_>,
        source: &S,
    ) -> Result<(), Refusal> {
        let Some(expected) = asked.expected_last_subject_sequence else {
            return match asked.expected_last_subject_sequence_subject {
                Some(_) => refuse(&error_codes::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID),
                None => Ok(()),
            };
        };
        let filter = asked.expected_last_subject_sequence_subject.unwrap_or(subject);
        let last = if subject::is_literal(filter) {
            match self.in_flight.of_subject(filter) {
                OfSubject { last: 0, replaces_stored: false, .. } => self.last_of_subject(filter, source),
                OfSubject { last, .. } => Some(last),
            }
        } else {
            self.in_flight.last_matching(filter).or_else(|| self.last_matching(&[filter], source))
        };
        let last = last.unwrap_or(0);
        if last == expected { Ok(()) } else { Err(error_codes::STREAM_WRONG_LAST_SEQUENCE.with(last).into()) }
    }

    pub(super) fn check_duplicate(&self, asked: &PublishHeaders<'_>, time: i64) -> Result<(), Refusal> {
        let Some(id) = asked.message_id.filter(|_| self.rules.dedupes) else {
            return Ok(());
        };
        if let Some(sequence) = self.in_flight.find_id(id) {
            return Err(Refusal::Duplicate { sequence, in_flight: true });
        }
        match self.dedupe.get(id, time) {
            Some(sequence) => Err(Refusal::Duplicate { sequence, in_flight: false }),
            None => Ok(()),
        }
    }

    pub(super) fn check_last_id(&self, asked: &PublishHeaders<'_>) -> Result<(), Refusal> {
        let last = self.in_flight.last_id().unwrap_or(&self.last_message_id);
        match asked.expected_last_message_id {
            Some(expected) if expected != last => {
                Err(error_codes::STREAM_WRONG_LAST_MSG_ID.with(String::from_utf8_lossy(last)).into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_rollup(&self, asked: &PublishHeaders<'_>) -> Result<(), Refusal> {
        let Some(value) = asked.rollup else {
            return Ok(());
        };
        if !self.rules.allows_rollup {
            return Err(error_codes::STREAM_ROLLUP_FAILED.with("rollup not permitted").into());
        }
        if Rollup::parse(value).is_none() {
            let shown = String::from_utf8_lossy(value).to_lowercase();
            let quoted = super::super::api::json::quote(&shown);
            return Err(error_codes::STREAM_ROLLUP_FAILED.with(format!("rollup value invalid: {quoted}")).into());
        }
        Ok(())
    }

    pub(super) fn bytes_of_publish(&self, publish: &Publish<'_>) -> u64 {
        message_bytes(self.rules.storage, publish.subject.len(), publish.headers.len(), publish.payload.len())
    }

    pub(super) fn check_message_size(&self, publish: &Publish<'_>) -> Result<(), Refusal> {
        let size = publish.headers.len() + publish.payload.len();
        // More than a record holds is refused whatever the configuration lets in.
        if size > MESSAGE_BYTES_MAX || self.rules.message_size_max.is_some_and(|max| size > max) {
            return refuse(&error_codes::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
        }
        Ok(())
    }

    fn check_size(&self, publish: &Publish<'_>) -> Result<(), Refusal> {
        self.check_message_size(publish)?;
        if publish.headers.len() > HEADER_BYTES_MAX {
            return refuse(&error_codes::STREAM_HEADER_EXCEEDS_MAXIMUM);
        }
        Ok(())
    }

    /// The headers without what is not stored, and with a time to live that outlasts delete markers.
    fn headers_to_store(&self, block: &[u8], asked: &PublishHeaders<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let mut longer = None;
        if let Some(text) = asked.ttl {
            let Some(ttl) = Ttl::parse(text) else {
                return refuse(&error_codes::MESSAGE_TTL_INVALID);
            };
            // A marker must not be outlived by what it marks; with one message per subject there is nothing to mark.
            let least = self.rules.marker_seconds.filter(|_| self.rules.per_subject_max != Some(1));
            longer = least.filter(|least| matches!(ttl, Ttl::Seconds(seconds) if seconds < *least));
        }
        // A stored status would be taken for the server's own by whoever gets the message.
        let plain = headers::without_status(block);
        if longer.is_none() && !asked.has_request_info {
            return Ok(plain);
        }
        let replaced = |key: &[u8]| key == REQUEST_INFO.as_bytes() || (longer.is_some() && key == TTL.as_bytes());
        let mut copy = headers::without(plain.as_deref().unwrap_or(block), replaced);
        if let Some(seconds) = longer {
            headers::append(&mut copy, TTL, seconds.to_string().as_bytes());
        }
        Ok(Some(copy))
    }

    /// The limits of a stream that refuses what is new. Says what the message will add once everything on the way is
    /// applied: nothing to the count when it pushes out an older one of its subject.
    fn check_limits<S: MessageSource>(
        &mut self,
        publish: &Publish<'_>,
        rollup: Option<Rollup>,
        size: u64,
        source: &S,
    ) -> Result<(i32, i64), Refusal> {
        let subject_is_full =
            self.rules.per_subject_max.is_some_and(|max| self.coming_of_subject(publish.subject) >= max);
        if subject_is_full && self.rules.refuses_at_subject_limit && rollup.is_none() {
            return refuse_store("maximum messages per subject exceeded");
        }
        let (messages, bytes) = self.in_flight.totals(self.content.messages, self.content.bytes);
        if !subject_is_full && self.rules.messages_max.is_some_and(|max| messages >= max) {
            return refuse_store("maximum messages exceeded");
        }
        let mut pushed_out = 0;
        if let Some(bytes_max) = self.rules.bytes_max {
            let is_tight = bytes + size > bytes_max;
            pushed_out = if subject_is_full { self.bytes_pushed_out(publish.subject, is_tight, source) } else { 0 };
            if is_tight && pushed_out < size {
                return refuse_store("maximum bytes exceeded");
            }
        }
        match rollup {
            Some(Rollup::All) => Ok((1, size as i64)),
            Some(Rollup::Subject) => Ok(self.added_by_rollup(publish.subject, size, source)),
            None => Ok((i32::from(!subject_is_full), size as i64 - pushed_out as i64)),
        }
    }

    /// What a message that replaces all of its subject adds. Bytes that it would take a search to know count as if they
    /// stayed: until the roll-up is applied, which is soon, less is taken than there is room for.
    fn added_by_rollup<S: MessageSource>(&mut self, subject: &[u8], size: u64, source: &S) -> (i32, i64) {
        let messages = self.coming_of_subject(subject).min(self.rules.per_subject_max.unwrap_or(u64::MAX));
        let messages = i32::try_from(messages).map_or(1, |replaced| 1 - replaced);
        if self.rules.bytes_max.is_none() {
            return (messages, size as i64);
        }
        let stored = self.subjects.get(subject).filter(|_| !self.in_flight.replaces_all());
        let replaced = match stored.map_or(0, |state| state.messages) {
            0 => self.in_flight.bytes_of_subject(subject),
            1 => self.oldest_bytes(subject, source) as i64 + self.in_flight.bytes_of_subject(subject),
            _ => 0,
        };
        (messages, size as i64 - replaced.max(0))
    }

    /// What the next message of a full subject pushes out. Those on their way push out one each, too: which one the next
    /// will be takes a search to know, which is made when it matters and only where there is one message per subject.
    fn bytes_pushed_out<S: MessageSource>(&mut self, subject: &[u8], search: bool, source: &S) -> u64 {
        match self.in_flight.of_subject(subject).messages {
            0 => self.oldest_bytes(subject, source),
            _ if search && self.rules.per_subject_max == Some(1) => {
                let coming = self.oldest_bytes(subject, source) as i64 + self.in_flight.bytes_of_subject(subject);
                coming.max(0) as u64
            }
            _ => 0,
        }
    }

    /// How many messages a subject has once what is on the way is applied.
    fn coming_of_subject(&mut self, subject: &[u8]) -> u64 {
        let OfSubject { messages, replaces_stored, .. } = self.in_flight.of_subject(subject);
        let stored = self.subjects.get(subject).filter(|_| !replaces_stored);
        stored.map_or(0, |state| state.messages) + messages
    }

    /// What the oldest message of a subject counts for; 0 when there is none that can be read.
    fn oldest_bytes<S: MessageSource>(&mut self, subject: &[u8], source: &S) -> u64 {
        let oldest = self.oldest_of_subject(subject, source);
        oldest.and_then(|sequence| self.bytes_of(sequence, source)).unwrap_or(0)
    }
}

/// Counters are refused at creation, so whatever asks for one is refused here.
pub(super) fn check_increment(asked: &PublishHeaders<'_>) -> Result<(), Refusal> {
    match asked.increment {
        None => Ok(()),
        Some(increment) if is_integer(increment) => refuse(&error_codes::MESSAGE_INCR_DISABLED),
        Some(_) => refuse(&error_codes::MESSAGE_INCR_INVALID),
    }
}

/// Schedules (T-35) are refused at creation, so whatever asks for one is refused here.
pub(super) fn check_schedules(own_subject: &[u8], asked: &PublishHeaders<'_>) -> Result<(), Refusal> {
    if asked.schedule.is_some() {
        return refuse(&error_codes::MESSAGE_SCHEDULES_DISABLED);
    }
    match (asked.schedule_next, asked.scheduler) {
        (None, None) => Ok(()),
        (Some(b"purge"), Some(scheduler)) if scheduler != own_subject && subject::is_valid_literal(scheduler) => {
            refuse(&error_codes::MESSAGE_SCHEDULES_DISABLED)
        }
        _ => refuse(&error_codes::MESSAGE_SCHEDULES_SCHEDULER_INVALID),
    }
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

pub(super) fn refuse<T>(error: &ErrorTemplate) -> Result<T, Refusal> {
    Err(Refusal::Error(error.error()))
}

/// A limit of the stream (P-23).
fn refuse_store<T>(text: &'static str) -> Result<T, Refusal> {
    Err(error_codes::STREAM_STORE_FAILED.with(text).into())
}
