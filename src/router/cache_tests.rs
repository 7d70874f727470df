//! What a cache keeps.

use super::super::keeping::OWN_BYTES_MAX;
use super::super::keeping::tests::{alone, take_all};
use super::*;
use crate::account::Transport;

fn subscribe(account: &Account, queue: Option<&[u8]>, count: usize) {
    let outbound = Arc::new(Outbound::new(u64::MAX, Transport::Owner, usize::MAX, Arc::default()));
    for sid in 0..count {
        let sink = Sink::Client { outbound: Arc::clone(&outbound), sid: sid.to_string().as_bytes().into() };
        account.interest.insert(Arc::new(Subscription::new(b"a.>", queue, sink, None)));
    }
}

/// Looks 500 subjects of a length up, twice each, as who publishes them again and again does.
fn look_many_up(cache: &mut MatchCache, account: &Account, subject_bytes: usize) {
    for round in 0..2 * 250 {
        for half in ["x", "y"] {
            let mut subject = format!("a.{half}{}.", round / 2).into_bytes();
            subject.resize(subject_bytes, b'z');
            cache.look_up(&subject, account, &Rights::default());
            cache.settle();
        }
    }
}

/// What the kept entries take, reckoned from the outside.
fn kept_bytes(cache: &MatchCache) -> usize {
    let targets = |entry: &Entry| entry.plain.len() + entry.groups.iter().map(Vec::len).sum::<usize>();
    cache.entries[1..].iter().map(|entry| entry.head.len() + targets(entry) * size_of::<Target>()).sum()
}

#[test]
fn a_wide_match_is_kept_no_longer_than_a_burst_when_all_publishers_keep_too_much() {
    // Each publisher kept the targets of the last subject, however many, and those of others up to 64 Ki.
    let account = Account::new("A");
    subscribe(&account, None, 1000);
    let alone = alone();
    let held = take_all(&alone);
    let mut cache = MatchCache::default();
    for _ in 0..3 {
        let at = cache.look_up(b"a.b", &account, &Rights::default());
        assert_eq!((at, cache.entry(at).plain.len()), (SCRATCH, 1000));
        assert_eq!(cache.look_up(b"a.b", &account, &Rights::default()), at, "it is good for the burst");
        cache.count(at);
        cache.settle();
        assert!(cache.entries.iter().all(|entry| entry.plain.is_empty()), "targets are kept behind the burst");
    }
    account.interest.for_each_match(b"a.b", |subscription| assert_eq!(subscription.delivered(), 3));
    drop(held);
    let mut cache = MatchCache::default();
    for expected in [SCRATCH, 1, 1] {
        assert_eq!(cache.look_up(b"a.b", &account, &Rights::default()), expected);
        cache.look_up(b"b", &account, &Rights::default());
        cache.settle();
    }
}

#[test]
fn a_cache_is_bounded_by_the_bytes_of_its_subjects_and_targets() {
    // Each target had a copy of the subject, and only targets were counted: 500 long subjects of a group took 127 MB.
    let account = Account::new("A");
    subscribe(&account, Some(b"workers"), 63);
    let _alone = alone();
    let mut cache = MatchCache::default();
    look_many_up(&mut cache, &account, 40);
    // A few share their place among the subjects seen once with their neighbour.
    assert!(cache.entries.len() > 400, "subjects of a common length are kept");
    assert!(kept_bytes(&cache) < 500 * 63 * 70, "{} bytes", kept_bytes(&cache));
    look_many_up(&mut cache, &account, 20_000);
    assert!(cache.entries.len() > 1 && kept_bytes(&cache) <= BYTES_MAX, "{} bytes", kept_bytes(&cache));
}

#[test]
fn narrow_matches_count_against_what_all_publishers_keep() {
    let account = Account::new("A");
    subscribe(&account, Some(b"workers"), 63);
    let alone = alone();
    let held = take_all(&alone);
    let mut cache = MatchCache::default();
    look_many_up(&mut cache, &account, 40);
    assert!(kept_bytes(&cache) <= OWN_BYTES_MAX, "{} bytes", kept_bytes(&cache));
    assert!(cache.entries.len() > 1, "the first few are kept in any case");
    drop(held);
    let mut cache = MatchCache::default();
    look_many_up(&mut cache, &account, 40);
    assert!(kept_bytes(&cache) > 100 * OWN_BYTES_MAX, "others are kept as long as all publishers keep little");
}
