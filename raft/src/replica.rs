//! A group together with its machine: turns what the group wants done into records, messages and applied entries, and matches
//! applied entries with the proposals that wait for them. Still pure: the log and the outbox are handed in.

mod shipping;

use crate::group::Group;
use crate::ids::{GroupId, NodeId, PeerId};
use crate::log::EntryKind;
use crate::machine::{EntryRef, Log, Machine, Record, StoredEntry};
use crate::membership::Membership;
use crate::output::{Append, Install, Output, ProposeError, Read, Role, StepError};
use crate::payload::{EntrySource, attach};
use crate::snapshot::{RateLimit, TransferSettings};
use crate::state::CheckpointBody;
use crate::transport::{Body, Envelope};
use bytes::Bytes;
use raft::eraftpb::Message;
use shipping::Shipping;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

/// Followers further behind than this are not waited for by compaction; they get a snapshot.
const LAG_ENTRIES_MAX: u64 = 64 << 10;

pub struct Replica<M: Machine, T> {
    group: Group,
    machine: M,
    message_bytes_max: usize,
    /// Proposals not applied yet, by index.
    waiting: VecDeque<Waiting<T>>,
    /// Tokens of proposals that lost their place in the log, not yet reported.
    lost: Vec<T>,
    /// Position of the last record appended.
    position: u64,
    committed: Option<RangeInclusive<u64>>,
    /// Position and index of a checkpoint that is not durable yet.
    checkpoint: Option<(u64, u64)>,
    shipping: Shipping<M>,
    #[cfg(any(test, feature = "sim"))]
    acknowledges_by_index: bool,
}

struct Waiting<T> {
    index: u64,
    term: u64,
    token: T,
}

/// What came of a turn.
#[derive(Debug, PartialEq)]
pub enum Event<E, T> {
    /// With the token of the proposal, if it was made here.
    Applied {
        index: u64,
        effect: E,
        token: Option<T>,
    },
    /// Another entry took the proposal's place: it has not happened and never will.
    Lost {
        token: T,
    },
    /// A snapshot was installed over the proposal: it may or may not have happened.
    Unknown {
        token: T,
    },
    Role(Role),
    Membership(Membership),
    Read(Read),
    ReadLost(u64),
    Installed {
        index: u64,
    },
}

/// The replica cannot go on; its guard poisons it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    #[error("committed entry {0} cannot be read back")]
    EntryUnreadable(u64),
    #[error("the snapshot at {0} has no readable content")]
    SnapshotUnreadable(u64),
    #[error(transparent)]
    Step(StepError),
}

/// Envelopes of a turn, gathered per node.
#[derive(Debug, Default)]
pub struct Outbox {
    batches: BTreeMap<NodeId, Vec<Envelope>>,
}

impl Outbox {
    pub fn push(&mut self, envelope: Envelope) {
        self.batches.entry(envelope.to.node()).or_default().push(envelope);
    }

    pub fn take(&mut self) -> BTreeMap<NodeId, Vec<Envelope>> {
        std::mem::take(&mut self.batches)
    }
}

impl<M: Machine, T> Replica<M, T> {
    /// `machine` reflects the group's `applied`.
    pub fn new(group: Group, machine: M, message_bytes_max: usize, transfer: TransferSettings) -> Replica<M, T> {
        Replica {
            group,
            machine,
            message_bytes_max,
            waiting: VecDeque::new(),
            lost: Vec::new(),
            position: 0,
            committed: None,
            checkpoint: None,
            shipping: Shipping::new(transfer),
            #[cfg(any(test, feature = "sim"))]
            acknowledges_by_index: false,
        }
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// For everything that has no part in a turn: ticks, elections, reads, membership.
    pub fn group_mut(&mut self) -> &mut Group {
        &mut self.group
    }

    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Appends a proposal to the log at once; `token` comes back with its fate.
    pub fn propose(&mut self, log: &mut impl Log, payload: &Bytes, token: T) -> Result<u64, (ProposeError, T)> {
        assert!(!payload.is_empty(), "an empty payload marks a leader's own entry");
        let proposed = match self.group.propose(1) {
            Ok(proposed) => proposed,
            Err(error) => return Err((error, token)),
        };
        let (index, term) = (proposed.first_index, proposed.term);
        self.position = log.append(self.group.id(), Record::Entry { index, term, kind: EntryKind::Normal, payload });
        // A leader again, and what it once proposed here is not in its log: nobody will ever commit that.
        while self.waiting.back().is_some_and(|waiting| waiting.index >= index) {
            self.lost.extend(self.waiting.pop_back().map(|waiting| waiting.token));
        }
        self.waiting.push_back(Waiting { index, term, token });
        Ok(index)
    }

    pub fn receive(&mut self, from: PeerId, body: Body, outbox: &mut Outbox) -> Result<(), ReplicaError> {
        match body {
            Body::Raft(message) => self.step(*message),
            Body::Sleep { .. } => Ok(()),
            Body::Chunk(chunk) => {
                let (ack, delivery) = self.shipping.receive(chunk);
                let (group, own) = (self.group.id(), self.group.peer());
                outbox.push(Envelope { group, from: own, to: from, body: Body::ChunkAck(ack) });
                delivery.map_or(Ok(()), |message| self.step(message))
            }
            Body::ChunkAck(ack) => {
                self.shipping.acknowledge(from, ack);
                Ok(())
            }
        }
    }

    fn step(&mut self, message: Message) -> Result<(), ReplicaError> {
        match self.group.step(message) {
            Ok(()) | Err(StepError::Stray) => Ok(()),
            Err(error) => Err(ReplicaError::Step(error)),
        }
    }

    pub fn on_durable(&mut self, position: u64) {
        let committed = self.group.on_durable(position);
        self.commit(committed);
        if let Some((_, index)) = self.checkpoint.take_if(|(at, _)| *at <= position) {
            self.compact(index);
        }
    }

    /// Writes a checkpoint of the machine. Once it is durable, entries it covers are forgotten.
    pub fn checkpoint(&mut self, log: &mut impl Log) {
        let index = self.group.applied();
        let Some(term) = self.group.entry_term(index).filter(|_| index > self.group.compacted()) else { return };
        let body = CheckpointBody::new(&self.group.membership(), self.machine.checkpoint()).encode();
        self.position = log.append(self.group.id(), Record::Checkpoint { index, term, body: &body, reset: false });
        self.checkpoint = Some((self.position, index));
    }

    fn compact(&mut self, index: u64) {
        let followers = self.group.progress().into_iter().filter(|progress| progress.peer != self.group.peer());
        let needed = followers.map(|progress| progress.matched).min().unwrap_or(index);
        let needed = needed.min(self.shipping.index().unwrap_or(index));
        self.group.compact(index.min(needed.max(index.saturating_sub(LAG_ENTRIES_MAX))));
    }

    pub fn tick(&mut self) {
        self.group.tick();
        self.shipping.tick(&mut self.group);
    }

    /// Whether [`Replica::turn`] has anything to do.
    pub fn needs_turn(&self) -> bool {
        self.committed.is_some() || self.group.needs_ready() || self.shipping.is_active()
    }

    /// Brings the group to rest: everything it wants done is done or queued.
    pub fn turn(
        &mut self,
        log: &mut impl Log,
        rate: &mut RateLimit,
        outbox: &mut Outbox,
        events: &mut Vec<Event<M::Effect, T>>,
    ) -> Result<(), ReplicaError> {
        while self.committed.is_some() || self.group.needs_ready() {
            let mut output = self.group.ready();
            self.write(&mut output, log, events)?;
            self.send(&mut output, log, outbox);
            self.commit(output.committed.take());
            self.apply(log, events)?;
            report(output, events);
        }
        events.extend(self.lost.drain(..).map(|token| Event::Lost { token }));
        self.shipping.forget_staged();
        self.shipping.ship(rate, &self.group, outbox);
        Ok(())
    }

    fn write(
        &mut self,
        output: &mut Output,
        log: &mut impl Log,
        events: &mut Vec<Event<M::Effect, T>>,
    ) -> Result<(), ReplicaError> {
        let group = self.group.id();
        if let Some(Install { index, term, membership }) = output.install.take() {
            let content = self.shipping.take_staged(index, term).ok_or(ReplicaError::SnapshotUnreadable(index))?;
            self.machine.install(content).map_err(|_| ReplicaError::SnapshotUnreadable(index))?;
            let body = CheckpointBody::new(&membership, self.machine.checkpoint()).encode();
            self.position = log.append(group, Record::Checkpoint { index, term, body: &body, reset: true });
            self.committed = None;
            events.extend(self.waiting.drain(..).map(|waiting| Event::Unknown { token: waiting.token }));
            events.push(Event::Installed { index });
        }
        if let Some(body) = &output.state {
            self.position = log.append(group, Record::State { body });
        }
        for Append { index, term, kind, payload } in &output.appends {
            let (index, term, kind) = (*index, *term, *kind);
            self.position = log.append(group, Record::Entry { index, term, kind, payload });
        }
        let committed = self.group.written(self.position);
        self.commit(committed);
        Ok(())
    }

    fn send(&mut self, output: &mut Output, log: &mut impl Log, outbox: &mut Outbox) {
        let mut ready = Vec::new();
        for message in output.messages.drain(..) {
            let to = PeerId::from_raw(message.to);
            let source = GroupLog { log, group: self.group.id() };
            if let Err(missing) = attach(message, &source, self.message_bytes_max, &mut ready) {
                // Forgetting what the journal no longer has makes raft offer a snapshot instead.
                self.group.compact(missing.index);
                to.into_iter().for_each(|to| self.group.report_unreachable(to));
            }
        }
        for message in ready {
            if let Some(to) = PeerId::from_raw(message.to) {
                let (group, from) = (self.group.id(), self.group.peer());
                outbox.push(Envelope { group, from, to, body: Body::Raft(Box::new(message)) });
            }
        }
        if output.snapshot_wanted {
            let Install { index, .. } = self.group.provide_snapshot();
            self.shipping.provide(index, self.machine.snapshot());
        }
        for message in output.snapshots.drain(..) {
            self.shipping.start(message, &mut self.group);
        }
    }

    fn commit(&mut self, range: Option<RangeInclusive<u64>>) {
        if let Some(range) = range {
            let first = self.committed.take().map_or(*range.start(), |before| *before.start());
            self.committed = Some(first..=*range.end());
        }
    }

    fn apply(&mut self, log: &mut impl Log, events: &mut Vec<Event<M::Effect, T>>) -> Result<(), ReplicaError> {
        let Some(range) = self.committed.take() else { return Ok(()) };
        let last = *range.end();
        for index in range {
            let entry = log.entry(self.group.id(), index).ok_or(ReplicaError::EntryUnreadable(index))?;
            let StoredEntry { term, kind, payload } = entry;
            let token = self.token(index, term, events);
            if kind == EntryKind::Normal {
                let effect = self.machine.apply(EntryRef { index, term, payload: &payload });
                events.push(Event::Applied { index, effect, token });
            }
        }
        self.group.advance_applied(last);
        Ok(())
    }

    #[cfg(any(test, feature = "sim"))]
    fn trusts_index(&self) -> bool {
        self.acknowledges_by_index
    }

    #[cfg(not(any(test, feature = "sim")))]
    fn trusts_index(&self) -> bool {
        false
    }

    /// Tells a proposal's outcome by its index, whichever entry took its place, for tests that show it is seen.
    #[cfg(any(test, feature = "sim"))]
    pub fn acknowledge_by_index(&mut self, by_index: bool) {
        self.acknowledges_by_index = by_index;
    }

    /// The token waiting for this very entry. Tokens that waited for others up to here have lost.
    fn token(&mut self, index: u64, term: u64, events: &mut Vec<Event<M::Effect, T>>) -> Option<T> {
        while self.waiting.front().is_some_and(|waiting| waiting.index <= index) {
            let waiting = self.waiting.pop_front()?;
            if waiting.index == index && (waiting.term == term || self.trusts_index()) {
                return Some(waiting.token);
            }
            events.push(Event::Lost { token: waiting.token });
        }
        None
    }
}

fn report<E, T>(output: Output, events: &mut Vec<Event<E, T>>) {
    events.extend(output.role.map(Event::Role));
    events.extend(output.membership.map(Event::Membership));
    events.extend(output.reads.into_iter().map(Event::Read));
    events.extend(output.reads_lost.into_iter().map(Event::ReadLost));
}

struct GroupLog<'a, L> {
    log: &'a L,
    group: GroupId,
}

impl<L: Log> EntrySource for GroupLog<'_, L> {
    fn entry(&self, index: u64) -> Option<(u64, Bytes)> {
        self.log.entry(self.group, index).map(|entry| (entry.term, entry.payload))
    }
}
