//! HOT PATH: no log above trace.
//!
//! Reading single records: the queue, the tail in memory, the mapping of a sealed segment, the file.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::patience::is_refused;
use super::shared::Shared;
use super::{Journal, Record};
use crate::aligned::{ALIGNMENT, AlignedBuffer, share};
use crate::directory::Directory;
use crate::directory::group::Place;
use crate::directory::sealed::{SealedSpan, entry_offset, message_offset, next_message};
use crate::error::ReadError;
use crate::format::footer::{FooterControl, Section};
use crate::format::record::{GroupId, RECORD_HEADER_BYTES, RecordHeader, decode_header, parse, verify};
use crate::location::Location;
use crate::report::Damage;
use crate::segment::Segment;

/// A first read brings this much: most records are whole then.
const READ_BYTES: usize = 4096;
/// Less is read into a buffer of its own: a record that somebody keeps should not keep a large one.
const POOLED_BYTES_MIN: usize = 64 * 1024;

/// A segment may be compacted away between the lookup and the read; then the lookup is repeated.
pub(super) const LOOKUPS_MAX: usize = 8;

impl Journal {
    /// Where a message lies now.
    pub fn locate(&self, group: GroupId, sequence: u64) -> Option<Location> {
        let place = self.shared.directory.read().group(group).and_then(|group| group.message_place(sequence, 0));
        self.shared.place_of_message(place?, sequence)
    }

    /// The message with this sequence.
    pub fn read_message(&self, group: GroupId, sequence: u64) -> Result<Record, ReadError> {
        let matches =
            |header: &RecordHeader| header.group == group && header.sequence == sequence && header.kind.is_message();
        self.shared.read_message(group, sequence, &matches)
    }

    /// The Raft entry with this index.
    pub fn read_entry(&self, group: GroupId, index: u64) -> Result<Record, ReadError> {
        let matches =
            |header: &RecordHeader| header.group == group && header.index == index && header.kind.is_log_entry();
        self.shared.read_entry(group, index, &matches)
    }

    /// The record at a location that [`super::Appender::record`] or [`Journal::locate`] returned.
    pub fn read_at(&self, location: Location) -> Result<Record, ReadError> {
        match self.shared.read_location(location) {
            Err(ReadError::NotFound) => {
                self.shared.read_queued(&|at, _| at == location).or_else(|_| self.shared.read_location(location))
            }
            result => result,
        }
    }

    /// The lowest stored sequence at or above `from`. Knows nothing of removals.
    pub fn next_message(&self, group: GroupId, from: u64) -> Option<u64> {
        let mut from = from;
        loop {
            let (sequence, doubtful) = self.shared.next_message(group, from)?;
            if !doubtful || self.read_message(group, sequence).is_ok() {
                return Some(sequence);
            }
            from = sequence + 1;
        }
    }
}

impl Shared {
    fn read_message(
        &self,
        group: GroupId,
        sequence: u64,
        matches: &dyn Fn(&RecordHeader) -> bool,
    ) -> Result<Record, ReadError> {
        let mut first_error = None;
        for _ in 0..LOOKUPS_MAX {
            let mut nth = 0;
            let mut moved = false;
            loop {
                let place = self.directory.read().group(group).and_then(|group| group.message_place(sequence, nth));
                let Some(place) = place else { break };
                let limit = match &place {
                    Place::Sealed(span) if !span.segment.header.is_compacted() => span.index_limit(),
                    _ => u64::MAX,
                };
                let found = self.read_place(place, |section| message_offset(section, sequence), matches);
                match found {
                    Ok(record) if !is_replaced(&record.header, limit) => return Ok(record),
                    Ok(_) | Err(Unread::NotFound) => {}
                    Err(Unread::Moved) => moved = true,
                    Err(Unread::Error(error)) => first_error = first_error.or(Some(error)),
                }
                nth += 1;
            }
            if !moved {
                break;
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        let late = self.read_late(&|header| matches(header), &|directory| match directory
            .group(group)?
            .message_place(sequence, 0)?
        {
            Place::Live(segment, offset) => Some((segment, offset)),
            Place::Sealed(_) => None,
        });
        late.map_err(|error| match error {
            ReadError::NotFound => self.lost_message(group, sequence).unwrap_or(error),
            error => error,
        })
    }

    fn read_entry(
        &self,
        group: GroupId,
        index: u64,
        matches: &dyn Fn(&RecordHeader) -> bool,
    ) -> Result<Record, ReadError> {
        for _ in 0..LOOKUPS_MAX {
            let place = self.directory.read().group(group).and_then(|group| group.entry_place(index));
            let Some(place) = place else { break };
            match self.read_place(place, |section| entry_offset(section, index), matches) {
                Ok(record) => return Ok(record),
                Err(Unread::NotFound) => return Err(ReadError::NotFound),
                Err(Unread::Moved) => {}
                Err(Unread::Error(error)) => return Err(error),
            }
        }
        self.read_late(&|header| matches(header), &|directory| match directory.group(group)?.entry_place(index)? {
            Place::Live(segment, offset) => Some((segment, offset)),
            Place::Sealed(_) => None,
        })
    }

    /// True when the log of a group has another term at the index of its checkpoint, and goes on behind it: a snapshot
    /// replaced that log, and what follows in it is void. An entry that is damaged or gone says nothing against the log.
    ///
    /// # Errors
    /// When the disk refuses to give the entry, which then says nothing at all.
    pub(crate) fn is_diverging(&self, checkpoint: &FooterControl) -> Result<bool, ReadError> {
        let FooterControl { group, index, term, .. } = *checkpoint;
        let last = self.directory.read().group(group).map(|group| (group.last_index, group.last_term));
        let Some((_, last_term)) = last.filter(|(last_index, _)| *last_index > index) else { return Ok(false) };
        if last_term <= term {
            // Terms never fall along a log; and of two entries of one term the same leader made both, on one log.
            return Ok(last_term < term);
        }
        let is_entry =
            |header: &RecordHeader| header.group == group && header.index == index && header.kind.is_log_entry();
        match self.read_entry(group, index, &is_entry) {
            Ok(entry) => Ok(entry.header.term != term),
            Err(error) if is_refused(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// What the directory does not know may wait in the queue; and what just left the queue is in the directory.
    fn read_late(
        &self,
        matches: &dyn Fn(&RecordHeader) -> bool,
        again: &dyn Fn(&Directory) -> Option<LivePlace>,
    ) -> Result<Record, ReadError> {
        match self.read_queued(&|_, header| matches(header)) {
            Err(ReadError::NotFound) => {
                let (segment, offset) = again(&self.directory.read()).ok_or(ReadError::NotFound)?;
                self.read_in(&segment, offset).map_err(ReadError::from)
            }
            result => result,
        }
    }

    /// The newest matching record that no writer has taken yet.
    fn read_queued(&self, matches: &dyn Fn(Location, &RecordHeader) -> bool) -> Result<Record, ReadError> {
        let queue = self.queue.lock();
        let found = queue.records().filter(|(location, record)| matches(*location, &record.header)).last();
        found.map(|(_, record)| Record::new(Bytes::copy_from_slice(record.bytes()), &record)).ok_or(ReadError::NotFound)
    }

    /// The record at a place, if it is the one that is looked for.
    fn read_place(
        &self,
        place: Place,
        offset: impl Fn(&Section) -> Option<u32>,
        matches: &dyn Fn(&RecordHeader) -> bool,
    ) -> Result<Record, Unread> {
        let span = match place {
            Place::Live(segment, offset) => return self.read_in(&segment, offset)?.filter(matches),
            Place::Sealed(span) => span,
        };
        let found = match offset(self.section(&span)?) {
            Some(offset) => self.try_read_in(&span.segment, offset),
            None => Err(Unread::NotFound),
        };
        match found {
            Ok(record) if matches(&record.header) => Ok(record),
            Err(Unread::Moved) => Err(Unread::Moved),
            _ if self.lacks_pages(&span.segment) => self.read_anew(&span, offset)?.filter(matches),
            found => found.map_err(|unread| self.noted(unread))?.filter(matches),
        }
    }

    fn place_of_message(&self, place: Place, sequence: u64) -> Option<Location> {
        let (segment, offset) = match place {
            Place::Live(segment, offset) => (segment.number, offset),
            Place::Sealed(span) => (span.segment.number, self.sealed_offset(&span, sequence)?),
        };
        Some(Location { segment, offset })
    }

    /// Where a message lies in a sealed span.
    pub(crate) fn sealed_offset(&self, span: &Arc<SealedSpan>, sequence: u64) -> Option<u32> {
        let offset = message_offset(self.section(span).ok()?, sequence);
        if self.lacks_pages(&span.segment) {
            return message_offset(self.section_anew(span).ok()?, sequence);
        }
        offset
    }

    pub(crate) fn read_location(&self, location: Location) -> Result<Record, ReadError> {
        let segment = self.segment(location.segment).ok_or(ReadError::NotFound)?;
        Ok(self.read_in(&segment, location.offset)?)
    }

    /// The record at an offset of a segment, verified. What is damaged is reported.
    pub(crate) fn read_in(&self, segment: &Arc<Segment>, offset: u32) -> Result<Record, Unread> {
        self.try_read_in(segment, offset).map_err(|unread| self.noted(unread))
    }

    /// Reports what is damaged.
    #[cold]
    fn noted(&self, unread: Unread) -> Unread {
        if let Unread::Error(ReadError::Damaged(location)) = unread {
            self.note_damage(Damage::record(location.segment, location.offset, None));
        }
        unread
    }

    fn try_read_in(&self, segment: &Arc<Segment>, offset: u32) -> Result<Record, Unread> {
        let location = Location { segment: segment.number, offset };
        if let Some(bytes) = self.tail.get(location)
            && let Ok(record) = parse(&bytes)
        {
            let length = record.bytes().len();
            return Ok(Record::new(bytes.slice(..length), &record));
        }
        let outcome = match self.mapping(segment)? {
            Some(bytes) => match read_mapped(segment, &bytes, offset) {
                // The file itself knows more about what is missing.
                Err(Unread::Error(_)) if self.lacks_pages(segment) => self.read_file(segment, offset),
                outcome => outcome,
            },
            None => self.read_file(segment, offset),
        };
        match outcome {
            // What was read may belong to the next life of the file.
            Err(_) if segment.is_retired() => Err(Unread::Moved),
            outcome => outcome,
        }
    }

    fn read_file(&self, segment: &Arc<Segment>, offset: u32) -> Result<Record, Unread> {
        let bytes = match self.read_range(segment, offset, READ_BYTES) {
            Ok(bytes) => bytes,
            // What can't be read may lie behind the record.
            Err(_) => self.read_range(segment, offset, RECORD_HEADER_BYTES)?,
        };
        let Ok(unverified) = decode_header(&bytes) else { return Err(damaged(segment, offset)) };
        let length = unverified.header.record_bytes();
        let bytes = if length <= bytes.len() { bytes } else { self.read_range(segment, offset, length)? };
        let Ok(record) = verify(&bytes, segment.seed) else { return Err(damaged(segment, offset)) };
        let length = record.bytes().len();
        Ok(Record::new(bytes.slice(..length), &record))
    }

    /// Up to `length` bytes of a segment's file, less where it ends.
    pub(crate) fn read_range(&self, segment: &Segment, offset: u32, length: usize) -> std::io::Result<Bytes> {
        let file = segment.file(&*self.io)?;
        let alignment = ALIGNMENT as u32;
        let start = offset / alignment * alignment;
        let skip = (offset - start) as usize;
        let available = segment.length.load(Ordering::Acquire).saturating_sub(start) as usize;
        let wanted = (skip + length).next_multiple_of(ALIGNMENT).min(available);
        let pool = (wanted >= POOLED_BYTES_MIN).then_some(&self.buffers);
        let mut buffer = pool.map_or_else(|| AlignedBuffer::new(wanted), |pool| pool.take(wanted));
        buffer.grow(0, wanted);
        file.read_at(&mut buffer[..wanted], u64::from(start))?;
        let bytes = share(buffer, wanted, pool);
        Ok(bytes.slice(skip.min(wanted)..(skip + length).min(wanted)))
    }

    /// The tables of a sealed span, loaded and checked when first needed; made anew from the records if damaged.
    pub(crate) fn section<'a>(&self, span: &'a Arc<SealedSpan>) -> Result<&'a Section, Unread> {
        if let Some(section) = span.section() {
            return Ok(section);
        }
        let segment = &span.segment;
        let Some(bytes) = self.mapping(segment)? else {
            return Ok(span.set_section(self.read_section(span)?));
        };
        let start = (span.footer_offset + span.numbers.section_offset) as usize;
        let range = start..start + span.numbers.section_length as usize;
        let bytes = if range.end > bytes.len() { Bytes::new() } else { bytes.slice(range) };
        let section = Section::decode(bytes, segment.seed, span.numbers.section_checksum);
        // Asked after everything was taken from the mapping that is not looked up there later.
        let section = match section {
            _ if self.lacks_pages(segment) => self.read_section(span)?,
            Some(section) => section,
            None => self.restore_section(span)?,
        };
        Ok(span.set_section(section))
    }

    /// The next sequence, and whether its record must be read to be sure.
    pub(crate) fn next_message(&self, group: GroupId, from: u64) -> Option<(u64, bool)> {
        let (mut best, covering) = {
            let directory = self.directory.read();
            let group = directory.group(group)?;
            let live = group.live.iter().filter_map(|span| span.next_sequence(from)).min();
            let after = group.sealed_after(from);
            let covering: Vec<Arc<SealedSpan>> = group.sealed_covering(from).into_iter().cloned().collect();
            (live.into_iter().chain(after).min(), covering)
        };
        let mut doubtful = false;
        for span in covering {
            let limited = span.index_limit() != u64::MAX;
            let next = if span.is_contiguous() {
                Some(from)
            } else {
                self.section(&span).ok().and_then(|section| next_message(section, from)).map(|(sequence, _)| sequence)
            };
            if next.is_some_and(|next| best.is_none_or(|best| next <= best)) {
                doubtful = limited && (best != next || doubtful);
                best = next;
            }
        }
        // A span that begins above may be one with replaced entries.
        let limited_after = || {
            let directory = self.directory.read();
            let spans = directory.group(group).map_or(&[][..], |group| &group.sealed);
            spans.iter().any(|span| Some(span.numbers.first_sequence) == best && span.index_limit() != u64::MAX)
        };
        best.map(|best| (best, doubtful || limited_after()))
    }
}

fn read_mapped(segment: &Segment, bytes: &Bytes, offset: u32) -> Result<Record, Unread> {
    let rest = bytes.get(offset as usize..).unwrap_or(&[]);
    let Ok(record) = verify(rest, segment.seed) else { return Err(damaged(segment, offset)) };
    let start = offset as usize;
    Ok(Record::new(bytes.slice(start..start + record.bytes().len()), &record))
}

/// A place that needs no tables.
type LivePlace = (Arc<Segment>, u32);

/// Why a place did not yield its record.
#[derive(Debug)]
pub(crate) enum Unread {
    NotFound,
    /// The segment is gone: its records are elsewhere, or dead.
    Moved,
    Error(ReadError),
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::NotFound { Self::Moved } else { Self::Error(ReadError::Io(error)) }
    }
}

impl From<Unread> for ReadError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::NotFound | Unread::Moved => Self::NotFound,
            Unread::Error(error) => error,
        }
    }
}

pub(super) fn damaged(segment: &Segment, offset: u32) -> Unread {
    Unread::Error(ReadError::Damaged(Location { segment: segment.number, offset }))
}

/// True for an entry that Raft replaced later.
pub(super) fn is_replaced(header: &RecordHeader, index_limit: u64) -> bool {
    header.kind.is_log_entry() && header.index >= index_limit
}

const _: () = assert!(READ_BYTES > RECORD_HEADER_BYTES);
