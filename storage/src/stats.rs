//! Counters and health.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::JournalError;
use crate::report::Damage;

/// Whether the journal takes records.
#[derive(Clone, Debug)]
pub enum Health {
    /// It does.
    Ok,
    /// The disk is full: only control records.
    Full,
    /// A write or sync failed: none, until it is opened again.
    Poisoned(JournalError),
    /// It was closed.
    Closed,
}

/// Counters since the start, and present sizes.
#[derive(Clone, Debug, Default)]
pub struct JournalStats {
    /// Batches written.
    pub batches: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Bytes written in batches, with headers and padding.
    pub batch_bytes: u64,
    /// Bytes written a second time by compaction.
    pub compacted_bytes: u64,
    /// Bytes of footers.
    pub footer_bytes: u64,
    /// Segments compacted away.
    pub segments_compacted: u64,
    /// Segments recycled.
    pub segments_recycled: u64,
    /// Segments with data.
    pub segments: u64,
    /// Spare segments.
    pub spares: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Bytes waiting to be written.
    pub bytes_queued: u64,
    /// Bytes that the scrubber has read.
    pub scrubbed_bytes: u64,
    /// Records found damaged.
    pub damaged_records: u64,
    /// All damages known, those of the start included (the first 1024).
    pub damages: Vec<Damage>,
}

impl JournalStats {
    /// Bytes written for each byte of records.
    pub fn write_amplification(&self) -> f64 {
        if self.record_bytes == 0 {
            return 1.0;
        }
        (self.batch_bytes + self.compacted_bytes + self.footer_bytes) as f64 / self.record_bytes as f64
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) record_bytes: AtomicU64,
    pub(crate) batch_bytes: AtomicU64,
    pub(crate) compacted_bytes: AtomicU64,
    pub(crate) footer_bytes: AtomicU64,
    pub(crate) segments_compacted: AtomicU64,
    pub(crate) segments_recycled: AtomicU64,
    pub(crate) scrubbed_bytes: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, value: usize) {
    counter.fetch_add(value as u64, Ordering::Relaxed);
}
