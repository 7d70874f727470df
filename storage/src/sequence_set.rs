//! A set of sequences: those removed from the middle of a stream, those acknowledged ahead of a floor. It is a tree of
//! runs or a roaring bitmap, whichever is smaller; most streams have an empty one, which allocates nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use crate::varint::{self, Reader};

/// Fewer runs than this are never worth a bitmap.
const RUNS_MIN: usize = 256;
/// What a run costs in the tree, with the tree's slack.
const RUN_BYTES: u64 = 24;
/// What a bitmap's container of up to 65,536 sequences costs at least, and the most it holds.
const CONTAINER_BYTES: u64 = 40;
const CONTAINER_BYTES_MAX: u64 = 8192;
const CONTAINER_SEQUENCES: u64 = 1 << 16;
/// A range that fills more containers than this is kept as a run.
const RANGE_CONTAINERS_MAX: u64 = 1024;
/// The bitmap is packed, and compared with runs, each time it has taken so many insertions.
const PACK_INTERVAL: u32 = 1 << 20;

const VERSION_RUNS: u8 = 1;
const VERSION_BITMAP: u8 = 2;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceSetDecodeError {
    #[error("sequence set: unknown version {0}")]
    Version(u8),
    #[error("sequence set: damaged")]
    Malformed,
}

impl From<varint::Malformed> for SequenceSetDecodeError {
    fn from(_: varint::Malformed) -> Self {
        SequenceSetDecodeError::Malformed
    }
}

#[derive(Clone, Default)]
pub struct SequenceSet {
    form: Form,
    len: u64,
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
                bitmap.insertions += 1;
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

    pub fn to_treemap(&self) -> RoaringTreemap {
        match &self.form {
            Form::Runs(runs) => treemap_of(runs),
            Form::Bitmap(bitmap) => bitmap.map.clone(),
        }
    }

    /// About how much memory the set holds.
    pub fn bytes_held(&self) -> u64 {
        match &self.form {
            Form::Runs(runs) => runs.len() as u64 * RUN_BYTES,
            Form::Bitmap(bitmap) => bitmap.map.serialized_size() as u64 + size_of::<Bitmap>() as u64,
        }
    }

    /// Appends the set to `out`: a version, then runs (their number; per run the gap before it and its length less one,
    /// as varints) or a roaring bitmap in its portable form, whichever is shorter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Form::Bitmap(bitmap) = &self.form {
            // A run takes two bytes at least.
            if bitmap.map.serialized_size() < 2 * self.runs().count() {
                out.push(VERSION_BITMAP);
                bitmap.map.serialize_into(out).expect("invariant: writing to a Vec does not fail");
                return;
            }
        }
        out.push(VERSION_RUNS);
        varint::put(out, self.runs().count() as u64);
        let mut next = 0;
        for run in self.runs() {
            varint::put(out, run.start() - next);
            varint::put(out, run.end() - run.start());
            next = run.end().saturating_add(1);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; all of `bytes` must be the set.
    pub fn decode(bytes: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
        let (version, body) = bytes.split_first().ok_or(SequenceSetDecodeError::Malformed)?;
        match *version {
            VERSION_RUNS => decode_runs(body),
            VERSION_BITMAP => decode_bitmap(body),
            other => Err(SequenceSetDecodeError::Version(other)),
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

/// Says how many sequences were not there yet.
fn insert_run(runs: &mut BTreeMap<u64, u64>, first: u64, last: u64) -> u64 {
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

fn remove_runs_below(runs: &mut BTreeMap<u64, u64>, first: u64) -> u64 {
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

fn next_absent_in(map: &RoaringTreemap, from: u64) -> Option<u64> {
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
fn bitmap_runs(map: &RoaringTreemap) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
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

fn treemap_of(runs: &BTreeMap<u64, u64>) -> RoaringTreemap {
    let mut map = RoaringTreemap::new();
    for (first, last) in runs {
        map.insert_range(*first..=*last);
    }
    map.optimize();
    map
}

fn runs_bytes(runs: &BTreeMap<u64, u64>) -> u64 {
    runs.len() as u64 * RUN_BYTES
}

/// What the same set would take as a bitmap, guessed from above: in containers that are shared, two bytes per sequence
/// or four per run, whichever is less.
fn bitmap_bytes(runs: &BTreeMap<u64, u64>) -> u64 {
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

fn decode_runs(body: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
    let mut reader = Reader::new(body);
    let (mut runs, mut len, mut next) = (BTreeMap::new(), 0u64, Some(0u64));
    for count in 0..reader.varint()? {
        let gap = reader.varint()?;
        // Runs without a gap would be one.
        if gap == 0 && count > 0 {
            return Err(SequenceSetDecodeError::Malformed);
        }
        let first = next.and_then(|next| next.checked_add(gap)).ok_or(SequenceSetDecodeError::Malformed)?;
        let span = reader.varint()?;
        let last = first.checked_add(span).ok_or(SequenceSetDecodeError::Malformed)?;
        len = span.checked_add(1).and_then(|more| len.checked_add(more)).ok_or(SequenceSetDecodeError::Malformed)?;
        next = last.checked_add(1);
        runs.insert(first, last);
    }
    if !reader.is_empty() {
        return Err(SequenceSetDecodeError::Malformed);
    }
    Ok(SequenceSet { form: Form::Runs(runs), len })
}

fn decode_bitmap(mut body: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
    let map = RoaringTreemap::deserialize_from(&mut body).map_err(|_| SequenceSetDecodeError::Malformed)?;
    if !body.is_empty() || map.bitmaps().any(|(_, bitmap)| bitmap.is_empty()) {
        return Err(SequenceSetDecodeError::Malformed);
    }
    let len = map.len();
    Ok(SequenceSet { form: Form::Bitmap(Box::new(Bitmap { map, insertions: 0 })), len })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::model;

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u64),
        Range(u64, u64),
        RemoveBelow(u64),
        /// Every other of many: makes a bitmap.
        Scatter(u64),
        Recode,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let sequence = || prop_oneof![5 => 0..2000u64, 1 => 65_000..66_000u64, 1 => (1u64 << 32) - 50..(1 << 32) + 50];
        prop_oneof![
            20 => sequence().prop_map(Operation::Insert),
            5 => (sequence(), 0..100u64).prop_map(|(first, span)| Operation::Range(first, first + span)),
            2 => sequence().prop_map(Operation::RemoveBelow),
            1 => sequence().prop_map(Operation::Scatter),
            2 => Just(Operation::Recode),
        ]
    }

    fn apply(set: &mut SequenceSet, naive: &mut BTreeSet<u64>, operation: Operation) {
        match operation {
            Operation::Insert(sequence) => assert_eq!(set.insert(sequence), naive.insert(sequence)),
            Operation::Range(first, last) => {
                let added = (first..=last).filter(|sequence| naive.insert(*sequence)).count();
                assert_eq!(set.insert_range(first..=last), added as u64);
            }
            Operation::RemoveBelow(first) => {
                set.remove_below(first);
                *naive = naive.split_off(&first);
            }
            Operation::Scatter(first) => {
                for sequence in (first..first + 1400).step_by(2) {
                    assert_eq!(set.insert(sequence), naive.insert(sequence));
                }
            }
            Operation::Recode => {
                let mut bytes = Vec::new();
                set.encode(&mut bytes);
                let decoded = SequenceSet::decode(&bytes).unwrap();
                assert_eq!(&decoded, set);
                *set = decoded;
            }
        }
    }

    #[test]
    fn set_agrees_with_the_naive_one() {
        let operations = prop::collection::vec(operation(), 0..60);
        let probes = prop::collection::vec((0..3500u64, 0..3000u64), 20);
        model::check(200, (operations, probes), |(operations, probes)| {
            let (mut set, mut naive) = (SequenceSet::new(), BTreeSet::new());
            for operation in operations {
                apply(&mut set, &mut naive, operation);
                assert_eq!(set.len(), naive.len() as u64);
            }
            assert!(set.iter().eq(naive.iter().copied()));
            let mut end = None;
            for run in set.runs() {
                assert!(end.is_none_or(|end| end + 1 < *run.start()), "runs are as long as can be");
                end = Some(*run.end());
            }
            for (base, more) in probes {
                for from in [base, base + 63_000, base + (1 << 32) - 1000] {
                    assert_eq!(set.contains(from), naive.contains(&from));
                    assert_eq!(set.next_absent(from), (from..).find(|sequence| !naive.contains(sequence)));
                    let count = naive.range(from..=from + more).count() as u64;
                    assert_eq!(set.count_in(from..=from + more), count);
                }
            }
            assert!(set.to_treemap().iter().eq(naive.iter().copied()));
        });
    }

    #[test]
    fn the_smaller_form_is_taken() {
        let mut scattered = SequenceSet::new();
        (0..100_000).for_each(|n| assert!(scattered.insert(n * 2)));
        assert!(matches!(scattered.form, Form::Bitmap(_)));
        assert!(scattered.bytes_held() < 100_000 / 3, "{}", scattered.bytes_held());
        let mut sparse = SequenceSet::new();
        (0..2000).for_each(|n| assert!(sparse.insert_range(n << 32..=(n << 32) + (1 << 31)) > 0));
        assert!(matches!(sparse.form, Form::Runs(_)));
        assert!(sparse.bytes_held() < 50_000);
        // The survivors of a key-value bucket: a bitmap at first, runs once they are few.
        let mut bucket = SequenceSet::new();
        for n in 0..3_000_000u64 {
            if n % 100_000 != 7 && n.wrapping_mul(0x9e37_79b9) % 100 < 99 {
                bucket.insert(n);
            }
        }
        for n in (0..3_000_000).filter(|n| n % 100_000 != 7) {
            bucket.insert(n);
        }
        bucket.reform();
        assert!(bucket.bytes_held() < 3_000_000 / 8 / 2, "{}", bucket.bytes_held());
    }

    #[test]
    fn the_ends_of_the_numbers_are_members_like_others() {
        let mut set = SequenceSet::new();
        assert!(set.insert(u64::MAX) && set.insert(0));
        assert_eq!(set.next_absent(u64::MAX), None);
        assert_eq!(set.insert_range(1..=u64::MAX - 2), u64::MAX - 2);
        assert_eq!(set.next_absent(0), Some(u64::MAX - 1));
        assert_eq!(set.count_in(0..=u64::MAX), u64::MAX);
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert_eq!(SequenceSet::decode(&bytes), Ok(set.clone()));
        set.remove_below(u64::MAX);
        assert_eq!(set.iter().collect::<Vec<_>>(), [u64::MAX]);
    }

    #[test]
    fn decode_never_panics_on_arbitrary_bytes() {
        model::check(2000, prop::collection::vec(any::<u8>(), 0..80), |mut bytes| {
            for version in [VERSION_RUNS, VERSION_BITMAP] {
                bytes.insert(0, version);
                if let Ok(set) = SequenceSet::decode(&bytes) {
                    assert_eq!(set.is_empty(), set.runs().next().is_none());
                }
                bytes.remove(0);
            }
            let _ = SequenceSet::decode(&bytes);
        });
    }

    #[test]
    fn decode_survives_damage_to_a_real_bitmap() {
        let mut set = SequenceSet::new();
        (0..20_000u64).for_each(|n| assert!(set.insert(n * 2)));
        (100_000..110_000u64).filter(|n| n % 7 != 0).for_each(|n| assert!(set.insert(n)));
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        assert_eq!(bytes[0], VERSION_BITMAP);
        model::check(200, (0..bytes.len(), 0..8u8, any::<bool>()), |(at, bit, cut)| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if cut {
                damaged.truncate(at);
            }
            if let Ok(decoded) = SequenceSet::decode(&damaged) {
                assert_eq!(decoded.iter().count() as u64, decoded.len());
            }
        });
    }
}
