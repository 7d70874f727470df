//! What the threads of a journal share. Lock order: `queue`, then `directory`, then `segments`, then `tail`.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex, RwLock};
use tracing::{error, warn};

use super::AppendClass;
use super::ahead::Ahead;
use super::completion::{Completion, Failure};
use super::maintenance::Maintenance;
use super::pool::Pool;
use super::queue::{Queue, QueueState};
use super::records::Records;
use super::sink::{DurableSink, IgnoringSink};
use super::space::SPARES_MIN;
use super::subject_numbers::SubjectNumbers;
use super::tail::Tail;
use crate::aligned::BufferPool;
use crate::directory::Directory;
use crate::error::JournalError;
use crate::format::record::GroupId;
use crate::io::{Io, as_final, is_no_descriptor, is_no_space};
use crate::options::JournalOptions;
use crate::report::Damage;
use crate::segment::Segment;
use crate::stats::Counters;

/// Damages kept for the list; all are counted.
const DAMAGES_MAX: usize = 1024;

pub(crate) struct Shared {
    pub(crate) io: Arc<dyn Io>,
    pub(crate) path: PathBuf,
    pub(crate) options: JournalOptions,
    pub(crate) journal: u64,
    pub(crate) block_bytes: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) writer_wake: Condvar,
    pub(crate) directory: RwLock<Directory>,
    pub(crate) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(crate) subject_numbers: SubjectNumbers,
    pub(crate) tail: Tail,
    pub(crate) buffers: Arc<BufferPool>,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) sink: OnceLock<Arc<dyn DurableSink>>,
    pub(crate) completion: Completion,
    pub(crate) ahead: Ahead,
    pub(crate) maintenance: Mutex<Maintenance>,
    pub(crate) errands: Mutex<Errands>,
    pub(crate) errands_wake: Condvar,
    pub(crate) written: Mutex<Written>,
    pub(crate) counters: Counters,
    pub(crate) damages: Mutex<Vec<Damage>>,
    pub(crate) damage_count: AtomicU64,
    pub(crate) threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// The system refused to map a segment, and that was told.
    pub(crate) map_refused: AtomicBool,
    /// A file could not be opened because too many are open, and that was told.
    pub(crate) descriptors_missed: AtomicBool,
    /// The segments that a compaction copies from. An erase in one of them takes the note away, which ends it.
    pub(crate) rewriting: Mutex<Option<Vec<u32>>>,
    /// Stop at once and write nothing more: a test plays a crash.
    pub(crate) aborted: AtomicBool,
    pub(crate) directory_lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

/// What the maintenance thread is asked to do.
#[derive(Default)]
pub(crate) struct Errands {
    /// Segments that take no more data and want a footer.
    pub(crate) to_seal: Vec<Arc<Segment>>,
    /// Something may have become reclaimable.
    pub(crate) reclaim: bool,
    /// A segment is wanted.
    pub(crate) prepare: bool,
    pub(crate) stopping: bool,
}

/// How far the newest segment is durable.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) segment: Option<Arc<Segment>>,
    /// Last batch written.
    pub(crate) written: u64,
    /// Last batch known durable.
    pub(crate) durable: u64,
}

impl Shared {
    pub(crate) fn sink(&self) -> &dyn DurableSink {
        self.sink.get().map_or(&IgnoringSink, |sink| &**sink)
    }

    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.read().get(&number).cloned()
    }

    pub(crate) fn note_damage(&self, damage: Damage) {
        let mut damages = self.damages.lock();
        if damages.iter().any(|known| (known.segment, known.offset) == (damage.segment, damage.offset)) {
            return;
        }
        match self.segment(damage.segment) {
            Some(segment) => {
                warn!(%damage, file = %segment.path.display(), "stored bytes are damaged");
                // What else is bad there is better known at once.
                segment.forget_check();
            }
            None => warn!(%damage, "stored bytes are damaged"),
        }
        self.damage_count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if damages.len() < DAMAGES_MAX {
            damages.push(damage);
        }
    }

    /// True when something in the segment is known to be bad.
    pub(crate) fn has_damage_in(&self, segment: u32) -> bool {
        self.damages.lock().iter().any(|damage| damage.segment == segment)
    }

    pub(crate) fn poisoned(&self) -> Option<JournalError> {
        match &self.queue.lock().state {
            QueueState::Poisoned(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Ends all writing: a failed sync may have lost anything, and asking again would be answered with a lie.
    pub(crate) fn poison(&self, during: &'static str, cause: &io::Error, in_flight: &[GroupId]) -> JournalError {
        let error = JournalError { during, reason: cause.to_string().into() };
        let mut groups = in_flight.to_vec();
        {
            let mut queue = self.queue.lock();
            if let QueueState::Poisoned(first) = &queue.state {
                return first.clone();
            }
            groups.extend(queue.records().map(|(_, record)| record.header.group));
            queue.state = QueueState::Poisoned(error.clone());
            queue.closed.clear();
            queue.unfed.clear();
            self.writer_wake.notify_all();
        }
        groups.sort();
        groups.dedup();
        groups.retain(|group| *group != GroupId::JOURNAL);
        error!(%error, "the journal is poisoned");
        if let Some(Failure { error, groups }) = self.completion.hand_over(Failure { error: error.clone(), groups }) {
            self.sink().failed(&error, &groups);
        }
        error
    }

    /// Wakes the writer's thread if it sleeps. Whoever writes in its place looks again before he rests.
    pub(crate) fn wake_writer(&self, queue: &Queue) {
        if queue.writer_rests() {
            self.writer_wake.notify_all();
        }
    }

    pub(crate) fn ask(&self, change: impl FnOnce(&mut Errands)) {
        change(&mut self.errands.lock());
        self.errands_wake.notify_all();
    }

    /// Tells the world about the disk when that changes.
    pub(crate) fn set_full_if(&self, is_full: impl FnOnce(&mut Queue) -> bool) {
        let (full, changed) = {
            let mut queue = self.queue.lock();
            let full = is_full(&mut queue);
            (full, std::mem::replace(&mut queue.full, full) != full)
        };
        if changed {
            warn!(full, "disk space");
            if !full {
                self.descriptors_missed.store(false, std::sync::atomic::Ordering::Relaxed);
            }
            // Whose checkpoint may make room is asked in the next pass.
            self.ask(|errands| errands.reclaim |= full);
            self.sink().space(full);
        }
    }

    /// Whether there are so many spares, or room for those that are missing.
    pub(crate) fn has_room_for(&self, spares: usize) -> bool {
        let missing = spares.saturating_sub(self.pool.lock().count()) as u64;
        let wanted = missing * u64::from(self.segment_bytes);
        wanted == 0 || self.io.free_bytes(&self.path).is_none_or(|free| free >= wanted)
    }

    /// Whether there is no place for what is to be appended, or may be none.
    pub(crate) fn lacks_room(&self, queue: &Queue, class: AppendClass, bytes: usize) -> bool {
        (queue.full || self.is_in_doubt(queue)) && !self.has_room(queue, class, bytes)
    }

    /// True near the end of a segment on a disk that is nearly full, before maintenance has come to ask it for the next one:
    /// what is let in then could wait for a place for ever, or take it from the reserve.
    fn is_in_doubt(&self, queue: &Queue) -> bool {
        let is_near_end = queue.segment_remaining() <= queue.placement.capacity / 4;
        is_near_end && queue.next.is_none() && !self.has_room_for(SPARES_MIN)
    }

    /// On a full disk, messages may use three quarters of the segment that was the present one by then. The rest, and the
    /// [`RESERVE`](super::space::RESERVE), is for what frees space. Progress leaves the last half segment and one more to
    /// control records: enough for the checkpoints that give the others back, and for a start, which begins a segment of its
    /// own.
    fn has_room(&self, queue: &Queue, class: AppendClass, bytes: usize) -> bool {
        let (remaining, capacity) = (queue.segment_remaining(), queue.placement.capacity);
        let spares = self.pool.lock().count() + usize::from(queue.next.is_some());
        match class {
            AppendClass::Message => !queue.is_in_reserve() && remaining > capacity / 4,
            AppendClass::Progress => {
                let has_last = spares == 1 || !queue.is_in_reserve();
                spares > 1 || (has_last && remaining > capacity / 2)
            }
            AppendClass::Control | AppendClass::Admitted => {
                // Not to the last byte: a record does not go on in the next segment.
                let in_spares = spares * (self.segment_bytes as usize / 4 * 3);
                in_spares + remaining as usize > capacity as usize / 16 + bytes
            }
        }
    }

    /// Takes "no space left" for an outcome.
    pub(crate) fn without_space(&self, outcome: io::Result<bool>) -> io::Result<bool> {
        match outcome {
            Err(error) if is_no_space(&error) => {
                self.tell_no_space(&error);
                Ok(false)
            }
            outcome => outcome,
        }
    }

    /// Says why there is no space when it is not the disk that lacks it. Once, until there is space again.
    pub(crate) fn tell_no_space(&self, error: &io::Error) {
        if is_no_descriptor(error) && !self.descriptors_missed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            error!(%error, "the journal can open no file: raise the limit of open files (ulimit -n, LimitNOFILE)");
        }
    }

    /// Makes everything written durable, where batches complete before that.
    pub(crate) fn sync_written(&self) -> io::Result<()> {
        let (segment, number) = {
            let written = self.written.lock();
            if written.durable >= written.written {
                return Ok(());
            }
            (written.segment.clone(), written.written)
        };
        let Some(segment) = segment else { return Ok(()) };
        let started = Instant::now();
        segment.file(&*self.io)?.sync().map_err(as_final)?;
        self.counters.sync_time.record(started.elapsed().as_nanos() as u64);
        let mut written = self.written.lock();
        if written.segment.as_ref().is_some_and(|current| current.number == segment.number) {
            written.durable = written.durable.max(number);
        }
        Ok(())
    }
}

/// Poisons the journal when a panic passes by. Whoever writes, completes or maintains holds one: nobody takes over from
/// him, and those who wait for him would wait for ever.
pub(crate) struct PanicGuard<'a> {
    shared: &'a Shared,
    during: &'static str,
    /// A panic was under way before: that one is not about the journal.
    unwinding: bool,
}

impl<'a> PanicGuard<'a> {
    /// To be taken before any lock: what a panic lets go of first must not be locked any more when this is dropped.
    pub(crate) fn new(shared: &'a Shared, during: &'static str) -> Self {
        Self { shared, during, unwinding: std::thread::panicking() }
    }
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.unwinding {
            self.shared.poison(self.during, &io::Error::other("the thread panicked"), &[]);
        }
    }
}

/// Nanoseconds since the epoch, for file headers only: log time comes from above.
pub(crate) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The groups of a batch's records.
pub(crate) fn groups_of(bytes: &[u8]) -> Vec<GroupId> {
    Records::new(bytes, 0, 0).map(|(_, record)| record.header.group).collect()
}
