//! What follows when a page of a mapped segment was missing: the segment is reported and read by system calls from then
//! on, and what was made of its mapping is made again. Nothing here runs while all pages are there.
//!
//! Bytes of records are checked after they were read, so zeros are found out. Tables were checked when they were loaded:
//! whoever takes something from them that nothing else vouches for asks [`Shared::lacks_pages`] afterwards.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tracing::{error, warn};

use super::read::{Unread, damaged};
use super::shared::Shared;
use crate::directory::sealed::{SealedSpan, message_offset};
use crate::error::ReadError;
use crate::format::footer::Section;
use crate::format::record::GroupId;
use crate::io::is_no_descriptor;
use crate::location::Location;
use crate::report::{Damage, DamageKind};
use crate::segment::Segment;

impl Shared {
    /// The bytes of a sealed segment, where they are read by way of a mapping. `None` when they are read by system calls,
    /// as they are from then on if the system refuses to map them.
    #[inline]
    pub(crate) fn mapping(&self, segment: &Segment) -> io::Result<Option<Bytes>> {
        if !segment.is_mappable() || !self.options.map_sealed {
            return Ok(None);
        }
        match segment.map(&*self.io) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => self.without_mapping(segment, error),
        }
    }

    #[cold]
    fn without_mapping(&self, segment: &Segment, error: io::Error) -> io::Result<Option<Bytes>> {
        if error.kind() == io::ErrorKind::NotFound || is_no_descriptor(&error) {
            // There is no file, or nothing can be opened just now: system calls would not do better.
            return Err(error);
        }
        segment.set_unmappable();
        // There may be thousands of segments, and it will be the same with the next one.
        if !self.map_refused.swap(true, Ordering::AcqRel) {
            let file = segment.path.display();
            warn!(%file, %error, "segments can not be mapped and are read by system calls, which is slower");
        }
        Ok(None)
    }

    /// True when bytes that came from the segment's mapping before this call may be zeros that are not in its file.
    #[inline]
    pub(crate) fn lacks_pages(&self, segment: &Segment) -> bool {
        let lacks = segment.has_lost_pages();
        if lacks {
            self.note_lost_page(segment);
        }
        lacks
    }

    /// Reports segments whose lost pages nobody stumbled over: a table of zeros may just have looked empty.
    pub(crate) fn note_all_lost_pages(&self) {
        let segments: Vec<Arc<Segment>> = self.segments.read().values().cloned().collect();
        for segment in segments {
            self.lacks_pages(&segment);
        }
    }

    #[cold]
    fn note_lost_page(&self, segment: &Segment) {
        segment.set_unmappable();
        // What is left of it is evidence.
        segment.set_unmovable();
        let Some(offset) = segment.take_lost_page().filter(|_| !segment.is_retired()) else { return };
        let length = segment.file(&*self.io).and_then(|file| file.length());
        let kind = match length {
            Ok(length) if length <= offset => {
                segment.length.fetch_min(u32::try_from(length).unwrap_or(u32::MAX), Ordering::AcqRel);
                DamageKind::Truncated
            }
            _ => DamageKind::Unreadable,
        };
        self.note_damage(Damage::at(segment.number, u32::try_from(offset).unwrap_or(u32::MAX), kind));
    }

    /// What an attempt by way of a span's tables becomes when their pages, or the record's, are lost: another attempt that
    /// asks the file alone.
    #[cold]
    pub(crate) fn read_anew(
        &self,
        span: &Arc<SealedSpan>,
        offset: impl Fn(&Section) -> Option<u32>,
    ) -> Result<super::Record, Unread> {
        let offset = offset(self.section_anew(span)?).ok_or(Unread::NotFound)?;
        self.read_in(&span.segment, offset)
    }

    /// The tables of a sealed span, not from a mapping.
    #[cold]
    pub(crate) fn section_anew<'a>(&self, span: &'a Arc<SealedSpan>) -> Result<&'a Section, Unread> {
        match span.section_anew() {
            Some(section) => Ok(section),
            None => Ok(span.set_section_anew(self.read_section(span)?)),
        }
    }

    /// Tables from the file; made anew from the records where it does not give them.
    pub(crate) fn read_section(&self, span: &SealedSpan) -> Result<Section, Unread> {
        let (segment, numbers) = (&span.segment, &span.numbers);
        let start = span.footer_offset + numbers.section_offset;
        if span.is_lost() {
            return Err(damaged(segment, start));
        }
        // That there is no file, or none can be opened now, says nothing about what is in it.
        segment.file(&*self.io)?;
        let read = match self.read_range(segment, start, numbers.section_length as usize) {
            Ok(bytes) => Section::decode(bytes, segment.seed, numbers.section_checksum),
            Err(_) => None,
        };
        match read {
            Some(section) => Ok(section),
            None => self.restore_section(span),
        }
    }

    /// The payload of a control record, as a copy: a share of a mapping would keep the segment from being recycled.
    pub(crate) fn payload_at(&self, location: Location) -> Result<Bytes, ReadError> {
        let copy = |record: super::Record| Bytes::copy_from_slice(record.payload());
        let payload = self.read_location(location).map(copy)?;
        match self.segment(location.segment) {
            // Its page may have vanished after it was checked.
            Some(segment) if self.lacks_pages(&segment) => self.read_location(location).map(copy),
            _ => Ok(payload),
        }
    }

    /// What stands for a message that tables without a gap should have and have not: they were made from what could still
    /// be read.
    #[cold]
    pub(crate) fn lost_message(&self, group: GroupId, sequence: u64) -> Option<ReadError> {
        let spans: Vec<Arc<SealedSpan>> = {
            let directory = self.directory.read();
            directory.group(group)?.sealed_covering(sequence).into_iter().cloned().collect()
        };
        let lacks = |span: &&Arc<SealedSpan>| {
            let tables = span.section_anew().or_else(|| span.section());
            span.is_contiguous() && tables.is_some_and(|tables| message_offset(tables, sequence).is_none())
        };
        let span = spans.iter().find(lacks)?;
        let offset = span.footer_offset + span.numbers.section_offset;
        Some(ReadError::Damaged(Location { segment: span.segment.number, offset }))
    }

    /// The tables are damaged: makes them anew from the records.
    #[cold]
    pub(crate) fn restore_section(&self, span: &SealedSpan) -> Result<Section, Unread> {
        let start = span.footer_offset + span.numbers.section_offset;
        if span.segment.is_retired() {
            return Err(Unread::Moved);
        }
        self.note_damage(Damage::at(span.segment.number, start, DamageKind::Footer));
        let section = self.rebuild_section(span)?;
        let found = section.as_ref().map_or(0, Section::message_count);
        let (numbers, known) = (&span.numbers, span.numbers.message_count as usize);
        if found < known {
            // What these tables do not name must not go with what they name.
            span.segment.set_unmovable();
            let (group, from, to) = (numbers.group.0, numbers.first_sequence, numbers.last_sequence);
            let file = span.segment.path.display();
            error!(%file, group, lost = known - found, of = known, from, to, "stored messages can not be read any more");
        }
        section.ok_or_else(|| {
            // Else all of the file would be read again for each of its messages.
            span.set_lost();
            damaged(&span.segment, start)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::record::{RecordHeader, RecordKind};
    use crate::io::SimIo;
    use crate::journal::{AppendClass, Journal, Urgency};
    use crate::options::JournalOptions;

    /// A sector that fails once and is read at the next attempt.
    #[test]
    fn a_segment_that_missed_a_page_is_read_by_system_calls_and_reported_once() {
        let options = JournalOptions {
            segment_bytes: Some(32 * 1024),
            first_segment_bytes: 32 * 1024,
            tail_bytes_max: 0,
            manual: true,
            ..JournalOptions::default()
        };
        let io = SimIo::new();
        let open = || Journal::open(Arc::new(io.clone()), Path::new("journal"), options.clone(), &mut |_| {}).unwrap();
        let journal = open().journal;
        for index in 1..=100 {
            let header = RecordHeader::of_payload(GroupId(5), RecordKind::Entry, 1000);
            let mut appender = journal.append(AppendClass::Message).unwrap();
            appender.record(&RecordHeader { index, term: 1, ..header }, &[&[index as u8; 1000]]);
            appender.finish(Urgency::Wake);
            journal.drive();
        }
        let read_all = || {
            for index in 1..=100 {
                assert_eq!(journal.read_entry(GroupId(5), index).unwrap().payload(), [index as u8; 1000]);
            }
        };
        read_all();
        let segment = journal.shared.segments.read().values().find(|segment| segment.is_sealed()).unwrap().clone();
        assert!(segment.is_mappable());
        segment.lose_page(16384);
        segment.lose_page(4096);
        for _ in 0..2 {
            journal.shared.note_all_lost_pages();
            assert!(!segment.is_mappable() && !segment.is_movable() && !segment.was_checked());
            assert_eq!(journal.stats().damages, [Damage::at(segment.number, 16384, DamageKind::Unreadable)]);
            read_all();
        }
    }
}
