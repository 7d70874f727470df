//! Bytes on disk: the node journal is the truth, everything else here is derived from it. Synchronous, no network.

mod catalogue;
mod dedupe;
mod memory;
#[cfg(test)]
mod model;
mod sequence_set;
mod siphash;
mod subjects;
mod timer_wheel;
mod varint;

pub use catalogue::{Applied, Batch, Catalogue, Condition, Doubt, IsDurable, OnDoubt, Row, Table, Unavailable};
pub use dedupe::{DedupeDecodeError, DedupeWindow};
pub use memory::{MemoryAppendError, MemoryInput, MemoryLog, MemoryMessage};
pub use sequence_set::{SequenceSet, SequenceSetDecodeError};
pub use subjects::{Bound, SUBJECT_BYTES_MAX, SubjectIndex, SubjectState, SubjectsDecodeError, filter_matches};
pub use timer_wheel::{Expired, TimerId, TimerWheel};
