//! What look-ups by subject find and keep, with and without room for tables.

use std::path::Path;

use super::super::{AppendClass, Urgency};
use super::*;
use crate::format::record::{RecordHeader, RecordKind};
use crate::io::SimIo;

const GROUP: GroupId = GroupId(5);
const SUBJECTS: u64 = 300;

#[test]
fn a_table_makes_room_only_when_nobody_uses_it() {
    let table = Arc::new(HashTable::with_capacity(1 << 10));
    let bytes = bytes_of(&table);
    let mut tables = Tables { by_span: HashMap::default(), bytes: 0, bytes_max: 2 * bytes, uses: 0 };
    for segment in 1..=2 {
        assert!(tables.make_room(bytes));
        tables.insert((segment, GROUP), table.clone());
    }
    for _ in 0..IDLE_LOOKUPS - 1 {
        assert!(tables.get((2, GROUP)).is_some());
        assert!(!tables.make_room(bytes));
    }
    assert!(tables.get((2, GROUP)).is_some());
    assert!(tables.make_room(bytes) && tables.get((1, GROUP)).is_none() && tables.get((2, GROUP)).is_some());
    assert_eq!(tables.bytes, bytes);
}

#[test]
fn a_table_takes_what_it_is_thought_to() {
    for subjects in [33, 448, 449, 5000, 600_000] {
        let bytes = bytes_of(&HashTable::with_capacity(subjects));
        assert!(bytes.abs_diff(table_bytes(subjects)) <= 64, "{subjects}: {bytes}");
    }
}

/// Several segments, with a message on each subject in each of them.
fn journal(table_bytes_max: usize, filter_bytes_max: usize) -> Journal {
    let options = JournalOptions {
        segment_bytes: Some(64 * 1024),
        first_segment_bytes: 64 * 1024,
        subject_table_bytes_max: table_bytes_max,
        subject_filter_bytes_max: filter_bytes_max,
        manual: true,
        ..JournalOptions::default()
    };
    let opened = Journal::open(Arc::new(SimIo::new()), Path::new("journal"), options, &mut |_| {}).unwrap();
    let journal = opened.journal;
    for sequence in 1..=10 * SUBJECTS {
        let subject = subject(sequence);
        let payload = [7; 60];
        let header = RecordHeader {
            index: sequence,
            term: 1,
            sequence,
            subject_len: subject.len() as u16,
            ..RecordHeader::of_payload(GROUP, RecordKind::Message, payload.len())
        };
        let mut appender = journal.append(AppendClass::Message).unwrap();
        appender.record(&header, &[&subject, &payload]);
        appender.finish(Urgency::Wake);
        if sequence.is_multiple_of(20) {
            journal.drive();
        }
    }
    journal
}

/// Every other one is in all segments, the others in one only.
fn subject(sequence: u64) -> Vec<u8> {
    let (number, round) = (sequence % SUBJECTS, sequence / SUBJECTS);
    let round = if number.is_multiple_of(2) { 0 } else { round };
    format!("k.{number}.{round}").into_bytes()
}

/// Asks for what follows messages all over the stream.
fn sweep(journal: &Journal) {
    for sequence in (1..=10 * SUBJECTS).step_by(7) {
        let subject = subject(sequence);
        let next = (sequence + 1..=10 * SUBJECTS).find(|next| self::subject(*next) == subject);
        assert_eq!(journal.next_of_subject(GROUP, sequence + 1, &subject).unwrap(), next, "{sequence}");
        assert_eq!(journal.previous_of_subject(GROUP, sequence, &subject).unwrap(), Some(sequence));
        assert_eq!(journal.next_of_subject(GROUP, 0, format!("none.{sequence}").as_bytes()).unwrap(), None);
    }
}

fn tables(journal: &Journal) -> Vec<(u32, *const HashTable<u32>)> {
    let tables = journal.shared.subject_numbers.tables.lock();
    let mut listed: Vec<_> = tables.by_span.iter().map(|(key, table)| (key.0, Arc::as_ptr(&table.numbers))).collect();
    listed.sort_unstable();
    listed
}

/// A look-up that went over more segments than there was room for dropped what the next one needed, and all was made anew
/// each time.
#[test]
fn look_ups_over_more_segments_than_there_is_room_for_make_nothing_anew() {
    let journal = journal(3 * table_bytes(SUBJECTS as usize), usize::MAX);
    (0..4).for_each(|_| sweep(&journal));
    let made = tables(&journal);
    assert!((1..=3).contains(&made.len()), "{made:?}");
    (0..4).for_each(|_| sweep(&journal));
    assert_eq!(tables(&journal), made);
}

#[test]
fn without_room_for_tables_or_filters_the_same_is_found() {
    for (table_bytes_max, filter_bytes_max) in [(0, 0), (0, usize::MAX), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
        let journal = journal(table_bytes_max, filter_bytes_max);
        (0..4).for_each(|_| sweep(&journal));
        let filter_bytes = journal.shared.subject_numbers.filter_bytes.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(filter_bytes > 0, filter_bytes_max > 0);
        assert_eq!(tables(&journal).is_empty(), table_bytes_max == 0);
    }
}

#[test]
fn one_look_up_makes_one_filter_or_table_at_most() {
    let journal = journal(usize::MAX, usize::MAX);
    let made = || {
        let directory = journal.shared.directory.read();
        let spans = directory.group(GROUP).unwrap().sealed.iter();
        let filters = spans.filter(|span| span.subject_filter().is_some()).count();
        filters + tables(&journal).len()
    };
    let mut before = 0;
    // Of an odd number: only the last of all segments has it.
    let subject = subject(10 * SUBJECTS - 1);
    for _ in 0..100 {
        assert!(journal.next_of_subject(GROUP, 0, &subject).unwrap().is_some());
        let now = made();
        assert!(now - before <= 1, "{before} {now}");
        before = now;
    }
    assert!(before > 2, "{before}");
}
