//! The gates that are closed because the journal's queue is long: whose they are, until they are open again. An account
//! that is not served any more is among them as long as somebody may wait at its gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::account::Account;

#[derive(Default)]
pub struct ClosedGates {
    any: AtomicBool,
    accounts: Mutex<Vec<Arc<Account>>>,
}

impl ClosedGates {
    /// Nobody who publishes to the account's streams is read from now on.
    pub fn close(&self, account: &Arc<Account>) {
        let mut accounts = self.accounts.lock();
        account.ingest_gate.close();
        if accounts.iter().all(|closed| !Arc::ptr_eq(closed, account)) {
            accounts.push(Arc::clone(account));
        }
        self.any.store(true, Ordering::SeqCst);
    }

    /// Cheap, for it is asked after each batch.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    pub fn open_all(&self) {
        let mut accounts = self.accounts.lock();
        self.any.store(false, Ordering::SeqCst);
        accounts.drain(..).for_each(|account| account.ingest_gate.open());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gate_that_was_closed_is_opened() {
        let gates = ClosedGates::default();
        let accounts = ["A", "B"].map(|name| Arc::new(Account::new(name)));
        for _ in 0..2 {
            accounts.iter().for_each(|account| gates.close(account));
            assert!(!gates.is_empty() && accounts.iter().all(|account| !account.ingest_gate.is_open()));
            assert_eq!(gates.accounts.lock().len(), 2);
            gates.open_all();
            assert!(gates.is_empty() && accounts.iter().all(|account| account.ingest_gate.is_open()));
        }
    }
}
