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
        let mut schedule = self.shared.schedule.lock();
        if schedule.deadlines.get(&group).is_some_and(|current| *current <= deadline) {
            return;
        }
        let wakes = schedule.heap.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        schedule.deadlines.insert(group, deadline);
        schedule.heap.push(Reverse((deadline, group)));
        if wakes {
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
