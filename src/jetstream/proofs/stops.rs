//! What a clean stop leaves to the next start: little to apply.

use std::path::Path;
use std::sync::Arc;

use headwater_storage::{Journal, JournalOptions, SimIo};

use super::node_rig::{DIRECTORY, Rig, options};

/// Nothing but a stop is a reason for a checkpoint.
fn one_segment() -> JournalOptions {
    let bytes = 16 * 1024 * 1024;
    JournalOptions { segment_bytes: Some(bytes), first_segment_bytes: bytes, checkpoint_bytes: 1 << 40, ..options() }
}

/// Entries that a start applies.
fn to_apply(io: &SimIo) -> u64 {
    let opened = Journal::open(Arc::new(io.fork()), Path::new(DIRECTORY), one_segment(), &mut |_| {}).unwrap();
    opened.journal.replay(&mut |_| {}, &mut |_, _| {}).unwrap().entries
}

/// A start applied up to 64 MiB of each stream though everything had been well.
#[test]
fn a_start_after_a_clean_stop_applies_next_to_nothing() {
    let io = SimIo::new();
    let mut rig = Rig::start_with(&io, one_segment());
    rig.create_stream("");
    (0..50).for_each(|_| assert!(rig.store("s.1", b"small") > 0));
    rig.stop();
    assert_eq!(to_apply(&io), 0, "it had no checkpoint yet");
    let mut rig = Rig::start_with(&io, one_segment());
    (0..50).for_each(|_| assert!(rig.store("s.1", &[7; 30_000]) > 0));
    rig.stop();
    assert!(to_apply(&io) <= 1, "it had written much");
    let mut rig = Rig::start_with(&io, one_segment());
    rig.store("s.1", b"a little");
    rig.stop();
    assert!((1..=3).contains(&to_apply(&io)), "for so little it is not worth one");
    let rig = Rig::start_with(&io, one_segment());
    assert_eq!(rig.payload(101).as_deref(), Some(&b"a little"[..]));
}

/// What does not fit into the time of a stop, or on the disk, is applied by the next start as before.
#[test]
fn a_stop_on_a_full_disk_loses_nothing() {
    let io = SimIo::new();
    let mut rig = Rig::start_with(&io, one_segment());
    rig.create_stream("");
    (0..50_u64).for_each(|number| assert!(rig.store("s.1", &number.to_le_bytes()) > 0));
    io.set_capacity(Some(0));
    rig.stop();
    io.set_capacity(None);
    let rig = Rig::start_with(&io, one_segment());
    assert!((0..50_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
}
