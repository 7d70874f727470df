//! Deadlines of streams and consumers: one thread that calls back when the earliest one has come.
//!
//! A stream keeps its own timers (expiry, redelivery, heartbeats) and tells only its next deadline, so there is one
//! entry per stream here, however many consumers it has. Deadlines are coarse: a call may come up to a millisecond
//! late, never early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use headwater_storage::GroupId;
use parking_lot::{Condvar, Mutex};

/// What a due deadline calls.
pub trait TimerTarget: Send + Sync {
    fn timer_due(&self, group: GroupId);
}

/// Handle to the timer thread. Dropping the last handle stops it.
pub struct Timers {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

#[derive(Default)]
struct Schedule {
    /// The deadline in force of each group; heap entries that differ from it are stale.
    deadlines: HashMap<GroupId, Instant>,
    heap: BinaryHeap<Reverse<(Instant, GroupId)>>,
    stopped: bool,
}

/// So many stale entries are kept besides as many as there are deadlines.
const STALE_MAX: usize = 64;

impl Schedule {
    /// Sets the group's deadline, unless an earlier one is set. True when the thread must look at it now.
    fn set(&mut self, group: GroupId, deadline: Instant) -> bool {
        if self.deadlines.get(&group).is_some_and(|current| *current <= deadline) {
            return false;
        }
        let wakes = self.heap.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        self.deadlines.insert(group, deadline);
        self.heap.push(Reverse((deadline, group)));
        // Else each would stay until its own time, which may be a day away.
        if self.heap.len() > 2 * self.deadlines.len() + STALE_MAX {
            self.heap = self.deadlines.iter().map(|(group, deadline)| Reverse((*deadline, *group))).collect();
        }
        wakes
    }
}

impl Timers {
    pub fn start(target: Arc<dyn TimerTarget>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("timers".into()).spawn(move || run(&of_thread, target.as_ref()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Sets the group's deadline; an earlier one that is set already stays.
    pub fn schedule(&self, group: GroupId, deadline: Instant) {
        if self.shared.schedule.lock().set(group, deadline) {
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        self.shared.schedule.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the thread has been reported by its own hook already.
            let _ = thread.join();
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, target: &dyn TimerTarget) {
    let mut schedule = shared.schedule.lock();
    while !schedule.stopped {
        let Some(Reverse((deadline, group))) = schedule.heap.peek().copied() else {
            shared.changed.wait(&mut schedule);
            continue;
        };
        if schedule.deadlines.get(&group) != Some(&deadline) {
            schedule.heap.pop();
            continue;
        }
        if deadline > Instant::now() {
            shared.changed.wait_until(&mut schedule, deadline + Duration::from_micros(200));
            continue;
        }
        schedule.heap.pop();
        schedule.deadlines.remove(&group);
        parking_lot::MutexGuard::unlocked(&mut schedule, || target.timer_due(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Report(Mutex<mpsc::Sender<GroupId>>);

    impl TimerTarget for Report {
        fn timer_due(&self, group: GroupId) {
            self.0.lock().send(group).expect("the test listens");
        }
    }

    /// A stream that expires in a week and has a heartbeat every moment left an entry at each of these.
    #[test]
    fn deadlines_that_nearer_ones_replace_take_no_room_until_their_time() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        for moment in 0..10_000 {
            for group in 1..=10 {
                schedule.set(GroupId(group), now + Duration::from_secs(24 * 3600));
                assert_eq!(schedule.set(GroupId(group), now + Duration::from_millis(moment)), group == 1);
            }
            assert!(schedule.heap.len() <= 2 * 10 + STALE_MAX, "{} entries", schedule.heap.len());
            // All are due: the thread takes them out.
            for group in 1..=10 {
                let due = schedule.deadlines.remove(&GroupId(group));
                assert_eq!(schedule.heap.pop(), due.map(|due| Reverse((due, GroupId(group)))));
            }
        }
    }

    #[test]
    fn the_earliest_deadline_of_a_group_counts_and_fires_once() {
        let (sender, fired) = mpsc::channel();
        let timers = Timers::start(Arc::new(Report(Mutex::new(sender)))).expect("a thread");
        let now = Instant::now();
        timers.schedule(GroupId(7), now + Duration::from_secs(3600));
        timers.schedule(GroupId(8), now + Duration::from_millis(20));
        timers.schedule(GroupId(7), now + Duration::from_millis(1));
        timers.schedule(GroupId(7), now + Duration::from_secs(10));
        assert_eq!(fired.recv_timeout(Duration::from_secs(10)), Ok(GroupId(7)));
        assert_eq!(fired.recv_timeout(Duration::from_secs(10)), Ok(GroupId(8)));
        assert!(Instant::now() >= now + Duration::from_millis(20));
        assert!(fired.try_recv().is_err());
        timers.stop();
    }
}
