//! Whether the disk is full, which is when messages are refused. Pure: worked out anew at each step of maintenance, from
//! what the last attempts at space came to and from what there is.
//!
//! ```text
//!                        a segment is ready | more spares than the reserve | the reserve or less
//! room was found               not full     |           not full           |      not full
//! no room was found            not full     |           not full           |        full
//! ... and a batch has no place    full      |             full             |        full
//! ```

use std::io;
use std::time::{Duration, Instant};

use crate::io::is_no_space;

/// Between two attempts at space on a disk that had none.
const PAUSE: Duration = Duration::from_millis(100);
/// Spares that no message gets on a full disk. Two are filled in turn with what consumers do and with the checkpoints that
/// let the other one go, so that this has no end; the last one is for control records, or for the next start.
pub(crate) const RESERVE: usize = 3;
/// With fewer spares none becomes the next segment by itself while the disk is nearly full.
pub(crate) const SPARES_MIN: usize = RESERVE + 1;
/// The same while there is plenty of room: the reserve can still be made.
pub(crate) const SPARES_MIN_ROOMY: usize = 2;

/// What the last attempts at space came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    /// There was no room for another file, and when that was.
    refused_at: Option<Instant>,
    /// Not even a spare could be made a segment.
    spares_refused: bool,
}

impl Attempts {
    /// Room for a new file was found, or not.
    pub(crate) fn note_file(&mut self, found: bool) {
        self.refused_at = (!found).then(Instant::now);
    }

    /// A spare was made a segment, or could not be.
    pub(crate) fn note_spare(&mut self, found: bool) {
        self.spares_refused = !found;
    }

    /// The last attempt came to nothing.
    pub(crate) fn found_no_room(&self) -> bool {
        self.refused_at.is_some() || self.spares_refused
    }

    /// A disk that had no room is not asked all the time.
    pub(crate) fn may_try(&self, manual: bool) -> bool {
        manual || self.refused_at.is_none_or(|refused| refused.elapsed() >= PAUSE)
    }
}

/// All that decides whether the disk is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) attempts: Attempts,
    /// The disk had no room for the last write, although that was reserved.
    pub(crate) write_refused: bool,
    /// Batches wait that no segment has a place for.
    pub(crate) segment_missing: bool,
    /// The segment after the present one is there.
    pub(crate) segment_ready: bool,
    /// Spare files, the one being filled included.
    pub(crate) spares: usize,
}

impl Situation {
    pub(crate) fn is_full(&self) -> bool {
        let no_room = self.attempts.found_no_room();
        let spares = if self.attempts.spares_refused { 0 } else { self.spares };
        let place_to_come = self.segment_ready || spares >= SPARES_MIN;
        self.write_refused || (no_room && (self.segment_missing || !place_to_come))
    }
}

/// True when there was no space.
pub(crate) fn is_refused<T>(outcome: &io::Result<T>) -> bool {
    outcome.as_ref().is_err_and(is_no_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(refused: bool, segment_ready: bool, spares: usize) -> Situation {
        let mut attempts = Attempts::default();
        attempts.note_file(!refused);
        Situation { attempts, write_refused: false, segment_missing: false, segment_ready, spares }
    }

    #[test]
    fn a_disk_is_full_when_it_had_no_room_and_nothing_but_the_reserve_is_left() {
        for (refused, segment_ready, spares, full) in [
            (false, false, 0, false),
            (false, false, 1, false),
            (false, true, 0, false),
            (false, true, 2, false),
            (true, false, 0, true),
            (true, false, 1, true),
            (true, false, RESERVE, true),
            (true, false, SPARES_MIN, false),
            (true, true, 0, false),
            (true, true, 1, false),
            (true, true, 2, false),
        ] {
            let situation = situation(refused, segment_ready, spares);
            assert_eq!(situation.is_full(), full, "{situation:?}");
        }
    }

    #[test]
    fn what_has_no_place_makes_it_full_whatever_else_there_is() {
        for (segment_ready, spares) in [(false, 0), (true, 0), (true, 2)] {
            let waiting = |refused| Situation { segment_missing: true, ..situation(refused, segment_ready, spares) };
            assert!(waiting(true).is_full());
            assert!(!waiting(false).is_full(), "it gets one in the next step");
            assert!(Situation { write_refused: true, ..situation(false, segment_ready, spares) }.is_full());
        }
    }

    #[test]
    fn spares_that_can_not_be_used_do_not_count() {
        let mut situation = situation(false, false, 5);
        situation.attempts.note_spare(false);
        assert!(situation.is_full());
        situation.segment_ready = true;
        assert!(!situation.is_full());
        (situation.segment_ready, situation.segment_missing) = (false, true);
        situation.attempts.note_spare(true);
        assert!(!situation.is_full());
    }

    #[test]
    fn only_a_disk_that_refused_is_given_a_pause() {
        let mut attempts = Attempts::default();
        assert!(attempts.may_try(false));
        attempts.note_file(false);
        assert!(!attempts.may_try(false) && attempts.may_try(true));
        attempts.note_file(true);
        assert!(attempts.may_try(false));
    }
}
