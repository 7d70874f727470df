//! A set as a tree of runs, and when a bitmap would be smaller.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;

/// Fewer runs than this are never worth a bitmap.
pub(super) const RUNS_MIN: usize = 256;
/// What a run costs in the tree, with the tree's slack.
pub(super) const RUN_BYTES: u64 = 24;
/// What a bitmap's container of up to 65,536 sequences costs at least, and the most it holds.
const CONTAINER_BYTES: u64 = 40;
const CONTAINER_BYTES_MAX: u64 = 8192;
pub(super) const CONTAINER_SEQUENCES: u64 = 1 << 16;

/// Says how many sequences were not there yet.
pub(super) fn insert_run(runs: &mut BTreeMap<u64, u64>, first: u64, last: u64) -> u64 {
    let (mut start, mut end, mut covered) = (first, last, 0);
    // From behind: every run that touches or overlaps is taken in.
    while let Some((&old_start, &old_end)) = runs.range(..=last.saturating_add(1)).next_back() {
        if old_end < first.saturating_sub(1) {
            break;
        }
        if old_start <= first && old_end >= last {
            return 0;
        }
        let (low, high) = (old_start.max(first), old_end.min(last));
        covered += if low <= high { high - low + 1 } else { 0 };
        (start, end) = (start.min(old_start), end.max(old_end));
        if old_start <= first {
            // Grows in place.
            runs.insert(old_start, end);
            return (last - first).saturating_add(1) - covered;
        }
        runs.remove(&old_start);
    }
    runs.insert(start, end);
    (last - first).saturating_add(1) - covered
}

pub(super) fn remove_runs_below(runs: &mut BTreeMap<u64, u64>, first: u64) -> u64 {
    let mut removed = 0;
    while let Some(entry) = runs.first_entry() {
        let (start, end) = (*entry.key(), *entry.get());
        if start >= first {
            break;
        }
        entry.remove();
        if end >= first {
            runs.insert(first, end);
            return removed + (first - start);
        }
        removed += end - start + 1;
    }
    removed
}

pub(super) fn treemap_of(runs: &BTreeMap<u64, u64>) -> RoaringTreemap {
    let mut map = RoaringTreemap::new();
    for (first, last) in runs {
        map.insert_range(*first..=*last);
    }
    map.optimize();
    map
}

pub(super) fn runs_bytes(runs: &BTreeMap<u64, u64>) -> u64 {
    runs.len() as u64 * RUN_BYTES
}

/// What the same set would take as a bitmap, guessed from above: in containers that are shared, two bytes per sequence
/// or four per run, whichever is less.
pub(super) fn bitmap_bytes(runs: &BTreeMap<u64, u64>) -> u64 {
    let (mut bytes, mut container, mut in_container) = (0u64, None, 0);
    for (first, last) in runs {
        let (first_container, last_container) = (first / CONTAINER_SEQUENCES, last / CONTAINER_SEQUENCES);
        if container != Some(first_container) {
            in_container = 0;
            bytes = bytes.saturating_add(CONTAINER_BYTES);
        }
        let more = (2 * (last - first).saturating_add(1)).min(4).min(CONTAINER_BYTES_MAX - in_container);
        in_container += more;
        let containers = (last_container - first_container).saturating_mul(CONTAINER_BYTES);
        bytes = bytes.saturating_add(more).saturating_add(containers);
        container = Some(last_container);
    }
    bytes
}
