//! Variable-length integers: seven bits a byte, low bits first; signed ones folded so that small magnitudes stay short.
//!
//! The reader returns `None` for anything that is not a well-formed integer; it never panics.

/// Appends an unsigned integer in 1 to 10 bytes.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer in 1 to 10 bytes.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, fold(value));
}

fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads what [`put`] and [`put_signed`] wrote.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        self.unsigned().map(unfold)
    }

    /// A count of things that take at least `bytes_each` bytes; `None` when that many cannot follow.
    pub fn count(&mut self, bytes_each: usize) -> Option<usize> {
        let count = usize::try_from(self.unsigned()?).ok()?;
        (count <= self.rest.len() / bytes_each).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_as_written() {
        let values = [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX];
        let signed = [0, -1, 1, -64, 64, i64::MIN, i64::MAX];
        let mut bytes = Vec::new();
        for value in values {
            put(&mut bytes, value);
        }
        for value in signed {
            put_signed(&mut bytes, value);
        }
        let mut reader = Reader::new(&bytes);
        for value in values {
            assert_eq!(reader.unsigned(), Some(value));
        }
        for value in signed {
            assert_eq!(reader.signed(), Some(value));
        }
        assert!(reader.is_empty());
        assert_eq!(reader.unsigned(), None);
    }

    #[test]
    fn small_magnitudes_take_one_byte() {
        for value in [-64, -1, 0, 63] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, value);
            assert_eq!(bytes.len(), 1, "{value}");
        }
    }

    #[test]
    fn overlong_and_impossible_values_are_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).unsigned(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).unsigned(), None);
        assert_eq!(Reader::new(&[5, 0, 0]).count(1), None);
        assert_eq!(Reader::new(&[2, 0, 0]).count(1), Some(2));
    }
}
