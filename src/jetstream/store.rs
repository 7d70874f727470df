//! Where a stream's messages are read: the node's journal, or memory.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use headwater_storage::{
    GroupId, Journal, MemoryInput, MemoryLog, MessageCursor, Placed, ReadError, Record, SequenceSet,
};

use super::messages::Message;
use super::stream::{MessageRef, MessageSource, MessageView, Unreadable};

/// The messages of one stream.
pub enum Store {
    File(FileStore),
    Memory(MemoryLog),
}

/// A stream's part of the journal.
pub struct FileStore {
    journal: Journal,
    group: GroupId,
    /// No lock: the store is part of what the stream's lock covers, and this is used twice for each delivery.
    reading: RefCell<Reading>,
    /// Unreadable messages of which it was told that nobody knows whom they are for.
    passed_over: RefCell<SequenceSet>,
}

/// Messages read one after another: a delivery asks for each twice, first for its size.
#[derive(Default)]
struct Reading {
    /// A pass of deliveries is under way; otherwise nothing is kept, since whoever reads holds on to the bytes.
    in_pass: bool,
    /// Reads ahead while sequences follow each other.
    cursor: Option<Box<MessageCursor>>,
    /// Sequence of the message read last.
    last: u64,
    /// The run that ends with `last`, oldest first.
    recent: VecDeque<Place>,
    /// Where the messages of the run lie, in the order of reading: whole segments, or batches of the memory tail.
    windows: Vec<Bytes>,
}

/// Where a verified message lies.
#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    time: i64,
    /// Where the subject begins, in the window with this number.
    content: usize,
    window: u32,
    subject_len: u32,
    headers_len: u32,
    payload_len: u32,
}

impl Reading {
    /// Where a message is among the recent ones.
    fn position(&self, sequence: u64) -> Option<usize> {
        let first = self.recent.front()?.sequence;
        if !(first..=self.last).contains(&sequence) {
            return None;
        }
        // Nearly always there is no gap.
        let at = (sequence - first) as usize;
        if self.recent.get(at).is_some_and(|place| place.sequence == sequence) {
            return Some(at);
        }
        self.recent.binary_search_by_key(&sequence, |place| place.sequence).ok()
    }

    /// A recent message in its place.
    fn view(&self, at: usize) -> MessageRef<'_> {
        let place = &self.recent[at];
        let (subject, rest) = self.windows[place.window as usize][place.content..].split_at(place.subject_len as usize);
        let (headers, rest) = rest.split_at(place.headers_len as usize);
        MessageRef { subject, headers, payload: &rest[..place.payload_len as usize], time: place.time }
    }

    /// Adds a message to the run.
    fn push(&mut self, sequence: u64, placed: &Placed<'_>) {
        self.last = sequence;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        if !self.windows.last().is_some_and(|last| std::ptr::eq(&last[..], &placed.window[..])) {
            self.windows.push(placed.window.clone());
        }
        let header = placed.header;
        let length = |length: u32| if placed.erased { 0 } else { length };
        self.recent.push_back(Place {
            sequence,
            time: header.time,
            content: placed.content,
            window: (self.windows.len() - 1) as u32,
            subject_len: length(header.subject_len.into()),
            headers_len: length(header.headers_len),
            payload_len: length(header.payload_len),
        });
    }

    /// Ends the run.
    fn clear(&mut self) {
        self.recent.clear();
        self.windows.clear();
    }

    /// Keeps only the message read last, so that the next pass goes on with the cursor.
    fn keep_last(&mut self) {
        let Some(last) = self.recent.pop_back() else { return };
        self.recent.clear();
        self.recent.push_back(Place { window: 0, ..last });
        self.windows.drain(..last.window as usize);
    }
}

/// What one pass of deliveries reads.
const RECENT_MAX: usize = 512;

impl FileStore {
    pub fn new(journal: Journal, group: GroupId) -> Self {
        Self { journal, group, reading: RefCell::default(), passed_over: RefCell::default() }
    }

    fn message(&self, sequence: u64) -> Result<Message, Unreadable> {
        self.look_up(sequence).map(Message::File)
    }

    /// Looks at a message in its place.
    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        let mut reading = match self.reading.try_borrow_mut() {
            Ok(reading) if reading.in_pass => reading,
            // Whoever looks at a message may look at another one.
            _ => return self.message(sequence).map(|message| look(MessageRef::of(&message))),
        };
        let at = match reading.position(sequence) {
            Some(at) => at,
            None => self.read_in_pass(&mut reading, sequence)?,
        };
        Ok(look(reading.view(at)))
    }

    /// Reads a message that is not among the recent ones, and says where it is among them now.
    fn read_in_pass(&self, reading: &mut Reading, sequence: u64) -> Result<usize, Unreadable> {
        if sequence != reading.last + 1 {
            reading.cursor = None;
            reading.clear();
        }
        if !self.read_on(reading, sequence) {
            let record = self.look_up(sequence)?;
            reading.push(sequence, &record.placed());
        }
        Ok(reading.recent.len() - 1)
    }

    fn look_up(&self, sequence: u64) -> Result<Record, Unreadable> {
        self.journal.read_message(self.group, sequence).map_err(|error| match error {
            ReadError::NotFound => Unreadable::Missing,
            _ => Unreadable::Damaged,
        })
    }

    fn subject_of_unreadable(&self, sequence: u64) -> Option<Vec<u8>> {
        let subject = self.journal.subject_of(self.group, sequence);
        if subject.is_none() && self.passed_over.borrow_mut().insert(sequence) {
            let group = self.group.0;
            tracing::error!(group, sequence, "a message could not be read nor its subject: filters pass it over");
        }
        subject
    }

    /// Reads the message when it is the one after the last: then a cursor is quicker than a look-up.
    fn read_on(&self, reading: &mut Reading, sequence: u64) -> bool {
        if reading.recent.is_empty() {
            return false;
        }
        let mut cursor = reading.cursor.take().unwrap_or_else(|| Box::new(self.journal.scan(self.group, sequence)));
        match cursor.next_placed() {
            Ok(Some(placed)) if placed.header.sequence == sequence => reading.push(sequence, &placed),
            // A gap, the end, or damage: the look-up tells which.
            _ => return false,
        }
        reading.cursor = Some(cursor);
        true
    }

    /// Lets go of what was read, so that its files may be recycled; `idle` also of the place to read on from.
    fn forget(&mut self, idle: bool) {
        let reading = self.reading.get_mut();
        reading.in_pass = false;
        if idle {
            *reading = Reading::default();
        } else {
            reading.keep_last();
        }
    }
}

impl Store {
    pub fn file(journal: Journal, group: GroupId) -> Self {
        Self::File(FileStore::new(journal, group))
    }

    /// A pass of deliveries begins: messages are read in order, each twice.
    pub fn begin_pass(&mut self) {
        if let Self::File(file) = self {
            file.reading.get_mut().in_pass = true;
        }
    }

    /// The end of a pass of deliveries; `idle` when no other follows.
    pub fn end_pass(&mut self, idle: bool) {
        if let Self::File(file) = self {
            file.forget(idle);
        }
    }

    pub fn message(&self, sequence: u64) -> Result<Message, Unreadable> {
        match self {
            Self::File(file) => file.message(sequence),
            Self::Memory(log) => log.read(sequence).map(Message::Memory).ok_or(Unreadable::Missing),
        }
    }

    /// The lowest sequence from this one on that a message is stored under, whether or not it has left the stream.
    pub fn next_stored(&self, from: u64) -> Option<u64> {
        match self {
            Self::File(file) => file.journal.next_message(file.group, from),
            // Nothing outlives its stream there.
            Self::Memory(_) => None,
        }
    }

    /// Looks at a message without taking a share of it.
    pub fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        match self {
            Self::File(file) => file.inspect(sequence, look),
            Self::Memory(_) => self.message(sequence).map(|message| look(MessageRef::of(&message))),
        }
    }

    /// Keeps a message of a memory stream; one of a file stream is in the journal already.
    pub fn remember(&mut self, input: &MemoryInput<'_>) {
        if let Self::Memory(log) = self
            && let Err(problem) = log.append(input)
        {
            // Sequences are given without gaps and sizes are checked, so this cannot happen; losing it silently must not.
            tracing::error!(%problem, sequence = input.sequence, "a message could not be kept in memory");
        }
    }

    /// The message has left the stream: its space may be used again.
    pub fn release(&mut self, sequence: u64) {
        match self {
            Self::File(file) => file.journal.release_message(file.group, sequence),
            Self::Memory(log) => drop(log.release(sequence)),
        }
    }

    pub fn release_before(&mut self, sequence: u64) {
        match self {
            Self::File(file) => file.journal.release_messages_before(file.group, sequence),
            Self::Memory(log) => log.release_before(sequence),
        }
    }
}

impl MessageSource for Store {
    type Message = Message;

    fn read(&self, sequence: u64) -> Result<Message, Unreadable> {
        self.message(sequence)
    }

    fn inspect<R>(&self, sequence: u64, look: impl FnOnce(MessageRef<'_>) -> R) -> Result<R, Unreadable> {
        Store::inspect(self, sequence, look)
    }

    fn subject_of_unreadable(&self, sequence: u64) -> Option<Vec<u8>> {
        match self {
            Self::File(file) => file.subject_of_unreadable(sequence),
            Self::Memory(_) => None,
        }
    }
}

impl MessageView for Message {
    fn subject(&self) -> &[u8] {
        Message::subject(self)
    }

    fn headers(&self) -> &[u8] {
        Message::headers(self)
    }

    fn payload(&self) -> &[u8] {
        Message::payload(self)
    }

    fn time(&self) -> i64 {
        Message::time(self)
    }
}
