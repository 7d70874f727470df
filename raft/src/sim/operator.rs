//! The operator of a simulated cluster: brings every group back to one replica on each node, after disks were wiped and
//! members changed.

use super::world::{Workload, World};
use crate::ids::{GroupId, PeerId};
use crate::membership::{Membership, Step, plan};
use crate::state::GroupState;

impl<W: Workload> World<W> {
    /// The voters every group should have.
    pub(super) fn desired(&self) -> Vec<PeerId> {
        let mut desired: Vec<PeerId> = self.nodes.iter().map(|node| node.peer()).collect();
        if let Some(left_out) = self.left_out {
            desired.retain(|peer| peer.node() != left_out);
        }
        desired
    }

    /// The node whose replica leads `group`, by the latest term.
    pub(super) fn leader(&self, group: GroupId) -> Option<usize> {
        let leads = |at: &usize| {
            let shard = self.nodes[*at].shard.as_ref()?;
            let found = shard.replica(group)?.group();
            found.is_leader().then(|| found.term())
        };
        (0..self.nodes.len()).filter(|at| leads(at).is_some()).max_by_key(|at| leads(at))
    }

    pub(super) fn operate(&mut self) -> Result<(), String> {
        for group in self.groups() {
            let Some(leader) = self.leader(group) else { continue };
            let desired = self.desired();
            let Some(shard) = self.nodes[leader].shard.as_mut() else { continue };
            let Some(replica) = shard.replica(group) else { continue };
            let raft = replica.group();
            let (members, index, own) = (raft.membership(), raft.membership_index(), raft.peer());
            let step = plan(&members, &desired, own, |peer| raft.is_caught_up(peer));
            match step {
                Step::Propose(changes) => {
                    shard.with_group(group, |raft| raft.propose_membership(&changes).is_ok());
                }
                Step::Transfer(heir) => {
                    shard.with_group(group, |raft| raft.transfer_leader(heir));
                }
                Step::Wait(_) | Step::Done => {}
            }
            self.nodes[leader].needs_turn = true;
            self.place(group, &members, index)?;
        }
        Ok(())
    }

    /// Creates replicas for members that have none yet.
    fn place(&mut self, group: GroupId, members: &Membership, index: u64) -> Result<(), String> {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.shard.is_some() && members.contains(node.peer()) && !node.hosted.contains_key(&group) {
                let begun = GroupState::joining(members, index);
                node.host(group, begun, self.seed, self.options.bug, &mut self.workload)?;
            }
        }
        Ok(())
    }

    /// As [`World::is_settled`], and every member remembers so across a crash: only then may the disk of another be lost, or else
    /// a configuration that has been left could come back and miss two.
    pub(super) fn is_settled_for_good(&self) -> bool {
        let desired = Membership::of_voters(&self.desired());
        let members = self.nodes.iter().filter(|node| desired.contains(node.peer()));
        let remembered = members.map(|node| {
            let disk = node.disk.borrow();
            let remembers = |group| {
                let state = disk.recover(group).ok().and_then(|recovered| recovered.state);
                state.is_some_and(|state| state.membership() == desired)
            };
            disk.synced() == disk.end() && self.groups().into_iter().all(remembers)
        });
        self.is_settled() && remembered.into_iter().all(|remembers| remembers)
    }

    /// Every group has exactly the members it should have, with a leader that says so.
    pub(super) fn is_settled(&self) -> bool {
        let desired = Membership::of_voters(&self.desired());
        self.groups().into_iter().all(|group| {
            let Some(shard) = self.leader(group).and_then(|leader| self.nodes[leader].shard.as_ref()) else {
                return false;
            };
            shard.replica(group).is_some_and(|replica| replica.group().membership() == desired)
        })
    }
}
