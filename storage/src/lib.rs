//! Bytes on disk: the node journal is the truth, everything else here is derived from it. Synchronous, no network.

#[cfg(test)]
mod model;
mod subjects;
mod varint;

pub use subjects::{Bound, SUBJECT_BYTES_MAX, SubjectIndex, SubjectState, SubjectsDecodeError, filter_matches};
