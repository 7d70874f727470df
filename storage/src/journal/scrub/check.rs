//! Checks one segment, piece by piece: headers and seal slot, the footer's directory, each of its sections, each batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::shared::Shared;
use super::repair::repair_footer;
use crate::format::batch::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::checksum;
use crate::format::footer::FooterDirectory;
use crate::format::record::{record_position, verify};
use crate::format::segment::{DATA_OFFSET, HEADER_COPY_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader};
use crate::report::{Damage, DamageKind};
use crate::scan::scan;
use crate::segment::Segment;
use crate::stats::add;

pub(super) struct Check {
    segment: Arc<Segment>,
    next: Piece,
    is_sound: bool,
    footer: FooterFindings,
    /// Bytes read by this step.
    bytes: usize,
}

/// What is to be checked next.
#[derive(Clone, Copy)]
enum Piece {
    Pages,
    Section(usize),
    Batch(u32),
}

/// What is known about the footer. All of it is good at first.
#[derive(Default)]
pub(super) struct FooterFindings {
    /// The seal slot, if it is good.
    pub(super) slot: Option<SealSlot>,
    /// The directory, if it is good.
    pub(super) directory: Option<FooterDirectory>,
    /// Any part of it is bad.
    pub(super) is_damaged: bool,
}

impl Check {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self { segment, next: Piece::Pages, is_sound: true, footer: FooterFindings::default(), bytes: 0 }
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// True when nothing bad was found.
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// Checks the next piece and tells how many bytes were read for it. `None` when there is no other.
    pub(super) fn step(&mut self, shared: &Shared) -> Option<usize> {
        if self.segment.is_retired() {
            return None;
        }
        self.bytes = 0;
        self.next = match self.next {
            Piece::Pages => {
                self.check_pages(shared);
                Piece::Section(0)
            }
            Piece::Section(number) => self.check_section(shared, number),
            Piece::Batch(offset) if offset < self.segment.data_end() => Piece::Batch(self.check_batch(shared, offset)),
            Piece::Batch(_) => return None,
        };
        add(&shared.counters.scrubbed_bytes, self.bytes);
        Some(self.bytes)
    }

    /// Headers, seal slot and the footer's directory.
    fn check_pages(&mut self, shared: &Shared) {
        let Some(pages) = self.read(shared, 0, DATA_OFFSET as usize) else { return };
        let segment = self.segment.clone();
        let first = SegmentHeader::decode(&pages);
        let second = SegmentHeader::decode(&pages[HEADER_COPY_OFFSET as usize..]);
        if first != Some(segment.header) || second != Some(segment.header) {
            self.note(shared, Damage::at(segment.number, 0, DamageKind::Header));
        }
        let Some(slot) = SealSlot::decode(&pages[SEAL_OFFSET as usize..], segment.seed).flatten() else {
            self.footer.is_damaged = true;
            return self.note(shared, Damage::at(segment.number, SEAL_OFFSET, DamageKind::SealSlot));
        };
        self.footer.slot = Some(slot);
        let bytes = self.read(shared, slot.footer_offset, slot.directory_length as usize);
        let good = bytes.filter(|bytes| checksum(segment.seed, bytes) == slot.directory_checksum);
        self.footer.directory = good.and_then(|bytes| FooterDirectory::decode(&bytes));
        if self.footer.directory.is_none() {
            self.footer.is_damaged = true;
            self.note(shared, Damage::at(segment.number, slot.footer_offset, DamageKind::Footer));
        }
    }

    /// One section of the footer; after the last one the footer is repaired, if need be.
    fn check_section(&mut self, shared: &Shared, number: usize) -> Piece {
        let known = self.footer.slot.zip(self.footer.directory.as_ref());
        let section = known.and_then(|(slot, directory)| Some((slot.footer_offset, *directory.groups.get(number)?)));
        let Some((footer_offset, numbers)) = section else {
            if self.footer.is_damaged {
                repair_footer(shared, &self.segment, &self.footer);
            }
            return Piece::Batch(DATA_OFFSET);
        };
        let start = footer_offset.saturating_add(numbers.section_offset);
        let bytes = self.read(shared, start, numbers.section_length as usize);
        if bytes.is_none_or(|bytes| checksum(self.segment.seed, &bytes) != numbers.section_checksum) {
            self.footer.is_damaged = true;
            let damage = Damage::at(self.segment.number, start, DamageKind::Footer);
            self.note(shared, Damage { group: Some(numbers.group), ..damage });
        }
        Piece::Section(number + 1)
    }

    /// The batch at an offset. Returns where the next one starts.
    fn check_batch(&mut self, shared: &Shared, offset: u32) -> u32 {
        let end = self.segment.data_end();
        let (number, seed) = (self.segment.number, self.segment.seed);
        let Some(head) = self.read(shared, offset, BATCH_HEADER_BYTES) else { return end };
        let Some(header) = BatchHeader::decode(&head, number, seed) else {
            self.check_whole(shared);
            return end;
        };
        // A torn tail was cut inside its last batch.
        let length = header.length.min(end.saturating_sub(offset)) as usize;
        let Some(bytes) = self.read(shared, offset, length) else { return end };
        let mut at = record_position(BATCH_HEADER_BYTES);
        while at < bytes.len() {
            match verify(&bytes[at..], seed) {
                Ok(record) => at = record_position(at + record.bytes().len()),
                Err(_) => {
                    self.check_whole(shared);
                    return end;
                }
            }
        }
        (offset + length as u32).next_multiple_of(self.segment.header.block_bytes)
    }

    /// Something is bad: reads the segment as a start would, to say exactly what.
    fn check_whole(&mut self, shared: &Shared) {
        self.is_sound = false;
        let length = self.segment.length.load(Ordering::Acquire) as usize;
        let Some(bytes) = self.read(shared, 0, length) else { return };
        let outcome = scan(self.segment.scan_input(&bytes), &mut |_, _| {});
        for (offset, what) in outcome.bad {
            self.note(shared, Damage::of(self.segment.number, offset, &what));
        }
    }

    /// Bytes of the file, around the page cache where that is possible. `None` when the segment is gone or unreadable.
    fn read(&mut self, shared: &Shared, offset: u32, length: usize) -> Option<Bytes> {
        self.bytes += length;
        let kind = match shared.read_range(&self.segment, offset, length) {
            Ok(bytes) if bytes.len() == length => return Some(bytes),
            Ok(_) => DamageKind::Truncated,
            Err(_) => DamageKind::Unreadable,
        };
        if !self.segment.is_retired() {
            self.segment.set_unmappable();
            // What is left of it is evidence.
            self.segment.set_unmovable();
            self.note(shared, Damage::at(self.segment.number, offset, kind));
        }
        None
    }

    fn note(&mut self, shared: &Shared, damage: Damage) {
        self.is_sound = false;
        if !self.segment.is_retired() {
            shared.note_damage(damage);
        }
    }
}
