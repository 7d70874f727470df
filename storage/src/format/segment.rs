//! The fixed pages of a segment file: header, its copy, the seal slot; and the names of files.
//!
//! ```text
//! 0      4096        8192       12288
//! | header | its copy | seal slot | batch | batch | ... | footer |
//! ```

use super::{PAGE_BYTES, checksum, read_u32, read_u64, write_at};

const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"HWSEGMNT");
const SEAL_MAGIC: u64 = u64::from_le_bytes(*b"HWSEALED");

/// The version of the whole file format.
pub const FORMAT_VERSION: u32 = 1;

/// Where the copy of the header lies.
pub const HEADER_COPY_OFFSET: u32 = PAGE_BYTES;
/// Where the seal slot lies.
pub const SEAL_OFFSET: u32 = HEADER_COPY_OFFSET + PAGE_BYTES;
/// Where the first batch lies.
pub const DATA_OFFSET: u32 = SEAL_OFFSET + PAGE_BYTES;

/// Survivors of older segments, grouped by stream, all covered by checkpoints.
pub const FLAG_COMPACTED: u32 = 1;

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = MAGIC_OFFSET + 8;
const VERSION_OFFSET: usize = CHECKSUM_OFFSET + 4;
const JOURNAL_OFFSET: usize = VERSION_OFFSET + 4;
const NUMBER_OFFSET: usize = JOURNAL_OFFSET + 8;
const CAPACITY_OFFSET: usize = NUMBER_OFFSET + 4;
const CREATED_OFFSET: usize = CAPACITY_OFFSET + 4;
const BLOCK_OFFSET: usize = CREATED_OFFSET + 8;
const FLAGS_OFFSET: usize = BLOCK_OFFSET + 4;
/// Bytes of a page that its checksum covers, in header and seal slot alike.
pub const HEADER_BYTES: usize = FLAGS_OFFSET + 4;
const _: () = assert!(HEADER_BYTES == 48);

/// The identity of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Random, the same in all segments of a journal: part of every checksum's seed.
    pub journal: u64,
    /// Monotonic, never reused.
    pub number: u32,
    /// Bytes that batches may use.
    pub capacity: u32,
    /// Nanoseconds since the epoch.
    pub created: i64,
    /// Batches start on multiples of this.
    pub block_bytes: u32,
    /// `FLAG_COMPACTED`.
    pub flags: u32,
}

impl SegmentHeader {
    /// One page; it is written twice.
    pub fn encode(&self, page: &mut [u8]) {
        page[..PAGE_BYTES as usize].fill(0);
        write_at(page, MAGIC_OFFSET, &HEADER_MAGIC.to_le_bytes());
        write_at(page, VERSION_OFFSET, &FORMAT_VERSION.to_le_bytes());
        write_at(page, JOURNAL_OFFSET, &self.journal.to_le_bytes());
        write_at(page, NUMBER_OFFSET, &self.number.to_le_bytes());
        write_at(page, CAPACITY_OFFSET, &self.capacity.to_le_bytes());
        write_at(page, CREATED_OFFSET, &self.created.to_le_bytes());
        write_at(page, BLOCK_OFFSET, &self.block_bytes.to_le_bytes());
        write_at(page, FLAGS_OFFSET, &self.flags.to_le_bytes());
        let sum = checksum(0, &page[VERSION_OFFSET..HEADER_BYTES]);
        write_at(page, CHECKSUM_OFFSET, &sum.to_le_bytes());
    }

    /// The format version of the whole header at the start of `page`, whichever it is. Magic, checksum and version keep
    /// their places in all versions.
    pub fn version(page: &[u8]) -> Option<u32> {
        let page = page.get(..HEADER_BYTES)?;
        let is_whole = read_u64(page, MAGIC_OFFSET) == HEADER_MAGIC
            && checksum(0, &page[VERSION_OFFSET..]) == read_u32(page, CHECKSUM_OFFSET);
        is_whole.then(|| read_u32(page, VERSION_OFFSET))
    }

    /// The header at the start of `page`, if it is whole and of a version that we know.
    pub fn decode(page: &[u8]) -> Option<Self> {
        if Self::version(page)? != FORMAT_VERSION {
            return None;
        }
        let header = Self {
            journal: read_u64(page, JOURNAL_OFFSET),
            number: read_u32(page, NUMBER_OFFSET),
            capacity: read_u32(page, CAPACITY_OFFSET),
            created: i64::from_le_bytes(read_u64(page, CREATED_OFFSET).to_le_bytes()),
            block_bytes: read_u32(page, BLOCK_OFFSET),
            flags: read_u32(page, FLAGS_OFFSET),
        };
        matches!(header.block_bytes, 512..=4096 if header.block_bytes.is_power_of_two()).then_some(header)
    }

    /// True for a segment made by compaction.
    pub fn is_compacted(&self) -> bool {
        self.flags & FLAG_COMPACTED != 0
    }
}

const FOOTER_OFFSET_OFFSET: usize = CHECKSUM_OFFSET + 4;
const FOOTER_DIRECTORY_OFFSET: usize = FOOTER_OFFSET_OFFSET + 4;
const FOOTER_LENGTH_OFFSET: usize = FOOTER_DIRECTORY_OFFSET + 4;
const FOOTER_CHECKSUM_OFFSET: usize = FOOTER_LENGTH_OFFSET + 4;
const DATA_END_OFFSET: usize = FOOTER_CHECKSUM_OFFSET + 4;
const SEALED_COUNT_OFFSET: usize = DATA_END_OFFSET + 4;
const LAST_BATCH_OFFSET: usize = SEALED_COUNT_OFFSET + 4;
const FOLLOWED_BY_OFFSET: usize = LAST_BATCH_OFFSET + 8;
/// Bytes of the seal slot in use.
pub const SEAL_BYTES: usize = FOLLOWED_BY_OFFSET + 4;
const _: () = assert!(SEAL_BYTES == 48);

/// Written once, after the footer is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealSlot {
    /// Where the footer starts.
    pub footer_offset: u32,
    /// Its directory, which a start reads, takes this many bytes from there.
    pub directory_length: u32,
    /// The whole footer, with the tables that are read when needed.
    pub footer_length: u32,
    /// Checksum of the directory.
    pub directory_checksum: u32,
    /// Where the data ends.
    pub data_end: u32,
    /// Records in the data.
    pub record_count: u32,
    /// The number of the last batch.
    pub last_batch: u64,
    /// A later segment that had durable data when this was written; 0 when there was none.
    pub followed_by: u32,
}

impl SealSlot {
    /// One page.
    pub fn encode(&self, seed: u32, page: &mut [u8]) {
        page[..PAGE_BYTES as usize].fill(0);
        write_at(page, MAGIC_OFFSET, &SEAL_MAGIC.to_le_bytes());
        write_at(page, FOOTER_OFFSET_OFFSET, &self.footer_offset.to_le_bytes());
        write_at(page, FOOTER_DIRECTORY_OFFSET, &self.directory_length.to_le_bytes());
        write_at(page, FOOTER_LENGTH_OFFSET, &self.footer_length.to_le_bytes());
        write_at(page, FOOTER_CHECKSUM_OFFSET, &self.directory_checksum.to_le_bytes());
        write_at(page, DATA_END_OFFSET, &self.data_end.to_le_bytes());
        write_at(page, SEALED_COUNT_OFFSET, &self.record_count.to_le_bytes());
        write_at(page, LAST_BATCH_OFFSET, &self.last_batch.to_le_bytes());
        write_at(page, FOLLOWED_BY_OFFSET, &self.followed_by.to_le_bytes());
        let sum = checksum(seed, &page[FOOTER_OFFSET_OFFSET..SEAL_BYTES]);
        write_at(page, CHECKSUM_OFFSET, &sum.to_le_bytes());
    }

    /// The seal at the start of `page`: `None` when there is none or it belongs to an earlier life of the file,
    /// `Some(None)` when there was one and it is damaged.
    pub fn decode(page: &[u8], seed: u32) -> Option<Option<Self>> {
        let page = page.get(..SEAL_BYTES)?;
        if page.iter().all(|byte| *byte == 0) {
            return None;
        }
        if read_u64(page, MAGIC_OFFSET) != SEAL_MAGIC
            || checksum(seed, &page[FOOTER_OFFSET_OFFSET..]) != read_u32(page, CHECKSUM_OFFSET)
        {
            return Some(None);
        }
        Some(Some(Self {
            footer_offset: read_u32(page, FOOTER_OFFSET_OFFSET),
            directory_length: read_u32(page, FOOTER_DIRECTORY_OFFSET),
            footer_length: read_u32(page, FOOTER_LENGTH_OFFSET),
            directory_checksum: read_u32(page, FOOTER_CHECKSUM_OFFSET),
            data_end: read_u32(page, DATA_END_OFFSET),
            record_count: read_u32(page, SEALED_COUNT_OFFSET),
            last_batch: read_u64(page, LAST_BATCH_OFFSET),
            followed_by: read_u32(page, FOLLOWED_BY_OFFSET),
        }))
    }
}

const SEGMENT_SUFFIX: &str = ".segment";
const SPARE_SUFFIX: &str = ".spare";
const FILLING_SUFFIX: &str = ".filling";
const NUMBER_DIGITS: usize = 10;

/// What the name of a file in the journal's directory says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// Holds records, or is about to.
    Segment(u32),
    /// Held this segment, and holds nothing any more.
    Spare(u32),
    /// Never held anything.
    Filling(u32),
}

impl FileName {
    /// Reads a name; `None` for files that are not ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, suffix) = name.split_at_checked(NUMBER_DIGITS)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = digits.parse().ok()?;
        match suffix {
            SEGMENT_SUFFIX => Some(Self::Segment(number)),
            SPARE_SUFFIX => Some(Self::Spare(number)),
            FILLING_SUFFIX => Some(Self::Filling(number)),
            _ => None,
        }
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (number, suffix) = match self {
            Self::Segment(number) => (number, SEGMENT_SUFFIX),
            Self::Spare(number) => (number, SPARE_SUFFIX),
            Self::Filling(number) => (number, FILLING_SUFFIX),
        };
        write!(formatter, "{number:0width$}{suffix}", width = NUMBER_DIGITS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::document::check_layout;

    #[test]
    fn the_document_has_these_offsets() {
        let identity = [MAGIC_OFFSET, CHECKSUM_OFFSET, VERSION_OFFSET, JOURNAL_OFFSET, NUMBER_OFFSET];
        let rest = [CAPACITY_OFFSET, CREATED_OFFSET, BLOCK_OFFSET, FLAGS_OFFSET, HEADER_BYTES];
        check_layout("Header", &[identity, rest].concat());
        let footer = [FOOTER_OFFSET_OFFSET, FOOTER_DIRECTORY_OFFSET, FOOTER_LENGTH_OFFSET, FOOTER_CHECKSUM_OFFSET];
        let data = [DATA_END_OFFSET, SEALED_COUNT_OFFSET, LAST_BATCH_OFFSET, FOLLOWED_BY_OFFSET, SEAL_BYTES];
        check_layout("Seal slot", &[&[MAGIC_OFFSET, CHECKSUM_OFFSET][..], &footer, &data].concat());
    }

    #[test]
    fn golden_header() {
        let header = SegmentHeader {
            journal: 0x0102_0304_0506_0708,
            number: 3,
            capacity: 0x0040_0000,
            created: 1,
            block_bytes: 512,
            flags: FLAG_COMPACTED,
        };
        let mut page = vec![9; PAGE_BYTES as usize];
        header.encode(&mut page);
        let mut expected = b"HWSEGMNT".to_vec();
        expected.extend([0xa5, 0x05, 0x14, 0xef, 1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 3, 0, 0, 0, 0, 0, 0x40, 0]);
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0]);
        assert_eq!(page[..HEADER_BYTES], expected);
        assert!(page[HEADER_BYTES..].iter().all(|byte| *byte == 0));
        assert_eq!(SegmentHeader::decode(&page), Some(header));
        page[20] ^= 1;
        assert_eq!((SegmentHeader::decode(&page), SegmentHeader::version(&page)), (None, None));
    }

    #[test]
    fn a_header_of_another_version_says_so_and_nothing_else() {
        let mut page = vec![0; PAGE_BYTES as usize];
        let header = SegmentHeader { journal: 1, number: 3, capacity: 4096, created: 1, block_bytes: 512, flags: 0 };
        header.encode(&mut page);
        page[VERSION_OFFSET] = 9;
        assert_eq!(SegmentHeader::version(&page), None, "its checksum is that of the old one");
        let sum = checksum(0, &page[VERSION_OFFSET..HEADER_BYTES]);
        page[CHECKSUM_OFFSET..VERSION_OFFSET].copy_from_slice(&sum.to_le_bytes());
        assert_eq!((SegmentHeader::version(&page), SegmentHeader::decode(&page)), (Some(9), None));
    }

    #[test]
    fn golden_seal() {
        let slot = SealSlot {
            footer_offset: 0x10,
            directory_length: 0x20,
            footer_length: 0x30,
            directory_checksum: 0x40,
            data_end: 0x50,
            record_count: 0x60,
            last_batch: 0x70,
            followed_by: 0x80,
        };
        let mut page = vec![9; PAGE_BYTES as usize];
        slot.encode(7, &mut page);
        let mut expected = b"HWSEALED".to_vec();
        expected.extend([0x8c, 0x17, 0xa5, 0xc3, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0, 0, 0x40, 0, 0, 0]);
        expected.extend([0x50, 0, 0, 0, 0x60, 0, 0, 0, 0x70, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(page[..SEAL_BYTES], expected);
        assert_eq!(SealSlot::decode(&page, 7), Some(Some(slot)));
        assert_eq!(SealSlot::decode(&page, 8), Some(None));
        assert_eq!(SealSlot::decode(&[0; 4096], 7), None);
    }

    #[test]
    fn names_are_read_back() {
        for name in [FileName::Segment(0), FileName::Spare(u32::MAX), FileName::Filling(7)] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        for other in ["LOCK", "0000000001.segmen", "000000000x.segment", "9999999999.segment", "ünïcödé"] {
            assert_eq!(FileName::parse(other), None);
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), seed: u32, name: String) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = SealSlot::decode(&bytes, seed);
            let _ = FileName::parse(&name);
        }
    }
}
