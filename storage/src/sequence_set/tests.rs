//! The set against the naive one, its forms, and its codec against damage.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::codec::{VERSION_BITMAP, VERSION_RUNS};
use super::*;
use crate::model;

#[derive(Clone, Debug)]
enum Operation {
    Insert(u64),
    Range(u64, u64),
    RemoveBelow(u64),
    /// Every other of many: makes a bitmap.
    Scatter(u64),
    Recode,
}

fn operation() -> impl Strategy<Value = Operation> {
    let sequence = || prop_oneof![5 => 0..2000u64, 1 => 65_000..66_000u64, 1 => (1u64 << 32) - 50..(1 << 32) + 50];
    prop_oneof![
        20 => sequence().prop_map(Operation::Insert),
        5 => (sequence(), 0..100u64).prop_map(|(first, span)| Operation::Range(first, first + span)),
        2 => sequence().prop_map(Operation::RemoveBelow),
        1 => sequence().prop_map(Operation::Scatter),
        2 => Just(Operation::Recode),
    ]
}

fn apply(set: &mut SequenceSet, naive: &mut BTreeSet<u64>, operation: Operation) {
    match operation {
        Operation::Insert(sequence) => assert_eq!(set.insert(sequence), naive.insert(sequence)),
        Operation::Range(first, last) => {
            let added = (first..=last).filter(|sequence| naive.insert(*sequence)).count();
            assert_eq!(set.insert_range(first..=last), added as u64);
        }
        Operation::RemoveBelow(first) => {
            set.remove_below(first);
            *naive = naive.split_off(&first);
        }
        Operation::Scatter(first) => {
            for sequence in (first..first + 1400).step_by(2) {
                assert_eq!(set.insert(sequence), naive.insert(sequence));
            }
        }
        Operation::Recode => {
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            let decoded = SequenceSet::decode(&bytes).unwrap();
            assert_eq!(&decoded, set);
            *set = decoded;
        }
    }
}

#[test]
fn set_agrees_with_the_naive_one() {
    let operations = prop::collection::vec(operation(), 0..60);
    let probes = prop::collection::vec((0..3500u64, 0..3000u64), 20);
    model::check(200, (operations, probes), |(operations, probes)| {
        let (mut set, mut naive) = (SequenceSet::new(), BTreeSet::new());
        for operation in operations {
            apply(&mut set, &mut naive, operation);
            assert_eq!(set.len(), naive.len() as u64);
        }
        assert!(set.iter().eq(naive.iter().copied()));
        let mut end = None;
        for run in set.runs() {
            assert!(end.is_none_or(|end| end + 1 < *run.start()), "runs are as long as can be");
            end = Some(*run.end());
        }
        for (base, more) in probes {
            for from in [base, base + 63_000, base + (1 << 32) - 1000] {
                assert_eq!(set.contains(from), naive.contains(&from));
                assert_eq!(set.next_absent(from), (from..).find(|sequence| !naive.contains(sequence)));
                let count = naive.range(from..=from + more).count() as u64;
                assert_eq!(set.count_in(from..=from + more), count);
            }
        }
    });
}

#[test]
fn the_smaller_form_is_taken() {
    let mut scattered = SequenceSet::new();
    (0..100_000).for_each(|n| assert!(scattered.insert(n * 2)));
    assert!(matches!(scattered.form, Form::Bitmap(_)));
    assert!(scattered.bytes_held() < 100_000 / 3, "{}", scattered.bytes_held());
    let mut sparse = SequenceSet::new();
    (0..2000).for_each(|n| assert!(sparse.insert_range(n << 32..=(n << 32) + (1 << 31)) > 0));
    assert!(matches!(sparse.form, Form::Runs(_)));
    assert!(sparse.bytes_held() < 50_000);
    // The survivors of a key-value bucket: a bitmap at first, runs once they are few.
    let mut bucket = SequenceSet::new();
    for n in 0..3_000_000u64 {
        if n % 100_000 != 7 && n.wrapping_mul(0x9e37_79b9) % 100 < 99 {
            bucket.insert(n);
        }
    }
    for n in (0..3_000_000).filter(|n| n % 100_000 != 7) {
        bucket.insert(n);
    }
    bucket.reform();
    assert!(bucket.bytes_held() < 3_000_000 / 8 / 2, "{}", bucket.bytes_held());
}

/// What is on disks must stay readable: a change here needs a new version.
#[test]
fn golden_runs_and_bitmap() {
    let mut set = SequenceSet::new();
    for number in [3, 4, 5, 10] {
        set.insert(number);
    }
    let mut bytes = Vec::new();
    set.encode(&mut bytes);
    assert_eq!(bytes, [VERSION_RUNS, 2, 3, 2, 4, 0], "how many, then gap and length less one");
    let mut scattered = SequenceSet::new();
    (0..100_000).step_by(2).for_each(|number| {
        scattered.insert(number);
    });
    bytes.clear();
    scattered.encode(&mut bytes);
    // One 32-bit bitmap, of the upper half 0.
    assert_eq!(bytes[..13], [VERSION_BITMAP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_ends_of_the_numbers_are_members_like_others() {
    let mut set = SequenceSet::new();
    assert!(set.insert(u64::MAX) && set.insert(0));
    assert_eq!(set.next_absent(u64::MAX), None);
    assert_eq!(set.insert_range(1..=u64::MAX - 2), u64::MAX - 2);
    assert_eq!(set.next_absent(0), Some(u64::MAX - 1));
    assert_eq!(set.count_in(0..=u64::MAX), u64::MAX);
    let mut bytes = Vec::new();
    set.encode(&mut bytes);
    assert_eq!(SequenceSet::decode(&bytes), Ok(set.clone()));
    set.remove_below(u64::MAX);
    assert_eq!(set.iter().collect::<Vec<_>>(), [u64::MAX]);
}

#[test]
fn decode_never_panics_on_arbitrary_bytes() {
    model::check(2000, prop::collection::vec(any::<u8>(), 0..80), |mut bytes| {
        for version in [VERSION_RUNS, VERSION_BITMAP] {
            bytes.insert(0, version);
            if let Ok(set) = SequenceSet::decode(&bytes) {
                assert_eq!(set.is_empty(), set.runs().next().is_none());
            }
            bytes.remove(0);
        }
        let _ = SequenceSet::decode(&bytes);
    });
}

#[test]
fn decode_survives_damage_to_a_real_bitmap() {
    let mut set = SequenceSet::new();
    (0..20_000u64).for_each(|n| assert!(set.insert(n * 2)));
    (100_000..110_000u64).filter(|n| n % 7 != 0).for_each(|n| assert!(set.insert(n)));
    let mut bytes = Vec::new();
    set.encode(&mut bytes);
    assert_eq!(bytes[0], VERSION_BITMAP);
    model::check(200, (0..bytes.len(), 0..8u8, any::<bool>()), |(at, bit, cut)| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        if cut {
            damaged.truncate(at);
        }
        if let Ok(decoded) = SequenceSet::decode(&damaged) {
            assert_eq!(decoded.iter().count() as u64, decoded.len());
        }
    });
}
