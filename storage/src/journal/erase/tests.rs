//! An erase beside a compaction.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::format::record::{RecordHeader, RecordKind};
use crate::io::SimIo;
use crate::journal::compact::{Compaction, Outcome};
use crate::journal::{AppendClass, Urgency};
use crate::options::JournalOptions;

const GROUP: GroupId = GroupId(5);
const SECRET: &[u8] = b"a secret to be erased";

fn append(journal: &Journal, index: u64, payload: &[u8]) {
    let blank = RecordHeader::of_payload(GROUP, RecordKind::Message, payload.len());
    let mut appender = journal.append(AppendClass::Message).unwrap();
    appender.record(&RecordHeader { index, term: 1, sequence: index, ..blank }, &[payload]);
    appender.finish(Urgency::Wake);
    journal.drive();
}

/// It overwrote the old copy, which was about to be recycled anyway, and left the new one as it was.
#[test]
fn an_erase_reaches_the_copy_that_a_compaction_has_just_made() {
    let io = SimIo::new();
    let segment_bytes = 32 * 1024;
    let options = JournalOptions {
        segment_bytes: Some(segment_bytes),
        first_segment_bytes: segment_bytes,
        manual: true,
        scrub_bytes_per_second: 0,
        ..JournalOptions::default()
    };
    let journal = Journal::open(Arc::new(io.clone()), Path::new("journal"), options, &mut |_| {}).unwrap().journal;
    journal.drive();
    append(&journal, 1, SECRET);
    (2..=60).for_each(|index| append(&journal, index, &[7; 2000]));
    let mut appender = journal.append(AppendClass::Control).unwrap();
    appender.checkpoint(GROUP, 60, 1, Bytes::from_static(b"checkpoint"));
    drop(appender);
    journal.drive();
    (2..=30).for_each(|sequence| journal.release_message(GROUP, sequence));
    let shared = &*journal.shared;
    let [before] = shared.places(GROUP, 1)[..] else { panic!("one place") };

    let victims = shared.segments.read().values().take(2).cloned().collect();
    let mut compaction = Compaction::new(victims);
    let outcome = std::iter::from_fn(|| Some(compaction.step(shared).unwrap())).flatten().next();
    let Some(Outcome::Done { number, .. }) = outcome else { panic!("it was not done") };

    // The victims are not retired yet.
    assert!(matches!(shared.erase_at(before, GROUP, 1), Err(Unerased::Moved)));
    journal.erase_message(GROUP, 1).unwrap();
    assert!(journal.read_message(GROUP, 1).unwrap().is_erased());
    let path = shared.segment(number).unwrap().path.clone();
    assert!(!io.content(&path).unwrap().windows(SECRET.len()).any(|window| window == SECRET));
}
