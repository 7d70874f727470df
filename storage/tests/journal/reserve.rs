//! What a full disk still takes: what consumers do, for ever, as long as checkpoints are written when they are asked for; and
//! what frees space, whatever was done before and however often the process was started anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::{AppendClass, AppendError, GroupId, Health, Journal, JournalOptions, SimIo, Urgency};

use crate::support::*;

const STREAM: u64 = 5;
const SEGMENT_BYTES: u64 = 32 * 1024;

fn small() -> JournalOptions {
    let bytes = Some(SEGMENT_BYTES as u32);
    JournalOptions { segment_bytes: bytes, first_segment_bytes: SEGMENT_BYTES as u32, ..manual() }
}

/// A journal whose groups write a checkpoint when they are asked, as far as it takes one.
struct Rig {
    journal: Journal,
    watch: Arc<Watch>,
    /// Of each group, its last entry.
    last: Vec<(u64, u64)>,
}

impl Rig {
    fn start(io: &SimIo, last: Vec<(u64, u64)>) -> Self {
        let journal = open(io, small()).journal;
        let watch = Arc::new(Watch::default());
        journal.start(watch.clone());
        let rig = Self { journal, watch, last };
        for (group, _) in rig.last.clone() {
            append_state(&rig.journal, group, b"state");
        }
        rig.journal.drive();
        rig
    }

    /// A disk full of messages of one stream, and another one that rests.
    fn full(io: &SimIo) -> Self {
        io.set_capacity(Some(12 * SEGMENT_BYTES));
        let mut rig = Self::start(io, vec![(STREAM, 0), (6, 0)]);
        rig.append(AppendClass::Control, 6, 0).unwrap();
        while rig.append(AppendClass::Message, STREAM, 2500).is_ok() {
            rig.journal.drive();
        }
        rig.answer();
        assert!(matches!(rig.journal.health(), Health::Full));
        rig
    }

    /// An entry, or a message of so many bytes.
    fn append(&mut self, class: AppendClass, group: u64, bytes: usize) -> Result<(), AppendError> {
        let last = &mut self.last.iter_mut().find(|(id, _)| *id == group).unwrap().1;
        let mut appender = self.journal.append(class)?;
        *last += 1;
        let body = vec![7; bytes.max(20)];
        let sequence = if bytes > 0 { *last } else { 0 };
        appender.record(&header(group, *last, 1, sequence, b"s", &body), &[b"s", &body]);
        appender.finish(Urgency::Wake);
        Ok(())
    }

    /// Whoever was asked writes a checkpoint, and its state once more, which would keep a segment as well.
    fn answer(&mut self) {
        self.journal.drive();
        let wanted: BTreeSet<GroupId> = std::mem::take(&mut *self.watch.wanted.lock()).into_iter().collect();
        for (group, last) in self.last.clone() {
            if !wanted.contains(&GroupId(group)) {
                continue;
            }
            if let Ok(mut appender) = self.journal.append_large(AppendClass::Control, 400) {
                appender.checkpoint(GroupId(group), last, 1, Bytes::from_static(&[1; 400]));
                appender.finish(Urgency::Wake);
                append_state(&self.journal, group, b"state");
            }
        }
        self.journal.drive();
    }
}

/// Each ack of a consumer took a piece of the reserve, which was then gone: nothing could free space any more.
#[test]
fn consumers_go_on_for_ever_on_a_full_disk_as_long_as_checkpoints_are_written() {
    let io = SimIo::new();
    let mut rig = Rig::full(&io);
    let before = rig.journal.stats().record_bytes;
    let mut refused = 0;
    while rig.journal.stats().record_bytes - before < 20 * SEGMENT_BYTES {
        match rig.append(AppendClass::Progress, STREAM, 0) {
            Ok(()) => refused = 0,
            Err(error) => {
                assert!(matches!(error, AppendError::Full), "{error}");
                refused += 1;
                assert!(refused < 3, "it comes to an end: {:?}", rig.journal.stats());
            }
        }
        // The other stream moves now and then, and rests while the next parts of the reserve are filled.
        if (rig.journal.stats().record_bytes - before) % (5 * SEGMENT_BYTES) < 80 {
            rig.append(AppendClass::Progress, 6, 0).unwrap();
        }
        rig.answer();
        assert!(rig.append(AppendClass::Message, STREAM, 2500).is_err(), "the reserve is not for messages");
    }
}

/// After that not even a new start helped: it found no room for the entry that makes a server the leader.
#[test]
fn what_consumers_do_leaves_room_for_a_start_and_for_what_frees_space() {
    let io = SimIo::new();
    let mut rig = Rig::full(&io);
    // Nobody writes a checkpoint.
    while rig.append(AppendClass::Progress, STREAM, 0).is_ok() {
        rig.journal.drive();
    }
    assert!(rig.append(AppendClass::Control, STREAM, 0).is_ok());
    rig.journal.drive();
    let last = rig.last.clone();
    rig.journal.abort();
    io.crash(3);
    let mut rig = Rig::start(&io, last);
    // A purge, and the checkpoint that lets its space go.
    rig.append(AppendClass::Control, STREAM, 0).unwrap();
    rig.answer();
    rig.journal.release_messages_before(GroupId(STREAM), u64::MAX - 1);
    for _ in 0..3 {
        append_state(&rig.journal, 6, b"look");
        rig.answer();
    }
    assert!(matches!(rig.journal.health(), Health::Ok), "{:?}", rig.journal.stats());
    rig.append(AppendClass::Message, STREAM, 2500).unwrap();
}

/// A checkpoint larger than what is left waited for a segment that the disk had no room for, and all after it waited as well.
#[test]
fn nothing_is_let_in_that_a_full_disk_has_no_place_for() {
    let io = SimIo::new();
    let mut rig = Rig::full(&io);
    while rig.journal.append_large(AppendClass::Control, SEGMENT_BYTES as usize / 4).is_ok() {
        rig.append(AppendClass::Control, STREAM, 0).unwrap();
        rig.journal.drive();
    }
    rig.append(AppendClass::Control, STREAM, 0).expect("what is small has a place");
    rig.journal.drive();
    assert_eq!(rig.watch.durable_index(GroupId(STREAM)), rig.last[0].1);
}
