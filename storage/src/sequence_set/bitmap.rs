//! What roaring does not offer: gaps and runs of a bitmap.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

pub(super) fn next_absent_in(map: &RoaringTreemap, from: u64) -> Option<u64> {
    let mut at = from;
    for (high, bitmap) in map.bitmaps().skip_while(|(high, _)| u64::from(*high) < from >> 32) {
        let base = u64::from(high) << 32;
        if base > at {
            return Some(at);
        }
        while at >> 32 == u64::from(high) {
            match bitmap.range(at as u32..).next_range() {
                Some(run) if *run.start() == at as u32 => at = (base | u64::from(*run.end())).checked_add(1)?,
                _ => return Some(at),
            }
        }
    }
    Some(at)
}

/// A bitmap's runs; those that a container's border cuts are joined.
pub(super) fn bitmap_runs(map: &RoaringTreemap) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
    let mut pieces = map
        .bitmaps()
        .flat_map(|(high, bitmap)| {
            let (base, mut iter) = (u64::from(high) << 32, bitmap.iter());
            std::iter::from_fn(move || iter.next_range())
                .map(move |run| base | u64::from(*run.start())..=base | u64::from(*run.end()))
        })
        .peekable();
    std::iter::from_fn(move || {
        let run = pieces.next()?;
        let mut end = *run.end();
        while let Some(next) = pieces.next_if(|next| Some(*next.start()) == end.checked_add(1)) {
            end = *next.end();
        }
        Some(*run.start()..=end)
    })
}
