//! What a journal may be told. Every bound has a name and a default here.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Bytes of a segment file; `None` chooses from the free space of the disk, 64 MiB at most, and not less than most of
    /// what is stored lies in.
    pub segment_bytes: Option<u32>,
    /// Bytes of the very first segment: small, so that a first start is quick.
    pub first_segment_bytes: u32,
    /// Bytes of one write.
    pub batch_bytes_max: usize,
    /// Bytes that may wait to be written; above, appends are refused as busy.
    pub queue_bytes_max: usize,
    /// Bytes of recent batches kept in memory for readers.
    pub tail_bytes_max: usize,
    /// How long a lazy record may wait for company.
    pub lazy_interval: Duration,
    /// After this long without records, a marker makes the last batch tell damage from a torn tail.
    pub idle_interval: Duration,
    /// `None`: a batch is complete when it is durable. `Some`: when it is written; a sync follows at this interval, and
    /// a power cut may lose what was acknowledged in between.
    pub sync_interval: Option<Duration>,
    /// Spare segments kept ready. On a disk that is nearly full there are three, which are the reserve for control records.
    pub spare_segments: usize,
    /// Bytes of spare segments filled at once, and the pause after them.
    pub fill_chunk_bytes: usize,
    /// See `fill_chunk_bytes`.
    pub fill_pause: Duration,
    /// Map sealed segments into memory; otherwise they are read by system calls.
    pub map_sealed: bool,
    /// Bytes a second that the scrubber reads; 0 turns it off.
    pub scrub_bytes_per_second: u64,
    /// How long after it was made a segment is checked for the first time. Not at once: what was just written would be
    /// read from the drive's own memory, which says nothing about the medium.
    pub scrub_delay: Duration,
    /// How long after a check of a segment the next one follows, if the rate allows it.
    pub scrub_period: Duration,
    /// Where it is kept when each segment was last found sound, in a directory of its own; `None` keeps that in memory.
    pub catalogue: Option<PathBuf>,
    /// A sealed segment with less than this part of its bytes alive, in percent, is rewritten.
    pub compact_below_percent: u8,
    /// Bytes of a group since its last checkpoint that make the journal ask for one.
    pub checkpoint_bytes: u64,
    /// Bytes of all groups since their last checkpoints, which a start reads: above this, those with the most are asked for
    /// one.
    pub replay_bytes_max: u64,
    /// Bytes that all tables together take that find subjects in sealed segments. Without room for one its segment's subjects
    /// are compared one by one.
    pub subject_table_bytes_max: usize,
    /// Bytes that all filters together take that tell which sealed segments do not have a subject.
    pub subject_filter_bytes_max: usize,
    /// Bytes of a checkpoint's body in one record, 1 at least.
    pub checkpoint_part_bytes: usize,
    /// No threads: [`crate::Journal::drive`] does all work on the caller's thread. For simulations.
    pub manual: bool,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: None,
            first_segment_bytes: 4 * 1024 * 1024,
            batch_bytes_max: 4 * 1024 * 1024,
            queue_bytes_max: 16 * 1024 * 1024,
            tail_bytes_max: 6 * 1024 * 1024,
            lazy_interval: Duration::from_millis(10),
            idle_interval: Duration::from_millis(50),
            sync_interval: None,
            spare_segments: 2,
            fill_chunk_bytes: 256 * 1024,
            fill_pause: Duration::from_millis(2),
            map_sealed: true,
            scrub_bytes_per_second: 4 * 1024 * 1024,
            scrub_delay: Duration::from_secs(60 * 60),
            // Often enough that two copies seldom go bad in between, and seldom enough that 2 TiB can be read meanwhile.
            scrub_period: Duration::from_secs(7 * 24 * 60 * 60),
            catalogue: None,
            compact_below_percent: 40,
            checkpoint_bytes: 64 * 1024 * 1024,
            // A quarter of a second, about.
            replay_bytes_max: 256 * 1024 * 1024,
            subject_table_bytes_max: 64 * 1024 * 1024,
            // Of fifty million subjects, counted anew in each segment.
            subject_filter_bytes_max: 64 * 1024 * 1024,
            checkpoint_part_bytes: 1024 * 1024,
            manual: false,
        }
    }
}

/// A file is longer only for a record that needs it.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 64 * 1024 * 1024;
const SEGMENT_BYTES_MIN: u32 = 4 * 1024 * 1024;

impl JournalOptions {
    /// A 128th of the free space as a power of two, within bounds.
    pub(crate) fn capacity(&self, free_bytes: Option<u64>) -> u32 {
        let chosen = self.segment_bytes.unwrap_or_else(|| {
            let share = free_bytes.map_or(u64::from(SEGMENT_BYTES_MAX), |free| free / 128);
            let share = u32::try_from(share).unwrap_or(SEGMENT_BYTES_MAX);
            let power = if share.is_power_of_two() { share } else { share.next_power_of_two() / 2 };
            power.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
        });
        chosen.next_multiple_of(crate::format::PAGE_BYTES)
    }
}
