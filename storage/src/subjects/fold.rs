//! The hash of a subject for state hashes: quick, and specified here, so that every version on every machine agrees.
//! Eight bytes at a time are multiplied to 128 bits and folded. It finds accidental differences; it is no defence against
//! somebody who looks for a collision.

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STRIPE: u64 = 0xd6e8_feb8_6659_fd93;
const TAIL: u64 = 0xa076_1d64_78bd_642f;

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let (stripes, tail) = bytes.as_chunks::<8>();
    let mut state = SEED ^ bytes.len() as u64;
    for stripe in stripes {
        state = fold(state ^ u64::from_le_bytes(*stripe), STRIPE);
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    fold(fold(state ^ u64::from_le_bytes(last), TAIL), SEED)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas of different versions compare these: they must never change.
    #[test]
    fn hashes_are_golden() {
        let hashes = [&b""[..], b"a", b"orders.1.created", b"orders.2.created"].map(hash);
        let golden = [0xf5b4_6a00_aa28_3ecf, 0x21cb_4e48_3f33_c5a3, 0x5dc3_875d_9d34_c7e2, 0xad88_e052_e3b2_bde0];
        assert_eq!(hashes, golden);
    }
}
