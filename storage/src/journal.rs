//! The node's journal: one sequence of records for every Raft group of the node.
//!
//! ```text
//! append -> queue (one lock, encoded in place) -> writer: one write, one sync -> completion -> sink
//!                                                   |  segment full
//!                                                   v
//!                                   maintenance: footer, seal, compact, recycle
//! ```
//!
//! Pointers of a group: `checkpoint <= durable <= appended`. A record is readable as soon as it is appended.

mod ahead;
mod checkpoint;
mod compact;
mod completion;
mod cursor;
mod erase;
mod feed;
mod look;
pub mod loss;
mod lost_pages;
mod maintenance;
mod open;
mod patience;
mod pool;
mod quarantine;
mod queue;
mod read;
mod read_only;
mod reclaim;
mod records;
mod replay;
mod requests;
mod retire;
mod scrub;
mod seal;
mod shared;
mod sink;
mod sources;
mod space;
mod subject_numbers;
mod tail;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::MutexGuard;

use crate::directory::group::GroupDirectory;
use crate::error::AppendError;
use crate::format::record::{GroupId, RECORD_BYTES_MAX, RecordHeader, RecordKind};
use crate::location::Location;
use crate::sequence_set::SequenceSet;
use crate::stats::{Health, JournalStats};
use checkpoint::Parts;
use feed::Unfed;
use maintenance::Maintenance;
use queue::{Queue, QueueState};
use shared::Shared;
use writer::Step;

pub use cursor::{MessageCursor, Placed};
pub(crate) use look::look;
pub use open::{Opened, RecoveredCheckpoint, RecoveredDefinition, RecoveredGroup};
pub use replay::ReplayReport;
pub use sink::{DurableBatch, DurableSink, IgnoringSink};
pub use sources::SubjectFilter;

/// What is appended, for when space is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendClass {
    /// Messages: refused when the disk is full.
    Message,
    /// What is small but comes without end, and frees space only once a checkpoint covers it: may use the reserve but for its
    /// last part.
    Progress,
    /// What frees space or keeps the group going: may use all of the reserve.
    Control,
    /// Messages that [`Journal::admit`] has let in: refused only by a journal that takes nothing at all.
    Admitted,
}

/// How soon appended records must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Wake,
    /// With the caller's next [`Journal::wake`].
    EndOfTurn,
    /// With others, or after the lazy interval.
    Lazy,
}

/// Above this many bytes the writer is woken before the turn ends.
const WAKE_BYTES: usize = 256 * 1024;

/// The journal. Clones share it.
#[derive(Clone)]
pub struct Journal {
    pub(crate) shared: Arc<Shared>,
}

/// What a group has written since its last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsaved {
    /// The group.
    pub group: GroupId,
    /// Bytes of its records since.
    pub bytes: u64,
    /// False when it never had one.
    pub has_checkpoint: bool,
}

impl Journal {
    /// Starts the threads. Completions go to `sink` from now on. With the `manual` option there are no threads.
    pub fn start(&self, sink: Arc<dyn DurableSink>) {
        if self.shared.sink.set(sink).is_err() || self.shared.options.manual {
            return;
        }
        let mut threads = self.shared.threads.lock();
        self.shared.completion.begin();
        let shared = self.shared.clone();
        threads.push(spawn("journal-writer", move || writer::run(&shared)));
        let shared = self.shared.clone();
        threads.push(spawn("journal-maintain", move || Maintenance::run(&shared)));
        let shared = self.shared.clone();
        threads.push(spawn("journal-complete", move || shared.completion.run(&shared)));
        self.shared.ahead.begin();
        let shared = self.shared.clone();
        threads.push(spawn("journal-ahead", move || shared.ahead.run(&shared)));
    }

    /// Takes the queue's lock for one burst of records.
    pub fn append(&self, class: AppendClass) -> Result<Appender<'_>, AppendError> {
        self.append_large(class, 0)
    }

    /// As [`append`](Self::append), for `bytes` at once: on a full disk, what has no place would keep all that follows
    /// waiting.
    pub fn append_large(&self, class: AppendClass, bytes: usize) -> Result<Appender<'_>, AppendError> {
        let queue = self.shared.queue.lock();
        match &queue.state {
            QueueState::Running if !queue.closing => {}
            QueueState::Poisoned(error) => return Err(error.clone().into()),
            _ => return Err(AppendError::Closed),
        }
        if class != AppendClass::Admitted {
            if queue.bytes_queued() > self.shared.options.queue_bytes_max {
                return Err(AppendError::Busy);
            }
            if self.shared.lacks_room(&queue, class, bytes) {
                return Err(AppendError::Full);
            }
        }
        Ok(Appender { shared: &self.shared, queue, finished: false })
    }

    /// Whether a burst of messages may be appended. What is let in is appended soon, as [`AppendClass::Admitted`], even
    /// when the answer has changed by then: the bounds may be exceeded by one burst of each thread.
    pub fn admit(&self) -> Result<(), AppendError> {
        self.append(AppendClass::Message).map(|mut appender| appender.finished = true)
    }

    /// The end of a turn: the writer takes what is queued.
    pub fn wake(&self) {
        writer::end_turn(&self.shared, false);
    }

    /// As [`wake`](Self::wake), but a lone small record may be written on this thread, which then takes as long as the
    /// disk does, and completed: the sink is called before this returns. So the caller may hold no lock that the sink
    /// takes, and no [`Appender`].
    pub fn wake_or_write(&self) {
        writer::end_turn(&self.shared, true);
    }

    /// Bytes that wait to become durable, without those of checkpoints in more than one part.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queue.lock().bytes_queued()
    }

    /// Does the threads' work on this thread until nothing is left. Only with the `manual` option.
    pub fn drive(&self) {
        assert!(self.shared.options.manual, "threads do the work");
        loop {
            let written = writer::step(&self.shared);
            let maintained = self.shared.maintenance.lock().step(&self.shared);
            if written != Step::Worked && maintained != Step::Worked {
                return;
            }
        }
    }

    /// A message is dead: its space may be reclaimed.
    pub fn release_message(&self, group: GroupId, sequence: u64) {
        self.release(group, sequence, sequence);
    }

    /// All messages below are dead.
    pub fn release_messages_before(&self, group: GroupId, sequence: u64) {
        if sequence > 0 {
            let from = {
                let mut directory = self.shared.directory.write();
                let Some(group) = directory.group_mut(group) else { return };
                let from = group.first_live;
                group.first_live = from.max(sequence);
                from
            };
            if from < sequence {
                self.release(group, from, sequence - 1);
            }
        }
    }

    fn release(&self, group: GroupId, from: u64, to: u64) {
        if let Some(group) = self.shared.directory.write().group_mut(group) {
            group.release(from, to);
        }
    }

    /// After recovery: which messages of the group live. Until then all count as alive.
    pub fn set_live(&self, group: GroupId, first_sequence: u64, removed: &SequenceSet) {
        if let Some(group) = self.shared.directory.write().group_mut(group) {
            group.set_live(first_sequence, removed);
        }
        self.shared.ask(|errands| errands.reclaim = true);
    }

    /// A checkpoint of the group would let go of much. The sink is asked for one before long, and again until one is durable
    /// that was appended after this call. Cheap, and allowed whatever lock is held, an [`Appender`] included.
    pub fn want_checkpoint(&self, group: GroupId) {
        let directory = &self.shared.directory;
        if directory.read().group(group).is_some_and(GroupDirectory::is_next_checkpoint_wanted) {
            return;
        }
        let is_news = directory.write().group_unless_removed(group).is_some_and(GroupDirectory::want_checkpoint);
        if is_news {
            self.shared.ask(|errands| errands.reclaim = true);
        }
    }

    /// Whether a checkpoint of the group is appended and not durable yet. Cheap, and allowed whatever lock is held, an
    /// [`Appender`] included.
    pub fn is_checkpoint_under_way(&self, group: GroupId) -> bool {
        let directory = self.shared.directory.read();
        directory.group(group).is_some_and(|group| group.known_checkpoints().is_under_way)
    }

    /// Whether parts of a checkpoint of the group wait for their turn to be queued: see [`Appender::checkpoint`].
    pub fn is_feeding(&self, group: GroupId) -> bool {
        self.shared.queue.lock().unfed.iter().any(|unfed| unfed.group == group)
    }

    /// Bytes of checkpoints, of all groups, that wait for their turn to be queued.
    pub fn unfed_bytes(&self) -> usize {
        self.shared.queue.lock().unfed.iter().map(|unfed| unfed.parts.bytes_left()).sum()
    }

    /// What a start would read of each group beside its checkpoint, the most first.
    pub fn unsaved(&self) -> Vec<Unsaved> {
        let directory = self.shared.directory.read();
        let groups = directory.groups().filter(|(_, group)| group.bytes_since_checkpoint > 0);
        let unsaved = groups.map(|(id, group)| Unsaved {
            group: id,
            bytes: group.bytes_since_checkpoint,
            has_checkpoint: group.checkpoint().is_some(),
        });
        let mut unsaved: Vec<Unsaved> = unsaved.collect();
        unsaved.sort_unstable_by_key(|unsaved| (std::cmp::Reverse(unsaved.bytes), unsaved.group));
        unsaved
    }

    /// Forgets a group at once. Its `GroupRemoved` record must have been appended: that is what makes it durable.
    pub fn remove_group(&self, group: GroupId) {
        if let Some(group) = self.shared.directory.write().group_mut(group) {
            group.release(0, u64::MAX);
        }
        self.shared.ask(|errands| errands.reclaim = true);
    }

    /// Counters and sizes.
    pub fn stats(&self) -> JournalStats {
        let shared = &*self.shared;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let now = shared::wall_clock();
        let mut stats = JournalStats::default();
        for segment in shared.segments.read().values() {
            stats.segments += 1;
            stats.file_bytes += u64::from(segment.length.load(Ordering::Acquire));
            stats.segments_due += u64::from(scrub::is_due(&shared.options, segment, now));
            if segment.is_sealed() {
                let since = segment.sound_since();
                stats.checked_since = Some(stats.checked_since.map_or(since, |oldest| oldest.min(since)));
            }
        }
        let (spares, spare_bytes) = {
            let pool = shared.pool.lock();
            (pool.count() as u64, pool.bytes())
        };
        JournalStats {
            batches: load(&shared.counters.batches),
            records: load(&shared.counters.records),
            record_bytes: load(&shared.counters.record_bytes),
            batch_bytes: load(&shared.counters.batch_bytes),
            compacted_bytes: load(&shared.counters.compacted_bytes),
            footer_bytes: load(&shared.counters.footer_bytes),
            segments_compacted: load(&shared.counters.segments_compacted),
            segments_recycled: load(&shared.counters.segments_recycled),
            spares,
            file_bytes: stats.file_bytes + spare_bytes,
            bytes_queued: self.queued_bytes() as u64,
            scrubbed_bytes: load(&shared.counters.scrubbed_bytes),
            damaged_records: load(&shared.damage_count),
            damages: shared.damages.lock().clone(),
            batch_size: shared.counters.batch_size.read(),
            sync_time: shared.counters.sync_time.read(),
            ..stats
        }
    }

    /// Whether records are taken.
    pub fn health(&self) -> Health {
        let queue = self.shared.queue.lock();
        match &queue.state {
            QueueState::Poisoned(error) => Health::Poisoned(error.clone()),
            QueueState::Closed => Health::Closed,
            QueueState::Running if queue.full => Health::Full,
            QueueState::Running => Health::Ok,
        }
    }

    /// Writes what is queued, marks the clean end, and joins the threads. Clones refuse appends from now on.
    pub fn close(self) {
        self.shared.queue.lock().closing = true;
        if self.shared.options.manual {
            self.drive();
        }
        self.stop();
    }

    /// Stops without writing anything more, as a crash would. For tests.
    #[doc(hidden)]
    pub fn abort(self) {
        self.shared.aborted.store(true, Ordering::Release);
        self.stop();
    }

    fn stop(&self) {
        let shared = &self.shared;
        shared.writer_wake.notify_all();
        let threads = std::mem::take(&mut *shared.threads.lock());
        let mut threads = threads.into_iter();
        // The writer first: it may still need a segment, and its last batches a completion.
        let join = |thread: Option<std::thread::JoinHandle<()>>| {
            if let Some(Err(_)) = thread.map(std::thread::JoinHandle::join) {
                tracing::error!("a journal thread panicked");
            }
        };
        join(threads.next());
        shared.ask(|errands| errands.stopping = true);
        join(threads.next());
        shared.completion.stop();
        join(threads.next());
        shared.ahead.stop();
        join(threads.next());
        *shared.directory_lock.lock() = None;
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("threads can be started at the start")
}

/// The queue's lock, held for a burst of records. Dropping it without [`Appender::finish`] is the same as finishing
/// with [`Urgency::Wake`].
pub struct Appender<'a> {
    shared: &'a Shared,
    queue: MutexGuard<'a, Queue>,
    finished: bool,
}

impl Appender<'_> {
    /// Copies one record into the batch. `parts` concatenated are subject, headers and payload, as long as the header
    /// says. Panics on a record above 64 MiB, which the layer above must refuse.
    #[inline]
    pub fn record(&mut self, header: &RecordHeader, parts: &[&[u8]]) -> Location {
        if header.kind.is_numbered() {
            return self.queue.record(header, parts);
        }
        self.control(header, parts)
    }

    fn control(&mut self, header: &RecordHeader, parts: &[&[u8]]) -> Location {
        assert!(header.kind != RecordKind::Checkpoint, "checkpoints have a function of their own");
        let header = RecordHeader { sequence: self.queue.next_control, ..*header };
        self.queue.next_control += 1;
        self.queue.record(&header, parts)
    }

    /// Writes the group's state up to `index`, in parts. It counts once all of it is durable.
    ///
    /// A body of one part is queued like any record. A larger one waits beside the queue, and its parts are queued a few at
    /// a time, behind what others append meanwhile; on a disk that gets full before the last one has a place, the checkpoint
    /// is dropped. So is one that waits so when the group's next one is appended.
    pub fn checkpoint(&mut self, group: GroupId, index: u64, term: u64, body: Bytes) {
        let number = self.queue.next_control;
        self.queue.next_control += 1;
        if let Some(group) = self.shared.directory.write().group_unless_removed(group) {
            group.checkpoint_begun = number;
        }
        let parts = Parts::new(body, self.shared.options.checkpoint_part_bytes);
        self.shared.take_in(&mut self.queue, Unfed { group, index, term, number, parts });
    }

    /// Bytes that wait, these records included, without those of checkpoints in more than one part.
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes_queued()
    }

    /// Lets go of the queue.
    pub fn finish(mut self, urgency: Urgency) {
        self.let_go(urgency);
    }

    fn let_go(&mut self, urgency: Urgency) {
        self.finished = true;
        let queue = &mut *self.queue;
        if queue.is_empty() {
            return;
        }
        let wake = match urgency {
            Urgency::Wake => {
                queue.has_urgent = true;
                true
            }
            Urgency::EndOfTurn => {
                queue.has_urgent = true;
                !queue.closed.is_empty() || queue.bytes_gathered() >= WAKE_BYTES
            }
            Urgency::Lazy => {
                let first = queue.lazy_since.is_none();
                queue.lazy_since.get_or_insert_with(Instant::now);
                first || !queue.closed.is_empty()
            }
        };
        if wake {
            self.shared.wake_writer(queue);
        }
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.let_go(Urgency::Wake);
        }
    }
}

/// A record that was verified, and owns a share of the bytes that it lies in.
#[derive(Clone, Debug)]
pub struct Record {
    /// The header.
    pub header: RecordHeader,
    bytes: Bytes,
    erased: bool,
}

const _: () = assert!(RECORD_BYTES_MAX < u32::MAX as usize);

impl Record {
    fn new(bytes: Bytes, record: &crate::format::record::RecordRef<'_>) -> Self {
        Self { header: record.header, erased: record.is_erased(), bytes }
    }

    /// The record if it is the one that is looked for.
    fn filter(self, matches: &dyn Fn(&RecordHeader) -> bool) -> Result<Self, read::Unread> {
        if matches(&self.header) { Ok(self) } else { Err(read::Unread::NotFound) }
    }

    /// The whole record as it lies on disk.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// As a cursor gives it out.
    pub fn placed(&self) -> Placed<'_> {
        Placed::new(&self.header, self.erased, &self.bytes, 0)
    }

    /// True when the content was erased.
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// The record, borrowed.
    pub fn as_ref(&self) -> crate::format::record::RecordRef<'_> {
        crate::format::record::RecordRef::of(self.header, self.erased, &self.bytes)
    }

    /// The subject.
    pub fn subject(&self) -> &[u8] {
        &self.bytes[self.range(0, usize::from(self.header.subject_len))]
    }

    /// The headers.
    pub fn headers(&self) -> &[u8] {
        let before = usize::from(self.header.subject_len);
        &self.bytes[self.range(before, self.header.headers_len as usize)]
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_range()]
    }

    /// The payload, sharing the record's bytes.
    pub fn payload_bytes(&self) -> Bytes {
        self.bytes.slice(self.payload_range())
    }

    fn payload_range(&self) -> std::ops::Range<usize> {
        let before = usize::from(self.header.subject_len) + self.header.headers_len as usize;
        self.range(before, self.header.payload_len as usize)
    }

    fn range(&self, before: usize, length: usize) -> std::ops::Range<usize> {
        let start = crate::format::record::RECORD_HEADER_BYTES + before;
        if self.erased { 0..0 } else { start..start + length }
    }
}
