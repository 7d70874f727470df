//! Three shards wired together without trouble: what trouble cannot show well.

use super::*;
use crate::group::GroupConfig;
use crate::log::TermLog;
use crate::machine::EntryRef;
use crate::membership::Change;
use crate::settings::Settings;
use crate::sim::{SimDisk, SimLink, SimLog, Toy};
use crate::snapshot::TransferSettings;
use crate::state::GroupState;
use std::cell::RefCell;
use std::rc::Rc;

type TestShard = Shard<Toy, SimLog, SimLink, u64>;
type Events = Vec<ShardEvent<u64, u64>>;

const GROUP: GroupId = GroupId(5);
const OTHER: GroupId = GroupId(6);

struct Cluster {
    shards: Vec<(TestShard, Rc<RefCell<SimDisk>>, SimLink)>,
    cut: BTreeSet<NodeId>,
    events: Events,
}

fn peer(node: u32) -> PeerId {
    PeerId::new(NodeId(node), 1)
}

fn replica(own: u32, group: GroupId, state: GroupState, machine: Toy) -> Replica<Toy, u64> {
    let config = GroupConfig {
        group,
        peer: peer(own),
        settings: Settings::default(),
        state,
        log: TermLog::new(0, 0),
        applied: 0,
        seed: u64::from(own) * 77,
    };
    Replica::new(Group::new(config).unwrap(), machine, 1000, TransferSettings::default())
}

impl Cluster {
    fn new(nodes: u32) -> Cluster {
        let shard = |_| {
            let (disk, link) = (Rc::new(RefCell::new(SimDisk::new(None))), SimLink::default());
            (Shard::new(SimLog(disk.clone()), link.clone(), RateLimit::new(1000, 1000)), disk, link)
        };
        Cluster { shards: (0..nodes).map(shard).collect(), cut: BTreeSet::new(), events: Vec::new() }
    }

    fn replicated(nodes: u32, groups: &[GroupId]) -> Cluster {
        let mut cluster = Cluster::new(nodes);
        let voters: Vec<PeerId> = (1..=nodes).map(peer).collect();
        for group in groups {
            for own in 1..=nodes {
                let replica = replica(own, *group, GroupState::bootstrap(&voters), Toy::default());
                cluster.shards[own as usize - 1].0.add(replica);
            }
        }
        cluster
    }

    fn shard(&mut self, node: u32) -> &mut TestShard {
        &mut self.shards[node as usize - 1].0
    }

    /// Writes, syncs and delivers until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for at in 0..self.shards.len() {
                let (shard, disk, link) = &mut self.shards[at];
                shard.turn(&mut self.events);
                let end = disk.borrow().end();
                disk.borrow_mut().sync(end);
                let durable = disk.borrow_mut().newly_durable();
                if let Some((position, groups)) = durable {
                    shard.durable(position, groups);
                    moved = true;
                }
                let sent = std::mem::take(&mut *link.0.borrow_mut());
                let from = NodeId(at as u32 + 1);
                for (to, batch) in
                    sent.into_iter().filter(|(to, _)| !self.cut.contains(to) && !self.cut.contains(&from))
                {
                    batch.into_iter().for_each(|envelope| self.shards[to.0 as usize - 1].0.receive(envelope));
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.shards.iter_mut().for_each(|(shard, _, _)| shard.tick());
            self.settle();
        }
    }

    fn leader(&self, group: GroupId) -> Option<u32> {
        let leads = |(shard, _, _): &&(TestShard, _, _)| shard.replica(group).is_some_and(|r| r.group().is_leader());
        self.shards.iter().find(leads).map(|(shard, _, _)| shard.replica(group).unwrap().group().peer().node().0)
    }

    fn asleep(&self) -> Vec<bool> {
        self.shards.iter().map(|(shard, _, _)| shard.is_asleep(GROUP)).collect()
    }

    fn applied(&mut self) -> usize {
        let applied = self.events.iter().filter(|event| matches!(event, ShardEvent::Group(_, Event::Applied { .. })));
        applied.count()
    }
}

fn payload() -> Bytes {
    Bytes::from_static(b"k")
}

#[test]
fn a_group_of_one_applies_when_durable_and_is_never_ticked() {
    let mut cluster = Cluster::new(1);
    cluster.shard(1).add(replica(1, GROUP, GroupState::bootstrap(&[peer(1)]), Toy::default()));
    cluster.settle();
    assert!(cluster.shard(1).ticking.is_empty());
    assert_eq!(cluster.shard(1).propose(GROUP, &payload(), 11), Ok(2));
    cluster.events.clear();
    let (shard, events) = (&mut cluster.shards[0].0, &mut cluster.events);
    shard.turn(events);
    assert!(events.is_empty(), "not durable yet");
    cluster.settle();
    let applied = Event::Applied { index: 2, effect: 1, token: Some(11) };
    assert_eq!(cluster.events, [ShardEvent::Group(GROUP, applied)]);
    assert!(cluster.shard(1).dirty.is_empty());
}

#[test]
fn a_group_of_one_that_gets_company_is_ticked() {
    let mut cluster = Cluster::new(2);
    cluster.shard(1).add(replica(1, GROUP, GroupState::bootstrap(&[peer(1)]), Toy::default()));
    cluster.settle();
    cluster.shard(1).with_group(GROUP, |group| group.propose_membership(&[Change::Learner(peer(2))])).unwrap().unwrap();
    cluster.settle();
    assert_eq!(cluster.shard(1).ticking, [GROUP]);
    let raft = cluster.shard(1).replica(GROUP).unwrap().group();
    let joining = GroupState::joining(&raft.membership(), raft.membership_index());
    cluster.shard(2).add(replica(2, GROUP, joining, Toy::default()));
    cluster.shard(1).propose(GROUP, &payload(), 1).unwrap();
    cluster.ticks(30);
    let applied = cluster.shard(2).replica(GROUP).unwrap().group().applied();
    assert_eq!(applied, cluster.shard(1).replica(GROUP).unwrap().group().applied());
}

#[test]
fn an_idle_group_sleeps_and_a_proposal_wakes_it() {
    let mut cluster = Cluster::replicated(3, &[GROUP]);
    cluster.ticks(100);
    assert_eq!(cluster.asleep(), [true; 3]);
    assert!(cluster.shards.iter().all(|(shard, _, _)| shard.ticking.is_empty()));
    let leader = cluster.leader(GROUP).unwrap();
    cluster.events.clear();
    cluster.shard(leader).propose(GROUP, &payload(), 1).unwrap();
    cluster.ticks(5);
    assert_eq!((cluster.applied(), cluster.asleep()), (3, vec![false; 3]));
    cluster.ticks(100);
    assert_eq!(cluster.asleep(), [true; 3]);
}

#[test]
fn sleepers_elect_another_leader_when_its_node_is_lost() {
    let mut cluster = Cluster::replicated(3, &[GROUP]);
    cluster.ticks(100);
    let lost = cluster.leader(GROUP).unwrap();
    cluster.cut.insert(NodeId(lost));
    for node in (1..=3).filter(|node| *node != lost) {
        cluster.shard(node).node_down(NodeId(lost));
    }
    cluster.ticks(60);
    let leads = |node: &u32| cluster.shards[*node as usize - 1].0.replica(GROUP).unwrap().group().is_leader();
    let leader = (1..=3).filter(|node| *node != lost).find(leads).expect("the others elect one");
    // The lost node does not keep them awake, and is brought up to date when it is back.
    cluster.shard(leader).propose(GROUP, &payload(), 1).unwrap();
    cluster.ticks(100);
    assert!(cluster.shard(leader).is_asleep(GROUP));
    cluster.cut.clear();
    for node in (1..=3).filter(|node| *node != lost) {
        cluster.shard(node).node_up(NodeId(lost));
    }
    cluster.ticks(20);
    let applied: Vec<u64> = (1..=3).map(|node| cluster.shard(node).replica(GROUP).unwrap().group().applied()).collect();
    assert!(applied.iter().all(|index| *index == applied[0]), "{applied:?}");
}

#[test]
fn another_state_at_the_same_entry_is_noticed_at_rest() {
    let mut cluster = Cluster::replicated(3, &[GROUP]);
    let voters: Vec<PeerId> = (1..=3).map(peer).collect();
    cluster.shard(1).remove(GROUP);
    let mut twisted = Toy::default();
    twisted.apply(EntryRef { index: 1, term: 1, payload: &payload() });
    cluster.shard(1).add(replica(1, GROUP, GroupState::bootstrap(&voters), twisted));
    cluster.ticks(100);
    assert!(cluster.events.iter().any(|event| matches!(event, ShardEvent::Diverged { group: GROUP, .. })));
}

#[test]
fn a_poisoned_group_costs_no_other() {
    let mut cluster = Cluster::replicated(3, &[GROUP, OTHER]);
    cluster.ticks(40);
    let leader = cluster.leader(OTHER).unwrap();
    let payload = payload();
    cluster.shard(leader).with_group(GROUP, |_| panic!("a bug in one group")).unwrap_or(());
    cluster.events.clear();
    cluster.shard(leader).propose(OTHER, &payload, 3).unwrap();
    assert!(cluster.shard(leader).propose(GROUP, &payload, 4).is_err());
    cluster.ticks(40);
    let poisoned =
        |event: &&ShardEvent<_, _>| matches!(event, ShardEvent::Poisoned(poisoned) if poisoned.group == GROUP);
    assert_eq!(cluster.events.iter().filter(poisoned).count(), 1);
    assert_eq!(cluster.applied(), 3);
}
