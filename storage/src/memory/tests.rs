//! The log against the naive one, and how much memory few old messages hold.

use proptest::prelude::*;

use super::*;
use crate::model;

#[derive(Clone, Debug)]
enum Operation {
    /// Gap before it, lengths of its parts.
    Append(u64, usize, usize, usize),
    Release(usize),
    ReleaseBefore(u64),
    Read(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let payload = prop_oneof![5 => 0..200usize, 2 => 1000..3000usize, 1 => Just(70_000usize)];
    prop_oneof![
        8 => (prop_oneof![4 => Just(1u64), 1 => 1..1000u64], 0..20usize, 0..30usize, payload)
            .prop_map(|(gap, subject, headers, payload)| Operation::Append(gap, subject, headers, payload)),
        5 => any::<usize>().prop_map(Operation::Release),
        1 => (0..2000u64).prop_map(Operation::ReleaseBefore),
        2 => (0..2000u64).prop_map(Operation::Read),
    ]
}

fn part(sequence: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (sequence as usize * 31 + at) as u8).collect()
}

fn append(log: &mut MemoryLog, sequence: u64, sizes: (usize, usize, usize)) {
    let input = MemoryInput {
        sequence,
        time: sequence as i64 - 5,
        index: sequence + 1,
        term: sequence + 2,
        tag: sequence as u8,
        subject: &part(sequence, sizes.0),
        headers: &part(sequence + 1, sizes.1),
        payload: &part(sequence + 2, sizes.2),
    };
    log.append(&input).unwrap();
}

fn check_message(message: &MemoryMessage, sequence: u64, sizes: (usize, usize, usize)) {
    assert_eq!((message.sequence(), message.time()), (sequence, sequence as i64 - 5));
    assert_eq!((message.index(), message.term(), message.tag()), (sequence + 1, sequence + 2, sequence as u8));
    assert_eq!(message.subject(), part(sequence, sizes.0));
    assert_eq!(message.headers(), part(sequence + 1, sizes.1));
    assert_eq!(message.payload(), part(sequence + 2, sizes.2));
    assert_eq!(message.payload_bytes(), message.payload());
}

#[test]
fn log_agrees_with_the_naive_one() {
    model::check(150, prop::collection::vec(operation(), 0..150), |operations| {
        let (mut log, mut naive, mut views) = (MemoryLog::new(), BTreeMap::new(), Vec::new());
        let mut last = 0;
        for operation in operations {
            match operation {
                Operation::Append(gap, subject, headers, payload) => {
                    last += gap;
                    append(&mut log, last, (subject, headers, payload));
                    naive.insert(last, (subject, headers, payload));
                }
                Operation::Release(at) => {
                    let sequence = naive.keys().nth(at % naive.len().max(1)).copied().unwrap_or(at as u64);
                    assert_eq!(log.release(sequence), naive.remove(&sequence).is_some());
                    assert!(!log.release(sequence));
                }
                Operation::ReleaseBefore(first) => {
                    log.release_before(first);
                    naive = naive.split_off(&first);
                }
                Operation::Read(from) => {
                    let wanted = naive.range(from..).next();
                    assert_eq!(log.next(from), wanted.map(|(sequence, _)| *sequence));
                    if let Some((&sequence, &sizes)) = wanted {
                        views.push((log.read(sequence).unwrap(), sequence, sizes));
                    }
                    assert_eq!(log.read(from).is_some(), naive.contains_key(&from));
                    for len in 0..4 {
                        let mut on_it = naive
                            .range(from..)
                            .filter(|(sequence, sizes)| part(**sequence, sizes.0) == part(from, len));
                        assert_eq!(
                            log.next_of_subject(from, &part(from, len)),
                            on_it.next().map(|(sequence, _)| *sequence)
                        );
                        let mut on_it = naive
                            .range(..=from)
                            .filter(|(sequence, sizes)| part(**sequence, sizes.0) == part(from, len));
                        assert_eq!(
                            log.previous_of_subject(from, &part(from, len)),
                            on_it.next_back().map(|(sequence, _)| *sequence)
                        );
                    }
                }
            }
            let size = |sizes: &(usize, usize, usize)| (HEADER_BYTES + sizes.0 + sizes.1 + sizes.2) as u64;
            assert_eq!(log.bytes_live(), naive.values().map(size).sum::<u64>());
            assert_eq!(log.messages(), naive.len() as u64);
        }
        for (&sequence, &sizes) in &naive {
            check_message(&log.read(sequence).unwrap(), sequence, sizes);
        }
        drop(log);
        for (message, sequence, sizes) in views {
            check_message(&message, sequence, sizes);
        }
    });
}

#[test]
fn few_old_messages_hold_little_memory() {
    let mut log = MemoryLog::new();
    for sequence in 1..=50_000 {
        append(&mut log, sequence, (10, 0, 100));
        if sequence % 1000 != 1 {
            log.release(sequence);
        }
    }
    assert_eq!(log.messages(), 50);
    assert!(log.bytes_held() < 50 * 153 + 2 * CHUNK_BYTES_MAX as u64 + 64 * 1024, "{}", log.bytes_held());
    log.release_before(u64::MAX);
    assert_eq!((log.messages(), log.bytes_live()), (0, 0));
    assert!(log.bytes_held() <= CHUNK_BYTES_MIN as u64);
    assert_eq!(log.last_sequence(), 50_000);
}

#[test]
fn sequences_grow() {
    let mut log = MemoryLog::new();
    append(&mut log, 7, (1, 1, 1));
    log.clear();
    let input =
        MemoryInput { sequence: 7, time: 0, index: 0, term: 0, tag: 0, subject: b"a", headers: b"", payload: b"" };
    assert_eq!(log.append(&input), Err(MemoryAppendError::OutOfOrder { sequence: 7, last: 7 }));
    let subject = vec![b'a'; 70_000];
    let input = MemoryInput { sequence: 8, subject: &subject, ..input };
    assert_eq!(log.append(&input), Err(MemoryAppendError::TooLarge));
    assert!(log.read(8).is_none() && log.next(0).is_none());
}
