//! What a group must remember besides its entries: the promise it made (term, vote), how far it knows the log committed, and
//! who its members are. The body of a `State` record. A checkpoint carries the membership too, as of its own index, so that an
//! installed snapshot is complete by one record.

use crate::ids::PeerId;
use crate::membership::Membership;
use bytes::Bytes;
use prost::Message;
use raft::eraftpb::{ConfState, HardState};

/// Body of a `State` record. The latest one of a group counts.
#[derive(Clone, PartialEq, Message)]
pub struct GroupState {
    #[prost(message, required, tag = "1")]
    pub(crate) hard: HardState,
    #[prost(message, required, tag = "2")]
    pub(crate) conf: ConfState,
    /// The entry the membership is as of. A replay skips membership changes up to it.
    #[prost(uint64, tag = "3")]
    pub(crate) conf_index: u64,
}

/// Body of a `Checkpoint` record: the machine as of the record's index, and the members as of the same.
#[derive(Clone, PartialEq, Message)]
pub struct CheckpointBody {
    #[prost(message, required, tag = "1")]
    pub(crate) conf: ConfState,
    #[prost(bytes = "bytes", tag = "2")]
    pub machine: Bytes,
}

impl GroupState {
    /// The state of a group that has just been created with these voters.
    pub fn bootstrap(voters: &[PeerId]) -> GroupState {
        let conf = ConfState { voters: voters.iter().map(|peer| peer.get()).collect(), ..Default::default() };
        GroupState { hard: HardState::default(), conf, conf_index: 0 }
    }

    /// The state of a peer that joins a group others made: `members`, itself among them, as of the leader's entry `index`.
    /// The changes up to there will still pass through its log, and are skipped.
    pub fn joining(members: &Membership, index: u64) -> GroupState {
        GroupState { hard: HardState::default(), conf: members.to_conf_state(), conf_index: index }
    }

    /// The state after a restart: a checkpoint may know the members better than the latest `State` record, when it came from
    /// another peer and the record behind it is lost.
    pub fn with_checkpoint(mut self, index: u64, checkpoint: &CheckpointBody) -> GroupState {
        if index > self.conf_index {
            self.conf = checkpoint.conf.clone();
            self.conf_index = index;
        }
        self
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    pub fn decode(bytes: &[u8]) -> Result<GroupState, StateError> {
        Message::decode(bytes).map_err(|_| StateError)
    }

    pub fn term(&self) -> u64 {
        self.hard.term
    }

    pub fn commit(&self) -> u64 {
        self.hard.commit
    }

    pub fn membership(&self) -> Membership {
        Membership::from_conf_state(&self.conf)
    }
}

impl CheckpointBody {
    pub fn new(members: &Membership, machine: Bytes) -> CheckpointBody {
        CheckpointBody { conf: members.to_conf_state(), machine }
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    pub fn decode(bytes: Bytes) -> Result<CheckpointBody, StateError> {
        Message::decode(bytes).map_err(|_| StateError)
    }

    pub fn membership(&self) -> Membership {
        Membership::from_conf_state(&self.conf)
    }
}

/// The bytes are no state of a group: a newer format, or not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the state of a group")]
pub struct StateError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    #[test]
    fn state_round_trips() {
        let peers = [PeerId::new(NodeId(1), 4), PeerId::new(NodeId(2), 9)];
        let mut state = GroupState::bootstrap(&peers);
        state.hard = HardState { term: 3, vote: peers[1].get(), commit: 17 };
        state.conf_index = 5;
        assert_eq!(GroupState::decode(&state.encode()), Ok(state.clone()));
        assert_eq!(state.membership().voters, peers);
        let body = CheckpointBody { conf: state.conf.clone(), machine: Bytes::from_static(b"m") };
        assert_eq!(CheckpointBody::decode(body.encode()), Ok(body));
    }
}
