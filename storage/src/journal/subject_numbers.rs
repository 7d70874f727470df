//! HOT PATH: no log above trace.
//!
//! Finds the next message of one subject by the tables of the segments alone: no record is read, and a segment without the
//! subject costs one look-up.
//!
//! A footer lists subjects in order of appearance. Which number a subject has there is looked up in a hash table that is made
//! when first needed and kept as long as there is room.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Journal;
use super::read::{LOOKUPS_MAX, Unread};
use super::shared::Shared;
use crate::directory::live::LiveSpan;
use crate::directory::sealed::SealedSpan;
use crate::directory::table::{Run, find_from, number_at};
use crate::error::ReadError;
use crate::format::footer::{Section, find_equal};
use crate::format::record::GroupId;

/// What all hash tables together may take.
const TABLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Fewer subjects are compared one by one.
const FEW_SUBJECTS: usize = 32;
/// So many sealed segments are looked at before the directory is asked again.
const SPANS_AT_ONCE: usize = 8;

/// The numbers of subjects in footers, as hash tables.
#[derive(Default)]
pub(crate) struct SubjectNumbers {
    tables: Mutex<Tables>,
    /// Clients choose subjects, so the seed must be random.
    hasher: RandomState,
}

#[derive(Default)]
struct Tables {
    /// By segment and group. Segment numbers are never used twice.
    by_span: HashMap<(u32, GroupId), Table, RandomState>,
    bytes: usize,
    uses: u64,
}

struct Table {
    numbers: Arc<HashTable<u32>>,
    used: u64,
}

impl SubjectNumbers {
    /// The number of a subject in a span's section.
    fn find(&self, span: &SealedSpan, section: &Section, subject: &[u8]) -> Option<u32> {
        if section.subject_count() <= FEW_SUBJECTS {
            return find_among(section, subject);
        }
        let key = (span.segment.number, span.numbers.group);
        let known = self.tables.lock().get(key);
        let numbers = known.unwrap_or_else(|| {
            let made = Arc::new(self.number_all(section));
            self.tables.lock().insert(key, made.clone());
            made
        });
        numbers.find(self.hasher.hash_one(subject), |number| text(section, *number) == subject).copied()
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

    fn insert(&mut self, key: (u32, GroupId), numbers: Arc<HashTable<u32>>) {
        self.bytes += bytes_of(&numbers);
        if let Some(before) = self.by_span.insert(key, Table { numbers, used: self.uses }) {
            self.bytes -= bytes_of(&before.numbers);
        }
        if self.bytes > TABLE_BYTES_MAX {
            self.drop_older_half();
        }
    }

    fn drop_older_half(&mut self) {
        let mut uses: Vec<u64> = self.by_span.values().map(|table| table.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.by_span.retain(|_, table| table.used > median);
        self.bytes = self.by_span.values().map(|table| bytes_of(&table.numbers)).sum();
    }
}

fn bytes_of(numbers: &HashTable<u32>) -> usize {
    numbers.allocation_size() + size_of::<Table>()
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
        until_settled(|| self.try_next_of_subject(group, from, subject))
    }

    /// The highest sequence at or below `to` of a message on exactly this subject, with the same reservations as
    /// [`next_of_subject`](Self::next_of_subject).
    ///
    /// # Errors
    /// When tables that may name it can not be read, nor made anew.
    pub fn previous_of_subject(&self, group: GroupId, to: u64, subject: &[u8]) -> Result<Option<u64>, ReadError> {
        until_settled(|| self.try_previous_of_subject(group, to, subject))
    }

    /// [`Unread::Moved`] when a segment went meanwhile.
    fn try_previous_of_subject(&self, group: GroupId, to: u64, subject: &[u8]) -> Result<Option<u64>, Unread> {
        let (mut best, mut spans) = {
            let directory = self.shared.directory.read();
            let Some(group) = directory.group(group) else { return Ok(None) };
            let best = group.live.iter().filter_map(|span| previous_in_live(span, to, subject)).max();
            let reaches = |span: &&Arc<SealedSpan>| span.numbers.first_sequence <= to;
            (best, group.sealed.iter().filter(reaches).cloned().collect::<Vec<_>>())
        };
        spans.sort_unstable_by_key(|span| std::cmp::Reverse(span.numbers.last_sequence));
        for span in spans {
            if best.is_some_and(|best| best >= span.numbers.last_sequence) {
                break;
            }
            let found = self.previous_in_sealed(&span, to, subject)?;
            best = best.into_iter().chain(found).max();
        }
        Ok(best)
    }

    fn previous_in_sealed(&self, span: &Arc<SealedSpan>, to: u64, subject: &[u8]) -> Result<Option<u64>, Unread> {
        let mut to = to;
        while let Some(found) =
            self.shared.by_section(span, subject, |section, id| previous_in_section(section, id, to))?
        {
            if !self.is_doubtful(span, found, subject) {
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
    fn try_next_of_subject(&self, group: GroupId, from: u64, subject: &[u8]) -> Result<Option<u64>, Unread> {
        let (mut best, arrangement, mut spans, mut passed) = {
            let directory = self.shared.directory.read();
            let Some(group) = directory.group(group) else { return Ok(None) };
            let best = group.live.iter().filter_map(|span| next_in_live(span, from, subject)).min();
            let mut passed = 0;
            let spans = group.sealed_reaching(from, &mut passed, SPANS_AT_ONCE);
            (best, group.arrangement, spans, passed)
        };
        while !spans.is_empty() {
            for span in spans {
                if best.is_some_and(|best| best <= span.numbers.first_sequence) {
                    return Ok(best);
                }
                let found = self.next_in_sealed(&span, from, subject)?;
                best = best.into_iter().chain(found).min();
            }
            let directory = self.shared.directory.read();
            let group = directory.group(group).filter(|group| group.arrangement == arrangement);
            spans = group.ok_or(Unread::Moved)?.sealed_reaching(from, &mut passed, SPANS_AT_ONCE);
        }
        Ok(best)
    }

    fn next_in_sealed(&self, span: &Arc<SealedSpan>, from: u64, subject: &[u8]) -> Result<Option<u64>, Unread> {
        let mut from = from;
        while let Some(found) =
            self.shared.by_section(span, subject, |section, id| next_in_section(section, id, from))?
        {
            if !self.is_doubtful(span, found, subject) {
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
        subject: &[u8],
        find: impl Fn(&Section, u32) -> Option<u64>,
    ) -> Result<Option<u64>, Unread> {
        let section = self.section(span)?;
        let number = self.subject_numbers.find(span, section, subject);
        let found = number.and_then(|number| find(section, number));
        if self.lacks_pages(&span.segment) {
            // Zeros are no subjects.
            let section = self.section_anew(span)?;
            return Ok(find_among(section, subject).and_then(|number| find(section, number)));
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
mod tests {
    use super::*;

    #[test]
    fn tables_are_dropped_before_they_take_too_much() {
        let mut tables = Tables::default();
        let table = Arc::new(HashTable::with_capacity(1 << 20));
        let fit = TABLE_BYTES_MAX / bytes_of(&table);
        for segment in 0..fit as u32 {
            tables.get((0, GroupId(1)));
            tables.insert((segment, GroupId(1)), table.clone());
        }
        assert_eq!(tables.by_span.len(), fit);
        assert!(tables.get((0, GroupId(1))).is_some(), "used again");
        tables.insert((1000, GroupId(1)), table);
        assert!(tables.by_span.contains_key(&(1000, GroupId(1))) || tables.by_span.contains_key(&(0, GroupId(1))));
        assert!(tables.bytes < TABLE_BYTES_MAX && tables.by_span.len() <= fit / 2 + 1, "{}", tables.by_span.len());
        assert!(!tables.by_span.contains_key(&(1, GroupId(1))));
    }
}
