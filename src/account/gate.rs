//! A gate that publishers wait at while what they publish to is full (back-pressure instead of loss).

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// Open unless somebody closed it. Waiters are kept by connection, so there are never more than connections.
#[derive(Default)]
pub struct Gate {
    closed: AtomicBool,
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Gate {
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_values().for_each(Waker::wake);
    }

    /// Ready while the gate is open; otherwise the waiter is woken when it opens.
    pub fn poll_pass(&self, waiter: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.waiting.lock().insert(waiter, context.waker().clone());
        // Opened between the look and the entry: the opener may have missed us.
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Forgets a waiter that has gone.
    pub fn forget(&self, waiter: u64) {
        self.waiting.lock().remove(&waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_pass_when_it_opens() {
        let gate = Gate::default();
        let mut context = Context::from_waker(Waker::noop());
        assert!(gate.poll_pass(1, &mut context).is_ready());
        gate.close();
        assert!(gate.poll_pass(1, &mut context).is_pending());
        assert!(gate.poll_pass(1, &mut context).is_pending());
        assert_eq!(gate.waiting.lock().len(), 1);
        gate.open();
        assert!(gate.waiting.lock().is_empty() && gate.poll_pass(1, &mut context).is_ready());
    }
}
