//! Append, read, complete, close, open again.

use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::{
    AppendClass, AppendError, GroupId, Journal, JournalOptions, ReadError, RealIo, SimIo, Urgency,
};

use crate::support::*;

const GROUP: GroupId = GroupId(5);

fn replayed(journal: &Journal) -> Vec<(u64, u64)> {
    let mut entries = Vec::new();
    journal.replay(&mut |_| {}, &mut |_, record| entries.push((record.header.group.0, record.header.index))).unwrap();
    entries
}

#[test]
fn records_are_readable_before_and_after_they_are_durable() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    append(&journal, 5, 1, 1, b"one");
    assert_eq!(journal.read_message(GROUP, 1).unwrap().payload(), b"one");
    assert_eq!(watch.durable_index(GROUP), 0);
    journal.drive();
    assert_eq!(watch.durable_index(GROUP), 1);
    let record = journal.read_message(GROUP, 1).unwrap();
    assert_eq!((record.subject(), record.headers(), record.payload()), (&b"orders.new"[..], &b""[..], &b"one"[..]));
    assert_eq!(journal.read_entry(GROUP, 1).unwrap().payload_bytes(), "one");
    assert!(matches!(journal.read_message(GROUP, 2), Err(ReadError::NotFound)));
    assert!(matches!(journal.read_message(GroupId(6), 1), Err(ReadError::NotFound)));
}

#[test]
fn a_journal_is_read_back_after_close_and_after_a_crash() {
    for crash in [false, true] {
        let io = SimIo::new();
        let opened = open(&io, manual());
        assert!(opened.report.clean && opened.groups.is_empty());
        let journal = opened.journal;
        for sequence in 1..=500 {
            append(&journal, 5, sequence, sequence, &payload(sequence));
            if sequence % 10 == 0 {
                journal.drive();
            }
        }
        append_state(&journal, 5, b"state");
        append_checkpoint(&journal, 5, 450, b"checkpoint");
        journal.drive();
        if crash {
            journal.abort();
            io.crash(1);
        } else {
            journal.close();
        }
        let opened = open(&io, manual());
        assert_eq!(opened.report.damages, []);
        assert_eq!(opened.report.clean, !crash);
        let group = &opened.groups[0];
        assert_eq!((group.first_index, group.last_index, group.last_term), (1, 500, 1));
        assert_eq!(group.state.as_deref(), Some(&b"state"[..]));
        assert_eq!(group.checkpoint.as_ref().unwrap().body, "checkpoint");
        assert_eq!(replayed(&opened.journal), (451..=500).map(|index| (5, index)).collect::<Vec<_>>());
        for sequence in 1..=500 {
            assert_eq!(opened.journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence));
        }
        assert!(opened.report.segments > 1);
        // Sealed segments are not scanned again.
        opened.journal.drive();
        opened.journal.close();
        assert!(open(&io, manual()).report.segments_scanned <= 1);
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for index in 1..=400 {
        append(&journal, 5, index, index, b"old and long enough to fill more than one segment of the journal, I hope");
        journal.drive();
    }
    for (index, sequence) in [(100, 100), (101, 0), (102, 101)] {
        append(&journal, 5, index, sequence, b"new");
    }
    journal.drive();
    let check = |journal: &Journal| {
        assert_eq!(journal.read_message(GROUP, 99).unwrap().payload()[..3], *b"old");
        assert_eq!(journal.read_message(GROUP, 101).unwrap().header.index, 102);
        assert_eq!(journal.read_entry(GROUP, 101).unwrap().header.sequence, 0);
        assert!(journal.read_entry(GROUP, 103).is_err());
        assert!(journal.read_message(GROUP, 102).is_err());
        assert_eq!(journal.next_message(GROUP, 101), Some(101));
        assert_eq!(journal.next_message(GROUP, 102), None);
        assert_eq!(replayed(journal).len(), 102);
    };
    check(&journal);
    journal.close();
    let opened = open(&io, manual());
    assert_eq!((opened.groups[0].first_index, opened.groups[0].last_index), (1, 102));
    check(&opened.journal);
}

#[test]
fn real_files_and_threads() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: Some(256 * 1024), ..JournalOptions::default() };
    let start = || {
        let io = Arc::new(RealIo::probe(directory.path()).unwrap());
        Journal::open(io, &directory.path().join("journal"), options.clone(), &mut |_| {}).unwrap()
    };
    let journal = start().journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    for sequence in 1..=5000 {
        loop {
            match journal.append(AppendClass::Message) {
                Ok(mut appender) => {
                    let body = payload(sequence);
                    appender.record(&header(5, sequence, 1, sequence, b"a", &body), &[b"a", &body]);
                    appender.finish(Urgency::EndOfTurn);
                    break;
                }
                Err(AppendError::Busy) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        if sequence % 16 == 0 {
            journal.wake();
        }
    }
    journal.wake();
    watch.wait(GROUP, 5000);
    for sequence in 1..=5000 {
        assert_eq!(journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence));
    }
    journal.close();
    let opened = start();
    assert!(opened.report.clean && opened.report.damages.is_empty(), "{:?}", opened.report);
    assert_eq!(opened.groups[0].last_index, 5000);
    for sequence in 1..=5000 {
        assert_eq!(opened.journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence));
    }
    assert_eq!(replayed(&opened.journal).len(), 5000);
}

#[test]
fn a_directory_is_open_only_once() {
    let io = SimIo::new();
    let first = open(&io, manual());
    let second = Journal::open(Arc::new(io.clone()), DIRECTORY.as_ref(), manual(), &mut |_| {});
    assert!(matches!(second, Err(headwater_storage::OpenError::Locked { .. })));
    first.journal.close();
    open(&io, manual());
}

#[test]
fn a_large_record_gets_a_segment_of_its_own() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let large = vec![7; 300 * 1024];
    append(&journal, 5, 1, 1, b"small");
    append(&journal, 5, 2, 2, &large);
    append(&journal, 5, 3, 3, b"small");
    journal.drive();
    journal.close();
    let journal = open(&io, manual()).journal;
    assert_eq!(journal.read_message(GROUP, 2).unwrap().payload(), large);
    assert_eq!(journal.read_message(GROUP, 3).unwrap().payload(), b"small");
}

#[test]
fn a_checkpoint_in_parts_is_put_together() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let body: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    append_checkpoint(&journal, 5, 10, b"older");
    append_checkpoint(&journal, 5, 20, &body);
    journal.drive();
    journal.close();
    let opened = open(&io, manual());
    let checkpoint = opened.groups[0].checkpoint.clone().unwrap();
    assert_eq!((checkpoint.index, checkpoint.body.as_ref()), (20, &body[..]));
    assert_eq!((opened.groups[0].first_index, opened.groups[0].last_index), (21, 20));
}

#[test]
fn a_snapshot_with_another_term_voids_the_log_behind_it() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    for index in 1..=20 {
        append(&journal, 5, index, index, b"of term 1");
    }
    journal.drive();
    let mut appender = journal.append(AppendClass::Control).unwrap();
    appender.checkpoint(GROUP, 10, 2, Bytes::from_static(b"a snapshot of term 2"));
    appender.finish(Urgency::Wake);
    journal.drive();
    assert!(journal.read_entry(GROUP, 11).is_err());
    journal.close();
    let opened = open(&io, manual());
    assert_eq!((opened.groups[0].last_index, opened.report.damages.len()), (10, 0));
    assert_eq!(replayed(&opened.journal), []);
}

#[test]
fn lazy_records_go_out_by_themselves_and_syncs_may_come_later() {
    let directory = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: Some(256 * 1024),
        sync_interval: Some(std::time::Duration::from_millis(5)),
        ..JournalOptions::default()
    };
    let io = Arc::new(RealIo::probe(directory.path()).unwrap());
    let path = directory.path().join("journal");
    let journal = Journal::open(io.clone(), &path, options.clone(), &mut |_| {}).unwrap().journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    for index in 1..=2000 {
        let mut appender = journal.append(AppendClass::Message).unwrap();
        let body = payload(index);
        appender.record(&header(5, index, 1, index, b"a", &body), &[b"a", &body]);
        appender.finish(Urgency::Lazy);
    }
    watch.wait(GROUP, 2000);
    // Long enough for a marker.
    std::thread::sleep(std::time::Duration::from_millis(150));
    journal.abort();
    let opened = Journal::open(io, &path, options, &mut |_| {}).unwrap();
    assert_eq!(opened.report.damages, []);
    assert_eq!(opened.groups[0].last_index, 2000);
}

/// A start reads of each sealed segment its fixed pages and its footer's directory, and scans the active one alone. And it
/// has few files open at a time, however many there are.
#[test]
fn a_start_does_not_read_sealed_segments_and_keeps_no_files_open() {
    let io = SimIo::new();
    let journal = open(&io, manual()).journal;
    let body = vec![7; 3000];
    for sequence in 1..=2000 {
        append(&journal, 5, sequence, sequence, &body);
        journal.drive();
    }
    append_checkpoint(&journal, 5, 2000, b"checkpoint");
    journal.drive();
    let segments = journal.stats().segments;
    assert!(segments > 80, "{segments}");
    journal.close();
    let io = io.fork();
    let opened = open(&io, manual());
    assert_eq!((opened.report.segments_scanned, opened.report.damages.len()), (1, 0));
    let files = segments + opened.journal.stats().spares;
    let (pages, directories) = (12 * 1024 * files, 4096 * segments);
    let allowed = pages + directories + 64 * 1024 * 2;
    assert!(io.bytes_read() <= allowed, "{} bytes read, not {allowed}", io.bytes_read());
    assert!(io.open_files_max() < 10, "{} files at a time", io.open_files_max());
    let before = io.bytes_read();
    let report = opened.journal.replay(&mut |_| {}, &mut |_, _| {}).unwrap();
    assert_eq!((report.segments, io.bytes_read()), (0, before), "nothing lies above the checkpoint");
}
