//! HOT PATH: no lock per message; buffers are kept from burst to burst.
//!
//! What one read burst delivers: bytes staged per touched subscriber, and the messages for services inside the
//! server, which are called at the end of the burst in arrival order. A flush takes one lock and one write per
//! touched subscriber.
//!
//! Bursts come from a pool of the thread, because a flush may call a service that publishes in turn.

use super::mail::{Letter, Mail};
use super::nesting;
use super::spaced_sid::SpacedSid;
use crate::account::{Account, ClientIdentity, Delivered, InternalSubscriber, Outbound, Traffic};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A burst is flushed early when this much is staged.
const STAGED_BYTES_MAX: usize = 4 << 20;
/// What a burst keeps of its buffers for the next one, in all and in one.
const KEPT_BYTES_MAX: usize = 8 << 20;
const KEPT_SLOT_BYTES_MAX: usize = 256 * 1024;
/// After so many bursts that used less than a quarter of the slots, the others are let go.
const QUIET_BURSTS_MAX: u32 = 1000;
const POOL_MAX: usize = 4;

#[derive(Default)]
pub struct Burst {
    /// Tells targets whether the slot they remember is of this burst.
    epoch: u64,
    slots: Vec<Slot>,
    used: usize,
    slot_of: HashMap<u64, u32, RandomState>,
    staged_bytes: usize,
    mail: Mail,
    traffic: Traffic,
    /// The most loaded peer that was flushed to, and the one to wait for.
    loaded: Option<Loaded>,
    worth_waiting: Option<Awaited>,
    drop_overloaded: bool,
    random: u64,
    quiet: u32,
    /// Scratch for the line of a delivery that can't be taken over from the publisher's bytes.
    pub line: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    outbound: Option<Arc<Outbound>>,
    bytes: Vec<u8>,
    delivered: Delivered,
    /// What of the bytes is no delivery, should the deliveries be left out.
    control: Vec<u8>,
}

/// A peer that a publisher should wait for.
pub struct Awaited {
    pub outbound: Arc<Outbound>,
    /// Until less than so many bytes are left for it.
    pub below: usize,
    pending: usize,
}

/// A peer above the stall bound.
struct Loaded {
    outbound: Arc<Outbound>,
    pending: usize,
}

thread_local! {
    #[expect(clippy::vec_box, reason = "bursts move between the pool and their users")]
    static POOL: RefCell<Vec<Box<Burst>>> = const { RefCell::new(Vec::new()) };
}

impl Burst {
    /// An empty burst from the thread's pool.
    pub fn take() -> Box<Burst> {
        static NEXT_BURST: AtomicU64 = AtomicU64::new(1);
        POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            let number = NEXT_BURST.fetch_add(1, Ordering::Relaxed);
            // 24 bits of burst objects, 40 bits of flushes each: unique for as long as a process lives.
            Box::new(Burst { epoch: (number & 0xff_ffff) << 40 | 1, random: number, ..Burst::default() })
        })
    }

    /// Gives a flushed burst back.
    pub fn give_back(mut self: Box<Self>) {
        debug_assert!(self.used == 0 && self.mail.is_empty(), "only flushed bursts go back");
        self.traffic = Traffic::default();
        self.loaded = None;
        self.worth_waiting = None;
        self.drop_overloaded = false;
        POOL.with_borrow_mut(|pool| {
            if pool.len() < POOL_MAX {
                pool.push(self);
            }
        });
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// `no_fast_producer_stall`: leave out peers that are far behind instead of waiting for them.
    pub fn set_drop_overloaded(&mut self, drop: bool) {
        self.drop_overloaded = drop;
    }

    /// The slot of a peer in this burst.
    pub fn slot(&mut self, outbound: &Arc<Outbound>) -> u32 {
        let next = self.used as u32;
        let slot = *self.slot_of.entry(outbound.id()).or_insert(next);
        if slot == next {
            if self.slots.len() == self.used {
                self.slots.push(Slot::default());
            }
            self.slots[self.used].outbound = Some(Arc::clone(outbound));
            self.used += 1;
        }
        slot
    }

    /// Stages one delivery: `MSG subject` in pieces, the sid, and then the rest in pieces.
    #[inline]
    pub fn stage(&mut self, slot: u32, head: &[&[u8]], sid: &SpacedSid, tail: &[&[u8]], payload_bytes: usize) {
        let slot = &mut self.slots[slot as usize];
        let before = slot.bytes.len();
        for part in head {
            slot.bytes.extend_from_slice(part);
        }
        sid.append_to(&mut slot.bytes);
        for part in tail {
            slot.bytes.extend_from_slice(part);
        }
        slot.delivered.messages += 1;
        slot.delivered.bytes += payload_bytes as u64;
        self.staged_bytes += slot.bytes.len() - before;
    }

    /// Stages protocol bytes that are no delivery.
    pub fn stage_control(&mut self, outbound: &Arc<Outbound>, bytes: &[u8]) {
        let slot = self.slot(outbound);
        let slot = &mut self.slots[slot as usize];
        slot.bytes.extend_from_slice(bytes);
        if self.drop_overloaded {
            slot.control.extend_from_slice(bytes);
        }
        self.staged_bytes += bytes.len();
    }

    /// True when it is time to flush before the burst is over.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.staged_bytes + self.mail.copied_bytes() >= STAGED_BYTES_MAX
    }

    /// Flushes as soon as much is staged, in the middle of a fan-out. Messages for services stay.
    #[inline]
    pub fn flush_if_full(&mut self) {
        if self.staged_bytes >= STAGED_BYTES_MAX {
            self.flush();
        }
    }

    /// A random number below `bound`; good enough to spread load.
    #[inline]
    pub fn random_below(&mut self, bound: usize) -> usize {
        // splitmix64: any seed will do, and there is no state to protect.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 32) as usize * bound) >> 32
    }

    /// Remembers a message for a service until the end of the burst. `buffer` is where its slices may point to.
    pub fn defer(&mut self, service: &Arc<dyn InternalSubscriber>, letter: &Letter<'_>, buffer: &[u8]) {
        self.mail.add(service, letter, buffer);
    }

    /// Writes what is staged: one lock and one send per touched peer.
    pub fn flush(&mut self) {
        let mut kept_bytes = 0;
        let mut kept_slots = 0;
        for slot in &mut self.slots[..self.used] {
            let Some(outbound) = slot.outbound.take() else {
                continue;
            };
            if self.drop_overloaded && slot.delivered.messages > 0 && outbound.is_overloaded() {
                // Answers are no messages: the peer waits for them.
                slot.bytes.clear();
                slot.bytes.append(&mut slot.control);
                slot.delivered = Delivered::default();
            }
            slot.control.clear();
            self.traffic.messages_out += slot.delivered.messages;
            self.traffic.bytes_out += slot.delivered.bytes;
            let pending = outbound.send(&mut slot.bytes, std::mem::take(&mut slot.delivered));
            if slot.bytes.capacity() > KEPT_SLOT_BYTES_MAX {
                slot.bytes = Vec::new();
            }
            kept_bytes += slot.bytes.capacity();
            kept_slots += usize::from(kept_bytes <= KEPT_BYTES_MAX);
            if pending > outbound.stall_bytes() {
                if self.worth_waiting.as_ref().is_none_or(|kept| kept.pending < pending)
                    && let Some(below) = outbound.worth_waiting(pending)
                {
                    self.worth_waiting = Some(Awaited { outbound: Arc::clone(&outbound), below, pending });
                }
                if self.loaded.as_ref().is_none_or(|kept| kept.pending < pending) {
                    self.loaded = Some(Loaded { outbound, pending });
                }
            }
        }
        self.quiet = if self.used * 4 < self.slots.len() { self.quiet + 1 } else { 0 };
        if kept_bytes > KEPT_BYTES_MAX || self.quiet > QUIET_BURSTS_MAX {
            self.slots.truncate(kept_slots.max(self.used / 4));
            self.slot_of = HashMap::default();
            self.quiet = 0;
        } else {
            self.slot_of.clear();
        }
        self.used = 0;
        self.staged_bytes = 0;
        self.epoch += 1;
    }

    pub fn has_services(&self) -> bool {
        !self.mail.is_empty()
    }

    /// Calls the services with the messages deferred so far, or has them called when this thread is in too many such
    /// calls already; true when there were any. `buffer` is the one that they were deferred with.
    pub fn run_services(
        &mut self,
        account: &Arc<Account>,
        client: Option<&Arc<ClientIdentity>>,
        buffer: &[u8],
    ) -> bool {
        if self.mail.is_empty() {
            return false;
        }
        if let Some(_level) = nesting::enter() {
            self.mail.deliver(account, client, buffer);
            self.mail.clear();
        } else {
            // Only what is published inside the server gets here, and that is copied.
            debug_assert!(buffer.is_empty() && client.is_none(), "a connection is called by nobody");
            nesting::hand_over(account, std::mem::take(&mut self.mail));
        }
        true
    }

    /// Messages and bytes flushed since the burst was taken or last asked.
    pub fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    /// The most loaded peer that is worth waiting for, of those touched since last asked.
    pub fn take_worth_waiting(&mut self) -> Option<Awaited> {
        self.worth_waiting.take()
    }

    /// The most loaded peer above the stall bound since the burst was taken.
    pub fn loaded(&self) -> Option<Arc<Outbound>> {
        self.loaded.as_ref().map(|loaded| Arc::clone(&loaded.outbound))
    }
}
