//! HOT PATH: no log above trace.
//!
//! Finds the next message of one subject by the tables of the segments alone: no record is read, and a segment without the
//! subject costs one look at a filter.
//!
//! A footer lists subjects in order of appearance. Which number a subject has there is looked up in a hash table. Filters and
//! hash tables are made once going through the list has taken as long as making them would, and only one for each look-up:
//! whoever looks holds a stream's lock. A table is kept for as long as it is used; when there is no room for another one the
//! list is gone through. So however many segments a look-up goes over, none is made only to be dropped.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Journal;
use super::read::{LOOKUPS_MAX, Unread};
use super::shared::Shared;
use crate::directory::live::LiveSpan;
use crate::directory::sealed::SealedSpan;
use crate::directory::subject_filter::SubjectFilter;
use crate::directory::table::{Run, find_from, number_at};
use crate::error::ReadError;
use crate::format::footer::{Section, find_equal};
use crate::format::record::GroupId;
use crate::options::JournalOptions;

/// Fewer subjects are compared one by one.
const FEW_SUBJECTS: usize = 32;
/// So many sealed segments are looked at before the directory is asked again.
const SPANS_AT_ONCE: usize = 8;
/// A filter takes as long to make as so many scans, about, and so does a table after that.
const SCANS_PER_FILTER: u32 = 16;
const SCANS_PER_TABLE: u32 = 48;
/// After so many look-ups without it a table makes room for another one.
const IDLE_LOOKUPS: u64 = 4096;

/// The numbers of subjects in footers, as hash tables.
pub(crate) struct SubjectNumbers {
    tables: Mutex<Tables>,
    /// What filters take.
    filter_bytes: Arc<AtomicUsize>,
    filter_bytes_max: usize,
    /// Clients choose subjects, so the seed must be random.
    hasher: RandomState,
}

struct Tables {
    /// By segment and group. Segment numbers are never used twice.
    by_span: HashMap<(u32, GroupId), Table, RandomState>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

struct Table {
    numbers: Arc<HashTable<u32>>,
    used: u64,
}

/// A subject that is looked for in one segment after the other.
struct Sought<'s> {
    subject: &'s [u8],
    hash: u64,
    /// A filter or a table may be made on the way.
    may_make: Cell<bool>,
}

impl SubjectNumbers {
    pub(crate) fn new(options: &JournalOptions) -> Self {
        let bytes_max = options.subject_table_bytes_max;
        Self {
            tables: Mutex::new(Tables { by_span: HashMap::default(), bytes: 0, bytes_max, uses: 0 }),
            filter_bytes: Arc::default(),
            filter_bytes_max: options.subject_filter_bytes_max,
            hasher: RandomState::default(),
        }
    }

    fn seek<'s>(&self, subject: &'s [u8]) -> Sought<'s> {
        Sought { subject, hash: self.hasher.hash_one(subject), may_make: Cell::new(true) }
    }

    /// The number of a subject in a span's section.
    fn find(&self, span: &SealedSpan, section: &Section, sought: &Sought<'_>) -> Option<u32> {
        if section.subject_count() <= FEW_SUBJECTS {
            return find_among(section, sought.subject);
        }
        let is_ruled_out = |filter: &SubjectFilter| !filter.may_have(sought.hash);
        if span.subject_filter().is_some_and(is_ruled_out) {
            return None;
        }
        let key = (span.segment.number, span.numbers.group);
        let in_table = |numbers: &HashTable<u32>| {
            numbers.find(sought.hash, |number| text(section, *number) == sought.subject).copied()
        };
        if let Some(numbers) = self.tables.lock().get(key) {
            return in_table(&numbers);
        }
        let scans = span.count_subject_scan();
        if scans >= SCANS_PER_FILTER
            && span.subject_filter().is_none()
            && sought.may_make.get()
            && let Some(filter) = self.make_filter(section)
        {
            sought.may_make.set(false);
            if is_ruled_out(span.set_subject_filter(filter)) {
                return None;
            }
        }
        if scans >= SCANS_PER_TABLE
            && sought.may_make.get()
            && self.tables.lock().make_room(table_bytes(section.subject_count()))
        {
            sought.may_make.set(false);
            let numbers = Arc::new(self.number_all(section));
            self.tables.lock().insert(key, numbers.clone());
            return in_table(&numbers);
        }
        find_among(section, sought.subject)
    }

    fn make_filter(&self, section: &Section) -> Option<SubjectFilter> {
        let count = section.subject_count();
        let hashes = (0..count as u32).map(|number| self.hasher.hash_one(text(section, number)));
        SubjectFilter::new(count, hashes, &self.filter_bytes, self.filter_bytes_max)
    }

    fn number_all(&self, section: &Section) -> HashTable<u32> {
        let count = section.subject_count();
        let mut numbers = HashTable::with_capacity(count);
        for number in 0..count as u32 {
            let hash = self.hasher.hash_one(text(section, number));
            numbers.insert_unique(hash, number, |number| self.hasher.hash_one(text(section, *number)));
        }
        numbers
    }
}

impl Tables {
    fn get(&mut self, key: (u32, GroupId)) -> Option<Arc<HashTable<u32>>> {
        self.uses += 1;
        let table = self.by_span.get_mut(&key)?;
        table.used = self.uses;
        Some(table.numbers.clone())
    }

    /// Whether so many more bytes are allowed, once tables that nobody uses any more are gone.
    fn make_room(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > self.bytes_max {
            let Self { by_span, uses, .. } = self;
            by_span.retain(|_, table| table.used + IDLE_LOOKUPS > *uses);
            self.bytes = self.by_span.values().map(|table| bytes_of(&table.numbers)).sum();
        }
        self.bytes + bytes <= self.bytes_max
    }

    fn insert(&mut self, key: (u32, GroupId), numbers: Arc<HashTable<u32>>) {
        self.bytes += bytes_of(&numbers);
        if let Some(before) = self.by_span.insert(key, Table { numbers, used: self.uses }) {
            self.bytes -= bytes_of(&before.numbers);
        }
    }
}

fn bytes_of(numbers: &HashTable<u32>) -> usize {
    numbers.allocation_size() + size_of::<Table>()
}

/// What a table of so many subjects takes, about: a number and a byte for each place, of which an eighth stays free.
fn table_bytes(subjects: usize) -> usize {
    (subjects * 8 / 7).next_power_of_two() * 5 + size_of::<Table>()
}

fn text(section: &Section, number: u32) -> &[u8] {
    section.subject(number).map_or(&[][..], |(_, text)| text)
}

fn find_among(section: &Section, subject: &[u8]) -> Option<u32> {
    (0..section.subject_count() as u32).find(|number| text(section, *number) == subject)
}

impl Journal {
    /// The lowest sequence at or above `from` of a message on exactly this subject. Knows nothing of removals, and of a
    /// message that can not be read only what the tables say.
    ///
    /// # Errors
    /// When tables that may name it can not be read, nor made anew.
    pub fn next_of_subject(&self, group: GroupId, from: u64, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        let sought = self.shared.subject_numbers.seek(subject);
        until_settled(|| self.try_next_of_subject(group, from, &sought))
    }

    /// The highest sequence at or below `to` of a message on exactly this subject, with the same reservations as
    /// [`next_of_subject`](Self::next_of_subject).
    ///
    /// # Errors
    /// When tables that may name it can not be read, nor made anew.
    pub fn previous_of_subject(&self, group: GroupId, to: u64, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        let sought = self.shared.subject_numbers.seek(subject);
        until_settled(|| self.try_previous_of_subject(group, to, &sought))
    }

    /// [`Unread::Moved`] when a segment went meanwhile.
    fn try_previous_of_subject(&self, group: GroupId, to: u64, sought: &Sought<'_>) -> Result<Option<u64>, Unread> {
        let (mut best, mut spans) = {
            let directory = self.shared.directory.read();
            let Some(group) = directory.group(group) else { return Ok(None) };
            let best = group.live.iter().filter_map(|span| previous_in_live(span, to, sought.subject)).max();
            let reaches = |span: &&Arc<SealedSpan>| span.numbers.first_sequence <= to;
            (best, group.sealed.iter().filter(reaches).cloned().collect::<Vec<_>>())
        };
        spans.sort_unstable_by_key(|span| std::cmp::Reverse(span.numbers.last_sequence));
        for span in spans {
            if best.is_some_and(|best| best >= span.numbers.last_sequence) {
                break;
            }
            let found = self.previous_in_sealed(&span, to, sought)?;
            best = best.into_iter().chain(found).max();
        }
        Ok(best)
    }

    fn previous_in_sealed(&self, span: &Arc<SealedSpan>, to: u64, sought: &Sought<'_>) -> Result<Option<u64>, Unread> {
        let mut to = to;
        while let Some(found) =
            self.shared.by_section(span, sought, |section, id| previous_in_section(section, id, to))?
        {
            if !self.is_doubtful(span, found, sought.subject) {
                return Ok(Some(found));
            }
            let Some(below) = found.checked_sub(1) else { break };
            to = below;
        }
        Ok(None)
    }

    /// Another entry may have taken the place in the log of what the table names.
    fn is_doubtful(&self, span: &SealedSpan, found: u64, subject: &[u8]) -> bool {
        let reads_so = || {
            let record = self.read_message(span.numbers.group, found);
            record.is_ok_and(|record| record.subject() == subject)
        };
        span.has_replaced() && !reads_so()
    }

    /// [`Unread::Moved`] when a segment came or went meanwhile.
    fn try_next_of_subject(&self, group: GroupId, from: u64, sought: &Sought<'_>) -> Result<Option<u64>, Unread> {
        let (mut best, arrangement, mut spans, mut passed) = {
            let directory = self.shared.directory.read();
            let Some(group) = directory.group(group) else { return Ok(None) };
            let best = group.live.iter().filter_map(|span| next_in_live(span, from, sought.subject)).min();
            let mut passed = 0;
            let spans = group.sealed_reaching(from, &mut passed, SPANS_AT_ONCE);
            (best, group.arrangement, spans, passed)
        };
        while !spans.is_empty() {
            for span in spans {
                if best.is_some_and(|best| best <= span.numbers.first_sequence) {
                    return Ok(best);
                }
                let found = self.next_in_sealed(&span, from, sought)?;
                best = best.into_iter().chain(found).min();
            }
            let directory = self.shared.directory.read();
            let group = directory.group(group).filter(|group| group.arrangement == arrangement);
            spans = group.ok_or(Unread::Moved)?.sealed_reaching(from, &mut passed, SPANS_AT_ONCE);
        }
        Ok(best)
    }

    fn next_in_sealed(&self, span: &Arc<SealedSpan>, from: u64, sought: &Sought<'_>) -> Result<Option<u64>, Unread> {
        let mut from = from;
        while let Some(found) =
            self.shared.by_section(span, sought, |section, id| next_in_section(section, id, from))?
        {
            if !self.is_doubtful(span, found, sought.subject) {
                return Ok(Some(found));
            }
            from = found + 1;
        }
        Ok(None)
    }
}

impl Shared {
    /// What the tables of a span say about the number that a subject has there.
    fn by_section(
        &self,
        span: &Arc<SealedSpan>,
        sought: &Sought<'_>,
        find: impl Fn(&Section, u32) -> Option<u64>,
    ) -> Result<Option<u64>, Unread> {
        let section = self.section(span)?;
        let number = self.subject_numbers.find(span, section, sought);
        let found = number.and_then(|number| find(section, number));
        if self.lacks_pages(&span.segment) {
            // Zeros are no subjects.
            let section = self.section_anew(span)?;
            return Ok(find_among(section, sought.subject).and_then(|number| find(section, number)));
        }
        if span.segment.is_retired() { Err(Unread::Moved) } else { Ok(found) }
    }
}

/// Looks again while segments come and go.
fn until_settled(look: impl Fn() -> Result<Option<u64>, Unread>) -> Result<Option<u64>, ReadError> {
    for _ in 0..LOOKUPS_MAX {
        match look() {
            Err(Unread::Moved) => {}
            found => return found.map_err(ReadError::from),
        }
    }
    Err(ReadError::NotFound)
}

/// What a segment's table says about a subject.
struct Known {
    count: u32,
    first: u64,
    last: u64,
}

impl Known {
    /// Positions of messages among which the subject's next one is. The numbers may count messages that were replaced, so
    /// they say only where none is.
    fn positions(&self, runs: &[Run], length: usize, from: u64) -> Range<usize> {
        // Behind the first of two there is only the last one.
        let start = if self.count == 2 && from > self.first { self.last } else { self.first };
        let start = find_from(runs, length, start.max(from)).map_or(length, |(_, position)| position);
        let end = find_from(runs, length, self.last.saturating_add(1)).map_or(length, |(_, position)| position);
        start..end.max(start)
    }
}

impl Known {
    /// Positions of messages among which the subject's previous one is.
    fn positions_down(&self, runs: &[Run], length: usize, to: u64) -> Range<usize> {
        // Before the last of two there is only the first one.
        let end = if self.count == 2 && to < self.last { self.first } else { self.last };
        let start = find_from(runs, length, self.first).map_or(length, |(_, position)| position);
        let end = find_from(runs, length, end.min(to).saturating_add(1)).map_or(length, |(_, position)| position);
        start..end.max(start)
    }
}

fn previous_in_section(section: &Section, number: u32, to: u64) -> Option<u64> {
    let (subject, _) = section.subject(number)?;
    if subject.first > to {
        return None;
    }
    let known = Known { count: subject.count, first: subject.first, last: subject.last };
    let mut positions = known.positions_down(&section.sequence_runs, section.message_count(), to);
    let position = positions.rfind(|position| section.subject_id(*position) == Some(number))?;
    number_at(&section.sequence_runs, position)
}

fn previous_in_live(span: &LiveSpan, to: u64, subject: &[u8]) -> Option<u64> {
    let number = span.subjects.find(subject)?;
    let entry = span.subjects.entries().get(number as usize)?;
    if entry.first > to {
        return None;
    }
    let known = Known { count: entry.count, first: entry.first, last: entry.last };
    let runs = span.messages.runs();
    let mut positions = known.positions_down(runs, span.messages.len(), to);
    let at = positions.rfind(|position| span.subject_ids.get(*position) == Some(&number));
    let plain = at.and_then(|at| number_at(runs, at));
    let odd = span.odd.range(..=to).rev().find(|(_, (_, of))| *of == number).map(|(sequence, _)| *sequence);
    plain.into_iter().chain(odd).max()
}

fn next_in_section(section: &Section, number: u32, from: u64) -> Option<u64> {
    let (subject, _) = section.subject(number)?;
    if subject.last < from {
        return None;
    }
    let known = Known { count: subject.count, first: subject.first, last: subject.last };
    let positions = known.positions(&section.sequence_runs, section.message_count(), from);
    let position = section.position_of_subject(number, positions)?;
    number_at(&section.sequence_runs, position)
}

fn next_in_live(span: &LiveSpan, from: u64, subject: &[u8]) -> Option<u64> {
    let number = span.subjects.find(subject)?;
    let entry = span.subjects.entries().get(number as usize)?;
    if entry.last < from {
        return None;
    }
    let known = Known { count: entry.count, first: entry.first, last: entry.last };
    let runs = span.messages.runs();
    let positions = known.positions(runs, span.messages.len(), from);
    let at = find_equal(&span.subject_ids[positions.clone()], |id| *id == number);
    let plain = at.and_then(|at| number_at(runs, positions.start + at));
    let odd = span.odd.range(from..).find(|(_, (_, of))| *of == number).map(|(sequence, _)| *sequence);
    plain.into_iter().chain(odd).min()
}

#[cfg(test)]
mod tests;
