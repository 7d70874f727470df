//! Three replicas of a stream with its consumers, over Raft, a network that loses, doubles and delays, and disks that
//! crash. Whatever happens, replicas agree and nothing acknowledged is lost.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use headwater_raft::sim::{Bug, Options, Report, Rng, Violation, Workload, World, seeds};
use headwater_raft::{EntryRef, Group, GroupId, Machine, NodeId, RestoreError};

use super::super::api::StreamConfig;
use super::super::api::time::{MILLISECOND, SECOND};
use super::super::stream::Outcome;
use super::leader::{self, Leader};
use super::stream_replica::{Applied, Entry, StreamReplica};

/// A replica, and what it knows of leading. Raft hands out machines to be read only; deciding changes them.
struct Replicated(RefCell<Inner>);

struct Inner {
    replica: StreamReplica,
    /// The term it leads in and its leader's half.
    lead: Option<(u64, Leader)>,
    /// The index that the next proposal will have, as far as this leader knows.
    next_index: u64,
    now: i64,
}

impl Replicated {
    fn new(replica: StreamReplica) -> Self {
        Self(RefCell::new(Inner { replica, lead: None, next_index: 0, now: 0 }))
    }
}

impl Machine for Replicated {
    type Effect = Applied;
    type Source = Bytes;
    type Sink = Vec<u8>;

    fn apply(&mut self, entry: EntryRef<'_>) -> Applied {
        let Inner { replica, lead, now, .. } = self.0.get_mut();
        let decoded = Entry::decode(&mut entry.payload.clone());
        let applied = replica.apply(&decoded);
        match lead {
            Some((term, leader)) if *term == entry.term => leader.follow(replica, &decoded, *now),
            _ => *lead = None,
        }
        applied
    }

    fn checkpoint(&self) -> Bytes {
        self.0.borrow().replica.checkpoint()
    }

    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), RestoreError> {
        *self = Self::new(StreamReplica::restore(Bytes::copy_from_slice(checkpoint)));
        Ok(())
    }

    fn snapshot(&self) -> Bytes {
        self.checkpoint()
    }

    fn install(&mut self, content: Vec<u8>) -> Result<(), RestoreError> {
        self.restore(&content)
    }

    fn state_hash(&self) -> u64 {
        self.0.borrow().replica.state_hash()
    }
}

/// The clients, and what they were promised.
struct Clients {
    config: StreamConfig,
    now: i64,
    leaders: u64,
    /// The last index whose effects were looked at.
    seen: u64,
    /// Payloads of acknowledged messages, by sequence, until they are removed.
    published: BTreeMap<u64, Bytes>,
    /// Sequences of all messages that were ever applied.
    sequences: BTreeMap<u64, Bytes>,
    removed: BTreeSet<u64>,
    removed_before: u64,
    /// Acknowledged by consumer.
    acked: BTreeSet<(u64, u64, u64)>,
    consumers_gone: BTreeSet<u64>,
    /// Last use of each message id.
    ids: BTreeMap<Bytes, (u64, i64)>,
    totals: Totals,
}

/// What the runs went through: a proof about nothing proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    published: u64,
    acked: u64,
    removed: u64,
}

thread_local! {
    static TOTALS: RefCell<Totals> = const { RefCell::new(Totals { published: 0, acked: 0, removed: 0 }) };
}

impl Clients {
    fn new(seed: u64) -> Self {
        Self {
            config: leader::config(seed),
            now: 1000 * SECOND,
            leaders: 0,
            seen: 0,
            published: BTreeMap::new(),
            sequences: BTreeMap::new(),
            removed: BTreeSet::new(),
            removed_before: 0,
            acked: BTreeSet::new(),
            consumers_gone: BTreeSet::new(),
            ids: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    fn is_removed(&self, sequence: u64) -> bool {
        sequence < self.removed_before || self.removed.contains(&sequence)
    }

    /// The first time that an entry is seen applied.
    fn note(&mut self, effect: &Applied) -> Result<(), String> {
        self.removed.extend(&effect.removed);
        self.totals.removed += effect.removed.len() as u64;
        self.removed_before = self.removed_before.max(effect.removed_before.unwrap_or(0));
        self.consumers_gone.extend(effect.consumer_gone);
        let (Some((id, payload)), Outcome::Stored { sequence, time } | Outcome::Skipped { sequence, time }) =
            (&effect.message, effect.outcome)
        else {
            return Ok(());
        };
        if let Some((last, _)) = self.sequences.last_key_value().filter(|(last, _)| **last >= sequence) {
            return Err(format!("sequence {sequence} was given after {last}"));
        }
        self.sequences.insert(sequence, payload.clone());
        if id.is_empty() {
            return Ok(());
        }
        match self.ids.insert(id.clone(), (sequence, time)) {
            Some((before, used)) if time - used < self.config.duplicate_window => {
                Err(format!("{id:?} is in the stream twice, as {before} and {sequence}"))
            }
            _ => Ok(()),
        }
    }
}

impl Workload for Clients {
    type Machine = Replicated;

    fn machine(&mut self, _: GroupId) -> Replicated {
        Replicated::new(StreamReplica::new(self.config.clone()))
    }

    fn may_decide(&mut self, _: GroupId, raft: &Group, machine: &Replicated) -> bool {
        let mut inner = machine.0.borrow_mut();
        let inner = &mut *inner;
        self.now += 7 * MILLISECOND;
        inner.now = self.now;
        let leads = inner.lead.as_ref().is_some_and(|(term, _)| *term == raft.term());
        if leads && inner.next_index == raft.last_index() + 1 {
            return true;
        }
        // Before the first decision of a term, everything before it is applied; and so again after a proposal that the
        // log did not take.
        if raft.applied() != raft.last_index() || raft.entry_term(raft.applied()) != Some(raft.term()) {
            return false;
        }
        inner.replica.machine.reset_in_flight();
        self.leaders += 1;
        inner.lead = Some((raft.term(), Leader::new(&inner.replica, self.now, self.leaders)));
        inner.next_index = raft.last_index() + 1;
        true
    }

    fn payload(&mut self, _: GroupId, machine: &Replicated, rng: &mut Rng) -> Option<Bytes> {
        let mut inner = machine.0.borrow_mut();
        let Inner { replica, lead, next_index, now } = &mut *inner;
        let (_, leader) = lead.as_mut()?;
        // No two clocks agree.
        let entry = leader.next_entry(replica, *now + rng.below(50) as i64 * MILLISECOND, rng)?;
        *next_index += 1;
        Some(entry.to_bytes())
    }

    fn applied(&mut self, _: GroupId, _: NodeId, index: u64, effect: &Applied, acked: bool) -> Result<(), String> {
        if index > self.seen {
            self.seen = index;
            self.note(effect)?;
        }
        if !acked {
            return Ok(());
        }
        if let (Some((_, payload)), Outcome::Stored { sequence, .. }) = (&effect.message, effect.outcome) {
            self.totals.published += 1;
            if let Some(other) = self.published.insert(sequence, payload.clone()) {
                return Err(format!("sequence {sequence} was acknowledged for {other:?} and for {payload:?}"));
            }
        }
        self.totals.acked += effect.acked.len() as u64;
        self.acked.extend(&effect.acked);
        Ok(())
    }

    fn finished(&mut self, _: GroupId, machine: &Replicated) -> Result<(), String> {
        let inner = machine.0.borrow();
        let replica = &inner.replica;
        for (sequence, payload) in &self.published {
            let stored = replica.store.messages.get(sequence).filter(|_| replica.machine.is_stored(*sequence));
            match stored {
                Some(stored) if stored.payload != *payload => {
                    return Err(format!("message {sequence} was acknowledged with another payload"));
                }
                None if !self.is_removed(*sequence) => return Err(format!("acknowledged message {sequence} is lost")),
                _ => {}
            }
        }
        for (id, first, last) in self.acked.iter().filter(|(id, ..)| !self.consumers_gone.contains(id)) {
            let record = replica.consumers.get(*id).ok_or_else(|| format!("consumer {id} is lost"))?;
            if let Some(sequence) = (*first..=*last).find(|sequence| record.state.needs(*sequence)) {
                return Err(format!("consumer {id} has forgotten the acknowledgement of {sequence}"));
            }
        }
        TOTALS.with_borrow_mut(|totals| {
            totals.published += self.totals.published;
            totals.acked += self.totals.acked;
            totals.removed += self.totals.removed;
        });
        Ok(())
    }
}

/// The proof is worth nothing if it does not see a disk that lies.
#[test]
fn acknowledging_what_is_not_on_disk_is_found() {
    let lies = |seed| run(seed, Options { bug: Some(Bug::AckBeforeSync), crash_per_mille: 10, ..troubled(seed) }).err();
    let found = (1..=20).find_map(lies).expect("acknowledged messages were lost and nobody saw it");
    println!("{found}");
}

fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    let options = Options { groups: 1, ..options };
    World::new(seed, options, Clients::new(seed)).run(STEPS)
}

const STEPS: u64 = 900;

fn run_all(count: u64, options: fn(u64) -> Options) -> (Report, Totals) {
    let mut total = Report::default();
    for seed in seeds(count) {
        match run(seed, options(seed)) {
            Ok(report) => total += report,
            Err(violation) => panic!("{violation}"),
        }
    }
    let totals = TOTALS.take();
    println!("{total:?} {totals:?}");
    (total, totals)
}

/// Three nodes that lose power, messages and links, and sometimes a whole disk.
fn troubled(seed: u64) -> Options {
    Options { nodes: 3, propose_per_mille: 350, ..Options::swarm(seed) }
}

#[test]
fn replicas_of_a_stream_agree_and_nothing_acknowledged_is_lost() {
    let (report, totals) = run_all(24, troubled);
    if std::env::var("SEED").is_err() {
        assert!(report.crashes > 10 && report.elections > 30, "{report:?}");
        assert!(totals.published > 500 && totals.acked > 50 && totals.removed > 200, "{totals:?}");
    }
}

#[test]
fn a_stream_installed_from_a_snapshot_is_as_good_as_its_log() {
    let (report, totals) = run_all(8, Options::snapshots);
    if std::env::var("SEED").is_err() {
        assert!(report.installs > 5, "{report:?}");
        assert!(totals.published > 100, "{totals:?}");
    }
}
