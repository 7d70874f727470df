//! The node's storage: bytes on disk. The **journal** is the truth: one sequence of segment files that every Raft group
//! of the node appends to. All else is derived from it and may be thrown away: offset tables, footers, counters,
//! subject indexes, the catalogue. Synchronous, no network, and of NATS it knows subjects only.

mod aligned;
mod catalogue;
mod dedupe;
mod directory;
mod error;
pub mod format;
pub mod io;
mod journal;
mod location;
mod memory;
#[cfg(test)]
mod model;
mod options;
mod report;
mod scan;
mod segment;
mod sequence_set;
mod siphash;
mod stats;
mod subjects;
mod timer_wheel;
mod varint;
pub mod verify;

pub use dedupe::{DedupeDecodeError, DedupeWindow};
pub use directory::Run;
pub use error::{AppendError, EraseError, JournalError, OpenError, ReadError};
pub use format::record::{GroupId, RecordHeader, RecordKind, RecordRef};
pub use io::{Io, IoError, RealIo, SimIo};
pub use journal::loss;
pub use journal::{
    AppendClass, Appender, DurableBatch, DurableSink, IgnoringSink, Journal, MessageCursor, Opened, Placed, Record,
    RecoveredCheckpoint, RecoveredDefinition, RecoveredGroup, ReplayReport, SubjectFilter, Unsaved, Urgency,
};
pub use location::Location;
pub use memory::{MemoryAppendError, MemoryInput, MemoryLog, MemoryMessage};
pub use options::JournalOptions;
pub use report::{Damage, DamageKind, Progress, RecoveryReport};
pub use sequence_set::{SequenceSet, SequenceSetDecodeError};
pub use stats::{Health, HistogramReading, JournalStats};
pub use subjects::{Bound, SUBJECT_BYTES_MAX, SubjectIndex, SubjectState, SubjectsDecodeError, filter_matches};
pub use timer_wheel::{Expired, TimerId, TimerWheel};
