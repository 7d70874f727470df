//! The subscriptions of one connection by sid. The connection's task adds and removes; a publisher that
//! delivers the last message of a limited subscription removes, too.

use super::Subscription;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Default)]
pub struct SubscriptionSet {
    by_sid: Mutex<HashMap<Box<[u8]>, Arc<Subscription>, RandomState>>,
}

impl SubscriptionSet {
    pub fn len(&self) -> usize {
        self.by_sid.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, sid: &[u8]) -> Option<Arc<Subscription>> {
        self.by_sid.lock().get(sid).cloned()
    }

    pub fn insert(&self, subscription: Arc<Subscription>) {
        self.by_sid.lock().insert(subscription.sid().into(), subscription);
    }

    /// Removes this very subscription; its sid may have been taken again meanwhile.
    pub fn remove(&self, subscription: &Subscription) {
        let mut by_sid = self.by_sid.lock();
        if by_sid.get(subscription.sid()).is_some_and(|found| found.id() == subscription.id()) {
            by_sid.remove(subscription.sid());
        }
        if by_sid.len() * 8 < by_sid.capacity() {
            by_sid.shrink_to_fit();
        }
    }

    /// Empties the set and gives what was in it.
    pub fn take(&self) -> Vec<Arc<Subscription>> {
        std::mem::take(&mut *self.by_sid.lock()).into_values().collect()
    }

    pub fn clear(&self) {
        self.take();
    }

    /// At most `limit` of them, for monitoring.
    pub fn list(&self, limit: usize) -> Vec<Arc<Subscription>> {
        self.by_sid.lock().values().take(limit).cloned().collect()
    }
}
