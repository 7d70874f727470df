//! Many Raft groups over one journal. Time, network and disk come from outside; everything here is a pure machine.
//!
//! ```text
//!   group       one raft::RawNode: propose, step, tick -> Output {state, appends, messages, committed}
//!   replica     a group with its Machine: proposals in, applied effects out
//!   shard       many replicas: dirty list, one log, one batch per node, sleep
//!   log         what raft knows of a log (terms, range); payloads stay in the journal and join a message in `payload`
//!   transport   envelopes, and `codec`, their bytes
//!   snapshot    chunks, acknowledgements, rate
//!   sim         all of it on crashing disks and lying links, from one seed
//! ```
//!
//! A group of one, as a server of single replicas drives it. Positions grow along the journal; here the journal is a list.
//!
//! ```
//! use headwater_raft::*;
//! let peer = PeerId::new(NodeId(1), 1);
//! let mut group = Group::new(GroupConfig {
//!     group: GroupId(2),
//!     peer,
//!     settings: Settings::default(),
//!     state: GroupState::bootstrap(&[peer]),
//!     log: TermLog::new(0, 0),
//!     applied: 0,
//!     seed: peer.get(),
//! })?;
//! let mut journal = Vec::new();
//!
//! // Start: elect ourselves; append what comes out.
//! group.campaign();
//! let output = group.ready();
//! journal.push(format!("state {:?}", output.state));
//! journal.extend(output.appends.iter().map(|append| format!("entry {} {}", append.index, append.term)));
//! group.written(journal.len() as u64);
//!
//! // Publish: as often as there is something; the caller appends under the indexes it gets.
//! let Proposed { first_index, term } = group.propose(2).unwrap();
//! journal.extend([first_index, first_index + 1].map(|index| format!("message {index} {term}")));
//! let position = journal.len() as u64;
//! assert_eq!(group.written(position), None);
//!
//! // The journal is durable up to there: apply, acknowledge.
//! let committed = group.on_durable(position);
//! assert_eq!(committed, Some(1..=3));
//! group.advance_applied(3);
//! assert!(!group.needs_ready());
//! # Ok::<(), RestartError>(())
//! ```

mod codec;
mod election;
mod group;
mod guard;
mod ids;
mod log;
mod logger;
mod machine;
mod membership;
mod output;
mod payload;
mod replica;
mod settings;
mod shard;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod sleep;
mod snapshot;
mod state;
mod transport;
mod writes;

pub use codec::{BatchReader, DecodeError, FRAME_BYTES_MAX, decode_batch, encode_batch, frame_length};
pub use group::{Group, GroupConfig, PeerProgress, RestartError};
pub use guard::{Guarded, Poisoned};
pub use ids::{GroupId, NodeId, PeerId};
pub use log::{EntryKind, RecoverError, TermLog};
pub use machine::{EntryRef, Log, Machine, Record, RestoreError, StoredEntry};
pub use membership::{Change, Membership, Step, plan};
pub use output::{Append, Install, Output, ProposeError, Proposed, Read, ReadError, Role, StepError};
pub use payload::{EntrySource, Missing, attach};
pub use raft::eraftpb::Message;
pub use replica::{Event, Outbox, Replica, ReplicaError};
pub use settings::Settings;
pub use shard::{Shard, ShardEvent};
pub use snapshot::{
    Chunk, ChunkAck, Delivery, RateLimit, SnapshotReceiver, SnapshotSender, SnapshotSink, SnapshotSource,
    TransferSettings, TransferState,
};
pub use state::{CheckpointBody, GroupState, StateError};
pub use transport::{Body, Envelope, Transport};
