//! A full disk, failing writes, failing syncs.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_storage::io::FaultKind;
use headwater_storage::{
    AppendClass, AppendError, DurableBatch, DurableSink, EraseError, GroupId, Health, Journal, JournalError,
    JournalOptions, ReadError, RecordHeader, RecordKind, SimIo, Urgency,
};
use parking_lot::Mutex;

use crate::support::*;

const GROUP: GroupId = GroupId(5);

fn small() -> JournalOptions {
    JournalOptions { segment_bytes: Some(32 * 1024), first_segment_bytes: 32 * 1024, ..manual() }
}

fn try_append(journal: &Journal, class: AppendClass, index: u64) -> Result<(), AppendError> {
    let mut appender = journal.append(class)?;
    let body = payload(index);
    appender.record(&header(5, index, 1, index, b"s", &body), &[b"s", &body]);
    appender.finish(Urgency::Wake);
    Ok(())
}

#[test]
fn an_error_of_a_write_or_a_sync_is_final() {
    for kind in [FaultKind::Write, FaultKind::Sync] {
        let io = SimIo::new();
        let journal = open(&io, small()).journal;
        let watch = Arc::new(Watch::default());
        journal.start(watch.clone());
        for index in 1..=10 {
            append(&journal, 5, index, index, b"good");
        }
        journal.drive();
        io.fail(kind, 0);
        append(&journal, 5, 11, 11, b"lost");
        append(&journal, 6, 1, 1, b"lost");
        journal.drive();
        assert_eq!(*watch.failed.lock(), [GroupId(5), GroupId(6)]);
        assert_eq!(watch.durable_index(GROUP), 10);
        assert!(matches!(journal.health(), Health::Poisoned(_)));
        assert!(matches!(try_append(&journal, AppendClass::Control, 12), Err(AppendError::Poisoned(_))));
        journal.drive();
        assert_eq!(journal.read_message(GROUP, 10).unwrap().payload(), b"good");
        journal.close();
        io.crash(5);
        let opened = open(&io, small());
        assert!(opened.groups[0].last_index >= 10);
        assert_eq!(opened.report.damages, []);
    }
}

/// Has a bug that shows on one thread only.
struct Buggy {
    thread: &'static str,
    watch: Watch,
}

impl DurableSink for Buggy {
    fn durable(&self, batch: &DurableBatch) {
        let current = std::thread::current();
        let is_journals = current.name().is_some_and(|name| name.starts_with("journal-"));
        let name = if is_journals { current.name().unwrap_or_default() } else { "caller" };
        assert_ne!(name, self.thread, "a bug");
        self.watch.durable(batch);
    }

    fn failed(&self, error: &JournalError, groups: &[GroupId]) {
        self.watch.failed(error, groups);
    }

    fn checkpoint_wanted(&self, _: GroupId) {}

    fn space(&self, _: bool) {}
}

/// The right to write was gone with the thread that had it: appends went on to be taken, and were never acknowledged
/// nor refused.
#[test]
fn a_panic_of_whoever_writes_or_completes_poisons_the_journal() {
    for thread in ["caller", "journal-writer", "journal-complete"] {
        let io = SimIo::new();
        let journal = open(&io, JournalOptions { manual: false, ..small() }).journal;
        let sink = Arc::new(Buggy { thread, watch: Watch::default() });
        journal.start(sink.clone());
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut index = 0;
        while matches!(journal.health(), Health::Ok) {
            assert!(Instant::now() < deadline, "no batch was ever completed by {thread}");
            index += 1;
            // More than a lone message at a time, unless the caller is to write it.
            for group in if thread == "caller" { 5..6 } else { 5..25 } {
                if let Ok(mut appender) = journal.append(AppendClass::Message) {
                    appender.record(&header(group, index, 1, index, b"s", b"body"), &[b"s", b"body"]);
                    appender.finish(Urgency::EndOfTurn);
                }
                let _ = catch_unwind(AssertUnwindSafe(|| match thread {
                    "caller" => journal.wake_or_write(),
                    _ => journal.wake(),
                }));
            }
            std::thread::sleep(Duration::from_micros(200));
            // The writer completes what nothing follows, which on a busy machine has to be waited for.
            let is_done = || thread != "journal-writer" || sink.watch.durable_index(GroupId(24)) == index;
            while !is_done() && matches!(journal.health(), Health::Ok) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        assert!(matches!(journal.health(), Health::Poisoned(_)), "{thread}: {:?}", journal.health());
        assert!(matches!(try_append(&journal, AppendClass::Message, 1), Err(AppendError::Poisoned(_))));
        let acknowledged = sink.watch.durable.lock().len();
        journal.wake_or_write();
        assert_eq!(sink.watch.durable.lock().len(), acknowledged, "nothing is acknowledged any more");
        // Returns although a thread is gone.
        journal.close();
    }
}

/// What an erase could not read poisoned the journal, as if it had not been written.
#[test]
fn an_erase_that_finds_a_copy_unreadable_fails_alone() {
    let io = SimIo::new();
    let journal = open(&io, small()).journal;
    for index in 1..=200 {
        append(&journal, 5, index, index, &payload(index));
        journal.drive();
    }
    let old = journal.locate(GROUP, 3).unwrap();
    // A repair stored it once more.
    let body = payload(3);
    let copied = RecordHeader { kind: RecordKind::Copied, ..header(5, 0, 1, 3, b"s", &body) };
    let mut appender = journal.append(AppendClass::Message).unwrap();
    appender.record(&copied, &[b"s", &body]);
    appender.finish(Urgency::Wake);
    journal.drive();
    assert_ne!(journal.locate(GROUP, 3).unwrap().segment, old.segment);
    let path = std::path::Path::new(DIRECTORY).join(format!("{:010}.segment", old.segment));
    io.break_sectors(&path, u64::from(old.offset)..u64::from(old.offset) + 512);
    journal.scrub_now();
    assert!(journal.erase_message(GROUP, 3).is_err());
    assert!(matches!(journal.health(), Health::Ok), "{:?}", journal.health());
    assert!(journal.read_message(GROUP, 3).unwrap().is_erased(), "the copy that could be read is gone");
}

/// An erase that was not even begun, for want of a file handle, ended the whole journal.
#[test]
fn an_erase_whose_file_can_not_be_opened_is_tried_again() {
    let io = SimIo::new();
    let journal = open(&io, small()).journal;
    for index in 1..=200 {
        append(&journal, 5, index, index, &payload(index));
        journal.drive();
    }
    let segment = journal.locate(GROUP, 3).unwrap().segment;
    io.forbid(&std::path::Path::new(DIRECTORY).join(format!("{segment:010}.segment")));
    assert!(matches!(journal.erase_message(GROUP, 3), Err(EraseError::Read(ReadError::Io(_)))));
    assert!(matches!(journal.health(), Health::Ok), "{:?}", journal.health());
    io.mend();
    journal.erase_message(GROUP, 3).unwrap();
    assert!(journal.read_message(GROUP, 3).unwrap().is_erased());
}

/// Takes a lock that others hold while they use the journal.
#[derive(Default)]
struct Locking {
    owner: Mutex<()>,
    watch: Watch,
    told: AtomicBool,
}

impl DurableSink for Locking {
    fn durable(&self, batch: &DurableBatch) {
        self.watch.durable(batch);
    }

    fn failed(&self, _: &JournalError, _: &[GroupId]) {
        let _owner = self.owner.lock();
        self.told.store(true, Ordering::Release);
    }

    fn checkpoint_wanted(&self, _: GroupId) {}

    fn space(&self, _: bool) {}
}

/// Who found out that the journal had failed told so himself, and waited for a lock that he held.
#[test]
fn a_failure_is_told_by_nobody_who_holds_a_lock_of_the_sinks() {
    let io = SimIo::new();
    let options = JournalOptions { manual: false, idle_interval: Duration::from_secs(3600), ..small() };
    let journal = open(&io, options).journal;
    let sink = Arc::new(Locking::default());
    journal.start(sink.clone());
    append(&journal, 5, 1, 1, b"a message");
    sink.watch.wait(GROUP, 1);
    let (sender, receiver) = std::sync::mpsc::channel();
    let eraser = std::thread::spawn({
        let (io, journal, sink) = (io.clone(), journal.clone(), sink.clone());
        move || {
            let _owner = sink.owner.lock();
            // Whoever else writes now, the first of them meets the first one.
            (0..4).for_each(|nth| io.fail(FaultKind::Write, nth));
            let outcome = journal.erase_message(GROUP, 1);
            sender.send((outcome, sink.told.load(Ordering::Acquire))).unwrap();
        }
    });
    let (outcome, was_told) = receiver.recv_timeout(Duration::from_secs(20)).expect("the erase returns");
    assert!(matches!(outcome, Err(EraseError::Journal(_))), "{outcome:?}");
    assert!(!was_told);
    eraser.join().unwrap();
    journal.close();
    assert!(sink.told.load(Ordering::Acquire), "at the latest at the close");
}

/// Who has removed something is known above only. Nobody was asked, and the disk stayed full.
#[test]
fn all_groups_are_asked_for_checkpoints_when_the_disk_is_full() {
    let io = SimIo::new();
    io.set_capacity(Some(8 * 32 * 1024));
    let journal = open(&io, small()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    append(&journal, 7, 1, 1, b"in a checkpoint");
    append_checkpoints(&journal, 7, 1, b"checkpoint");
    let mut stored = 0;
    while try_append(&journal, AppendClass::Message, stored + 1).is_ok() {
        stored += 1;
        journal.drive();
    }
    assert!(matches!(journal.health(), Health::Full));
    // What it holds of the last segment is no reason to ask it.
    let mut appender = journal.append(AppendClass::Control).unwrap();
    appender.record(&header(6, 1, 1, 0, b"", b"a purge"), &[b"a purge"]);
    appender.finish(Urgency::Wake);
    append_state(&journal, 5, b"look");
    journal.drive();
    let wanted: BTreeSet<GroupId> = std::mem::take(&mut *watch.wanted.lock()).into_iter().collect();
    assert_eq!(wanted, BTreeSet::from([GROUP, GroupId(6)]));
    append_checkpoints(&journal, 5, stored, b"everything");
    append_checkpoints(&journal, 6, 1, b"everything");
    journal.drive();
    journal.release_messages_before(GROUP, stored);
    append_state(&journal, 5, b"look");
    journal.drive();
    assert_eq!(*watch.wanted.lock(), [], "they have answered");
    assert!(matches!(journal.health(), Health::Ok));
}

/// Writes, releases, compacts. What it stored, and what of that must be there.
fn work(journal: &Journal, watch: &Watch) -> (u64, u64) {
    let (mut index, mut oldest) = (0, 1);
    for round in 1..=60_u64 {
        // At first more than the segments have room for that are there.
        for _ in 0..if round == 1 { 500 } else { 20 } {
            if try_append(journal, AppendClass::Message, index + 1).is_err() {
                break;
            }
            index += 1;
        }
        journal.drive();
        // Now and then one stays for a compaction to move.
        for sequence in (index.saturating_sub(40)..=index).filter(|sequence| !sequence.is_multiple_of(13)) {
            journal.release_message(GROUP, sequence);
        }
        if round % 5 == 0 {
            append_checkpoint_if_possible(journal, 5, index);
        }
        if round % 20 == 0 {
            oldest = index.saturating_sub(500).max(1);
            journal.release_messages_before(GROUP, oldest);
        }
        journal.drive();
    }
    // What was refused is tried again.
    (0..3).for_each(|_| journal.drive());
    assert_eq!(watch.durable_index(GROUP), index);
    (index, oldest)
}

/// A write into space that was reserved may find none, where blocks are copied or shared. Spares were lost then one by one,
/// and a segment could not be prepared a second time under its number.
#[test]
fn a_write_that_finds_no_room_at_any_point_costs_neither_a_file_nor_the_journal() {
    for count in [1, 3] {
        let mut nth = 0;
        loop {
            let io = SimIo::new();
            let journal = open(&io, small()).journal;
            let watch = Arc::new(Watch::default());
            journal.start(watch.clone());
            let from = io.count_of(FaultKind::Write) + nth;
            io.cramp_writes(nth, count);
            let (last, oldest) = work(&journal, &watch);
            let what = format!("{count} writes from the {nth}th on");
            assert!(matches!(journal.health(), Health::Ok), "{what}: {:?}", journal.health());
            for sequence in (oldest..=last).filter(|sequence| sequence.is_multiple_of(13)) {
                assert_eq!(journal.read_message(GROUP, sequence).unwrap().payload(), payload(sequence), "{what}");
            }
            let stats = journal.stats();
            assert_eq!(files(&io).len() as u64, stats.segments + stats.spares, "{what}: {:?} {stats:?}", files(&io));
            assert!(stats.segments_compacted > 0 && stats.segments_recycled > 0, "{what}: {stats:?}");
            let written = io.count_of(FaultKind::Write);
            journal.close();
            assert_eq!(open(&io, small()).report.damages, [], "{what}");
            if written < from {
                break;
            }
            // Every one at the beginning, where all is prepared, and then a sample.
            nth += if nth < 60 { 1 } else { 7 };
        }
    }
}

#[test]
fn a_full_disk_refuses_messages_and_recovers_by_itself() {
    let io = SimIo::new();
    io.set_capacity(Some(8 * 32 * 1024));
    let journal = open(&io, small()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    let mut stored = 0;
    let refused = loop {
        match try_append(&journal, AppendClass::Message, stored + 1) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        journal.drive();
        assert!(stored < 10_000);
    };
    assert!(matches!(refused, AppendError::Full), "{refused}");
    assert!(matches!(journal.health(), Health::Full));
    assert_eq!(*watch.space.lock(), [true]);
    assert_eq!(watch.durable_index(GROUP), stored);
    // Control records still go through: that is how space is made.
    for _ in 0..20 {
        append_state(&journal, 5, b"still alive");
        journal.drive();
    }
    append_checkpoints(&journal, 5, stored, b"everything");
    journal.drive();
    journal.release_messages_before(GROUP, stored - 10);
    append_state(&journal, 5, b"go");
    journal.drive();
    assert_eq!(*watch.space.lock(), [true, false], "{:?}", journal.stats());
    for index in stored + 1..=stored + 100 {
        try_append(&journal, AppendClass::Message, index).unwrap();
        journal.drive();
        journal.release_messages_before(GROUP, index - 5);
        if index % 10 == 0 {
            append_checkpoint(&journal, 5, index, b"everything");
            journal.drive();
        }
    }
    journal.close();
    let opened = open(&io, small());
    assert_eq!(opened.groups[0].last_index, stored + 100);
    assert_eq!(opened.journal.read_message(GROUP, stored + 100).unwrap().payload(), payload(stored + 100));
}

/// The next segment was made from the last space while the only spare was still being filled. That the disk was full
/// came out a tenth of a second later, and until then messages were let in that no segment had a place for.
#[test]
fn a_disk_that_fills_up_while_a_spare_is_filled_keeps_nobody_waiting() {
    const SEGMENT_BYTES: u32 = 256 * 1024;
    let options = JournalOptions {
        manual: false,
        segment_bytes: Some(SEGMENT_BYTES),
        first_segment_bytes: SEGMENT_BYTES,
        fill_chunk_bytes: 4096,
        fill_pause: Duration::from_millis(5),
        ..manual()
    };
    let body = [7; 8 * 1024];
    for segments in 4..8 {
        let io = SimIo::new();
        io.set_capacity(Some(segments * u64::from(SEGMENT_BYTES)));
        let journal = open(&io, options.clone()).journal;
        let watch = Arc::new(Watch::default());
        journal.start(watch.clone());
        let mut stored = 0;
        let refused = loop {
            let mut appender = match journal.append(AppendClass::Message) {
                Ok(appender) => appender,
                Err(error) => break error,
            };
            stored += 1;
            appender.record(&header(5, stored, 1, stored, b"s", &body), &[b"s", &body]);
            appender.finish(Urgency::Wake);
            watch.wait(GROUP, stored);
        };
        assert!(matches!(refused, AppendError::Full), "{refused}");
        journal.close();
    }
}

/// A writer that was quicker than maintenance went on into a segment that the disk had no room for, and waited there for
/// ever, once in a hundred runs of the test above on a busy machine.
#[test]
fn nothing_is_let_in_that_a_nearly_full_disk_was_not_asked_to_take() {
    let io = SimIo::new();
    let journal = open(&io, small()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    io.set_capacity(Some(io.used_bytes() + 16 * 1024));
    let mut stored = 0;
    let refused = loop {
        if let Err(error) = try_append(&journal, AppendClass::Message, stored + 1) {
            break error;
        }
        stored += 1;
    };
    assert!(matches!(refused, AppendError::Full), "{refused}");
    journal.drive();
    assert_eq!(watch.durable_index(GROUP), stored);
    io.set_capacity(None);
    journal.drive();
    try_append(&journal, AppendClass::Message, stored + 1).unwrap();
    journal.drive();
    assert_eq!(watch.durable_index(GROUP), stored + 1);
}

#[test]
fn even_control_records_end_at_some_time() {
    let io = SimIo::new();
    io.set_capacity(Some(4 * 32 * 1024));
    let journal = open(&io, small()).journal;
    let mut refused = None;
    for index in 1..10_000 {
        // Entries that no checkpoint covers: nothing can be reclaimed.
        if let Err(error) = try_append(&journal, AppendClass::Control, index) {
            refused = Some((error, index));
            break;
        }
        journal.drive();
    }
    let (error, index) = refused.unwrap();
    assert!(matches!(error, AppendError::Full), "{error}");
    for stored in 1..index {
        assert_eq!(journal.read_entry(GROUP, stored).unwrap().payload(), payload(stored));
    }
    io.set_capacity(None);
    journal.drive();
    try_append(&journal, AppendClass::Message, index).unwrap();
    journal.drive();
    assert_eq!(journal.read_entry(GROUP, index).unwrap().payload(), payload(index));
}

#[test]
fn too_much_in_the_queue_is_refused_as_busy() {
    let io = SimIo::new();
    let journal = open(&io, JournalOptions { queue_bytes_max: 64 * 1024, ..manual() }).journal;
    let mut index = 1;
    while try_append(&journal, AppendClass::Message, index).is_ok() {
        index += 1;
    }
    assert!(matches!(try_append(&journal, AppendClass::Message, index), Err(AppendError::Busy)));
    assert!(journal.queued_bytes() > 64 * 1024);
    journal.drive();
    try_append(&journal, AppendClass::Message, index).unwrap();
    journal.drive();
    for stored in 1..=index {
        assert_eq!(journal.read_message(GROUP, stored).unwrap().payload(), payload(stored));
    }
}

/// Opens a store while something fails, and goes on with it as long as that goes. How far group 9 became durable, and
/// whether the fault was met.
fn live_with(io: &SimIo, appends: u64) -> (u64, bool) {
    let path = std::path::Path::new(DIRECTORY);
    let options = JournalOptions { segment_bytes: Some(24 * 1024), first_segment_bytes: 24 * 1024, ..manual() };
    let Ok(opened) = Journal::open(Arc::new(io.clone()), path, options, &mut |_| {}) else { return (0, true) };
    let journal = opened.journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    for index in 1..=appends {
        let Ok(mut appender) = journal.append(AppendClass::Message) else { break };
        let body = payload(index);
        appender.record(&header(9, index, 1, index, b"s", &body), &[b"s", &body]);
        appender.finish(Urgency::Wake);
        if index % 5 == 0 {
            journal.drive();
        }
        if index % 40 == 0 {
            append_checkpoint_if_possible(&journal, 9, index);
            journal.release_messages_before(GroupId(9), index - 10);
        }
    }
    journal.drive();
    let met = !matches!(journal.health(), Health::Ok);
    journal.abort();
    (watch.durable_index(GroupId(9)), met)
}

fn append_checkpoint_if_possible(journal: &Journal, group: u64, index: u64) {
    if let Ok(mut appender) = journal.append(AppendClass::Control) {
        appender.checkpoint(GroupId(group), index, 1, Bytes::from_static(b"checkpoint"));
    }
}

/// What was stored before, and what became durable meanwhile.
fn check_all(stored: &Stored, io: &SimIo, durable: u64, what: &str) {
    let opened = try_open(io).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(opened.report.damages, [], "{what}");
    for (group, sequence, ..) in &stored.messages {
        let record = opened.journal.read_message(GroupId(*group), *sequence);
        assert_eq!(record.unwrap().payload(), payload(*sequence), "{what}: {group} {sequence}");
    }
    for sequence in (durable / 40 * 40).max(11)..=durable {
        let record = opened.journal.read_message(GroupId(9), sequence);
        let record = record.unwrap_or_else(|error| panic!("{what}: message {sequence} of {durable}: {error}"));
        assert_eq!(record.payload(), payload(sequence), "{what}");
    }
    opened.journal.abort();
}

#[test]
fn a_write_or_sync_that_fails_at_any_point_of_a_start_and_after_it_costs_nothing_durable() {
    for close in [true, false] {
        let stored = stored(close);
        for kind in [FaultKind::Write, FaultKind::Sync] {
            let mut nth = 0;
            loop {
                let io = stored.io.fork();
                io.fail(kind, nth);
                let (durable, met) = live_with(&io, 120);
                let what = format!("close {close}: {kind:?} {nth} fails");
                io.crash(nth);
                check_all(&stored, &io, durable, &what);
                if !met {
                    assert!(nth > 20 && durable == 120, "{what}: {durable}");
                    break;
                }
                nth += 1;
            }
        }
    }
}

#[test]
fn a_disk_that_is_full_at_any_point_of_a_start_and_after_it_costs_nothing_durable() {
    for close in [true, false] {
        let stored = stored(close);
        let used = stored.io.used_bytes();
        for more in (0..8 * 24 * 1024).step_by(3 * 1024) {
            let io = stored.io.fork();
            io.set_capacity(Some(used + more));
            let (durable, _) = live_with(&io, 300);
            let what = format!("close {close}: {more} bytes left");
            io.crash(more);
            // Still full: what is stored is served.
            check_all(&stored, &io, durable, &what);
            io.set_capacity(None);
            io.crash(more);
            check_all(&stored, &io, durable, &what);
            let (durable, met) = live_with(&io, 300);
            assert!(durable == 300 && !met, "{what}: it does not resume");
        }
    }
}

/// A thousand idle sockets took all descriptors, the next segment could not be opened, and that was taken for an error of the
/// disk: nothing was acknowledged until the server was started again.
#[test]
fn files_that_can_not_be_opened_for_want_of_descriptors_only_delay_what_is_written() {
    for manual in [true, false] {
        let io = SimIo::new();
        let journal = open(&io, JournalOptions { manual, ..small() }).journal;
        let watch = Arc::new(Watch::default());
        journal.start(watch.clone());
        let mut index = 0;
        let mut append_some = |count: u64| {
            for _ in 0..count {
                match try_append(&journal, AppendClass::Message, index + 1) {
                    Ok(()) => index += 1,
                    Err(AppendError::Full | AppendError::Busy) => return (index, true),
                    Err(error) => panic!("{error}"),
                }
                if manual {
                    journal.drive();
                }
            }
            (index, false)
        };
        append_some(20);
        io.set_no_descriptors(true);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !append_some(50).1 {
            assert!(Instant::now() < deadline, "without files there is an end to what is taken");
        }
        assert!(matches!(journal.health(), Health::Full), "{:?}", journal.health());
        io.set_no_descriptors(false);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(journal.health(), Health::Ok) {
            assert!(Instant::now() < deadline, "{:?}", journal.health());
            if manual {
                journal.drive();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (last, refused) = append_some(20);
        assert!(!refused);
        watch.wait(GROUP, last);
        for index in 1..=last {
            assert_eq!(journal.read_message(GROUP, index).unwrap().payload(), payload(index));
        }
        assert!(watch.failed.lock().is_empty());
        journal.close();
    }
}
