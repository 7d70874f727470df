//! HOT PATH: no allocation per message, no log above trace.
//!
//! Writing batches: take what is queued, one write, one sync, complete. The next batch gathers meanwhile. An error of a
//! write or a sync is final.
//!
//! One thread does this, except for a lone message while nothing else is to be written: the thread that brought it writes
//! it itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{MutexGuard, RwLockWriteGuard};

use super::queue::{ClosedBatch, Queue, QueueState};
use super::records::Records;
use super::shared::{PanicGuard, Shared, groups_of};
use super::sink::DurableBatch;
use crate::aligned::share;
use crate::directory::{BatchSummary, Directory};
use crate::format::batch::{BATCH_HEADER_BYTES, BatchHeader, FLAG_CLOSED};
use crate::format::footer::FooterControl;
use crate::format::record::RecordKind;
use crate::io::is_no_space;
use crate::segment::Segment;
use crate::stats::add;

/// After a batch of so many records other threads get the core first, if they want it, and so many times.
const COMPANY_RECORDS_MIN: u32 = 4;
const COMPANY_TURNS: u32 = 3;
/// How long to wait before a full disk is tried again.
const NO_SPACE_PAUSE: Duration = Duration::from_millis(50);
/// How often a writer that waits for a segment, or for room for a part of a checkpoint, looks again.
const SEGMENT_PAUSE: Duration = Duration::from_millis(100);

/// A batch with more records or bytes is always written by the writer's thread: whoever brings so much at once brings
/// more while it is written.
const LONE_RECORDS_MAX: u32 = 2;
const LONE_BYTES_MAX: usize = 16 * 1024;
/// On a disk slower than this, waking a thread is cheap beside the write, and nobody else should be kept waiting.
const QUICK_WRITE: Duration = Duration::from_micros(400);

/// What a writer does, for the error when it ends in a panic.
const WRITING: &str = "writing and completing a batch";

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Worked,
    Idle,
    Stopped,
}

/// The right to write, and what goes with it. It lies in the queue; whoever takes it out is the only one who writes,
/// and completes what he wrote, until he puts it back. This keeps batches and completions in order.
#[derive(Default)]
pub(crate) struct Writer {
    in_flight: Option<InFlight>,
    /// A data batch is the last one: a marker should follow.
    marker_due: bool,
    closing_marker: bool,
    last_write: Option<Instant>,
    /// Of the last writes with their syncs, each counting an eighth.
    write_average: Duration,
    /// Of the last batch.
    record_count: u32,
}

struct InFlight {
    bytes: Bytes,
    capacity: usize,
    length: usize,
    header: BatchHeader,
    base: u32,
    segment_capacity: u32,
    is_fed: bool,
    summary: BatchSummary,
    segment: Arc<Segment>,
}

/// What a writer has to do next.
enum Next<'a> {
    Write(InFlight),
    /// Nothing for so long, or until somebody notifies.
    Sleep(MutexGuard<'a, Queue>, Option<Duration>),
    Stop(MutexGuard<'a, Queue>),
}

/// The writer's thread.
pub(crate) fn run(shared: &Shared) {
    let _guard = PanicGuard::new(shared, WRITING);
    let mut queue = shared.queue.lock();
    loop {
        let Some(mut writer) = queue.writer.take() else {
            if matches!(queue.state, QueueState::Poisoned(_)) {
                // It may never come back.
                return;
            }
            // Another thread writes its own batch, and notifies if there is more.
            sleep(shared, &mut queue, None);
            continue;
        };
        match writer.next(shared, queue, false) {
            Next::Write(in_flight) => {
                let step = writer.put(shared, in_flight, Completed::ByWhoeverIsFree);
                if step == Step::Idle {
                    std::thread::sleep(NO_SPACE_PAUSE);
                }
                if writer.record_count >= COMPANY_RECORDS_MIN {
                    // Whoever reads more messages meanwhile fills the next batch: fewer writes, each of them fuller.
                    (0..COMPANY_TURNS).for_each(|_| std::thread::yield_now());
                }
                queue = shared.queue.lock();
                queue.writer = Some(writer);
                if step == Step::Stopped {
                    return;
                }
            }
            Next::Sleep(locked, timeout) => {
                queue = locked;
                queue.writer = Some(writer);
                sleep(shared, &mut queue, timeout);
            }
            Next::Stop(mut locked) => {
                locked.writer = Some(writer);
                return;
            }
        }
    }
}

fn sleep(shared: &Shared, queue: &mut MutexGuard<'_, Queue>, timeout: Option<Duration>) {
    queue.writer_sleeps = true;
    queue.writer_has_alarm = timeout.is_some();
    match timeout {
        Some(timeout) => {
            shared.writer_wake.wait_for(queue, timeout);
        }
        None => shared.writer_wake.wait(queue),
    }
    queue.writer_sleeps = false;
}

/// One step of a journal without threads.
pub(crate) fn step(shared: &Shared) -> Step {
    let _guard = PanicGuard::new(shared, WRITING);
    let mut queue = shared.queue.lock();
    let Some(mut writer) = queue.writer.take() else { return Step::Idle };
    let (step, mut queue) = match writer.next(shared, queue, true) {
        Next::Write(in_flight) => (writer.put(shared, in_flight, Completed::Here), shared.queue.lock()),
        Next::Sleep(queue, _) => (Step::Idle, queue),
        Next::Stop(queue) => (Step::Stopped, queue),
    };
    queue.writer = Some(writer);
    step
}

/// The end of a turn: sees to it that what is urgent gets written.
///
/// With `here`, a lone small batch is written and completed on this thread, if nobody writes just now and the disk is
/// quick. This saves a client that waits for its acknowledgement the time that it takes to wake a thread, which is a
/// good part of what the write itself takes. The caller may hold no lock that a completion takes.
pub(crate) fn end_turn(shared: &Shared, here: bool) {
    let _guard = PanicGuard::new(shared, WRITING);
    let mut queue = shared.queue.lock();
    let nothing_urgent = !queue.has_urgent && queue.closed.is_empty();
    if !queue.writer_rests() || nothing_urgent {
        // Whoever writes now, or is about to, looks again before he rests.
        return;
    }
    let lone = here
        && queue.gathers_at_most(LONE_RECORDS_MAX, LONE_BYTES_MAX)
        && !queue.closing
        && !queue.full
        && shared.completion.is_idle();
    let quick = |writer: &mut Writer| {
        // After a fuller batch, others are likely to come by while this thread waits for the disk: it should serve them.
        let alone = writer.in_flight.is_none() && writer.record_count <= LONE_RECORDS_MAX;
        lone && alone && writer.write_average <= QUICK_WRITE
    };
    let Some(mut writer) = queue.writer.take_if(quick) else {
        shared.wake_writer(&queue);
        return;
    };
    let mut queue = match writer.next(shared, queue, false) {
        Next::Write(in_flight) => {
            // What goes wrong is known to the journal, and the writer's thread sees it next.
            writer.put(shared, in_flight, Completed::Here);
            shared.queue.lock()
        }
        Next::Sleep(queue, _) | Next::Stop(queue) => queue,
    };
    let rests = queue.is_empty() && !queue.closing && writer.in_flight.is_none();
    queue.writer = Some(writer);
    // The alarm is for the marker that has to follow.
    if queue.writer_sleeps && !(rests && queue.writer_has_alarm) {
        shared.writer_wake.notify_all();
    }
}

/// Who tells the sink about a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completed {
    Here,
    /// The completion thread, while there is more to write.
    ByWhoeverIsFree,
}

impl Writer {
    /// Writes one batch and completes it.
    fn put(&mut self, shared: &Shared, in_flight: InFlight, completed: Completed) -> Step {
        if shared.aborted.load(Ordering::Acquire) {
            return Step::Stopped;
        }
        let started = Instant::now();
        match write(shared, &in_flight) {
            Ok(()) => {
                let now = Instant::now();
                self.write_average = (self.write_average * 7 + (now - started)) / 8;
                self.last_write = Some(now);
                self.record_count = in_flight.header.record_count;
                self.marker_due = !in_flight.header.is_marker();
                finish(shared, in_flight, completed);
                Step::Worked
            }
            Err(error) if is_no_space(&error) => {
                // Nothing was acknowledged and no sync was asked for: the same write may be tried again.
                self.in_flight = Some(in_flight);
                shared.tell_no_space(&error);
                shared.set_full_if(|queue| {
                    queue.write_refused = true;
                    true
                });
                if shared.poisoned().is_some() || shared.queue.lock().closing { Step::Stopped } else { Step::Idle }
            }
            Err(error) => {
                shared.poison("writing a batch", &error, &groups_of(&in_flight.bytes[..in_flight.length]));
                Step::Stopped
            }
        }
    }

    /// Looks for a batch, and makes it readable before it is out of the queue's sight.
    fn next<'a>(&mut self, shared: &'a Shared, mut queue: MutexGuard<'a, Queue>, manual: bool) -> Next<'a> {
        if let Some(in_flight) = self.in_flight.take() {
            return Next::Write(in_flight);
        }
        loop {
            if shared.aborted.load(Ordering::Acquire) || !matches!(queue.state, QueueState::Running) {
                return Next::Stop(queue);
            }
            shared.feed(&mut queue);
            if self.is_due(shared, &queue, manual) {
                if queue.closed.is_empty() {
                    queue.close_gathering(0);
                }
                match queue.closed.front().map(|batch| batch.segment) {
                    Some(number) => match shared.segment(number) {
                        Some(segment) => {
                            let Some(batch) = queue.take(true) else { continue };
                            return Next::Write(launch(shared, queue, batch, segment));
                        }
                        None => {
                            if queue.closing && queue.full {
                                return Next::Stop(queue);
                            }
                            shared.ask(|errands| errands.prepare = true);
                            return Next::Sleep(queue, Some(SEGMENT_PAUSE));
                        }
                    },
                    None => {
                        queue.has_urgent = false;
                        queue.lazy_since = None;
                    }
                }
            }
            if queue.closing {
                if !self.closing_marker {
                    self.closing_marker = true;
                    drop(queue);
                    if let Err(error) = shared.sync_written() {
                        shared.poison("syncing at close", &error, &[]);
                        return Next::Stop(shared.queue.lock());
                    }
                    queue = shared.queue.lock();
                    queue.close_marker(FLAG_CLOSED);
                    continue;
                }
                queue.state = QueueState::Closed;
                return Next::Stop(queue);
            }
            if self.marker_is_due(shared, manual) {
                self.marker_due = false;
                // A burst is over. What it needed is needed again with the next one at the earliest.
                shared.buffers.trim();
                // One block is kept for the closing marker.
                if queue.segment_remaining() >= 2 * queue.block_bytes && queue.close_marker(0) {
                    continue;
                }
            }
            let timeout = self.timeout(shared, &queue);
            return Next::Sleep(queue, timeout);
        }
    }

    fn is_due(&self, shared: &Shared, queue: &Queue, manual: bool) -> bool {
        let lazy = queue.lazy_since.is_some_and(|since| manual || since.elapsed() >= shared.options.lazy_interval);
        queue.has_urgent || lazy || !queue.closed.is_empty() || (queue.closing && !queue.is_empty())
    }

    fn marker_is_due(&self, shared: &Shared, manual: bool) -> bool {
        let idle = self.last_write.is_some_and(|last| manual || last.elapsed() >= shared.options.idle_interval);
        let durable = shared.options.sync_interval.is_none() || {
            let written = shared.written.lock();
            written.durable >= written.written
        };
        self.marker_due && idle && durable
    }

    fn timeout(&self, shared: &Shared, queue: &Queue) -> Option<Duration> {
        let lazy = queue.lazy_since.map(|since| shared.options.lazy_interval.saturating_sub(since.elapsed()));
        let marker = self.last_write.filter(|_| self.marker_due).map(|last| {
            let left = shared.options.idle_interval.saturating_sub(last.elapsed());
            left.max(Duration::from_millis(1))
        });
        let feeding = (!queue.unfed.is_empty()).then_some(SEGMENT_PAUSE);
        lazy.into_iter().chain(marker).chain(feeding).min()
    }
}

/// Takes a batch out of the queue: from here on it is found in the tail and in the directory.
fn launch(shared: &Shared, queue: MutexGuard<'_, Queue>, batch: ClosedBatch, segment: Arc<Segment>) -> InFlight {
    let durable = {
        let mut written = shared.written.lock();
        if written.segment.as_ref().is_none_or(|current| current.number != segment.number) {
            // The old segment is made durable before the new one is written: see `write`.
            0
        } else {
            if shared.options.sync_interval.is_none() {
                written.durable = written.written;
            }
            written.durable
        }
    };
    let header = BatchHeader {
        segment: batch.segment,
        number: batch.number,
        durable,
        length: batch.length as u32,
        record_count: batch.record_count,
        flags: batch.flags,
        previous_segment: batch.previous.0,
        previous_end: batch.previous.1,
    };
    let ClosedBatch { mut buffer, length, base, capacity: segment_capacity, is_fed, .. } = batch;
    header.encode(segment.seed, &mut buffer);
    let padded = length.next_multiple_of(shared.block_bytes as usize);
    let capacity = buffer.len();
    let bytes = share(buffer, padded, Some(&shared.buffers));
    let directory = shared.directory.write();
    shared.tail.insert(segment.number, base, bytes.clone());
    drop(queue);
    let summary = index(directory, &segment, base, &bytes[..length]);
    InFlight { bytes, capacity, length, header, base, segment_capacity, is_fed, summary, segment }
}

fn index(
    mut directory: RwLockWriteGuard<'_, Directory>,
    segment: &Arc<Segment>,
    base: u32,
    bytes: &[u8],
) -> BatchSummary {
    let mut summary = directory.begin_batch();
    directory.push_all(segment, Records::new(bytes, segment.number, base), &mut summary);
    summary
}

fn write(shared: &Shared, in_flight: &InFlight) -> std::io::Result<()> {
    let segment = &in_flight.segment;
    let file = segment.file(&*shared.io)?;
    let rotated = {
        let written = shared.written.lock();
        written.segment.as_ref().is_none_or(|current| current.number != segment.number)
    };
    if rotated {
        // A batch in the new segment vouches for all of the old one.
        shared.sync_written()?;
    }
    if in_flight.segment_capacity > segment.length.load(Ordering::Acquire) {
        file.allocate(u64::from(in_flight.segment_capacity))?;
        segment.length.store(in_flight.segment_capacity, Ordering::Release);
    }
    if shared.options.sync_interval.is_some() {
        file.write_at(&in_flight.bytes, u64::from(in_flight.base))?;
    } else {
        let started = Instant::now();
        file.write_durable_at(&in_flight.bytes, u64::from(in_flight.base))?;
        shared.counters.sync_time.record(started.elapsed().as_nanos() as u64);
    }
    let mut written = shared.written.lock();
    if rotated {
        let old = written.segment.replace(segment.clone());
        written.durable = 0;
        if let Some(old) = old {
            shared.ask(|errands| errands.to_seal.push(old));
        }
    }
    written.written = in_flight.header.number;
    if shared.options.sync_interval.is_none() {
        written.durable = written.written;
    }
    Ok(())
}

/// Lets everybody know that a batch is durable.
fn finish(shared: &Shared, in_flight: InFlight, completed: Completed) {
    let InFlight { bytes, capacity, length, header, base, is_fed, summary, segment, .. } = in_flight;
    segment.data_end.store(base + header.length, Ordering::Release);
    segment.record_count.fetch_add(header.record_count, Ordering::AcqRel);
    segment.last_batch.store(header.number, Ordering::Release);
    add(&shared.counters.batches, 1);
    add(&shared.counters.batch_bytes, bytes.len());
    shared.counters.batch_size.record(bytes.len() as u64);
    add(&shared.counters.records, header.record_count as usize);
    add(&shared.counters.record_bytes, length - BATCH_HEADER_BYTES);
    if !summary.controls.is_empty() {
        // What the disk refuses to tell now is asked again by the next start.
        let is_replaced = |control: &&FooterControl| {
            let is_whole = control.kind == RecordKind::Checkpoint && control.part + 1 == control.parts;
            is_whole && shared.is_diverging(control).unwrap_or(false)
        };
        let snapshots: Vec<FooterControl> = summary.controls.iter().filter(is_replaced).copied().collect();
        let mut directory = shared.directory.write();
        for control in summary.controls {
            directory.commit(segment.number, control, false);
        }
        for snapshot in snapshots {
            if let Some(group) = directory.group_mut(snapshot.group) {
                group.void_after(snapshot.index, snapshot.term);
            }
        }
        drop(directory);
        shared.ask(|errands| errands.reclaim = true);
    }
    let queue_is_empty = {
        let mut queue = shared.queue.lock();
        queue.batch_done(bytes.len(), is_fed);
        queue.write_refused = false;
        queue.is_empty()
    };
    if summary.has_messages {
        shared.tail.mark_durable(segment.number, base, capacity);
    } else {
        // Nobody reads what everybody has applied.
        shared.tail.remove(segment.number, base);
    }
    if summary.groups.is_empty() {
        return;
    }
    let BatchSummary { groups, runs, .. } = summary;
    let batch = DurableBatch { bytes, length, segment: segment.number, base, groups, runs };
    if completed == Completed::Here || (queue_is_empty && shared.completion.is_idle()) {
        shared.sink().durable(&batch);
    } else {
        shared.completion.push(batch);
    }
}
