//! What goes wrong in the simulated world, and when: biased towards the moments in which it hurts most.

use super::world::{Workload, World};
use crate::ids::NodeId;
use crate::transport::{Body, Envelope};
use raft::eraftpb::{Message, MessageType};

impl<W: Workload> World<W> {
    pub(super) fn break_things(&mut self) {
        let options = self.options.clone();
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if self.rng.chance(options.crash_per_mille) && self.nodes[at].shard.is_some() {
            self.crash(at);
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let tempting = node.installed_until > self.now || node.disk.borrow().has_unsynced_state();
            if tempting && node.shard.is_some() && self.rng.chance(options.forget_per_mille) {
                self.crash(at);
            }
        }
        if self.rng.chance(options.rivals_per_mille) {
            self.rival(at);
            self.rival((at + 1) % self.nodes.len());
        }
        if self.rng.chance(options.wipe_per_mille) && self.left_out.is_none() && self.is_settled_for_good() {
            self.crash(at);
            self.nodes[at].wipe(options.bug);
            self.report.wipes += 1;
        }
        if self.rng.chance(options.cut_per_mille) {
            self.cut_or_mend();
        }
        if self.rng.chance(options.pause_per_mille) {
            self.nodes[at].paused_until = self.now + self.rng.below(300);
        }
        if self.rng.chance(options.resize_per_mille) && self.is_settled() {
            self.left_out = if self.left_out.is_some() { None } else { Some(self.nodes[at].id) };
        }
        let retiring = self.nodes.iter().any(|node| Some(node.id) == self.left_out && !node.hosted.is_empty());
        if retiring && self.is_settled_for_good() {
            self.retire();
        }
    }

    /// As if the leader had asked it to take over; any peer may campaign at any time.
    fn rival(&mut self, at: usize) {
        for group in self.groups() {
            let node = &mut self.nodes[at];
            let Some(shard) = &mut node.shard else { return };
            let Some(raft) = shard.replica(group).map(|replica| replica.group()) else { continue };
            let (to, term) = (raft.peer(), raft.term());
            let Some(from) = raft.membership().voters.into_iter().find(|voter| *voter != to) else { continue };
            let mut message = Message { from: from.get(), to: to.get(), term, ..Default::default() };
            message.set_msg_type(MessageType::MsgTimeoutNow);
            shard.receive(Envelope { group, from, to, body: Body::Raft(Box::new(message)) });
            node.needs_turn = true;
        }
    }

    fn crash(&mut self, at: usize) {
        let down_for = 1 + self.rng.below(self.options.down_max);
        self.nodes[at].crash(self.now + down_for, &mut self.rng);
        self.report.crashes += 1;
    }

    /// A node left out of all groups forgets its replicas; when it is wanted again, it comes as a new peer.
    fn retire(&mut self) {
        let bug = self.options.bug;
        for at in 0..self.nodes.len() {
            if Some(self.nodes[at].id) == self.left_out && !self.nodes[at].hosted.is_empty() {
                self.nodes[at].crash(self.now + 1, &mut self.rng);
                self.nodes[at].wipe(bug);
            }
        }
    }

    fn cut_or_mend(&mut self) {
        if self.rng.chance(400) {
            self.network.mend();
            return;
        }
        self.report.cuts += 1;
        let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let (Some(one), Some(other)) = (self.rng.pick(&ids).copied(), self.rng.pick(&ids).copied()) else { return };
        match self.rng.below(3) {
            0 => self.network.cut(one, other),
            1 => {
                self.network.cut(one, other);
                self.network.cut(other, one);
            }
            _ => ids.iter().filter(|id| **id != one).for_each(|id| {
                self.network.cut(one, *id);
                self.network.cut(*id, one);
            }),
        }
    }
}
