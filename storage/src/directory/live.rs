//! HOT PATH: no lock, no log above trace.
//!
//! What one group has in a segment whose footer is not written yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dictionary::SubjectDictionary;
use super::table::{OffsetTable, find_from};
use crate::format::record::{RecordHeader, RecordKind};
use crate::segment::Segment;
use crate::sequence_set::SequenceSet;

pub(crate) struct LiveSpan {
    pub(crate) segment: Arc<Segment>,
    /// Raft index to offset.
    pub(crate) entries: OffsetTable,
    /// Stream sequence to offset, in order of append.
    pub(crate) messages: OffsetTable,
    /// The subject of each of `messages`.
    pub(crate) subject_ids: Vec<u32>,
    /// Messages that came out of order: copies from a snapshot or a repair. Sequence to offset and subject.
    pub(crate) odd: BTreeMap<u64, (u32, u32)>,
    pub(crate) subjects: SubjectDictionary,
    pub(crate) last_term: u64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
    /// Bytes of all records of the group here.
    pub(crate) record_bytes: u64,
    /// Bytes of its messages.
    pub(crate) message_bytes: u64,
    /// Messages that the upper layer released.
    pub(crate) released: SequenceSet,
}

impl LiveSpan {
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        Self {
            segment,
            entries: OffsetTable::default(),
            messages: OffsetTable::default(),
            subject_ids: Vec::new(),
            odd: BTreeMap::new(),
            subjects: SubjectDictionary::default(),
            last_term: 0,
            first_time: i64::MAX,
            last_time: i64::MIN,
            record_bytes: 0,
            message_bytes: 0,
            released: SequenceSet::new(),
        }
    }

    pub(crate) fn push(&mut self, header: &RecordHeader, subject: &[u8], offset: u32) {
        self.record_bytes += header.record_bytes() as u64;
        self.first_time = self.first_time.min(header.time);
        self.last_time = self.last_time.max(header.time);
        if header.kind.is_log_entry() {
            self.entries.push(header.index, offset);
            self.last_term = header.term;
        }
        if header.kind.is_message() {
            self.message_bytes += header.record_bytes() as u64;
            self.push_message(header, subject, offset);
        }
    }

    /// Enters a message that compaction moved: it has left the log. Sequences must rise.
    pub(crate) fn push_compacted(&mut self, header: &RecordHeader, subject: &[u8], offset: u32) {
        let moved = RecordHeader { kind: RecordKind::Message, ..*header };
        self.record_bytes += moved.record_bytes() as u64;
        self.message_bytes += moved.record_bytes() as u64;
        self.first_time = self.first_time.min(moved.time);
        self.last_time = self.last_time.max(moved.time);
        self.push_message(&moved, subject, offset);
    }

    fn push_message(&mut self, header: &RecordHeader, subject: &[u8], offset: u32) {
        let subject = self.subjects.note(subject, header.sequence);
        let in_order = self.messages.last().is_none_or(|last| header.sequence > last);
        if header.kind == RecordKind::Message && in_order {
            self.messages.push(header.sequence, offset);
            self.subject_ids.push(subject);
        } else {
            self.odd.insert(header.sequence, (offset, subject));
        }
    }

    /// Forgets the entries from `index` on, and their messages.
    pub(crate) fn truncate(&mut self, index: u64) {
        let Some(cut) = self.entries.truncate_from(index) else { return };
        let keep = self.messages.offsets().partition_point(|offset| *offset < cut);
        self.messages.truncate_len(keep);
        self.subject_ids.truncate(keep);
    }

    /// Marks messages as dead. Only what is there is noted, so that its number is that of the dead messages.
    pub(crate) fn release(&mut self, from: u64, to: u64) {
        for run in self.messages.runs_in(from, to) {
            self.released.insert_range(run);
        }
        for (sequence, _) in self.odd.range(from..=to) {
            self.released.insert(*sequence);
        }
    }

    pub(crate) fn message_count(&self) -> usize {
        self.messages.len() + self.odd.len()
    }

    pub(crate) fn first_sequence(&self) -> Option<u64> {
        let odd = self.odd.keys().next().copied();
        self.messages.first().into_iter().chain(odd).min()
    }

    pub(crate) fn last_sequence(&self) -> Option<u64> {
        let odd = self.odd.keys().next_back().copied();
        self.messages.last().into_iter().chain(odd).max()
    }

    pub(crate) fn locate(&self, sequence: u64) -> Option<u32> {
        let odd = if self.odd.is_empty() { None } else { self.odd.get(&sequence).map(|(offset, _)| *offset) };
        odd.or_else(|| self.messages.get(sequence))
    }

    /// The lowest sequence at or above `sequence`.
    pub(crate) fn next_sequence(&self, sequence: u64) -> Option<u64> {
        let odd = self.odd.range(sequence..).next().map(|(number, _)| *number);
        let plain = find_from(self.messages.runs(), self.messages.len(), sequence).map(|(number, _)| number);
        odd.into_iter().chain(plain).min()
    }

    /// Up to `count` (sequence, offset, subject) from `sequence` on.
    pub(crate) fn window(&self, sequence: u64, count: usize) -> Vec<(u64, u32, u32)> {
        let mut window = Vec::with_capacity(count.min(self.message_count()));
        let mut next = self.next_sequence(sequence);
        while let Some(sequence) = next.filter(|_| window.len() < count) {
            let run = self.messages.runs();
            match (self.odd.get(&sequence), find_from(run, self.messages.len(), sequence)) {
                (Some((offset, subject)), _) => window.push((sequence, *offset, *subject)),
                (None, Some((_, at))) => window.push((sequence, self.messages.offsets()[at], self.subject_ids[at])),
                (None, None) => break,
            }
            next = self.next_sequence(sequence + 1);
        }
        window
    }
}
