//! What a thread reads and checks before a cursor asks for it.

use std::path::Path;
use std::sync::Arc;

use headwater_storage::{GroupId, Journal, JournalOptions, MessageCursor, ReadError, SimIo};

use crate::support::*;

const GROUP: GroupId = GroupId(5);
const COUNT: u64 = 6000;
/// A cursor that has read so many messages reads ahead.
const BEFORE_AHEAD: u64 = 513;

/// Several sealed segments and one that is not, no memory tail to speak of, and a thread that reads ahead.
fn with_threads(map_sealed: bool) -> JournalOptions {
    JournalOptions {
        segment_bytes: Some(512 * 1024),
        first_segment_bytes: 512 * 1024,
        tail_bytes_max: 4096,
        map_sealed,
        manual: false,
        ..manual()
    }
}

fn fill(io: &SimIo) {
    let journal = open(io, JournalOptions { manual: true, ..with_threads(true) }).journal;
    for sequence in 1..=COUNT {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        append(&journal, 6, sequence, sequence, b"another group's");
        if sequence % 50 == 0 {
            journal.drive();
        }
    }
    journal.drive();
    journal.close();
}

fn started(io: &SimIo, map_sealed: bool) -> Journal {
    let journal = open(io, with_threads(map_sealed)).journal;
    journal.start(Arc::new(Watch::default()));
    journal
}

/// The next message has to be this one.
fn expect(cursor: &mut MessageCursor, sequence: u64) {
    let record = cursor.next().unwrap().unwrap_or_else(|| panic!("no message {sequence}"));
    assert_eq!(record.header.sequence, sequence);
    assert_eq!(record.payload(), payload(sequence));
}

#[test]
fn what_is_read_ahead_is_what_is_stored() {
    for map_sealed in [true, false] {
        let io = SimIo::new();
        fill(&io);
        let journal = started(&io, map_sealed);
        assert!(journal.stats().segments > 2);
        let mut cursor = journal.scan(GROUP, 1);
        for sequence in 1..=COUNT {
            expect(&mut cursor, sequence);
            assert_eq!(cursor.reads_ahead(), sequence >= BEFORE_AHEAD, "at {sequence}");
        }
        assert!(cursor.next().unwrap().is_none());
        // Elsewhere nothing is left of what was read for the old place.
        cursor.seek(700);
        expect(&mut cursor, 700);
        assert!(!cursor.reads_ahead());
        drop(cursor);
        journal.close();
    }
}

#[test]
fn what_is_appended_while_a_cursor_reads_ahead_follows() {
    let io = SimIo::new();
    fill(&io);
    let journal = open(&io, with_threads(true)).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    let mut cursor = journal.scan(GROUP, 1);
    (1..=COUNT).for_each(|sequence| expect(&mut cursor, sequence));
    for sequence in COUNT + 1..=COUNT + 2000 {
        append(&journal, 5, sequence, sequence, &payload(sequence));
        if sequence % 3 == 0 {
            // A cursor sees what has left the queue.
            watch.wait(GROUP, sequence);
            (sequence - 2..=sequence).for_each(|sequence| expect(&mut cursor, sequence));
            assert!(cursor.next().unwrap().is_none());
        }
    }
    assert!(!cursor.reads_ahead(), "at the end there is nothing to read ahead");
    drop(cursor);
    journal.close();
}

#[test]
fn damage_in_what_is_read_ahead_costs_the_damaged_message_alone() {
    for map_sealed in [true, false] {
        for damaged in [600, 2500, COUNT - 1] {
            let io = SimIo::new();
            fill(&io);
            let journal = open(&io, JournalOptions { manual: true, ..with_threads(map_sealed) }).journal;
            let place = journal.locate(GROUP, damaged).expect("it is stored");
            let length = journal.read_message(GROUP, damaged).unwrap().bytes().len();
            journal.abort();
            let path = Path::new(DIRECTORY).join(format!("{:010}.segment", place.segment));
            let mut content = io.content(&path).unwrap();
            content[place.offset as usize + length - 1] ^= 1;
            io.set_content(&path, content);
            let journal = started(&io, map_sealed);
            let mut cursor = journal.scan(GROUP, 1);
            for sequence in 1..=COUNT {
                if sequence == damaged {
                    let error = cursor.next().map(|record| record.map(|record| record.header.sequence)).unwrap_err();
                    assert!(matches!(error, ReadError::Damaged(at) if at == place), "{error}");
                } else {
                    expect(&mut cursor, sequence);
                }
            }
            drop(cursor);
            journal.close();
        }
    }
}

#[test]
fn so_many_cursors_read_ahead_and_the_others_read_for_themselves() {
    let io = SimIo::new();
    fill(&io);
    let journal = started(&io, true);
    let mut cursors: Vec<MessageCursor> = (0..12).map(|_| journal.scan(GROUP, 1)).collect();
    for sequence in 1..=COUNT {
        cursors.iter_mut().for_each(|cursor| expect(cursor, sequence));
        if sequence == BEFORE_AHEAD {
            assert_eq!(cursors.iter().filter(|cursor| cursor.reads_ahead()).count(), 8);
        }
    }
    // The right is given back.
    drop(cursors);
    let mut cursor = journal.scan(GROUP, 1);
    (1..=BEFORE_AHEAD).for_each(|sequence| expect(&mut cursor, sequence));
    assert!(cursor.reads_ahead());
    drop(cursor);
    journal.close();
}

#[test]
fn a_cursor_that_has_read_much_may_be_kept_while_nobody_reads() {
    let io = SimIo::new();
    fill(&io);
    let journal = started(&io, true);
    let mut cursor = journal.scan(GROUP, 1);
    (1..=100).for_each(|sequence| expect(&mut cursor, sequence));
    assert!(!cursor.rest(), "little is looked up again as quickly");
    (101..=200).for_each(|sequence| expect(&mut cursor, sequence));
    assert!(cursor.rest());
    (201..=COUNT).for_each(|sequence| expect(&mut cursor, sequence));
    drop(cursor);
    journal.close();
}
