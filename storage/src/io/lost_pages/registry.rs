//! Which addresses belong to which file. Looked up inside of a signal handler, so that nothing there may wait, allocate
//! or be freed: slots in chunks that are added and never removed.
//!
//! A slot in use does not change. A look-up may meet another slot that is just taken or given back, and passes it over:
//! the address it looks for lies in a mapping that somebody is reading, whose slot was complete before.
//!
//! There is no upper bound but the kernel's own one of mappings (65530 by default): chunks are as many as it took for the
//! most mappings there ever were at one time, at 24 bytes each.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::LostPages;

const CHUNK_SLOTS: usize = 256;

/// One mapping.
pub(super) struct Slot {
    /// First address; 0 while the slot is free. Written last when it is taken, and first when it is given back.
    start: AtomicUsize,
    /// The address behind the last.
    end: AtomicUsize,
    lost: AtomicPtr<LostPages>,
}

struct Chunk {
    slots: [Slot; CHUNK_SLOTS],
    /// Set once, before any of its slots is taken, and never dropped.
    next: OnceLock<Box<Chunk>>,
}

/// All mappings that are watched.
pub(super) struct Registry {
    first: Chunk,
    /// Not for look-ups.
    free: Mutex<Free>,
}

/// Slots that may be taken.
struct Free {
    slots: Vec<&'static Slot>,
    /// The newest chunk; at first there is none, and the slots of the first one are not among the free ones.
    last: Option<&'static Chunk>,
}

/// What is known about an address.
pub(super) struct Found {
    /// Of the file. Alive for as long as the slot is taken.
    pub(super) lost: *const LostPages,
    /// Distance from the mapping's first byte.
    pub(super) offset: usize,
}

impl Slot {
    const fn new() -> Self {
        Self { start: AtomicUsize::new(0), end: AtomicUsize::new(0), lost: AtomicPtr::new(ptr::null_mut()) }
    }

    fn find(&self, address: usize) -> Option<Found> {
        let start = self.start.load(Ordering::Acquire);
        if start == 0 || address < start {
            return None;
        }
        let end = self.end.load(Ordering::Acquire);
        let lost = self.lost.load(Ordering::Acquire);
        // Where it has changed in between it is none that anybody reads.
        (address < end && self.start.load(Ordering::Acquire) == start).then(|| Found { lost, offset: address - start })
    }
}

impl Chunk {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; CHUNK_SLOTS], next: OnceLock::new() }
    }
}

impl Registry {
    pub(super) const fn new() -> Self {
        Self { first: Chunk::new(), free: Mutex::new(Free { slots: Vec::new(), last: None }) }
    }

    /// Takes a slot for `length` bytes from `start`. What `lost` points to must live until the slot is given back.
    pub(super) fn add(&'static self, start: usize, length: usize, lost: &LostPages) -> &'static Slot {
        let slot = {
            let mut free = self.free.lock();
            match free.slots.pop() {
                Some(slot) => slot,
                None => self.grow(&mut free),
            }
        };
        slot.end.store(start.saturating_add(length), Ordering::Release);
        slot.lost.store(ptr::from_ref(lost).cast_mut(), Ordering::Release);
        slot.start.store(start, Ordering::Release);
        slot
    }

    /// Adds a chunk; one slot of it is taken.
    fn grow(&'static self, free: &mut Free) -> &'static Slot {
        let chunk: &'static Chunk = match free.last {
            None => &self.first,
            Some(last) => last.next.get_or_init(|| Box::new(Chunk::new())),
        };
        free.last = Some(chunk);
        let (first, others) = chunk.slots.split_first().expect("a chunk has slots");
        free.slots.extend(others);
        first
    }

    /// Gives a slot back, while the mapping is still there: nobody else has its addresses yet.
    pub(super) fn remove(&self, slot: &'static Slot) {
        slot.start.store(0, Ordering::Release);
        self.free.lock().slots.push(slot);
    }

    /// The mapping that an address lies in. Runs inside of a signal handler.
    pub(super) fn find(&self, address: usize) -> Option<Found> {
        let mut chunk = &self.first;
        loop {
            if let Some(found) = chunk.slots.iter().find_map(|slot| slot.find(address)) {
                return Some(found);
            }
            chunk = chunk.next.get()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const PAGE: usize = 4096;

    fn registry() -> &'static Registry {
        Box::leak(Box::new(Registry::new()))
    }

    fn offset_in(registry: &Registry, address: usize, lost: &LostPages) -> Option<usize> {
        registry.find(address).map(|found| {
            assert!(ptr::eq(found.lost, lost), "the address of another mapping");
            found.offset
        })
    }

    #[test]
    fn an_address_is_found_from_the_first_byte_to_the_last_and_only_while_the_mapping_is_there() {
        let (registry, lost) = (registry(), LostPages::default());
        let slot = registry.add(10 * PAGE, 3 * PAGE, &lost);
        for (address, offset) in
            [(10 * PAGE - 1, None), (10 * PAGE, Some(0)), (13 * PAGE - 1, Some(3 * PAGE - 1)), (13 * PAGE, None)]
        {
            assert_eq!(offset_in(registry, address, &lost), offset, "{address}");
        }
        registry.remove(slot);
        assert_eq!(offset_in(registry, 11 * PAGE, &lost), None);
    }

    #[test]
    fn more_mappings_than_a_chunk_holds_are_found_and_their_slots_are_used_again() {
        let registry = registry();
        let lost: Vec<LostPages> = (0..CHUNK_SLOTS * 3 + 1).map(|_| LostPages::default()).collect();
        for _ in 0..3 {
            let slots: Vec<_> =
                lost.iter().enumerate().map(|(at, lost)| registry.add((at + 1) * PAGE, PAGE, lost)).collect();
            for (at, lost) in lost.iter().enumerate() {
                assert_eq!(offset_in(registry, (at + 1) * PAGE + 7, lost), Some(7));
            }
            slots.into_iter().for_each(|slot| registry.remove(slot));
        }
        let chunks = std::iter::successors(Some(&registry.first), |chunk| chunk.next.get().map(|next| &**next));
        assert_eq!(chunks.count(), 4, "no more chunks than the most mappings at one time");
    }

    /// The addresses of a mapping that is gone belong to the next one, and so does its slot.
    #[test]
    fn a_mapping_in_use_is_found_while_others_come_and_go() {
        const MINE: usize = 64 * PAGE;
        let registry = registry();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3usize {
                let done = &done;
                scope.spawn(move || {
                    let lost = [LostPages::default(), LostPages::default()];
                    let base = (thread + 1) << 32;
                    let mut round = 0;
                    while !done.load(Ordering::Relaxed) {
                        round += 1;
                        // Shorter and longer ones at the same address, and others beside them.
                        let start = base + round % 2 * PAGE;
                        let length = MINE + round % 5 * PAGE;
                        let held = &lost[round % 2];
                        let slot = registry.add(start, length, held);
                        for address in [start, start + length / 2, start + length - 1] {
                            assert_eq!(offset_in(registry, address, held), Some(address - start));
                        }
                        registry.remove(slot);
                    }
                });
            }
            let lost = LostPages::default();
            let slot = registry.add(PAGE, MINE, &lost);
            for step in 0..200_000 {
                let address = PAGE + step % MINE;
                assert_eq!(offset_in(registry, address, &lost), Some(step % MINE));
                assert!(registry.find(9 << 32).is_none(), "nobody has this address");
            }
            registry.remove(slot);
            done.store(true, Ordering::Relaxed);
        });
    }
}
