//! The subject index against sorted maps of sets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::model;

#[derive(Default)]
struct Naive {
    subjects: BTreeMap<Vec<u8>, BTreeSet<u64>>,
}

impl Naive {
    fn matching<'a>(&'a self, filters: &'a [Vec<u8>]) -> impl Iterator<Item = (&'a Vec<u8>, &'a BTreeSet<u64>)> {
        self.subjects.iter().filter(|(subject, _)| filters.iter().any(|filter| naive_match(filter, subject)))
    }
}

/// Token by token, as the wildcards are explained to people.
fn naive_match(filter: &[u8], subject: &[u8]) -> bool {
    let filter: Vec<&[u8]> = filter.split(|byte| *byte == b'.').collect();
    let subject: Vec<&[u8]> = subject.split(|byte| *byte == b'.').collect();
    for (at, want) in filter.iter().enumerate() {
        if *want == b">" && at + 1 == filter.len() {
            return subject.len() > at && subject[at..].concat().len() + subject.len() - at > 1;
        }
        match subject.get(at) {
            Some(token) if *want == b"*" && !token.is_empty() => {}
            Some(token) if token == want => {}
            _ => return false,
        }
    }
    filter.len() == subject.len()
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Vec<u8>),
    InsertBelow(Vec<u8>, u64),
    /// Removes the n-th message of the n-th subject, with or without an answering lookup.
    Remove(usize, usize, bool),
    Purge(usize),
    Settle(usize),
    Compact,
    Recode,
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab]{1,3}",
        1 => "[a-zA-Z0-9]{1,2}",
        1 => Just("x".repeat(300)),
    ]
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(token(), 1..5).prop_map(|tokens| tokens.join(".").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

fn filter() -> impl Strategy<Value = Vec<u8>> {
    let token =
        prop_oneof![4 => token(), 3 => Just("*".to_owned()), 1 => Just("a*".to_owned()), 1 => Just(">".to_owned())];
    (prop::collection::vec(token, 1..5), any::<bool>()).prop_map(|(mut tokens, tail)| {
        if tail {
            tokens.push(">".to_owned());
        }
        tokens.join(".").into_bytes()
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        30 => subject().prop_map(Operation::Insert),
        3 => (subject(), 0..40u64).prop_map(|(subject, sequence)| Operation::InsertBelow(subject, sequence)),
        20 => (any::<usize>(), any::<usize>(), any::<bool>()).prop_map(|(a, b, c)| Operation::Remove(a, b, c)),
        2 => any::<usize>().prop_map(Operation::Purge),
        4 => any::<usize>().prop_map(Operation::Settle),
        1 => Just(Operation::Compact),
        1 => Just(Operation::Recode),
    ]
}

fn apply(index: &mut SubjectIndex, naive: &mut Naive, sequence: u64, operation: Operation) {
    let pick = |at: usize| naive.subjects.keys().nth(at % naive.subjects.len().max(1)).cloned();
    match operation {
        Operation::Insert(subject) => insert(index, naive, subject, sequence),
        Operation::InsertBelow(subject, sequence) => {
            if !naive.subjects.get(&subject).is_some_and(|set| set.contains(&sequence)) {
                insert(index, naive, subject, sequence);
            }
        }
        Operation::Remove(at, which, answer) => {
            let Some(subject) = pick(at) else { return };
            let set = naive.subjects.get_mut(&subject).unwrap();
            // The ends are the interesting ones.
            let which = [0, set.len() - 1, which % set.len()][which % 3];
            let sequence = *set.iter().nth(which).unwrap();
            set.remove(&sequence);
            let rest = set.clone();
            let left =
                index.remove(&subject, sequence, |from| answer.then(|| rest.range(from..).next().copied()).flatten());
            assert_eq!(left, Some(rest.len() as u64));
            if rest.is_empty() {
                naive.subjects.remove(&subject);
            }
        }
        Operation::Purge(at) => {
            let Some(subject) = pick(at) else { return };
            let set = naive.subjects.remove(&subject).unwrap();
            assert_eq!(index.purge_subject(&subject).map(|state| state.messages), Some(set.len() as u64));
        }
        Operation::Settle(at) => {
            let Some(subject) = pick(at) else { return };
            let set = &naive.subjects[&subject];
            let first = index.settle_first(&subject, |from| set.range(from..).next().copied());
            assert_eq!(first, set.first().copied());
            let last = index.settle_last(&subject, |to| set.range(..=to).next_back().copied());
            assert_eq!(last, set.last().copied());
        }
        Operation::Compact => {
            index.compact();
            assert!(index.bytes_free() < index.bytes_held());
        }
        Operation::Recode => {
            let mut bytes = Vec::new();
            index.encode(&mut bytes);
            *index = SubjectIndex::decode(&bytes).unwrap();
            let mut again = Vec::new();
            index.encode(&mut again);
            assert_eq!(bytes, again);
        }
    }
}

fn insert(index: &mut SubjectIndex, naive: &mut Naive, subject: Vec<u8>, sequence: u64) {
    let state = index.insert(&subject, sequence);
    let set = naive.subjects.entry(subject).or_default();
    set.insert(sequence);
    assert_eq!(state.messages, set.len() as u64);
}

fn check_state(state: &SubjectState, set: &BTreeSet<u64>) {
    let (first, last) = (*set.first().unwrap(), *set.last().unwrap());
    assert_eq!(state.messages, set.len() as u64);
    assert!(if state.first_exact { state.first == first } else { state.first <= first }, "{state:?} {set:?}");
    assert!(if state.last_exact { state.last == last } else { state.last >= last }, "{state:?} {set:?}");
}

fn check_queries(index: &SubjectIndex, naive: &Naive, filters: &[Vec<u8>], from: u64, offset: u64) {
    let mut seen = Vec::new();
    index.for_each_match_of(filters, 0, |subject, state| {
        check_state(state, &naive.subjects[subject]);
        seen.push(subject.to_vec());
        ControlFlow::Continue(())
    });
    let wanted: Vec<Vec<u8>> = naive.matching(filters).map(|(subject, _)| subject.clone()).collect();
    assert_eq!(seen, wanted);

    let mut page = Vec::new();
    index.for_each_match_of(filters, offset, |subject, _| {
        page.push(subject.to_vec());
        if page.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let wanted: Vec<Vec<u8>> = wanted.into_iter().skip(offset as usize).take(3).collect();
    assert_eq!(page, wanted);

    let messages: usize = naive.matching(filters).map(|(_, set)| set.len()).sum();
    let subjects = naive.matching(filters).count();
    assert_eq!(index.count_matching_of(filters), (subjects as u64, messages as u64));

    let first = naive.matching(filters).filter_map(|(_, set)| set.range(from..).next()).min().copied();
    match (index.first_matching(filters, from), first) {
        (Some(bound), Some(first)) if bound.exact => assert_eq!(bound.sequence, first),
        (Some(bound), Some(first)) => assert!(bound.sequence <= first && bound.sequence >= from),
        (Some(bound), None) => assert!(!bound.exact),
        (None, first) => assert_eq!(first, None),
    }
    let last = naive.matching(filters).filter_map(|(_, set)| set.last()).max().copied();
    match (index.last_matching(filters), last) {
        (Some(bound), Some(last)) if bound.exact => assert_eq!(bound.sequence, last),
        (Some(bound), Some(last)) => assert!(bound.sequence >= last),
        (bound, last) => assert_eq!((bound, last), (None, None)),
    }
}

#[test]
fn index_agrees_with_the_naive_one() {
    let operations = prop::collection::vec(operation(), 0..120);
    let queries = prop::collection::vec((prop::collection::vec(filter(), 1..4), 0..150u64, 0..8u64), 6);
    model::check(150, (operations, queries), |(operations, queries)| {
        let (mut index, mut naive) = (SubjectIndex::new(), Naive::default());
        for (at, operation) in operations.into_iter().enumerate() {
            apply(&mut index, &mut naive, 40 + at as u64, operation);
            assert_eq!(index.len(), naive.subjects.len() as u64);
            assert_eq!(index.total(), naive.subjects.values().map(|set| set.len() as u64).sum::<u64>());
            assert_eq!(index.is_empty(), naive.subjects.is_empty());
        }
        let mut all = 0;
        index.for_each(|subject, state| {
            check_state(state, &naive.subjects[subject]);
            assert_eq!(index.get(subject), Some(*state));
            all += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(all, naive.subjects.len());
        for (filters, from, offset) in queries {
            check_queries(&index, &naive, &filters, from, offset);
        }
        let (mut sum, mut fresh_sum, mut fresh) = (0, 0, SubjectIndex::new());
        for (subject, set) in naive.subjects.iter().rev() {
            for sequence in set {
                fresh.insert(subject, *sequence);
            }
        }
        index.hash_into(&mut sum);
        fresh.hash_into(&mut fresh_sum);
        assert_eq!(sum, fresh_sum);
    });
}

#[test]
fn decode_never_panics_on_arbitrary_bytes() {
    model::check(500, prop::collection::vec(any::<u8>(), 0..200), |mut bytes| {
        let _ = SubjectIndex::decode(&bytes);
        bytes.insert(0, 1);
        let _ = SubjectIndex::decode(&bytes);
    });
}

#[test]
fn decode_survives_any_damage_to_a_real_index() {
    let mut index = SubjectIndex::new();
    for n in 0..50u64 {
        index.insert(format!("orders.{}.created", n * 7).as_bytes(), n + 1);
        index.insert(b"orders.0.created", 100 + n);
    }
    let mut bytes = Vec::new();
    index.encode(&mut bytes);
    for end in 0..bytes.len() {
        assert!(SubjectIndex::decode(&bytes[..end]).is_err());
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(decoded) = SubjectIndex::decode(&damaged) {
                decoded.for_each(|subject, state| {
                    assert_eq!(decoded.get(subject), Some(*state));
                    ControlFlow::Continue(())
                });
            }
        }
    }
}

#[test]
fn a_wrong_count_allocates_nothing() {
    let bytes = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(SubjectIndex::decode(&bytes).err(), Some(SubjectsDecodeError::Malformed));
    assert_eq!(SubjectIndex::decode(&[2, 0]).err(), Some(SubjectsDecodeError::Version(2)));
    assert_eq!(SubjectIndex::decode(&[1, 0, 0]).err(), Some(SubjectsDecodeError::Trailing));
}

#[test]
fn deep_and_long_subjects_need_no_call_stack() {
    let mut index = SubjectIndex::new();
    let longest = "a.".repeat(SUBJECT_BYTES_MAX / 2) + "a";
    let deep = &longest[..4001];
    // Every prefix that ends a token: a tree as deep as the subject has tokens.
    for (n, end) in (1..=deep.len()).step_by(2).enumerate() {
        index.insert(&deep.as_bytes()[..end], n as u64 + 1);
    }
    index.insert(longest.as_bytes(), 5000);
    assert_eq!(index.count_matching(b"a.a.>"), (2000, 2000));
    assert_eq!(index.count_matching(longest.as_bytes()), (1, 1));
    let mut bytes = Vec::new();
    index.encode(&mut bytes);
    let mut index = SubjectIndex::decode(&bytes).unwrap();
    for end in (1..=deep.len()).step_by(2) {
        assert!(index.purge_subject(&deep.as_bytes()[..end]).is_some());
    }
    assert_eq!(index.remove(longest.as_bytes(), 5000, |_| None), Some(0));
    assert!(index.is_empty());
    assert_eq!(index.purge_subject(b"a"), None);
}

#[test]
fn a_subject_with_one_message_allowed_never_asks() {
    let mut index = SubjectIndex::new();
    for sequence in 1..100 {
        let state = index.insert(b"key", sequence);
        if state.messages > 1 {
            let left = index.remove(b"key", state.first, |_| panic!("the answer follows from what is known"));
            assert_eq!(left, Some(1));
        }
        assert_eq!(index.get(b"key"), Some(SubjectState::single(sequence)));
    }
}

#[test]
fn removal_out_of_bounds_changes_nothing() {
    let mut index = SubjectIndex::new();
    index.insert(b"a.b", 5);
    assert_eq!(index.remove(b"a.b", 4, |_| None), None);
    assert_eq!(index.remove(b"a.b", 6, |_| None), None);
    assert_eq!(index.remove(b"a", 5, |_| None), None);
    assert_eq!(index.remove(b"a.b.c", 5, |_| None), None);
    assert_eq!(index.total(), 1);
    assert_eq!(index.remove(b"a.b", 5, |_| None), Some(0));
    assert!(index.is_empty());
}

#[test]
fn an_emptied_index_uses_its_room_again() {
    fn fill(index: &mut SubjectIndex) {
        for n in 1..2000u64 {
            index.insert(format!("s.{n}").as_bytes(), n);
        }
    }
    fn drain(index: &mut SubjectIndex) {
        for n in 1..2000u64 {
            index.remove(format!("s.{n}").as_bytes(), n, |_| None);
        }
    }
    let mut index = SubjectIndex::new();
    index.insert(b"s.0", 0);
    let mut held = 0;
    for round in 0..8 {
        fill(&mut index);
        drain(&mut index);
        if round == 2 {
            held = index.bytes_held();
        }
    }
    assert_eq!(index.bytes_held(), held);
    fill(&mut index);
    index.purge_subject(b"s.0");
    drain(&mut index);
    assert!(index.is_empty());
    assert_eq!(index.bytes_free(), 0);
}

/// What is on disks must stay readable: a change here needs a new version.
#[test]
fn golden_index() {
    let mut index = SubjectIndex::new();
    for (subject, sequence) in [("a.b", 5), ("a.cd", 7), ("a.b", 9)] {
        index.insert(subject.as_bytes(), sequence);
    }
    let mut bytes = Vec::new();
    index.encode(&mut bytes);
    let (first, second) = ([0, 3, b'a', b'.', b'b', 2 << 2, 5, 4], [2, 2, b'c', b'd', 1 << 2, 7, 0]);
    assert_eq!(bytes, [&[1, 2][..], &first, &second].concat());
}
