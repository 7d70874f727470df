//! The end of every run: all is repaired, then everyone must agree, come to rest, wake up, and agree again.

use super::network::NetworkOptions;
use super::node::SimShard;
use super::world::{Workload, World};
use crate::ids::GroupId;
use crate::machine::Machine;
use std::collections::BTreeSet;

const HEAL_STEPS_MAX: u64 = 12_000;
const REST_STEPS: u64 = 1_000;

impl<W: Workload> World<W> {
    pub(super) fn heal(&mut self) -> Result<(), String> {
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
        let alone =
            |shard: &SimShard<_>, group| shard.replica(group).is_some_and(|replica| !replica.group().has_peers());
        let rests = |shard: &SimShard<_>, group| shard.is_asleep(group) || alone(shard, group);
        shards.map(|shard| self.groups().into_iter().filter(|group| rests(shard, *group)).count() as u64).sum()
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
