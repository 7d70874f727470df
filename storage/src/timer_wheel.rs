//! The timer wheel: many deadlines, few of them near. Levels of 64 slots, each level 64 times coarser than the one
//! below; a timer is put into a fitting slot and comes down a level when its slot's time comes. Insert and cancel touch
//! one slot. It has no clock: deadlines are nanoseconds of whatever time the owner tells it (log time or monotonic).
//!
//! Ticks are about a millisecond. A timer never expires before its deadline, and at the first `advance` a tick after it
//! at the latest. What `advance` yields, and in which order, follows from the timers and the times alone, not from the
//! order of insertion, so replicas and restored checkpoints agree.

/// 2^20 ns, 1.05 ms.
const TICK_SHIFT: u32 = 20;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 64 bits of nanoseconds are 44 bits of ticks, and one more for rounding up.
const LEVELS: usize = 8;
const NONE: u32 = u32::MAX;
const UNUSED: u8 = u8::MAX;
/// An empty wheel gives back more room than this.
const TIMERS_KEPT: usize = 256;

/// Names a timer until it expires or is cancelled, and then none (for the next four billion timers).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TimerId {
    index: u32,
    serial: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Expired<K> {
    pub deadline: u64,
    pub key: K,
}

/// Keys that are equal may wait at the same time; expiry is ordered by deadline, then key.
pub struct TimerWheel<K> {
    levels: [Level; LEVELS],
    timers: Vec<Timer<K>>,
    /// The first unused timer.
    free: u32,
    len: usize,
    /// The next timer's.
    serial: u32,
    /// The tick the wheel stands at. Every waiting timer's tick is at or above it.
    tick: u64,
}

/// A level's slots exist once they were needed: an empty wheel is small.
#[derive(Default)]
struct Level {
    /// One bit per slot.
    occupied: u64,
    slots: Option<Box<[u32; SLOTS]>>,
}

struct Timer<K> {
    deadline: u64,
    key: K,
    /// The next timer of the slot, or the next unused one.
    next: u32,
    previous: u32,
    serial: u32,
    /// `UNUSED` when the timer waits for nothing.
    level: u8,
    slot: u8,
}

impl<K: Ord + Copy> Default for TimerWheel<K> {
    fn default() -> Self {
        TimerWheel::new()
    }
}

impl<K: Ord + Copy> TimerWheel<K> {
    pub fn new() -> TimerWheel<K> {
        TimerWheel { levels: Default::default(), timers: Vec::new(), free: NONE, len: 0, serial: 0, tick: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A deadline that has passed expires at the next `advance`.
    pub fn insert(&mut self, deadline: u64, key: K) -> TimerId {
        let serial = self.serial;
        self.serial = serial.wrapping_add(1);
        self.len += 1;
        let index = self.place(Timer { deadline, key, next: NONE, previous: NONE, serial, level: UNUSED, slot: 0 });
        self.link(index);
        TimerId { index, serial }
    }

    /// The timer's key; `None` when it has expired or was cancelled.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let timer = self.timers.get(id.index as usize)?;
        if timer.serial != id.serial || timer.level == UNUSED {
            return None;
        }
        self.unlink(id.index);
        Some(self.give_back(id.index))
    }

    /// Appends to `out` every timer whose tick has come. A `now` before an earlier one counts as that one.
    pub fn advance(&mut self, now: u64, out: &mut Vec<Expired<K>>) {
        let target = (now >> TICK_SHIFT).max(self.tick);
        let start = out.len();
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.tick = tick;
            self.empty_slot(level, slot, out);
        }
        self.tick = target;
        out[start..].sort_unstable();
        if self.len == 0 {
            // Millions may have waited here.
            self.timers.clear();
            self.timers.shrink_to(TIMERS_KEPT);
            self.free = NONE;
        }
    }

    /// When to call `advance` next: at or before the time at which it would yield something. It may yield nothing then,
    /// when far timers only move nearer; that happens at most once per level.
    pub fn next_deadline(&self) -> Option<u64> {
        let (_, _, tick) = self.next_slot()?;
        Some(tick.checked_shl(TICK_SHIFT).filter(|time| time >> TICK_SHIFT == tick).unwrap_or(u64::MAX))
    }

    /// The occupied slot that comes first, and the tick at which it does. Lower levels lie before higher ones.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        let shift = SLOT_BITS * level as u32;
        let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, (above | (slot as u64) << shift).max(self.tick)))
    }

    /// Yields the timers of a slot of the lowest level, or spreads those of a higher one over lower levels.
    fn empty_slot(&mut self, level: usize, slot: usize, out: &mut Vec<Expired<K>>) {
        self.levels[level].occupied &= !(1 << slot);
        let Some(slots) = &mut self.levels[level].slots else {
            return;
        };
        let mut index = std::mem::replace(&mut slots[slot], NONE);
        while index != NONE {
            let Timer { next, deadline, .. } = self.timers[index as usize];
            if level > 0 {
                self.link(index);
            } else {
                out.push(Expired { deadline, key: self.give_back(index) });
            }
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let timer = &mut self.timers[index as usize];
        let tick = tick_of(timer.deadline).max(self.tick);
        // The highest bit in which the two differ says how far away the timer is.
        let distance = (tick ^ self.tick) | (SLOTS as u64 - 1);
        let level = (distance.ilog2() / SLOT_BITS) as usize;
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        let head = &mut self.levels[level];
        let slots = head.slots.get_or_insert_with(|| Box::new([NONE; SLOTS]));
        head.occupied |= 1 << slot;
        let next = std::mem::replace(&mut slots[slot], index);
        (timer.level, timer.slot) = (level as u8, slot as u8);
        (timer.next, timer.previous) = (next, NONE);
        if next != NONE {
            self.timers[next as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Timer { next, previous, level, slot, .. } = self.timers[index as usize];
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous != NONE {
            self.timers[previous as usize].next = next;
            return;
        }
        let head = &mut self.levels[usize::from(level)];
        if let Some(slots) = &mut head.slots {
            slots[usize::from(slot)] = next;
        }
        if next == NONE {
            head.occupied &= !(1 << slot);
        }
    }

    fn place(&mut self, timer: Timer<K>) -> u32 {
        if self.free == NONE {
            assert!(self.timers.len() < NONE as usize, "more than four billion timers");
            self.timers.push(timer);
            return self.timers.len() as u32 - 1;
        }
        let index = self.free;
        self.free = self.timers[index as usize].next;
        self.timers[index as usize] = timer;
        index
    }

    fn give_back(&mut self, index: u32) -> K {
        let timer = &mut self.timers[index as usize];
        timer.level = UNUSED;
        timer.next = self.free;
        self.free = index;
        self.len -= 1;
        timer.key
    }
}

/// The first tick that does not begin before the deadline.
fn tick_of(deadline: u64) -> u64 {
    deadline.div_ceil(1 << TICK_SHIFT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model;

    const TICK: u64 = 1 << TICK_SHIFT;

    #[derive(Clone, Debug)]
    enum Operation {
        /// So long after now (or before).
        Insert(i64),
        Cancel(usize),
        Advance(u64),
        AdvanceToNext,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let after = prop_oneof![
            4 => -5_000_000..50_000_000i64,
            2 => 0..30_000_000_000i64,
            1 => 0..10_000_000_000_000_000i64,
        ];
        let step = prop_oneof![4 => 0..20_000_000u64, 2 => 0..5_000_000_000u64, 1 => 0..100_000_000_000_000u64];
        prop_oneof![
            10 => after.prop_map(Operation::Insert),
            3 => any::<usize>().prop_map(Operation::Cancel),
            4 => step.prop_map(Operation::Advance),
            3 => Just(Operation::AdvanceToNext),
        ]
    }

    /// Deadline and key of what waits, by id order, beside the wheel.
    #[derive(Default)]
    struct Naive {
        waiting: BTreeMap<u64, (u64, TimerId)>,
        ids: Vec<(u64, TimerId)>,
    }

    fn advance(wheel: &mut TimerWheel<u64>, naive: &mut Naive, now: u64) {
        let mut out = Vec::new();
        wheel.advance(now, &mut out);
        assert!(out.is_sorted());
        for expired in &out {
            assert!(expired.deadline <= now, "never early");
            assert_eq!(naive.waiting.remove(&expired.key).map(|(deadline, _)| deadline), Some(expired.deadline));
        }
        for (deadline, _) in naive.waiting.values() {
            assert!(deadline + TICK > now, "a tick late at most");
        }
    }

    #[test]
    fn wheel_agrees_with_the_naive_one() {
        model::check(200, prop::collection::vec(operation(), 0..150), |operations| {
            let (mut wheel, mut naive) = (TimerWheel::new(), Naive::default());
            let mut now = 1_700_000_000_000_000_000u64;
            wheel.advance(now, &mut Vec::new());
            for (key, operation) in (0..).zip(operations) {
                match operation {
                    Operation::Insert(after) => {
                        let deadline = now.saturating_add_signed(after);
                        let id = wheel.insert(deadline, key);
                        naive.waiting.insert(key, (deadline, id));
                        naive.ids.push((key, id));
                    }
                    Operation::Cancel(which) if !naive.ids.is_empty() => {
                        let (key, id) = naive.ids[which % naive.ids.len()];
                        assert_eq!(wheel.cancel(id), naive.waiting.remove(&key).map(|_| key));
                    }
                    Operation::Cancel(_) => {}
                    Operation::Advance(step) => {
                        now += step;
                        advance(&mut wheel, &mut naive, now);
                    }
                    Operation::AdvanceToNext => {
                        if let Some(next) = wheel.next_deadline() {
                            let soonest = naive.waiting.values().map(|(deadline, _)| *deadline).min();
                            assert!(soonest.is_some_and(|soonest| next < soonest.max(now) + TICK));
                            now = now.max(next);
                            advance(&mut wheel, &mut naive, now);
                        }
                    }
                }
                assert_eq!(wheel.len(), naive.waiting.len());
                assert_eq!(wheel.next_deadline().is_none(), naive.waiting.is_empty());
            }
            // Following next_deadline reaches everything, in few steps per timer.
            let mut steps = 0;
            while let Some(next) = wheel.next_deadline() {
                now = now.max(next);
                advance(&mut wheel, &mut naive, now);
                steps += 1;
            }
            assert!(naive.waiting.is_empty() && steps <= 150 * LEVELS);
        });
    }

    #[test]
    fn order_does_not_depend_on_insertion() {
        let deadlines: Vec<u64> = (0..500u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 30).collect();
        let run = |deadlines: &mut dyn Iterator<Item = &u64>, start: u64| {
            let (mut wheel, mut out) = (TimerWheel::new(), Vec::new());
            wheel.advance(start, &mut out);
            deadlines.for_each(|deadline| assert!(wheel.insert(*deadline, *deadline % 7).serial < 500));
            wheel.advance(u64::MAX >> 8, &mut out);
            out
        };
        let forward = run(&mut deadlines.iter(), 0);
        assert_eq!(forward.len(), 500);
        assert_eq!(forward, run(&mut deadlines.iter().rev(), 0));
        assert_eq!(forward, run(&mut deadlines.iter(), 1 << 33));
    }

    #[test]
    fn time_does_not_go_back() {
        let (mut wheel, mut out) = (TimerWheel::new(), Vec::new());
        wheel.advance(100 * TICK, &mut out);
        wheel.insert(50 * TICK, 1);
        wheel.insert(101 * TICK, 2);
        wheel.advance(0, &mut out);
        assert_eq!(out.iter().map(|expired| expired.key).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn an_old_id_cancels_nothing() {
        let (mut wheel, mut out) = (TimerWheel::new(), Vec::new());
        let old = wheel.insert(TICK, 1);
        wheel.advance(2 * TICK, &mut out);
        let new = wheel.insert(9 * TICK, 2);
        assert_eq!(old.index, new.index);
        assert_eq!(wheel.cancel(old), None);
        assert_eq!(wheel.cancel(new), Some(2));
        assert_eq!(wheel.cancel(new), None);
        wheel.insert(u64::MAX, 3);
        assert_eq!(wheel.next_deadline().is_some(), !wheel.is_empty());
    }
}
