//! HOT PATH: no allocation per message, no log above trace.
//!
//! Where a cursor reads next: a window of one segment, live or sealed, that ends where another one has to be asked.

use std::sync::Arc;

use super::Journal;
use super::shared::Shared;
use crate::directory::live::LiveSpan;
use crate::directory::sealed::{SealedSpan, next_message};
use crate::directory::table::number_at;
use crate::format::footer::Section;
use crate::format::record::GroupId;
use crate::segment::Segment;

/// Chooses messages by subject.
pub type SubjectFilter<'f> = &'f dyn Fn(&[u8]) -> bool;

#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) offset: u32,
}

/// What the filter said about the subjects of one segment.
#[derive(Default)]
pub(super) struct Verdicts {
    /// The segment, and whether its numbers are those of a footer.
    source: (u32, bool),
    by_id: Vec<Option<bool>>,
}

/// What can be read next, and up to where nobody else has to be asked.
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    pub(super) slots: Vec<Slot>,
    /// Where the next window starts.
    pub(super) next: u64,
    pub(super) index_limit: u64,
}

impl Source {
    /// Ends the window where offsets fall, or where they leave a span of the segment.
    pub(super) fn limit_span(&mut self, span_bytes_max: u32) {
        let Some(first) = self.slots.first().map(|slot| slot.offset) else { return };
        let limit = first.saturating_add(span_bytes_max);
        let rises = |at: usize| self.slots[at].offset >= self.slots[at - 1].offset;
        if let Some(end) = (1..self.slots.len()).find(|at| !rises(*at) || self.slots[*at].offset > limit) {
            self.next = self.slots[end].sequence;
            self.slots.truncate(end);
        }
    }
}

/// What a window is to hold.
struct Wanted<'w> {
    /// The first sequence, which is there.
    from: u64,
    /// From here on another segment has to be asked.
    limit: u64,
    /// As many messages, at most.
    count_max: usize,
    filter: Option<SubjectFilter<'w>>,
    verdicts: &'w mut Verdicts,
}

impl Wanted<'_> {
    /// Whether messages on a subject are wanted. Subjects are numbered anew in each source.
    fn passes<'t>(&mut self, source: (u32, bool), id: u32, text: impl FnOnce() -> &'t [u8]) -> bool {
        self.filter.is_none_or(|filter| self.verdicts.passes(source, id, filter, text))
    }
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

impl Journal {
    /// The subject of a message as the tables have it, which lie apart from it: of one that can not be read. `None` when
    /// they do not know.
    pub fn subject_of(&self, group: GroupId, sequence: u64) -> Option<Vec<u8>> {
        let covering: Vec<Arc<SealedSpan>> = {
            let directory = self.shared.directory.read();
            let group = directory.group(group)?;
            let live = group.live.iter().rev().find_map(|span| {
                let (found, _, subject) = *span.window(sequence, 1).first()?;
                (found == sequence).then(|| span.subjects.subject(subject).to_vec())
            });
            if let Some(subject) = live.filter(|subject| !subject.is_empty()) {
                return Some(subject);
            }
            group.sealed_covering(sequence).into_iter().cloned().collect()
        };
        let known = covering.iter().find_map(|span| {
            let section = self.shared.section(span).ok()?;
            let (_, position) = next_message(section, sequence).filter(|(found, _)| *found == sequence)?;
            Some(section.subject(section.subject_id(position)?)?.1.to_vec())
        });
        known.filter(|subject| !subject.is_empty())
    }
}

impl Shared {
    /// The next window of up to `count_max` messages from `from` on. `None` when there are none.
    pub(super) fn source(
        &self,
        group: GroupId,
        from: u64,
        count_max: usize,
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
                match self.live_source(group, Wanted { from: best, limit, count_max, filter, verdicts }) {
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
            match self.sealed_source(span, Wanted { from: best, limit, count_max, filter, verdicts }) {
                Some(source) => return Some(source),
                // The footer cannot be read: pass over what it alone knows.
                None if limit == u64::MAX => return None,
                None => from = limit,
            }
        }
    }

    fn live_source(&self, group: GroupId, mut wanted: Wanted<'_>) -> Option<Source> {
        let from = wanted.from;
        let directory = self.directory.read();
        let spans = &directory.group(group)?.live;
        let holds = |span: &&LiveSpan| span.next_sequence(from) == Some(from);
        let at = spans.iter().rposition(|span| holds(&span))?;
        let span = &spans[at];
        let others = spans.iter().enumerate().filter(|(other, _)| *other != at);
        let limit = wanted.limit.min(limit_of(others.filter_map(|(_, other)| other.next_sequence(from)), from));
        let number = (span.segment.number, false);
        let window = span.window(from, wanted.count_max);
        let next = window.last().map_or(limit, |(sequence, ..)| sequence + 1).min(limit);
        let keep = |slot: &(u64, u32, u32)| {
            let text = || span.subjects.subject(slot.2);
            slot.0 < limit && wanted.passes(number, slot.2, text)
        };
        let slots = window.into_iter().filter(keep).map(|(sequence, offset, _)| Slot { sequence, offset }).collect();
        Some(Source { segment: span.segment.clone(), slots, next, index_limit: u64::MAX })
    }

    fn sealed_source(&self, span: &Arc<SealedSpan>, mut wanted: Wanted<'_>) -> Option<Source> {
        let source = source_in(self.section(span).ok()?, span, &mut wanted);
        if self.lacks_pages(&span.segment) {
            // Subjects of zeros pass no filter, or the wrong ones.
            *wanted.verdicts = Verdicts::default();
            return source_in(self.section_anew(span).ok()?, span, &mut wanted);
        }
        source
    }
}

fn source_in(section: &Section, span: &Arc<SealedSpan>, wanted: &mut Wanted<'_>) -> Option<Source> {
    let Wanted { from, limit, count_max, filter, .. } = *wanted;
    let number = (span.segment.number, true);
    let (_, first) = next_message(section, from)?;
    let mut slots = Vec::with_capacity(count_max.min(section.message_count() - first));
    let mut next = limit.min(span.numbers.last_sequence.saturating_add(1));
    let any = filter.is_none_or(|filter| {
        let subjects = 0..section.subject_count() as u32;
        subjects.fold(false, |any, id| {
            let text = || section.subject(id).map_or(&[][..], |(_, text)| text);
            wanted.verdicts.passes(number, id, filter, text) || any
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
        if slots.len() == count_max {
            next = sequence;
            break;
        }
        let passes = filter.is_none() || {
            let id = section.subject_id(position).unwrap_or(0);
            wanted.verdicts.by_id.get(id as usize).copied().flatten().unwrap_or(false)
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

/// The lowest other sequence above `best`; one equal to it is an older copy of the same message, or a repair.
fn limit_of(others: impl Iterator<Item = u64>, best: u64) -> u64 {
    others.map(|other| if other == best { best + 1 } else { other }).min().unwrap_or(u64::MAX)
}
