//! Questions, against answers found by looking at every message.

use proptest::prelude::*;

use super::harness::{Harness, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::StorageType;
use crate::protocol::subject;

#[test]
fn subjects_are_told_in_pages() {
    let mut harness = Harness::new(config());
    for subject in ["s.b", "s.a", "s.c", "s.a", "t"] {
        harness.put(subject);
    }
    let page = harness.machine.subjects_page(b"s.*", 0);
    assert_eq!((page.total, page.subjects.len(), page.subjects["s.a"]), (3, 3, 2));
    let page = harness.machine.subjects_page(b"s.*", 2);
    assert_eq!((page.total, page.subjects.into_keys().collect()), (3, vec!["s.c".to_owned()]));
    assert_eq!(harness.machine.subjects_page(b"s.*", 20).subjects.len(), 0);
    assert_eq!(harness.machine.subjects_page(b"x", 0).total, 0);
    let state = harness.machine.state(&harness.store, false, 7);
    assert_eq!((state.num_subjects, state.consumer_count), (4, 7));
    assert_eq!(state.last_ts.0, harness.store.messages[&5].time);
    assert_eq!(state.first_ts.0, harness.store.messages[&1].time);
}

#[test]
fn a_star_after_letters_finds_longer_tokens_in_file_streams_only() {
    let found = |storage, filter: &str| {
        let mut harness = Harness::new(StreamConfig { storage, ..config() });
        for subject in ["s.ab", "s.ac", "s.a*", "s.b.c", "s.b.cd", "s.b", "s.a"] {
            harness.put(subject);
        }
        let page = harness.machine.subjects_page(filter.as_bytes(), 0);
        assert_eq!(page.total, page.subjects.len() as u64);
        page.subjects.into_keys().collect::<Vec<String>>().join(" ")
    };
    assert_eq!(found(StorageType::File, "s.a*"), "s.a* s.ab s.ac");
    assert_eq!(found(StorageType::File, "s.b.c*"), "s.b.cd");
    assert_eq!(found(StorageType::File, "s.b*"), "");
    assert_eq!(found(StorageType::File, "s*"), "");
    assert_eq!(found(StorageType::Memory, "s.a*"), "s.a*");
    assert_eq!(found(StorageType::File, ""), "");
}

#[test]
fn an_untouched_stream_shows_zeros() {
    let harness = Harness::new(config());
    let state = harness.machine.state(&harness.store, true, 0);
    assert_eq!((state.first_seq, state.last_seq), (0, 0));
    assert!(state.first_ts.is_zero() && state.last_ts.is_zero());
    let harness = Harness::new(StreamConfig { first_seq: 10, ..config() });
    let state = harness.machine.state(&harness.store, true, 0);
    assert_eq!((state.first_seq, state.last_seq), (10, 9));
}

#[test]
fn times_are_found_over_gaps() {
    let mut harness = Harness::new(config());
    let mut times = Vec::new();
    for _ in 0..20 {
        harness.now += 100;
        harness.put("s.a");
        times.push(harness.store.messages.values().last().unwrap().time);
    }
    for sequence in 5..=15 {
        harness.delete(sequence);
    }
    harness.delete(20);
    let at = |harness: &Harness, time| harness.machine.sequence_at_time(time, &harness.store);
    assert_eq!(at(&harness, 0), 1);
    assert_eq!(at(&harness, times[3]), 4);
    assert_eq!(at(&harness, times[3] + 1), 16);
    assert_eq!(at(&harness, times[18]), 19);
    assert_eq!(at(&harness, times[18] + 1), 21);
    harness.store.damaged.extend([16, 17]);
    assert_eq!(at(&harness, times[15]), 16);
    harness.purge("", 0, 0);
    assert_eq!(at(&harness, 0), 21);
}

#[test]
fn too_many_subjects_are_refused() {
    let mut harness = Harness::new(config());
    for subject in ["s.a", "s.b", "s.c"] {
        harness.put(subject);
    }
    let last = |max| harness.machine.last_per_subject(&["s.*"], u64::MAX, max, &harness.store);
    assert!(last(2).is_err());
    assert_eq!(last(3), Ok(vec![1, 2, 3]));
    assert_eq!(harness.machine.last_per_subject(&["s.*"], 2, 2, &harness.store), Ok(vec![1, 2]));
}

/// A batch of direct gets says how many follow: half of the stream was read for that, and for the next one of a rare
/// subject all that lay between.
#[test]
fn messages_of_one_subject_and_of_all_are_counted_and_found_without_reading() {
    let mut harness = Harness::new(config());
    for nth in 0..2000 {
        harness.put(&format!("s.{}", nth % 20));
    }
    for _ in 0..3 {
        harness.put("s.rare");
        (0..1000).for_each(|_| _ = harness.put("s.7"));
    }
    let count = |harness: &Harness, from: u64, filter: &str| {
        harness.store.reads.set(0);
        harness.machine.count_matching(from, &[filter], &harness.store)
    };
    let expected = [("s.7", 3050, 3095), ("s.rare", 3, 3), (">", 4003, 4904), ("s.*", 4003, 4904)];
    for (filter, above, of_most) in expected {
        assert_eq!(count(&harness, 1001, filter), above, "{filter}");
        assert_eq!((count(&harness, 100, filter), harness.store.reads.get()), (of_most, 0), "{filter}");
    }
    let next = harness.machine.next_matching(2003, &["s.rare"], &harness.store);
    assert_eq!(next, Some(3002));
    assert!(harness.store.reads.get() < 100, "{}", harness.store.reads.get());
    // Where messages must be looked at, that is done in order.
    harness.store.single_reads.set(0);
    assert_eq!(count(&harness, 1001, "*.7"), 3050);
    assert!(harness.store.reads.get() > 0 && harness.store.single_reads.get() == 0);
}

fn subjects() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["s.a", "s.b", "s.a.x", "s.b.x", "s.c.y", "t"]).prop_map(str::to_owned)
}

fn filters() -> impl Strategy<Value = Vec<String>> {
    let one = prop::sample::select(vec!["s.a", "s.*", "s.>", "*.*.x", "t", "nobody", ">"]).prop_map(str::to_owned);
    prop::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn answers_agree_with_looking_at_every_message(
        published in prop::collection::vec(subjects(), 1..120),
        deleted in prop::collection::vec(1..120_u64, 0..60),
        filters in filters(),
        from in 0..130_u64,
    ) {
        let mut harness = Harness::new(config());
        for subject in &published {
            harness.put(subject);
        }
        for sequence in &deleted {
            harness.delete(*sequence);
        }
        let matches = |sequence: &u64| {
            let literal = &harness.store.messages[sequence].subject;
            filters.is_empty() || filters.iter().any(|filter| subject::matches(filter.as_bytes(), literal))
        };
        let matching: Vec<u64> = harness.sequences().into_iter().filter(matches).collect();
        let (machine, store) = (&harness.machine, &harness.store);
        let above: Vec<u64> = matching.iter().copied().filter(|sequence| *sequence >= from).collect();
        prop_assert_eq!(machine.next_matching(from, &filters, store), above.first().copied());
        prop_assert_eq!(machine.last_matching(&filters, store), matching.last().copied());
        prop_assert_eq!(machine.count_matching(from, &filters, store), above.len() as u64);
        let mut last: std::collections::BTreeMap<&[u8], u64> = std::collections::BTreeMap::new();
        for sequence in matching.iter().filter(|sequence| **sequence <= from) {
            last.insert(&store.messages[sequence].subject, *sequence);
        }
        let mut last: Vec<u64> = last.into_values().collect();
        last.sort_unstable();
        prop_assert_eq!(machine.last_per_subject(&filters, from, 100, store), Ok(last));
    }
}
