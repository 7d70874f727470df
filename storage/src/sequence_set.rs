//! A set of sequences: those removed from the middle of a stream, those acknowledged ahead of a floor. It is a tree of
//! runs or a roaring bitmap, whichever is smaller; most streams have an empty one, which allocates nothing.

mod bitmap;
mod codec;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use bitmap::{bitmap_runs, next_absent_in};
pub use codec::SequenceSetDecodeError;
use runs::{
    CONTAINER_SEQUENCES, RUN_BYTES, RUNS_MIN, bitmap_bytes, insert_run, remove_runs_below, runs_bytes, treemap_of,
};

/// A range that fills more containers than this is kept as a run.
const RANGE_CONTAINERS_MAX: u64 = 1024;
/// The bitmap is packed, and compared with runs, each time it has taken so many insertions.
const PACK_INTERVAL: u32 = 1 << 20;

#[derive(Clone, Default)]
pub struct SequenceSet {
    form: Form,
    len: u64,
}

impl FromIterator<u64> for SequenceSet {
    fn from_iter<I: IntoIterator<Item = u64>>(sequences: I) -> Self {
        let mut set = SequenceSet::new();
        for sequence in sequences {
            set.insert(sequence);
        }
        set
    }
}

#[derive(Clone)]
enum Form {
    /// First to last sequence of each run; runs neither touch nor overlap.
    Runs(BTreeMap<u64, u64>),
    Bitmap(Box<Bitmap>),
}

impl Default for Form {
    fn default() -> Self {
        Form::Runs(BTreeMap::new())
    }
}

#[derive(Clone)]
struct Bitmap {
    map: RoaringTreemap,
    insertions: u32,
}

impl SequenceSet {
    pub fn new() -> SequenceSet {
        SequenceSet::default()
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// False when the sequence was there already.
    pub fn insert(&mut self, sequence: u64) -> bool {
        let added = match &mut self.form {
            Form::Runs(runs) => insert_run(runs, sequence, sequence),
            Form::Bitmap(bitmap) => {
                bitmap.insertions += 1;
                u64::from(bitmap.map.insert(sequence))
            }
        };
        self.len += added;
        self.reform();
        added > 0
    }

    /// Says how many of the range were not there yet.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (first, last) = (*range.start(), *range.end());
        if matches!(self.form, Form::Bitmap(_)) && (last - first) / CONTAINER_SEQUENCES > RANGE_CONTAINERS_MAX {
            self.turn_into_runs();
        }
        let added = match &mut self.form {
            Form::Runs(runs) => insert_run(runs, first, last),
            Form::Bitmap(bitmap) => {
                // Each container that is filled takes space until the bitmap is packed.
                bitmap.insertions += 1 + ((last - first) / CONTAINER_SEQUENCES) as u32;
                bitmap.map.insert_range(range)
            }
        };
        self.len += added;
        self.reform();
        added
    }

    pub fn contains(&self, sequence: u64) -> bool {
        match &self.form {
            Form::Runs(runs) => runs.range(..=sequence).next_back().is_some_and(|(_, last)| *last >= sequence),
            Form::Bitmap(bitmap) => bitmap.map.contains(sequence),
        }
    }

    /// Forgets every sequence below `first`.
    pub fn remove_below(&mut self, first: u64) {
        if first == 0 || self.len == 0 {
            return;
        }
        match &mut self.form {
            Form::Runs(runs) => self.len -= remove_runs_below(runs, first),
            Form::Bitmap(bitmap) => {
                self.len -= bitmap.map.remove_range(..first);
                if self.len < RUNS_MIN as u64 {
                    self.turn_into_runs();
                }
            }
        }
    }

    /// The lowest sequence at or above `from` that is not in the set; `None` when all of them are.
    pub fn next_absent(&self, from: u64) -> Option<u64> {
        match &self.form {
            Form::Runs(runs) => match runs.range(..=from).next_back() {
                Some((_, last)) if *last >= from => last.checked_add(1),
                _ => Some(from),
            },
            Form::Bitmap(bitmap) => next_absent_in(&bitmap.map, from),
        }
    }

    /// The lowest sequence of the set at or above `from`.
    pub fn next_present(&self, from: u64) -> Option<u64> {
        match &self.form {
            Form::Runs(runs) => match runs.range(..=from).next_back() {
                Some((_, last)) if *last >= from => Some(from),
                _ => runs.range(from..).next().map(|(first, _)| *first),
            },
            Form::Bitmap(bitmap) => {
                let mut iterator = bitmap.map.iter();
                iterator.advance_to(from);
                iterator.next()
            }
        }
    }

    /// How many of the range are in the set.
    pub fn count_in(&self, range: RangeInclusive<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (first, last) = (*range.start(), *range.end());
        match &self.form {
            Form::Runs(runs) => {
                let from = runs.range(..=first).next_back().map_or(first, |(start, _)| *start);
                let overlap = |(start, end): (&u64, &u64)| {
                    let (low, high) = (first.max(*start), last.min(*end));
                    if low <= high { high - low + 1 } else { 0 }
                };
                runs.range(from..=last).map(overlap).sum()
            }
            Form::Bitmap(bitmap) => bitmap.map.range_cardinality(range),
        }
    }

    /// The sequences, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs().flatten()
    }

    /// The longest ranges without a gap, ascending.
    pub fn runs(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        // Two iterators of which one is empty spare a box.
        let (runs, bitmap) = match &self.form {
            Form::Runs(runs) => (Some(runs), None),
            Form::Bitmap(bitmap) => (None, Some(&bitmap.map)),
        };
        let runs = runs.into_iter().flatten().map(|(first, last)| *first..=*last);
        runs.chain(bitmap.into_iter().flat_map(bitmap_runs))
    }

    /// About how much memory the set holds.
    pub fn bytes_held(&self) -> u64 {
        match &self.form {
            Form::Runs(runs) => runs.len() as u64 * RUN_BYTES,
            Form::Bitmap(bitmap) => bitmap.map.serialized_size() as u64 + size_of::<Bitmap>() as u64,
        }
    }

    /// Changes the form when the other one is smaller. Runs are looked at each time their number has doubled, a bitmap
    /// after so many insertions, so that neither costs much per insertion.
    fn reform(&mut self) {
        match &mut self.form {
            Form::Runs(runs) => {
                if runs.len() >= RUNS_MIN && runs.len().is_power_of_two() && bitmap_bytes(runs) < runs_bytes(runs) {
                    let map = treemap_of(runs);
                    self.form = Form::Bitmap(Box::new(Bitmap { map, insertions: 0 }));
                }
            }
            Form::Bitmap(bitmap) => {
                if bitmap.insertions >= PACK_INTERVAL {
                    bitmap.insertions = 0;
                    bitmap.map.optimize();
                    let size = bitmap.map.serialized_size() as u64;
                    if self.runs().take((size / RUN_BYTES) as usize + 1).count() as u64 * RUN_BYTES < size {
                        self.turn_into_runs();
                    }
                }
            }
        }
    }

    fn turn_into_runs(&mut self) {
        self.form = Form::Runs(self.runs().map(|run| (*run.start(), *run.end())).collect());
    }
}

impl PartialEq for SequenceSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.runs().eq(other.runs())
    }
}

impl std::fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.runs()).finish()
    }
}
