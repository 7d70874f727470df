//! Who belongs to a group, and the plan from the members it has to the members it should have: add learners, let them catch up,
//! exchange voters in one joint change, and never remove a leader that still leads.

use crate::ids::PeerId;
use bytes::Bytes;
use prost::Message;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

/// The members of a group. Sorted lists: two equal memberships compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub voters: Vec<PeerId>,
    pub learners: Vec<PeerId>,
    /// Voters of the configuration being left; not empty means a joint change is under way.
    pub outgoing: Vec<PeerId>,
    /// Outgoing voters that will be learners.
    pub learners_next: Vec<PeerId>,
    pub(crate) auto_leave: bool,
}

impl Membership {
    pub fn of_voters(voters: &[PeerId]) -> Membership {
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        Membership { voters, ..Default::default() }
    }

    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer) || self.outgoing.contains(&peer)
    }

    pub fn contains(&self, peer: PeerId) -> bool {
        self.is_voter(peer) || self.learners.contains(&peer)
    }

    /// Every member once, in order.
    pub fn peers(&self) -> Vec<PeerId> {
        let mut peers = [self.voters.as_slice(), &self.outgoing, &self.learners].concat();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    pub(crate) fn from_conf_state(conf: &ConfState) -> Membership {
        Membership {
            voters: peers(&conf.voters),
            learners: peers(&conf.learners),
            outgoing: peers(&conf.voters_outgoing),
            learners_next: peers(&conf.learners_next),
            auto_leave: conf.auto_leave,
        }
    }

    pub(crate) fn to_conf_state(&self) -> ConfState {
        ConfState {
            voters: numbers(&self.voters),
            learners: numbers(&self.learners),
            voters_outgoing: numbers(&self.outgoing),
            learners_next: numbers(&self.learners_next),
            auto_leave: self.auto_leave,
        }
    }
}

fn peers(raw: &[u64]) -> Vec<PeerId> {
    let mut peers: Vec<PeerId> = raw.iter().filter_map(|raw| PeerId::from_raw(*raw)).collect();
    peers.sort_unstable();
    peers
}

fn numbers(peers: &[PeerId]) -> Vec<u64> {
    peers.iter().map(|peer| peer.get()).collect()
}

/// One member's part in a change of membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Voter(PeerId),
    Learner(PeerId),
    Remove(PeerId),
}

/// A change as raft reads it. Several go through the joint state, which raft leaves by itself.
pub(crate) fn encode_changes(changes: &[Change]) -> ConfChangeV2 {
    let single = |change: &Change| {
        let (change_type, peer) = match change {
            Change::Voter(peer) => (ConfChangeType::AddNode, peer),
            Change::Learner(peer) => (ConfChangeType::AddLearnerNode, peer),
            Change::Remove(peer) => (ConfChangeType::RemoveNode, peer),
        };
        ConfChangeSingle { change_type: change_type.into(), node_id: peer.get() }
    };
    ConfChangeV2 {
        transition: ConfChangeTransition::Auto.into(),
        changes: changes.iter().map(single).collect(),
        context: Bytes::new(),
    }
}

pub(crate) fn decode_change(data: &[u8]) -> Option<ConfChangeV2> {
    ConfChangeV2::decode(data).ok()
}

/// What a leader should do next to bring about the members it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Propose these together.
    Propose(Vec<Change>),
    /// Nothing can be done until the joint state is left or these have caught up.
    Wait(Vec<PeerId>),
    /// The leader itself must go: hand the lead to this voter, which stays.
    Transfer(PeerId),
    Done,
}

/// Plans one step towards `desired` voters. Call it again whenever membership or progress has changed.
///
/// `Done` is the leader's view. The disk of a peer that was removed may be thrown away only when every remaining member has
/// the change in a durable state record: one that restarts without it is back in the old configuration until it hears of the
/// commit, and together with another loss the old one may lack a quorum.
pub fn plan(now: &Membership, desired: &[PeerId], leader: PeerId, caught_up: impl Fn(PeerId) -> bool) -> Step {
    if now.is_joint() {
        return Step::Wait(Vec::new());
    }
    let absent: Vec<Change> =
        desired.iter().filter(|peer| !now.contains(**peer)).map(|p| Change::Learner(*p)).collect();
    if !absent.is_empty() {
        return Step::Propose(absent);
    }
    let promote: Vec<PeerId> = desired.iter().copied().filter(|peer| now.learners.contains(peer)).collect();
    let behind: Vec<PeerId> = promote.iter().copied().filter(|peer| !caught_up(*peer)).collect();
    if !behind.is_empty() {
        return Step::Wait(behind);
    }
    let remove: Vec<PeerId> = now.peers().into_iter().filter(|peer| !desired.contains(peer)).collect();
    if !remove.contains(&leader) {
        let changes: Vec<Change> =
            promote.into_iter().map(Change::Voter).chain(remove.into_iter().map(Change::Remove)).collect();
        return if changes.is_empty() { Step::Done } else { Step::Propose(changes) };
    }
    if !promote.is_empty() {
        return Step::Propose(promote.into_iter().map(Change::Voter).collect());
    }
    match desired.iter().copied().find(|peer| caught_up(*peer)) {
        Some(heir) => Step::Transfer(heir),
        None => Step::Wait(desired.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    fn peer(node: u32) -> PeerId {
        PeerId::new(NodeId(node), 1)
    }

    /// Applies steps as a leader would until nothing is left to do.
    fn walk(mut now: Membership, desired: &[PeerId], mut leader: PeerId) -> (Membership, Vec<Step>) {
        let mut steps = Vec::new();
        for _ in 0..20 {
            let step = plan(&now, desired, leader, |_| true);
            steps.push(step.clone());
            match step {
                Step::Propose(changes) => {
                    for change in changes {
                        let (Change::Voter(peer) | Change::Learner(peer) | Change::Remove(peer)) = change;
                        now.voters.retain(|other| *other != peer);
                        now.learners.retain(|other| *other != peer);
                        match change {
                            Change::Voter(peer) => now.voters.push(peer),
                            Change::Learner(peer) => now.learners.push(peer),
                            Change::Remove(_) => assert_ne!(peer, leader, "the leader removed itself"),
                        }
                    }
                    now.voters.sort_unstable();
                }
                Step::Transfer(heir) => leader = heir,
                Step::Wait(_) => panic!("waits for ever"),
                Step::Done => break,
            }
        }
        (now, steps)
    }

    #[test]
    fn one_voter_grows_to_three() {
        let desired = [peer(1), peer(2), peer(3)];
        let (end, steps) = walk(Membership::of_voters(&[peer(1)]), &desired, peer(1));
        assert_eq!(end, Membership::of_voters(&desired));
        assert_eq!(steps.len(), 3);
    }

    #[test]
    fn a_replaced_leader_hands_over_first() {
        let desired = [peer(2), peer(3), peer(4)];
        let (end, steps) = walk(Membership::of_voters(&[peer(1), peer(2), peer(3)]), &desired, peer(1));
        assert_eq!(end, Membership::of_voters(&desired));
        assert!(steps.contains(&Step::Transfer(peer(2))));
    }

    #[test]
    fn a_new_incarnation_replaces_the_old_one_in_one_change() {
        let reborn = PeerId::new(NodeId(3), 2);
        let now = Membership { voters: vec![peer(1), peer(2), peer(3)], learners: vec![reborn], ..Default::default() };
        let step = plan(&now, &[peer(1), peer(2), reborn], peer(1), |_| true);
        assert_eq!(step, Step::Propose(vec![Change::Voter(reborn), Change::Remove(peer(3))]));
        let step = plan(&now, &[peer(1), peer(2), reborn], peer(1), |peer| peer != reborn);
        assert_eq!(step, Step::Wait(vec![reborn]));
    }
}
