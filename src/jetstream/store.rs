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
    /// Something was read in this pass that was not at hand.
    has_read: bool,
    /// Reads on while sequences follow each other.
    cursor: Option<Box<MessageCursor>>,
    /// Sequence of the message read last.
    last: u64,
    /// Others that have read much: of consumers that take turns.
    resting: Vec<Resting>,
    /// When a pass ended last that left the cursor to read on from.
    used_at: i64,
    /// The run that ends with `last`, oldest first.
    recent: VecDeque<Place>,
    /// Where the messages of the run lie, in the order of reading: whole segments, or batches of the memory tail.
    windows: VecDeque<Bytes>,
    /// The number of the first of them.
    windows_from: u32,
}

/// A cursor that waits for its consumer, behind the message `last`.
struct Resting {
    last: u64,
    /// The end of the pass that it was left in, once that is over.
    since: Option<i64>,
    cursor: Box<MessageCursor>,
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
        let (subject, rest) = self.windows[(place.window - self.windows_from) as usize][place.content..]
            .split_at(place.subject_len as usize);
        let (headers, rest) = rest.split_at(place.headers_len as usize);
        MessageRef { subject, headers, payload: &rest[..place.payload_len as usize], time: place.time }
    }

    /// Adds a message to the run.
    fn push(&mut self, sequence: u64, placed: &Placed<'_>) {
        self.last = sequence;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        if !self.windows.back().is_some_and(|last| std::ptr::eq(&last[..], &placed.window[..])) {
            self.windows.push_back(placed.window.clone());
        }
        let header = placed.header;
        let length = |length: u32| if placed.erased { 0 } else { length };
        self.recent.push_back(Place {
            sequence,
            time: header.time,
            content: placed.content,
            window: self.windows_from + (self.windows.len() - 1) as u32,
            subject_len: length(header.subject_len.into()),
            headers_len: length(header.headers_len),
            payload_len: length(header.payload_len),
        });
        self.drop_windows();
    }

    /// Lets go of the windows before that of the oldest recent message: where files are not mapped, each takes memory.
    fn drop_windows(&mut self) {
        let first = self.recent.front().map_or(self.windows_from, |place| place.window);
        while self.windows_from < first {
            self.windows.pop_front();
            self.windows_from += 1;
        }
    }

    /// Keeps what rests, and nothing else.
    fn end(&mut self) {
        let (resting, used_at) = (std::mem::take(&mut self.resting), self.used_at);
        *self = Self { resting, used_at, ..Self::default() };
    }

    /// Ends the run.
    fn clear(&mut self) {
        self.recent.clear();
        self.windows.clear();
    }

    /// Goes on elsewhere: where another cursor stands, if one does.
    fn turn_to(&mut self, sequence: u64) {
        self.clear();
        let found = self.resting.iter().position(|resting| resting.last + 1 == sequence);
        let found = found.map(|at| self.resting.swap_remove(at).cursor);
        let left = std::mem::replace(&mut self.cursor, found);
        if let Some(cursor) = left.filter(|cursor| cursor.reads_ahead()) {
            if self.resting.len() == RESTING_MAX {
                self.resting.remove(0);
            }
            self.resting.push(Resting { last: self.last, since: None, cursor });
        }
    }

    /// When the first of what is kept to read on from may be let go, if anything is. What was left until now rests from
    /// now on.
    fn next_rest(&mut self, now: i64) -> Option<i64> {
        let used_at = self.cursor.is_some().then_some(self.used_at);
        let resting = self.resting.iter_mut().map(|resting| *resting.since.get_or_insert(now));
        Some(resting.chain(used_at).min()? + REST)
    }

    /// Keeps only the message read last, so that the next pass goes on with the cursor.
    fn keep_last(&mut self) {
        let Some(last) = self.recent.pop_back() else { return };
        self.recent.clear();
        self.recent.push_back(last);
        self.drop_windows();
    }
}

/// What one pass of deliveries reads.
const RECENT_MAX: usize = 512;

/// So many messages are passed over on the way to the next one that is wanted, instead of looking that up.
const PASSED_OVER_MAX: u64 = 64;

/// Cursors of a stream besides the one in use.
const RESTING_MAX: usize = 4;

/// Nanoseconds after which what is kept to read on from is let go, so that the files may be recycled.
const REST: i64 = 500_000_000;

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
        reading.has_read = true;
        // What lies between is passed over, if it is little.
        if sequence <= reading.last || sequence - reading.last > PASSED_OVER_MAX {
            reading.turn_to(sequence);
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
            ReadError::Damaged(_) => Unreadable::Damaged,
            ReadError::Io(_) => Unreadable::Refused,
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
        if reading.recent.is_empty() && reading.cursor.is_none() {
            return false;
        }
        let mut cursor = reading.cursor.take().unwrap_or_else(|| Box::new(self.journal.scan(self.group, sequence)));
        loop {
            match cursor.next_placed() {
                Ok(Some(placed)) if placed.header.sequence < sequence => {}
                Ok(Some(placed)) if placed.header.sequence == sequence => {
                    reading.push(sequence, &placed);
                    break;
                }
                // A gap, the end, or damage: the look-up tells which.
                _ => return false,
            }
        }
        reading.cursor = Some(cursor);
        true
    }

    /// Reads on from message to message while `work` looks at them.
    fn in_order<R>(&self, work: impl FnOnce() -> R) -> R {
        let begins = {
            let mut reading = self.reading.borrow_mut();
            let begins = !std::mem::replace(&mut reading.in_pass, true);
            reading.has_read &= !begins;
            begins
        };
        let done = work();
        if begins {
            let mut reading = self.reading.borrow_mut();
            match reading.has_read {
                true => reading.end(),
                // Whoever reads on from where it stands must not have to look for the place again.
                false => reading.in_pass = false,
            }
        }
        done
    }

    /// Lets go of what was read, so that its files may be recycled; `idle` also of the place to read on from, unless
    /// somebody who has read much is likely to.
    fn forget(&mut self, idle: bool, now: i64) -> Option<i64> {
        let reading = self.reading.get_mut();
        reading.in_pass = false;
        let rests = reading.cursor.as_mut().is_some_and(|cursor| cursor.rest());
        match (idle, rests) {
            (false, _) => reading.keep_last(),
            (true, true) => reading.clear(),
            (true, false) => reading.end(),
        }
        if !rests && reading.resting.is_empty() {
            return None;
        }
        reading.used_at = now;
        reading.next_rest(now)
    }

    /// Lets go of places that nobody has read on from for a while. When to look again, if any are left.
    fn forget_places(&mut self, now: i64) -> Option<i64> {
        let reading = self.reading.get_mut();
        reading.resting.retain(|resting| resting.since.unwrap_or(now).saturating_add(REST) > now);
        if reading.used_at + REST <= now {
            reading.end();
        }
        reading.next_rest(now)
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

    /// The end of a pass of deliveries; `idle` when no other follows. When [`rest`](Self::rest) is to be called, if it is.
    pub fn end_pass(&mut self, idle: bool, now: i64) -> Option<i64> {
        match self {
            Self::File(file) => file.forget(idle, now),
            Self::Memory(_) => None,
        }
    }

    /// Lets go of what is kept for deliveries that do not come. When to ask again, if anything is left.
    pub fn rest(&mut self, now: i64) -> Option<i64> {
        match self {
            Self::File(file) => file.forget_places(now),
            Self::Memory(_) => None,
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

    fn in_order<R>(&self, work: impl FnOnce() -> R) -> R {
        match self {
            Self::File(file) => file.in_order(work),
            Self::Memory(_) => work(),
        }
    }

    fn subject_of_unreadable(&self, sequence: u64) -> Option<Vec<u8>> {
        match self {
            Self::File(file) => file.subject_of_unreadable(sequence),
            Self::Memory(_) => None,
        }
    }

    fn next_of_subject(&self, subject: &[u8], from: u64) -> Result<Option<u64>, Unreadable> {
        match self {
            Self::File(file) => {
                file.journal.next_of_subject(file.group, from, subject).map_err(|_| Unreadable::Damaged)
            }
            Self::Memory(log) => Ok(log.next_of_subject(from, subject)),
        }
    }

    fn previous_of_subject(&self, subject: &[u8], to: u64) -> Result<Option<u64>, Unreadable> {
        match self {
            Self::File(file) => {
                file.journal.previous_of_subject(file.group, to, subject).map_err(|_| Unreadable::Damaged)
            }
            Self::Memory(log) => Ok(log.previous_of_subject(to, subject)),
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, mpsc};

    use headwater_storage::{
        AppendClass, DurableBatch, DurableSink, Io, JournalError, JournalOptions, RecordHeader, RecordKind, SimIo,
        Urgency,
    };

    use super::*;

    const GROUP: GroupId = GroupId(5);
    const COUNT: u64 = 4000;

    struct Told(mpsc::Sender<u64>);

    impl DurableSink for Told {
        fn durable(&self, batch: &DurableBatch) {
            // Nobody listens any more once all is written.
            for (_, index) in batch.groups() {
                let _ = self.0.send(*index);
            }
        }

        fn failed(&self, error: &JournalError, _: &[GroupId]) {
            panic!("{error}");
        }

        fn checkpoint_wanted(&self, _: GroupId) {}

        fn space(&self, _: bool) {}
    }

    /// A stream whose messages are not in memory.
    fn filled() -> (Journal, Store) {
        let io: Arc<dyn Io> = Arc::new(SimIo::new());
        let options =
            JournalOptions { segment_bytes: Some(256 * 1024), tail_bytes_max: 4096, ..JournalOptions::default() };
        let journal = Journal::open(io, Path::new("journal"), options, &mut |_| {}).expect("it opens").journal;
        let (sender, told) = mpsc::channel();
        journal.start(Arc::new(Told(sender)));
        for sequence in 1..=COUNT {
            let payload = format!("message {sequence}");
            let mut appender = journal.append(AppendClass::Message).expect("it takes messages");
            let mut header = RecordHeader::of_payload(GROUP, RecordKind::Message, payload.len());
            (header.index, header.term, header.sequence, header.subject_len) = (sequence, 1, sequence, 1);
            appender.record(&header, &[b"s", payload.as_bytes()]);
            appender.finish(Urgency::Wake);
        }
        while told.recv().expect("it is written") < COUNT {}
        (journal.clone(), Store::file(journal, GROUP))
    }

    fn pass(store: &mut Store, sequences: std::ops::RangeInclusive<u64>, now: i64) -> Option<i64> {
        store.begin_pass();
        for sequence in sequences {
            let payload = store.inspect(sequence, |message| message.payload.to_vec()).expect("it is there");
            assert_eq!(payload, format!("message {sequence}").into_bytes());
        }
        store.end_pass(true, now)
    }

    fn resting(store: &mut Store) -> (bool, Vec<u64>) {
        let Store::File(file) = store else { unreachable!() };
        let reading = file.reading.get_mut();
        (reading.cursor.is_some(), reading.resting.iter().map(|resting| resting.last).collect())
    }

    #[test]
    fn consumers_that_take_turns_read_on_where_each_was() {
        let (journal, mut store) = filled();
        assert_eq!(pass(&mut store, 1..=500, 7), Some(7 + REST));
        assert_eq!(pass(&mut store, 2001..=2500, 8), Some(8 + REST));
        assert_eq!(resting(&mut store), (true, vec![500]));
        assert_eq!(pass(&mut store, 501..=1000, 9), Some(9 + REST));
        assert_eq!(resting(&mut store), (true, vec![2500]));
        pass(&mut store, 2501..=COUNT, 10);
        assert_eq!(resting(&mut store), (true, vec![1000]));
        // Somewhere else, and little: that is not worth a place, and the others keep theirs.
        pass(&mut store, 100..=110, 11);
        assert_eq!(resting(&mut store), (false, vec![1000, COUNT]));
        drop(store);
        journal.close();
    }

    #[test]
    fn places_that_nobody_reads_on_from_are_let_go() {
        let (journal, mut store) = filled();
        pass(&mut store, 1..=500, 7);
        pass(&mut store, 2001..=2500, 8);
        assert_eq!(store.rest(9), Some(8 + REST));
        assert_eq!(resting(&mut store), (true, vec![500]));
        assert_eq!(store.rest(8 + REST), None);
        assert_eq!(resting(&mut store), (false, vec![]));
        pass(&mut store, 501..=600, 9 + REST);
        drop(store);
        journal.close();
    }

    /// As long as any consumer of the stream read, the places of all others were kept: they take of what all streams
    /// may read ahead, and their files could not be recycled.
    #[test]
    fn a_place_is_let_go_though_another_consumer_reads_on() {
        let (journal, mut store) = filled();
        pass(&mut store, 1..=500, 7);
        pass(&mut store, 2001..=2500, 8);
        pass(&mut store, 2501..=3000, 8 + REST / 2);
        assert_eq!(resting(&mut store), (true, vec![500]));
        assert_eq!(store.rest(8 + REST), Some(8 + REST / 2 + REST));
        assert_eq!(resting(&mut store), (true, vec![]));
        assert_eq!(store.rest(8 + REST / 2 + REST), None);
        assert_eq!(resting(&mut store), (false, vec![]));
        drop(store);
        journal.close();
    }

    /// Whatever went through the stream in order dropped the place of the consumer that was reading, though it read
    /// nothing.
    #[test]
    fn who_looks_at_nothing_takes_nobodys_place() {
        let (journal, mut store) = filled();
        pass(&mut store, 1..=500, 7);
        store.in_order(|| ());
        assert_eq!(resting(&mut store), (true, vec![]));
        store.in_order(|| assert!(store.inspect(3000, |_| ()).is_ok()));
        assert_eq!(resting(&mut store), (false, vec![500]));
        drop(store);
        journal.close();
    }

    /// All that was read in one go stayed in memory until the end, where files are not mapped.
    #[test]
    fn who_goes_through_the_stream_holds_on_to_little_of_it() {
        let (journal, mut store) = filled();
        store.begin_pass();
        let mut windows_max = 0;
        for sequence in 1..=COUNT {
            assert!(store.inspect(sequence, |_| ()).is_ok());
            let Store::File(file) = &mut store else { unreachable!() };
            windows_max = windows_max.max(file.reading.get_mut().windows.len());
        }
        assert!(windows_max <= 2, "{windows_max}");
        assert_eq!(store.inspect(COUNT - RECENT_MAX as u64 / 2, |message| message.payload.len()), Ok(12));
        store.end_pass(true, 7);
        drop(store);
        journal.close();
    }

    #[test]
    fn a_stream_that_ends_keeps_no_place() {
        let (journal, mut store) = filled();
        pass(&mut store, 1..=500, 7);
        store.in_order(|| assert!(store.inspect(3000, |_| ()).is_ok()));
        assert_eq!(store.rest(i64::MAX), None);
        assert_eq!(resting(&mut store), (false, vec![]));
        drop(store);
        journal.close();
    }

    #[test]
    fn whoever_reads_little_leaves_nothing_behind() {
        let (journal, mut store) = filled();
        assert_eq!(pass(&mut store, 1..=20, 7), None);
        assert_eq!(resting(&mut store), (false, vec![]));
        drop(store);
        journal.close();
    }
}
