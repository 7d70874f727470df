//! One pass over the log entries that checkpoints do not cover, in journal order.

use std::sync::Arc;

use super::ahead::Checked;
use super::patience::{Patience, is_refused};
use super::shared::Shared;
use super::{Journal, Placed, Record};
use crate::directory::sealed::SealedSpan;
use crate::error::ReadError;
use crate::format::footer::Section;
use crate::format::record::{GroupId, RecordHeader, parse, verify};
use crate::location::Location;
use crate::report::{Damage, DamageKind, Progress};
use crate::segment::Segment;
use bytes::Bytes;

/// Bytes read at once from a segment that is not mapped.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// What a replay passed over.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Entries visited.
    pub entries: u64,
    /// Segments read.
    pub segments: usize,
    /// Entries that could not be read. Those of kind `Unreadable` may be good, only the disk did not give them: a group that
    /// has any must not go on as if they were gone.
    pub damages: Vec<Damage>,
}

impl Journal {
    /// Visits every entry and message above its group's checkpoint, in journal order. Segments without any are not
    /// touched.
    pub fn replay(
        &self,
        progress: &mut dyn FnMut(Progress),
        visit: &mut dyn FnMut(Location, Record),
    ) -> Result<ReplayReport, ReadError> {
        let shared = &*self.shared;
        let mut report = ReplayReport::default();
        let segments: Vec<Arc<Segment>> = shared.segments.read().values().cloned().collect();
        let total = segments.len() as u64;
        let patience = Patience::new(&shared.options);
        for (done, segment) in segments.iter().enumerate() {
            progress(Progress { phase: "replay", done: done as u64, total });
            if segment.header.is_compacted() {
                continue;
            }
            let entries = shared.entries_to_replay(segment, &mut report.damages);
            if entries.is_empty() {
                continue;
            }
            report.segments += 1;
            let mut reader = SegmentReader::new(segment.clone());
            for (offset, group, index) in entries {
                let location = Location { segment: segment.number, offset };
                let read = match reader.read(shared, offset) {
                    // That no file can be opened says nothing about what is in it.
                    Err(ReadError::Io(error)) if segment.file(&*shared.io).is_err() => return Err(error.into()),
                    // What can't be read may be another record of the window.
                    Err(ReadError::Io(_)) => patience.retry(|| shared.read_location(location), is_refused),
                    read => read,
                };
                match read {
                    Ok(record) if record.header.group == group && record.header.index == index => {
                        report.entries += 1;
                        visit(location, record);
                    }
                    read => {
                        let refused = read.is_err_and(|error| is_refused(&error));
                        if refused {
                            segment.set_refused();
                        }
                        let kind = if refused { DamageKind::Unreadable } else { DamageKind::Record };
                        let mut damage = Damage::at(segment.number, offset, kind);
                        (damage.group, damage.index) = (Some(group), Some(index));
                        shared.note_damage(damage.clone());
                        report.damages.push(damage);
                    }
                }
            }
        }
        Ok(report)
    }
}

impl Shared {
    /// Offset, group and index of each entry above its group's checkpoint, by offset.
    ///
    /// Tables that can not be read are made anew from the records; what can not be read at all is reported.
    fn entries_to_replay(&self, segment: &Arc<Segment>, damages: &mut Vec<Damage>) -> Vec<(u32, GroupId, u64)> {
        let mut entries = Vec::new();
        let mut sealed = Vec::new();
        {
            let directory = self.directory.read();
            for id in directory.residents(segment.number) {
                let Some(group) = directory.group(*id) else { continue };
                let from = group.checkpoint_index() + 1;
                if let Some(live) = group.live.iter().find(|span| span.segment.number == segment.number) {
                    let positions = live.entries.runs().iter().enumerate();
                    for (at, run) in positions {
                        let end =
                            live.entries.runs().get(at + 1).map_or(live.entries.len(), |next| next.start as usize);
                        let offsets = &live.entries.offsets()[run.start as usize..end];
                        let numbered = offsets.iter().zip(run.first..).filter(|(_, index)| *index >= from);
                        entries.extend(numbered.map(|(offset, index)| (*offset, *id, index)));
                    }
                }
                if let Some(span) =
                    group.sealed_in(segment.number).filter(|span| span.has_entries() && span.last_index() >= from)
                {
                    sealed.push((from, span.clone()));
                }
            }
        }
        for (from, span) in sealed {
            let section = match self.section(&span) {
                Ok(section) => section,
                Err(_) => {
                    let footer = span.footer_offset + span.numbers.section_offset;
                    self.note_damage(Damage::at(segment.number, footer, DamageKind::Footer));
                    match self.rebuild_section(&span).ok().flatten() {
                        Some(section) => span.set_section(section),
                        None => {
                            let kind = if segment.is_refused() { DamageKind::Unreadable } else { DamageKind::Footer };
                            damages.push(Damage { kind, ..unreadable_from(&span, from) });
                            continue;
                        }
                    }
                }
            };
            if section.entry_count() < span.numbers.entry_count as usize && segment.is_refused() {
                // Entries that these tables do not name may well be good.
                damages.push(unreadable_from(&span, from));
            }
            let known = entries.len();
            add_entries(section, &span, from, &mut entries);
            if self.lacks_pages(segment)
                && let Ok(section) = self.section_anew(&span)
            {
                entries.truncate(known);
                add_entries(section, &span, from, &mut entries);
            }
        }
        entries.sort_unstable();
        entries
    }
}

/// What stands for entries of a span that are not known.
fn unreadable_from(span: &SealedSpan, from: u64) -> Damage {
    let footer = span.footer_offset + span.numbers.section_offset;
    let mut damage = Damage::at(span.segment.number, footer, DamageKind::Unreadable);
    (damage.group, damage.index) = (Some(span.numbers.group), Some(from.max(span.numbers.first_index)));
    damage
}

/// The entries of a span from an index on.
fn add_entries(section: &Section, span: &SealedSpan, from: u64, entries: &mut Vec<(u32, GroupId, u64)>) {
    for (at, run) in section.index_runs.iter().enumerate() {
        let end = section.index_runs.get(at + 1).map_or(section.entry_count(), |next| next.start as usize);
        let positions = (run.start as usize..end).zip(run.first..);
        let wanted = positions.filter(|(_, index)| *index >= from && *index < span.index_limit());
        entries.extend(wanted.filter_map(|(at, index)| Some((section.entry(at)?, span.numbers.group, index))));
    }
}

/// Reads records of one segment at rising offsets, in large pieces.
pub(crate) struct SegmentReader {
    segment: Arc<Segment>,
    window: Bytes,
    start: u32,
    /// The window holds bytes that this process encoded or has checked.
    trusted: bool,
    whole: bool,
    /// The window came with records that were found sound.
    prepared: bool,
    /// The record checked last.
    verified: Option<Verified>,
}

/// What is known of a record in the window.
struct Verified {
    offset: u32,
    header: RecordHeader,
    erased: bool,
}

impl SegmentReader {
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        Self { segment, window: Bytes::new(), start: 0, trusted: false, whole: false, prepared: false, verified: None }
    }

    /// The record at an offset, with a share of the window's bytes.
    pub(crate) fn read(&mut self, shared: &Shared, offset: u32) -> Result<Record, ReadError> {
        let placed = self.borrow(shared, offset, false)?;
        Ok(Record { header: *placed.header, bytes: placed.window.slice(placed.range()), erased: placed.erased })
    }

    /// Goes on in what was read ahead.
    pub(crate) fn accept(&mut self, checked: Checked) {
        (self.window, self.start, self.whole) = (checked.bytes, checked.start, checked.whole);
        (self.trusted, self.prepared, self.verified) = (false, true, None);
    }

    /// The record at an offset, borrowed. Asked twice in a row, it is there at once. `is_sound` when it is one of those that
    /// the window came with.
    #[inline]
    pub(crate) fn borrow(&mut self, shared: &Shared, offset: u32, is_sound: bool) -> Result<Placed<'_>, ReadError> {
        let is_sound = is_sound && self.prepared && !(self.whole && self.segment.has_lost_pages());
        if self.verified.as_ref().is_none_or(|verified| verified.offset != offset) && !self.check(offset, is_sound) {
            self.load(shared, offset)?;
        }
        match &self.verified {
            Some(Verified { header, erased, .. }) => {
                Ok(Placed::new(header, *erased, &self.window, (offset - self.start) as usize))
            }
            None => self.failed(offset),
        }
    }

    /// Brings the whole record at `offset` into the window, verified.
    fn load(&mut self, shared: &Shared, offset: u32) -> Result<(), ReadError> {
        let location = Location { segment: self.segment.number, offset };
        self.prepared = false;
        if self.whole && self.segment.is_mappable() && !shared.lacks_pages(&self.segment) {
            return self.failed(offset);
        }
        if let Some((base, bytes)) = shared.tail.batch(location) {
            (self.window, self.start, self.trusted, self.whole) = (bytes, base, true, false);
        } else if let Some(bytes) = shared.mapping(&self.segment)? {
            (self.window, self.start, self.trusted, self.whole) = (bytes, 0, false, true);
        } else {
            self.read_around(shared, offset)?;
        }
        if self.check(offset, false) {
            return Ok(());
        }
        if self.whole && shared.lacks_pages(&self.segment) {
            // The file itself knows more about what is missing.
            self.read_around(shared, offset)?;
            if self.check(offset, false) {
                return Ok(());
            }
        }
        self.failed(offset)
    }

    /// Reads a window that begins with the record at an offset and has all of it.
    fn read_around(&mut self, shared: &Shared, offset: u32) -> Result<(), ReadError> {
        self.read_window(shared, offset, WINDOW_BYTES)?;
        let wanted =
            crate::format::record::decode_header(&self.window).map_or(0, |unverified| unverified.header.record_bytes());
        if wanted > self.window.len() {
            self.read_window(shared, offset, wanted)?;
        }
        Ok(())
    }

    fn read_window(&mut self, shared: &Shared, offset: u32, length: usize) -> Result<(), ReadError> {
        self.window = shared.read_range(&self.segment, offset, length)?;
        (self.start, self.trusted, self.whole) = (offset, false, false);
        Ok(())
    }

    /// Whether the window holds the record at `offset`, and it is sound, which may be known already.
    fn check(&mut self, offset: u32, is_sound: bool) -> bool {
        self.verified = None;
        let Some(at) = offset.checked_sub(self.start) else { return false };
        let Some(rest) = self.window.get(at as usize..).filter(|rest| !rest.is_empty()) else { return false };
        let record = if self.trusted || is_sound { parse(rest) } else { verify(rest, self.segment.seed) };
        if let Ok(record) = record {
            self.verified = Some(Verified { offset, header: record.header, erased: record.is_erased() });
        }
        self.verified.is_some()
    }

    fn failed<T>(&self, offset: u32) -> Result<T, ReadError> {
        if self.segment.is_retired() { Err(ReadError::NotFound) } else { Err(self.damaged(offset)) }
    }

    fn damaged(&self, offset: u32) -> ReadError {
        ReadError::Damaged(Location { segment: self.segment.number, offset })
    }
}
