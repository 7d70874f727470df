//! A few threads for work that may wait for a disk or for a slow subscriber: cold reads and long replays.
//!
//! A job that is queued again while it waits stays queued once, so the queue is bounded by the number of consumers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use foldhash::HashSet;
use headwater_storage::GroupId;
use parking_lot::{Condvar, Mutex};

/// What is to be worked on, of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Job {
    pub group: GroupId,
    pub task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Deliveries of a consumer.
    Deliver(u64),
    /// The configuration changed or could not be changed: subscriptions follow once more, and it is told.
    Updated,
    /// A checkpoint is wanted.
    Checkpoint,
    /// Bytes of removed messages are to be overwritten.
    Erase,
}

impl Job {
    pub fn deliver(group: GroupId, consumer: u64) -> Self {
        Self { group, task: Task::Deliver(consumer) }
    }

    pub fn updated(group: GroupId) -> Self {
        Self { group, task: Task::Updated }
    }

    pub fn erase(group: GroupId) -> Self {
        Self { group, task: Task::Erase }
    }

    pub fn checkpoint(group: GroupId) -> Self {
        Self { group, task: Task::Checkpoint }
    }
}

/// Does a job; called on a worker thread, for one job at a time per thread.
pub trait JobTarget: Send + Sync {
    /// True asks for the job to be queued again behind the others: there is more to do.
    fn work(&self, job: Job) -> bool;
}

/// The threads and their queue.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    known: HashSet<Job>,
    stopped: bool,
}

impl Queue {
    fn push(&mut self, job: Job) -> bool {
        let new = self.known.insert(job);
        if new {
            self.waiting.push_back(job);
        }
        new
    }

    fn pop(&mut self) -> Option<Job> {
        let job = self.waiting.pop_front()?;
        self.known.remove(&job);
        Some(job)
    }
}

impl Workers {
    pub fn start(count: usize, target: Arc<dyn JobTarget>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..count)
            .map(|_| {
                let (shared, target) = (shared.clone(), target.clone());
                std::thread::Builder::new().name("deliveries".into()).spawn(move || run(&shared, target.as_ref()))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    pub fn queue(&self, job: Job) {
        if self.shared.queue.lock().push(job) {
            self.shared.changed.notify_one();
        }
    }

    /// Ends the threads after their current job and waits for them.
    pub fn stop(&self) {
        self.shared.queue.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                // A panic of the thread has been reported by its own hook already.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, target: &dyn JobTarget) {
    let mut queue = shared.queue.lock();
    while !queue.stopped {
        let Some(job) = queue.pop() else {
            shared.changed.wait(&mut queue);
            continue;
        };
        let more = parking_lot::MutexGuard::unlocked(&mut queue, || target.work(job));
        if more {
            queue.push(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    struct Countdown {
        left: Mutex<u32>,
        done: Mutex<mpsc::Sender<Job>>,
    }

    impl JobTarget for Countdown {
        fn work(&self, job: Job) -> bool {
            let mut left = self.left.lock();
            *left -= 1;
            if *left == 0 {
                self.done.lock().send(job).expect("the test listens");
            }
            *left > 0
        }
    }

    #[test]
    fn a_job_runs_until_it_has_nothing_more_to_do() {
        let (sender, done) = mpsc::channel();
        let target = Countdown { left: Mutex::new(5), done: Mutex::new(sender) };
        let workers = Workers::start(2, Arc::new(target)).expect("threads");
        let job = Job::deliver(GroupId(3), 9);
        workers.queue(job);
        assert_eq!(done.recv_timeout(Duration::from_secs(10)), Ok(job));
        workers.stop();
    }
}
