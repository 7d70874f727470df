//! SipHash-2-4 with 128 bits of output, as Aumasson and Bernstein specify it: keyed, quick for short inputs, and the same
//! on every machine and version, which replicated state needs.

/// The two halves of the hash, little-endian words of the specified output.
pub(crate) fn siphash128(key: &[u8; 16], message: &[u8]) -> [u64; 2] {
    let (low, high) = key.split_at(8);
    let (k0, k1) = (word(low), word(high));
    let mut state = State {
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    let (words, tail) = message.as_chunks::<8>();
    for bytes in words {
        state.absorb(u64::from_le_bytes(*bytes));
    }
    state.absorb(word(tail) | (message.len() as u64) << 56);
    state.v2 ^= 0xee;
    let first = state.finish();
    state.v1 ^= 0xdd;
    [first, state.finish()]
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.rounds(2);
        self.v0 ^= word;
    }

    fn finish(&mut self) -> u64 {
        self.rounds(4);
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.v0 = self.v0.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(13) ^ self.v0;
            self.v0 = self.v0.rotate_left(32);
            self.v2 = self.v2.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(16) ^ self.v2;
            self.v0 = self.v0.wrapping_add(self.v3);
            self.v3 = self.v3.rotate_left(21) ^ self.v0;
            self.v2 = self.v2.wrapping_add(self.v1);
            self.v1 = self.v1.rotate_left(17) ^ self.v2;
            self.v2 = self.v2.rotate_left(32);
        }
    }
}

/// Up to eight bytes as a little-endian word.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vectors of the reference implementation: key 00..0f, messages 00, 00 01, ...
    #[test]
    fn reference_vectors() {
        let key: [u8; 16] = std::array::from_fn(|n| n as u8);
        let wanted = [
            "a3817f04ba25a8e66df67214c7550293",
            "da87c1d86b99af44347659119b22fc45",
            "8177228da4a45dc7fca38bdef60affe4",
            "9c70b60c5267a94e5f33b6b02985ed51",
        ];
        for (len, wanted) in wanted.iter().enumerate() {
            let message: Vec<u8> = (0..len as u8).collect();
            let hash: Vec<u8> = siphash128(&key, &message).iter().flat_map(|word| word.to_le_bytes()).collect();
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&hex, wanted);
        }
    }

    #[test]
    fn every_byte_counts_at_every_length() {
        for len in 1..40 {
            let message = vec![7; len];
            let hash = siphash128(&[1; 16], &message);
            for at in 0..len {
                let mut other = message.clone();
                other[at] ^= 1;
                assert_ne!(siphash128(&[1; 16], &other), hash);
            }
            assert_ne!(siphash128(&[2; 16], &message), hash);
        }
    }
}
