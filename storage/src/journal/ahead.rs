//! Reads and checks what cursors will want next, on a thread of its own, while their owners work on what they have. A
//! disk that reads a window in 0.3 ms, and checksums, would otherwise take turns with whoever delivers.
//!
//! Nothing depends on it: what is not ready is read by whoever wants it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::shared::Shared;
use crate::format::record::verify;
use crate::segment::Segment;

/// Cursors that read ahead at the same time; further ones read for themselves. Bounds the memory, with
/// [`SPAN_BYTES_MAX`] and [`WINDOWS_MAX`].
const CURSORS_MAX: usize = 8;

/// Windows that one cursor may have under way.
pub(crate) const WINDOWS_MAX: usize = 2;

/// Bytes from the first to the last record of a window, at most.
pub(crate) const SPAN_BYTES_MAX: u32 = 1024 * 1024;

/// Room for the last record of a window, whose length is not known before it is read.
const LAST_BYTES_MIN: u32 = 4 * 1024;
const LAST_BYTES_MAX: u32 = 256 * 1024;

/// The thread's queue.
#[derive(Default)]
pub(crate) struct Ahead {
    queue: Mutex<AheadQueue>,
    changed: Condvar,
    cursors: AtomicUsize,
}

#[derive(Default)]
struct AheadQueue {
    waiting: VecDeque<Arc<Window>>,
    /// The thread is there, or about to be.
    serves: bool,
    stopping: bool,
}

/// The right of a cursor to read ahead.
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.ahead.cursors.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permit {
    /// `None` when enough others read ahead, or there is no thread.
    pub(crate) fn of(shared: &Arc<Shared>) -> Option<Self> {
        let ahead = &shared.ahead;
        let is_free = |cursors: usize| (cursors < CURSORS_MAX).then_some(cursors + 1);
        if !ahead.queue.lock().serves
            || ahead.cursors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_free).is_err()
        {
            return None;
        }
        Some(Self(shared.clone()))
    }

    /// Has records of a segment read, at rising offsets that are no more than [`SPAN_BYTES_MAX`] apart.
    pub(crate) fn read(&self, segment: Arc<Segment>, offsets: Vec<u32>) -> Arc<Window> {
        let window = Arc::new(Window { segment, offsets, state: Mutex::new(State::Waiting), done: Condvar::new() });
        let ahead = &self.0.ahead;
        let mut queue = ahead.queue.lock();
        if !queue.stopping {
            queue.waiting.push_back(window.clone());
            ahead.changed.notify_one();
        }
        window
    }
}

/// Records that are wanted next.
pub(crate) struct Window {
    segment: Arc<Segment>,
    offsets: Vec<u32>,
    state: Mutex<State>,
    done: Condvar,
}

enum State {
    Waiting,
    Reading,
    Done(Option<Checked>),
}

/// Bytes of a segment, of which some records are known to be sound.
pub(crate) struct Checked {
    pub(crate) bytes: Bytes,
    /// Where they start in the segment.
    pub(crate) start: u32,
    /// They are the whole segment.
    pub(crate) whole: bool,
    /// How many of the wanted records, from the first on, were found sound.
    pub(crate) sound: usize,
}

impl Window {
    /// What was read, waiting for it if it is being read. Not yet begun, it is given up, and the caller reads for itself.
    pub(crate) fn take(&self) -> Option<Checked> {
        let mut state = self.state.lock();
        while matches!(*state, State::Reading) {
            self.done.wait(&mut state);
        }
        match std::mem::replace(&mut *state, State::Done(None)) {
            State::Done(checked) => checked,
            State::Waiting | State::Reading => None,
        }
    }

    fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let begins = matches!(*state, State::Waiting);
        if begins {
            *state = State::Reading;
        }
        begins
    }

    fn finish(&self, checked: Option<Checked>) {
        let mut state = self.state.lock();
        if matches!(*state, State::Reading) {
            *state = State::Done(checked);
        }
        self.done.notify_all();
    }

    /// Errors are left to whoever reads for itself.
    fn read(&self, shared: &Shared) -> Option<Checked> {
        let (first, last) = (*self.offsets.first()?, *self.offsets.last()?);
        let (bytes, start, whole) = match shared.mapping(&self.segment).ok()? {
            Some(bytes) => (bytes, 0, true),
            None => {
                let typical = (last - first) / self.offsets.len() as u32;
                let length = last - first + (typical * 2).clamp(LAST_BYTES_MIN, LAST_BYTES_MAX);
                (shared.read_range(&self.segment, first, length as usize).ok()?, first, false)
            }
        };
        let is_sound = |offset: &&u32| {
            let rest = offset.checked_sub(start).and_then(|at| bytes.get(at as usize..));
            rest.is_some_and(|rest| verify(rest, self.segment.seed).is_ok())
        };
        let sound = self.offsets.iter().take_while(is_sound).count();
        if whole && shared.lacks_pages(&self.segment) {
            return None;
        }
        Some(Checked { bytes, start, whole, sound })
    }
}

/// Nobody waits for a window for ever, whatever happens to the thread.
struct Reading<'w>(&'w Window);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.finish(None);
    }
}

impl Ahead {
    /// The thread is going to be started.
    pub(crate) fn begin(&self) {
        self.queue.lock().serves = true;
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.changed.notify_all();
    }

    /// The thread.
    pub(crate) fn run(&self, shared: &Shared) {
        let mut queue = self.queue.lock();
        while !queue.stopping {
            let Some(window) = queue.waiting.pop_front() else {
                self.changed.wait(&mut queue);
                continue;
            };
            parking_lot::MutexGuard::unlocked(&mut queue, || {
                if window.begin() {
                    let reading = Reading(&window);
                    window.finish(window.read(shared));
                    drop(reading);
                }
            });
        }
        queue.serves = false;
        queue.waiting.clear();
    }
}
