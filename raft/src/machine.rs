//! The seams of a replica: the machine it replicates, and the log it writes to. Both are implemented by the server (streams
//! over the journal) and by the simulator (toys over a disk that crashes).

use crate::ids::GroupId;
use crate::log::EntryKind;
use crate::snapshot::{SnapshotSink, SnapshotSource};
use bytes::Bytes;

/// A deterministic state machine: the same entries in the same order give the same state and the same effects, on every node
/// and in every run.
pub trait Machine {
    type Effect;
    type Source: SnapshotSource;
    type Sink: SnapshotSink + Default;

    fn apply(&mut self, entry: EntryRef<'_>) -> Self::Effect;
    /// What a restart needs besides the entries after it. Small: it goes into the journal.
    fn checkpoint(&self) -> Bytes;
    fn restore(&mut self, checkpoint: &[u8]) -> Result<(), RestoreError>;
    /// All a peer with nothing needs. May be large: it is shipped in chunks.
    fn snapshot(&self) -> Self::Source;
    fn install(&mut self, content: Self::Sink) -> Result<(), RestoreError>;
    /// Equal on replicas that have applied the same entries; compared when a group comes to rest.
    fn state_hash(&self) -> u64;
}

#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    pub index: u64,
    pub term: u64,
    pub payload: &'a Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint or snapshot cannot be read")]
pub struct RestoreError;

/// One record to append to the journal.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    Entry {
        index: u64,
        term: u64,
        kind: EntryKind,
        payload: &'a Bytes,
    },
    State {
        body: &'a Bytes,
    },
    /// `reset`: it came from another peer, and every entry appended before this record is dead, even those after `index`.
    Checkpoint {
        index: u64,
        term: u64,
        body: &'a Bytes,
        reset: bool,
    },
}

/// An entry read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub term: u64,
    pub kind: EntryKind,
    pub payload: Bytes,
}

/// The journal as replicas use it: all groups append to the same one.
pub trait Log {
    /// Queues the record and returns its position, which grows along the journal. Durability is reported later, by position.
    fn append(&mut self, group: GroupId, record: Record<'_>) -> u64;
    /// The entry last appended at `index`, durable or not.
    fn entry(&self, group: GroupId, index: u64) -> Option<StoredEntry>;
}
