//! Checkpoints of many parts: others go on meanwhile, and a crash between two parts leaves the checkpoint before.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_storage::io::CrashPoint;
use headwater_storage::{
    AppendClass, AppendError, DurableBatch, DurableSink, GroupId, Health, Journal, JournalError, JournalOptions,
    Opened, RecordKind, SimIo, Urgency,
};
use parking_lot::Mutex;

use crate::support::*;

const STREAM: GroupId = GroupId(6);
const PARTS: usize = 12;
const PART_BYTES: usize = 2048;

fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: Some(16 * 1024),
        first_segment_bytes: 16 * 1024,
        checkpoint_part_bytes: PART_BYTES,
        ..manual()
    }
}

fn body(mark: u8) -> Vec<u8> {
    (0..PARTS * PART_BYTES).map(|at| mark ^ (at / 7) as u8).collect()
}

/// Whoever gets an answer sends the next message: one follows each part that is durable.
struct Company {
    journal: Journal,
    /// The next index of the stream, which is its next sequence.
    next: Mutex<u64>,
    /// What became durable: a message's sequence, or none for a part of a checkpoint.
    durable: Mutex<Vec<Option<u64>>>,
}

impl Company {
    fn start(journal: &Journal) -> Arc<Self> {
        let company = Self { journal: journal.clone(), next: Mutex::new(1), durable: Mutex::default() };
        let company = Arc::new(company);
        journal.start(company.clone());
        company
    }

    fn append(&self) {
        let mut next = self.next.lock();
        append(&self.journal, STREAM.0, *next, *next, &payload(*next));
        *next += 1;
    }

    /// A checkpoint of all so far.
    fn checkpoint(&self, mark: u8) -> u64 {
        let index = *self.next.lock() - 1;
        append_checkpoint(&self.journal, STREAM.0, index, &body(mark));
        index
    }

    fn parts_durable(&self) -> usize {
        self.durable.lock().iter().filter(|durable| durable.is_none()).count()
    }
}

impl DurableSink for Company {
    fn durable(&self, batch: &DurableBatch) {
        let mut parts = 0;
        for (_, record) in batch.records() {
            let is_part = record.header.kind == RecordKind::Checkpoint;
            parts += usize::from(is_part);
            self.durable.lock().push((!is_part).then_some(record.header.sequence));
        }
        (0..parts).for_each(|_| self.append());
    }
    fn failed(&self, _: &JournalError, _: &[GroupId]) {}
    fn checkpoint_wanted(&self, _: GroupId) {}
    fn space(&self, _: bool) {}
}

fn recovered(opened: &Opened) -> (u64, Vec<u8>) {
    let checkpoint =
        opened.groups.iter().find(|group| group.group == STREAM).and_then(|group| group.checkpoint.as_ref());
    checkpoint.map_or_else(Default::default, |checkpoint| (checkpoint.index, checkpoint.body.to_vec()))
}

/// Everything that a large checkpoint had to write was in the queue at once: other groups' appends were refused as busy.
#[test]
fn a_large_checkpoint_leaves_the_queue_to_others() {
    let io = SimIo::new();
    let journal = open(&io, JournalOptions { queue_bytes_max: 4 * PART_BYTES, ..options() }).journal;
    append(&journal, STREAM.0, 1, 1, b"one");
    append_checkpoint(&journal, STREAM.0, 1, &body(1));
    assert_eq!(journal.unfed_bytes(), PARTS * PART_BYTES);
    assert!(journal.is_feeding(STREAM) && !journal.is_feeding(GroupId(5)));
    journal.admit().unwrap();
    drop(journal.append(AppendClass::Progress).unwrap());
    append(&journal, 5, 1, 1, b"another stream's");
    journal.close();
    let opened = open(&io, options());
    assert_eq!(recovered(&opened), (1, body(1)));
    assert!(opened.report.clean);
}

#[test]
fn who_appends_waits_for_one_part_of_a_checkpoint() {
    let io = SimIo::new();
    let journal = open(&io, options()).journal;
    let company = Company::start(&journal);
    company.append();
    company.checkpoint(1);
    journal.drive();
    let expected: Vec<Option<u64>> = (1..=PARTS as u64).flat_map(|sequence| [Some(sequence), None]).collect();
    let durable = std::mem::take(&mut *company.durable.lock());
    assert_eq!(durable[..expected.len()], expected);
    assert_eq!(durable[expected.len()..], [Some(PARTS as u64 + 1)]);
    assert_eq!(journal.unfed_bytes(), 0);
}

#[test]
fn a_checkpoint_gets_on_as_quickly_as_what_is_appended_beside_it() {
    let options = JournalOptions { segment_bytes: Some(128 * 1024), first_segment_bytes: 128 * 1024, ..options() };
    let journal = open(&SimIo::new(), options).journal;
    let company = Company::start(&journal);
    for _ in 0..100 {
        company.append();
    }
    company.checkpoint(1);
    let queued = journal.queued_bytes();
    journal.drive();
    let durable = company.durable.lock();
    let followed = durable[100..].iter().take_while(|durable| durable.is_none()).count();
    assert_eq!(followed, queued / PART_BYTES, "{queued} bytes were ahead of them");
}

/// What the group writes while its checkpoint is written is not covered by it.
#[test]
fn what_is_appended_between_the_parts_counts_towards_the_next_checkpoint() {
    let journal = open(&SimIo::new(), options()).journal;
    let company = Company::start(&journal);
    for _ in 0..100 {
        company.append();
    }
    company.checkpoint(1);
    journal.drive();
    let bytes = |sequences: std::ops::RangeInclusive<u64>| -> u64 {
        let records = sequences.map(|sequence| journal.read_message(STREAM, sequence).unwrap());
        records.map(|record| record.bytes().len() as u64).sum()
    };
    let unsaved: Vec<u64> = journal.unsaved().iter().map(|unsaved| unsaved.bytes).collect();
    assert_eq!(unsaved, [bytes(101..=100 + PARTS as u64)]);
}

#[test]
fn a_crash_between_two_parts_leaves_the_checkpoint_before() {
    let (mut older, mut newer, mut point) = (0, 0, 0);
    loop {
        let io = SimIo::new();
        let journal = open(&io, options()).journal;
        let company = Company::start(&journal);
        company.append();
        let before = company.checkpoint(1);
        journal.drive();
        assert_eq!(company.parts_durable(), PARTS);
        io.crash_at(CrashPoint(io.mutations() + point));
        let after = company.checkpoint(2);
        journal.drive();
        let is_over = !io.is_crashed();
        let is_durable = company.parts_durable() == 2 * PARTS;
        let last = company.durable.lock().iter().flatten().max().copied().unwrap_or(0);
        drop(company);
        journal.abort();
        io.crash(point);

        let opened = open(&io, options());
        assert_eq!(opened.report.damages, [], "point {point}");
        let checkpoint = recovered(&opened);
        let is_newer = checkpoint.0 == after;
        assert_eq!(checkpoint, if is_newer { (after, body(2)) } else { (before, body(1)) }, "point {point}");
        assert!(is_newer || !is_durable, "point {point}");
        let mut replayed = BTreeMap::new();
        let report = opened.journal.replay(&mut |_| {}, &mut |_, record| {
            replayed.insert(record.header.index, record.payload().to_vec());
        });
        assert_eq!(report.unwrap().damages, [], "point {point}");
        for index in checkpoint.0 + 1..=last {
            assert_eq!(replayed.get(&index), Some(&payload(index)), "point {point}");
        }
        if is_over {
            break;
        }
        newer += u64::from(is_newer);
        older += u64::from(!is_newer && checkpoint.0 < after);
        // The half of a checkpoint is in nobody's way.
        let (index, _) = replayed.pop_last().unwrap_or((checkpoint.0, Vec::new()));
        append_checkpoint(&opened.journal, STREAM.0, index, &body(3));
        opened.journal.close();
        let opened = open(&io, options());
        assert_eq!(recovered(&opened), (index, body(3)), "point {point}");
        opened.journal.abort();
        point += 1;
    }
    assert!(older >= PARTS as u64 && newer > 0, "{older} {newer} of {point}");
}

#[test]
fn the_next_checkpoint_of_a_group_takes_the_place_of_one_that_is_not_written_yet() {
    for small in [false, true] {
        let io = SimIo::new();
        let journal = open(&io, options()).journal;
        append(&journal, STREAM.0, 1, 1, b"one");
        append_checkpoint(&journal, STREAM.0, 1, &body(1));
        append(&journal, STREAM.0, 2, 2, b"two");
        let later = if small { b"small".to_vec() } else { body(2) };
        append_checkpoint(&journal, STREAM.0, 2, &later);
        assert!(journal.is_checkpoint_under_way(STREAM));
        let before = journal.stats().record_bytes;
        journal.drive();
        assert!(!journal.is_checkpoint_under_way(STREAM) && !journal.is_feeding(STREAM));
        let written = journal.stats().record_bytes - before;
        assert!(written < 2 * (PARTS * PART_BYTES) as u64, "{written} bytes");
        journal.close();
        assert_eq!(recovered(&open(&io, options())), (2, later));
    }
}

#[test]
fn parts_of_a_group_that_is_removed_are_not_written() {
    let journal = open(&SimIo::new(), options()).journal;
    append(&journal, STREAM.0, 1, 1, b"one");
    append_checkpoint(&journal, STREAM.0, 1, &body(1));
    let mut appender = journal.append(AppendClass::Control).unwrap();
    let header =
        headwater_storage::RecordHeader { kind: RecordKind::GroupRemoved, ..header(STREAM.0, 0, 0, 0, b"", b"") };
    appender.record(&header, &[]);
    appender.finish(Urgency::Wake);
    journal.remove_group(STREAM);
    journal.drive();
    let stats = journal.stats();
    assert!(stats.record_bytes < 3 * PART_BYTES as u64, "{stats:?}");
    assert_eq!(journal.unfed_bytes(), 0);
}

/// It would fill the reserve, and a smaller one that lets something go could not be written any more.
#[test]
fn a_checkpoint_that_finds_no_room_is_dropped_and_the_group_is_asked_again() {
    let io = SimIo::new();
    let journal = open(&io, options()).journal;
    let watch = Arc::new(Watch::default());
    journal.start(watch.clone());
    append(&journal, STREAM.0, 1, 1, b"one");
    append_checkpoint(&journal, STREAM.0, 1, b"small");
    append(&journal, STREAM.0, 2, 2, b"two");
    journal.drive();
    io.set_capacity(Some(io.used_bytes() + 2 * 16 * 1024));
    // It is let in while there is room: what comes before its parts are fed takes that.
    let large: Vec<u8> = body(2).repeat(4);
    append_checkpoint(&journal, STREAM.0, 2, &large);
    let mut sequence = 1;
    loop {
        let mut appender = match journal.append(AppendClass::Message) {
            Ok(appender) => appender,
            Err(AppendError::Full) => break,
            Err(error) => panic!("{error}"),
        };
        let body = vec![7; 1000];
        appender.record(&header(5, sequence, 1, sequence, b"s", &body), &[b"s", &body]);
        appender.finish(Urgency::Wake);
        sequence += 1;
        journal.drive();
    }
    assert!(matches!(journal.health(), Health::Full));
    assert!(!journal.is_feeding(STREAM) && !journal.is_checkpoint_under_way(STREAM));
    append_state(&journal, STREAM.0, b"state");
    journal.drive();
    assert!(watch.wanted.lock().contains(&STREAM));
    append_checkpoint(&journal, STREAM.0, 2, b"small again");
    journal.drive();
    assert!(!journal.is_checkpoint_under_way(STREAM));
    journal.abort();
    io.crash(1);
    let opened = open(&io, options());
    assert_eq!(recovered(&opened), (2, b"small again".to_vec()));
    assert_eq!(opened.report.damages, []);
}
