//! Membership of a group: proposing changes, applying them, and the snapshot that carries them.

use super::Group;
use crate::ids::PeerId;
use crate::log::is_membership;
use crate::membership::{self, Change, Membership};
use crate::output::{Install, ProposeError};
use raft::eraftpb::SnapshotMetadata;
use raft::{INVALID_ID, StateRole};

impl Group {
    pub fn membership(&self) -> Membership {
        Membership::from_conf_state(&self.conf_state())
    }

    /// The entry [`Group::membership`] is as of; what a joining peer is told along with it.
    pub fn membership_index(&self) -> u64 {
        self.membership_index
    }

    /// Proposes a change of members. It takes effect on each member when applied there, and comes out of [`Group::ready`] as an
    /// entry to append.
    pub fn propose_membership(&mut self, changes: &[Change]) -> Result<u64, ProposeError> {
        // Checks that this peer leads, without reserving anything.
        self.propose(0)?;
        self.flush();
        let raft = &self.node.raft;
        if raft.has_pending_conf() || self.membership().is_joint() {
            return Err(ProposeError::ChangePending);
        }
        let change = membership::encode_changes(changes);
        self.node.propose_conf_change(Vec::new(), change).map_err(|_| ProposeError::Refused)?;
        // raft puts an empty entry in place of a change it refuses.
        match self.node.raft.raft_log.unstable.entries.last() {
            Some(entry) if is_membership(entry) => Ok(entry.index),
            _ => Err(ProposeError::Refused),
        }
    }

    pub(super) fn apply_membership(&mut self, from: u64, to: u64) {
        let from = from.max(self.membership_index + 1);
        let changes: Vec<_> = self.log().membership_entries(from, to).collect();
        for (index, data) in changes {
            // Undecodable changes are refused before they are appended; one that raft refuses here changes nothing anywhere.
            if let Some(change) = membership::decode_change(&data)
                && let Err(error) = self.node.apply_conf_change(&change)
            {
                tracing::error!(group = self.id.0, index, %error, "membership change refused");
            }
            self.membership_index = index;
            (self.membership_unsaved, self.membership_changed) = (true, true);
        }
        // raft 0.7 lets a leader go on that is no voter any more, and panics at the next commit. The others elect another.
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            raft.become_follower(raft.term, INVALID_ID);
        }
    }

    /// The driver has taken the machine's snapshot as of [`Group::applied`] and keeps it at hand: raft may offer it to followers.
    /// Entries after it must not be compacted while it is being shipped.
    pub fn provide_snapshot(&mut self) -> Install {
        self.flush();
        let (index, term) = (self.applied, self.log().term(self.applied).unwrap_or(0));
        assert!(self.installing == 0 && index > 0, "a snapshot has entries behind it and is not being installed");
        let metadata = SnapshotMetadata { conf_state: Some(self.conf_state()), index, term };
        self.node.mut_store().prepare_snapshot(metadata);
        Install { index, term, membership: self.membership() }
    }

    /// The offered snapshot has reached `peer` and was stepped there, or has not.
    pub fn report_snapshot(&mut self, peer: PeerId, delivered: bool) {
        self.flush();
        let status = if delivered { raft::SnapshotStatus::Finish } else { raft::SnapshotStatus::Failure };
        self.node.report_snapshot(peer.get(), status);
    }

    /// A message to `peer` was lost for certain: raft goes back to probing it.
    pub fn report_unreachable(&mut self, peer: PeerId) {
        self.flush();
        self.node.report_unreachable(peer.get());
    }

    /// Hands the lead to another voter; proposals are refused until it has it or an election timeout has passed.
    pub fn transfer_leader(&mut self, to: PeerId) {
        self.flush();
        if self.node.raft.state == StateRole::Leader {
            self.node.transfer_leader(to.get());
        }
    }
}
