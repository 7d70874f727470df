//! Election timeouts without a random source. raft 0.7 draws them from the thread's generator; a group overwrites each draw
//! with a value computed from its seed, so a run can be replayed, in the simulator and in the field.

/// Ticks without a leader until this peer campaigns: in `[base, 2 * base)`. `attempts` counts its campaigns, so two peers that
/// once collided part ways.
pub(crate) fn timeout_ticks(seed: u64, term: u64, attempts: u64, base: usize) -> usize {
    let mixed = mix(seed ^ mix(term ^ mix(attempts)));
    base + (mixed % base as u64) as usize
}

/// The finalizer of splitmix64.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_stay_in_range_and_spread() {
        let mut seen = [0u32; 10];
        for attempt in 0..1000 {
            let ticks = timeout_ticks(42, 7, attempt, 10);
            assert!((10..20).contains(&ticks));
            seen[ticks - 10] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
