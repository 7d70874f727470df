//! HOT PATH: no allocation per message, no log above trace.
//!
//! Reads a group's messages in order of sequence. Locations are looked up in windows, bytes come in large pieces, every
//! record outside the memory tail is checked.

use std::ops::Range;
use std::sync::Arc;

use super::read::is_replaced;
use super::replay::SegmentReader;
use super::shared::Shared;
use super::{Journal, Record};
use crate::directory::live::LiveSpan;
use crate::directory::sealed::{SealedSpan, next_message};
use crate::directory::table::number_at;
use crate::error::ReadError;
use crate::format::footer::Section;
use crate::format::record::{GroupId, RECORD_HEADER_BYTES, RecordHeader, RecordRef};
use crate::segment::Segment;
use bytes::Bytes;

/// Messages looked up at once.
const WINDOW: usize = 512;

/// Chooses messages by subject.
pub type SubjectFilter<'f> = &'f dyn Fn(&[u8]) -> bool;

/// A position in a group's messages. It knows nothing of removals, and may go on after it reached the end.
pub struct MessageCursor {
    shared: Arc<Shared>,
    group: GroupId,
    /// The lowest sequence not yet looked up.
    next: u64,
    window: Vec<Slot>,
    at: usize,
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

#[derive(Clone, Copy)]
struct Slot {
    sequence: u64,
    offset: u32,
}

/// What the filter said about the subjects of one segment.
#[derive(Default)]
struct Verdicts {
    /// The segment, and whether its numbers are those of a footer.
    source: (u32, bool),
    by_id: Vec<Option<bool>>,
}

/// What can be read next, and up to where nobody else has to be asked.
struct Source {
    segment: Arc<Segment>,
    slots: Vec<Slot>,
    /// Where the next window starts.
    next: u64,
    index_limit: u64,
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
    /// Continues at a sequence.
    pub fn seek(&mut self, from: u64) {
        self.next = from;
        self.at = 0;
        self.window.clear();
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
                    return reader.borrow(&self.shared, slot.offset).map(Some);
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
            && let Ok(Placed { header, .. }) = reader.borrow(&self.shared, slot.offset)
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
        let source = self.shared.clone().source(self.group, self.next, filter, &mut self.verdicts)?;
        if self.segment != source.segment.number || self.reader.is_none() {
            self.segment = source.segment.number;
            self.reader = Some(SegmentReader::new(source.segment));
        }
        self.window = source.slots;
        self.at = 0;
        self.next = source.next;
        self.index_limit = source.index_limit;
        Some(())
    }
}

enum Loaded {
    Window,
    Spare,
    Gone,
}

impl Verdicts {
    fn passes<'t>(
        &mut self,
        source: (u32, bool),
        id: u32,
        filter: SubjectFilter<'_>,
        text: impl FnOnce() -> &'t [u8],
    ) -> bool {
        if self.source != source {
            self.source = source;
            self.by_id.clear();
        }
        let at = id as usize;
        if at >= self.by_id.len() {
            self.by_id.resize(at + 1, None);
        }
        *self.by_id[at].get_or_insert_with(|| filter(text()))
    }
}

impl Shared {
    /// The next window of messages from `from` on. `None` when there are none.
    fn source(
        &self,
        group: GroupId,
        from: u64,
        filter: Option<SubjectFilter<'_>>,
        verdicts: &mut Verdicts,
    ) -> Option<Source> {
        let mut from = from;
        loop {
            let (live, covering, after) = {
                let directory = self.directory.read();
                let group = directory.group(group)?;
                let live: Vec<u64> = group.live.iter().filter_map(|span| span.next_sequence(from)).collect();
                let covering: Vec<Arc<SealedSpan>> = group.sealed_covering(from).into_iter().cloned().collect();
                (live, covering, group.sealed_after(from))
            };
            let next_in = |span: &Arc<SealedSpan>| {
                if span.is_contiguous() {
                    return Some(from);
                }
                next_message(self.section(span).ok()?, from).map(|(sequence, _)| sequence)
            };
            let sealed: Vec<(u64, &Arc<SealedSpan>)> =
                covering.iter().filter_map(|span| Some((next_in(span)?, span))).collect();
            let best = sealed.iter().map(|(next, _)| *next).chain(live.iter().copied()).chain(after).min()?;
            if live.contains(&best) {
                let others = sealed.iter().map(|(next, _)| *next).chain(after);
                let limit = limit_of(others, best);
                match self.live_source(group, best, limit, filter, verdicts) {
                    Some(source) => return Some(source),
                    // Sealed in between: look again.
                    None => continue,
                }
            }
            let Some((_, span)) = sealed.iter().find(|(next, _)| *next == best) else {
                // A span begins there that did not cover `from`.
                from = best;
                continue;
            };
            let others = sealed.iter().filter(|(_, other)| other.segment.number != span.segment.number);
            let limit = limit_of(others.map(|(next, _)| *next).chain(live.iter().copied()).chain(after), best);
            match self.sealed_source(span, best, limit, filter, verdicts) {
                Some(source) => return Some(source),
                // The footer cannot be read: pass over what it alone knows.
                None if limit == u64::MAX => return None,
                None => from = limit,
            }
        }
    }

    fn live_source(
        &self,
        group: GroupId,
        from: u64,
        limit: u64,
        filter: Option<SubjectFilter<'_>>,
        verdicts: &mut Verdicts,
    ) -> Option<Source> {
        let directory = self.directory.read();
        let spans = &directory.group(group)?.live;
        let holds = |span: &&LiveSpan| span.next_sequence(from) == Some(from);
        let at = spans.iter().rposition(|span| holds(&span))?;
        let span = &spans[at];
        let others = spans.iter().enumerate().filter(|(other, _)| *other != at);
        let limit = limit.min(limit_of(others.filter_map(|(_, other)| other.next_sequence(from)), from));
        let number = (span.segment.number, false);
        let window = span.window(from, WINDOW);
        let next = window.last().map_or(limit, |(sequence, ..)| sequence + 1).min(limit);
        let keep = |slot: &(u64, u32, u32)| {
            let text = || span.subjects.subject(slot.2);
            slot.0 < limit && filter.is_none_or(|filter| verdicts.passes(number, slot.2, filter, text))
        };
        let slots = window.into_iter().filter(keep).map(|(sequence, offset, _)| Slot { sequence, offset }).collect();
        Some(Source { segment: span.segment.clone(), slots, next, index_limit: u64::MAX })
    }

    fn sealed_source(
        &self,
        span: &Arc<SealedSpan>,
        from: u64,
        limit: u64,
        filter: Option<SubjectFilter<'_>>,
        verdicts: &mut Verdicts,
    ) -> Option<Source> {
        let section = self.section(span).ok()?;
        let source = Self::source_in(section, span, from, limit, filter, verdicts);
        if self.lacks_pages(&span.segment) {
            // Subjects of zeros pass no filter, or the wrong ones.
            *verdicts = Verdicts::default();
            return Self::source_in(self.section_anew(span).ok()?, span, from, limit, filter, verdicts);
        }
        source
    }

    fn source_in(
        section: &Section,
        span: &Arc<SealedSpan>,
        from: u64,
        limit: u64,
        filter: Option<SubjectFilter<'_>>,
        verdicts: &mut Verdicts,
    ) -> Option<Source> {
        let number = (span.segment.number, true);
        let (_, first) = next_message(section, from)?;
        let mut slots = Vec::with_capacity(WINDOW.min(section.message_count() - first));
        let mut next = limit.min(span.numbers.last_sequence.saturating_add(1));
        let any = filter.is_none_or(|filter| {
            let subjects = 0..section.subject_count() as u32;
            subjects.fold(false, |any, id| {
                let text = || section.subject(id).map_or(&[][..], |(_, text)| text);
                verdicts.passes(number, id, filter, text) || any
            })
        });
        let mut position = first;
        let mut run = section.sequence_runs.partition_point(|run| run.start as usize <= first);
        let mut sequence = number_at(&section.sequence_runs, first)?;
        while any && position < section.message_count() {
            if section.sequence_runs.get(run).is_some_and(|run| run.start as usize == position) {
                sequence = section.sequence_runs[run].first;
                run += 1;
            }
            if sequence >= limit {
                break;
            }
            if slots.len() == WINDOW {
                next = sequence;
                break;
            }
            let passes = filter.is_none() || {
                let id = section.subject_id(position).unwrap_or(0);
                verdicts.by_id.get(id as usize).copied().flatten().unwrap_or(false)
            };
            if passes {
                slots.push(Slot { sequence, offset: section.message(position)? });
            }
            position += 1;
            sequence += 1;
        }
        let index_limit = if span.segment.header.is_compacted() { u64::MAX } else { span.index_limit() };
        Some(Source { segment: span.segment.clone(), slots, next, index_limit })
    }
}

/// The lowest other sequence above `best`; one equal to it is an older copy of the same message, or a repair.
fn limit_of(others: impl Iterator<Item = u64>, best: u64) -> u64 {
    others.map(|other| if other == best { best + 1 } else { other }).min().unwrap_or(u64::MAX)
}
