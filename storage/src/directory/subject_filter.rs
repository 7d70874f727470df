//! HOT PATH: no lock, no log above trace.
//!
//! Which subjects a sealed segment does not have, in ten bits for each that it has: most segments are passed over by it.
//!
//! A Bloom filter of blocks as large as a cache line: all bits of a subject are in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const BITS_PER_SUBJECT: usize = 10;
/// Bits set for a subject, each chosen by so many of its hash.
const PROBES: u32 = 6;
const PROBE_BITS: u32 = 9;
const WORDS: usize = 8;
const _: () = assert!(1 << PROBE_BITS == WORDS * 64);

/// Says of a hash that it is not there, or that it may be.
pub(crate) struct SubjectFilter {
    blocks: Vec<[u64; WORDS]>,
    /// What all filters take together.
    bytes_taken: Arc<AtomicUsize>,
}

impl SubjectFilter {
    /// A filter for `count` subjects, unless all filters together would take more than `bytes_max`.
    pub(crate) fn new(
        count: usize,
        hashes: impl Iterator<Item = u64>,
        bytes_taken: &Arc<AtomicUsize>,
        bytes_max: usize,
    ) -> Option<Self> {
        let blocks = (count * BITS_PER_SUBJECT).div_ceil(WORDS * 64).max(1);
        let bytes = blocks * size_of::<[u64; WORDS]>();
        if bytes_taken.fetch_add(bytes, Ordering::Relaxed) + bytes > bytes_max {
            bytes_taken.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        let mut filter = Self { blocks: vec![[0; WORDS]; blocks], bytes_taken: bytes_taken.clone() };
        for hash in hashes {
            let block = filter.block_of(hash);
            probes(hash).for_each(|(word, bit)| filter.blocks[block][word] |= bit);
        }
        Some(filter)
    }

    /// False when the subject with this hash is not there.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        probes(hash).all(|(word, bit)| block[word] & bit != 0)
    }

    /// By the upper bits; the lower ones choose within the block.
    fn block_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }
}

impl Drop for SubjectFilter {
    fn drop(&mut self) {
        self.bytes_taken.fetch_sub(self.blocks.len() * size_of::<[u64; WORDS]>(), Ordering::Relaxed);
    }
}

fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..PROBES).map(move |probe| {
        let bit = (hash >> (probe * PROBE_BITS)) as usize % (WORDS * 64);
        (bit / 64, 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn what_is_there_is_never_denied_and_what_is_not_seldom_is_not() {
        let hasher = foldhash::fast::RandomState::default();
        let hash = |number: u64| hasher.hash_one(format!("k.{number:07}").as_bytes());
        let taken = Arc::default();
        let filter = SubjectFilter::new(20_000, (0..20_000).map(hash), &taken, usize::MAX).unwrap();
        assert!((0..20_000).all(|number| filter.may_have(hash(number))));
        let wrong = (20_000..120_000).filter(|number| filter.may_have(hash(*number))).count();
        assert!(wrong < 3_000, "{wrong} of 100000");
    }

    #[test]
    fn all_filters_together_are_bounded() {
        let taken = Arc::default();
        let make = || SubjectFilter::new(1000, std::iter::empty(), &taken, 3000);
        let (first, second) = (make(), make());
        assert!(first.is_some() && second.is_some() && make().is_none());
        drop(first);
        assert!(make().is_some());
        drop(second);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
    }
}
