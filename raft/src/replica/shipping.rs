//! Snapshots on their way out of and into one replica.

use super::Outbox;
use crate::group::Group;
use crate::ids::PeerId;
use crate::machine::Machine;
use crate::snapshot::{
    Chunk, ChunkAck, RateLimit, SnapshotReceiver, SnapshotSender, SnapshotSource, TransferSettings, TransferState,
};
use crate::transport::{Body, Envelope};
use raft::eraftpb::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Shipping<M: Machine> {
    settings: TransferSettings,
    /// The machine as of this index: what raft offers.
    provided: Option<(u64, Arc<M::Source>)>,
    shipments: BTreeMap<PeerId, Shipment<M::Source>>,
    started: u64,
    receiver: SnapshotReceiver<M::Sink>,
    /// Content whose message raft has stepped in this turn and may accept, with its index and term.
    staged: Vec<(u64, u64, M::Sink)>,
}

struct Shipment<S> {
    index: u64,
    message: Message,
    source: Arc<S>,
    sender: SnapshotSender,
}

impl<M: Machine> Shipping<M> {
    pub fn new(settings: TransferSettings) -> Self {
        Shipping {
            settings,
            provided: None,
            shipments: BTreeMap::new(),
            started: 0,
            receiver: SnapshotReceiver::default(),
            staged: Vec::new(),
        }
    }

    pub fn provide(&mut self, index: u64, source: M::Source) {
        self.provided = Some((index, Arc::new(source)));
    }

    /// The oldest snapshot under way; entries after it are still needed.
    pub fn index(&self) -> Option<u64> {
        self.shipments.values().map(|shipment| shipment.index).min()
    }

    pub fn is_active(&self) -> bool {
        !self.shipments.is_empty()
    }

    /// raft wants `message` delivered; its content goes first.
    pub fn start(&mut self, message: Message, group: &mut Group) {
        let index = message.get_snapshot().get_metadata().index;
        let Some(to) = PeerId::from_raw(message.to) else { return };
        match self.provided.as_ref().filter(|(provided, _)| *provided == index) {
            Some((_, source)) => {
                self.started += 1;
                // Grows with the leaders of the group, so a receiver knows which transfer is newest.
                let transfer = (message.term << 24) | (self.started & 0xff_ffff);
                let sender = SnapshotSender::new(transfer, source.len(), self.settings);
                self.shipments.insert(to, Shipment { index, message, source: source.clone(), sender });
            }
            None => group.report_snapshot(to, false),
        }
    }

    pub fn acknowledge(&mut self, from: PeerId, ack: ChunkAck) {
        if let Some(shipment) = self.shipments.get_mut(&from) {
            shipment.sender.acknowledge(ack);
        }
    }

    pub fn tick(&mut self, group: &mut Group) {
        let progress = group.progress();
        self.shipments.retain(|to, shipment| {
            shipment.sender.tick();
            let wanted = progress.iter().any(|progress| progress.peer == *to && progress.needs_snapshot);
            let running = shipment.sender.state() == TransferState::Running && wanted;
            if !running {
                group.report_snapshot(*to, shipment.sender.state() == TransferState::Delivered);
            }
            running
        });
    }

    /// Sends as many chunks as windows and rate allow.
    pub fn ship(&mut self, rate: &mut RateLimit, group: &Group, outbox: &mut Outbox) {
        for (to, shipment) in &mut self.shipments {
            while let Some((offset, len)) = shipment.sender.next(rate) {
                // Unreadable content goes unsent; silence ends the transfer.
                let Some(data) = shipment.source.read(offset, len) else { break };
                let chunk = Chunk {
                    transfer: shipment.sender.transfer(),
                    offset,
                    total: shipment.source.len(),
                    data,
                    message: (offset == 0).then(|| Box::new(shipment.message.clone())),
                };
                let body = Body::Chunk(chunk);
                outbox.push(Envelope { group: group.id(), from: group.peer(), to: *to, body });
            }
        }
    }

    /// Takes a chunk in. Returns raft's message when all content is here.
    pub fn receive(&mut self, chunk: Chunk) -> (ChunkAck, Option<Message>) {
        let (ack, delivery) = self.receiver.receive(chunk);
        let message = delivery.map(|delivery| {
            let metadata = delivery.message.get_snapshot().get_metadata();
            self.staged.push((metadata.index, metadata.term, delivery.sink));
            *delivery.message
        });
        (ack, message)
    }

    pub fn take_staged(&mut self, index: u64, term: u64) -> Option<M::Sink> {
        let at = self.staged.iter().position(|staged| (staged.0, staged.1) == (index, term))?;
        Some(self.staged.swap_remove(at).2)
    }

    /// What raft did not accept in this turn, it will not.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }
}
