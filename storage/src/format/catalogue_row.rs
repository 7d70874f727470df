//! The rows of the catalogue and how they lie in its store.
//!
//! ```text
//! key:   identity of the journal u64 | segment u32     (big-endian: rows in order)
//! value: crc32 of key and time u32 | time i64          (little-endian)
//! ```
//!
//! Each row stands for itself: one that is missing, or as it was some time ago, makes a segment be read once more. So
//! nothing vouches for all of them together.

const JOURNAL_OFFSET: usize = 0;
const SEGMENT_OFFSET: usize = JOURNAL_OFFSET + 8;
pub const KEY_BYTES: usize = SEGMENT_OFFSET + 4;
const CRC_OFFSET: usize = 0;
const TIME_OFFSET: usize = CRC_OFFSET + 4;
pub const VALUE_BYTES: usize = TIME_OFFSET + 8;

/// A segment, and when all of it was last found sound.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    pub segment: u32,
    /// Nanoseconds since the epoch. `None` takes the row away.
    pub sound_at: Option<i64>,
}

/// Why bytes are no row to rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowDoubt {
    #[error("a damaged row")]
    Damaged,
    #[error("a row of another journal")]
    Foreign,
}

/// The key under which a segment's row is stored.
pub fn key(journal: u64, segment: u32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[JOURNAL_OFFSET..SEGMENT_OFFSET].copy_from_slice(&journal.to_be_bytes());
    key[SEGMENT_OFFSET..].copy_from_slice(&segment.to_be_bytes());
    key
}

/// The value to store; its checksum covers the key too, so that a value can't turn up under another key.
pub fn value(key: &[u8; KEY_BYTES], sound_at: i64) -> [u8; VALUE_BYTES] {
    let time = sound_at.to_le_bytes();
    let mut value = [0; VALUE_BYTES];
    value[CRC_OFFSET..TIME_OFFSET].copy_from_slice(&checksum(key, &time).to_le_bytes());
    value[TIME_OFFSET..].copy_from_slice(&time);
    value
}

/// A stored row of this journal.
pub fn read(journal: u64, stored_key: &[u8], stored_value: &[u8]) -> Result<Row, RowDoubt> {
    let (Ok(stored_key), Ok(stored_value)) =
        (<&[u8; KEY_BYTES]>::try_from(stored_key), <&[u8; VALUE_BYTES]>::try_from(stored_value))
    else {
        return Err(RowDoubt::Damaged);
    };
    let [.., a, b, c, d] = *stored_key;
    let segment = u32::from_be_bytes([a, b, c, d]);
    let [_, _, _, _, time @ ..] = *stored_value;
    let sound_at = i64::from_le_bytes(time);
    if value(stored_key, sound_at) != *stored_value {
        return Err(RowDoubt::Damaged);
    }
    if key(journal, segment) != *stored_key {
        return Err(RowDoubt::Foreign);
    }
    Ok(Row { segment, sound_at: Some(sound_at) })
}

fn checksum(key: &[u8], time: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(key.len() as u32);
    hasher.update(key);
    hasher.update(time);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::document::check_layout;
    use super::*;

    #[test]
    fn the_document_has_these_offsets() {
        check_layout("Key", &[JOURNAL_OFFSET, SEGMENT_OFFSET, KEY_BYTES]);
        check_layout("Value", &[CRC_OFFSET, TIME_OFFSET, VALUE_BYTES]);
    }

    #[test]
    fn golden_row() {
        let key = key(0x0102_0304_0506_0708, 0x090a_0b0c);
        assert_eq!(key, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let value = value(&key, -2);
        assert_eq!(value, [40, 123, 205, 218, 0xfe, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn a_value_under_another_key_or_a_row_of_another_journal_is_doubted() {
        let (one, two) = (key(7, 1), key(7, 2));
        let stored = value(&one, 5);
        assert_eq!(read(7, &one, &stored), Ok(Row { segment: 1, sound_at: Some(5) }));
        assert_eq!(read(7, &two, &stored), Err(RowDoubt::Damaged));
        assert_eq!(read(8, &one, &stored), Err(RowDoubt::Foreign));
        assert_eq!(read(7, &one, &stored[..11]), Err(RowDoubt::Damaged));
        assert_eq!(read(7, &one[1..], &stored), Err(RowDoubt::Damaged));
        for bit in 0..VALUE_BYTES * 8 {
            let mut flipped = stored;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(7, &one, &flipped), Err(RowDoubt::Damaged), "bit {bit}");
        }
    }
}
