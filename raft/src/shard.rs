//! Many replicas driven together: inputs mark groups dirty, a turn visits the dirty ones only, all their records go to one log,
//! and all that they say to another node goes out as one batch. Nothing here scans all groups; only awake groups of more than
//! one member are ticked.
//!
//! ```text
//!   receive, propose, tick, durable ---> dirty list ---> turn: ready -> records -> messages -> apply
//!                                            ^                    |
//!                                            +---- journal: durable up to a position
//! ```

use crate::group::Group;
use crate::guard::{Guarded, Poisoned};
use crate::ids::{GroupId, NodeId, PeerId};
use crate::machine::{Log, Machine};
use crate::output::ProposeError;
use crate::replica::{Event, Outbox, Replica, ReplicaError};
use crate::sleep::{Sleep, Sleepers};
use crate::snapshot::RateLimit;
use crate::transport::{Body, Envelope, Transport};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What came of a turn, by group.
#[derive(Debug, PartialEq)]
pub enum ShardEvent<E, T> {
    Group(GroupId, Event<E, T>),
    /// The group will not be called again. Rebuild it as a new peer.
    Poisoned(Poisoned),
    /// At rest with the same entries applied as its leader, and another state.
    Diverged {
        group: GroupId,
        index: u64,
    },
}

pub struct Shard<M: Machine, L, X, T> {
    log: L,
    transport: X,
    /// Looked up, never iterated: the order of visits is that of the lists below.
    slots: HashMap<GroupId, Slot<M, T>, foldhash::fast::FixedState>,
    dirty: Vec<GroupId>,
    ticking: Vec<GroupId>,
    sleepers: Sleepers,
    down: BTreeSet<NodeId>,
    rate: RateLimit,
    outbox: Outbox,
    /// Found while no turn was running; reported by the next.
    found: Vec<ShardEvent<M::Effect, T>>,
}

struct Slot<M: Machine, T> {
    replica: Guarded<Replica<M, T>>,
    is_dirty: bool,
    sleep: Sleep,
}

impl<M: Machine, L: Log, X: Transport, T> Shard<M, L, X, T> {
    pub fn new(log: L, transport: X, rate: RateLimit) -> Shard<M, L, X, T> {
        Shard {
            log,
            transport,
            slots: HashMap::default(),
            dirty: Vec::new(),
            ticking: Vec::new(),
            sleepers: Sleepers::default(),
            down: BTreeSet::new(),
            rate,
            outbox: Outbox::default(),
            found: Vec::new(),
        }
    }

    /// Adds a replica. A group of one elects itself at once and is never ticked.
    pub fn add(&mut self, replica: Replica<M, T>) {
        let (group, has_peers) = (replica.group().id(), replica.group().has_peers());
        let slot = Slot { replica: Guarded::new(group, replica), is_dirty: false, sleep: Sleep::default() };
        self.slots.insert(group, slot);
        self.ticking.retain(|ticking| *ticking != group);
        if has_peers {
            self.wake(group);
            self.mark(group);
        } else {
            self.with_group(group, Group::campaign);
        }
    }

    pub fn remove(&mut self, group: GroupId) {
        self.slots.remove(&group);
        self.ticking.retain(|ticking| *ticking != group);
    }

    pub fn replica(&self, group: GroupId) -> Option<&Replica<M, T>> {
        self.slots.get(&group).map(|slot| slot.replica.get())
    }

    pub fn is_asleep(&self, group: GroupId) -> bool {
        self.slots.get(&group).is_some_and(|slot| slot.sleep.asleep)
    }

    pub fn log(&self) -> &L {
        &self.log
    }

    pub fn transport_mut(&mut self) -> &mut X {
        &mut self.transport
    }

    /// The token comes back with the proposal's fate, or at once when it is refused; a group that panics meanwhile takes it along.
    pub fn propose(&mut self, group: GroupId, payload: &Bytes, token: T) -> Result<u64, (ProposeError, Option<T>)> {
        let Some(slot) = self.slots.get_mut(&group) else {
            return Err((ProposeError::NotLeader { leader: None }, Some(token)));
        };
        let mut token = Some(token);
        let log = &mut self.log;
        let done = slot.replica.run(|replica| Ok(token.take().map(|token| replica.propose(log, payload, token))));
        let proposed = self.judge(group, done).flatten();
        self.wake(group);
        self.mark(group);
        match proposed {
            Some(proposed) => proposed.map_err(|(error, token)| (error, Some(token))),
            None => Err((ProposeError::Poisoned, token)),
        }
    }

    /// Calls the group for what has no payload: elections, reads, membership, transfer of the lead.
    pub fn with_group<R>(&mut self, group: GroupId, call: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let result = self.visit(group, |replica, _, _| Ok(call(replica.group_mut())));
        self.wake(group);
        self.mark(group);
        result
    }

    pub fn checkpoint(&mut self, group: GroupId) {
        self.visit(group, |replica, log, _| {
            replica.checkpoint(log);
            Ok(())
        });
        self.mark(group);
    }

    pub fn receive(&mut self, envelope: Envelope) {
        let Envelope { group, from, to, body } = envelope;
        if self.replica(group).is_none_or(|replica| replica.group().peer() != to) {
            return;
        }
        match body {
            Body::Sleep { term, commit, state_hash } => self.told_to_sleep(group, from, term, commit, state_hash),
            // Whatever a peer says to a sleeping group, somebody needs it.
            body => {
                self.wake(group);
                self.visit(group, |replica, _, outbox| replica.receive(from, body, outbox));
                self.mark(group);
            }
        }
    }

    /// The journal is durable up to `position`; `groups` had records in what became so.
    pub fn durable(&mut self, position: u64, groups: impl IntoIterator<Item = GroupId>) {
        for group in groups {
            self.visit(group, |replica, _, _| {
                replica.on_durable(position);
                Ok(())
            });
            self.mark(group);
        }
    }

    pub fn tick(&mut self) {
        self.rate.tick();
        for at in 0..self.ticking.len() {
            let group = self.ticking[at];
            // Asked before the tick, which would make the leader look busy with a heartbeat.
            if self.consider_sleep(group) {
                continue;
            }
            self.visit(group, |replica, _, _| {
                replica.tick();
                Ok(())
            });
            self.mark(group);
        }
        let slots = &mut self.slots;
        self.ticking.retain(|group| slots.get_mut(group).is_some_and(|slot| slot.sleep.ticks()));
    }

    /// Visits the dirty groups, then hands every node its batch.
    pub fn turn(&mut self, events: &mut Vec<ShardEvent<M::Effect, T>>) {
        let mut group_events = Vec::new();
        for group in std::mem::take(&mut self.dirty) {
            let Some(slot) = self.slots.get_mut(&group) else { continue };
            slot.is_dirty = false;
            let (log, rate, outbox) = (&mut self.log, &mut self.rate, &mut self.outbox);
            let done = slot.replica.run(|replica| replica.turn(log, rate, outbox, &mut group_events));
            self.judge(group, done);
            // A group of one may have got its first companion, and ticks from now on.
            if group_events.iter().any(|event| matches!(event, Event::Membership(_))) {
                self.wake(group);
            }
            events.extend(group_events.drain(..).map(|event| ShardEvent::Group(group, event)));
        }
        events.append(&mut self.found);
        for (node, batch) in self.outbox.take() {
            self.transport.send(node, batch);
        }
    }

    /// The link to `node` is lost: groups it leads must be able to elect another leader.
    pub fn node_down(&mut self, node: NodeId) {
        if self.down.insert(node) {
            for group in self.sleepers.take_led_by(node) {
                self.wake(group);
            }
        }
    }

    /// The link to `node` is back: groups that went to sleep without it have something to tell it.
    pub fn node_up(&mut self, node: NodeId) {
        if self.down.remove(&node) {
            for group in self.sleepers.take_without(node) {
                self.wake(group);
            }
        }
    }

    fn visit<R>(
        &mut self,
        group: GroupId,
        call: impl FnOnce(&mut Replica<M, T>, &mut L, &mut Outbox) -> Result<R, ReplicaError>,
    ) -> Option<R> {
        let slot = self.slots.get_mut(&group)?;
        let (log, outbox) = (&mut self.log, &mut self.outbox);
        let done = slot.replica.run(|replica| call(replica, log, outbox));
        self.judge(group, done)
    }

    fn judge<R>(&mut self, group: GroupId, done: Result<Result<R, ReplicaError>, Poisoned>) -> Option<R> {
        let slot = self.slots.get_mut(&group)?;
        let poisoned = match done {
            Ok(Ok(result)) => return Some(result),
            Ok(Err(error)) => slot.replica.poison(&error.to_string()),
            Err(poisoned) => poisoned,
        };
        if !std::mem::replace(&mut slot.sleep.is_dead, true) {
            self.found.push(ShardEvent::Poisoned(poisoned));
        }
        None
    }

    fn mark(&mut self, group: GroupId) {
        if let Some(slot) = self.slots.get_mut(&group)
            && !slot.is_dirty
            && slot.replica.get().needs_turn()
        {
            slot.is_dirty = true;
            self.dirty.push(group);
        }
    }

    fn wake(&mut self, group: GroupId) {
        let Some(slot) = self.slots.get_mut(&group) else { return };
        if slot.sleep.wake(slot.replica.get().group().has_peers()) {
            self.ticking.push(group);
        }
    }

    fn consider_sleep(&mut self, group: GroupId) -> bool {
        let Some(slot) = self.slots.get_mut(&group) else { return true };
        let (replica, down) = (slot.replica.get(), &self.down);
        let is_quiet = replica.group().is_quiet(|peer| down.contains(&peer.node()));
        if !slot.sleep.tick(is_quiet, replica.group().commit_index()) {
            return slot.sleep.asleep;
        }
        let (own, term, commit) = (replica.group().peer(), replica.group().term(), replica.group().commit_index());
        let body = Body::Sleep { term, commit, state_hash: replica.machine().state_hash() };
        for to in replica.group().membership().peers().into_iter().filter(|peer| *peer != own) {
            if down.contains(&to.node()) {
                self.sleepers.without(to.node(), group);
            } else {
                self.outbox.push(Envelope { group, from: own, to, body: body.clone() });
            }
        }
        true
    }

    fn told_to_sleep(&mut self, group: GroupId, from: PeerId, term: u64, commit: u64, state_hash: u64) {
        let Some(slot) = self.slots.get_mut(&group) else { return };
        let replica = slot.replica.get();
        if slot.sleep.is_dead || !replica.group().may_sleep(from, term, commit) {
            return;
        }
        if replica.group().applied() == commit && replica.machine().state_hash() != state_hash {
            self.found.push(ShardEvent::Diverged { group, index: commit });
        }
        if !self.down.contains(&from.node()) {
            slot.sleep.asleep = true;
            self.sleepers.led_by(from.node(), group);
        }
    }
}

#[cfg(test)]
mod tests;
