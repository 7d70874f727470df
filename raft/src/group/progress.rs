//! How far the members are, as the leader knows it: for the monitor, for promotion of learners, and for going to sleep.

use super::Group;
use crate::ids::PeerId;
use raft::{ProgressState, StateRole};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    pub peer: PeerId,
    /// Durable there.
    pub matched: u64,
    /// Next entry to send.
    pub next: u64,
    pub committed: u64,
    /// Heard of since the last quorum check.
    pub active: bool,
    pub needs_snapshot: bool,
}

impl Group {
    /// Every member, in order of peer id. Empty unless this peer leads.
    pub fn progress(&self) -> Vec<PeerProgress> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let mut all: Vec<PeerProgress> = raft
            .prs()
            .iter()
            .filter_map(|(raw, progress)| {
                Some(PeerProgress {
                    peer: PeerId::from_raw(*raw)?,
                    matched: progress.matched,
                    next: progress.next_idx,
                    committed: progress.committed_index,
                    active: progress.recent_active,
                    needs_snapshot: progress.state == ProgressState::Snapshot,
                })
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.peer);
        all
    }

    /// Whether `peer` holds everything that is committed: a learner may be promoted then.
    pub fn is_caught_up(&self, peer: PeerId) -> bool {
        let raft = &self.node.raft;
        let matched = raft.prs().get(peer.get()).map_or(0, |progress| progress.matched);
        raft.state == StateRole::Leader && matched >= raft.raft_log.committed
    }

    /// The leader may stop its heartbeats: every member that is not known to be down holds and has committed everything, a
    /// quorum does, and nothing is under way.
    pub fn is_quiet(&self, is_down: impl Fn(PeerId) -> bool) -> bool {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let settled = raft.state == StateRole::Leader
            && log.committed == log.last_index()
            && self.applied == log.committed
            && self.writes.is_empty()
            && self.outgoing.is_empty()
            && !self.needs_ready();
        let idle = raft.lead_transferee.is_none() && self.reads.is_empty() && raft.pending_read_count() == 0;
        if !settled || !idle || self.membership().is_joint() || !raft.commit_to_current_term() {
            return false;
        }
        let caught_up = |peer: &PeerId| {
            let known = raft.prs().get(peer.get());
            *peer == self.peer
                || known.is_some_and(|p| p.matched == log.committed && p.committed_index == log.committed)
        };
        let members = self.membership();
        let quorum = members.voters.iter().filter(|peer| caught_up(peer)).count() > members.voters.len() / 2;
        quorum && members.peers().iter().all(|peer| caught_up(peer) || is_down(*peer))
    }

    /// Whether a follower that was told "sleep, all is committed up to `commit` in `term`" agrees.
    pub fn may_sleep(&self, from: PeerId, term: u64, commit: u64) -> bool {
        let raft = &self.node.raft;
        raft.state == StateRole::Follower
            && raft.term == term
            && raft.leader_id == from.get()
            && raft.raft_log.committed == commit
            && raft.raft_log.last_index() == commit
            && self.writes.is_empty()
    }
}
