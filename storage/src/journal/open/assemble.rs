//! Puts the parts of an opened journal together, and chooses where it goes on writing.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::{info, warn};

use super::super::Journal;
use super::super::ahead::Ahead;
use super::super::completion::Completion;
use super::super::maintenance::Maintenance;
use super::super::pool::prepare;
use super::super::queue::{Placement, Queue};
use super::super::shared::{Errands, Shared, Written};
use super::super::space::RESERVE;
use super::super::subject_numbers::SubjectNumbers;
use super::super::tail::Tail;
use super::{Opened, Opening};
use crate::aligned::BufferPool;
use crate::error::OpenError;
use crate::format::PAGE_BYTES;
use crate::options::SEGMENT_BYTES_MAX;
use crate::stats::Counters;

impl Opening {
    pub(super) fn assemble(mut self) -> Result<Opened, OpenError> {
        self.io.sync_dir(&self.path).map_err(OpenError::io("syncing the journal's directory"))?;
        if self.journal == 0 {
            self.journal = random_identity();
        }
        let chosen = self.options.capacity(self.io.free_bytes(&self.path));
        let capacity = if self.options.segment_bytes.is_some() { chosen } else { chosen.max(self.usual_bytes()) };
        let first_start = self.segments.is_empty() && self.pool.count() == 0;
        let newest = self.newest_with_data().filter(|_| self.report.clean);
        let block_bytes = self.io.block_bytes();
        let buffers = BufferPool::new(8 * 1024 * 1024);
        let placement = newest.and_then(|newest| {
            let segment = self.segments.get(&newest).filter(|segment| segment.header.block_bytes == block_bytes)?;
            if segment.is_refused() {
                // A disk that does not give what is there may not take what comes either.
                return None;
            }
            let outcome = self.scanned.get(&newest)?;
            let length = segment.length.load(Ordering::Acquire).min(segment.header.capacity);
            let position = outcome.end.next_multiple_of(block_bytes);
            (position + 4 * block_bytes <= length).then_some(Placement {
                segment: newest,
                capacity: length,
                position,
                seed: segment.seed,
                batch_number: outcome.last_batch,
                data_end: outcome.end,
                previous: (0, 0),
            })
        });
        let active = placement.as_ref().map(|placement| placement.segment);
        let previous = self.newest_with_data().and_then(|newest| self.segments.get(&newest)).cloned();
        let placement = placement.unwrap_or(Placement {
            segment: 0,
            capacity: 0,
            position: 0,
            seed: 0,
            batch_number: 0,
            data_end: previous.as_ref().map_or(0, |segment| segment.data_end()),
            previous: (0, 0),
        });
        let mut queue = Queue::new(self.journal, block_bytes, placement, buffers.clone());
        queue.segment_bytes = capacity;
        queue.batch_bytes_max = self.options.batch_bytes_max.min(capacity as usize / 2);
        queue.next_number = self.next_number;
        queue.next_control = self.next_control;
        queue.with_data = self.segments.keys().copied().collect();
        queue.placement.segment = active.or(previous.as_ref().map(|segment| segment.number)).unwrap_or(0);
        let to_seal = self.segments.values().filter(|segment| !segment.is_sealed() && Some(segment.number) != active);
        let errands = Errands { to_seal: to_seal.cloned().collect(), ..Errands::default() };
        let active = active.and_then(|active| self.segments.get(&active)).cloned();
        let last_batch = active.as_ref().map_or(0, |segment| segment.last_batch.load(Ordering::Acquire));
        let written = Written { segment: active.clone(), written: last_batch, durable: last_batch };
        let shared = Shared {
            io: self.io,
            path: self.path,
            journal: self.journal,
            block_bytes,
            segment_bytes: capacity,
            queue: Mutex::new(queue),
            writer_wake: Condvar::new(),
            directory: RwLock::new(self.directory),
            segments: RwLock::new(self.segments),
            subject_numbers: SubjectNumbers::new(&self.options),
            tail: Tail::new(self.options.tail_bytes_max),
            buffers,
            pool: Mutex::new(self.pool),
            sink: std::sync::OnceLock::new(),
            completion: Completion::default(),
            ahead: Ahead::default(),
            maintenance: Mutex::new(Maintenance::default()),
            errands: Mutex::new(errands),
            errands_wake: Condvar::new(),
            written: Mutex::new(written),
            counters: Counters::default(),
            damage_count: AtomicU64::new(0),
            damages: Mutex::default(),
            threads: Mutex::default(),
            map_refused: AtomicBool::new(false),
            descriptors_missed: AtomicBool::new(false),
            rewriting: Mutex::new(None),
            aborted: AtomicBool::new(false),
            directory_lock: Mutex::new(None),
            options: self.options,
        };
        if active.is_none() {
            let first_bytes = if first_start { shared.options.first_segment_bytes.min(capacity) } else { capacity };
            begin_segment(&shared, first_bytes)?;
        }
        let mut report = self.report;
        let groups = shared.recovered_groups(&mut report, &self.patience);
        let removed = shared.directory.read().removed().collect();
        shared.damage_count.store(report.damages.len() as u64, Ordering::Relaxed);
        shared.damages.lock().clone_from(&report.damages);
        for damage in &report.damages {
            warn!(%damage, "found at the start");
        }
        info!(segments = report.segments, scanned = report.segments_scanned, groups = groups.len(), "journal is open");
        let journal = Journal { shared: Arc::new(shared) };
        Ok(Opened { journal, groups, removed, report })
    }
}

impl Opening {
    /// The length that most bytes of the journal's files are in; 0 when there are none. A disk that filled up meanwhile is no
    /// reason for smaller segments: the files stay as long as they are, and compaction must be able to fill them.
    fn usual_bytes(&self) -> u32 {
        let segments = self.segments.values().map(|segment| segment.length.load(Ordering::Acquire));
        let mut bytes: BTreeMap<u32, u64> = BTreeMap::new();
        for length in segments.chain(self.pool.lengths()).filter(|length| *length <= SEGMENT_BYTES_MAX) {
            *bytes.entry(length).or_default() += u64::from(length);
        }
        let usual = bytes.into_iter().max_by_key(|(length, bytes)| (*bytes, *length)).map_or(0, |(length, _)| length);
        // Some are cut.
        usual.next_multiple_of(PAGE_BYTES)
    }
}

/// Prepares the segment that the first batch goes to.
fn begin_segment(shared: &Shared, capacity: u32) -> Result<(), OpenError> {
    let number = {
        let mut queue = shared.queue.lock();
        let number = queue.next_number;
        queue.next_number += 1;
        number
    };
    match prepare(shared, number, capacity, true) {
        Ok(segment) => {
            let capacity = segment.header.capacity;
            shared.segments.write().insert(number, segment);
            let is_of_reserve = !shared.has_room_for(RESERVE);
            let mut queue = shared.queue.lock();
            queue.next = Some((number, capacity));
            if is_of_reserve {
                (queue.reserve_from, queue.full) = (Some(number), true);
                drop(queue);
                shared.maintenance.lock().note_no_room();
            }
            Ok(())
        }
        // What is stored can still be read.
        Err(error) if crate::io::is_no_space(&error) => {
            shared.queue.lock().full = true;
            shared.maintenance.lock().note_no_room();
            Ok(())
        }
        Err(source) => Err(OpenError::Io { during: "preparing the first segment", source }),
    }
}

fn random_identity() -> u64 {
    // The standard library's hasher is seeded by the operating system.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    random.max(1)
}
