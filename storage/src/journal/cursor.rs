//! HOT PATH: no allocation per message, no log above trace.
//!
//! Reads a group's messages in order of sequence. Locations are looked up in windows, bytes come in large pieces, every
//! record outside the memory tail is checked.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::ahead::{Permit, SPAN_BYTES_MAX, WINDOWS_MAX, Window};
use super::read::is_replaced;
use super::replay::SegmentReader;
use super::shared::Shared;
use super::sources::{Slot, Source, SubjectFilter, Verdicts};
use super::{Journal, Record};
use crate::error::ReadError;
use crate::format::record::{GroupId, RECORD_HEADER_BYTES, RecordHeader, RecordRef};
use crate::location::Location;
use bytes::Bytes;

/// Messages looked up at once.
const SLOTS: usize = 512;

/// Of a cursor that reads ahead. These take 16 bytes each, and two or three windows are there at a time.
const SLOTS_AHEAD: usize = 4096;

/// A cursor that has read as many messages is likely to read on where it is.
const WORTH_KEEPING: usize = 128;

/// A position in a group's messages. It knows nothing of removals, and may go on after it reached the end.
pub struct MessageCursor {
    shared: Arc<Shared>,
    group: GroupId,
    /// The lowest sequence not yet looked up.
    next: u64,
    window: Vec<Slot>,
    at: usize,
    /// So many of the window, from the first on, were found sound.
    sound: usize,
    /// So many were there in the windows before it.
    passed: usize,
    /// The window is not in memory.
    is_far: bool,
    /// What comes after the window, for a cursor that has used up a whole one.
    ahead: Option<Box<ReadAhead>>,
    reader: Option<SegmentReader>,
    segment: u32,
    /// Entries from this index on were replaced.
    index_limit: u64,
    verdicts: Verdicts,
    /// A record that had to be found another way.
    spare: Option<Record>,
}

/// A verified record and where it lies.
#[derive(Clone, Copy)]
pub struct Placed<'w> {
    /// What the record says of itself. The lengths are those that it had before it was erased.
    pub header: &'w RecordHeader,
    /// True when the content was erased: subject, headers and payload are empty.
    pub erased: bool,
    /// Bytes that hold it among others.
    pub window: &'w Bytes,
    /// Where its subject begins there, which headers and payload follow.
    pub content: usize,
}

impl<'w> Placed<'w> {
    /// `start` is where the record begins in the window, which holds all of it.
    #[inline]
    pub(super) fn new(header: &'w RecordHeader, erased: bool, window: &'w Bytes, start: usize) -> Self {
        Self { header, erased, window, content: start + RECORD_HEADER_BYTES }
    }

    /// The record apart from its place.
    pub fn record(&self) -> RecordRef<'w> {
        RecordRef::of(*self.header, self.erased, &self.window[self.range()])
    }

    /// Where the record lies in the window.
    pub(super) fn range(&self) -> Range<usize> {
        let start = self.content - RECORD_HEADER_BYTES;
        start..start + self.header.record_bytes()
    }
}

/// Windows that are looked up, and most times being read.
struct ReadAhead {
    permit: Permit,
    windows: VecDeque<(Source, Option<Arc<Window>>)>,
}

impl Journal {
    /// A cursor over the messages of a group from a sequence on.
    pub fn scan(&self, group: GroupId, from: u64) -> MessageCursor {
        MessageCursor {
            shared: self.shared.clone(),
            group,
            next: from,
            window: Vec::new(),
            at: 0,
            sound: 0,
            passed: 0,
            is_far: false,
            ahead: None,
            reader: None,
            segment: 0,
            index_limit: u64::MAX,
            verdicts: Verdicts::default(),
            spare: None,
        }
    }

    /// The lowest sequence at or above `from` whose subject passes the filter. Segments without such a subject are
    /// skipped by their directories. For many in a row, keep a cursor.
    pub fn next_matching(&self, group: GroupId, from: u64, filter: SubjectFilter<'_>) -> Option<u64> {
        self.scan(group, from).next_sequence(Some(filter))
    }
}

impl MessageCursor {
    /// True when others may have to do without for this cursor's sake.
    pub fn reads_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whoever reads with it pauses. False when the cursor is not worth keeping meanwhile: it has not read much, or as many
    /// others as may be kept are.
    pub fn rest(&mut self) -> bool {
        if self.ahead.is_none() && self.is_far && self.passed + self.at >= WORTH_KEEPING {
            self.begin_ahead();
        }
        self.ahead.is_some()
    }

    /// Continues at a sequence.
    pub fn seek(&mut self, from: u64) {
        self.next = from;
        (self.at, self.sound, self.passed) = (0, 0, 0);
        self.window.clear();
        self.ahead = None;
    }

    /// The next message, or `None` at the end. After an error the cursor stands behind the message.
    #[expect(clippy::should_implement_trait, reason = "the record is borrowed from the cursor")]
    pub fn next(&mut self) -> Result<Option<RecordRef<'_>>, ReadError> {
        self.advance(None).map(|placed| placed.map(|placed| placed.record()))
    }

    /// The next message whose subject passes. A cursor must be given the same filter every time.
    pub fn next_matching(&mut self, filter: SubjectFilter<'_>) -> Result<Option<RecordRef<'_>>, ReadError> {
        self.advance(Some(filter)).map(|placed| placed.map(|placed| placed.record()))
    }

    /// The next message, with the bytes around it for whoever wants to share them.
    #[inline]
    pub fn next_placed(&mut self) -> Result<Option<Placed<'_>>, ReadError> {
        self.advance(None)
    }

    /// The next sequence, without reading its record.
    pub fn next_sequence(&mut self, filter: Option<SubjectFilter<'_>>) -> Option<u64> {
        while let Some(slot) = self.slot(filter) {
            let sure = self.index_limit == u64::MAX;
            if sure || !matches!(self.load(slot), Ok(Loaded::Gone)) {
                return Some(slot.sequence);
            }
        }
        None
    }

    #[inline]
    fn advance(&mut self, filter: Option<SubjectFilter<'_>>) -> Result<Option<Placed<'_>>, ReadError> {
        loop {
            let Some(slot) = self.slot(filter) else { return Ok(None) };
            match self.load(slot)? {
                Loaded::Window => {
                    let reader = self.reader.as_mut().ok_or(ReadError::NotFound)?;
                    return reader.borrow(&self.shared, slot.offset, self.at <= self.sound).map(Some);
                }
                Loaded::Spare => {
                    let record = self.spare.as_ref().ok_or(ReadError::NotFound)?;
                    return Ok(Some(record.placed()));
                }
                Loaded::Gone => {}
            }
        }
    }

    /// The next place in the window, which is filled when it is used up.
    #[inline]
    fn slot(&mut self, filter: Option<SubjectFilter<'_>>) -> Option<Slot> {
        loop {
            if let Some(slot) = self.window.get(self.at) {
                self.at += 1;
                return Some(*slot);
            }
            self.refill(filter)?;
        }
    }

    /// Makes the record of a slot ready: in the reader's window, or apart.
    #[inline]
    fn load(&mut self, slot: Slot) -> Result<Loaded, ReadError> {
        if let Some(reader) = self.reader.as_mut()
            && let Ok(Placed { header, .. }) = reader.borrow(&self.shared, slot.offset, self.at <= self.sound)
            && header.sequence == slot.sequence
            && header.group == self.group
            && !is_replaced(header, self.index_limit)
        {
            return Ok(Loaded::Window);
        }
        self.load_apart(slot)
    }

    /// The segment may be gone meanwhile, or the record damaged and stored elsewhere too.
    #[cold]
    fn load_apart(&mut self, slot: Slot) -> Result<Loaded, ReadError> {
        let journal = Journal { shared: self.shared.clone() };
        match journal.read_message(self.group, slot.sequence) {
            Ok(record) => {
                self.spare = Some(record);
                Ok(Loaded::Spare)
            }
            Err(ReadError::NotFound) => Ok(Loaded::Gone),
            Err(error) => Err(error),
        }
    }

    fn refill(&mut self, filter: Option<SubjectFilter<'_>>) -> Option<()> {
        let used_up = self.window.len();
        if let Some((source, window)) = self.ahead.as_mut().and_then(|ahead| ahead.windows.pop_front()) {
            let checked = window.and_then(|window| window.take());
            self.take(source);
            self.sound = checked.as_ref().map_or(0, |checked| checked.sound);
            if let (Some(reader), Some(checked)) = (&mut self.reader, checked) {
                reader.accept(checked);
            }
        } else {
            let source = self.shared.clone().source(self.group, self.next, SLOTS, filter, &mut self.verdicts)?;
            self.next = source.next;
            self.take(source);
            // Whoever has come to the end reads no further ahead until there is much again.
            self.ahead = None;
            if used_up >= SLOTS {
                self.begin_ahead();
            }
        }
        self.passed += used_up;
        self.read_ahead(filter);
        Some(())
    }

    fn take(&mut self, source: Source) {
        self.is_far = self.is_far(&source);
        if self.segment != source.segment.number || self.reader.is_none() {
            self.segment = source.segment.number;
            self.reader = Some(SegmentReader::new(source.segment));
        }
        self.window = source.slots;
        (self.at, self.sound) = (0, 0);
        self.index_limit = source.index_limit;
    }

    /// What begins in memory is left to whoever reads it.
    fn is_far(&self, source: &Source) -> bool {
        let location = |slot: &Slot| Location { segment: source.segment.number, offset: slot.offset };
        source.slots.first().is_some_and(|first| self.shared.tail.batch(location(first)).is_none())
    }

    fn begin_ahead(&mut self) {
        let permit = Permit::of(&self.shared);
        self.ahead = permit.map(|permit| Box::new(ReadAhead { permit, windows: VecDeque::new() }));
    }

    /// Has what comes next read, unless that is in memory.
    fn read_ahead(&mut self, filter: Option<SubjectFilter<'_>>) {
        while self.ahead.as_ref().is_some_and(|ahead| ahead.windows.len() < WINDOWS_MAX) {
            let next = self.shared.source(self.group, self.next, SLOTS_AHEAD, filter, &mut self.verdicts);
            let Some(mut source) = next else { return };
            source.limit_span(SPAN_BYTES_MAX);
            self.next = source.next;
            let is_far = self.is_far(&source);
            let Some(ahead) = &mut self.ahead else { return };
            let window = is_far.then(|| {
                let offsets = source.slots.iter().map(|slot| slot.offset).collect();
                ahead.permit.read(source.segment.clone(), offsets)
            });
            ahead.windows.push_back((source, window));
        }
    }
}

enum Loaded {
    Window,
    Spare,
    Gone,
}
