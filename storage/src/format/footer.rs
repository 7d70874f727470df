//! The footer of a sealed segment: a directory that every start reads, and a section of tables for each group that
//! is read only when somebody asks for the group's records.
//!
//! ```text
//! | directory: head, groups, controls | section | section | ...
//! ```

use std::ops::Range;

use bytes::Bytes;

use super::record::{GroupId, RecordKind};
use super::{checksum, read_u16, read_u32, read_u64, write_at};
use crate::directory::table::Run;

const MAGIC: u64 = u64::from_le_bytes(*b"HWFOOTER");

const MAGIC_OFFSET: usize = 0;
const GROUP_COUNT_OFFSET: usize = MAGIC_OFFSET + 8;
const CONTROL_COUNT_OFFSET: usize = GROUP_COUNT_OFFSET + 4;
const SEGMENT_OFFSET: usize = CONTROL_COUNT_OFFSET + 4;
const HEAD_BYTES: usize = SEGMENT_OFFSET + 4 + 4;
const _: () = assert!(HEAD_BYTES == 24);

const GROUP_OFFSET: usize = 0;
const FIRST_INDEX_OFFSET: usize = GROUP_OFFSET + 8;
const LAST_INDEX_OFFSET: usize = FIRST_INDEX_OFFSET + 8;
const LAST_TERM_OFFSET: usize = LAST_INDEX_OFFSET + 8;
const FIRST_SEQUENCE_OFFSET: usize = LAST_TERM_OFFSET + 8;
const LAST_SEQUENCE_OFFSET: usize = FIRST_SEQUENCE_OFFSET + 8;
const FIRST_TIME_OFFSET: usize = LAST_SEQUENCE_OFFSET + 8;
const LAST_TIME_OFFSET: usize = FIRST_TIME_OFFSET + 8;
const RECORD_BYTES_OFFSET: usize = LAST_TIME_OFFSET + 8;
const MESSAGE_BYTES_OFFSET: usize = RECORD_BYTES_OFFSET + 8;
const ENTRY_COUNT_OFFSET: usize = MESSAGE_BYTES_OFFSET + 8;
const MESSAGE_COUNT_OFFSET: usize = ENTRY_COUNT_OFFSET + 4;
const SUBJECT_COUNT_OFFSET: usize = MESSAGE_COUNT_OFFSET + 4;
const SECTION_OFFSET_OFFSET: usize = SUBJECT_COUNT_OFFSET + 4;
const SECTION_LENGTH_OFFSET: usize = SECTION_OFFSET_OFFSET + 4;
const SECTION_CHECKSUM_OFFSET: usize = SECTION_LENGTH_OFFSET + 4;
const GROUP_BYTES: usize = SECTION_CHECKSUM_OFFSET + 4;
const _: () = assert!(GROUP_BYTES == 104);

const CONTROL_GROUP_OFFSET: usize = 0;
const CONTROL_NUMBER_OFFSET: usize = CONTROL_GROUP_OFFSET + 8;
const CONTROL_INDEX_OFFSET: usize = CONTROL_NUMBER_OFFSET + 8;
const CONTROL_TERM_OFFSET: usize = CONTROL_INDEX_OFFSET + 8;
const CONTROL_OFFSET_OFFSET: usize = CONTROL_TERM_OFFSET + 8;
const CONTROL_LENGTH_OFFSET: usize = CONTROL_OFFSET_OFFSET + 4;
const CONTROL_PART_OFFSET: usize = CONTROL_LENGTH_OFFSET + 4;
const CONTROL_PARTS_OFFSET: usize = CONTROL_PART_OFFSET + 4;
const CONTROL_KIND_OFFSET: usize = CONTROL_PARTS_OFFSET + 4;
const CONTROL_BYTES: usize = CONTROL_KIND_OFFSET + 8;
const _: () = assert!(CONTROL_BYTES == 56);

/// What one group has in the segment. All zero where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FooterGroup {
    /// The group.
    pub group: GroupId,
    /// Lowest Raft index.
    pub first_index: u64,
    /// Highest Raft index.
    pub last_index: u64,
    /// Term of the last entry.
    pub last_term: u64,
    /// Lowest stream sequence.
    pub first_sequence: u64,
    /// Highest stream sequence.
    pub last_sequence: u64,
    /// Lowest time.
    pub first_time: i64,
    /// Highest time.
    pub last_time: i64,
    /// Bytes of all its records.
    pub record_bytes: u64,
    /// Bytes of its messages.
    pub message_bytes: u64,
    /// Raft entries.
    pub entry_count: u32,
    /// Messages.
    pub message_count: u32,
    /// Distinct subjects.
    pub subject_count: u32,
    /// Where its section starts, from the start of the footer.
    pub section_offset: u32,
    /// Length of its section.
    pub section_length: u32,
    /// Checksum of its section.
    pub section_checksum: u32,
}

/// One record that is neither entry nor message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterControl {
    /// The group.
    pub group: GroupId,
    /// Control number: the highest of its kind is the latest.
    pub number: u64,
    /// For a checkpoint: the last index it covers.
    pub index: u64,
    /// For a checkpoint: the term of that index.
    pub term: u64,
    /// Where the record lies in the segment.
    pub offset: u32,
    /// Length of the record.
    pub length: u32,
    /// Which part of a checkpoint, from 0.
    pub part: u32,
    /// Parts of the checkpoint.
    pub parts: u32,
    /// The record's kind.
    pub kind: RecordKind,
}

/// What a start reads of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FooterDirectory {
    /// The segment.
    pub segment: u32,
    /// By group.
    pub groups: Vec<FooterGroup>,
    /// In order of append.
    pub controls: Vec<FooterControl>,
}

impl FooterDirectory {
    /// The length of the encoded directory.
    pub fn encoded_length(&self) -> usize {
        HEAD_BYTES + self.groups.len() * GROUP_BYTES + self.controls.len() * CONTROL_BYTES
    }

    /// The directory as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_length()];
        write_at(&mut bytes, MAGIC_OFFSET, &MAGIC.to_le_bytes());
        write_at(&mut bytes, GROUP_COUNT_OFFSET, &(self.groups.len() as u32).to_le_bytes());
        write_at(&mut bytes, CONTROL_COUNT_OFFSET, &(self.controls.len() as u32).to_le_bytes());
        write_at(&mut bytes, SEGMENT_OFFSET, &self.segment.to_le_bytes());
        let (groups, controls) = bytes[HEAD_BYTES..].split_at_mut(self.groups.len() * GROUP_BYTES);
        for (group, target) in self.groups.iter().zip(groups.chunks_exact_mut(GROUP_BYTES)) {
            group.encode(target);
        }
        for (control, target) in self.controls.iter().zip(controls.chunks_exact_mut(CONTROL_BYTES)) {
            control.encode(target);
        }
        bytes
    }

    /// Reads a directory. `bytes` is exactly as long as the seal slot says.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEAD_BYTES || read_u64(bytes, MAGIC_OFFSET) != MAGIC {
            return None;
        }
        let groups = read_u32(bytes, GROUP_COUNT_OFFSET) as usize;
        let controls = read_u32(bytes, CONTROL_COUNT_OFFSET) as usize;
        let groups_end = HEAD_BYTES.checked_add(groups.checked_mul(GROUP_BYTES)?)?;
        let end = groups_end.checked_add(controls.checked_mul(CONTROL_BYTES)?)?;
        if end != bytes.len() {
            return None;
        }
        Some(Self {
            segment: read_u32(bytes, SEGMENT_OFFSET),
            groups: bytes[HEAD_BYTES..groups_end].chunks_exact(GROUP_BYTES).map(FooterGroup::decode).collect(),
            controls: bytes[groups_end..]
                .chunks_exact(CONTROL_BYTES)
                .map(FooterControl::decode)
                .collect::<Option<_>>()?,
        })
    }
}

impl FooterGroup {
    fn encode(&self, target: &mut [u8]) {
        write_at(target, GROUP_OFFSET, &self.group.0.to_le_bytes());
        write_at(target, FIRST_INDEX_OFFSET, &self.first_index.to_le_bytes());
        write_at(target, LAST_INDEX_OFFSET, &self.last_index.to_le_bytes());
        write_at(target, LAST_TERM_OFFSET, &self.last_term.to_le_bytes());
        write_at(target, FIRST_SEQUENCE_OFFSET, &self.first_sequence.to_le_bytes());
        write_at(target, LAST_SEQUENCE_OFFSET, &self.last_sequence.to_le_bytes());
        write_at(target, FIRST_TIME_OFFSET, &self.first_time.to_le_bytes());
        write_at(target, LAST_TIME_OFFSET, &self.last_time.to_le_bytes());
        write_at(target, RECORD_BYTES_OFFSET, &self.record_bytes.to_le_bytes());
        write_at(target, MESSAGE_BYTES_OFFSET, &self.message_bytes.to_le_bytes());
        write_at(target, ENTRY_COUNT_OFFSET, &self.entry_count.to_le_bytes());
        write_at(target, MESSAGE_COUNT_OFFSET, &self.message_count.to_le_bytes());
        write_at(target, SUBJECT_COUNT_OFFSET, &self.subject_count.to_le_bytes());
        write_at(target, SECTION_OFFSET_OFFSET, &self.section_offset.to_le_bytes());
        write_at(target, SECTION_LENGTH_OFFSET, &self.section_length.to_le_bytes());
        write_at(target, SECTION_CHECKSUM_OFFSET, &self.section_checksum.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            group: GroupId(read_u64(bytes, GROUP_OFFSET)),
            first_index: read_u64(bytes, FIRST_INDEX_OFFSET),
            last_index: read_u64(bytes, LAST_INDEX_OFFSET),
            last_term: read_u64(bytes, LAST_TERM_OFFSET),
            first_sequence: read_u64(bytes, FIRST_SEQUENCE_OFFSET),
            last_sequence: read_u64(bytes, LAST_SEQUENCE_OFFSET),
            first_time: read_u64(bytes, FIRST_TIME_OFFSET).cast_signed(),
            last_time: read_u64(bytes, LAST_TIME_OFFSET).cast_signed(),
            record_bytes: read_u64(bytes, RECORD_BYTES_OFFSET),
            message_bytes: read_u64(bytes, MESSAGE_BYTES_OFFSET),
            entry_count: read_u32(bytes, ENTRY_COUNT_OFFSET),
            message_count: read_u32(bytes, MESSAGE_COUNT_OFFSET),
            subject_count: read_u32(bytes, SUBJECT_COUNT_OFFSET),
            section_offset: read_u32(bytes, SECTION_OFFSET_OFFSET),
            section_length: read_u32(bytes, SECTION_LENGTH_OFFSET),
            section_checksum: read_u32(bytes, SECTION_CHECKSUM_OFFSET),
        }
    }
}

impl FooterControl {
    fn encode(&self, target: &mut [u8]) {
        write_at(target, CONTROL_GROUP_OFFSET, &self.group.0.to_le_bytes());
        write_at(target, CONTROL_NUMBER_OFFSET, &self.number.to_le_bytes());
        write_at(target, CONTROL_INDEX_OFFSET, &self.index.to_le_bytes());
        write_at(target, CONTROL_TERM_OFFSET, &self.term.to_le_bytes());
        write_at(target, CONTROL_OFFSET_OFFSET, &self.offset.to_le_bytes());
        write_at(target, CONTROL_LENGTH_OFFSET, &self.length.to_le_bytes());
        write_at(target, CONTROL_PART_OFFSET, &self.part.to_le_bytes());
        write_at(target, CONTROL_PARTS_OFFSET, &self.parts.to_le_bytes());
        target[CONTROL_KIND_OFFSET] = self.kind as u8;
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            group: GroupId(read_u64(bytes, CONTROL_GROUP_OFFSET)),
            number: read_u64(bytes, CONTROL_NUMBER_OFFSET),
            index: read_u64(bytes, CONTROL_INDEX_OFFSET),
            term: read_u64(bytes, CONTROL_TERM_OFFSET),
            offset: read_u32(bytes, CONTROL_OFFSET_OFFSET),
            length: read_u32(bytes, CONTROL_LENGTH_OFFSET),
            part: read_u32(bytes, CONTROL_PART_OFFSET),
            parts: read_u32(bytes, CONTROL_PARTS_OFFSET),
            kind: RecordKind::from_number(bytes[CONTROL_KIND_OFFSET])?,
        })
    }
}

const INDEX_RUNS_OFFSET: usize = 0;
const SEQUENCE_RUNS_OFFSET: usize = INDEX_RUNS_OFFSET + 4;
const ENTRIES_OFFSET: usize = SEQUENCE_RUNS_OFFSET + 4;
const MESSAGES_OFFSET: usize = ENTRIES_OFFSET + 4;
const SUBJECTS_OFFSET: usize = MESSAGES_OFFSET + 4;
const TEXT_OFFSET: usize = SUBJECTS_OFFSET + 4;
const SHARED_OFFSET: usize = TEXT_OFFSET + 4;
const WIDTH_OFFSET: usize = SHARED_OFFSET + 1;
const SECTION_HEAD_BYTES: usize = WIDTH_OFFSET + 1 + 6;
const RUN_BYTES: usize = 16;
const SUBJECT_BYTES: usize = 28;
const _: () = assert!(SECTION_HEAD_BYTES == 32);

/// A subject within a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionSubject {
    /// Where its text starts.
    pub text_start: u32,
    /// Length of its text.
    pub text_len: u16,
    /// Messages.
    pub count: u32,
    /// Lowest sequence.
    pub first: u64,
    /// Highest sequence.
    pub last: u64,
}

/// The tables of one group, ready to be encoded.
pub(crate) struct SectionTables<'a> {
    pub(crate) index_runs: &'a [Run],
    pub(crate) entries: &'a [u32],
    pub(crate) sequence_runs: &'a [Run],
    pub(crate) messages: &'a [u32],
    pub(crate) subject_ids: &'a [u32],
    pub(crate) subjects: &'a [SectionSubject],
    pub(crate) text: &'a [u8],
}

impl SectionTables<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A plain stream has a message in every entry: one table serves both.
        let shared = self.entries == self.messages;
        let width = id_width(self.subjects.len());
        let mut bytes = vec![0; SECTION_HEAD_BYTES];
        let counts = [self.index_runs.len(), self.sequence_runs.len(), self.entries.len(), self.messages.len()];
        for (at, count) in counts.into_iter().chain([self.subjects.len(), self.text.len()]).enumerate() {
            write_at(&mut bytes, at * 4, &(count as u32).to_le_bytes());
        }
        bytes[SHARED_OFFSET] = u8::from(shared);
        bytes[WIDTH_OFFSET] = width as u8;
        for run in self.index_runs.iter().chain(self.sequence_runs) {
            bytes.extend(run.first.to_le_bytes());
            bytes.extend(u64::from(run.start).to_le_bytes());
        }
        let messages = if shared { &[][..] } else { self.messages };
        bytes.extend(self.entries.iter().chain(messages).flat_map(|offset| offset.to_le_bytes()));
        for subject in self.subjects {
            bytes.extend(subject.first.to_le_bytes());
            bytes.extend(subject.last.to_le_bytes());
            bytes.extend(subject.text_start.to_le_bytes());
            bytes.extend(subject.count.to_le_bytes());
            bytes.extend(u32::from(subject.text_len).to_le_bytes());
        }
        for id in self.subject_ids {
            bytes.extend(&id.to_le_bytes()[..width]);
        }
        bytes.extend(self.text);
        bytes
    }
}

fn id_width(subjects: usize) -> usize {
    match subjects {
        0..=1 => 0,
        2..=256 => 1,
        257..=65536 => 2,
        _ => 4,
    }
}

/// The tables of one group, as they lie in the footer.
#[derive(Clone, Debug)]
pub struct Section {
    bytes: Bytes,
    pub(crate) index_runs: Vec<Run>,
    pub(crate) sequence_runs: Vec<Run>,
    entry_count: usize,
    message_count: usize,
    subject_count: usize,
    width: usize,
    entries_at: usize,
    messages_at: usize,
    subjects_at: usize,
    ids_at: usize,
    text_at: usize,
}

impl Section {
    /// Reads a section and checks it.
    pub fn decode(bytes: Bytes, seed: u32, sum: u32) -> Option<Self> {
        if checksum(seed, &bytes) != sum {
            return None;
        }
        Self::parse(bytes)
    }

    pub(crate) fn parse(bytes: Bytes) -> Option<Self> {
        let head = bytes.get(..SECTION_HEAD_BYTES)?;
        let count = |at| read_u32(head, at) as usize;
        let (index_runs, sequence_runs) = (count(INDEX_RUNS_OFFSET), count(SEQUENCE_RUNS_OFFSET));
        let (entry_count, message_count) = (count(ENTRIES_OFFSET), count(MESSAGES_OFFSET));
        let (subject_count, text) = (count(SUBJECTS_OFFSET), count(TEXT_OFFSET));
        let (shared, width) = (head[SHARED_OFFSET] != 0, usize::from(head[WIDTH_OFFSET]));
        if width != id_width(subject_count) || (shared && entry_count != message_count) {
            return None;
        }
        // Every count is below 2^32 and every factor below 2^5: no overflow in 64 bits.
        let runs_at = SECTION_HEAD_BYTES;
        let entries_at = runs_at + (index_runs + sequence_runs) * RUN_BYTES;
        let messages_at = if shared { entries_at } else { entries_at + entry_count * 4 };
        let subjects_at = messages_at + message_count * 4;
        let ids_at = subjects_at + subject_count * SUBJECT_BYTES;
        let text_at = ids_at + message_count * width;
        if text_at + text != bytes.len() {
            return None;
        }
        let runs = |from: usize, count: usize, length: usize| -> Option<Vec<Run>> {
            let raw = bytes[from..from + count * RUN_BYTES].chunks_exact(RUN_BYTES);
            let runs: Vec<Run> = raw.map(|raw| Run { first: read_u64(raw, 0), start: read_u32(raw, 8) }).collect();
            runs_are_sound(&runs, length).then_some(runs)
        };
        let index_runs_read = runs(runs_at, index_runs, entry_count)?;
        let sequence_runs_read = runs(runs_at + index_runs * RUN_BYTES, sequence_runs, message_count)?;
        let section = Self {
            index_runs: index_runs_read,
            sequence_runs: sequence_runs_read,
            entry_count,
            message_count,
            subject_count,
            width,
            entries_at,
            messages_at,
            subjects_at,
            ids_at,
            text_at,
            bytes,
        };
        Some(section)
    }

    /// Raft entries.
    pub fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Messages.
    pub fn message_count(&self) -> usize {
        self.message_count
    }

    /// Distinct subjects.
    pub fn subject_count(&self) -> usize {
        self.subject_count
    }

    /// Offset of an entry by position.
    pub fn entry(&self, position: usize) -> Option<u32> {
        (position < self.entry_count).then(|| read_u32(&self.bytes, self.entries_at + position * 4))
    }

    /// Offset of a message by position.
    pub fn message(&self, position: usize) -> Option<u32> {
        (position < self.message_count).then(|| read_u32(&self.bytes, self.messages_at + position * 4))
    }

    /// The subject's number of a message by position.
    pub fn subject_id(&self, position: usize) -> Option<u32> {
        if position >= self.message_count {
            return None;
        }
        let at = self.ids_at + position * self.width;
        Some(match self.width {
            0 => 0,
            1 => u32::from(self.bytes[at]),
            2 => u32::from(read_u16(&self.bytes, at)),
            _ => read_u32(&self.bytes, at),
        })
    }

    /// The first of `positions` with a message of this subject.
    pub(crate) fn position_of_subject(&self, id: u32, positions: Range<usize>) -> Option<usize> {
        let end = positions.end.min(self.message_count);
        let start = positions.start.min(end);
        let ids = &self.bytes[self.ids_at + start * self.width..self.ids_at + end * self.width];
        let at = match self.width {
            0 => (id == 0 && start < end).then_some(0),
            1 => find_equal(ids, |found| u32::from(*found) == id),
            2 => find_equal(ids.as_chunks().0, |found| u32::from(u16::from_le_bytes(*found)) == id),
            _ => find_equal(ids.as_chunks().0, |found| u32::from_le_bytes(*found) == id),
        };
        at.map(|at| start + at)
    }

    /// A subject by number, with its text.
    pub fn subject(&self, id: u32) -> Option<(SectionSubject, &[u8])> {
        if id as usize >= self.subject_count {
            return None;
        }
        let at = self.subjects_at + id as usize * SUBJECT_BYTES;
        let subject = SectionSubject {
            first: read_u64(&self.bytes, at),
            last: read_u64(&self.bytes, at + 8),
            text_start: read_u32(&self.bytes, at + 16),
            count: read_u32(&self.bytes, at + 20),
            text_len: read_u16(&self.bytes, at + 24),
        };
        let start = self.text_at + subject.text_start as usize;
        let text = self.bytes.get(start..start + usize::from(subject.text_len))?;
        Some((subject, text))
    }
}

/// The first number that is the one looked for. Looks at many at once: they may be all of a segment's.
pub(crate) fn find_equal<T>(numbers: &[T], is_it: impl Fn(&T) -> bool) -> Option<usize> {
    const AT_ONCE: usize = 256;
    let mut chunks = numbers.chunks(AT_ONCE);
    let chunk = chunks.position(|chunk| chunk.iter().fold(false, |any, number| any | is_it(number)))?;
    let start = chunk * AT_ONCE;
    numbers[start..].iter().position(is_it).map(|at| start + at)
}

fn runs_are_sound(runs: &[Run], length: usize) -> bool {
    if runs.is_empty() {
        return length == 0;
    }
    let last_fits = runs.last().is_some_and(|run| {
        let count = (length as u64).checked_sub(u64::from(run.start));
        count.is_some_and(|count| count > 0 && run.first.checked_add(count).is_some())
    });
    runs[0].start == 0
        && last_fits
        && runs.windows(2).all(|pair| {
            let length = u64::from(pair[1].start).checked_sub(u64::from(pair[0].start));
            length.is_some_and(|length| {
                length > 0 && pair[0].first.checked_add(length).is_some_and(|end| end <= pair[1].first)
            })
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::document::check_layout;

    fn tables() -> Vec<u8> {
        SectionTables {
            index_runs: &[Run { first: 7, start: 0 }],
            entries: &[100, 200],
            sequence_runs: &[Run { first: 1, start: 0 }, Run { first: 9, start: 1 }],
            messages: &[100, 300],
            subject_ids: &[1, 0],
            subjects: &[
                SectionSubject { text_start: 0, text_len: 1, count: 1, first: 9, last: 9 },
                SectionSubject { text_start: 1, text_len: 2, count: 1, first: 1, last: 1 },
            ],
            text: b"abc",
        }
        .encode()
    }

    #[test]
    fn the_document_has_these_offsets() {
        let counts = [MAGIC_OFFSET, GROUP_COUNT_OFFSET, CONTROL_COUNT_OFFSET, SEGMENT_OFFSET];
        check_layout("Directory head", &[&counts[..], &[SEGMENT_OFFSET + 4, HEAD_BYTES]].concat());
        let entries = [GROUP_OFFSET, FIRST_INDEX_OFFSET, LAST_INDEX_OFFSET, LAST_TERM_OFFSET];
        let messages = [FIRST_SEQUENCE_OFFSET, LAST_SEQUENCE_OFFSET, FIRST_TIME_OFFSET, LAST_TIME_OFFSET];
        let sizes = [RECORD_BYTES_OFFSET, MESSAGE_BYTES_OFFSET, ENTRY_COUNT_OFFSET, MESSAGE_COUNT_OFFSET];
        let section = [SUBJECT_COUNT_OFFSET, SECTION_OFFSET_OFFSET, SECTION_LENGTH_OFFSET, SECTION_CHECKSUM_OFFSET];
        check_layout("Directory group", &[&[entries, messages, sizes, section].concat()[..], &[GROUP_BYTES]].concat());
        let numbers = [CONTROL_GROUP_OFFSET, CONTROL_NUMBER_OFFSET, CONTROL_INDEX_OFFSET, CONTROL_TERM_OFFSET];
        let place = [CONTROL_OFFSET_OFFSET, CONTROL_LENGTH_OFFSET, CONTROL_PART_OFFSET, CONTROL_PARTS_OFFSET];
        let kind = [CONTROL_KIND_OFFSET, CONTROL_KIND_OFFSET + 1, CONTROL_BYTES];
        check_layout("Directory control", &[&[numbers, place].concat()[..], &kind].concat());
        let counts = [INDEX_RUNS_OFFSET, SEQUENCE_RUNS_OFFSET, ENTRIES_OFFSET, MESSAGES_OFFSET];
        let rest = [SUBJECTS_OFFSET, TEXT_OFFSET, SHARED_OFFSET, WIDTH_OFFSET, WIDTH_OFFSET + 1, SECTION_HEAD_BYTES];
        check_layout("Section head", &[&counts[..], &rest].concat());
        check_layout("Section run", &[0, 8, RUN_BYTES]);
        check_layout("Section subject", &[0, 8, 16, 20, 24, SUBJECT_BYTES]);
    }

    #[test]
    fn golden_section() {
        let mut expected = vec![1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 1];
        expected.extend([0; 6]);
        for (first, start) in [(7u64, 0u64), (1, 0), (9, 1)] {
            expected.extend(first.to_le_bytes());
            expected.extend(start.to_le_bytes());
        }
        expected.extend([100, 0, 0, 0, 200, 0, 0, 0, 100, 0, 0, 0, 44, 1, 0, 0]);
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        expected.extend([1, 0, b'a', b'b', b'c']);
        assert_eq!(tables(), expected);
    }

    #[test]
    fn a_section_is_read_back() {
        let bytes = Bytes::from(tables());
        let section = Section::decode(bytes.clone(), 5, checksum(5, &bytes)).unwrap();
        assert_eq!((section.entry(1), section.message(1), section.message(2)), (Some(200), Some(300), None));
        assert_eq!(section.subject_id(0), Some(1));
        assert_eq!(section.subject(1).unwrap().1, b"bc");
        assert!(Section::decode(bytes.clone(), 6, checksum(5, &bytes)).is_none());
    }

    #[test]
    fn a_directory_is_read_back() {
        let group = FooterGroup { group: GroupId(3), last_index: 9, section_checksum: 77, ..FooterGroup::default() };
        let control = FooterControl {
            group: GroupId(3),
            number: 4,
            index: 5,
            term: 6,
            offset: 7,
            length: 8,
            part: 9,
            parts: 10,
            kind: RecordKind::State,
        };
        let directory = FooterDirectory { segment: 2, groups: vec![group; 2], controls: vec![control] };
        let bytes = directory.encode();
        assert_eq!(FooterDirectory::decode(&bytes), Some(directory));
        assert_eq!(FooterDirectory::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(bytes[..24], *b"HWFOOTER\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0");
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), change: (usize, u8)) {
            let _ = FooterDirectory::decode(&bytes);
            let mut damaged = tables();
            let length = damaged.len();
            damaged[change.0 % length] = change.1;
            for bytes in [bytes, damaged] {
                let Some(section) = Section::parse(Bytes::from(bytes)) else { continue };
                for at in 0..4 {
                    let _ = (section.entry(at), section.message(at), section.subject_id(at), section.subject(at as u32));
                }
            }
        }
    }
}
