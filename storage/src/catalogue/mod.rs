//! The catalogue: the node's cache of what can be rebuilt from the journal (names, definitions, hints), so that a start
//! need not read it all again. It is never the truth. sled keeps it, whose `flush` is not safe against power loss on
//! Linux, and which may panic on damaged files; so every value has a checksum, a manifest vouches for the whole, and on
//! any doubt the directory is moved aside, an empty catalogue takes its place, and the owner is told to fill it again.
//! Nothing else in the workspace may use sled.
//!
//! One thread does all the work, behind a bounded queue. Nothing here is called on a message path; the calls that wait
//! for an answer must not be made on a thread that serves connections.

mod batch;
mod row;
mod store;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use batch::Batch;
pub use row::{Applied, Row, Table};
use store::Store;

/// Jobs that may wait. A batch that finds the queue full goes back to its owner.
const QUEUE_JOBS_MAX: usize = 1024;
/// sled has been seen to take minutes to open; rebuilding takes less.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a catalogue was given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Doubt {
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store panicked: {0}")]
    Panicked(String),
    #[error("opening took too long")]
    TooSlow,
    #[error("the process ended while opening it the last time")]
    DiedOpening,
    #[error("a damaged row or manifest")]
    Damaged,
    #[error("group {group} is at index {} of term {}, beyond the journal", applied.index, applied.term)]
    Ahead { group: u64, applied: Applied },
    #[error("its owner asked for it")]
    Requested,
}

/// How a catalogue came up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// There was none; it is empty.
    New,
    /// What it holds can be used, group by group up to the group's `applied`.
    Trusted,
    /// What was there is not to be trusted; it is empty.
    Rebuilt(Doubt),
}

/// There is no catalogue at present: not even an empty one could be opened, or its thread has ended. Its owner does
/// without; [`Catalogue::rebuild`] tries again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the catalogue is not available")]
pub struct Unavailable;

/// Is this position of a group within the journal's durable part?
pub type IsDurable = Box<dyn Fn(u64, Applied) -> bool + Send>;
/// Called on the catalogue's thread after it became empty; must not wait for the catalogue.
pub type OnDoubt = Box<dyn Fn(Doubt) + Send>;

/// The handle. Dropping it flushes and ends the thread.
pub struct Catalogue {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Apply(Batch),
    Get(Vec<u8>, SyncSender<Option<Vec<u8>>>),
    Scan { from: Vec<u8>, within: Vec<u8>, max: usize, answer: SyncSender<Vec<Row>> },
    Applied(SyncSender<Vec<(u64, Applied)>>),
    Flush(Option<SyncSender<()>>),
    Rebuild(SyncSender<()>),
}

impl Catalogue {
    /// Opens the catalogue in a directory of its own; files beside it with its name and a suffix belong to it too.
    /// Waits until every row is checked, and `is_durable` asked for every group's `applied`.
    pub fn open(directory: &Path, is_durable: IsDurable, on_doubt: OnDoubt) -> (Catalogue, Condition) {
        let place = Place { directory: directory.to_owned() };
        let (jobs, queue) = sync_channel(QUEUE_JOBS_MAX);
        let first = place.clone();
        let (opened, doubt) = run_with_timeout(move || open_at(&first, &is_durable));
        let mut worker = Worker { place, store: None, on_doubt };
        let condition = match (opened, doubt) {
            (Some((store, condition)), None) => {
                worker.store = Some(store);
                condition
            }
            (_, doubt) => {
                let doubt = doubt.unwrap_or(Doubt::TooSlow);
                worker.start_anew();
                Condition::Rebuilt(doubt)
            }
        };
        let thread = std::thread::Builder::new().name("catalogue".to_owned()).spawn(move || worker.run(&queue)).ok();
        // Without a thread the queue's end is gone and every call says so.
        (Catalogue { jobs: Some(jobs), thread }, condition)
    }

    /// Queues a batch: it is applied whole or, when the catalogue is rebuilt meanwhile, not at all. Comes back when the
    /// queue is full or the catalogue gone; batches of one group must be queued in order, so the owner keeps it and those
    /// after it for later, or asks for a rebuild.
    pub fn submit(&self, batch: Batch) -> Result<(), Batch> {
        let Some(jobs) = &self.jobs else {
            return Err(batch);
        };
        match jobs.try_send(Job::Apply(batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Job::Apply(batch)) | TrySendError::Disconnected(Job::Apply(batch))) => Err(batch),
            Err(_) => unreachable!("invariant: what comes back is what was sent"),
        }
    }

    /// Waits for the answer. Batches queued before are seen.
    pub fn get(&self, table: Table, group: u64, name: &[u8]) -> Result<Option<Vec<u8>>, Unavailable> {
        self.ask(|answer| Job::Get(row::key(table, group, name), answer))
    }

    /// Rows of a table in order of group and name, from the first group on or after `after`; at most `max`. Waits.
    pub fn scan(&self, table: Table, after: Option<&Row>, max: usize) -> Result<Vec<Row>, Unavailable> {
        let from = after.map_or_else(|| vec![table as u8], |row| row::key_after(table, row));
        self.ask(|answer| Job::Scan { from, within: vec![table as u8], max, answer })
    }

    /// Rows of one group. Waits.
    pub fn scan_group(&self, table: Table, group: u64, max: usize) -> Result<Vec<Row>, Unavailable> {
        let within = row::key(table, group, b"");
        self.ask(|answer| Job::Scan { from: within.clone(), within, max, answer })
    }

    /// How far each group is applied. Waits.
    pub fn applied(&self) -> Result<Vec<(u64, Applied)>, Unavailable> {
        self.ask(Job::Applied)
    }

    /// Has what was queued so far written, some time; after a checkpoint, say.
    pub fn flush(&self) {
        if let Some(jobs) = &self.jobs {
            // A full queue has a flush among its jobs, or will get one with the next checkpoint.
            let _ = jobs.try_send(Job::Flush(None));
        }
    }

    /// The same, and waits for it.
    pub fn flush_and_wait(&self) -> Result<(), Unavailable> {
        self.ask(|answer| Job::Flush(Some(answer)))
    }

    /// Throws everything away. The owner fills it again. Waits.
    pub fn rebuild(&self) -> Result<(), Unavailable> {
        self.ask(Job::Rebuild)
    }

    fn ask<T>(&self, job: impl FnOnce(SyncSender<T>) -> Job) -> Result<T, Unavailable> {
        let (answer, answered) = sync_channel(1);
        self.jobs.as_ref().ok_or(Unavailable)?.send(job(answer)).map_err(|_| Unavailable)?;
        answered.recv().map_err(|_| Unavailable)
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The worker catches its panics; and there is nothing left to do about another one.
            let _ = thread.join();
        }
    }
}

/// The directory and its neighbours.
#[derive(Clone)]
struct Place {
    directory: PathBuf,
}

impl Place {
    /// Exists while the store is being opened: found at the next start, opening it ended the process.
    fn opening_mark(&self) -> PathBuf {
        self.beside(".opening")
    }

    /// The last catalogue that was doubted, for whoever wants to know why.
    fn doubted(&self) -> PathBuf {
        self.beside(".doubted")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.directory.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Moves the directory aside, over the one doubted before. What can't be moved is removed.
    fn move_aside(&self) {
        let _ = std::fs::remove_dir_all(self.doubted());
        if std::fs::rename(&self.directory, self.doubted()).is_err() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
        let _ = std::fs::remove_file(self.opening_mark());
    }
}

fn open_at(place: &Place, is_durable: &IsDurable) -> Result<(Store, Condition), Doubt> {
    if place.opening_mark().exists() {
        return Err(Doubt::DiedOpening);
    }
    let condition = if place.directory.exists() { Condition::Trusted } else { Condition::New };
    if let Some(parent) = place.directory.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Doubt::Failed(error.to_string()))?;
    }
    std::fs::write(place.opening_mark(), b"").map_err(|error| Doubt::Failed(error.to_string()))?;
    let store = guarded(|| Store::open(&place.directory, is_durable))?;
    std::fs::remove_file(place.opening_mark()).map_err(|error| Doubt::Failed(error.to_string()))?;
    Ok((store, condition))
}

/// Runs `open` on a thread of its own. One that takes too long is left behind; what it opens late is closed again.
fn run_with_timeout<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, Doubt> + Send + 'static,
) -> (Option<T>, Option<Doubt>) {
    let (done, opened) = sync_channel(1);
    let thread = std::thread::Builder::new().name("catalogue open".to_owned()).spawn(move || {
        let _ = done.send(open());
    });
    if let Err(error) = thread {
        return (None, Some(Doubt::Failed(error.to_string())));
    }
    match opened.recv_timeout(OPEN_TIMEOUT) {
        Ok(Ok(store)) => (Some(store), None),
        Ok(Err(doubt)) => (None, Some(doubt)),
        Err(RecvTimeoutError::Timeout) => (None, Some(Doubt::TooSlow)),
        Err(RecvTimeoutError::Disconnected) => (None, Some(Doubt::Panicked("while opening".to_owned()))),
    }
}

/// sled panics where others return errors.
fn guarded<T>(work: impl FnOnce() -> Result<T, Doubt>) -> Result<T, Doubt> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Err(Doubt::Panicked(text.to_owned()))
    })
}

/// What the catalogue's thread owns.
struct Worker {
    place: Place,
    /// `None` when not even an empty store can be opened.
    store: Option<Store>,
    on_doubt: OnDoubt,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            self.perform(job);
        }
        self.with_store(Store::flush);
        self.close_store();
    }

    /// An answer that is not sent tells the asker that the catalogue is not available.
    fn perform(&mut self, job: Job) {
        match job {
            Job::Apply(batch) => {
                self.with_store(|store| store.apply(batch));
            }
            Job::Get(key, answer) => send(answer, self.with_store(|store| store.get(&key))),
            Job::Scan { from, within, max, answer } => {
                send(answer, self.with_store(|store| store.scan(&from, &within, max)));
            }
            Job::Applied(answer) => send(answer, self.with_store(|store| store.applied())),
            Job::Flush(answer) => {
                let flushed = self.with_store(Store::flush);
                if let Some(answer) = answer {
                    send(answer, flushed);
                }
            }
            Job::Rebuild(answer) => {
                self.doubt(Doubt::Requested);
                send(answer, self.store.is_some().then_some(()));
            }
        }
    }

    /// Works on the store; on any doubt that is the end of it and the start of an empty one.
    fn with_store<T>(&mut self, work: impl FnOnce(&mut Store) -> Result<T, Doubt>) -> Option<T> {
        let store = self.store.as_mut()?;
        match guarded(|| work(store)) {
            Ok(done) => Some(done),
            Err(doubt) => {
                self.doubt(doubt);
                None
            }
        }
    }

    fn doubt(&mut self, doubt: Doubt) {
        tracing::warn!(%doubt, "catalogue is rebuilt");
        self.start_anew();
        (self.on_doubt)(doubt);
    }

    fn start_anew(&mut self) {
        self.close_store();
        self.place.move_aside();
        let place = self.place.clone();
        let nothing_applied: IsDurable = Box::new(|_, _| true);
        let (opened, doubt) = run_with_timeout(move || open_at(&place, &nothing_applied));
        if let Some(doubt) = doubt {
            tracing::error!(%doubt, "no catalogue: not even an empty one can be opened");
        }
        self.store = opened.map(|(store, _)| store);
    }

    /// Closing flushes, which may panic like everything else.
    fn close_store(&mut self) {
        let store = self.store.take();
        let _ = guarded(move || {
            drop(store);
            Ok(())
        });
    }
}

fn send<T>(answer: SyncSender<T>, done: Option<T>) {
    if let Some(done) = done {
        // An asker that has gone wants no answer.
        let _ = answer.send(done);
    }
}
