//! Reads sealed segments again from time to time, slowly, so that damage is found while it can still be repaired.
//!
//! ```text
//! written a while ago, or checked a period ago -> due -> checked -> sound: remembered across restarts
//!                                                            |-> footer damaged: written anew
//! ```

mod check;
mod memory;
mod repair;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Journal;
use super::shared::{Shared, wall_clock};
use crate::catalogue::Row;
use crate::options::JournalOptions;
use crate::report::Damage;
use crate::segment::Segment;
use check::Check;
use memory::{Memory, Recall};

#[derive(Default)]
pub(crate) struct Scrub {
    last: Option<Instant>,
    /// Bytes that may be read by now. Below zero after a batch that was larger than what was left: it is paid back.
    allowance: i64,
    /// Until the next look for a segment that is due.
    rest: Duration,
    check: Option<Check>,
    /// Something was checked since the last rest: buffers of it are kept.
    has_read: bool,
    memory: Memory,
}

/// The allowance never grows beyond this: after a pause there is no burst.
const ALLOWANCE_MAX: i64 = 4 * 1024 * 1024;
/// So much is waited for before the next batch.
const ALLOWANCE_MIN: i64 = 64 * 1024;
/// Between two looks when nothing is due.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

impl Journal {
    /// Checks every sealed segment now, due or not, and returns all damages known. Only with the `manual` option.
    pub fn scrub_now(&self) -> Vec<Damage> {
        assert!(self.shared.options.manual, "threads do the work");
        // As the thread that it stands for: nothing is reclaimed meanwhile.
        let _maintenance = self.shared.maintenance.lock();
        let segments: Vec<Arc<Segment>> = self.shared.segments.read().values().cloned().collect();
        for segment in segments.into_iter().filter(|segment| segment.is_sealed()) {
            let mut check = Check::new(segment);
            while check.step(&self.shared).is_some() {}
        }
        self.shared.damages.lock().clone()
    }
}

impl Scrub {
    /// Does one piece of work, if there is any and the rate allows it.
    pub(crate) fn step(&mut self, shared: &Shared) -> bool {
        if shared.options.scrub_bytes_per_second == 0 || shared.options.manual {
            return false;
        }
        let elapsed = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        self.last = Some(Instant::now());
        self.advance(shared, elapsed, wall_clock())
    }

    /// The last that is asked of it.
    pub(crate) fn stop(&mut self) {
        self.memory.close();
    }

    /// Does one piece of work, if what the time since the last call allows is enough for it. `now` is the wall clock's.
    fn advance(&mut self, shared: &Shared, elapsed: Duration, now: i64) -> bool {
        let gained = elapsed.as_secs_f64() * shared.options.scrub_bytes_per_second as f64;
        self.allowance = self.allowance.saturating_add(gained as i64).min(ALLOWANCE_MAX);
        self.rest = self.rest.saturating_sub(elapsed);
        if self.allowance < ALLOWANCE_MIN {
            return false;
        }
        let Some(check) = &mut self.check else { return self.choose(shared, now) };
        match check.step(shared) {
            Some(bytes) => self.allowance -= i64::try_from(bytes).unwrap_or(i64::MAX),
            None => self.finish(shared, now),
        }
        true
    }

    /// Begins with the segment that waits longest, if one is due.
    fn choose(&mut self, shared: &Shared, now: i64) -> bool {
        if !self.rest.is_zero() {
            return false;
        }
        let Some(segment) = next_due(shared, now) else {
            self.memory.let_go();
            if std::mem::take(&mut self.has_read) {
                shared.buffers.trim();
            }
            self.rest = LOOK_PAUSE;
            return false;
        };
        match self.memory.recall(shared) {
            Recall::Pending => false,
            // Which may have been checked not long ago.
            Recall::New => true,
            Recall::Known => {
                self.check = Some(Check::new(segment));
                self.has_read = true;
                true
            }
        }
    }

    fn finish(&mut self, shared: &Shared, now: i64) {
        let Some(check) = self.check.take() else { return };
        let segment = check.segment();
        segment.close_file();
        segment.set_checked(now);
        let is_sound = check.is_sound() && !segment.is_retired() && !shared.has_damage_in(segment.number);
        self.memory.note(Row { segment: segment.number, sound_at: is_sound.then_some(now) });
    }
}

fn next_due(shared: &Shared, now: i64) -> Option<Arc<Segment>> {
    let segments = shared.segments.read();
    let due = segments.values().filter(|segment| is_due(&shared.options, segment, now));
    due.min_by_key(|segment| (segment.sound_since(), segment.number)).cloned()
}

/// Whether a segment is to be checked.
pub(crate) fn is_due(options: &JournalOptions, segment: &Segment, now: i64) -> bool {
    if options.scrub_bytes_per_second == 0 {
        return false;
    }
    let pause = if segment.was_checked() { options.scrub_period } else { options.scrub_delay };
    let age = i128::from(now) - i128::from(segment.sound_since());
    // What was checked later than now was checked by a clock that was wrong.
    segment.is_sealed() && !segment.is_retired() && (age < 0 || age as u128 >= pause.as_nanos())
}

#[cfg(test)]
mod tests;
