//! The thread that keeps the writer from ever waiting: prepares segments, fills spares, writes footers, reclaims space,
//! scrubs.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::{begin_spare, prepare};
use super::queue::QueueState;
use super::reclaim::Reclaim;
use super::scrub::Scrub;
use super::seal::seal;
use super::shared::{PanicGuard, Shared};
use super::space::{Attempts, RESERVE, SPARES_MIN, SPARES_MIN_ROOMY, Situation, is_refused};
use super::writer::Step;
use crate::segment::Segment;

/// How long the thread sleeps when nobody asks.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// For the error when it fails.
const MAINTAINING: &str = "maintaining segments";

#[derive(Default)]
pub(crate) struct Maintenance {
    last_sync: Option<Instant>,
    attempts: Attempts,
    /// How many there were when segments were last looked through for them.
    lost_pages: u64,
    reclaim: Reclaim,
    scrub: Scrub,
}

impl Maintenance {
    /// The maintenance thread.
    pub(crate) fn run(shared: &Shared) {
        let _guard = PanicGuard::new(shared, MAINTAINING);
        let mut this = shared.maintenance.lock();
        this.work(shared);
        this.scrub.stop();
    }

    fn work(&mut self, shared: &Shared) {
        loop {
            let step = self.step(shared);
            if step == Step::Stopped {
                return;
            }
            let mut errands = shared.errands.lock();
            if errands.stopping {
                return;
            }
            if step == Step::Idle {
                let pause = shared.options.sync_interval.unwrap_or(IDLE_PAUSE).min(IDLE_PAUSE);
                let pause = if shared.pool.lock().is_filling() { shared.options.fill_pause } else { pause };
                shared.errands_wake.wait_for(&mut errands, pause);
            }
        }
    }

    /// One piece of work, the most urgent first.
    pub(crate) fn step(&mut self, shared: &Shared) -> Step {
        match self.try_step(shared) {
            Ok(step) => {
                self.tell_full(shared);
                step
            }
            Err(error) => {
                shared.poison(MAINTAINING, &error, &[]);
                Step::Stopped
            }
        }
    }

    fn try_step(&mut self, shared: &Shared) -> io::Result<Step> {
        if shared.aborted.load(std::sync::atomic::Ordering::Acquire) || shared.poisoned().is_some() {
            return Ok(Step::Stopped);
        }
        let lost_pages = shared.io.lost_pages();
        if lost_pages != self.lost_pages {
            self.lost_pages = lost_pages;
            shared.note_all_lost_pages();
        }
        if let Some(interval) = shared.options.sync_interval
            && self.last_sync.is_none_or(|last| shared.options.manual || last.elapsed() >= interval)
        {
            self.last_sync = Some(Instant::now());
            // An error of the sync itself is never taken for a lack of space.
            shared.without_space(shared.sync_written().map(|()| false))?;
        }
        self.reclaim.is_tight = self.attempts.found_no_room();
        // A full disk stops none of the others: one of them may make room.
        let worked = shared.without_space(self.prepare_requested(shared))?
            || shared.without_space(self.seal_next(shared))?
            || shared.without_space(self.prepare_next(shared))?
            || shared.without_space(self.reclaim.step(shared))?
            || shared.without_space(self.fill(shared))?
            || self.scrub.step(shared);
        Ok(if worked { Step::Worked } else { Step::Idle })
    }

    fn seal_next(&mut self, shared: &Shared) -> io::Result<bool> {
        let Some(segment) = shared.errands.lock().to_seal.first().cloned() else { return Ok(false) };
        seal(shared, &segment)?;
        shared.errands.lock().to_seal.retain(|other| other.number != segment.number);
        Ok(true)
    }

    /// Segments that the writer waits for. They may take every spare: what was admitted must get a place.
    fn prepare_requested(&mut self, shared: &Shared) -> io::Result<bool> {
        shared.errands.lock().prepare = false;
        let Some((number, capacity)) = shared.queue.lock().requested.first().copied() else { return Ok(false) };
        let segment = self.prepare(shared, number, capacity, true)?;
        shared.segments.write().insert(number, segment);
        let mut queue = shared.queue.lock();
        queue.requested.retain(|(other, _)| *other != number);
        shared.writer_wake.notify_all();
        Ok(true)
    }

    /// The segment after the present one, ready before it is needed. The last spares are the reserve.
    fn prepare_next(&mut self, shared: &Shared) -> io::Result<bool> {
        {
            let queue = shared.queue.lock();
            if queue.next.is_some() || !matches!(queue.state, QueueState::Running) || queue.closing {
                return Ok(false);
            }
        }
        let spares = shared.pool.lock().count();
        let spares_min = self.spares_min(shared);
        if spares < spares_min && !self.make_spare(shared)? && spares == 0 {
            return Ok(false);
        }
        // Until there are enough, the next segment is a file that was never written to, which is slower to write: better to
        // wait for a spare. But a writer in a hurry must not wait for either.
        let spare = shared.pool.lock().count() >= spares_min;
        if !spare && (!shared.queue.lock().is_half_way() || !self.attempts.may_try(shared.options.manual)) {
            return Ok(false);
        }
        let number = {
            let mut queue = shared.queue.lock();
            let number = queue.next_number;
            queue.next_number += 1;
            number
        };
        let segment = self.prepare(shared, number, shared.segment_bytes, spare)?;
        let mut queue = shared.queue.lock();
        // Numbers are given out in order: a batch may have been placed in a later one meanwhile.
        if queue.placement.segment < number {
            queue.next = Some((number, segment.header.capacity));
            shared.segments.write().insert(number, segment);
        } else {
            drop(queue);
            let spare = crate::format::segment::FileName::Spare(number);
            shared.io.rename(&segment.path, &shared.path.join(spare.to_string()))?;
            let length = segment.length.load(std::sync::atomic::Ordering::Acquire);
            shared.pool.lock().add(super::pool::Spare { name: spare, length });
        }
        Ok(true)
    }

    fn spares_min(&self, shared: &Shared) -> usize {
        // With room for twice as many, the reserve is there before the disk is full.
        let is_roomy = !self.attempts.found_no_room() && shared.has_room_for(2 * SPARES_MIN);
        if is_roomy { SPARES_MIN_ROOMY } else { SPARES_MIN }
    }

    /// One more spare file, if the disk has room.
    fn make_spare(&mut self, shared: &Shared) -> io::Result<bool> {
        if shared.pool.lock().is_filling() || !self.attempts.may_try(shared.options.manual) {
            return Ok(false);
        }
        let begun = begin_spare(shared, shared.segment_bytes);
        self.attempts.note_file(!is_refused(&begun));
        shared.without_space(begun.map(|()| true))
    }

    /// An empty segment, from a spare if it may and there is one.
    fn prepare(&mut self, shared: &Shared, number: u32, capacity: u32, spare: bool) -> io::Result<Arc<Segment>> {
        let of_spare = spare && shared.pool.lock().count() > 0;
        let prepared = prepare(shared, number, capacity, spare);
        let found = !is_refused(&prepared);
        if of_spare {
            self.attempts.note_spare(found)
        } else {
            self.attempts.note_file(found)
        }
        prepared
    }

    /// The disk had no room for the first segment.
    pub(crate) fn note_no_room(&mut self) {
        self.attempts.note_file(false);
    }

    /// Lets everybody know whether the disk is full.
    fn tell_full(&self, shared: &Shared) {
        shared.set_full_if(|queue| {
            let situation = Situation {
                attempts: self.attempts,
                write_refused: queue.write_refused,
                segment_missing: !queue.requested.is_empty(),
                segment_ready: queue.next.is_some(),
                spares: shared.pool.lock().count(),
            };
            situation.is_full()
        });
    }

    fn fill(&mut self, shared: &Shared) -> io::Result<bool> {
        let spares_min = self.spares_min(shared);
        let wanted = if spares_min == SPARES_MIN { RESERVE } else { 0 };
        if shared.pool.lock().count() < shared.options.spare_segments.max(wanted) && self.make_spare(shared)? {
            return Ok(true);
        }
        let filled = shared.pool.lock().fill()?;
        // Paced: the foreground must not notice.
        if filled && !shared.options.manual {
            let mut errands = shared.errands.lock();
            if !errands.prepare && errands.to_seal.is_empty() && !errands.stopping {
                shared.errands_wake.wait_for(&mut errands, shared.options.fill_pause);
            }
        }
        Ok(filled)
    }
}
