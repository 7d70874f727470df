//! Where a record lies.

use std::fmt;

/// A place in the journal. Segment numbers are never reused, so a location never means another record later; it stops
/// being valid when its segment is recycled or compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Number of the segment.
    pub segment: u32,
    /// Offset within its file.
    pub offset: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.segment, self.offset)
    }
}
