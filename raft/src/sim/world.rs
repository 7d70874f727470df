//! The simulated world: steps of virtual time in which messages arrive, disks finish syncing, clocks tick, clients propose, and
//! things break.

use super::checker::{Checker, Violation};
use super::network::Network;
use super::node::SimNode;
use super::options::{Options, Report};
use super::rng::Rng;
use crate::group::Group;
use crate::ids::{GroupId, NodeId, PeerId};
use crate::machine::Machine;
use crate::output::Role;
use crate::replica::Event;
use crate::shard::ShardEvent;
use crate::snapshot::TransferSettings;
use crate::state::GroupState;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What the clients of the simulated cluster do, and what they expect of the machine.
pub trait Workload {
    type Machine: Machine;

    /// A machine that has applied nothing.
    fn machine(&mut self, group: GroupId) -> Self::Machine;
    /// Whether this leader may decide on proposals now. Asked before each of them.
    fn may_decide(&mut self, _group: GroupId, _raft: &Group, _leader: &Self::Machine) -> bool {
        true
    }
    /// The next proposal, as a leader with this machine would make it.
    fn payload(&mut self, group: GroupId, leader: &Self::Machine, rng: &mut Rng) -> Option<Bytes>;
    /// An entry was applied on `node`; `acked` on the node that proposed it.
    fn applied(
        &mut self,
        _group: GroupId,
        _node: NodeId,
        _index: u64,
        _effect: &<Self::Machine as Machine>::Effect,
        _acked: bool,
    ) -> Result<(), String> {
        Ok(())
    }
    /// All replicas agree on `machine`.
    fn finished(&mut self, _group: GroupId, _machine: &Self::Machine) -> Result<(), String> {
        Ok(())
    }
}

pub(super) const GROUP_TRANSFER: TransferSettings =
    TransferSettings { chunk_bytes: 16, window_bytes: 48, resend_ticks: 5, give_up_ticks: 60 };

const TICK_STEPS: u64 = 10;
const LINK_LOSS_STEPS: u64 = 30;
const OPERATOR_STEPS: u64 = 40;

pub struct World<W: Workload> {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) nodes: Vec<SimNode<W>>,
    pub(super) workload: W,
    /// A node that should have no replicas for now.
    pub(super) left_out: Option<NodeId>,
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) network: Network,
    pub(super) checker: Checker,
    pub(super) report: Report,
    /// Proposals that have no outcome yet.
    tokens: BTreeMap<u64, Proposal>,
    next_token: u64,
    linked: BTreeMap<(NodeId, NodeId), u64>,
    pub(super) healing: bool,
}

/// What a client asked for, and which entry was to be it.
struct Proposal {
    group: GroupId,
    index: u64,
    term: u64,
    payload: Bytes,
}

impl Proposal {
    /// That the outcome of an entry was told to the client who proposed it, and not to another. Of an entry that is gone
    /// already only its index is known.
    fn check_acknowledged(&self, group: GroupId, index: u64, entry: Option<(u64, &Bytes)>) -> Result<(), String> {
        let is_other = entry.is_some_and(|(term, payload)| term != self.term || *payload != self.payload);
        if (group, index) != (self.group, self.index) || is_other {
            let Proposal { group: of, index: at, term, .. } = self;
            return Err(format!(
                "{group:?}: what was proposed to {of:?} as {at} of term {term} was acknowledged as {index}, with another entry"
            ));
        }
        Ok(())
    }
}

impl<W: Workload> World<W> {
    pub fn new(seed: u64, options: Options, workload: W) -> World<W> {
        let mut rng = Rng::new(seed);
        let network = Network::new(options.network, rng.fork());
        let nodes: Vec<SimNode<W>> = (1..=options.nodes).map(|id| SimNode::new(NodeId(id), options.bug)).collect();
        World {
            seed,
            options,
            nodes,
            workload,
            left_out: None,
            rng,
            now: 0,
            network,
            checker: Checker::default(),
            report: Report::default(),
            tokens: BTreeMap::new(),
            next_token: 0,
            linked: BTreeMap::new(),
            healing: false,
        }
    }

    /// Trouble for `steps`, then peace until all agree.
    pub fn run(mut self, steps: u64) -> Result<Report, Violation> {
        let result = self.start().and_then(|()| (0..steps).try_for_each(|_| self.step())).and_then(|()| self.heal());
        match result {
            Ok(()) => Ok(Report { steps: self.now, ..self.report }),
            Err(what) => Err(Violation { seed: self.seed, now: self.now, what }),
        }
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        (1..=self.options.groups).map(GroupId).collect()
    }

    fn start(&mut self) -> Result<(), String> {
        let voters: Vec<PeerId> = self.nodes.iter().map(|node| node.peer()).collect();
        let groups = self.groups();
        for node in &mut self.nodes {
            node.hosted = groups.iter().map(|group| (*group, GroupState::bootstrap(&voters))).collect();
            node.restart(self.seed, self.options.bug, &mut self.workload)?;
            node.tick_at = self.rng.below(TICK_STEPS);
        }
        Ok(())
    }

    pub(super) fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        if !self.healing {
            self.break_things();
        }
        self.restart_nodes()?;
        self.deliver();
        self.sync_disks();
        self.tick();
        if !self.healing {
            self.clients();
        }
        self.watch_links();
        if self.now.is_multiple_of(OPERATOR_STEPS) {
            self.operate()?;
        }
        self.turns()
    }

    fn restart_nodes(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            if node.shard.is_none() && node.restart_at <= self.now {
                node.restart(self.seed, self.options.bug, &mut self.workload)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self) {
        for (to, envelope) in self.network.arrived(self.now) {
            let node = &mut self.nodes[to.0 as usize - 1];
            if let Some(shard) = node.shard.as_mut().filter(|_| node.paused_until <= self.now) {
                shard.receive(envelope);
                node.needs_turn = true;
            }
        }
    }

    fn sync_disks(&mut self) {
        for node in &mut self.nodes {
            let Some(shard) = &mut node.shard else { continue };
            let mut disk = node.disk.borrow_mut();
            if let Some((position, _)) = node.syncing.take_if(|(_, due)| *due <= self.now) {
                disk.sync(position);
            }
            if node.syncing.is_none() && disk.synced() < disk.end() {
                let slow = self.rng.chance(self.options.slow_sync_per_mille);
                let takes = 1 + self.rng.below(if slow { self.options.sync_max } else { 3 });
                node.syncing = Some((disk.end(), self.now + takes));
            }
            if let Some((position, groups)) = disk.newly_durable() {
                drop(disk);
                shard.durable(position, groups);
                node.needs_turn = true;
            }
        }
    }

    fn tick(&mut self) {
        for node in &mut self.nodes {
            if node.tick_at <= self.now && node.paused_until <= self.now {
                // No two clocks run alike.
                node.tick_at = self.now + TICK_STEPS - 1 + self.rng.below(3);
                if let Some(shard) = &mut node.shard {
                    shard.tick();
                    node.needs_turn = true;
                }
            }
        }
    }

    fn clients(&mut self) {
        let groups = self.groups();
        let Some(group) = self.rng.pick(&groups).copied() else { return };
        if self.rng.chance(self.options.propose_per_mille) {
            // Whoever believes to lead is asked, also one that was deposed and does not know.
            let believers: Vec<usize> = (0..self.nodes.len()).filter(|at| self.believes_to_lead(*at, group)).collect();
            if let Some(at) = self.rng.pick(&believers).copied() {
                self.propose(at, group);
            }
        }
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        let node = &mut self.nodes[at];
        let Some(shard) = &mut node.shard else { return };
        if self.rng.chance(self.options.read_per_mille) {
            self.next_token += 1;
            let request = self.next_token;
            if shard.with_group(group, |raft| raft.read_index(request).is_ok()) == Some(true) {
                self.checker.read_asked(group, request);
            }
        }
        if self.rng.chance(self.options.checkpoint_per_mille) {
            shard.checkpoint(group);
        }
        if self.rng.chance(self.options.transfer_per_mille) {
            let to = shard.replica(group).map(|replica| replica.group().membership().voters);
            let to = to.and_then(|voters| self.rng.pick(&voters).copied());
            if let Some(to) = to {
                shard.with_group(group, |raft| raft.transfer_leader(to));
            }
        }
        node.needs_turn = true;
    }

    fn believes_to_lead(&self, at: usize, group: GroupId) -> bool {
        let replica = self.nodes[at].shard.as_ref().and_then(|shard| shard.replica(group));
        replica.is_some_and(|replica| replica.group().is_leader())
    }

    pub(super) fn propose(&mut self, at: usize, group: GroupId) {
        let node = &mut self.nodes[at];
        let Some(shard) = &mut node.shard else { return };
        for _ in 0..1 + self.rng.below(4) {
            let Some(replica) = shard.replica(group) else { return };
            let term = replica.group().term();
            if !self.workload.may_decide(group, replica.group(), replica.machine()) {
                break;
            }
            let Some(payload) = self.workload.payload(group, replica.machine(), &mut self.rng) else { return };
            self.next_token += 1;
            if let Ok(index) = shard.propose(group, &payload, self.next_token) {
                self.tokens.insert(self.next_token, Proposal { group, index, term, payload });
                self.report.proposed += 1;
            }
        }
        node.needs_turn = true;
    }

    /// Nodes notice, after a while, which others they can reach.
    fn watch_links(&mut self) {
        if !self.now.is_multiple_of(10) {
            return;
        }
        let up: Vec<NodeId> = self.nodes.iter().filter(|node| node.shard.is_some()).map(|node| node.id).collect();
        for node in &mut self.nodes {
            let Some(shard) = &mut node.shard else { continue };
            for other in (1..=self.options.nodes).map(NodeId).filter(|other| *other != node.id) {
                let seen = self.linked.entry((node.id, other)).or_default();
                if up.contains(&other) && self.network.is_linked(node.id, other) {
                    *seen = self.now;
                }
                if self.now - *seen > LINK_LOSS_STEPS && node.known_down.insert(other) {
                    shard.node_down(other);
                } else if self.now == *seen && node.known_down.remove(&other) {
                    shard.node_up(other);
                }
            }
        }
    }

    fn turns(&mut self) -> Result<(), String> {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if !node.needs_turn || node.paused_until > self.now || !self.rng.chance(700) {
                continue;
            }
            let Some(shard) = &mut node.shard else { continue };
            node.needs_turn = false;
            let mut events = Vec::new();
            shard.turn(&mut events);
            for event in events {
                self.event(at, event)?;
            }
            self.inspect(at)?;
            let sent = std::mem::take(&mut *self.nodes[at].link.0.borrow_mut());
            for (to, batch) in sent {
                batch.iter().try_for_each(|envelope| self.checker.sent(envelope))?;
                self.network.send(self.now, self.nodes[at].id, to, &batch);
            }
        }
        Ok(())
    }

    fn event(&mut self, at: usize, event: ShardEvent<<W::Machine as Machine>::Effect, u64>) -> Result<(), String> {
        let (group, event) = match event {
            ShardEvent::Group(group, event) => (group, event),
            ShardEvent::Poisoned(poisoned) => return Err(format!("{}: {poisoned}", self.nodes[at].peer())),
            ShardEvent::Diverged { group, index } => {
                return Err(format!("{}: {group:?} diverged at {index}", self.nodes[at].peer()));
            }
        };
        let (peer, id) = (self.nodes[at].peer(), self.nodes[at].id);
        match event {
            Event::Applied { index, effect, token } => {
                let shard = self.nodes[at].shard.as_ref();
                // Gone already if a snapshot was installed in the same turn.
                let entry = shard.and_then(|shard| shard.log().normal_entry(group, index));
                if let Some(entry) = &entry {
                    self.checker.applied(group, index, entry.term, &entry.payload)?;
                }
                if let Some(token) = token {
                    let proposal = self
                        .tokens
                        .remove(&token)
                        .ok_or_else(|| "an outcome for a proposal that had one".to_owned())?;
                    let entry = entry.as_ref().map(|entry| (entry.term, &entry.payload));
                    proposal.check_acknowledged(group, index, entry)?;
                    self.checker.acknowledged(group, index);
                    self.report.acked += 1;
                }
                self.workload.applied(group, id, index, &effect, token.is_some())?;
            }
            Event::Lost { token } => {
                if let Some(Proposal { group, index, term, .. }) = self.tokens.remove(&token) {
                    self.checker.lost(group, index, term);
                    self.report.lost += 1;
                }
            }
            Event::Role(Role::Leader { term }) => {
                self.report.elections += 1;
                self.checker.leads(group, term, peer)?;
            }
            Event::Read(read) => {
                self.report.reads += 1;
                self.checker.read_answered(group, read.request, read.index)?;
            }
            Event::Installed { .. } => {
                self.report.installs += 1;
                self.nodes[at].installed_until = self.now + 30;
            }
            Event::Membership(_) => self.report.membership_changes += 1,
            Event::Role(_) | Event::Unknown { .. } | Event::ReadLost(_) => {}
        }
        Ok(())
    }

    fn inspect(&mut self, at: usize) -> Result<(), String> {
        for group in self.groups() {
            let Some(shard) = &self.nodes[at].shard else { return Ok(()) };
            let Some(replica) = shard.replica(group) else { continue };
            self.checker.state(group, replica.group().applied(), replica.machine().state_hash())?;
            let own = replica.group().peer();
            for progress in replica.group().progress().into_iter().filter(|progress| progress.peer != own) {
                if progress.next <= progress.matched {
                    let (to, next, matched) = (progress.peer, progress.next, progress.matched);
                    return Err(format!("{group:?}: {own} would send {to} entry {next}, which has up to {matched}"));
                }
            }
        }
        Ok(())
    }
}
