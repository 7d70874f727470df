//! The node's storage. The **journal** is the truth: one sequence of segment files that every Raft group of the node
//! appends to. All else is derived from it and may be thrown away: offset tables, footers, counters.

mod aligned;
mod directory;
mod error;
pub mod format;
pub mod io;
mod journal;
mod location;
mod options;
mod report;
mod scan;
mod segment;
mod stats;
pub mod verify;

pub use error::{AppendError, EraseError, JournalError, OpenError, ReadError};
pub use format::record::{GroupId, RecordHeader, RecordKind, RecordRef};
pub use io::{Io, IoError, RealIo, SimIo};
pub use journal::{
    AppendClass, Appender, DurableBatch, DurableSink, IgnoringSink, Journal, MessageCursor, Opened, Record,
    RecoveredCheckpoint, RecoveredGroup, ReplayReport, SubjectFilter, Urgency,
};
pub use location::Location;
pub use options::JournalOptions;
pub use report::{Damage, DamageKind, Progress, RecoveryReport};
pub use stats::{Health, JournalStats};
