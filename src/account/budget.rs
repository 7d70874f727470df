//! What may wait for all peers together. Sixty-four megabytes for each of many dead subscribers would take the
//! whole machine; above the budget only a small amount per peer is tolerated.

use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub struct EgressBudget {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Default for EgressBudget {
    /// Without a bound.
    fn default() -> EgressBudget {
        EgressBudget::new(usize::MAX)
    }
}

impl EgressBudget {
    pub fn new(bytes_max: usize) -> EgressBudget {
        EgressBudget { used: AtomicUsize::new(0), bytes_max }
    }

    /// Bytes that wait for all peers.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// True when it is nearly used up.
    pub(super) fn is_tight(&self) -> bool {
        self.used() > self.bytes_max / 4 * 3
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.bytes_max
    }
}
