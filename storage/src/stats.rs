//! Counters, histograms and health.

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
    /// Sealed segments that are due to be checked.
    pub segments_due: u64,
    /// Every sealed segment was checked at this time or later, or was not made before it: nanoseconds since the epoch.
    /// `None` without sealed segments.
    pub checked_since: Option<i64>,
    /// Records found damaged.
    pub damaged_records: u64,
    /// All damages known, those of the start included (the first 1024).
    pub damages: Vec<Damage>,
    /// Bytes of batches, with headers and padding.
    pub batch_size: HistogramReading,
    /// Nanoseconds of the syncs that acknowledgements waited for: one write and its sync, or with a sync interval the
    /// sync alone.
    pub sync_time: HistogramReading,
}

/// A distribution over powers of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramReading {
    pub count: u64,
    pub sum: u64,
    /// How many values are at most so much and more than the bound before. Higher values are only in `count`.
    pub buckets: Vec<(u64, u64)>,
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
    /// Bounds from 512 bytes to 512 MiB.
    pub(crate) batch_size: Histogram<9>,
    /// Bounds from 16 microseconds to 17 seconds.
    pub(crate) sync_time: Histogram<14>,
}

/// Counts by powers of two, the first bound being two to the power of `FIRST`.
#[derive(Default)]
pub(crate) struct Histogram<const FIRST: u32> {
    count: AtomicU64,
    sum: AtomicU64,
    buckets: [AtomicU64; HISTOGRAM_BUCKETS],
}

const HISTOGRAM_BUCKETS: usize = 21;

impl<const FIRST: u32> Histogram<FIRST> {
    pub(crate) fn record(&self, value: u64) {
        let power = value.checked_next_power_of_two().map_or(u64::BITS, u64::trailing_zeros);
        if let Some(bucket) = self.buckets.get(power.saturating_sub(FIRST) as usize) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> HistogramReading {
        let bucket = |(power, count): (usize, &AtomicU64)| (1 << (power as u32 + FIRST), count.load(Ordering::Relaxed));
        let buckets: Vec<(u64, u64)> = self.buckets.iter().enumerate().map(bucket).collect();
        // Written without a lock: the count must not be below the sum of the buckets read before it.
        let count = self.count.load(Ordering::Relaxed).max(buckets.iter().map(|(_, count)| count).sum());
        HistogramReading { count, sum: self.sum.load(Ordering::Relaxed), buckets }
    }
}

pub(crate) fn add(counter: &AtomicU64, value: usize) {
    counter.fetch_add(value as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_below_the_next_power_of_two() {
        let histogram = Histogram::<12>::default();
        for value in [0, 4096, 4097, 1 << 32, 1 << 63] {
            histogram.record(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.count, 5);
        assert_eq!(reading.buckets[..3], [(4096, 2), (8192, 1), (16384, 0)]);
        assert_eq!(reading.buckets.last(), Some(&(1 << 32, 1)), "what is higher still is in the count only");
    }
}
