//! The simulated world: steps of virtual time in which messages arrive, disks finish syncing, clocks tick, clients propose, and
//! things break.

use super::checker::{Checker, Violation};
use super::network::{Network, NetworkOptions};
use super::node::SimNode;
use super::{Bug, rng::Rng};
use crate::ids::{GroupId, NodeId, PeerId};
use crate::machine::Machine;
use crate::output::Role;
use crate::replica::Event;
use crate::shard::ShardEvent;
use crate::snapshot::TransferSettings;
use crate::state::GroupState;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What the clients of the simulated cluster do, and what they expect of the machine.
pub trait Workload {
    type Machine: Machine;

    /// A machine that has applied nothing.
    fn machine(&mut self, group: GroupId) -> Self::Machine;
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

#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: u32,
    pub groups: u64,
    pub network: NetworkOptions,
    /// One sync in so many per mille takes up to `sync_max`, the others next to nothing.
    pub slow_sync_per_mille: u64,
    pub sync_max: u64,
    pub crash_per_mille: u64,
    pub down_max: u64,
    pub wipe_per_mille: u64,
    pub cut_per_mille: u64,
    pub pause_per_mille: u64,
    pub propose_per_mille: u64,
    pub read_per_mille: u64,
    pub checkpoint_per_mille: u64,
    pub transfer_per_mille: u64,
    pub resize_per_mille: u64,
    pub bug: Option<Bug>,
}

impl Options {
    /// Another mixture of troubles for every seed: rare combinations are where the mistakes are.
    pub fn swarm(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut some = |odds: u64, max: u64| if rng.chance(odds) { 1 + rng.below(max) } else { 0 };
        Options {
            nodes: 3 + 2 * some(200, 1) as u32,
            groups: 1 + some(400, 2),
            network: NetworkOptions {
                drop_per_mille: some(700, 150),
                duplicate_per_mille: some(500, 100),
                delay_max: 3 + some(700, 60),
            },
            slow_sync_per_mille: 100,
            sync_max: 2 + some(700, 60),
            crash_per_mille: some(800, 8),
            down_max: 400,
            wipe_per_mille: some(400, 3),
            cut_per_mille: some(700, 8),
            pause_per_mille: some(400, 5),
            propose_per_mille: 20 + some(900, 400),
            read_per_mille: some(600, 30),
            checkpoint_per_mille: some(800, 30),
            transfer_per_mille: some(400, 4),
            resize_per_mille: some(400, 3),
            bug: None,
        }
    }

    /// Elections without end: nodes that restart at once, slow disks, the lead passed around.
    pub fn storm(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x5702);
        Options {
            nodes: 3 + 2 * rng.below(2) as u32,
            groups: 1,
            network: NetworkOptions { drop_per_mille: rng.below(100), duplicate_per_mille: 50, delay_max: 30 },
            slow_sync_per_mille: 800,
            sync_max: 60,
            crash_per_mille: 10 + rng.below(30),
            down_max: 1 + rng.below(20),
            wipe_per_mille: 0,
            cut_per_mille: 10,
            pause_per_mille: 0,
            propose_per_mille: 100,
            read_per_mille: 0,
            checkpoint_per_mille: 5,
            transfer_per_mille: 10 + rng.below(50),
            resize_per_mille: 0,
            bug: None,
        }
    }
}

/// What a run went through: a test that asserts on the sum knows its runs were not idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub steps: u64,
    pub proposed: u64,
    pub acked: u64,
    pub lost: u64,
    pub reads: u64,
    pub crashes: u64,
    pub wipes: u64,
    pub cuts: u64,
    pub elections: u64,
    pub installs: u64,
    pub membership_changes: u64,
    pub sleeps: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.acked += other.acked;
        self.lost += other.lost;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.wipes += other.wipes;
        self.cuts += other.cuts;
        self.elections += other.elections;
        self.installs += other.installs;
        self.membership_changes += other.membership_changes;
        self.sleeps += other.sleeps;
    }
}

pub(super) const GROUP_TRANSFER: TransferSettings =
    TransferSettings { chunk_bytes: 16, window_bytes: 48, resend_ticks: 5, give_up_ticks: 60 };

const TICK_STEPS: u64 = 10;
const LINK_LOSS_STEPS: u64 = 30;
const OPERATOR_STEPS: u64 = 40;
const HEAL_STEPS_MAX: u64 = 12_000;
const REST_STEPS: u64 = 1_000;

pub struct World<W: Workload> {
    pub(super) seed: u64,
    pub(super) options: Options,
    pub(super) nodes: Vec<SimNode<W>>,
    pub(super) workload: W,
    /// A node that should have no replicas for now.
    pub(super) left_out: Option<NodeId>,
    rng: Rng,
    now: u64,
    network: Network,
    checker: Checker,
    report: Report,
    /// Group, index and term of proposals that have no outcome yet.
    tokens: BTreeMap<u64, (GroupId, u64, u64)>,
    next_token: u64,
    linked: BTreeMap<(NodeId, NodeId), u64>,
    healing: bool,
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

    fn step(&mut self) -> Result<(), String> {
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

    fn break_things(&mut self) {
        let options = self.options.clone();
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if self.rng.chance(options.crash_per_mille) && self.nodes[at].shard.is_some() {
            self.crash(at);
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
        if self.left_out.is_some() && self.is_settled_for_good() {
            self.retire();
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

    fn propose(&mut self, at: usize, group: GroupId) {
        let node = &mut self.nodes[at];
        let Some(shard) = &mut node.shard else { return };
        for _ in 0..1 + self.rng.below(4) {
            let Some(replica) = shard.replica(group) else { return };
            let term = replica.group().term();
            let Some(payload) = self.workload.payload(group, replica.machine(), &mut self.rng) else { return };
            self.next_token += 1;
            if let Ok(index) = shard.propose(group, &payload, self.next_token) {
                self.tokens.insert(self.next_token, (group, index, term));
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
                if let Some(entry) = shard.and_then(|shard| shard.log().normal_entry(group, index)) {
                    self.checker.applied(group, index, entry.term, &entry.payload)?;
                }
                if let Some(token) = token {
                    self.tokens.remove(&token);
                    self.checker.acknowledged(group, index);
                    self.report.acked += 1;
                }
                self.workload.applied(group, id, index, &effect, token.is_some())?;
            }
            Event::Lost { token } => {
                if let Some((group, index, term)) = self.tokens.remove(&token) {
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
            Event::Installed { .. } => self.report.installs += 1,
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

    fn heal(&mut self) -> Result<(), String> {
        self.healing = true;
        self.left_out = None;
        self.network.mend();
        self.network.options = NetworkOptions::CALM;
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.restart_at = self.now;
        }
        self.agree("all was healed")?;
        // At rest nothing ticks; the next proposal must wake everyone.
        for _ in 0..REST_STEPS {
            self.step()?;
        }
        let sleepers = self.sleepers();
        if sleepers != self.options.groups * u64::from(self.options.nodes) {
            return Err(format!("not all are asleep after {REST_STEPS} idle steps: {}", self.describe()));
        }
        self.report.sleeps += sleepers;
        self.agree("all had been asleep")?;
        self.finish()
    }

    /// One more proposal to every group, and time until all have applied it.
    fn agree(&mut self, since: &str) -> Result<(), String> {
        let mut asked: BTreeSet<GroupId> = BTreeSet::new();
        for _ in 0..HEAL_STEPS_MAX {
            self.step()?;
            for group in self.groups() {
                if !asked.contains(&group)
                    && let Some(at) = self.leader(group)
                {
                    self.propose(at, group);
                    asked.insert(group);
                }
            }
            if asked.len() as u64 == self.options.groups && self.is_settled() && self.agrees() {
                return Ok(());
            }
        }
        Err(format!("no agreement {HEAL_STEPS_MAX} steps after {since}: {}", self.describe()))
    }

    fn sleepers(&self) -> u64 {
        let shards = self.nodes.iter().filter_map(|node| node.shard.as_ref());
        shards.map(|shard| self.groups().into_iter().filter(|group| shard.is_asleep(*group)).count() as u64).sum()
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for group in self.groups() {
            for node in &self.nodes {
                let replica = node.shard.as_ref().and_then(|shard| shard.replica(group));
                let Some(raft) = replica.map(|replica| replica.group()) else {
                    text += &format!("\n{:?} {group:?} has no replica", node.peer());
                    continue;
                };
                let asleep = node.shard.as_ref().is_some_and(|shard| shard.is_asleep(group));
                text += &format!(
                    "\n{:?} {group:?} {:?} compacted {} applied {} committed {} durable {} last {} asleep {asleep} {:?} {:?}",
                    raft.peer(),
                    raft.role(),
                    raft.compacted(),
                    raft.applied(),
                    raft.commit_index(),
                    raft.durable_index(),
                    raft.last_index(),
                    raft.membership(),
                    raft.progress(),
                );
            }
        }
        text
    }

    /// All replicas of all groups have applied the same, and their leader has nothing more.
    fn agrees(&self) -> bool {
        self.groups().into_iter().all(|group| {
            let replicas: Vec<_> =
                self.nodes.iter().filter_map(|node| node.shard.as_ref()?.replica(group)).map(|r| r.group()).collect();
            let Some(leader) = replicas.iter().find(|raft| raft.is_leader()) else { return false };
            let last = leader.last_index();
            replicas.len() == self.nodes.len() && replicas.iter().all(|raft| raft.applied() == last)
        })
    }

    fn finish(&mut self) -> Result<(), String> {
        for group in self.groups() {
            let shards: Vec<_> = self.nodes.iter().filter_map(|node| node.shard.as_ref()).collect();
            let replicas: Vec<_> = shards.iter().filter_map(|shard| shard.replica(group)).collect();
            let Some(first) = replicas.first() else { continue };
            let hash = first.machine().state_hash();
            if replicas.iter().any(|replica| replica.machine().state_hash() != hash) {
                return Err(format!("{group:?}: replicas end in different states"));
            }
            self.checker.finished(group, first.group().applied())?;
            self.workload.finished(group, first.machine())?;
        }
        Ok(())
    }
}
