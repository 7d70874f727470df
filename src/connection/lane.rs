//! HOT PATH: one clock reading per read of a flood.
//!
//! A thread of its own for a client that floods.
//!
//! A flood keeps a processor busy without a pause, which nobody else may have to wait for. On a worker of the runtime it
//! would take turns with the tasks that are queued there, and wake another worker at each of them. The kernel, too, lets
//! whoever is woken on such a processor wait for the end of a time slice or for its next tick, which is milliseconds
//! away. So the flood leaves the runtime's workers as long as it lasts, and goes to sleep for an instant now and then
//! while there is somebody else to serve: whoever waits for the processor then gets it at once (ADR 0001).

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{current_timer_slack, set_current_timer_slack};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How long a flood goes on before it makes way, while others have their turns.
const STRETCH: Duration = Duration::from_micros(50);
/// Reads after which the lane is given back, to be taken again if no other flood wants it and the runtime goes on.
const READS_MAX: u32 = 4096;

/// How many clients may have a thread of their own, and whether anybody else is being served.
pub struct Lanes {
    free: AtomicUsize,
    count: usize,
    /// Turns of clients that do not flood, counted while a lane is taken.
    turns: AtomicU64,
}

/// The right to stay on the thread. Given back when dropped.
pub struct Lane {
    lanes: Arc<Lanes>,
    reads_left: u32,
    turns_seen: u64,
    rested_at: Instant,
    /// Of the thread, to be restored; known once it was changed.
    timer_slack: Option<NonZeroU64>,
}

impl Lanes {
    /// At most `count` lanes at a time. A flood that finds none stays among the others.
    pub fn new(count: usize) -> Lanes {
        Lanes { free: AtomicUsize::new(count), count, turns: AtomicU64::new(0) }
    }

    /// Notes that a client had its turn that does not flood.
    #[inline]
    pub fn count_turn(&self) {
        // Nearly always there is no lane, and nothing that all workers write to.
        if self.free.load(Ordering::Relaxed) < self.count {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A lane, if one is free and the runtime can do without the thread.
    pub fn take(self: &Arc<Lanes>) -> Option<Lane> {
        if Handle::try_current().ok()?.runtime_flavor() != RuntimeFlavor::MultiThread {
            return None;
        }
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).ok()?;
        Some(Lane {
            lanes: Arc::clone(self),
            reads_left: READS_MAX,
            turns_seen: self.turns.load(Ordering::Relaxed),
            rested_at: Instant::now(),
            timer_slack: None,
        })
    }
}

impl Lane {
    /// After a read: makes way for others if there are any. False when the lane has to be given back.
    pub fn go_on(&mut self) -> bool {
        let turns = self.lanes.turns.load(Ordering::Relaxed);
        if turns != self.turns_seen && self.rested_at.elapsed() >= STRETCH {
            self.turns_seen = turns;
            self.rest();
            self.rested_at = Instant::now();
        }
        self.reads_left = self.reads_left.saturating_sub(1);
        self.reads_left > 0
    }

    /// The shortest sleep there is. Yielding would not do: it lets others pass, but only until the kernel has charged
    /// them as much as it charges whoever yields.
    fn rest(&mut self) {
        if self.timer_slack.is_none() {
            // By default the kernel would make it 50 us, to save wake-ups.
            self.timer_slack = current_timer_slack().ok().and_then(NonZeroU64::new);
            let _ = set_current_timer_slack(NonZeroU64::new(1));
        }
        std::thread::sleep(Duration::from_nanos(1));
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.timer_slack.is_some() {
            let _ = set_current_timer_slack(self.timer_slack);
        }
        self.lanes.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::runtime::Builder;

    #[test]
    fn there_are_only_so_many_lanes() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _inside = runtime.enter();
        let lanes = Arc::new(Lanes::new(2));
        let (first, second) = (lanes.take(), lanes.take());
        assert!(first.is_some() && second.is_some() && lanes.take().is_none());
        drop(first);
        assert!(lanes.take().is_some());
    }

    #[test]
    fn a_runtime_of_one_thread_has_no_lane_to_give() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let lanes = Arc::new(Lanes::new(2));
        assert!(lanes.take().is_none(), "outside of any runtime");
        let _inside = runtime.enter();
        assert!(lanes.take().is_none());
    }

    #[test]
    fn a_flood_makes_way_when_others_had_their_turn() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _inside = runtime.enter();
        let lanes = Arc::new(Lanes::new(1));
        lanes.count_turn();
        assert_eq!(lanes.turns.load(Ordering::Relaxed), 0, "counted with no flood to notice");
        let slack = current_timer_slack().unwrap();
        let mut lane = lanes.take().unwrap();
        lane.rested_at -= STRETCH;
        let before = lane.rested_at;
        assert!(lane.go_on() && lane.rested_at == before, "it rested with nobody there");
        lanes.count_turn();
        assert!(lane.go_on() && lane.rested_at > before);
        assert_eq!(current_timer_slack().unwrap(), 1);
        drop(lane);
        assert_eq!(current_timer_slack().unwrap(), slack, "the thread keeps what it had");
    }

    #[test]
    fn a_lane_ends_after_a_while_however_long_the_flood() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _inside = runtime.enter();
        let lanes = Arc::new(Lanes::new(1));
        let mut lane = lanes.take().unwrap();
        let reads = (0..).take_while(|_| lane.go_on()).count();
        assert_eq!(reads as u32, READS_MAX - 1);
    }
}
