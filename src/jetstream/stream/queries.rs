//! Questions about the applied state. Filters are literal subjects or hold wildcards; no filter at all means every
//! message. What the index can not answer is read from the source.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use headwater_storage::SubjectState;

use super::super::api::responses::SUBJECTS_LIMIT;
use super::super::api::stream_config::StorageType;
use super::super::api::stream_info::LostMessages;
use super::super::api::{StreamState, Timestamp};
use super::machine::StreamMachine;
use super::remove::stored_from;
use super::source::MessageSource;
use crate::protocol::subject;

/// So many messages are read in a row before the index is asked where the next match may be.
const READ_AHEAD: usize = 32;

/// A part of the subjects that match a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectsPage {
    /// How many match altogether.
    pub total: u64,
    /// Messages per subject.
    pub subjects: BTreeMap<String, u64>,
}

impl StreamMachine {
    /// The oldest message; one past the last sequence when there is none.
    pub fn first_sequence(&self) -> u64 {
        self.content.first
    }

    /// The highest sequence applied.
    pub fn last_sequence(&self) -> u64 {
        self.content.last
    }

    pub fn messages(&self) -> u64 {
        self.content.messages
    }

    pub fn bytes(&self) -> u64 {
        self.content.bytes
    }

    /// Message ids that were forgotten within the duplicate window, because more came than are held, since the start.
    pub fn ids_forgotten(&self) -> u64 {
        self.dedupe.forgotten_early()
    }

    pub fn is_stored(&self, sequence: u64) -> bool {
        self.content.is_stored(sequence)
    }

    /// The gaps between the first and the last sequence, for the account of space in storage after a start.
    pub fn deleted(&self) -> &headwater_storage::SequenceSet {
        &self.content.deleted
    }

    /// The counters as `STREAM.INFO` shows them; `deleted_details` lists the gaps.
    pub fn state<S: MessageSource>(&self, source: &S, deleted_details: bool, consumer_count: u64) -> StreamState {
        let content = &self.content;
        let time_of = |sequence| source.inspect(sequence, |message| Timestamp(message.time)).ok();
        let is_fresh = content.last == 0 && content.messages == 0 && self.config.first_seq != 1;
        let lost = !self.lost.is_empty();
        StreamState {
            messages: content.messages,
            bytes: content.bytes,
            first_seq: if is_fresh { 0 } else { content.first },
            first_ts: if content.messages == 0 { None } else { time_of(content.first) }.unwrap_or_default(),
            last_seq: content.last,
            last_ts: if content.last_time == 0 { Timestamp::ZERO } else { Timestamp(content.last_time) },
            num_subjects: self.subjects.len(),
            subjects: BTreeMap::new(),
            num_deleted: content.deleted.len(),
            deleted: if deleted_details { content.deleted.iter().collect() } else { Vec::new() },
            lost: lost.then(|| LostMessages { msgs: self.lost.iter().collect(), bytes: 0 }),
            consumer_count,
        }
    }

    /// The subjects that match a filter, from the `offset`-th in their order, at most as many as a page holds.
    ///
    /// A last token such as `ab*` is a literal everywhere else; here a file stream of the genuine server takes it for
    /// every token that begins with `ab` and is longer (appendix D 14), and so do we.
    pub fn subjects_page(&self, filter: &[u8], offset: u64) -> SubjectsPage {
        if let Some((parent, prefix)) = token_prefix(filter).filter(|_| self.rules.storage == StorageType::File) {
            return self.subjects_page_by_prefix(parent, prefix, offset);
        }
        let mut page = SubjectsPage { total: self.subjects.count_matching(filter).0, ..SubjectsPage::default() };
        self.subjects.for_each_match_of(&[filter], offset, |subject, state| page.take(subject, state));
        page
    }

    fn subjects_page_by_prefix(&self, parent: &[u8], prefix: &[u8], offset: u64) -> SubjectsPage {
        let mut filter = parent.to_vec();
        filter.push(b'*');
        let mut page = SubjectsPage::default();
        self.subjects.for_each_match(&filter, |subject, state| {
            let token = &subject[parent.len()..];
            if token.len() > prefix.len() && token.starts_with(prefix) {
                page.total += 1;
                if page.total > offset && page.subjects.len() < SUBJECTS_LIMIT {
                    let _ = page.take(subject, state);
                }
            }
            ControlFlow::Continue(())
        });
        page
    }

    /// The last message of exactly this subject.
    pub fn last_of_subject<S: MessageSource>(&self, subject: &[u8], source: &S) -> Option<u64> {
        let state = self.subjects.get(subject)?;
        if state.last_exact {
            return Some(state.last);
        }
        self.last_down_from(state.last, subject, source)
    }

    /// The highest stored message of a subject at or below a sequence.
    fn last_down_from<S: MessageSource>(&self, to: u64, subject: &[u8], source: &S) -> Option<u64> {
        let mut to = self.content.previous_stored(to)?;
        loop {
            let Ok(found) = source.previous_of_subject(subject, to) else {
                // The tables that would know it can not be read.
                return self.downwards(to).find(|sequence| read_matches(*sequence, source, |found| found == subject));
            };
            let found = found?;
            if self.content.is_stored(found) && !self.lost.contains(found) {
                return Some(found);
            }
            to = self.content.previous_stored(found.checked_sub(1)?)?;
        }
    }

    /// The last message that one of the filters matches.
    pub fn last_matching<S: MessageSource, F: AsRef<[u8]>>(&self, filters: &[F], source: &S) -> Option<u64> {
        if is_everything(filters) {
            return self.content.previous_stored(self.content.last);
        }
        if let Some(literal) = only_literal(filters) {
            return self.last_of_subject(literal, source);
        }
        let bound = self.subjects.last_matching(filters)?;
        if bound.exact {
            return Some(bound.sequence);
        }
        // Subjects whose last message is not known have it below a bound: those with the highest are looked at first.
        let (mut best, mut unsure) = (None, Vec::new());
        self.subjects.for_each_match_of(filters, 0, |subject, state| {
            match state.last_exact {
                true => best = best.max(Some(state.last)),
                false => unsure.push((state.last, subject.to_vec())),
            }
            ControlFlow::Continue(())
        });
        unsure.sort_unstable_by(|one, other| other.cmp(one));
        for (bound, subject) in unsure {
            if best >= Some(bound) {
                break;
            }
            best = best.max(self.last_down_from(bound, &subject, source));
        }
        best
    }

    /// The lowest message at or above `from` that one of the filters matches.
    pub fn next_matching<S: MessageSource, F: AsRef<[u8]>>(&self, from: u64, filters: &[F], source: &S) -> Option<u64> {
        let mut next = self.content.next_stored(from)?;
        if is_everything(filters) {
            return Some(next);
        }
        let mut read_ahead = READ_AHEAD;
        loop {
            for _ in 0..read_ahead {
                if read_matches(next, source, |found| any(filters, found)) {
                    return Some(next);
                }
                next = self.content.next_stored(next + 1)?;
            }
            // Matches are rare here: the tables know the next one, or the index how far away it may be.
            if let Some(literal) = only_literal(filters) {
                return self.run_from(next, literal, source).next();
            }
            let bound = self.subjects.first_matching(filters, next)?;
            if bound.exact {
                return Some(bound.sequence);
            }
            next = self.content.next_stored(bound.sequence)?;
            read_ahead *= 2;
        }
    }

    /// The stored messages at or above `from` up to the next gap.
    pub fn next_run(&self, from: u64) -> Option<std::ops::RangeInclusive<u64>> {
        let first = self.content.next_stored(from)?;
        Some(first..=self.content.run_end(first))
    }

    /// How many messages at or above `from` the filters match; exact.
    pub fn count_matching<S: MessageSource, F: AsRef<[u8]>>(&self, from: u64, filters: &[F], source: &S) -> u64 {
        if is_everything(filters) {
            return self.content.count_from(from);
        }
        let (_, total) = self.subjects.count_matching_of(filters);
        if from <= self.content.first || total == 0 {
            return total;
        }
        // All that is stored is counted for some subject, and all of these match.
        if total == self.content.messages && total == self.subjects.total() {
            return self.content.count_from(from);
        }
        if let Some(count) = self.count_by_index(from, filters) {
            return count;
        }
        let below_is_less = self.content.count_from(from) > self.content.messages / 2;
        let is_below = |sequence: &u64| *sequence < from;
        if let Some(literal) = only_literal(filters) {
            return match below_is_less {
                true => total.saturating_sub(self.run_of(literal, source).take_while(is_below).count() as u64),
                false => self.run_from(from, literal, source).count() as u64,
            };
        }
        let matches = |sequence: &u64| read_matches(*sequence, source, |found| any(filters, found));
        let count = || match below_is_less {
            true => stored_from(&self.content, 0).take_while(is_below).filter(matches).count(),
            false => stored_from(&self.content, from).filter(matches).count(),
        };
        let count = source.in_order(count) as u64;
        if below_is_less { total.saturating_sub(count) } else { count }
    }

    /// The last message of each matching subject, ascending; of messages up to `up_to` only. `Err` when more than
    /// `subjects_max` subjects match.
    pub fn last_per_subject<S: MessageSource, F: AsRef<[u8]>>(
        &self,
        filters: &[F],
        up_to: u64,
        subjects_max: usize,
        source: &S,
    ) -> Result<Vec<u64>, TooManySubjects> {
        let everything: [&[u8]; 1] = [b">"];
        let filters: Vec<&[u8]> = match filters {
            [] => everything.to_vec(),
            some => some.iter().map(AsRef::as_ref).collect(),
        };
        let mut sequences = Vec::new();
        let mut to_look_up: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut too_many = false;
        self.subjects.for_each_match_of(&filters, 0, |subject, state| {
            if state.first > up_to {
                return ControlFlow::Continue(());
            }
            if sequences.len() + to_look_up.len() >= subjects_max {
                too_many = true;
                return ControlFlow::Break(());
            }
            match state.last_exact && state.last <= up_to {
                true => sequences.push(state.last),
                false => to_look_up.push((state.last.min(up_to), subject.to_vec())),
            }
            ControlFlow::Continue(())
        });
        if too_many {
            return Err(TooManySubjects);
        }
        for (bound, subject) in to_look_up {
            sequences.extend(self.last_down_from(bound, &subject, source));
        }
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// The first message stored at or after a time; one past the last sequence when there is none.
    pub fn sequence_at_time<S: MessageSource>(&self, time: i64, source: &S) -> u64 {
        // Times grow with sequences. Below `low` everything is older; from `high` on nothing needs to be looked at.
        let (mut low, mut high) = (self.content.first, self.content.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let candidates = stored_from(&self.content, middle).take_while(|sequence| *sequence < high);
            // A gap, or a message that can not be read, is stepped over upwards.
            let readable = candidates.map(|sequence| (sequence, source.inspect(sequence, |message| message.time)));
            match readable.filter_map(|(sequence, read)| Some((sequence, read.ok()?))).next() {
                Some((sequence, found)) if found < time => low = sequence + 1,
                _ => high = middle,
            }
        }
        self.content.next_stored(low).unwrap_or(self.content.last + 1)
    }

    /// Counts with what is known of each subject; `None` when some subject has messages on both sides.
    fn count_by_index<F: AsRef<[u8]>>(&self, from: u64, filters: &[F]) -> Option<u64> {
        let mut count = Some(0);
        self.subjects.for_each_match_of(filters, 0, |_, state| {
            let of_subject = if state.first >= from {
                Some(state.messages)
            } else if state.last < from {
                Some(0)
            } else if state.last_exact && state.first_exact && state.messages <= 2 {
                Some(1)
            } else {
                None
            };
            count = count.zip(of_subject).map(|(count, more)| count + more);
            if count.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        count
    }

    /// The stored sequences from `from` down.
    fn downwards(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        let content = &self.content;
        std::iter::successors(content.previous_stored(from), |sequence| content.previous_stored(sequence - 1))
    }
}

impl SubjectsPage {
    fn take(&mut self, subject: &[u8], state: &SubjectState) -> ControlFlow<()> {
        self.subjects.insert(String::from_utf8_lossy(subject).into_owned(), state.messages);
        if self.subjects.len() < SUBJECTS_LIMIT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The tokens before the last, with their dot, and what the last one begins with, when it is like `ab*`.
fn token_prefix(filter: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memchr::memrchr(b'.', filter).map_or(0, |dot| dot + 1);
    let prefix = filter[start..].strip_suffix(b"*").filter(|prefix| !prefix.is_empty())?;
    Some((&filter[..start], prefix))
}

/// More subjects match than the asker can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many subjects match")]
pub struct TooManySubjects;

fn read_matches<S: MessageSource>(sequence: u64, source: &S, matches: impl Fn(&[u8]) -> bool) -> bool {
    source.inspect(sequence, |message| matches(message.subject)) == Ok(true)
}

/// No filter, or one that leaves nothing out.
fn is_everything<F: AsRef<[u8]>>(filters: &[F]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| filter.as_ref() == b">")
}

/// The filter, when there is just one and it is a subject.
fn only_literal<F: AsRef<[u8]>>(filters: &[F]) -> Option<&[u8]> {
    let [filter] = filters else { return None };
    Some(filter.as_ref()).filter(|filter| subject::is_literal(filter))
}

fn any<F: AsRef<[u8]>>(filters: &[F], literal: &[u8]) -> bool {
    filters.iter().any(|filter| subject::matches(filter.as_ref(), literal))
}
