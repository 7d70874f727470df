//! One simulated server: a shard over a disk that survives it.

use super::disk::{SimDisk, SimLog};
use super::network::SimLink;
use super::world::{GROUP_TRANSFER, Workload};
use super::{Bug, rng::Rng};
use crate::election::mix;
use crate::group::{Group, GroupConfig};
use crate::ids::{GroupId, NodeId, PeerId};
use crate::machine::Machine;
use crate::replica::Replica;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::snapshot::RateLimit;
use crate::state::GroupState;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub type SimShard<M> = Shard<M, SimLog, SimLink, u64>;

pub struct SimNode<W: Workload> {
    pub id: NodeId,
    pub incarnation: u32,
    pub disk: Rc<RefCell<SimDisk>>,
    pub link: SimLink,
    /// `None` while down.
    pub shard: Option<SimShard<W::Machine>>,
    pub restart_at: u64,
    pub paused_until: u64,
    /// Until then, a snapshot was installed a moment ago.
    pub installed_until: u64,
    pub tick_at: u64,
    /// End of the log when the sync began, and when it will be done.
    pub syncing: Option<(u64, u64)>,
    pub needs_turn: bool,
    pub known_down: BTreeSet<NodeId>,
    /// Replicas it has, with the state each began with.
    pub hosted: BTreeMap<GroupId, GroupState>,
}

impl<W: Workload> SimNode<W> {
    pub fn new(id: NodeId, bug: Option<Bug>) -> SimNode<W> {
        SimNode {
            id,
            incarnation: 1,
            disk: Rc::new(RefCell::new(SimDisk::new(bug))),
            link: SimLink::default(),
            shard: None,
            restart_at: 0,
            paused_until: 0,
            installed_until: 0,
            tick_at: 0,
            syncing: None,
            needs_turn: false,
            known_down: BTreeSet::new(),
            hosted: BTreeMap::new(),
        }
    }

    pub fn peer(&self) -> PeerId {
        PeerId::new(self.id, self.incarnation)
    }

    pub fn crash(&mut self, restart_at: u64, rng: &mut Rng) {
        self.shard = None;
        self.restart_at = restart_at;
        self.syncing = None;
        self.link.0.borrow_mut().clear();
        let mut disk = self.disk.borrow_mut();
        let waiting = disk.end() - disk.synced();
        let kept = rng.below(waiting + 1);
        disk.crash(kept);
    }

    /// The disk is lost with all on it; what comes back is another peer.
    pub fn wipe(&mut self, bug: Option<Bug>) {
        self.disk = Rc::new(RefCell::new(SimDisk::new(bug)));
        self.incarnation += 1;
        self.hosted.clear();
    }

    pub fn restart(&mut self, seed: u64, bug: Option<Bug>, workload: &mut W) -> Result<(), String> {
        let rate = RateLimit::new(200, 400);
        let mut shard = Shard::new(SimLog(self.disk.clone()), self.link.clone(), rate);
        for (group, begun) in &self.hosted {
            shard.add(self.replica(*group, begun, seed, bug, workload)?);
        }
        self.shard = Some(shard);
        self.known_down.clear();
        self.needs_turn = true;
        Ok(())
    }

    /// Starts to host a group.
    pub fn host(
        &mut self,
        group: GroupId,
        begun: GroupState,
        seed: u64,
        bug: Option<Bug>,
        workload: &mut W,
    ) -> Result<(), String> {
        let replica = self.replica(group, &begun, seed, bug, workload)?;
        if let Some(shard) = &mut self.shard {
            shard.add(replica);
        }
        self.hosted.insert(group, begun);
        self.needs_turn = true;
        Ok(())
    }

    fn replica(
        &self,
        group: GroupId,
        begun: &GroupState,
        seed: u64,
        bug: Option<Bug>,
        workload: &mut W,
    ) -> Result<Replica<W::Machine, u64>, String> {
        let peer = self.peer();
        let recovered = self.disk.borrow().recover(group).map_err(|error| format!("{peer} {group:?}: {error}"))?;
        let settings = Settings::default();
        let config = GroupConfig {
            group,
            peer,
            settings,
            state: recovered.state.unwrap_or_else(|| begun.clone()),
            log: recovered.log,
            applied: recovered.applied,
            seed: mix(seed ^ peer.get()) ^ group.0,
        };
        let mut raft = Group::new(config).map_err(|error| format!("{peer} {group:?}: {error}"))?;
        raft.trust_stale_rejections(bug == Some(Bug::TrustStaleRejections));
        let mut machine = workload.machine(group);
        if let Some(checkpoint) = recovered.machine {
            machine.restore(&checkpoint).map_err(|error| format!("{peer} {group:?}: {error}"))?;
        }
        let mut replica = Replica::new(raft, machine, 200, GROUP_TRANSFER);
        replica.acknowledge_by_index(bug == Some(Bug::AckByIndexOnly));
        Ok(replica)
    }
}
