//! The messages a consumer was given and has not acknowledged: an ordered map from stream sequence.
//!
//! Tuned to how consumers work: entries arrive in ascending order and leave near the front. It is a ring of slots in
//! order; a removed slot in the middle stays as a hole until the front reaches it or holes are the majority.
//!
//! HOT PATH: no allocation per message beyond the ring's own growth.

use std::collections::VecDeque;

/// Above this many slots an emptied ring gives its memory back.
const SLOTS_KEPT_MAX: usize = 1024;

/// Holes are squeezed out only above this many slots, so that small rings never bother.
const SLOTS_SQUEEZED_MIN: usize = 64;

/// One message that was delivered and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The consumer sequence of its first delivery.
    pub consumer_sequence: u64,
    /// When it was last delivered, moved by a nak with a delay or by a progress report.
    pub time: i64,
    /// How often it was delivered; 0 when the first delivery turned out to have reached nobody.
    pub deliveries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    sequence: u64,
    consumer_sequence: u64,
    time: i64,
    deliveries: u32,
    is_hole: bool,
    /// Waiting in the leader's redelivery queue. Not part of the state: never encoded, hashed or compared.
    queued: bool,
}

impl Slot {
    fn pending(&self) -> Pending {
        Pending { consumer_sequence: self.consumer_sequence, time: self.time, deliveries: self.deliveries }
    }
}

/// The ordered map.
#[derive(Clone, Debug, Default)]
pub struct PendingMap {
    /// Ascending by sequence; neither the first nor the last slot is a hole.
    slots: VecDeque<Slot>,
    len: usize,
    /// How many entries were delivered more than once.
    redelivered: usize,
}

impl PendingMap {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries were delivered more than once.
    pub fn redelivered(&self) -> usize {
        self.redelivered
    }

    pub fn get(&self, sequence: u64) -> Option<Pending> {
        self.find(sequence).map(|index| self.slots[index].pending())
    }

    pub fn contains(&self, sequence: u64) -> bool {
        self.find(sequence).is_some()
    }

    /// The entry with the lowest sequence.
    pub fn first(&self) -> Option<(u64, Pending)> {
        self.slots.front().map(|slot| (slot.sequence, slot.pending()))
    }

    /// Entries in ascending order of sequence.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Pending)> {
        self.slots.iter().filter(|slot| !slot.is_hole).map(|slot| (slot.sequence, slot.pending()))
    }

    /// Adds an entry, or replaces the one that is there.
    pub fn insert(&mut self, sequence: u64, pending: Pending) {
        let slot = Slot {
            sequence,
            consumer_sequence: pending.consumer_sequence,
            time: pending.time,
            deliveries: pending.deliveries,
            is_hole: false,
            queued: false,
        };
        let is_repeated = usize::from(slot.deliveries > 1);
        if self.slots.back().is_none_or(|last| last.sequence < sequence) {
            self.slots.push_back(slot);
        } else {
            match self.slots.binary_search_by_key(&sequence, |slot| slot.sequence) {
                Ok(index) => {
                    let old = std::mem::replace(&mut self.slots[index], slot);
                    if !old.is_hole {
                        self.len -= 1;
                        self.redelivered -= usize::from(old.deliveries > 1);
                    }
                }
                Err(index) => self.slots.insert(index, slot),
            }
        }
        self.len += 1;
        self.redelivered += is_repeated;
    }

    /// Sets when the entry was last delivered and how often; false when there is no such entry.
    pub fn redeliver(&mut self, sequence: u64, deliveries: u32, time: i64) -> bool {
        let Some(index) = self.find(sequence) else { return false };
        let slot = &mut self.slots[index];
        self.redelivered -= usize::from(slot.deliveries > 1);
        self.redelivered += usize::from(deliveries > 1);
        slot.deliveries = deliveries;
        slot.time = time;
        true
    }

    /// Moves the time from which the next redelivery counts.
    pub fn set_time(&mut self, sequence: u64, time: i64) {
        if let Some(index) = self.find(sequence) {
            self.slots[index].time = time;
        }
    }

    pub fn remove(&mut self, sequence: u64) -> Option<Pending> {
        let index = self.find(sequence)?;
        let pending = self.slots[index].pending();
        self.slots[index].is_hole = true;
        self.len -= 1;
        self.redelivered -= usize::from(pending.deliveries > 1);
        self.drop_holes();
        Some(pending)
    }

    /// Removes every entry with `first <= sequence <= last`, telling each.
    pub fn remove_range(&mut self, first: u64, last: u64, mut removed: impl FnMut(u64, Pending)) {
        let start = self.slots.partition_point(|slot| slot.sequence < first);
        for slot in self.slots.range_mut(start..) {
            if slot.sequence > last {
                break;
            }
            if slot.is_hole {
                continue;
            }
            let pending = slot.pending();
            slot.is_hole = true;
            self.len -= 1;
            self.redelivered -= usize::from(pending.deliveries > 1);
            removed(slot.sequence, pending);
        }
        self.drop_holes();
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// True when the entry waits in the redelivery queue.
    pub fn is_queued(&self, sequence: u64) -> bool {
        self.find(sequence).is_some_and(|index| self.slots[index].queued)
    }

    /// Marks the entry as waiting in the redelivery queue, or not; returns whether it was, `None` without such an entry.
    pub fn set_queued(&mut self, sequence: u64, queued: bool) -> Option<bool> {
        let index = self.find(sequence)?;
        Some(std::mem::replace(&mut self.slots[index].queued, queued))
    }

    /// Visits, in ascending order, the entries that do not wait in the redelivery queue; `true` queues the entry.
    pub fn queue_where(&mut self, mut wanted: impl FnMut(u64, Pending) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_hole && !slot.queued) {
            slot.queued = wanted(slot.sequence, slot.pending());
        }
    }

    fn find(&self, sequence: u64) -> Option<usize> {
        let first = self.slots.front()?.sequence;
        let distance = sequence.checked_sub(first)?;
        // Without gaps the distance is the index; holes keep it so.
        if let Ok(guess) = usize::try_from(distance)
            && let Some(slot) = self.slots.get(guess)
            && slot.sequence == sequence
        {
            return (!slot.is_hole).then_some(guess);
        }
        let index = self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()?;
        (!self.slots[index].is_hole).then_some(index)
    }

    fn drop_holes(&mut self) {
        if self.len == 0 {
            self.slots.clear();
            if self.slots.capacity() > SLOTS_KEPT_MAX {
                self.slots = VecDeque::new();
            }
            return;
        }
        while self.slots.front().is_some_and(|slot| slot.is_hole) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|slot| slot.is_hole) {
            self.slots.pop_back();
        }
        if self.slots.len() > SLOTS_SQUEEZED_MIN && self.len * 2 < self.slots.len() {
            self.slots.retain(|slot| !slot.is_hole);
        }
    }
}

impl PartialEq for PendingMap {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for PendingMap {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(sequence: u64, deliveries: u32) -> Pending {
        Pending { consumer_sequence: sequence + 1, time: sequence as i64, deliveries }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append { gap: u64, deliveries: u32 },
        Insert(u64),
        Remove(u64),
        RemoveRange(u64, u64),
        Redeliver(u64, u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1u64..3, 1u32..3).prop_map(|(gap, deliveries)| Step::Append { gap, deliveries }),
            1 => (0u64..200).prop_map(Step::Insert),
            3 => (0u64..200).prop_map(Step::Remove),
            1 => (0u64..200, 0u64..40).prop_map(|(first, count)| Step::RemoveRange(first, first + count)),
            1 => (0u64..200, 1u32..4).prop_map(|(sequence, deliveries)| Step::Redeliver(sequence, deliveries)),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_as_an_ordered_map(steps in steps()) {
            let mut model: BTreeMap<u64, Pending> = BTreeMap::new();
            let mut map = PendingMap::default();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Append { gap, deliveries } => {
                        next += gap;
                        model.insert(next, entry(next, deliveries));
                        map.insert(next, entry(next, deliveries));
                    }
                    Step::Insert(sequence) => {
                        model.insert(sequence, entry(sequence, 1));
                        map.insert(sequence, entry(sequence, 1));
                        next = next.max(sequence);
                    }
                    Step::Remove(sequence) => assert_eq!(map.remove(sequence), model.remove(&sequence)),
                    Step::RemoveRange(first, last) => {
                        let mut gone = Vec::new();
                        map.remove_range(first, last, |sequence, pending| gone.push((sequence, pending)));
                        let expected: Vec<_> = model.range(first..=last).map(|(key, value)| (*key, *value)).collect();
                        model.retain(|key, _| !(first..=last).contains(key));
                        assert_eq!(gone, expected);
                    }
                    Step::Redeliver(sequence, deliveries) => {
                        assert_eq!(map.redeliver(sequence, deliveries, 9), model.contains_key(&sequence));
                        if let Some(pending) = model.get_mut(&sequence) {
                            *pending = Pending { deliveries, time: 9, ..*pending };
                        }
                    }
                }
                assert_eq!(map.len(), model.len());
                assert_eq!(map.redelivered(), model.values().filter(|pending| pending.deliveries > 1).count());
                assert_eq!(map.first(), model.first_key_value().map(|(key, value)| (*key, *value)));
            }
            assert!(map.iter().eq(model.iter().map(|(key, value)| (*key, *value))));
            for sequence in 0..next + 2 {
                assert_eq!(map.get(sequence), model.get(&sequence).copied());
            }
        }
    }

    #[test]
    fn the_queued_mark_is_not_part_of_the_value() {
        let mut map = PendingMap::default();
        map.insert(5, entry(5, 1));
        let other = map.clone();
        assert_eq!(map.set_queued(5, true), Some(false));
        assert!(map.is_queued(5));
        assert_eq!(map, other);
        assert_eq!(map.set_queued(6, true), None);
    }

    #[test]
    fn a_large_ring_gives_its_memory_back_when_it_empties() {
        let mut map = PendingMap::default();
        for sequence in 0..10_000 {
            map.insert(sequence, entry(sequence, 1));
        }
        map.remove_range(0, u64::MAX, |_, _| {});
        assert_eq!(map.slots.capacity(), 0);
    }
}
