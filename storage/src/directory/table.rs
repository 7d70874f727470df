//! HOT PATH: no lock, no log above trace.
//!
//! From a growing number (Raft index or stream sequence) to an offset in one segment: 4 bytes an entry, plus a run
//! for every gap in the numbers.

use std::ops::RangeInclusive;

/// Consecutive numbers from `first`, at `start` in the offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) start: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetTable {
    runs: Vec<Run>,
    offsets: Vec<u32>,
}

impl OffsetTable {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(crate) fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.first)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.runs.last().map(|run| run.first + (self.offsets.len() - run.start as usize) as u64 - 1)
    }

    /// Adds a number above all others.
    pub(crate) fn push(&mut self, number: u64, offset: u32) {
        let next = self.last().map(|last| last + 1);
        assert!(next.is_none_or(|next| number >= next), "numbers of a table grow");
        if next != Some(number) {
            self.runs.push(Run { first: number, start: self.offsets.len() as u32 });
        }
        self.offsets.push(offset);
    }

    pub(crate) fn get(&self, number: u64) -> Option<u32> {
        find(&self.runs, self.offsets.len(), number).map(|at| self.offsets[at])
    }

    /// The numbers that are there of a range, as runs.
    pub(crate) fn runs_in(&self, from: u64, to: u64) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        let start = self.runs.partition_point(|run| run.first <= from).saturating_sub(1);
        let ends = self.runs.iter().skip(start + 1).map(|next| next.start as usize).chain([self.offsets.len()]);
        let runs = self.runs[start.min(self.runs.len())..].iter().zip(ends).take_while(move |(run, _)| run.first <= to);
        runs.filter_map(move |(run, end)| {
            let last = run.first + (end - run.start as usize) as u64 - 1;
            (last >= from).then(|| run.first.max(from)..=last.min(to))
        })
    }

    /// Removes `number` and all above it; returns the offset of the lowest one removed.
    pub(crate) fn truncate_from(&mut self, number: u64) -> Option<u32> {
        let (_, at) = find_from(&self.runs, self.offsets.len(), number)?;
        let offset = self.offsets[at];
        self.truncate_len(at);
        Some(offset)
    }

    /// Keeps the first `length` entries.
    pub(crate) fn truncate_len(&mut self, length: usize) {
        self.offsets.truncate(length);
        while self.runs.last().is_some_and(|run| run.start as usize >= length) {
            self.runs.pop();
        }
    }
}

/// The position of exactly `number`, in a table given by its runs and its length.
pub(crate) fn find(runs: &[Run], length: usize, number: u64) -> Option<usize> {
    let at = runs.partition_point(|run| run.first <= number).checked_sub(1)?;
    let run = runs[at];
    let end = runs.get(at + 1).map_or(length, |next| next.start as usize);
    let position = usize::try_from(number - run.first).ok()?.checked_add(run.start as usize)?;
    (position < end).then_some(position)
}

/// The lowest number at or above `number`, and its position.
pub(crate) fn find_from(runs: &[Run], length: usize, number: u64) -> Option<(u64, usize)> {
    if let Some(at) = find(runs, length, number) {
        return Some((number, at));
    }
    let next = runs.get(runs.partition_point(|run| run.first <= number))?;
    ((next.start as usize) < length).then_some((next.first, next.start as usize))
}

/// The number at a position.
pub(crate) fn number_at(runs: &[Run], position: usize) -> Option<u64> {
    let at = runs.partition_point(|run| run.start as usize <= position).checked_sub(1)?;
    Some(runs[at].first + (position - runs[at].start as usize) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((0u64..4, any::<bool>(), 0u64..50), 0..60)) {
            let mut table = OffsetTable::default();
            let mut model = BTreeMap::new();
            for (position, (gap, cut, at)) in steps.into_iter().enumerate() {
                if cut {
                    let removed = model.split_off(&at);
                    prop_assert_eq!(table.truncate_from(at), removed.values().next().copied());
                } else {
                    let number = table.last().map_or(1, |last| last + 1) + gap;
                    table.push(number, position as u32);
                    model.insert(number, position as u32);
                }
                prop_assert_eq!(table.first(), model.keys().next().copied());
                prop_assert_eq!(table.last(), model.keys().next_back().copied());
                for number in 0..60 {
                    prop_assert_eq!(table.get(number), model.get(&number).copied());
                    let found = find_from(table.runs(), table.len(), number).map(|(number, _)| number);
                    prop_assert_eq!(found, model.range(number..).next().map(|(number, _)| *number));
                }
                for (from, to) in [(0, 20), (10, 10), (15, 40), (30, u64::MAX)] {
                    let found: Vec<u64> = table.runs_in(from, to).flatten().collect();
                    let expected: Vec<u64> = model.range(from..=to).map(|(number, _)| *number).collect();
                    prop_assert_eq!(found, expected);
                }
                for (position, number) in model.keys().enumerate() {
                    prop_assert_eq!(number_at(table.runs(), position), Some(*number));
                }
            }
        }
    }
}
