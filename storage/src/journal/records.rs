//! HOT PATH: no allocation, no lock, no log.
//!
//! The records of a batch that this process encoded, in order of append.

use crate::format::batch::BATCH_HEADER_BYTES;
use crate::format::record::{RecordRef, parse, record_position};
use crate::location::Location;

/// Iterates over the records of a batch, the journal's own among them; stops at what is not one.
#[derive(Clone)]
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    segment: u32,
    base: u32,
    at: usize,
}

impl<'a> Records<'a> {
    /// `bytes` are those of the whole batch, which lies at `base` in the segment.
    pub(crate) fn new(bytes: &'a [u8], segment: u32, base: u32) -> Self {
        Self { bytes, segment, base, at: record_position(BATCH_HEADER_BYTES) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Location, RecordRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let record = parse(rest).ok()?;
        let location = Location { segment: self.segment, offset: self.base + self.at as u32 };
        self.at = record_position(self.at + record.bytes().len());
        Some((location, record))
    }
}
