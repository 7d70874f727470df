//! The header of a batch: what one write and one sync made durable.

use super::{checksum, read_u32, read_u64, write_at};

const MAGIC: u32 = u32::from_le_bytes(*b"HWBT");

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = MAGIC_OFFSET + 4;
const SEGMENT_OFFSET: usize = CHECKSUM_OFFSET + 4;
const RECORD_COUNT_OFFSET: usize = SEGMENT_OFFSET + 4;
const NUMBER_OFFSET: usize = RECORD_COUNT_OFFSET + 4;
const DURABLE_OFFSET: usize = NUMBER_OFFSET + 8;
const LENGTH_OFFSET: usize = DURABLE_OFFSET + 8;
const FLAGS_OFFSET: usize = LENGTH_OFFSET + 4;
const PREVIOUS_SEGMENT_OFFSET: usize = FLAGS_OFFSET + 4;
const PREVIOUS_END_OFFSET: usize = PREVIOUS_SEGMENT_OFFSET + 4;
const RESERVED_OFFSET: usize = PREVIOUS_END_OFFSET + 4;

/// Bytes before the first record.
pub const BATCH_HEADER_BYTES: usize = RESERVED_OFFSET + 16;
const _: () = assert!(BATCH_HEADER_BYTES == 64);

/// The closing batch of a clean shutdown: nothing was written after it.
pub const FLAG_CLOSED: u32 = 1;

/// One batch: `length` bytes from its start, padded to the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The segment it was written to.
    pub segment: u32,
    /// 1, 2, 3, ... within the segment.
    pub number: u64,
    /// Every batch up to this number was durable before this one was written: bytes of theirs that are bad now were
    /// good once.
    pub durable: u64,
    /// Header and records, without padding.
    pub length: u32,
    /// Records inside. 0 is a marker, written so that `durable` is known.
    pub record_count: u32,
    /// `FLAG_CLOSED`.
    pub flags: u32,
    /// In a segment's first batch: the segment before, 0 if there was none.
    pub previous_segment: u32,
    /// In a segment's first batch: where the data of the segment before ends. All of it was durable.
    pub previous_end: u32,
}

impl BatchHeader {
    /// Writes the header to the start of `target`.
    pub fn encode(&self, seed: u32, target: &mut [u8]) {
        let target = &mut target[..BATCH_HEADER_BYTES];
        write_at(target, MAGIC_OFFSET, &MAGIC.to_le_bytes());
        write_at(target, SEGMENT_OFFSET, &self.segment.to_le_bytes());
        write_at(target, RECORD_COUNT_OFFSET, &self.record_count.to_le_bytes());
        write_at(target, NUMBER_OFFSET, &self.number.to_le_bytes());
        write_at(target, DURABLE_OFFSET, &self.durable.to_le_bytes());
        write_at(target, LENGTH_OFFSET, &self.length.to_le_bytes());
        write_at(target, FLAGS_OFFSET, &self.flags.to_le_bytes());
        write_at(target, PREVIOUS_SEGMENT_OFFSET, &self.previous_segment.to_le_bytes());
        write_at(target, PREVIOUS_END_OFFSET, &self.previous_end.to_le_bytes());
        target[RESERVED_OFFSET..].fill(0);
        let sum = checksum(seed, &target[SEGMENT_OFFSET..]);
        write_at(target, CHECKSUM_OFFSET, &sum.to_le_bytes());
    }

    /// The header at the start of `bytes`, if there is a valid one of this segment.
    pub fn decode(bytes: &[u8], segment: u32, seed: u32) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if read_u32(bytes, MAGIC_OFFSET) != MAGIC || read_u32(bytes, SEGMENT_OFFSET) != segment {
            return None;
        }
        if checksum(seed, &bytes[SEGMENT_OFFSET..]) != read_u32(bytes, CHECKSUM_OFFSET) {
            return None;
        }
        let header = Self {
            segment,
            number: read_u64(bytes, NUMBER_OFFSET),
            durable: read_u64(bytes, DURABLE_OFFSET),
            length: read_u32(bytes, LENGTH_OFFSET),
            record_count: read_u32(bytes, RECORD_COUNT_OFFSET),
            flags: read_u32(bytes, FLAGS_OFFSET),
            previous_segment: read_u32(bytes, PREVIOUS_SEGMENT_OFFSET),
            previous_end: read_u32(bytes, PREVIOUS_END_OFFSET),
        };
        (header.length as usize >= BATCH_HEADER_BYTES && header.number > 0).then_some(header)
    }

    /// True when the batch holds nothing but its header.
    pub fn is_marker(&self) -> bool {
        self.record_count == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::document::check_layout;

    fn header() -> BatchHeader {
        BatchHeader {
            segment: 5,
            number: 9,
            durable: 8,
            length: 200,
            record_count: 2,
            flags: FLAG_CLOSED,
            previous_segment: 4,
            previous_end: 0x3000,
        }
    }

    #[test]
    fn the_document_has_these_offsets() {
        let integrity = [MAGIC_OFFSET, CHECKSUM_OFFSET, SEGMENT_OFFSET, RECORD_COUNT_OFFSET];
        let place = [NUMBER_OFFSET, DURABLE_OFFSET, LENGTH_OFFSET, FLAGS_OFFSET];
        let rest = [PREVIOUS_SEGMENT_OFFSET, PREVIOUS_END_OFFSET, RESERVED_OFFSET, BATCH_HEADER_BYTES];
        check_layout("Batch header", &[integrity, place, rest].concat());
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        header().encode(7, &mut bytes);
        let mut expected = vec![b'H', b'W', b'B', b'T', 0x9b, 0xa1, 0x88, 0x6b, 5, 0, 0, 0, 2, 0, 0, 0];
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([200, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0x30, 0, 0]);
        expected.extend([0; 16]);
        assert_eq!(bytes[..], expected);
        assert_eq!(BatchHeader::decode(&bytes, 5, 7), Some(header()));
        assert_eq!(BatchHeader::decode(&bytes, 6, 7), None);
        assert_eq!(BatchHeader::decode(&bytes, 5, 8), None);
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), seed: u32) {
            let _ = BatchHeader::decode(&bytes, 1, seed);
        }
    }
}
