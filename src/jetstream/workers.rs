//! A few threads for work that may wait for a disk: cold reads and long replays. Whoever waits for a slow subscriber is put
//! aside meanwhile: the threads are there for everybody.
//!
//! A job that is queued again while it waits stays queued once, so the queue is bounded by the number of consumers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashSet};
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

/// A job that was put aside goes on after so long, whether its peer reads or not: a peer that never does is to be cut off for
/// what it has waiting.
const ASIDE_MAX: Duration = Duration::from_millis(100);

/// Queues a job again that was put aside.
pub type Wake = Box<dyn FnOnce() + Send>;

/// What is to become of a job once it was worked on.
pub enum Then {
    Done,
    /// There is more to do: it is queued again behind the others.
    More,
    /// The same, once what it is given is called; or after a tenth of a second. The job is put aside by then, so it may be
    /// called at once.
    Later(Box<dyn FnOnce(Wake) + Send>),
}

/// Does a job; called on a worker thread, for one job at a time per thread.
pub trait JobTarget: Send + Sync {
    fn work(&self, job: Job) -> Then;
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
    /// Jobs put aside, and until when at most. Whoever queues one meanwhile is served when it goes on.
    aside: HashMap<Job, Instant>,
    stopped: bool,
}

impl Queue {
    fn push(&mut self, job: Job) -> bool {
        let new = !self.aside.contains_key(&job) && self.known.insert(job);
        if new {
            self.waiting.push_back(job);
        }
        new
    }

    fn pop(&mut self, now: Instant) -> Option<Job> {
        if self.next_due().is_some_and(|due| due <= now) {
            let due: Vec<Job> = self.aside.iter().filter(|(_, due)| **due <= now).map(|(job, _)| *job).collect();
            for job in due {
                self.bring_back(job);
            }
        }
        loop {
            let job = self.waiting.pop_front()?;
            self.known.remove(&job);
            // It was queued while it was worked on, and then put aside.
            if !self.aside.contains_key(&job) {
                return Some(job);
            }
        }
    }

    fn bring_back(&mut self, job: Job) -> bool {
        self.aside.remove(&job).is_some() && self.push(job)
    }

    fn next_due(&self) -> Option<Instant> {
        self.aside.values().min().copied()
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

fn run(shared: &Arc<Shared>, target: &dyn JobTarget) {
    let mut queue = shared.queue.lock();
    while !queue.stopped {
        let Some(job) = queue.pop(Instant::now()) else {
            match queue.next_due() {
                Some(due) => {
                    shared.changed.wait_until(&mut queue, due);
                }
                None => shared.changed.wait(&mut queue),
            }
            continue;
        };
        match parking_lot::MutexGuard::unlocked(&mut queue, || target.work(job)) {
            Then::Done => {}
            Then::More => {
                queue.push(job);
            }
            Then::Later(register) => {
                queue.aside.insert(job, Instant::now() + ASIDE_MAX);
                let shared = shared.clone();
                let wake = Box::new(move || {
                    if shared.queue.lock().bring_back(job) {
                        shared.changed.notify_one();
                    }
                });
                parking_lot::MutexGuard::unlocked(&mut queue, || register(wake));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Works as the test says, which learns of each job.
    struct Script<F> {
        then: F,
        told: Mutex<mpsc::Sender<Job>>,
    }

    impl<F: Fn(Job) -> Then + Send + Sync> JobTarget for Script<F> {
        fn work(&self, job: Job) -> Then {
            self.told.lock().send(job).expect("the test listens");
            (self.then)(job)
        }
    }

    fn start(then: impl Fn(Job) -> Then + Send + Sync + 'static) -> (Workers, mpsc::Receiver<Job>) {
        let (sender, told) = mpsc::channel();
        let workers = Workers::start(1, Arc::new(Script { then, told: Mutex::new(sender) })).expect("a thread");
        (workers, told)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    fn job(consumer: u64) -> Job {
        Job::deliver(GroupId(3), consumer)
    }

    #[test]
    fn a_job_runs_until_it_has_nothing_more_to_do() {
        let left = Mutex::new(5);
        let (workers, told) = start(move |_| {
            let mut left = left.lock();
            *left -= 1;
            if *left > 0 { Then::More } else { Then::Done }
        });
        workers.queue(job(9));
        for _ in 0..5 {
            assert_eq!(told.recv_timeout(PATIENCE), Ok(job(9)));
        }
        workers.stop();
        assert!(told.try_recv().is_err());
    }

    /// Each subscriber that did not read kept the only thread for a tenth of a second, again and again.
    #[test]
    fn others_are_worked_on_while_a_job_waits_for_its_peer() {
        let wakes = Arc::new(Mutex::new(Vec::<Wake>::new()));
        let of_target = wakes.clone();
        let (workers, told) = start(move |job| {
            let wakes = of_target.clone();
            match job.task {
                Task::Deliver(1) => Then::Later(Box::new(move |wake| wakes.lock().push(wake))),
                _ => Then::Done,
            }
        });
        let began = Instant::now();
        workers.queue(job(1));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(job(1)));
        for other in 2..50 {
            // Whoever wants the first one to go on must wait like itself.
            workers.queue(job(1));
            workers.queue(job(other));
        }
        let mut worked: Vec<Job> = (2..50).map(|_| told.recv_timeout(PATIENCE).expect("others go on")).collect();
        // On a machine that is very busy its time may be over.
        assert!(!worked.contains(&job(1)) || began.elapsed() >= ASIDE_MAX);
        while !worked.contains(&job(49)) {
            worked.push(told.recv_timeout(PATIENCE).expect("others go on"));
        }
        let wake = wakes.lock().pop().expect("it waits");
        wake();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(job(1)), "its peer has read");
        assert_eq!(told.recv_timeout(PATIENCE), Ok(job(1)), "its peer never does");
        workers.stop();
    }

    #[test]
    fn a_peer_that_has_read_meanwhile_is_not_waited_for() {
        let waits = Mutex::new(true);
        let (workers, told) = start(move |_| match std::mem::take(&mut *waits.lock()) {
            true => Then::Later(Box::new(|wake| wake())),
            false => Then::Done,
        });
        workers.queue(job(1));
        assert_eq!([told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)], [Ok(job(1)), Ok(job(1))]);
        workers.stop();
    }
}
