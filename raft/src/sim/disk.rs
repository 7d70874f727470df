//! A disk that crashes: what is not synced may be lost, from any record on. One per node, shared by all its groups, as the
//! journal is.

use super::Bug;
use crate::ids::GroupId;
use crate::log::{EntryKind, TermLog};
use crate::machine::{Log, Record, StoredEntry};
use crate::state::{CheckpointBody, GroupState};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Clone, Debug)]
enum Stored {
    Entry { index: u64, entry: StoredEntry },
    State(Bytes),
    Checkpoint { index: u64, term: u64, body: Bytes, reset: bool },
}

/// What the records of one group amount to.
#[derive(Clone, Debug, Default)]
struct View {
    state: Option<Bytes>,
    checkpoint: Option<(u64, u64, Bytes)>,
    entries: BTreeMap<u64, StoredEntry>,
}

/// A group as found after a restart.
#[derive(Debug)]
pub struct Recovered {
    pub state: Option<GroupState>,
    pub log: TermLog,
    pub applied: u64,
    pub machine: Option<Bytes>,
}

#[derive(Debug)]
pub struct SimDisk {
    records: Vec<(GroupId, Stored)>,
    views: BTreeMap<GroupId, View>,
    synced: u64,
    reported: u64,
    bug: Option<Bug>,
}

impl SimDisk {
    pub fn new(bug: Option<Bug>) -> SimDisk {
        SimDisk { records: Vec::new(), views: BTreeMap::new(), synced: 0, reported: 0, bug }
    }

    /// Position of the last record.
    pub fn end(&self) -> u64 {
        self.records.len() as u64
    }

    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// A promise (term, vote) has been handed out and could still be lost: the best moment for a crash.
    pub fn has_unsynced_state(&self) -> bool {
        self.records[self.synced as usize..].iter().any(|(_, record)| matches!(record, Stored::State(_)))
    }

    /// A sync that was started when the log ended at `position` has finished.
    pub fn sync(&mut self, position: u64) {
        self.synced = self.synced.max(position);
    }

    /// What the journal would report now as durable, with the groups concerned; each record once.
    pub fn newly_durable(&mut self) -> Option<(u64, BTreeSet<GroupId>)> {
        let durable = self.claimed();
        let fresh = self.records.get(self.reported as usize..durable as usize)?;
        let groups: BTreeSet<GroupId> = fresh.iter().map(|(group, _)| *group).collect();
        self.reported = durable;
        (!groups.is_empty()).then_some((durable, groups))
    }

    fn claimed(&self) -> u64 {
        let waiting = &self.records[self.synced as usize..];
        match self.bug {
            Some(Bug::AckBeforeSync) => self.end(),
            Some(Bug::VoteBeforeDurable) if waiting.iter().all(|(_, record)| matches!(record, Stored::State(_))) => {
                self.end()
            }
            _ => self.synced.max(self.reported),
        }
    }

    /// Power is lost: of what was not synced, the first `kept` records survive.
    pub fn crash(&mut self, kept: u64) {
        self.records.truncate((self.synced + kept) as usize);
        (self.synced, self.reported) = (self.end(), self.end());
        self.views.clear();
        let records = std::mem::take(&mut self.records);
        for (group, record) in &records {
            let view = self.views.entry(*group).or_default();
            view.take_in(record, self.bug);
        }
        self.records = records;
    }

    pub fn recover(&self, group: GroupId) -> Result<Recovered, String> {
        let view = self.views.get(&group).cloned().unwrap_or_default();
        let (applied, term, body) = view.checkpoint.unwrap_or_default();
        let mut log = TermLog::new(applied, term);
        for (index, entry) in view.entries {
            log.recover(index, entry.term, entry.kind, &entry.payload).map_err(|error| error.to_string())?;
        }
        let checkpoint = CheckpointBody::decode(body).map_err(|error| error.to_string())?;
        let state =
            view.state.map(|state| GroupState::decode(&state)).transpose().map_err(|error| error.to_string())?;
        let state = state.map(|state| if applied > 0 { state.with_checkpoint(applied, &checkpoint) } else { state });
        Ok(Recovered { state, log, applied, machine: (applied > 0).then_some(checkpoint.machine) })
    }
}

impl View {
    fn take_in(&mut self, record: &Stored, bug: Option<Bug>) {
        match record {
            Stored::Entry { index, entry } => {
                if bug != Some(Bug::KeepReplacedTail) {
                    self.entries.split_off(index);
                }
                self.entries.insert(*index, entry.clone());
            }
            Stored::State(_) if bug == Some(Bug::ForgetState) && self.state.is_some() => {}
            Stored::State(body) => self.state = Some(body.clone()),
            Stored::Checkpoint { index, term, body, reset } => {
                self.checkpoint = Some((*index, *term, body.clone()));
                self.entries = self.entries.split_off(&(index + 1));
                if *reset && bug != Some(Bug::KeepTailOverSnapshot) {
                    self.entries.clear();
                }
            }
        }
    }
}

/// The disk as a shard's log.
#[derive(Clone, Debug)]
pub struct SimLog(pub Rc<RefCell<SimDisk>>);

impl Log for SimLog {
    fn append(&mut self, group: GroupId, record: Record<'_>) -> u64 {
        let stored = match record {
            Record::Entry { index, term, kind, payload } => {
                Stored::Entry { index, entry: StoredEntry { term, kind, payload: payload.clone() } }
            }
            Record::State { body } => Stored::State(body.clone()),
            Record::Checkpoint { index, term, body, reset } => {
                Stored::Checkpoint { index, term, body: body.clone(), reset }
            }
        };
        let disk = &mut *self.0.borrow_mut();
        // Bugs of recovery show only after a crash.
        disk.views.entry(group).or_default().take_in(&stored, None);
        disk.records.push((group, stored));
        disk.end()
    }

    fn entry(&self, group: GroupId, index: u64) -> Option<StoredEntry> {
        self.0.borrow().views.get(&group)?.entries.get(&index).cloned()
    }
}

impl SimLog {
    pub fn normal_entry(&self, group: GroupId, index: u64) -> Option<StoredEntry> {
        self.entry(group, index).filter(|entry| entry.kind == EntryKind::Normal)
    }
}
