//! The interest graph of one account: who subscribes to what, and a generation that tells caches when to forget.

use super::Subscription;
use super::trie::Trie;
use super::watches::{WatchKey, Watches};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

pub struct Interest {
    subscriptions: RwLock<Trie<Arc<Subscription>>>,
    /// Goes up after every change, so that whoever read it before a look-up never keeps a result for too long.
    generation: AtomicU64,
    watches: Watches,
    inserts: AtomicU64,
    removes: AtomicU64,
    matches: AtomicU64,
}

/// Counters for `/subsz`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterestStatistics {
    pub subscriptions: u64,
    pub inserts: u64,
    pub removes: u64,
    /// Look-ups that no cache answered.
    pub matches: u64,
}

impl Default for Interest {
    /// Every account starts from a generation of its own, so that a cache can't take one account's for another's.
    fn default() -> Interest {
        static ACCOUNTS: AtomicU64 = AtomicU64::new(1);
        let generation = ACCOUNTS.fetch_add(1, Ordering::Relaxed) << 40;
        Interest {
            subscriptions: RwLock::default(),
            generation: AtomicU64::new(generation),
            watches: Watches::default(),
            inserts: AtomicU64::new(0),
            removes: AtomicU64::new(0),
            matches: AtomicU64::new(0),
        }
    }
}

impl Interest {
    pub fn insert(&self, subscription: Arc<Subscription>) {
        let mut subscriptions = self.subscriptions.write();
        let inserted = Arc::clone(&subscription);
        subscriptions.insert(&inserted.subject, subscription);
        drop(subscriptions);
        self.inserts.fetch_add(1, Ordering::Relaxed);
        self.touch();
        self.watches.note(std::iter::once(&*inserted.subject));
    }

    /// False when it was not there any more.
    pub fn remove(&self, subscription: &Subscription) -> bool {
        let removed = self.subscriptions.write().remove(&subscription.subject, subscription.id());
        if removed.is_some() {
            self.removes.fetch_add(1, Ordering::Relaxed);
            self.touch();
            self.watches.note(std::iter::once(&*subscription.subject));
        }
        removed.is_some()
    }

    /// Removes many under one lock, as at the end of a connection.
    pub fn remove_all<'a>(&self, gone: impl Iterator<Item = &'a Arc<Subscription>> + Clone) {
        let mut removed = 0;
        let mut subscriptions = self.subscriptions.write();
        for subscription in gone.clone() {
            removed += u64::from(subscriptions.remove(&subscription.subject, subscription.id()).is_some());
        }
        drop(subscriptions);
        if removed > 0 {
            self.removes.fetch_add(removed, Ordering::Relaxed);
            self.touch();
            self.watches.note(gone.map(|subscription| &*subscription.subject));
        }
    }

    /// Makes every match cache of the account forget, for changes that are not in the graph itself.
    pub fn touch(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// From now on this thread is unparked when a [`Watch`](super::Watch) has something to look at. Only the first to
    /// ask is heard.
    pub fn report_to(&self, thread: Thread) {
        self.watches.report_to(thread);
    }

    /// The watches whose subjects were subscribed to or unsubscribed from since they were last taken.
    pub fn take_changed(&self) -> Vec<WatchKey> {
        self.watches.take_changed()
    }

    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn for_each_match(&self, subject: &[u8], visit: impl FnMut(&Arc<Subscription>)) {
        self.matches.fetch_add(1, Ordering::Relaxed);
        self.subscriptions.read().for_each_match(subject, visit);
    }

    pub fn any_match(&self, subject: &[u8], accept: impl FnMut(&Arc<Subscription>) -> bool) -> bool {
        self.subscriptions.read().any_match(subject, accept)
    }

    /// Every subscription; for monitoring, which must bound what it keeps.
    pub fn for_each(&self, visit: impl FnMut(&Arc<Subscription>)) {
        self.subscriptions.read().for_each(visit);
    }

    pub fn len(&self) -> usize {
        self.subscriptions.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn statistics(&self) -> InterestStatistics {
        InterestStatistics {
            subscriptions: self.len() as u64,
            inserts: self.inserts.load(Ordering::Relaxed),
            removes: self.removes.load(Ordering::Relaxed),
            matches: self.matches.load(Ordering::Relaxed),
        }
    }
}
