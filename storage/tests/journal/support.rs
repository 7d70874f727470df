//! Helpers that make records and watch completions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_storage::{
    AppendClass, DurableBatch, DurableSink, GroupId, Io, Journal, JournalError, JournalOptions, Location, OpenError,
    Opened, RecordHeader, RecordKind, SimIo, Urgency,
};
use parking_lot::Mutex;

/// Where simulated journals live.
pub const DIRECTORY: &str = "journal";

/// Small segments, no threads.
pub fn manual() -> JournalOptions {
    JournalOptions {
        segment_bytes: Some(64 * 1024),
        first_segment_bytes: 64 * 1024,
        manual: true,
        scrub_bytes_per_second: 0,
        ..JournalOptions::default()
    }
}

pub fn open(io: &SimIo, options: JournalOptions) -> Opened {
    let io: Arc<dyn Io> = Arc::new(io.clone());
    Journal::open(io, Path::new(DIRECTORY), options, &mut |_| {}).unwrap()
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Watch {
    pub durable: Mutex<Vec<(GroupId, u64)>>,
    pub failed: Mutex<Vec<GroupId>>,
    pub wanted: Mutex<Vec<GroupId>>,
    pub space: Mutex<Vec<bool>>,
}

impl DurableSink for Watch {
    fn durable(&self, batch: &DurableBatch) {
        self.durable.lock().extend_from_slice(batch.groups());
    }

    fn failed(&self, _: &JournalError, groups: &[GroupId]) {
        self.failed.lock().extend_from_slice(groups);
    }

    fn checkpoint_wanted(&self, group: GroupId) {
        self.wanted.lock().push(group);
    }

    fn space(&self, full: bool) {
        self.space.lock().push(full);
    }
}

impl Watch {
    pub fn durable_index(&self, group: GroupId) -> u64 {
        self.durable.lock().iter().rev().find(|(id, _)| *id == group).map_or(0, |(_, index)| *index)
    }

    pub fn wait(&self, group: GroupId, index: u64) {
        for _ in 0..10_000 {
            if self.durable_index(group) >= index {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("group {group:?} never became durable up to {index}");
    }
}

/// A message whose index is its sequence plus `shift`.
pub fn header(group: u64, index: u64, term: u64, sequence: u64, subject: &[u8], payload: &[u8]) -> RecordHeader {
    RecordHeader {
        group: GroupId(group),
        index,
        term,
        kind: if sequence == 0 { RecordKind::Entry } else { RecordKind::Message },
        tag: 7,
        sequence,
        time: i64::try_from(index).unwrap(),
        subject_len: u16::try_from(subject.len()).unwrap(),
        headers_len: 0,
        payload_len: u32::try_from(payload.len()).unwrap(),
    }
}

pub fn append(journal: &Journal, group: u64, index: u64, sequence: u64, payload: &[u8]) {
    append_on(journal, group, index, sequence, b"orders.new", payload);
}

pub fn append_on(journal: &Journal, group: u64, index: u64, sequence: u64, subject: &[u8], payload: &[u8]) {
    let mut appender = journal.append(AppendClass::Message).unwrap();
    appender.record(&header(group, index, 1, sequence, subject, payload), &[subject, payload]);
    appender.finish(Urgency::Wake);
}

/// Stores a group's state record.
pub fn append_state(journal: &Journal, group: u64, body: &[u8]) {
    let mut appender = journal.append(AppendClass::Control).unwrap();
    let state = RecordHeader { kind: RecordKind::State, ..header(group, 0, 0, 0, b"", body) };
    appender.record(&state, &[body]);
    appender.finish(Urgency::Wake);
}

pub fn append_checkpoint(journal: &Journal, group: u64, index: u64, body: &[u8]) {
    let mut appender = journal.append(AppendClass::Control).unwrap();
    appender.checkpoint(GroupId(group), index, 1, Bytes::copy_from_slice(body));
    appender.finish(Urgency::Wake);
}

/// As [`append_checkpoint`], and the one in reserve: what both cover is needed no more.
pub fn append_checkpoints(journal: &Journal, group: u64, index: u64, body: &[u8]) {
    append_checkpoint(journal, group, index, body);
    append_checkpoint(journal, group, index, body);
}

/// The payload that belongs to a sequence.
pub fn payload(sequence: u64) -> Vec<u8> {
    format!("payload of message {sequence} ").repeat(1 + (sequence % 7) as usize).into_bytes()
}

/// A disk with several segments.
pub struct Stored {
    pub io: SimIo,
    /// Group, sequence, place and length of every message.
    pub messages: Vec<(u64, u64, Location, usize)>,
}

/// Several sealed segments, one that is written, some that are prepared or spare.
pub fn stored(close: bool) -> Stored {
    let io = SimIo::new();
    let options = JournalOptions { segment_bytes: Some(24 * 1024), first_segment_bytes: 24 * 1024, ..manual() };
    let journal = open(&io, options).journal;
    for sequence in 1..=150 {
        for group in [5, 6] {
            append_on(
                &journal,
                group,
                sequence,
                sequence,
                format!("s.{}", sequence % 3).as_bytes(),
                &payload(sequence),
            );
        }
        if sequence % 9 == 0 {
            journal.drive();
        }
    }
    append_state(&journal, 5, b"state of five");
    append_checkpoint(&journal, 6, 10, b"checkpoint of six");
    journal.drive();
    let mut messages = Vec::new();
    for group in [5, 6] {
        for sequence in 1..=150 {
            let place = journal.locate(GroupId(group), sequence).unwrap();
            let record = journal.read_message(GroupId(group), sequence).unwrap();
            messages.push((group, sequence, place, record.bytes().len()));
        }
    }
    if close {
        journal.close()
    } else {
        journal.abort()
    }
    io.crash(3);
    Stored { io, messages }
}

pub fn try_open(io: &SimIo) -> Result<Opened, OpenError> {
    let io: Arc<dyn Io> = Arc::new(io.clone());
    let options = JournalOptions { segment_bytes: Some(24 * 1024), first_segment_bytes: 24 * 1024, ..manual() };
    Journal::open(io, Path::new(DIRECTORY), options, &mut |_| {})
}

pub fn files(io: &SimIo) -> Vec<PathBuf> {
    io.paths().into_iter().filter(|path| path.extension().is_some()).collect()
}
