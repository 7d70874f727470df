//! Messages between nodes. All groups of a node that have something to say to another node say it in one batch per turn, so
//! heartbeats of thousands of groups cost one frame per pair of nodes.

use crate::ids::{GroupId, NodeId, PeerId};
use crate::snapshot::{Chunk, ChunkAck};
use raft::eraftpb::Message;

#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub group: GroupId,
    pub from: PeerId,
    pub to: PeerId,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Raft(Box<Message>),
    /// From the leader of a group at rest: stop ticking, if all of this is true for you too.
    Sleep {
        term: u64,
        commit: u64,
        state_hash: u64,
    },
    Chunk(Chunk),
    ChunkAck(ChunkAck),
}

/// The links to other nodes. Losing, doubling and reordering is allowed; corrupting is not.
pub trait Transport {
    /// Queues a batch for `node` and never blocks. When its queue is full the batch is dropped: raft repeats what matters.
    fn send(&mut self, node: NodeId, batch: Vec<Envelope>);
}
