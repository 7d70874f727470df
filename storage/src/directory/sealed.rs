//! What one group has in a sealed segment: numbers in memory, tables in the footer.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::subject_filter::SubjectFilter;
use super::table::{find, find_from, number_at};
use crate::format::footer::{FooterGroup, Section};
use crate::segment::Segment;
use crate::sequence_set::SequenceSet;

pub(crate) struct SealedSpan {
    pub(crate) segment: Arc<Segment>,
    pub(crate) numbers: FooterGroup,
    /// Where the footer starts in the file.
    pub(crate) footer_offset: u32,
    /// Entries from this index on were replaced by later ones: `u64::MAX` when none were.
    index_limit: AtomicU64,
    section: OnceLock<Section>,
    /// The tables once more, after pages of the mapping that they lie in were lost.
    section_anew: OnceLock<Section>,
    /// Neither the tables nor any record that they could be made from can be read.
    is_lost: AtomicBool,
    /// Sequences that the upper layer released. Those of gaps may be among them.
    released: Mutex<SequenceSet>,
    /// Live messages when so many sequences were released: counting a table with gaps takes long.
    counted: Mutex<Option<(u64, u64)>>,
    subject_filter: OnceLock<SubjectFilter>,
    /// How often its subjects were looked through one by one.
    subject_scans: AtomicU32,
}

impl SealedSpan {
    pub(crate) fn new(segment: Arc<Segment>, numbers: FooterGroup, footer_offset: u32) -> Self {
        Self {
            segment,
            numbers,
            footer_offset,
            index_limit: AtomicU64::new(u64::MAX),
            section: OnceLock::new(),
            section_anew: OnceLock::new(),
            is_lost: AtomicBool::new(false),
            released: Mutex::new(SequenceSet::new()),
            counted: Mutex::new(None),
            subject_filter: OnceLock::new(),
            subject_scans: AtomicU32::new(0),
        }
    }

    pub(crate) fn with_section(self, section: Section) -> Self {
        // A fresh span has no section yet.
        let _ = self.section.set(section);
        self
    }

    /// The tables, once somebody has loaded them.
    pub(crate) fn section(&self) -> Option<&Section> {
        self.section.get()
    }

    pub(crate) fn set_section(&self, section: Section) -> &Section {
        self.section.get_or_init(|| section)
    }

    /// The tables that no mapping takes away.
    pub(crate) fn section_anew(&self) -> Option<&Section> {
        self.section_anew.get()
    }

    pub(crate) fn set_section_anew(&self, section: Section) -> &Section {
        self.section_anew.get_or_init(|| section)
    }

    /// What tells subjects that it does not have, once somebody has made it.
    pub(crate) fn subject_filter(&self) -> Option<&SubjectFilter> {
        self.subject_filter.get()
    }

    pub(crate) fn set_subject_filter(&self, filter: SubjectFilter) -> &SubjectFilter {
        self.subject_filter.get_or_init(|| filter)
    }

    /// Its subjects are about to be looked through: how often they were before.
    pub(crate) fn count_subject_scan(&self) -> u32 {
        self.subject_scans.fetch_add(1, Ordering::Relaxed)
    }

    /// True when it is known that there is nothing to make tables from.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    pub(crate) fn set_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    pub(crate) fn index_limit(&self) -> u64 {
        self.index_limit.load(Ordering::Acquire)
    }

    pub(crate) fn limit_index(&self, index: u64) {
        self.index_limit.fetch_min(index, Ordering::AcqRel);
    }

    pub(crate) fn has_messages(&self) -> bool {
        self.numbers.message_count > 0
    }

    pub(crate) fn has_entries(&self) -> bool {
        self.numbers.entry_count > 0 && !self.segment.header.is_compacted()
    }

    pub(crate) fn covers_sequence(&self, sequence: u64) -> bool {
        self.has_messages() && (self.numbers.first_sequence..=self.numbers.last_sequence).contains(&sequence)
    }

    /// True when it holds entries that later ones replaced.
    pub(crate) fn has_replaced(&self) -> bool {
        self.has_entries() && self.index_limit() <= self.numbers.last_index
    }

    /// The last index that still counts.
    pub(crate) fn last_index(&self) -> u64 {
        self.numbers.last_index.min(self.index_limit().saturating_sub(1))
    }

    /// True when the sequences have no gap.
    pub(crate) fn is_contiguous(&self) -> bool {
        let span = self.numbers.last_sequence - self.numbers.first_sequence + 1;
        self.has_messages() && u64::from(self.numbers.message_count) == span
    }

    /// Marks sequences as released; outside ones are ignored.
    pub(crate) fn release(&self, from: u64, to: u64) {
        if !self.has_messages() || to < self.numbers.first_sequence || from > self.numbers.last_sequence {
            return;
        }
        let (first, last) = (self.numbers.first_sequence, self.numbers.last_sequence);
        self.released.lock().insert_range(from.max(first)..=to.min(last));
    }

    pub(crate) fn is_released(&self, sequence: u64) -> bool {
        self.released.lock().contains(sequence)
    }

    pub(crate) fn released(&self) -> SequenceSet {
        self.released.lock().clone()
    }

    pub(crate) fn set_released(&self, released: SequenceSet) {
        *self.released.lock() = released;
    }

    /// Messages not released. Exact for contiguous spans and for those whose tables are loaded.
    pub(crate) fn live_messages(&self) -> u64 {
        let count = u64::from(self.numbers.message_count);
        if !self.has_messages() {
            return 0;
        }
        let released = self.released.lock();
        if self.is_contiguous() || released.is_empty() {
            return count - released.len().min(count);
        }
        let (first, last) = (self.numbers.first_sequence, self.numbers.last_sequence);
        if released.count_in(first..=last) == last - first + 1 {
            return 0;
        }
        let mut counted = self.counted.lock();
        if let Some((_, live)) = counted.filter(|(known, _)| *known == released.len()) {
            return live;
        }
        let Some(section) = self.section() else { return count };
        let is_live = |position: &usize| {
            number_at(&section.sequence_runs, *position).is_none_or(|sequence| !released.contains(sequence))
        };
        let live = (0..section.message_count()).filter(is_live).count() as u64;
        *counted = Some((released.len(), live));
        live
    }

    /// True when the tables must be loaded before `live_messages` is exact.
    pub(crate) fn needs_tables(&self) -> bool {
        self.section().is_none() && self.has_messages() && !self.is_contiguous() && !self.released.lock().is_empty()
    }
}

/// The offset of an entry.
pub(crate) fn entry_offset(section: &Section, index: u64) -> Option<u32> {
    section.entry(find(&section.index_runs, section.entry_count(), index)?)
}

/// The offset of a message.
pub(crate) fn message_offset(section: &Section, sequence: u64) -> Option<u32> {
    section.message(find(&section.sequence_runs, section.message_count(), sequence)?)
}

/// The lowest sequence at or above `sequence`, with its position.
pub(crate) fn next_message(section: &Section, sequence: u64) -> Option<(u64, usize)> {
    find_from(&section.sequence_runs, section.message_count(), sequence)
}
