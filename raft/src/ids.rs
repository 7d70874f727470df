//! Who is who: nodes, groups, and peers. A peer is a node together with one life of its replica: whoever starts with nothing (a
//! new disk, or a replica that was removed and is wanted again) is a new peer. So it can never break a promise that the lost
//! one made (a vote, an acknowledged entry), and a message that was under way for the lost one never reaches it.

use std::fmt;

/// A server of the cluster. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

pub use headwater_storage::GroupId;

/// A member of a group: `node << 32 | incarnation`. Never 0, which raft reads as "nobody".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u64);

impl PeerId {
    pub const fn new(node: NodeId, incarnation: u32) -> PeerId {
        assert!(node.0 != 0, "node ids start at 1");
        PeerId((node.0 as u64) << 32 | incarnation as u64)
    }

    /// Reads what [`PeerId::get`] wrote; `None` when the node is 0.
    pub const fn from_raw(raw: u64) -> Option<PeerId> {
        if raw >> 32 == 0 { None } else { Some(PeerId(raw)) }
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn node(self) -> NodeId {
        NodeId((self.0 >> 32) as u32)
    }

    pub const fn incarnation(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node().0, self.incarnation())
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_keeps_node_and_incarnation() {
        let peer = PeerId::new(NodeId(7), u32::MAX);
        assert_eq!((peer.node(), peer.incarnation()), (NodeId(7), u32::MAX));
        assert_eq!(PeerId::from_raw(peer.get()), Some(peer));
        assert_eq!(PeerId::from_raw(5), None);
        assert_ne!(PeerId::new(NodeId(7), 1), PeerId::new(NodeId(7), 2));
    }
}
