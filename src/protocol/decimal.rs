//! HOT PATH: no allocation once a buffer has grown.
//!
//! Numbers as decimal text. Eight digits at a time, found in parallel, and written where they belong: what was written
//! in small pieces is slow to read again in a larger one, so nothing is put together elsewhere and then copied.

/// Eight digits.
pub const WORD: u64 = 100_000_000;

/// Bytes that [`put`] may write to: the digits of the longest number, and what a whole word writes past their end.
pub const ROOM: usize = 24;

/// Appends a number.
pub fn append(out: &mut Vec<u8>, value: u64) {
    let start = out.len();
    out.resize(start + ROOM, 0);
    let end = put(out, start, value);
    out.truncate(end);
}

/// Writes a number at `at`, where [`ROOM`] bytes have to be; returns the end.
#[inline]
pub fn put(text: &mut [u8], at: usize, value: u64) -> usize {
    let (high, low) = (value / WORD, value % WORD);
    if high == 0 {
        return put_first(text, at, low);
    }
    let end = if high < WORD {
        put_first(text, at, high)
    } else {
        let end = put_first(text, at, high / WORD);
        put_word(text, end, high % WORD)
    };
    put_word(text, end, low)
}

/// Writes up to eight digits, at least one, without leading zeros.
#[inline]
fn put_first(text: &mut [u8], at: usize, value: u64) -> usize {
    let digits = digits_of_word(value);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    let ascii = (digits >> (zeros * 8)) | ZEROS;
    text[at..at + 8].copy_from_slice(&ascii.to_le_bytes());
    at + 8 - zeros as usize
}

/// Writes exactly eight digits of a number below [`WORD`]; returns the end.
#[inline]
pub fn put_word(text: &mut [u8], at: usize, value: u64) -> usize {
    text[at..at + 8].copy_from_slice(&(digits_of_word(value) | ZEROS).to_le_bytes());
    at + 8
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The eight digits of a number below 10^8, one a byte, the first in the lowest byte. Halves, then quarters, then
/// single digits are divided side by side: multiplying by 10486 / 2^20 divides four digits by 100, by 103 / 2^10 two
/// digits by 10.
fn digits_of_word(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = ((fours - hundreds * 100) << 16) + hundreds;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    ((twos - tens * 10) << 8) + tens
}

/// How many digits a number has.
pub fn digit_count(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: u64) {
        let mut text = b"x".to_vec();
        append(&mut text, value);
        assert_eq!(text, format!("x{value}").into_bytes());
        assert_eq!(digit_count(value), text.len() - 1);
    }

    #[test]
    fn numbers_around_each_power_of_ten_are_written() {
        for exponent in 0..20 {
            let power = 10_u64.pow(exponent);
            (power.saturating_sub(2)..=power + 2).for_each(check);
        }
        check(u64::MAX);
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_library_does(value: u64, shift in 0..64) {
            check(value >> shift);
        }
    }
}
