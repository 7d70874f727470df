//! Writes the footer of a segment that takes no more data, and hands its readers over to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::patience::Whole;
use super::shared::Shared;
use crate::aligned::AlignedBuffer;
use crate::directory::group::GroupDirectory;
use crate::directory::live::LiveSpan;
use crate::directory::sealed::SealedSpan;
use crate::directory::table::OffsetTable;
use crate::format::checksum;
use crate::format::footer::{FooterControl, FooterDirectory, FooterGroup, Section, SectionSubject, SectionTables};
use crate::format::record::GroupId;
use crate::format::segment::{SEAL_OFFSET, SealSlot};
use crate::scan::{Found, scan};
use crate::segment::Segment;
use crate::sequence_set::SequenceSet;
use crate::stats::add;

/// The tables of one group in one segment, complete.
pub(crate) struct GroupTables {
    pub(crate) numbers: FooterGroup,
    pub(crate) section: Vec<u8>,
    pub(crate) released: SequenceSet,
}

/// A footer before it is written.
pub(crate) struct Footer {
    pub(crate) directory: FooterDirectory,
    pub(crate) tables: Vec<GroupTables>,
}

/// Writes the footer of a segment and switches its readers to it.
pub(crate) fn seal(shared: &Shared, segment: &Arc<Segment>) -> io::Result<()> {
    if segment.is_sealed() || segment.is_retired() {
        return Ok(());
    }
    let footer = {
        let directory = shared.directory.read();
        let mut tables = Vec::new();
        for group in directory.residents(segment.number) {
            let live = directory.group(*group).map_or(&[][..], |group| &group.live);
            if let Some(span) = live.iter().find(|span| span.segment.number == segment.number) {
                tables.push(group_tables(*group, span));
            }
        }
        footer(segment.number, tables, directory.controls(segment.number).to_vec())
    };
    let spans = write(shared, segment, footer)?;
    let mut directory = shared.directory.write();
    for span in spans {
        // The group may have lost entries or messages while the footer was written.
        let Some(group) = directory.group_mut(span.numbers.group) else { continue };
        if let Some(live) = group.live.iter().find(|live| live.segment.number == segment.number) {
            let last = live.entries.last().unwrap_or(0);
            if last < span.numbers.last_index {
                span.limit_index(last + 1);
            }
            span.set_released(live.released.clone());
        }
        let useful = span.has_messages() || span.has_entries();
        group.seal(segment.number, useful.then(|| Arc::new(span)));
    }
    Ok(())
}

impl Shared {
    /// The tables of a group in a sealed segment whose footer section is damaged, from the records themselves.
    /// `None` when none of them can be read.
    pub(crate) fn rebuild_section(&self, span: &SealedSpan) -> io::Result<Option<Section>> {
        let segment = &span.segment;
        let file = segment.file(&*self.io)?;
        // What the disk does not give is zero, and loses only the records that lie there.
        let Whole { bytes, refusal, .. } = Whole::of(&*file, segment.length.load(Ordering::Acquire));
        if refusal.is_some() {
            segment.set_refused();
        }
        let mut group = GroupDirectory::default();
        scan(segment.scan_input(&bytes), &mut |offset, found| match found {
            Found::Record(record) if record.header.group == span.numbers.group => {
                group.push_scanned(segment, &record.header, record.subject(), offset);
            }
            Found::Damaged(header) if header.group == span.numbers.group => {
                if let Some(header) = group.believed(&header) {
                    group.push_scanned(segment, &header, b"", offset);
                }
            }
            _ => {}
        });
        let tables = group.live.first().map(|live| group_tables(span.numbers.group, live));
        Ok(tables.and_then(|tables| Section::parse(Bytes::from(tables.section))))
    }
}

/// Computes a footer's directory. Section offsets count from the footer's start.
pub(crate) fn footer(segment: u32, mut tables: Vec<GroupTables>, controls: Vec<FooterControl>) -> Footer {
    let mut directory = FooterDirectory { segment, groups: Vec::new(), controls };
    directory.groups = tables.iter().map(|tables| tables.numbers).collect();
    let mut offset = directory.encoded_length() as u32;
    for (numbers, tables) in directory.groups.iter_mut().zip(&mut tables) {
        numbers.section_offset = offset;
        numbers.section_length = tables.section.len() as u32;
        offset += numbers.section_length;
        tables.numbers = *numbers;
    }
    Footer { directory, tables }
}

/// A footer as it lies on disk.
pub(crate) struct Image {
    buffer: AlignedBuffer,
    /// Bytes of the footer, and with those that fill its last block.
    pub(crate) length: usize,
    padded: usize,
    directory_length: usize,
    pub(crate) directory_checksum: u32,
}

impl Image {
    /// Whole blocks.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.padded]
    }
}

/// Encodes a footer, with the checksums of its parts.
pub(crate) fn image(shared: &Shared, segment: &Segment, footer: &mut Footer) -> Image {
    for (numbers, tables) in footer.directory.groups.iter_mut().zip(&mut footer.tables) {
        numbers.section_checksum = checksum(segment.seed, &tables.section);
        tables.numbers = *numbers;
    }
    let directory = footer.directory.encode();
    let length = directory.len() + footer.tables.iter().map(|tables| tables.section.len()).sum::<usize>();
    let padded = length.next_multiple_of(shared.block_bytes as usize);
    let mut buffer = AlignedBuffer::new(padded);
    let mut at = 0;
    for piece in std::iter::once(&directory).chain(footer.tables.iter().map(|tables| &tables.section)) {
        buffer[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    let directory_checksum = checksum(segment.seed, &directory);
    Image { buffer, length, padded, directory_length: directory.len(), directory_checksum }
}

/// The seal slot that vouches for a footer at an offset.
pub(crate) fn seal_slot(shared: &Shared, segment: &Segment, footer_offset: u32, image: &Image) -> SealSlot {
    SealSlot {
        footer_offset,
        directory_length: image.directory_length as u32,
        footer_length: image.length as u32,
        directory_checksum: image.directory_checksum,
        data_end: segment.data_end(),
        record_count: segment.record_count.load(Ordering::Acquire),
        last_batch: segment.last_batch.load(Ordering::Acquire),
        followed_by: followed_by(shared, segment),
    }
}

/// Makes a footer durable, then the seal slot, and returns what serves from now on.
pub(crate) fn write(shared: &Shared, segment: &Arc<Segment>, mut footer: Footer) -> io::Result<Vec<SealedSpan>> {
    let image = image(shared, segment, &mut footer);
    let footer_offset = segment.data_end().next_multiple_of(shared.block_bytes);
    let file = segment.file(&*shared.io)?;
    let needed = u64::from(footer_offset) + image.padded as u64;
    if needed > u64::from(segment.length.load(Ordering::Acquire)) {
        let length = needed.next_multiple_of(u64::from(crate::format::PAGE_BYTES));
        file.allocate(length)?;
        segment.length.store(length as u32, Ordering::Release);
    }
    file.write_durable_at(image.bytes(), u64::from(footer_offset))?;
    let slot = seal_slot(shared, segment, footer_offset, &image);
    let mut page = AlignedBuffer::new(crate::format::PAGE_BYTES as usize);
    slot.encode(segment.seed, &mut page);
    file.write_durable_at(&page, u64::from(SEAL_OFFSET))?;
    add(&shared.counters.footer_bytes, image.padded + page.len());
    segment.set_sealed();
    segment.close_file();
    let spans = footer.tables.into_iter().map(|tables| {
        let span = SealedSpan::new(segment.clone(), tables.numbers, footer_offset);
        span.set_released(tables.released);
        // Without mappings the tables stay in memory only where they are small.
        match Section::parse(Bytes::from(tables.section)) {
            Some(section) if section.message_count() + section.entry_count() <= SMALL_SECTION => {
                span.with_section(section)
            }
            _ => span,
        }
    });
    Ok(spans.collect())
}

/// The segment being written, if it is a later one and has durable data.
fn followed_by(shared: &Shared, segment: &Segment) -> u32 {
    let written = shared.written.lock();
    let current = written.segment.as_ref().filter(|_| written.durable > 0);
    current.map_or(0, |current| if current.number > segment.number { current.number } else { 0 })
}

/// Tables up to this many offsets stay in memory.
const SMALL_SECTION: usize = 64;

/// The complete tables of a live span.
pub(crate) fn group_tables(group: GroupId, span: &LiveSpan) -> GroupTables {
    let (messages, subject_ids) = merged_messages(span);
    let subjects: Vec<SectionSubject> = span
        .subjects
        .entries()
        .iter()
        .map(|entry| SectionSubject {
            text_start: entry.text_start,
            text_len: entry.text_len,
            count: entry.count,
            first: entry.first,
            last: entry.last,
        })
        .collect();
    let section = SectionTables {
        index_runs: span.entries.runs(),
        entries: span.entries.offsets(),
        sequence_runs: messages.runs(),
        messages: messages.offsets(),
        subject_ids: &subject_ids,
        subjects: &subjects,
        text: span.subjects.text(),
    }
    .encode();
    let numbers = FooterGroup {
        group,
        first_index: span.entries.first().unwrap_or(0),
        last_index: span.entries.last().unwrap_or(0),
        last_term: span.last_term,
        first_sequence: messages.first().unwrap_or(0),
        last_sequence: messages.last().unwrap_or(0),
        first_time: span.first_time,
        last_time: span.last_time,
        record_bytes: span.record_bytes,
        message_bytes: span.message_bytes,
        entry_count: span.entries.len() as u32,
        message_count: messages.len() as u32,
        subject_count: subjects.len() as u32,
        section_offset: 0,
        section_length: section.len() as u32,
        section_checksum: 0,
    };
    GroupTables { numbers, section, released: span.released.clone() }
}

/// In order of sequence, the copies at their places.
fn merged_messages(span: &LiveSpan) -> (OffsetTable, Vec<u32>) {
    if span.odd.is_empty() {
        return (span.messages.clone(), span.subject_ids.clone());
    }
    let mut table = OffsetTable::default();
    let mut subjects = Vec::with_capacity(span.message_count());
    let mut next = span.next_sequence(0);
    while let Some(first) = next {
        for (sequence, offset, subject) in span.window(first, 1024) {
            table.push(sequence, offset);
            subjects.push(subject);
            next = span.next_sequence(sequence + 1);
        }
    }
    (table, subjects)
}
