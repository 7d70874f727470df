//! Who inside the server wants to know when somebody begins or ceases to subscribe to one subject, to the letter:
//! a push consumer delivers only while there is such a subscription.
//!
//! The many subscriptions that nobody watches cost one look at a counter. Nobody is called from here, for whoever
//! subscribes may hold any lock: changes are kept, each watch once, until the thread that was named takes them.

use super::Account;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// What the owner of a watch calls it; means nothing here.
pub type WatchKey = (u64, u64);

#[derive(Default)]
pub(super) struct Watches {
    count: AtomicUsize,
    table: Mutex<Table>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct Table {
    by_subject: HashMap<Box<[u8]>, Vec<WatchKey>, RandomState>,
    changed: HashSet<WatchKey, RandomState>,
}

/// A watch, until it is dropped.
pub struct Watch {
    account: Arc<Account>,
    subject: Box<[u8]>,
    key: WatchKey,
}

impl Watch {
    /// Watches the subscriptions to this subject. What is there already has to be asked for after this.
    pub fn new(account: &Arc<Account>, subject: &[u8], key: WatchKey) -> Watch {
        account.interest.watches().add(subject, key);
        Watch { account: Arc::clone(account), subject: subject.into(), key }
    }

    pub fn subject(&self) -> &[u8] {
        &self.subject
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.account.interest.watches().remove(&self.subject, self.key);
    }
}

impl Watches {
    fn add(&self, subject: &[u8], key: WatchKey) {
        let mut table = self.table.lock();
        table.by_subject.entry(subject.into()).or_default().push(key);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn remove(&self, subject: &[u8], key: WatchKey) {
        let mut table = self.table.lock();
        let Some(keys) = table.by_subject.get_mut(subject) else { return };
        if let Some(at) = keys.iter().position(|known| *known == key) {
            keys.swap_remove(at);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
        if keys.is_empty() {
            table.by_subject.remove(subject);
        }
        // Another watch of the same owner may have begun meanwhile, and misses nothing by one look too many.
    }

    /// Subscriptions to these subjects came or went.
    pub fn note<'a>(&self, subjects: impl Iterator<Item = &'a [u8]>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut table = self.table.lock();
        let Table { by_subject, changed } = &mut *table;
        let before = changed.len();
        for subject in subjects {
            changed.extend(by_subject.get(subject).into_iter().flatten().copied());
        }
        let any = changed.len() > before;
        drop(table);
        if let Some(thread) = self.thread.get().filter(|_| any) {
            thread.unpark();
        }
    }

    /// From now on this thread is unparked after changes. Only the first to ask is heard.
    pub fn report_to(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    pub fn take_changed(&self) -> Vec<WatchKey> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        self.table.lock().changed.drain().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_watched_subjects_are_kept_and_each_once() {
        let account = Arc::new(Account::new("A"));
        let watches = account.interest.watches();
        let first = Watch::new(&account, b"a.b", (1, 1));
        let second = Watch::new(&account, b"a.b", (2, 1));
        let third = Watch::new(&account, b"c", (1, 2));
        watches.note([b"a.b".as_slice(), b"x", b"a.*", b"a.b"].into_iter());
        let mut changed = watches.take_changed();
        changed.sort_unstable();
        assert_eq!(changed, [(1, 1), (2, 1)]);
        drop(first);
        watches.note([b"a.b".as_slice(), b"c"].into_iter());
        let mut changed = watches.take_changed();
        changed.sort_unstable();
        assert_eq!(changed, [(1, 2), (2, 1)]);
        drop((second, third));
        watches.note([b"a.b".as_slice(), b"c"].into_iter());
        assert_eq!(watches.take_changed(), []);
        assert!(watches.table.lock().by_subject.is_empty(), "nothing is left of watches that ended");
    }

    #[test]
    fn whoever_waits_is_woken_by_a_change() {
        let account = Arc::new(Account::new("A"));
        let _watch = Watch::new(&account, b"a", (1, 1));
        account.interest.watches().report_to(std::thread::current());
        account.interest.watches().note([b"b".as_slice()].into_iter());
        account.interest.watches().note([b"a".as_slice()].into_iter());
        std::thread::park_timeout(std::time::Duration::from_secs(10));
        assert_eq!(account.interest.watches().take_changed(), [(1, 1)]);
    }
}
