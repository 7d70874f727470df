//! The subject index in a checkpoint. Sorted subjects, each without what it shares with the one before; numbers as
//! little-endian base-128 varints:
//!
//! ```text
//! version u8 = 1 | subjects | per subject: shared length, suffix length, suffix bytes,
//!     messages * 4 + (2: first is a bound) + (1: last is a bound), first, last - first
//! ```
//!
//! The checkpoint's record carries the checksum. Decoding refuses whatever it can't make sense of and never panics; it
//! allocates in proportion to the input, not to what the input claims.

use std::ops::ControlFlow;

use super::build::Builder;
use super::state::SubjectState;
use super::{SUBJECT_BYTES_MAX, SubjectIndex, common_len};
use crate::varint::{self, Reader};

const VERSION: u8 = 1;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectsDecodeError {
    #[error("subject index: unknown version {0}")]
    Version(u8),
    #[error("subject index: ends early or has a number out of range")]
    Malformed,
    #[error("subject index: subjects not in order")]
    Unordered,
    #[error("subject index: impossible state of a subject")]
    State,
    #[error("subject index: bytes after the end")]
    Trailing,
}

impl From<varint::Malformed> for SubjectsDecodeError {
    fn from(_: varint::Malformed) -> Self {
        SubjectsDecodeError::Malformed
    }
}

impl SubjectIndex {
    /// Appends the index to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        varint::put(out, self.len());
        let mut before: Vec<u8> = Vec::new();
        self.for_each(|subject, state| {
            let shared = common_len(&before, subject);
            varint::put(out, shared as u64);
            varint::put(out, (subject.len() - shared) as u64);
            out.extend_from_slice(&subject[shared..]);
            let flags = u64::from(!state.first_exact) * 2 + u64::from(!state.last_exact);
            varint::put(out, state.messages << 2 | flags);
            varint::put(out, state.first);
            varint::put(out, state.last - state.first);
            before.truncate(shared);
            before.extend_from_slice(&subject[shared..]);
            ControlFlow::Continue(())
        });
    }

    /// Reads what [`encode`](Self::encode) wrote; all of `bytes` must be the index.
    pub fn decode(bytes: &[u8]) -> Result<SubjectIndex, SubjectsDecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(SubjectsDecodeError::Version(version));
        }
        let mut builder = Builder::new();
        let subjects = reader.varint()?;
        let mut subject: Vec<u8> = Vec::new();
        let mut messages: u64 = 0;
        for count in 0..subjects {
            let shared = read_subject(&mut reader, &mut subject, count == 0)?;
            let state = read_state(&mut reader)?;
            messages = messages.checked_add(state.messages).ok_or(SubjectsDecodeError::State)?;
            builder.push(&subject, shared, state);
        }
        if reader.is_empty() { Ok(builder.finish()) } else { Err(SubjectsDecodeError::Trailing) }
    }
}

/// Turns the subject before into the next one, which must sort after it. That makes what they share, which is returned,
/// all that they have in common.
fn read_subject(reader: &mut Reader<'_>, subject: &mut Vec<u8>, is_first: bool) -> Result<usize, SubjectsDecodeError> {
    let shared = reader.length(subject.len())?;
    let suffix_len = reader.length(SUBJECT_BYTES_MAX - shared)?;
    let suffix = reader.take(suffix_len)?;
    let ordered = match (subject.get(shared), suffix.first()) {
        (None, None) => is_first,
        (None, Some(_)) => true,
        (Some(old), Some(new)) => old < new,
        (Some(_), None) => false,
    };
    if !ordered {
        return Err(SubjectsDecodeError::Unordered);
    }
    subject.truncate(shared);
    subject.extend_from_slice(suffix);
    Ok(shared)
}

fn read_state(reader: &mut Reader<'_>) -> Result<SubjectState, SubjectsDecodeError> {
    let head = reader.varint()?;
    let first = reader.varint()?;
    let span = reader.varint()?;
    let last = first.checked_add(span).ok_or(SubjectsDecodeError::State)?;
    let state =
        SubjectState { messages: head >> 2, first, last, first_exact: head & 2 == 0, last_exact: head & 1 == 0 };
    // A span of all sequences holds 2^64 messages, one more than a count can say.
    let fits = state.messages >= 1 && state.messages - 1 <= span;
    let single = state.messages > 1 || span == 0 || (!state.first_exact && !state.last_exact);
    if fits && single { Ok(state) } else { Err(SubjectsDecodeError::State) }
}
