//! Hands durable batches to the sink, in order: on the writer thread when it has nothing better to do, else here.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::shared::{PanicGuard, Shared};
use super::sink::DurableBatch;

#[derive(Default)]
pub(crate) struct Completion {
    state: Mutex<CompletionState>,
    changed: Condvar,
}

#[derive(Default)]
struct CompletionState {
    waiting: VecDeque<DurableBatch>,
    busy: bool,
    stopping: bool,
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

    /// The completion thread. Returns once stopped and drained.
    pub(crate) fn run(&self, shared: &Shared) {
        let _guard = PanicGuard::new(shared, "completing a batch");
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
                None if state.stopping => return,
                None => self.changed.wait(&mut state),
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }
}
