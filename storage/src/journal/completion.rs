//! Hands durable batches to the sink, in order: on the writer thread when it has nothing better to do, else here. Also tells
//! it that the journal failed, so that nobody who finds that out has to wait for a lock of the sink's.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::shared::{PanicGuard, Shared};
use super::sink::DurableBatch;
use crate::error::JournalError;
use crate::format::record::GroupId;

#[derive(Default)]
pub(crate) struct Completion {
    state: Mutex<CompletionState>,
    changed: Condvar,
}

#[derive(Default)]
struct CompletionState {
    waiting: VecDeque<DurableBatch>,
    /// The journal failed, and the sink does not know yet.
    failure: Option<Failure>,
    /// The thread is there, or about to be.
    serves: bool,
    busy: bool,
    stopping: bool,
}

/// Why the journal failed, and whose records are lost.
pub(crate) struct Failure {
    pub(crate) error: JournalError,
    pub(crate) groups: Vec<GroupId>,
}

impl Completion {
    /// True when a batch may be completed on the writer thread without overtaking another.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && !state.busy
    }

    /// Only the writer calls this, so the order is its order.
    pub(crate) fn push(&self, batch: DurableBatch) {
        self.state.lock().waiting.push_back(batch);
        self.changed.notify_all();
    }

    /// The thread is going to be started.
    pub(crate) fn begin(&self) {
        self.state.lock().serves = true;
    }

    /// Leaves it to the thread to tell the sink, after all that is durable. Gives it back when there is no thread.
    pub(crate) fn hand_over(&self, failure: Failure) -> Option<Failure> {
        let mut state = self.state.lock();
        if !state.serves {
            return Some(failure);
        }
        state.failure = Some(failure);
        self.changed.notify_all();
        None
    }

    /// The completion thread. Returns once stopped and drained.
    pub(crate) fn run(&self, shared: &Shared) {
        let _guard = PanicGuard::new(shared, "completing a batch");
        // Dropped first: what the guard has to tell it then tells itself.
        let _service = Service { completion: self, shared };
        let mut state = self.state.lock();
        loop {
            match state.waiting.pop_front() {
                Some(batch) => {
                    state.busy = true;
                    drop(state);
                    shared.sink().durable(&batch);
                    drop(batch);
                    state = self.state.lock();
                    state.busy = false;
                }
                None => match state.failure.take() {
                    Some(Failure { error, groups }) => {
                        state.busy = true;
                        drop(state);
                        shared.sink().failed(&error, &groups);
                        state = self.state.lock();
                        state.busy = false;
                    }
                    None if state.stopping => return,
                    None => self.changed.wait(&mut state),
                },
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }
}

/// As long as it lives the thread serves.
struct Service<'a> {
    completion: &'a Completion,
    shared: &'a Shared,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let failure = {
            let mut state = self.completion.state.lock();
            state.serves = false;
            state.failure.take()
        };
        if let Some(Failure { error, groups }) = failure {
            self.shared.sink().failed(&error, &groups);
        }
    }
}
