//! The catalogue: when each segment was last found sound, kept across restarts so that a start need not have everything
//! read again. It is never the truth: what it does not say costs one more reading.
//!
//! sled keeps it, whose `flush` is not safe against power loss on Linux, and which may panic on damaged files; so every
//! row has a checksum, and on any doubt the directory is moved aside and an empty catalogue takes its place. Nothing
//! else in the workspace may use sled.
//!
//! One thread does all the work, from opening to closing, behind a bounded queue. No call here waits, but for
//! [`Closing::wait`].

mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::{Duration, Instant};

pub(crate) use crate::format::catalogue_row::Row;
use crate::format::catalogue_row::RowDoubt;
use store::Store;

/// Rows that may wait. One that finds the queue full is lost: its segment will be read once more.
const QUEUE_ROWS_MAX: usize = 1024;
/// sled has been seen to take minutes to open; reading all segments again is no worse.
const OPEN_TIME_MAX: Duration = Duration::from_secs(15);
/// Who stops does not wait longer for the last rows.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Why a catalogue was given up.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Doubt {
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store panicked: {0}")]
    Panicked(String),
    #[error("opening took too long")]
    TooSlow,
    #[error("the process ended while opening it the last time")]
    DiedOpening,
    #[error(transparent)]
    Row(#[from] RowDoubt),
}

/// How far a catalogue is that was asked for.
#[derive(Debug)]
pub(crate) enum Opening {
    /// Ask again later.
    Pending,
    /// What it holds. Comes once.
    Rows(Vec<Row>),
    /// There is none: not even an empty one could be opened, or not in time.
    Unavailable,
}

/// The handle.
pub(crate) struct Catalogue {
    rows: SyncSender<Row>,
    opened: Receiver<Vec<Row>>,
    since: Instant,
    /// Says nothing; its other end is gone when the thread has ended.
    ended: Receiver<()>,
}

/// A catalogue that was let go of, and may not be closed yet.
pub(crate) struct Closing {
    ended: Receiver<()>,
    since: Instant,
}

impl Catalogue {
    /// Begins to open the catalogue of a journal, in a directory of its own; files beside it with its name and a suffix
    /// belong to it too.
    pub(crate) fn open(directory: &Path, journal: u64) -> io::Result<Catalogue> {
        let place = Place { directory: directory.to_owned(), journal };
        let (rows, waiting) = sync_channel(QUEUE_ROWS_MAX);
        let (answer, opened) = sync_channel(1);
        let (alive, ended) = channel();
        let work = move || run(&place, &answer, &waiting, alive);
        std::thread::Builder::new().name("catalogue".to_owned()).spawn(work)?;
        Ok(Catalogue { rows, opened, since: Instant::now(), ended })
    }

    /// Whether it is open.
    pub(crate) fn poll(&self) -> Opening {
        match self.opened.try_recv() {
            Ok(rows) => Opening::Rows(rows),
            Err(TryRecvError::Empty) if self.since.elapsed() < OPEN_TIME_MAX => Opening::Pending,
            Err(_) => Opening::Unavailable,
        }
    }

    /// Has a row written some time. False when it is lost.
    pub(crate) fn put(&self, row: Row) -> bool {
        self.rows.try_send(row).is_ok()
    }

    /// Lets go of it: the rows that wait are written, then it is closed.
    pub(crate) fn let_go(self) -> Closing {
        Closing { ended: self.ended, since: Instant::now() }
    }
}

impl Closing {
    /// True once another one may be opened in its place.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// True when it takes so long that it may never be.
    pub(crate) fn is_stuck(&self) -> bool {
        self.since.elapsed() > OPEN_TIME_MAX
    }

    /// Waits for it, not for long.
    pub(crate) fn wait(self) {
        if self.ended.recv_timeout(CLOSE_WAIT_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the catalogue takes long to close: some segments may be read again after the next start");
        }
    }
}

/// The directory and its neighbours, and whose catalogue is there.
struct Place {
    directory: PathBuf,
    journal: u64,
}

impl Place {
    /// Exists while the store is being opened: found at the next opening, this one ended the process.
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

    fn open(&self) -> Result<(Store, Vec<Row>), Doubt> {
        let failed = |error: io::Error| Doubt::Failed(error.to_string());
        if self.opening_mark().exists() {
            return Err(Doubt::DiedOpening);
        }
        if let Some(parent) = self.directory.parent() {
            crate::io::create_dir(parent).map_err(failed)?;
        }
        let started = Instant::now();
        std::fs::write(self.opening_mark(), b"").map_err(failed)?;
        let opened = guarded(|| Store::open(&self.directory, self.journal))?;
        std::fs::remove_file(self.opening_mark()).map_err(failed)?;
        if started.elapsed() > OPEN_TIME_MAX {
            // Nobody waits for it any more, and the next one would not either.
            close(opened.0);
            return Err(Doubt::TooSlow);
        }
        Ok(opened)
    }

    /// Opens what is there, or in its place an empty one.
    fn open_or_begin(&self) -> Option<(Store, Vec<Row>)> {
        match self.open() {
            Ok(opened) => Some(opened),
            Err(doubt) => self.begin(&doubt).map(|store| (store, Vec::new())),
        }
    }

    /// Moves what is there aside, and opens an empty one.
    fn begin(&self, doubt: &Doubt) -> Option<Store> {
        tracing::warn!(%doubt, directory = %self.directory.display(), "the catalogue is doubted and begun anew");
        self.move_aside();
        match self.open() {
            Ok((store, _)) => Some(store),
            Err(doubt) => {
                tracing::warn!(%doubt, "there is no catalogue: not even an empty one can be opened");
                None
            }
        }
    }
}

/// The thread. `_alive` is dropped when it ends, whatever the way.
fn run(place: &Place, answer: &SyncSender<Vec<Row>>, waiting: &Receiver<Row>, _alive: Sender<()>) {
    let Some((mut store, found)) = place.open_or_begin() else { return };
    // Somebody who has gone meanwhile wants no answer.
    let _ = answer.send(found);
    while let Ok(first) = waiting.recv() {
        let rows: Vec<Row> = std::iter::once(first).chain(waiting.try_iter()).collect();
        if let Err(doubt) = guarded(|| store.apply(&rows)) {
            close(store);
            let Some(anew) = place.begin(&doubt) else { return };
            store = anew;
        }
    }
    close(store);
}

/// Closing writes what is left, which may panic like everything else.
fn close(store: Store) {
    let _ = guarded(move || {
        drop(store);
        Ok(())
    });
}

/// sled panics where others return errors.
fn guarded<T>(work: impl FnOnce() -> Result<T, Doubt>) -> Result<T, Doubt> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        Err(Doubt::Panicked(text.to_owned()))
    })
}
