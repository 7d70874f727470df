//! Reading many messages in order, all of them or by subject.

use headwater_storage::{GroupId, Journal, RecordHeader, RecordKind, SimIo, Urgency};

use crate::support::*;

const GROUP: GroupId = GroupId(5);

fn fill(journal: &Journal, count: u64) {
    for sequence in 1..=count {
        let subject = format!("orders.{}", sequence % 5);
        append_on(journal, 5, sequence, sequence, subject.as_bytes(), &payload(sequence));
        append(journal, 6, sequence, sequence, b"another group's");
        if sequence % 7 == 0 {
            journal.drive();
        }
    }
    append_on(journal, 5, count + 1, count + 1, b"rare", b"rare");
    journal.drive();
}

fn collect(journal: &Journal, from: u64) -> Vec<u64> {
    let mut cursor = journal.scan(GROUP, from);
    let mut found = Vec::new();
    while let Some(record) = cursor.next().unwrap() {
        assert_eq!(record.header.group, GROUP);
        found.push(record.header.sequence);
    }
    found
}

#[test]
fn a_cursor_sees_every_message_in_order() {
    for map_sealed in [true, false] {
        let io = SimIo::new();
        let options = headwater_storage::JournalOptions { map_sealed, tail_bytes_max: 8192, ..manual() };
        let journal = open(&io, options).journal;
        fill(&journal, 1000);
        assert!(journal.stats().segments > 3);
        assert_eq!(collect(&journal, 0), (1..=1001).collect::<Vec<_>>());
        assert_eq!(collect(&journal, 990), (990..=1001).collect::<Vec<_>>());
        assert_eq!(collect(&journal, 1002), []);
        let mut cursor = journal.scan(GROUP, 1001);
        assert_eq!(cursor.next().unwrap().unwrap().payload(), b"rare");
        assert!(cursor.next().unwrap().is_none());
        append(&journal, 5, 1002, 1002, b"more");
        journal.drive();
        assert_eq!(cursor.next_placed().unwrap().unwrap().record().payload(), b"more");
        cursor.seek(5);
        assert_eq!(cursor.next().unwrap().unwrap().payload(), payload(5));
    }
}

#[test]
fn a_filter_finds_its_subjects_only() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    fill(&journal, 1000);
    assert_eq!(journal.next_matching(GROUP, 1, &|subject| subject == b"rare"), Some(1001));
    assert_eq!(journal.next_matching(GROUP, 1, &|subject| subject == b"none"), None);
    assert_eq!(journal.next_matching(GROUP, 12, &|subject| subject == b"orders.1"), Some(16));
    let mut cursor = journal.scan(GROUP, 1);
    let filter = |subject: &[u8]| subject.ends_with(b"3");
    let mut found = Vec::new();
    while let Some(record) = cursor.next_matching(&filter).unwrap() {
        assert!(filter(record.subject()));
        found.push(record.header.sequence);
    }
    assert_eq!(found, (1..=1000).filter(|sequence| sequence % 5 == 3).collect::<Vec<_>>());
    journal.close();
    let journal = open(&io, manual()).journal;
    assert_eq!(journal.next_matching(GROUP, 4, &filter), Some(8));
}

#[test]
fn copies_out_of_order_are_found_in_order() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for sequence in [10, 12, 14] {
        append(&journal, 5, sequence, sequence, b"log");
    }
    for sequence in [13, 3, 7, 12] {
        let mut appender = journal.append(headwater_storage::AppendClass::Message).unwrap();
        let copied = RecordHeader { kind: RecordKind::Copied, ..header(5, 1, 1, sequence, b"s", b"copy") };
        appender.record(&copied, &[b"s", b"copy"]);
        appender.finish(Urgency::Wake);
    }
    journal.drive();
    let check = |journal: &Journal| {
        assert_eq!(collect(journal, 0), [3, 7, 10, 12, 13, 14]);
        assert_eq!(journal.read_message(GROUP, 12).unwrap().payload(), b"copy");
        assert_eq!(journal.read_entry(GROUP, 12).unwrap().payload(), b"log");
        assert_eq!(journal.next_message(GROUP, 4), Some(7));
        assert_eq!(journal.next_message(GROUP, 11), Some(12));
    };
    check(&journal);
    for sequence in 15..600 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        journal.drive();
    }
    assert_eq!(collect(&journal, 0)[..6], [3, 7, 10, 12, 13, 14]);
    journal.close();
    let journal = open(&io, manual()).journal;
    assert_eq!(collect(&journal, 0).len(), 6 + 585);
    assert_eq!(journal.read_message(GROUP, 12).unwrap().payload(), b"copy");
}

/// The lowest sequence at or above each, and the highest at or below, by reading messages.
fn check_of_subject(journal: &Journal, subjects: &[String], last: u64) {
    let mut sequences = vec![Vec::new(); subjects.len()];
    let mut cursor = journal.scan(GROUP, 0);
    while let Some(record) = cursor.next().unwrap() {
        let at = subjects.iter().position(|subject| subject.as_bytes() == record.subject());
        sequences[at.unwrap()].push(record.header.sequence);
    }
    for (subject, sequences) in subjects.iter().zip(sequences) {
        for from in 0..=last + 1 {
            let expected = sequences.iter().find(|sequence| **sequence >= from).copied();
            let found = journal.next_of_subject(GROUP, from, subject.as_bytes()).unwrap();
            assert_eq!(found, expected, "{subject} from {from}");
            let expected = sequences.iter().rfind(|sequence| **sequence <= from).copied();
            let found = journal.previous_of_subject(GROUP, from, subject.as_bytes()).unwrap();
            assert_eq!(found, expected, "{subject} down from {from}");
        }
    }
    assert_eq!(journal.next_of_subject(GROUP, 0, b"none").unwrap(), None);
    assert_eq!(journal.previous_of_subject(GROUP, u64::MAX, b"none").unwrap(), None);
}

#[test]
fn the_next_and_the_previous_message_of_a_subject_are_found_in_every_kind_of_segment() {
    for (map_sealed, count) in [(true, 3), (true, 300), (false, 300)] {
        let subjects: Vec<String> = (0..count).map(|number| format!("key.{number}")).collect();
        let io = SimIo::new();
        let options = headwater_storage::JournalOptions { map_sealed, tail_bytes_max: 8192, ..manual() };
        let journal = open(&io, options.clone()).journal;
        let mut last = 0;
        for nth in 0..1200_u64 {
            // Gaps, and some subjects much more often than others.
            last += 1 + u64::from(nth % 50 == 0);
            let at = if nth % 3 == 0 { 0 } else { nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 };
            let subject = &subjects[at as usize % subjects.len()];
            append_on(&journal, 5, nth + 1, last, subject.as_bytes(), &payload(last));
            append(&journal, 6, nth + 1, nth + 1, b"another group's");
            if nth % 7 == 0 {
                journal.drive();
            }
        }
        journal.drive();
        for sequence in [last + 9, last + 3] {
            let mut appender = journal.append(headwater_storage::AppendClass::Message).unwrap();
            let subject = subjects[1].as_bytes();
            let copied = RecordHeader { kind: RecordKind::Copied, ..header(5, 1, 1, sequence, subject, b"copy") };
            appender.record(&copied, &[subject, b"copy"]);
            appender.finish(Urgency::Wake);
        }
        journal.drive();
        assert!(journal.stats().segments > 3);
        check_of_subject(&journal, &subjects, last + 9);
        journal.close();
        check_of_subject(&open(&io, options).journal, &subjects, last + 9);
    }
}

#[test]
fn neighbours_on_a_subject_are_found_without_reading_any_message() {
    let stored = stored(true);
    let io = stored.io.fork();
    try_open(&io).unwrap().journal.close();
    for (_, _, place, length) in &stored.messages {
        let path = std::path::Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
        let mut content = io.content(&path).unwrap();
        content[place.offset as usize + length - 1] ^= 1;
        io.set_content(&path, content);
    }
    let journal = try_open(&io).unwrap().journal;
    assert!(journal.read_message(GROUP, 2).is_err());
    assert_eq!(journal.next_of_subject(GROUP, 2, b"s.1").unwrap(), Some(4));
    assert_eq!(journal.previous_of_subject(GROUP, 12, b"s.1").unwrap(), Some(10));
}
