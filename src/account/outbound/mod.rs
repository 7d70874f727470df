//! HOT PATH: one lock and one send per subscriber and read burst; no allocation while the peer keeps up.
//!
//! The way to one peer: what waits for its socket, how much that is, and what the peer subscribed to.
//!
//! Whoever delivers writes to the socket itself while nothing waits there; waking the owner for each delivery
//! costs more than the write. Only what would block is queued in chunks, and the connection's own task (the
//! owner) drains them. The lock is never held during a system call: the flag `writing` keeps the order instead,
//! and those who come meanwhile queue behind.

mod queue;
#[cfg(test)]
mod tests;

pub use queue::Batch;

use super::budget::EgressBudget;
use super::replies::ReplyTracker;
use super::subscriptions::SubscriptionSet;
use crate::protocol::error::ClosedReason;
use parking_lot::{Mutex, MutexGuard};
use queue::{Progress, Queue, write_bytes};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Chunks handed to one writev.
const BATCH_CHUNKS_MAX: usize = 64;
/// Above this much waiting a publisher should stall; it may go on below half of it.
const STALL_BYTES: usize = 1 << 20;
/// A peer that took nothing for so long may be dead: no publisher waits for it.
const SILENCE_MAX: Duration = Duration::from_secs(1);

pub struct Outbound {
    id: u64,
    pending_bytes_max: usize,
    budget: Arc<EgressBudget>,
    queue: Mutex<Queue>,
    /// Bytes queued and not yet taken by the socket.
    pending: AtomicUsize,
    closed: AtomicBool,
    /// Publishers have waited for this peer in vain; they don't again until it drains, or is about to be cut off.
    saturated: AtomicBool,
    headers: AtomicBool,
    messages: AtomicU64,
    bytes: AtomicU64,
    stalls: AtomicU64,
    /// What the peer subscribed to, by sid.
    pub subscriptions: SubscriptionSet,
    /// Present when the user may answer requests only (S-33).
    pub replies: Mutex<Option<Box<ReplyTracker>>>,
}

/// How bytes get to the peer.
pub enum Transport {
    /// Any thread may write to the socket.
    Direct(Arc<TcpStream>),
    /// Only the owner can (TLS, WebSocket): everything is queued and the owner woken.
    Owner,
}

/// How far [`Outbound::drain`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Empty,
    /// The socket takes no more for now.
    Blocked,
    /// Another thread is writing; it wakes the owner if it can't finish.
    ByAnother,
    /// The socket takes nothing any more, and the connection is ending.
    Failed,
}

/// What a burst delivered, for the peer's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub messages: u64,
    pub bytes: u64,
}

impl Outbound {
    pub fn new(id: u64, transport: Transport, pending_bytes_max: usize, budget: Arc<EgressBudget>) -> Outbound {
        Outbound {
            id,
            pending_bytes_max,
            budget,
            queue: Mutex::new(Queue::new(transport)),
            pending: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            saturated: AtomicBool::new(false),
            headers: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            subscriptions: SubscriptionSet::default(),
            replies: Mutex::new(None),
        }
    }

    /// The connection's id, unique in this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes that wait for the peer's socket.
    pub fn pending_bytes(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// So many bytes more may wait for the peer's socket before it is closed as a slow consumer.
    pub fn room(&self) -> usize {
        self.pending_bytes_max.saturating_sub(self.pending_bytes())
    }

    /// Messages and payload bytes delivered so far.
    pub fn delivered(&self) -> Delivered {
        Delivered { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// How often a publisher had to wait for this peer.
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    pub fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    /// True once the connection is ending; nothing is accepted any more.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether the peer takes HMSG; otherwise headers are stripped.
    pub fn takes_headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }

    pub fn set_takes_headers(&self, headers: bool) {
        self.headers.store(headers, Ordering::Relaxed);
    }

    /// Publishers waited in vain: let them pass until the peer has drained, or is about to be cut off.
    pub fn set_saturated(&self) {
        self.saturated.store(true, Ordering::Relaxed);
    }

    /// Whether the peer is so far behind that `no_fast_producer_stall` drops its messages, and else every burst for it
    /// waits.
    pub fn is_overloaded(&self) -> bool {
        self.pending_bytes() > self.near_limit_bytes()
    }

    fn near_limit_bytes(&self) -> usize {
        self.pending_bytes_max / 4 * 3
    }

    /// Above this much waiting a publisher should stall, if the peer is worth it; who delivers from storage rests until it
    /// has fallen by half.
    #[inline]
    pub fn stall_bytes(&self) -> usize {
        STALL_BYTES.min(self.near_limit_bytes())
    }

    /// Whether a publisher should wait, with so many bytes `pending`, and until how many are left (C-32).
    ///
    /// Early on, a wait keeps the queue short for peers that catch up at once; a slower one gets what comes without further
    /// waits, so that nobody else is held up by it. Near the limit, where it would be cut off next, every burst waits
    /// for it, as long as it takes anything at all. With little room left for all peers together, that begins early.
    pub fn worth_waiting(&self, pending: usize) -> Option<usize> {
        let soon = self.stall_bytes();
        let late = if self.budget.is_tight() { soon } else { self.near_limit_bytes() };
        if pending > late && self.queue.lock().progress.took_within(SILENCE_MAX) {
            Some(late)
        } else if pending > soon && !self.saturated.load(Ordering::Relaxed) {
            Some(soon / 2)
        } else {
            None
        }
    }

    /// Calls `wake` once less than `below` bytes wait, or the connection ends.
    pub fn on_drained(&self, below: usize, wake: Box<dyn FnOnce() + Send>) {
        let mut queue = self.queue.lock();
        if self.pending_bytes() < below || queue.closing.is_some() {
            drop(queue);
            wake();
        } else {
            queue.drained.push((below, wake));
        }
    }

    /// Delivers what a burst staged for this peer and empties `staged`; gives the bytes waiting afterwards.
    pub fn send(&self, staged: &mut Vec<u8>, delivered: Delivered) -> usize {
        if delivered.messages > 0 {
            self.messages.fetch_add(delivered.messages, Ordering::Relaxed);
            self.bytes.fetch_add(delivered.bytes, Ordering::Relaxed);
        }
        let mut queue = self.queue.lock();
        if queue.closing.is_some() || staged.is_empty() {
            staged.clear();
            return 0;
        }
        let stream = match &queue.transport {
            Some(Transport::Direct(stream)) if !queue.writing && queue.chunks.is_empty() => Arc::clone(stream),
            _ => return self.append(queue, staged),
        };
        queue.writing = true;
        drop(queue);
        let written = write_bytes(&stream, staged);
        self.end_direct_write(&stream, staged, written)
    }

    /// Takes note of what the socket took of `staged`, which came before all that waits, and empties it.
    fn end_direct_write(&self, stream: &TcpStream, staged: &mut Vec<u8>, written: io::Result<usize>) -> usize {
        let mut queue = self.queue.lock();
        queue.writing = false;
        if queue.is_shut_down() {
            staged.clear();
            return 0;
        }
        match written {
            Ok(written) if written == staged.len() && queue.chunks.is_empty() => {
                staged.clear();
                0
            }
            Ok(written) => {
                if written < staged.len() {
                    self.queue_first(&mut queue, &staged[written..]);
                }
                staged.clear();
                // Others may have queued behind us meanwhile: take their bytes along if the socket still accepts.
                drop(queue);
                self.drain(stream);
                self.after_append(self.queue.lock())
            }
            Err(_) => {
                staged.clear();
                self.close_locked(queue, ClosedReason::WriteError);
                0
            }
        }
    }

    /// Sends protocol bytes such as PING or INFO, from any thread.
    pub fn send_control(&self, bytes: &[u8]) {
        self.send(&mut bytes.to_vec(), Delivered::default());
    }

    /// Asks the owner to end the connection; the first reason stays.
    pub fn close(&self, reason: ClosedReason) {
        self.close_locked(self.queue.lock(), reason);
    }

    /// Gives the owner a turn, because something was left for it elsewhere.
    pub fn wake_owner(&self) {
        let owner = self.queue.lock().owner.clone();
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    pub fn closing(&self) -> Option<ClosedReason> {
        self.queue.lock().closing
    }

    /// Queues what must not be sent at once.
    fn append(&self, mut queue: MutexGuard<'_, Queue>, staged: &mut Vec<u8>) -> usize {
        let was_empty = queue.chunks.is_empty() && !queue.writing;
        self.count_pending(staged.len());
        queue.push(staged);
        if was_empty { self.after_append(queue) } else { self.check_pending(queue) }
    }

    fn queue_first(&self, queue: &mut Queue, rest: &[u8]) {
        self.count_pending(rest.len());
        queue.push_front(rest);
    }

    fn count_pending(&self, bytes: usize) {
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        self.budget.take(bytes);
    }

    /// The owner has to know that something waits.
    fn after_append(&self, queue: MutexGuard<'_, Queue>) -> usize {
        let owner = if queue.chunks.is_empty() { None } else { queue.owner.clone() };
        let pending = self.check_pending(queue);
        if let Some(owner) = owner {
            owner.wake();
        }
        pending
    }

    fn check_pending(&self, queue: MutexGuard<'_, Queue>) -> usize {
        let pending = self.pending_bytes();
        let bytes_max =
            if self.budget.is_exceeded() { self.pending_bytes_max.min(STALL_BYTES) } else { self.pending_bytes_max };
        if pending > bytes_max {
            self.close_locked(queue, ClosedReason::SlowConsumerPendingBytes);
        }
        pending
    }

    fn close_locked(&self, mut queue: MutexGuard<'_, Queue>, reason: ClosedReason) {
        if queue.closing.is_some() {
            return;
        }
        queue.closing = Some(reason);
        self.closed.store(true, Ordering::Relaxed);
        let owner = queue.owner.clone();
        let drained = std::mem::take(&mut queue.drained);
        drop(queue);
        drained.into_iter().for_each(|(_, wake)| wake());
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}

/// The owner's side.
impl Outbound {
    /// The owner's task, to be woken when something waits or the connection is to end.
    pub fn set_owner(&self, owner: &Waker) {
        let mut queue = self.queue.lock();
        if !queue.owner.as_ref().is_some_and(|known| known.will_wake(owner)) {
            queue.owner = Some(owner.clone());
        }
    }

    /// Exchanges the transport, as after a TLS handshake.
    pub fn set_transport(&self, transport: Transport) {
        self.queue.lock().transport = Some(transport);
    }

    /// Writes what waits until the socket takes no more.
    pub fn drain(&self, stream: &TcpStream) -> Drained {
        while let Some(batch) = self.begin_write() {
            let len = batch.len();
            let result = batch.write_to(stream);
            let written = result.as_ref().copied().unwrap_or(0);
            self.end_write(batch, written);
            match result {
                Ok(written) if written == len => {}
                Ok(_) => return Drained::Blocked,
                Err(_) => {
                    self.close(ClosedReason::WriteError);
                    return Drained::Failed;
                }
            }
        }
        if self.pending_bytes() == 0 { Drained::Empty } else { Drained::ByAnother }
    }

    /// Takes chunks out for writing; none when nothing waits or another thread is writing, which then
    /// looks after what is queued.
    pub fn begin_write(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        if queue.writing || queue.chunks.is_empty() {
            return None;
        }
        queue.writing = true;
        let count = queue.chunks.len().min(BATCH_CHUNKS_MAX);
        let chunks = queue.chunks.drain(..count).collect();
        Some(Batch { chunks, head: std::mem::take(&mut queue.head) })
    }

    /// Gives the chunks back after `written` bytes of them were sent.
    pub fn end_write(&self, mut batch: Batch, written: usize) {
        batch.advance(written);
        let mut queue = self.queue.lock();
        queue.writing = false;
        if queue.is_shut_down() {
            // These bytes, too, were counted back when all was let go.
            return;
        }
        queue.head = batch.head;
        while let Some(chunk) = batch.chunks.pop_back() {
            queue.chunks.push_front(chunk);
        }
        let pending = self.pending.fetch_sub(written, Ordering::Relaxed) - written;
        self.budget.give_back(written);
        let empty = queue.chunks.is_empty();
        queue.progress.wrote(written, empty);
        if empty {
            // An idle peer owns no queue.
            queue.chunks = VecDeque::new();
        }
        if pending < self.stall_bytes() / 2 {
            self.saturated.store(false, Ordering::Relaxed);
        }
        if queue.drained.is_empty() {
            return;
        }
        let (ready, waiting) = std::mem::take(&mut queue.drained).into_iter().partition(|(below, _)| pending < *below);
        queue.drained = waiting;
        drop(queue);
        let ready: Vec<_> = ready;
        ready.into_iter().for_each(|(_, wake)| wake());
    }

    /// When the oldest bytes began to wait; none while nothing waits.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.queue.lock().progress.since
    }

    /// True when what waits has waited for longer than the write deadline.
    pub fn is_overdue(&self, now: Instant, deadline: Duration) -> bool {
        self.blocked_since().is_some_and(|since| now.saturating_duration_since(since) >= deadline)
    }

    /// Gives a peer that takes bytes, though too slowly, the write deadline once more. False when it took none.
    pub fn extend_deadline(&self) -> bool {
        self.queue.lock().progress.start_again()
    }

    /// Lets go of the socket and of everything that waits; the peer is gone.
    pub fn shut_down(&self) {
        let mut queue = self.queue.lock();
        queue.transport = None;
        queue.chunks = VecDeque::new();
        queue.owner = None;
        queue.progress = Progress::default();
        self.budget.give_back(self.pending.swap(0, Ordering::Relaxed));
        self.close_locked(queue, ClosedReason::ClientClosed);
        self.subscriptions.clear();
        *self.replies.lock() = None;
    }
}
