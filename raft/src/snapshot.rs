//! Shipping a snapshot: the content in acknowledged chunks, at a bounded rate, and last the message that makes raft install it.
//! Both ends are pure machines; the receiver keeps taking part in its group meanwhile, so no group waits for a snapshot.
//!
//! ```text
//!   sender    chunk 0 (with MsgSnapshot) --> receiver    ack: has all before `next`, or complete
//!             chunk 1, 2 ... up to the window            gap: ack again from where it has all
//!             silence: back to the last ack; long silence: failed
//! ```

use bytes::Bytes;
use raft::eraftpb::Message;

/// Where a snapshot's content is read from.
pub trait SnapshotSource {
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// `None`: it can no longer be read, and the transfer fails.
    fn read(&self, offset: u64, len: u64) -> Option<Bytes>;
}

/// Where a snapshot's content is gathered.
pub trait SnapshotSink {
    /// Takes the next bytes, in order.
    fn write(&mut self, data: &Bytes);
}

impl SnapshotSource for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    fn read(&self, offset: u64, len: u64) -> Option<Bytes> {
        let end = offset.checked_add(len).filter(|end| *end <= SnapshotSource::len(self))?;
        Some(self.slice(offset as usize..end as usize))
    }
}

impl SnapshotSink for Vec<u8> {
    fn write(&mut self, data: &Bytes) {
        self.extend_from_slice(data);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Distinguishes transfers between the same peers; a later one has a larger number.
    pub transfer: u64,
    pub offset: u64,
    pub total: u64,
    pub data: Bytes,
    /// With offset 0.
    pub message: Option<Box<Message>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkAck {
    pub transfer: u64,
    /// All bytes before it have arrived.
    pub next: u64,
    /// All has arrived and raft has the message.
    pub complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferSettings {
    pub chunk_bytes: u64,
    /// Bytes under way.
    pub window_bytes: u64,
    pub resend_ticks: u32,
    pub give_up_ticks: u32,
}

impl Default for TransferSettings {
    fn default() -> Self {
        TransferSettings { chunk_bytes: 256 << 10, window_bytes: 2 << 20, resend_ticks: 10, give_up_ticks: 300 }
    }
}

/// Bytes all transfers of a node may send per tick. Unused allowance is kept up to one burst.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    bytes_per_tick: u64,
    burst: u64,
    available: u64,
}

impl RateLimit {
    pub fn new(bytes_per_tick: u64, burst: u64) -> RateLimit {
        RateLimit { bytes_per_tick, burst, available: burst }
    }

    pub fn tick(&mut self) {
        self.available = (self.available + self.bytes_per_tick).min(self.burst.max(self.bytes_per_tick));
    }

    /// A chunk passes while anything is left, so one larger than the burst still gets through; it is paid for afterwards.
    fn take(&mut self, bytes: u64) -> bool {
        let passes = self.available > 0;
        if passes {
            self.available = self.available.saturating_sub(bytes);
        }
        passes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferState {
    Running,
    Delivered,
    /// Not acknowledged for too long.
    Failed,
}

/// The sending end of one transfer to one peer.
#[derive(Debug)]
pub struct SnapshotSender {
    transfer: u64,
    total: u64,
    settings: TransferSettings,
    acked: u64,
    /// `None`: the first chunk, which an empty snapshot has too, is not under way.
    sent: Option<u64>,
    silent_ticks: u32,
    state: TransferState,
}

impl SnapshotSender {
    pub fn new(transfer: u64, total: u64, settings: TransferSettings) -> SnapshotSender {
        assert!(settings.chunk_bytes > 0 && settings.window_bytes >= settings.chunk_bytes);
        SnapshotSender {
            transfer,
            total,
            settings,
            acked: 0,
            sent: None,
            silent_ticks: 0,
            state: TransferState::Running,
        }
    }

    pub fn state(&self) -> TransferState {
        self.state
    }

    pub fn transfer(&self) -> u64 {
        self.transfer
    }

    /// Offset and length of the next chunk to send now, if the window and the rate allow one.
    pub fn next(&mut self, rate: &mut RateLimit) -> Option<(u64, u64)> {
        let offset = self.sent.unwrap_or(0);
        let len = self.settings.chunk_bytes.min(self.total - offset);
        let has_more = self.sent.is_none() || len > 0;
        let in_window = offset + len <= self.acked + self.settings.window_bytes;
        if self.state != TransferState::Running || !has_more || !in_window || !rate.take(len) {
            return None;
        }
        self.sent = Some(offset + len);
        Some((offset, len))
    }

    pub fn acknowledge(&mut self, ack: ChunkAck) {
        if ack.transfer != self.transfer || self.state != TransferState::Running {
            return;
        }
        if ack.complete {
            self.state = TransferState::Delivered;
        } else if ack.next > self.acked && ack.next <= self.total {
            self.acked = ack.next;
            self.sent = self.sent.max(Some(self.acked));
            self.silent_ticks = 0;
        } else if ack.next == 0 && self.acked > 0 {
            // The receiver started anew and has nothing.
            (self.acked, self.sent) = (0, None);
        }
    }

    pub fn tick(&mut self) {
        self.silent_ticks += 1;
        if self.silent_ticks >= self.settings.give_up_ticks && self.state == TransferState::Running {
            self.state = TransferState::Failed;
        } else if self.silent_ticks.is_multiple_of(self.settings.resend_ticks) {
            self.sent = (self.acked > 0).then_some(self.acked);
        }
    }
}

/// The receiving end, for all transfers to one replica; only the newest counts.
#[derive(Debug)]
pub struct SnapshotReceiver<S> {
    incoming: Option<Incoming<S>>,
    /// The last transfer that was complete: its ack may have been lost.
    completed: u64,
}

#[derive(Debug)]
struct Incoming<S> {
    transfer: u64,
    total: u64,
    received: u64,
    message: Box<Message>,
    sink: S,
}

/// All is here: step the message, then install from the sink.
#[derive(Debug)]
pub struct Delivery<S> {
    pub message: Box<Message>,
    pub sink: S,
}

impl<S> Default for SnapshotReceiver<S> {
    fn default() -> Self {
        SnapshotReceiver { incoming: None, completed: 0 }
    }
}

impl<S: SnapshotSink + Default> SnapshotReceiver<S> {
    pub fn receive(&mut self, chunk: Chunk) -> (ChunkAck, Option<Delivery<S>>) {
        let Chunk { transfer, offset, total, data, message } = chunk;
        let ack = |next, complete| ChunkAck { transfer, next, complete };
        if transfer == self.completed {
            return (ack(total, true), None);
        }
        let newest = self.incoming.as_ref().map_or(0, |incoming| incoming.transfer).max(self.completed);
        if let Some(message) = message.filter(|_| transfer > newest && offset == 0) {
            self.incoming = Some(Incoming { transfer, total, received: 0, message, sink: S::default() });
        }
        let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.transfer == transfer) else {
            return (ack(0, false), None);
        };
        let continues = offset == incoming.received && total == incoming.total;
        if continues && data.len() as u64 <= total - offset {
            incoming.sink.write(&data);
            incoming.received += data.len() as u64;
        }
        if incoming.received < incoming.total {
            return (ack(incoming.received, false), None);
        }
        self.completed = transfer;
        let delivery = self.incoming.take().map(|incoming| Delivery { message: incoming.message, sink: incoming.sink });
        (ack(total, true), delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn settings() -> TransferSettings {
        TransferSettings { chunk_bytes: 10, window_bytes: 30, resend_ticks: 3, give_up_ticks: 200 }
    }

    fn chunk(content: &Bytes, transfer: u64, (offset, len): (u64, u64)) -> Chunk {
        Chunk {
            transfer,
            offset,
            total: content.len() as u64,
            data: SnapshotSource::read(content, offset, len).unwrap(),
            message: (offset == 0).then(Default::default),
        }
    }

    proptest! {
        /// Whatever the link drops, doubles or reorders, the content arrives whole and once.
        #[test]
        fn content_survives_any_link(
            len in 0usize..300,
            fate in prop::collection::vec((0u8..4, any::<bool>()), 1..400),
        ) {
            let content = Bytes::from((0..len).map(|i| i as u8).collect::<Vec<_>>());
            let mut sender = SnapshotSender::new(7, len as u64, settings());
            let mut receiver: SnapshotReceiver<Vec<u8>> = SnapshotReceiver::default();
            let (mut rate, mut fate) = (RateLimit::new(25, 25), fate.into_iter().chain(std::iter::repeat((3, false))));
            let (mut chunks, mut acks, mut delivered) = (VecDeque::new(), VecDeque::new(), Vec::new());
            for _ in 0..1000 {
                rate.tick();
                sender.tick();
                while let Some(piece) = sender.next(&mut rate) {
                    let chunk = chunk(&content, 7, piece);
                    match fate.next().unwrap() {
                        (0, _) => {}
                        (1, _) => chunks.extend([chunk.clone(), chunk]),
                        (2, _) => chunks.push_front(chunk),
                        _ => chunks.push_back(chunk),
                    }
                }
                if let Some(chunk) = chunks.pop_front() {
                    let (ack, delivery) = receiver.receive(chunk);
                    delivered.extend(delivery);
                    match fate.next().unwrap() {
                        (0, _) => {}
                        (1, _) => acks.extend([ack, ack]),
                        (_, true) => acks.push_front(ack),
                        _ => acks.push_back(ack),
                    }
                }
                if let Some(ack) = acks.pop_front() {
                    sender.acknowledge(ack);
                }
                if sender.state() == TransferState::Delivered {
                    break;
                }
            }
            prop_assert_eq!(sender.state(), TransferState::Delivered);
            prop_assert_eq!(delivered.len(), 1);
            prop_assert_eq!(&delivered[0].sink, &content);
        }
    }

    #[test]
    fn the_rate_bounds_bytes_per_tick() {
        let mut sender = SnapshotSender::new(1, 1000, TransferSettings { window_bytes: 1000, ..settings() });
        let mut rate = RateLimit::new(20, 20);
        for tick in 1..=10 {
            while sender.next(&mut rate).is_some() {}
            assert_eq!(sender.sent, Some(tick * 20));
            rate.tick();
        }
    }

    #[test]
    fn silence_ends_a_transfer() {
        let mut sender = SnapshotSender::new(1, 5, settings());
        for _ in 0..199 {
            sender.tick();
            assert_eq!(sender.state(), TransferState::Running);
        }
        sender.tick();
        assert_eq!(sender.state(), TransferState::Failed);
        assert_eq!(sender.next(&mut RateLimit::new(10, 10)), None);
    }

    #[test]
    fn a_receiver_that_restarted_gets_all_again() {
        let content = Bytes::from_static(b"0123456789abcdefghijABCDE");
        let (mut sender, mut rate) = (SnapshotSender::new(3, 25, settings()), RateLimit::new(100, 100));
        let mut receiver: SnapshotReceiver<Vec<u8>> = SnapshotReceiver::default();
        let (ack, _) = receiver.receive(chunk(&content, 3, sender.next(&mut rate).unwrap()));
        sender.acknowledge(ack);
        let mut receiver: SnapshotReceiver<Vec<u8>> = SnapshotReceiver::default();
        let delivery = std::iter::from_fn(|| {
            let (ack, delivery) = receiver.receive(chunk(&content, 3, sender.next(&mut rate)?));
            sender.acknowledge(ack);
            Some(delivery)
        });
        assert_eq!(delivery.flatten().next().unwrap().sink, content);
    }
}
