//! Many Raft groups over one journal. Time, network and disk come from outside; everything here is a pure machine.

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
pub use group::{Group, GroupConfig, RestartError};
pub use guard::{Guarded, Poisoned};
pub use ids::{GroupId, NodeId, PeerId};
pub use log::{EntryKind, RecoverError, TermLog};
pub use machine::{EntryRef, Log, Machine, Record, RestoreError, StoredEntry};
pub use membership::{Change, Membership, Step, plan};
pub use output::{Append, Install, Output, ProposeError, Proposed, Read, ReadError, Role, StepError};
pub use payload::{EntrySource, Missing, attach};
pub use replica::{Event, Outbox, Replica, ReplicaError};
pub use settings::Settings;
pub use shard::{Shard, ShardEvent};
pub use snapshot::{
    Chunk, ChunkAck, Delivery, RateLimit, SnapshotReceiver, SnapshotSender, SnapshotSink, SnapshotSource,
    TransferSettings, TransferState,
};
pub use state::{CheckpointBody, GroupState, StateError};
pub use transport::{Body, Envelope, Transport};
