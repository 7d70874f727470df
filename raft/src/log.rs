//! What raft must know of a group's log, and nothing more: its range, the term of every entry (as runs, since terms change
//! rarely), and the membership changes in it. Payloads live in the journal and are attached when a message leaves
//! (see `payload`).
//!
//! ```text
//!   compacted            applied         committed        last
//!       |                   |                |              |
//!   ----+-------------------+----------------+--------------+
//!       ^ term kept         runs: [(first, term), ...] up to last
//! ```

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot, SnapshotMetadata};
use raft::{GetEntriesContext, RaftState, StorageError};
use std::cell::Cell;
use std::collections::VecDeque;

/// What an entry is for. Stored as the record's tag by the layer that writes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The machine's. Its payload is never empty.
    Normal = 0,
    /// A new leader's first entry; it has no payload and the machine never sees it.
    Empty = 1,
    /// A change of members; the group applies it.
    Membership = 2,
}

impl EntryKind {
    pub const fn from_tag(tag: u8) -> Option<EntryKind> {
        match tag {
            0 => Some(EntryKind::Normal),
            1 => Some(EntryKind::Empty),
            2 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// More entries than this to one follower go out in several messages.
pub(crate) const ENTRIES_PER_MESSAGE_MAX: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    term: u64,
}

#[derive(Clone, Debug)]
struct MembershipEntry {
    index: u64,
    data: Bytes,
}

/// The log of one group as raft sees it.
#[derive(Clone, Debug, Default)]
pub struct TermLog {
    compacted: u64,
    compacted_term: u64,
    last: u64,
    /// Cover `compacted + 1 ..= last`; neighbours differ in term.
    runs: VecDeque<Run>,
    /// Ascending, within `compacted + 1 ..= last`. Payloads are kept: raft looks at them, and they are few and small.
    membership: VecDeque<MembershipEntry>,
    initial: (HardState, ConfState),
    prepared: Option<SnapshotMetadata>,
    snapshot_wanted: Cell<bool>,
}

impl TermLog {
    /// The log after a checkpoint at `compacted`, or an empty one (`0, 0`).
    pub fn new(compacted: u64, compacted_term: u64) -> TermLog {
        TermLog { compacted, compacted_term, last: compacted, ..Default::default() }
    }

    /// The last index that is gone. Its term is still known.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn last_term(&self) -> u64 {
        self.runs.back().map_or(self.compacted_term, |run| run.term)
    }

    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.compacted {
            return Some(self.compacted_term);
        }
        if index < self.compacted || index > self.last {
            return None;
        }
        // Nearly every question is about the newest run.
        self.runs.iter().rev().find(|run| run.first <= index).map(|run| run.term)
    }

    /// Takes in an entry read back from the journal. One at or below `last` replaces what was there and after it, as it did when
    /// it was first written; one at or below `compacted` is dead.
    pub fn recover(&mut self, index: u64, term: u64, kind: EntryKind, payload: &[u8]) -> Result<(), RecoverError> {
        if index <= self.compacted {
            return Ok(());
        }
        if index > self.last + 1 {
            return Err(RecoverError::Gap { after: self.last, found: index });
        }
        self.truncate(index);
        if term < self.last_term() {
            return Err(RecoverError::TermFell { index, from: self.last_term(), to: term });
        }
        self.append(term, 1);
        if kind == EntryKind::Membership {
            self.membership.push_back(MembershipEntry { index, data: Bytes::copy_from_slice(payload) });
        }
        Ok(())
    }

    /// Adds `count` entries of one term.
    pub(crate) fn append(&mut self, term: u64, count: u64) {
        assert!(term >= self.last_term(), "terms never fall along a log");
        if term != self.last_term() || self.runs.is_empty() {
            self.runs.push_back(Run { first: self.last + 1, term });
        }
        self.last += count;
    }

    /// Adds what raft decided to append, cutting off first what it replaces.
    pub(crate) fn append_entries(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.compacted && first.index <= self.last + 1, "entries join the log");
        self.truncate(first.index);
        for entry in entries {
            self.append(entry.term, 1);
            debug_assert_eq!(self.last, entry.index);
            if is_membership(entry) {
                self.membership.push_back(MembershipEntry { index: entry.index, data: entry.data.clone() });
            }
        }
    }

    fn truncate(&mut self, from: u64) {
        if from > self.last {
            return;
        }
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        while self.membership.back().is_some_and(|entry| entry.index >= from) {
            self.membership.pop_back();
        }
        self.last = from - 1;
    }

    pub(crate) fn compact(&mut self, index: u64) {
        let Some(term) = self.term(index).filter(|_| index > self.compacted) else { return };
        while self.runs.get(1).is_some_and(|next| next.first <= index + 1) {
            self.runs.pop_front();
        }
        match self.runs.front_mut() {
            Some(_) if index == self.last => self.runs.clear(),
            Some(run) => run.first = run.first.max(index + 1),
            None => {}
        }
        while self.membership.front().is_some_and(|entry| entry.index <= index) {
            self.membership.pop_front();
        }
        (self.compacted, self.compacted_term) = (index, term);
    }

    /// A snapshot takes the place of all entries.
    pub(crate) fn reset(&mut self, index: u64, term: u64) {
        self.runs.clear();
        self.membership.clear();
        (self.compacted, self.compacted_term, self.last) = (index, term, index);
        self.prepared = None;
    }

    /// Membership changes in `from ..= to`.
    pub(crate) fn membership_entries(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Bytes)> {
        let wanted = self.membership.iter().filter(move |entry| (from..=to).contains(&entry.index));
        wanted.map(|entry| (entry.index, entry.data.clone()))
    }

    pub(crate) fn set_initial(&mut self, hard: HardState, conf: ConfState) {
        self.initial = (hard, conf);
    }

    pub(crate) fn prepare_snapshot(&mut self, metadata: SnapshotMetadata) {
        self.prepared = Some(metadata);
        self.snapshot_wanted.set(false);
    }

    pub(crate) fn snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.get()
    }

    fn entry(&self, index: u64, term: u64) -> Entry {
        Entry { index, term, ..Default::default() }
    }

    fn membership_entry(&self, found: &MembershipEntry) -> Entry {
        Entry {
            entry_type: EntryType::EntryConfChangeV2.into(),
            data: found.data.clone(),
            ..self.entry(found.index, self.term(found.index).unwrap_or(0))
        }
    }

    /// All entries `low .. high`, without payload, for a message.
    fn dense(&self, low: u64, high: u64) -> Vec<Entry> {
        let high = high.min(low + ENTRIES_PER_MESSAGE_MAX);
        let start = self.runs.iter().rposition(|run| run.first <= low).unwrap_or(0);
        let mut entries = Vec::with_capacity((high - low) as usize);
        for (at, run) in self.runs.iter().enumerate().skip(start) {
            let end = self.runs.get(at + 1).map_or(high, |next| next.first.min(high));
            entries.extend((run.first.max(low)..end).map(|index| self.entry(index, run.term)));
        }
        for found in self.membership.iter().filter(|found| (low..high).contains(&found.index)) {
            entries[(found.index - low) as usize] = self.membership_entry(found);
        }
        entries
    }

    /// What raft looks for when the entries are not for a message: it counts membership changes, and reads the last index. So a
    /// million committed entries cost it one.
    fn sparse(&self, low: u64, high: u64) -> Vec<Entry> {
        let found = self.membership.iter().filter(|found| (low..high).contains(&found.index));
        let mut entries: Vec<Entry> = found.map(|found| self.membership_entry(found)).collect();
        if entries.last().is_none_or(|entry| entry.index != high - 1) {
            entries.push(self.entry(high - 1, self.term(high - 1).unwrap_or(0)));
        }
        entries
    }
}

pub(crate) fn is_membership(entry: &Entry) -> bool {
    entry.entry_type != EntryType::EntryNormal as i32
}

impl raft::Storage for TermLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.clone(), self.initial.1.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        _bytes_max: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted {
            return Err(StorageError::Compacted.into());
        }
        if low >= high || high > self.last + 1 {
            return Err(StorageError::Unavailable.into());
        }
        // Only entries for a message may be fetched later; that is how raft tells the two uses apart.
        Ok(if context.can_async() { self.dense(low, high) } else { self.sparse(low, high) })
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let error = if index < self.compacted { StorageError::Compacted } else { StorageError::Unavailable };
        TermLog::term(self, index).ok_or_else(|| error.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match &self.prepared {
            Some(metadata) if metadata.index >= request_index.max(self.compacted) && names(metadata, to) => {
                Ok(Snapshot { data: Bytes::new(), metadata: Some(metadata.clone()) })
            }
            _ => {
                self.snapshot_wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

/// A peer ignores a snapshot taken before it became a member.
fn names(metadata: &SnapshotMetadata, peer: u64) -> bool {
    let members = metadata.get_conf_state();
    [&members.voters, &members.learners, &members.voters_outgoing].iter().any(|list| list.contains(&peer))
}

/// The journal's entries of a group do not form a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    #[error("entry {found} follows entry {after}")]
    Gap { after: u64, found: u64 },
    #[error("term falls from {from} to {to} at entry {index}")]
    TermFell { index: u64, from: u64, to: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use raft::Storage;

    /// The naive log: one term and one mark per entry.
    #[derive(Default)]
    struct Model {
        compacted: u64,
        compacted_term: u64,
        entries: Vec<(u64, bool)>,
    }

    impl Model {
        fn last(&self) -> u64 {
            self.compacted + self.entries.len() as u64
        }

        fn term(&self, index: u64) -> Option<u64> {
            match index.checked_sub(self.compacted) {
                Some(0) => Some(self.compacted_term),
                Some(at) => self.entries.get(at as usize - 1).map(|entry| entry.0),
                None => None,
            }
        }

        fn compact(&mut self, index: u64) {
            if index > self.compacted && index <= self.last() {
                self.compacted_term = self.term(index).unwrap();
                self.entries.drain(..(index - self.compacted) as usize);
                self.compacted = index;
            }
        }
    }

    fn check(log: &TermLog, model: &Model) {
        assert_eq!((log.compacted(), log.last()), (model.compacted, model.last()));
        for index in model.compacted.saturating_sub(1)..=model.last() + 1 {
            assert_eq!(log.term(index), model.term(index), "term of {index}");
        }
        let (low, high) = (model.compacted + 1, model.last() + 1);
        if low < high {
            let dense = log.entries(low, high, None, GetEntriesContext::empty(true)).unwrap();
            let seen: Vec<(u64, bool)> = dense.iter().map(|entry| (entry.term, is_membership(entry))).collect();
            assert_eq!(seen, model.entries);
            assert!(dense.iter().zip(low..).all(|(entry, index)| entry.index == index));
            let sparse = log.entries(low, high, None, GetEntriesContext::empty(false)).unwrap();
            let changes = model.entries.iter().filter(|entry| entry.1).count();
            assert_eq!(sparse.iter().filter(|entry| is_membership(entry)).count(), changes);
            assert_eq!(sparse.last().unwrap().index, model.last());
        }
    }

    proptest! {
        #[test]
        fn term_runs_equal_a_term_per_entry(steps in prop::collection::vec((0u64..12, 0u64..3, any::<bool>()), 1..80)) {
            let (mut log, mut model, mut term) = (TermLog::new(0, 0), Model::default(), 1);
            for (back, kind, change) in steps {
                match kind {
                    0 => {
                        let index = model.last().saturating_sub(back);
                        log.compact(index);
                        model.compact(index);
                    }
                    1 => term += 1,
                    _ => {}
                }
                let index = (model.last() + 1).saturating_sub(back).max(model.compacted + 1);
                model.entries.truncate((index - model.compacted - 1) as usize);
                model.entries.push((term, change));
                let kind = if change { EntryKind::Membership } else { EntryKind::Normal };
                log.recover(index, term, kind, b"x").unwrap();
                check(&log, &model);
            }
        }
    }

    #[test]
    fn a_gap_or_a_falling_term_is_no_log() {
        let mut log = TermLog::new(10, 3);
        assert_eq!(log.recover(9, 2, EntryKind::Normal, b""), Ok(()));
        assert_eq!(log.recover(12, 3, EntryKind::Normal, b""), Err(RecoverError::Gap { after: 10, found: 12 }));
        assert_eq!(
            log.recover(11, 2, EntryKind::Normal, b""),
            Err(RecoverError::TermFell { index: 11, from: 3, to: 2 })
        );
        log.recover(11, 3, EntryKind::Normal, b"").unwrap();
        assert_eq!((log.last(), log.last_term()), (11, 3));
    }

    #[test]
    fn a_long_log_goes_out_in_pieces() {
        let mut log = TermLog::new(0, 0);
        log.append(1, 5000);
        let entries = log.entries(1, 5001, None, GetEntriesContext::empty(true)).unwrap();
        assert_eq!(entries.len() as u64, ENTRIES_PER_MESSAGE_MAX);
        assert_eq!(log.entries(1, 5001, None, GetEntriesContext::empty(false)).unwrap().len(), 1);
    }
}
