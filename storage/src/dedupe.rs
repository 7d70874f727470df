//! The dedupe window of one stream: which message ids came within a span of log time, and as which sequence. It is
//! replicated state: what it answers follows from what was inserted, never from when it was tidied.
//!
//! Ids are kept as 128-bit hashes, for ids are strings of any length that clients choose. The hash is SipHash-2-4 with
//! 128 bits of output, written out in `siphash.rs`: replicas of different versions and machines must agree, which rules
//! out the hashers of the standard library and foldhash (both may change), and no cryptographic hash is among this
//! crate's dependencies. The key belongs to the stream, so ids that collide in one stream don't in another. Among n ids
//! in a window some two collide by chance with odds of n^2 / 2^129: with a hundred million ids, 1 in 10^22 or so. A
//! collision would have the later message taken for a duplicate.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::siphash::siphash128;
use crate::varint::{self, Reader};

const VERSION: u8 = 1;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DedupeDecodeError {
    #[error("dedupe window: unknown version {0}")]
    Version(u8),
    #[error("dedupe window: damaged")]
    Malformed,
}

impl From<varint::Malformed> for DedupeDecodeError {
    fn from(_: varint::Malformed) -> Self {
        DedupeDecodeError::Malformed
    }
}

pub struct DedupeWindow {
    key: [u8; 16],
    window_ns: u64,
    ids_max: usize,
    /// In the order of insertion, so the oldest is at the front.
    entries: VecDeque<Entry>,
    /// The entry of each id, as its number since the beginning (its position plus `dropped`), cut to 32 bits. An id that
    /// came again after its time has two entries and here the later one.
    by_hash: HashTable<u32>,
    /// Entries dropped from the front so far.
    dropped: u64,
    /// Of these, within the window, for want of room. Not part of the replicated state.
    forgotten_early: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: [u64; 2],
    sequence: u64,
    time: i64,
}

impl DedupeWindow {
    /// `key`: the same on every replica and different from stream to stream. `ids_max`: when more ids come within the
    /// window, the oldest are forgotten early (an id takes some 50 bytes).
    pub fn new(key: [u8; 16], window_ns: u64, ids_max: usize) -> DedupeWindow {
        // Numbers are cut to 32 bits.
        let ids_max = ids_max.clamp(1, u32::MAX as usize);
        DedupeWindow {
            key,
            window_ns,
            ids_max,
            entries: VecDeque::new(),
            by_hash: HashTable::new(),
            dropped: 0,
            forgotten_early: 0,
        }
    }

    /// Remembers an id. Log time never goes back: an earlier `time` counts as the latest one. An id that is inserted
    /// again counts from now on, with its new sequence.
    pub fn insert(&mut self, id: &[u8], sequence: u64, time: i64) {
        let time = self.entries.back().map_or(time, |last| last.time.max(time));
        self.expire(time);
        while self.entries.len() >= self.ids_max {
            self.drop_oldest();
            self.forgotten_early += 1;
        }
        self.push(Entry { hash: siphash128(&self.key, id), sequence, time });
    }

    /// The sequence that the id came as, if it came less than the window before `now`.
    pub fn get(&self, id: &[u8], now: i64) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        let hash = siphash128(&self.key, id);
        let number = self.by_hash.find(hash[0], |number| self.entry(*number).hash == hash)?;
        let entry = self.entry(*number);
        (!self.has_expired(entry, now)).then_some(entry.sequence)
    }

    /// Forgets what the window has left behind. Only gives memory back: answers are the same without it.
    pub fn expire(&mut self, now: i64) {
        while self.entries.front().is_some_and(|entry| self.has_expired(entry, now)) {
            self.drop_oldest();
        }
        if self.entries.is_empty() && self.entries.capacity() > 1024 {
            let forgotten_early = self.forgotten_early;
            *self = DedupeWindow { forgotten_early, ..DedupeWindow::new(self.key, self.window_ns, self.ids_max) };
        }
    }

    /// Ids that were forgotten within the window, because more came than are held, since the window was made or read.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    /// Changes the window; ids that are outside it now are forgotten, those forgotten before do not come back.
    pub fn set_window(&mut self, window_ns: u64, now: i64) {
        // By the old window first: who tidied early and who did not have to remember the same.
        self.expire(now);
        self.window_ns = window_ns;
        self.expire(now);
    }

    /// The time at which the oldest id leaves the window.
    pub fn next_expiry(&self) -> Option<i64> {
        let window = i64::try_from(self.window_ns).unwrap_or(i64::MAX);
        self.entries.front().map(|entry| entry.time.saturating_add(window))
    }

    /// Ids held, some of them perhaps outside the window.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        *self = DedupeWindow::new(self.key, self.window_ns, self.ids_max);
    }

    pub fn bytes_held(&self) -> u64 {
        (self.entries.capacity() * size_of::<Entry>() + self.by_hash.allocation_size()) as u64
    }

    /// Appends the window to `out`: a version, key, window and limit, then per id the hash, the sequence's distance from
    /// the one before (zigzag) and the time's, oldest first. Ids outside the window at `now` are left out, so replicas
    /// that tidied at different times write the same.
    pub fn encode(&self, now: i64, out: &mut Vec<u8>) {
        let skip = self.entries.partition_point(|entry| self.has_expired(entry, now));
        out.push(VERSION);
        out.extend_from_slice(&self.key);
        varint::put(out, self.window_ns);
        varint::put(out, self.ids_max as u64);
        varint::put(out, (self.entries.len() - skip) as u64);
        let (mut sequence, mut time) = (0u64, 0i64);
        for entry in self.entries.range(skip..) {
            out.extend_from_slice(&entry.hash[0].to_le_bytes());
            out.extend_from_slice(&entry.hash[1].to_le_bytes());
            varint::put_signed(out, entry.sequence.wrapping_sub(sequence) as i64);
            varint::put_signed(out, entry.time.wrapping_sub(time));
            (sequence, time) = (entry.sequence, entry.time);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; all of `bytes` must be the window.
    pub fn decode(bytes: &[u8]) -> Result<DedupeWindow, DedupeDecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DedupeDecodeError::Version(version));
        }
        let key = reader.array()?;
        let window_ns = reader.varint()?;
        let ids_max = reader.length(u32::MAX as usize)?;
        let mut window = DedupeWindow::new(key, window_ns, ids_max);
        let (mut sequence, mut time) = (0u64, 0i64);
        for count in 0..reader.length(window.ids_max)? {
            let hash = [u64::from_le_bytes(reader.array()?), u64::from_le_bytes(reader.array()?)];
            sequence = sequence.wrapping_add(reader.signed()? as u64);
            let next_time = time.wrapping_add(reader.signed()?);
            if count > 0 && next_time < time {
                return Err(DedupeDecodeError::Malformed);
            }
            time = next_time;
            window.push(Entry { hash, sequence, time });
        }
        if reader.is_empty() { Ok(window) } else { Err(DedupeDecodeError::Malformed) }
    }

    fn has_expired(&self, entry: &Entry, now: i64) -> bool {
        now > entry.time && now.abs_diff(entry.time) >= self.window_ns || self.window_ns == 0
    }

    fn entry(&self, number: u32) -> &Entry {
        // Wrapping brings back what the cut to 32 bits took.
        &self.entries[number.wrapping_sub(self.dropped as u32) as usize]
    }

    fn push(&mut self, entry: Entry) {
        let number = (self.dropped as u32).wrapping_add(self.entries.len() as u32);
        self.entries.push_back(entry);
        let (entries, dropped) = (&self.entries, self.dropped as u32);
        let hash_of = |number: &u32| entries[number.wrapping_sub(dropped) as usize].hash;
        match self.by_hash.find_mut(entry.hash[0], |other| hash_of(other) == entry.hash) {
            Some(older) => *older = number,
            None => drop(self.by_hash.insert_unique(entry.hash[0], number, |other| hash_of(other)[0])),
        }
    }

    fn drop_oldest(&mut self) {
        let number = self.dropped as u32;
        if let Some(entry) = self.entries.front()
            && let Ok(found) = self.by_hash.find_entry(entry.hash[0], |other| *other == number)
        {
            found.remove();
        }
        self.entries.pop_front();
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model;

    const WINDOW: u64 = 100;

    fn window(ids_max: usize) -> DedupeWindow {
        DedupeWindow::new(*b"a stream's key!!", WINDOW, ids_max)
    }

    /// What is on disks must stay readable: a change here needs a new version.
    #[test]
    fn golden_window() {
        let mut window = window(1000);
        window.insert(b"one", 7, 1000);
        window.insert(b"two", 9, 1001);
        let mut bytes = Vec::new();
        window.encode(1001, &mut bytes);
        let hash = |id: &[u8]| siphash128(b"a stream's key!!", id).map(u64::to_le_bytes).concat();
        let head = [&[1][..], b"a stream's key!!", &[100, 0xe8, 7, 2]].concat();
        let one = [hash(b"one"), vec![14, 0xd0, 15]].concat();
        let two = [hash(b"two"), vec![4, 2]].concat();
        assert_eq!(bytes, [head, one, two].concat());
    }

    /// An id came back if nobody had tidied since, and did not if somebody had: replicas disagreed on what is a duplicate.
    #[test]
    fn a_wider_window_brings_back_nothing() {
        let mut window = window(1000);
        window.insert(b"old", 1, 0);
        window.insert(b"new", 2, 60);
        window.set_window(10 * WINDOW, 150);
        assert_eq!((window.get(b"old", 160), window.get(b"new", 160)), (None, Some(2)));
    }

    #[test]
    fn window_agrees_with_the_naive_one() {
        let step = (0..40u8, 0..30i64, any::<bool>(), 0..20u8);
        model::check(200, prop::collection::vec(step, 0..200), |steps| {
            let (mut one, mut other, mut naive) = (window(1000), window(1000), HashMap::new());
            let mut now = 1_000;
            for (sequence, (id, after, insert, tidy)) in (1u64..).zip(steps) {
                now += after;
                if insert {
                    one.insert(&[id], sequence, now);
                    other.insert(&[id], sequence, now);
                    naive.insert(id, (sequence, now));
                }
                if tidy == 0 {
                    one.expire(now);
                } else if tidy == 1 {
                    let mut bytes = Vec::new();
                    one.encode(now, &mut bytes);
                    one = DedupeWindow::decode(&bytes).unwrap();
                }
                for id in 0..40u8 {
                    let wanted = naive.get(&id).filter(|(_, time)| now - time < WINDOW as i64).map(|(seq, _)| *seq);
                    assert_eq!(one.get(&[id], now), wanted);
                }
            }
            let (mut left, mut right) = (Vec::new(), Vec::new());
            one.encode(now, &mut left);
            other.encode(now, &mut right);
            assert_eq!(left, right, "tidying is not seen from outside");
        });
    }

    #[test]
    fn a_full_window_forgets_the_oldest_alike_on_every_replica() {
        let (mut tidy, mut untidy) = (window(10), window(10));
        for n in 0..200u64 {
            let (id, time) = (n.to_le_bytes(), n as i64 * [7, 20][(n / 50 % 2) as usize]);
            tidy.expire(time);
            tidy.insert(&id, n, time);
            untidy.insert(&id, n, time);
            for old in 0..=n {
                assert_eq!(tidy.get(&old.to_le_bytes(), time), untidy.get(&old.to_le_bytes(), time));
            }
            assert!(tidy.len() <= 10 && untidy.len() <= 10);
        }
    }

    #[test]
    fn ids_forgotten_for_want_of_room_are_counted_and_those_that_expire_are_not() {
        let mut window = window(3);
        (0..5u64).for_each(|n| window.insert(&n.to_le_bytes(), n, 5));
        assert_eq!(window.forgotten_early(), 2);
        window.insert(b"later", 9, 5 + WINDOW as i64);
        assert_eq!((window.forgotten_early(), window.len()), (2, 1));
    }

    #[test]
    fn an_emptied_window_gives_its_memory_back() {
        let mut window = window(usize::MAX);
        (0..10_000u64).for_each(|n| window.insert(&n.to_le_bytes(), n, 5));
        assert!(window.bytes_held() > 10_000 * 32);
        window.expire(105);
        assert_eq!((window.len(), window.bytes_held()), (0, 0));
    }

    #[test]
    fn extreme_times_are_only_far_apart() {
        let mut window = DedupeWindow::new([0; 16], u64::MAX, 5);
        window.insert(b"a", 1, i64::MIN);
        assert_eq!(window.get(b"a", i64::MAX - 1), Some(1));
        window.set_window(5, i64::MAX);
        assert_eq!(window.get(b"a", i64::MAX), None);
    }

    #[test]
    fn decode_never_panics_on_arbitrary_bytes() {
        let mut real = window(100);
        (0..20u64).for_each(|n| real.insert(&n.to_le_bytes(), n * 3, n as i64 * 5));
        let mut bytes = Vec::new();
        real.encode(0, &mut bytes);
        model::check(1000, (prop::collection::vec(any::<u8>(), 0..80), 0..bytes.len(), 0..8u8), |(noise, at, bit)| {
            let _ = DedupeWindow::decode(&noise);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(window) = DedupeWindow::decode(&damaged) {
                assert!(window.len() <= 20);
            }
            assert!(DedupeWindow::decode(&bytes[..at]).is_err());
        });
    }
}
