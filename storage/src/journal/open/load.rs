//! Reads footers, scans what has none, and fills the directory in journal order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::patience::{Whole, is_refusal};
use super::Opening;
use super::discover::Candidate;
use crate::directory::Directory;
use crate::directory::sealed::SealedSpan;
use crate::error::OpenError;
use crate::format::checksum_seed;
use crate::format::footer::{FooterControl, FooterDirectory};
use crate::format::record::RecordKind;
use crate::format::segment::{DATA_OFFSET, SealSlot};
use crate::io::IoFile;
use crate::report::{Damage, DamageKind, Progress};
use crate::scan::{Found, ScanInput, ScanOutcome, first_batch, scan};
use crate::segment::Segment;

impl Opening {
    /// Reads footers, scans what has none, and fills the directory in journal order.
    pub(crate) fn load(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), OpenError> {
        let candidates = std::mem::take(&mut self.candidates);
        let known = self.report.damages.len();
        self.load_all(&candidates, &BTreeSet::new(), progress)?;
        let retired = self.retired()?;
        let back: BTreeSet<u32> = candidates.keys().copied().filter(|number| retired.contains(number)).collect();
        if back.is_empty() {
            return Ok(());
        }
        // That they are dead is on record, only the rename was lost. What they hold must not count: a group may have
        // been removed and its removal forgotten since.
        self.report.damages.truncate(known);
        self.report.segments = 0;
        self.report.segments_scanned = 0;
        self.report.records_scanned = 0;
        self.directory = Directory::default();
        self.scanned.clear();
        self.list = None;
        self.retired_notes.clear();
        self.followers.clear();
        self.segments.clear();
        self.load_all(&candidates, &back, progress)?;
        self.retired_before = retired;
        for number in back {
            self.segments.insert(number, Arc::new(candidates[&number].segment()));
            self.make_spare(number)?;
        }
        Ok(())
    }

    fn load_all(
        &mut self,
        candidates: &BTreeMap<u32, Candidate>,
        without: &BTreeSet<u32>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), OpenError> {
        let ends = self.known_ends(candidates)?;
        let total = candidates.len() as u64;
        let wanted = candidates.iter().filter(|(number, _)| !without.contains(number));
        for (done, (number, candidate)) in wanted.enumerate() {
            let number = *number;
            progress(Progress { phase: "open", done: done as u64, total });
            let segment = Arc::new(candidate.segment());
            let file = candidate.open(&*self.io).map_err(OpenError::file("opening", &segment.path))?;
            segment.set_file(file.clone());
            if segment.is_cut() {
                // It may go on shrinking.
                segment.set_unmappable();
            }
            let footer = candidate.seal.and_then(|slot| self.footer(&segment, &*file, candidate.length, slot));
            match (footer, candidate.seal) {
                (Some(footer), Some(slot)) => self.load_footer(&segment, slot, footer),
                (_, None) if self.is_beyond_close(&segment, &*file)? => {
                    self.scanned.insert(number, ScanOutcome::default());
                }
                (_, slot) => {
                    let end = slot.map(|slot| slot.data_end).or_else(|| ends.get(&number).copied());
                    self.load_scan(&segment, &*file, candidate.length, end)?;
                }
            }
            self.segments.insert(number, segment);
        }
        Ok(())
    }

    /// True for a segment that was prepared before a clean close and never used.
    fn is_beyond_close(&mut self, segment: &Segment, file: &dyn IoFile) -> Result<bool, OpenError> {
        let closed = self.scanned.values().next_back().is_some_and(|outcome| outcome.closed && !outcome.torn);
        let newest = self.segments.values().rev().find(|segment| !segment.header.is_compacted());
        let is_newest = newest.is_some_and(|newest| self.scanned.contains_key(&newest.number));
        if !closed || !is_newest {
            return Ok(false);
        }
        let head = self.first_bytes(segment.number, &segment.path, file)?;
        Ok(head.is_some_and(|head| first_batch(&head, segment.number, segment.seed).is_none()))
    }

    /// Where a segment's first batch begins, when the file reaches that far.
    fn first_bytes(&mut self, number: u32, path: &Path, file: &dyn IoFile) -> Result<Option<[u8; 64]>, OpenError> {
        let mut head = [0; 64];
        match self.patience.read_at(file, &mut head, u64::from(DATA_OFFSET)) {
            Ok(()) => Ok(Some(head)),
            Err(error) if is_refusal(&error) => self.refused(number, path, DATA_OFFSET, error).map(|()| None),
            Err(_) => Ok(None),
        }
    }

    fn footer(&mut self, segment: &Segment, file: &dyn IoFile, length: u32, slot: SealSlot) -> Option<FooterDirectory> {
        let end = slot.footer_offset.checked_add(slot.directory_length);
        let mut directory = None;
        if end.is_some_and(|end| end <= length) {
            let mut bytes = vec![0; slot.directory_length as usize];
            if self.patience.read_at(file, &mut bytes, u64::from(slot.footer_offset)).is_ok()
                && crate::format::checksum(segment.seed, &bytes) == slot.directory_checksum
            {
                directory = FooterDirectory::decode(&bytes).filter(|directory| directory.segment == segment.number);
            }
        }
        if directory.is_none() {
            self.report.damages.push(Damage::at(segment.number, slot.footer_offset, DamageKind::Footer));
        }
        directory
    }

    fn load_footer(&mut self, segment: &Arc<Segment>, slot: SealSlot, footer: FooterDirectory) {
        segment.data_end.store(slot.data_end, Ordering::Release);
        segment.record_count.store(slot.record_count, Ordering::Release);
        segment.last_batch.store(slot.last_batch, Ordering::Release);
        let end = slot.footer_offset.saturating_add(slot.footer_length);
        if end > segment.length.load(Ordering::Acquire) && !segment.is_cut() {
            self.report.damages.push(Damage::at(segment.number, slot.footer_offset, DamageKind::Truncated));
        }
        if slot.followed_by > 0 && !segment.header.is_compacted() {
            self.followers.push((segment.number, slot.followed_by));
        }
        segment.set_sealed();
        segment.close_file();
        self.report.segments += 1;
        let residents = footer.groups.iter().map(|numbers| numbers.group).collect();
        self.directory.note_sealed(segment.number, residents, footer.controls.clone());
        for numbers in footer.groups {
            // Compaction may give a later number to what was stored before the group was removed.
            if self.directory.is_removed(numbers.group) {
                continue;
            }
            let span = SealedSpan::new(segment.clone(), numbers, slot.footer_offset);
            let group = self.directory.group_or_new(numbers.group);
            if span.has_entries() {
                if numbers.first_index <= group.last_index {
                    group.truncate(numbers.first_index);
                }
                (group.last_index, group.last_term) = (numbers.last_index, numbers.last_term);
            }
            group.last_sequence = group.last_sequence.max(numbers.last_sequence);
            if !segment.header.is_compacted() {
                group.bytes_since_checkpoint += numbers.record_bytes;
            }
            if span.has_entries() || span.has_messages() {
                group.add_sealed(Arc::new(span));
            }
        }
        for control in footer.controls {
            self.note_control(segment.number, control);
        }
    }

    fn load_scan(
        &mut self,
        segment: &Arc<Segment>,
        file: &dyn IoFile,
        length: u32,
        known_end: Option<u32>,
    ) -> Result<(), OpenError> {
        let Whole { bytes, unreadable, refusal } = self.patience.read_whole(file, length);
        if !unreadable.is_empty() {
            segment.set_unmappable();
        }
        for offset in &unreadable {
            self.report.damages.push(Damage::at(segment.number, *offset, DamageKind::Unreadable));
        }
        let input = ScanInput { known_end, ..segment.scan_input(&bytes) };
        let mut summary = self.directory.begin_batch();
        let directory = &mut self.directory;
        let outcome = scan(input, &mut |offset, found| match found {
            Found::Record(record) => directory.push_scanned(segment, &record, offset, &mut summary),
            Found::Damaged(header) => directory.push_damaged(segment, &header, offset),
        });
        for control in summary.controls {
            self.note_control(segment.number, control);
        }
        for (offset, what) in &outcome.bad {
            self.report.damages.push(Damage::of(segment.number, *offset, what));
        }
        segment.data_end.store(outcome.end, Ordering::Release);
        segment.record_count.store(outcome.record_count, Ordering::Release);
        segment.last_batch.store(outcome.last_batch, Ordering::Release);
        self.report.segments_scanned += usize::from(outcome.last_batch > 0 || !outcome.bad.is_empty());
        self.report.records_scanned += u64::from(outcome.record_count);
        if let Some(error) = refusal {
            segment.set_refused();
            if let Some(offset) = matters(&outcome, known_end, segment.header.block_bytes, &unreadable) {
                self.refused(segment.number, &segment.path, offset, error)?;
            }
        }
        self.scanned.insert(segment.number, outcome);
        Ok(())
    }

    /// Where the data of each unsealed segment ends, as the first batch of the next one says.
    fn known_ends(&mut self, candidates: &BTreeMap<u32, Candidate>) -> Result<BTreeMap<u32, u32>, OpenError> {
        let mut ends = BTreeMap::new();
        let logs: Vec<(&u32, &Candidate)> =
            candidates.iter().filter(|(_, candidate)| !candidate.header.is_compacted()).collect();
        for (at, (number, candidate)) in logs.iter().enumerate() {
            if candidate.seal.is_some() {
                continue;
            }
            for (next_number, next) in &logs[at + 1..] {
                let file = next.open(&*self.io).map_err(OpenError::file("opening", next.path()))?;
                let Some(head) = self.first_bytes(**next_number, next.path(), &*file)? else { continue };
                let seed = checksum_seed(next.header.journal, **next_number);
                let first = first_batch(&head, **next_number, seed);
                if let Some(first) = first.filter(|first| first.previous_segment == **number) {
                    ends.insert(**number, first.previous_end);
                    break;
                }
            }
        }
        Ok(ends)
    }

    fn note_control(&mut self, segment: u32, control: FooterControl) {
        self.next_control = self.next_control.max(control.number.saturating_add(1));
        match control.kind {
            RecordKind::Segments => {
                if self.list.is_none_or(|(number, ..)| number < control.number) {
                    self.list = Some((control.number, segment, control));
                }
            }
            RecordKind::Retired => self.retired_notes.push((segment, control)),
            _ => self.directory.commit(segment, control, true),
        }
    }
}

/// The first unreadable stretch that records may lie in. What lies behind the end of the data is nobody's loss, as long as
/// that end was seen: the block after it was read, and holds no batch.
fn matters(outcome: &ScanOutcome, known_end: Option<u32>, block_bytes: u32, unreadable: &[u32]) -> Option<u32> {
    let end = known_end.unwrap_or_else(|| outcome.end.next_multiple_of(block_bytes).saturating_add(1));
    let first = unreadable.first().copied()?;
    let is_torn = known_end.is_none() && outcome.torn;
    // A batch may be torn for want of what was not read.
    (is_torn || first < end).then_some(first)
}
