//! One Raft group as a pure machine around `raft::RawNode`: no clock, no random source, no I/O. Calls go in, [`Output`]s come out.
//!
//! ```text
//!               applied by the machine      handed out by ready()      known to a quorum
//!                         v                          v                        v
//!   0 ----- compacted <= applied <= handed <= committed ----- appended
//!                                                |__ durable ___^  (durable <= appended, handed <= durable)
//!
//!   leader: acked <= applied            replica: committed is durable on a quorum, not always here
//! ```
//!
//! Three deviations from raft's usual ways, each because payloads live in the journal and a batch must cost O(1):
//! - Proposals are counted, and become entries of the log in one stroke (`flush`), past raft's list of unstable entries.
//! - The log answers raft's own scans with membership changes only (`TermLog::sparse`), and what is committed is handed out as a
//!   range.
//! - Durability is a position in the journal, not the number of a `Ready` (`writes`).

mod members;
mod progress;
mod reads;
mod step;
mod turn;

pub use progress::PeerProgress;

use crate::election;
use crate::ids::{GroupId, PeerId};
use crate::log::TermLog;
use crate::output::{ProposeError, Proposed, Role};
use crate::settings::Settings;
use crate::state::GroupState;
use crate::writes::WriteQueue;
use raft::eraftpb::{ConfState, HardState, Message};
use raft::{RawNode, StateRole};

pub struct GroupConfig {
    pub group: GroupId,
    pub peer: PeerId,
    pub settings: Settings,
    /// The latest state recovered ([`GroupState::with_checkpoint`] applied), or [`GroupState::bootstrap`], or
    /// [`GroupState::joining`].
    pub state: GroupState,
    /// The log after the latest checkpoint, or an empty one.
    pub log: TermLog,
    /// What the machine reflects already: at least the checkpoint's index.
    pub applied: u64,
    /// For election timeouts. Two peers of a group must differ: mix in the peer.
    pub seed: u64,
}

pub struct Group {
    id: GroupId,
    peer: PeerId,
    settings: Settings,
    node: RawNode<TermLog>,
    /// Entries promised by `propose` and not yet part of the log.
    proposed: u64,
    writes: WriteQueue,
    /// Messages free to leave with the next `ready`.
    outgoing: Vec<Message>,
    /// Term and vote of the latest state handed out.
    saved: (u64, u64),
    /// The highest term known to be durable here.
    term_durable: u64,
    /// Members changed, or were never written.
    membership_unsaved: bool,
    membership_changed: bool,
    /// The entry the members are as of.
    membership_index: u64,
    applied: u64,
    /// Committed entries up to here have been handed out.
    handed: u64,
    /// A snapshot that is being made durable; raft must not apply past it before.
    installing: u64,
    reads: Vec<u64>,
    seen: Role,
    seed: u64,
    attempts: u64,
    #[cfg(any(test, feature = "sim"))]
    trusts_stale_rejections: bool,
}

impl Group {
    pub fn new(config: GroupConfig) -> Result<Group, RestartError> {
        let GroupConfig { group, peer, settings, state, mut log, applied, seed } = config;
        let (hard, conf, conf_index) = (state.hard, state.conf, state.conf_index);
        let commit = hard.commit.max(applied).max(log.compacted());
        if applied < log.compacted() {
            return Err(RestartError::AppliedBehindCheckpoint { applied, checkpoint: log.compacted() });
        }
        if commit > log.last() {
            return Err(RestartError::CommitBeyondLog { commit, last: log.last() });
        }
        // A checkpoint may be newer than the state: it was installed, and the state behind it is lost. No vote was cast then.
        let term = hard.term.max(log.last_term());
        let vote = if term == hard.term { hard.vote } else { 0 };
        log.set_initial(HardState { term, vote, commit }, conf);
        let fresh = term == 0;
        let raft_config = settings.raft_config(peer, applied);
        let mut node = RawNode::new(&raft_config, log, &crate::logger::logger(group)).map_err(RestartError::raft)?;
        // raft has read it; thousands of groups need not keep it.
        node.mut_store().set_initial(HardState::default(), ConfState::default());
        // Most groups are idle, and the first entry of a leader is the only one they ever have in flight: a list that
        // grows by itself begins with room for four.
        node.raft.raft_log.unstable.entries.reserve_exact(1);
        Ok(Group {
            id: group,
            peer,
            settings,
            node,
            proposed: 0,
            writes: WriteQueue::new(),
            outgoing: Vec::new(),
            saved: (term, vote),
            term_durable: term,
            membership_unsaved: fresh,
            membership_changed: false,
            membership_index: conf_index,
            applied,
            handed: applied,
            installing: 0,
            reads: Vec::new(),
            seen: Role::Follower { term, leader: None },
            seed,
            attempts: 0,
            #[cfg(any(test, feature = "sim"))]
            trusts_stale_rejections: false,
        })
    }

    pub fn id(&self) -> GroupId {
        self.id
    }

    pub fn peer(&self) -> PeerId {
        self.peer
    }

    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub fn applied(&self) -> u64 {
        self.applied
    }

    pub fn commit_index(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    pub fn last_index(&self) -> u64 {
        self.log().last() + self.proposed
    }

    pub fn compacted(&self) -> u64 {
        self.log().compacted()
    }

    /// `None` for what is compacted or not appended.
    pub fn entry_term(&self, index: u64) -> Option<u64> {
        self.log().term(index)
    }

    /// Entries up to here are durable on this node.
    pub fn durable_index(&self) -> u64 {
        self.node.raft.raft_log.persisted
    }

    /// Leads, and may propose.
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.node.raft.raft_log.unstable.entries.is_empty()
    }

    pub fn leader(&self) -> Option<PeerId> {
        PeerId::from_raw(self.node.raft.leader_id)
    }

    pub fn role(&self) -> Role {
        let term = self.term();
        match self.node.raft.state {
            StateRole::Leader => Role::Leader { term },
            StateRole::Follower => Role::Follower { term, leader: self.leader() },
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate { term },
        }
    }

    /// Reserves the next `count` indexes for entries the caller appends to the journal now, in order, before it calls anything
    /// else of this group. O(1): raft learns of them with the next call.
    pub fn propose(&mut self, count: u64) -> Result<Proposed, ProposeError> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader || raft.prs().get(self.peer.get()).is_none() {
            return Err(ProposeError::NotLeader { leader: self.leader().filter(|leader| *leader != self.peer) });
        }
        if !raft.raft_log.unstable.entries.is_empty() {
            return Err(ProposeError::NotReady);
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        let proposed = Proposed { first_index: self.last_index() + 1, term: raft.term };
        if self.last_index() + count - raft.raft_log.committed > self.settings.uncommitted_entries_max {
            return Err(ProposeError::Full);
        }
        self.proposed += count;
        Ok(proposed)
    }

    /// Asks for an election at once. For a group of one this is how it gets its leader; it is never ticked.
    pub fn campaign(&mut self) {
        self.flush();
        if !self.may_campaign() {
            return;
        }
        self.attempts = self.attempts.wrapping_add(1);
        // Refused only for messages peers send.
        let _ = self.node.campaign();
        self.check();
    }

    pub fn tick(&mut self) {
        self.flush();
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader {
            let timeout = election::timeout_ticks(self.seed, raft.term, self.attempts, self.settings.election_ticks);
            raft.set_randomized_election_timeout(timeout);
            let campaigns = raft.election_elapsed + 1 >= timeout;
            if campaigns && !self.may_campaign() {
                return;
            }
            self.attempts = self.attempts.wrapping_add(u64::from(campaigns));
        }
        self.node.tick();
        self.check();
    }

    /// The machine reflects all entries up to `index`. Applies the membership changes among them.
    pub fn advance_applied(&mut self, index: u64) {
        self.flush();
        assert!(index <= self.handed, "applied {index} was handed out ({})", self.handed);
        if index <= self.applied || self.installing > 0 {
            return;
        }
        self.apply_membership(self.applied + 1, index);
        self.applied = index;
        self.node.advance_apply_to(index);
        self.check();
    }

    /// Forgets entries up to `index`, for which a durable checkpoint stands.
    pub fn compact(&mut self, index: u64) {
        self.flush();
        self.node.mut_store().compact(index.min(self.applied));
        self.check();
    }

    fn log(&self) -> &TermLog {
        &self.node.raft.raft_log.store
    }

    /// There are others to talk to: the group must be ticked.
    pub fn has_peers(&self) -> bool {
        self.node.raft.prs().iter().len() > 1 || !self.node.raft.promotable()
    }

    /// raft makes a sole voter leader on the spot, and insists that its log is durable then. And it looks through entries it has
    /// not applied, which a snapshot that is being made durable has replaced.
    fn may_campaign(&self) -> bool {
        let raft = &self.node.raft;
        let sole_voter = raft.promotable() && raft.prs().is_singleton();
        self.installing == 0 && (self.writes.is_empty() || !sole_voter)
    }

    fn conf_state(&self) -> ConfState {
        self.node.raft.prs().conf().to_conf_state()
    }

    fn check(&self) {
        let log = &self.node.raft.raft_log;
        let appended = self.log().last();
        assert!(self.log().compacted() <= self.applied, "compacted <= applied");
        assert!(self.applied <= self.handed && self.handed <= log.committed, "applied <= handed <= committed");
        let ahead = appended.max(log.last_index());
        assert!(log.committed <= ahead && log.persisted <= ahead, "committed, durable <= appended");
        assert!(self.installing > 0 || self.handed <= log.persisted, "handed out <= durable");
    }
}

/// What was recovered cannot be the state of a group. The replica must be rebuilt as a new peer.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    #[error("entry {commit} was committed, the log ends at {last}")]
    CommitBeyondLog { commit: u64, last: u64 },
    #[error("applied {applied} is behind the checkpoint at {checkpoint}")]
    AppliedBehindCheckpoint { applied: u64, checkpoint: u64 },
    #[error("raft refused the state: {0}")]
    Raft(String),
}

impl RestartError {
    fn raft(error: raft::Error) -> RestartError {
        RestartError::Raft(error.to_string())
    }
}

#[cfg(test)]
mod tests;
