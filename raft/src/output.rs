//! What a group wants done after a turn. The driver does it in this order: append `install`, `state`, `appends` to the journal
//! in one go and name the position (`Group::written`); send `messages`; apply `committed`.

use crate::ids::PeerId;
use crate::log::EntryKind;
use crate::membership::Membership;
use bytes::Bytes;
use raft::eraftpb::Message;
use std::ops::RangeInclusive;

#[derive(Debug, Default)]
pub struct Output {
    /// A snapshot has been accepted: the machine must be restored from it, and a checkpoint record written.
    pub install: Option<Install>,
    /// Body of a `State` record to append.
    pub state: Option<Bytes>,
    /// Entries to append: those a leader sent us, or those raft made itself while we lead. Never our own proposals.
    pub appends: Vec<Append>,
    /// May leave at once; payloads still to be attached. What must wait for the journal is kept inside the group.
    pub messages: Vec<Message>,
    /// `MsgSnapshot`s: ship the snapshot's content first, let the receiver step the message when it has it all, and report.
    pub snapshots: Vec<Message>,
    /// A follower needs a snapshot and none is at hand: call `Group::provide_snapshot` with the machine as of `applied`.
    pub snapshot_wanted: bool,
    /// Committed and durable here, in order, each index handed out once.
    pub committed: Option<RangeInclusive<u64>>,
    /// Answered reads: serve each once `applied` has reached its index.
    pub reads: Vec<Read>,
    /// Reads that will get no answer, because the leader changed; ask again.
    pub reads_lost: Vec<u64>,
    pub role: Option<Role>,
    pub membership: Option<Membership>,
}

impl Output {
    /// Something must be appended to the journal.
    pub fn writes(&self) -> bool {
        self.install.is_some() || self.state.is_some() || !self.appends.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub index: u64,
    pub term: u64,
    pub kind: EntryKind,
    pub payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    pub index: u64,
    pub term: u64,
    pub membership: Membership,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub request: u64,
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader { term: u64 },
    Follower { term: u64, leader: Option<PeerId> },
    Candidate { term: u64 },
}

/// Where the caller's entries went: `first_index` and the following, all of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub first_index: u64,
    pub term: u64,
}

/// Why a proposal was not taken. Nothing has been appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("not the leader")]
    NotLeader { leader: Option<PeerId> },
    /// Elected, or proposed to itself, and `ready` not yet called.
    #[error("the leader's own entry is not written yet")]
    NotReady,
    #[error("the lead is being handed over")]
    Transferring,
    #[error("too many entries are not committed yet")]
    Full,
    #[error("a change of members is already under way")]
    ChangePending,
    #[error("raft refused the proposal")]
    Refused,
    #[error("the group is poisoned")]
    Poisoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no leader is known")]
    NoLeader,
    /// A new leader knows what is committed only after its first entry is.
    #[error("the leader has not committed in its term")]
    NotYet,
    #[error("too many reads are waiting")]
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// For another peer or another life of ours, from nobody, or not a message peers exchange. Ignored.
    #[error("stray message")]
    Stray,
    /// The leader holds our acknowledgement of entries we do not have. Going on would be lying: retire this peer.
    #[error("acknowledged entries are lost: the leader knows of {commit}, the log ends at {last}")]
    LostLog { commit: u64, last: u64 },
}
