//! A set as bytes: a version, then runs or a roaring bitmap.

use std::collections::BTreeMap;

use roaring::RoaringTreemap;

use super::{Bitmap, Form, SequenceSet};
use crate::varint::{self, Reader};

pub(super) const VERSION_RUNS: u8 = 1;
pub(super) const VERSION_BITMAP: u8 = 2;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceSetDecodeError {
    #[error("sequence set: unknown version {0}")]
    Version(u8),
    #[error("sequence set: damaged")]
    Malformed,
}

impl From<varint::Malformed> for SequenceSetDecodeError {
    fn from(_: varint::Malformed) -> Self {
        SequenceSetDecodeError::Malformed
    }
}

impl SequenceSet {
    /// Appends the set to `out`: a version, then runs (their number; per run the gap before it and its length less one,
    /// as varints) or a roaring bitmap in its portable form, whichever is shorter.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Form::Bitmap(bitmap) = &self.form {
            // A run takes two bytes at least.
            if bitmap.map.serialized_size() < 2 * self.runs().count() {
                out.push(VERSION_BITMAP);
                bitmap.map.serialize_into(out).expect("invariant: writing to a Vec does not fail");
                return;
            }
        }
        out.push(VERSION_RUNS);
        varint::put(out, self.runs().count() as u64);
        let mut next = 0;
        for run in self.runs() {
            varint::put(out, run.start() - next);
            varint::put(out, run.end() - run.start());
            next = run.end().saturating_add(1);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; all of `bytes` must be the set.
    pub fn decode(bytes: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
        let (version, body) = bytes.split_first().ok_or(SequenceSetDecodeError::Malformed)?;
        match *version {
            VERSION_RUNS => decode_runs(body),
            VERSION_BITMAP => decode_bitmap(body),
            other => Err(SequenceSetDecodeError::Version(other)),
        }
    }
}

fn decode_runs(body: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
    let mut reader = Reader::new(body);
    let (mut runs, mut len, mut next) = (BTreeMap::new(), 0u64, Some(0u64));
    for count in 0..reader.varint()? {
        let gap = reader.varint()?;
        // Runs without a gap would be one.
        if gap == 0 && count > 0 {
            return Err(SequenceSetDecodeError::Malformed);
        }
        let first = next.and_then(|next| next.checked_add(gap)).ok_or(SequenceSetDecodeError::Malformed)?;
        let span = reader.varint()?;
        let last = first.checked_add(span).ok_or(SequenceSetDecodeError::Malformed)?;
        len = span.checked_add(1).and_then(|more| len.checked_add(more)).ok_or(SequenceSetDecodeError::Malformed)?;
        next = last.checked_add(1);
        runs.insert(first, last);
    }
    if !reader.is_empty() {
        return Err(SequenceSetDecodeError::Malformed);
    }
    Ok(SequenceSet { form: Form::Runs(runs), len })
}

fn decode_bitmap(mut body: &[u8]) -> Result<SequenceSet, SequenceSetDecodeError> {
    let map = RoaringTreemap::deserialize_from(&mut body).map_err(|_| SequenceSetDecodeError::Malformed)?;
    if !body.is_empty() || map.bitmaps().any(|(_, bitmap)| bitmap.is_empty()) {
        return Err(SequenceSetDecodeError::Malformed);
    }
    let len = map.len();
    Ok(SequenceSet { form: Form::Bitmap(Box::new(Bitmap { map, insertions: 0 })), len })
}
