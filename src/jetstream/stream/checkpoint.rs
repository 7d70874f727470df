//! The applied state in bytes, so that a start need not apply the whole log again. What only a leader has, and links,
//! are left out. Storage adds the checksum; here everything is checked that a wrong byte could make inconsistent.

use std::sync::Arc;

use headwater_storage::{DedupeWindow, SequenceSet, SubjectIndex};
use prost::Message;

use super::super::api::json;
use super::content::{Content, SEQUENCE_MAX};
use super::control::decode_config;
use super::expire::Expiry;
use super::in_flight::InFlight;
use super::links::SubjectLinks;
use super::machine::StreamMachine;
use super::rules::Rules;

const VERSION: u32 = 1;

/// Why bytes are no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCheckpoint {
    #[error("stream checkpoint of unknown version {0}")]
    Version(u32),
    #[error("stream checkpoint: {0} is damaged")]
    Damaged(&'static str),
    #[error("stream checkpoint contradicts itself: {0}")]
    Inconsistent(&'static str),
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(uint32, tag = "1")]
    version: u32,
    /// JSON.
    #[prost(bytes = "vec", tag = "2")]
    config: Vec<u8>,
    #[prost(uint64, tag = "3")]
    first: u64,
    #[prost(uint64, tag = "4")]
    last: u64,
    #[prost(int64, tag = "5")]
    last_time: i64,
    #[prost(uint64, tag = "6")]
    messages: u64,
    #[prost(uint64, tag = "7")]
    bytes: u64,
    #[prost(fixed64, tag = "8")]
    hash: u64,
    #[prost(bytes = "vec", tag = "9")]
    deleted: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    subjects: Vec<u8>,
    #[prost(bytes = "vec", tag = "11")]
    dedupe: Vec<u8>,
    #[prost(bytes = "vec", tag = "12")]
    last_message_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    lost: Vec<u8>,
    #[prost(int64, tag = "14")]
    clock: i64,
    #[prost(uint64, tag = "15")]
    age_cursor: u64,
    /// Sequences with a deadline, each as the distance from the one before, ascending.
    #[prost(uint64, repeated, tag = "16")]
    deadline_gaps: Vec<u64>,
    #[prost(uint64, repeated, tag = "17")]
    deadlines: Vec<u64>,
    #[prost(uint64, repeated, tag = "18")]
    waiting: Vec<u64>,
    #[prost(bool, tag = "19")]
    bytes_uncertain: bool,
}

impl StreamMachine {
    /// Appends the applied state to `out`.
    pub fn encode_checkpoint(&self, out: &mut Vec<u8>) {
        let mut body = Body {
            version: VERSION,
            config: json::write(&*self.config),
            first: self.content.first,
            last: self.content.last,
            last_time: self.content.last_time,
            messages: self.content.messages,
            bytes: self.content.bytes,
            bytes_uncertain: self.content.bytes_uncertain,
            hash: self.content.hash,
            last_message_id: self.last_message_id.clone(),
            clock: self.clock,
            age_cursor: self.expiry.cursor,
            waiting: self.expiry.waiting.iter().copied().collect(),
            ..Body::default()
        };
        self.content.deleted.encode(&mut body.deleted);
        self.subjects.encode(&mut body.subjects);
        self.dedupe.encode(self.clock, &mut body.dedupe);
        self.lost.encode(&mut body.lost);
        let mut before = 0;
        for (sequence, deadline) in self.expiry.deadlines() {
            body.deadline_gaps.push(sequence - before);
            body.deadlines.push(deadline);
            before = sequence;
        }
        out.reserve(body.encoded_len());
        // A Vec grows as needed, so this can not fail.
        let written = body.encode(out);
        debug_assert!(written.is_ok());
    }

    /// Reads what [`encode_checkpoint`](Self::encode_checkpoint) wrote.
    pub fn restore(bytes: &[u8]) -> Result<Self, MalformedCheckpoint> {
        use MalformedCheckpoint::{Damaged, Inconsistent, Version};

        let body = Body::decode(bytes).map_err(|_| Damaged("the frame"))?;
        if body.version != VERSION {
            return Err(Version(body.version));
        }
        let config = Arc::new(decode_config(&body.config).ok_or(Damaged("the configuration"))?);
        let subjects = SubjectIndex::decode(&body.subjects).map_err(|_| Damaged("the subject index"))?;
        let dedupe = DedupeWindow::decode(&body.dedupe).map_err(|_| Damaged("the dedupe window"))?;
        let lost = SequenceSet::decode(&body.lost).map_err(|_| Damaged("the set of lost messages"))?;
        let content = restore_content(&body)?;
        if subjects.total() != content.messages && lost.is_empty() && content.messages == 0 {
            return Err(Inconsistent("subjects without messages"));
        }
        let mut expiry = Expiry::new();
        expiry.cursor = body.age_cursor;
        if body.deadline_gaps.len() != body.deadlines.len() {
            return Err(Inconsistent("deadlines without sequences"));
        }
        let mut sequence: u64 = 0;
        for (gap, deadline) in body.deadline_gaps.iter().zip(&body.deadlines) {
            sequence = sequence.checked_add(*gap).ok_or(Inconsistent("a deadline beyond all sequences"))?;
            if *gap == 0 || !content.is_stored(sequence) {
                return Err(Inconsistent("a deadline of no message"));
            }
            expiry.insert_deadline(sequence, *deadline);
        }
        expiry.waiting = body.waiting.into_iter().collect();
        if !expiry.waiting.iter().all(|sequence| content.is_stored(*sequence)) {
            return Err(Inconsistent("a marker of no message"));
        }
        let rules = Rules::of(&config);
        let next_sequence = content.last + 1;
        Ok(Self {
            subject_read: Vec::new(),
            config,
            rules,
            limits_suspended: false,
            content,
            subjects,
            dedupe,
            last_message_id: body.last_message_id,
            expiry,
            lost,
            clock: body.clock,
            links: SubjectLinks::new(rules.per_subject_max, next_sequence),
            in_flight: InFlight::new(),
            next_sequence,
            proposed_time: body.clock,
        })
    }
}

fn restore_content(body: &Body) -> Result<Content, MalformedCheckpoint> {
    use MalformedCheckpoint::{Damaged, Inconsistent};

    let deleted = SequenceSet::decode(&body.deleted).map_err(|_| Damaged("the set of gaps"))?;
    let span = body.last.checked_add(1).and_then(|end| end.checked_sub(body.first));
    let span = span.ok_or(Inconsistent("the first sequence lies beyond the last"))?;
    if body.first == 0 || body.last > SEQUENCE_MAX {
        return Err(Inconsistent("sequences out of range"));
    }
    let inside = if span == 0 { 0 } else { deleted.count_in(body.first..=body.last) };
    if inside != deleted.len() || span - inside != body.messages {
        return Err(Inconsistent("gaps and messages do not add up"));
    }
    if body.messages > 0 && deleted.contains(body.first) {
        return Err(Inconsistent("the first message is a gap"));
    }
    Ok(Content {
        first: body.first,
        last: body.last,
        last_time: body.last_time,
        messages: body.messages,
        bytes: body.bytes,
        bytes_uncertain: body.bytes_uncertain,
        deleted,
        hash: body.hash,
    })
}
