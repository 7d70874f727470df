//! What a cache keeps.

use super::super::wide::tests::{alone, take_all};
use super::*;
use crate::account::Transport;

fn subscribe(account: &Account, count: usize) {
    let outbound = Arc::new(Outbound::new(u64::MAX, Transport::Owner, usize::MAX, Arc::default()));
    for sid in 0..count {
        let sink = Sink::Client { outbound: Arc::clone(&outbound), sid: sid.to_string().as_bytes().into() };
        account.interest.insert(Arc::new(Subscription::new(b"a", None, sink, None)));
    }
}

#[test]
fn a_wide_match_is_kept_no_longer_than_a_burst_when_all_publishers_keep_too_much() {
    // Each publisher kept the targets of the last subject, however many, and those of others up to 64 Ki.
    let account = Account::new("A");
    subscribe(&account, 1000);
    let alone = alone();
    let held = take_all(&alone);
    let mut cache = MatchCache::default();
    for _ in 0..3 {
        let at = cache.look_up(b"a", &account, &Rights::default());
        assert_eq!((at, cache.entry(at).plain.len()), (SCRATCH, 1000));
        assert_eq!(cache.look_up(b"a", &account, &Rights::default()), at, "it is good for the burst");
        cache.count(at);
        cache.settle();
        assert!(cache.entries.iter().all(|entry| entry.plain.is_empty()), "targets are kept behind the burst");
    }
    account.interest.for_each_match(b"a", |subscription| assert_eq!(subscription.delivered(), 3));
    drop(held);
    let mut cache = MatchCache::default();
    for expected in [SCRATCH, 1, 1] {
        assert_eq!(cache.look_up(b"a", &account, &Rights::default()), expected);
        cache.look_up(b"b", &account, &Rights::default());
        cache.settle();
    }
}
