//! What is left of a stream that was deleted: nothing.

use headwater_storage::{JournalOptions, SimIo};

use super::super::store::Store;
use super::node_rig::{Rig, options};
use crate::protocol::headers;

/// A worker that brought subscriptions up to date after an update could find the stream just before it was deleted, and
/// subscribe for it just after. Nobody left those subjects any more: whoever published to them waited for an answer
/// instead of hearing that there are no responders.
#[test]
fn a_deleted_stream_does_not_subscribe_again() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let stream = rig.stream();
    assert!(stream.account().interest.any_match(b"s.a", |_| true));
    rig.grant("STREAM.DELETE.S", "");
    rig.node.subscribe(&stream);
    rig.node.subscribe_to(&stream, &stream.config());
    assert!(!stream.account().interest.any_match(b"s.a", |_| true), "nobody is there");
    rig.create_stream("");
    assert_eq!(rig.store("s.a", b"one"), 1);
}

/// Whoever had published to it, and was silent since, kept all that a deleted stream had held in memory, though the account
/// had been given it back.
#[test]
fn a_deleted_stream_in_memory_holds_nothing_whoever_remembers_it() {
    let mut rig = Rig::start(&SimIo::new());
    rig.grant("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    rig.store("s.a", &[b'x'; 10_000]);
    let stream = rig.stream();
    let held = || match &stream.lock().store {
        Store::Memory(log) => log.bytes_held(),
        Store::File(_) => panic!("a stream in memory"),
    };
    assert!(held() >= 10_000);
    rig.grant("STREAM.DELETE.S", "");
    assert!(held() < 1000, "{}", held());
}

/// The batches that were open when a stream went out of service counted against the server's limit until the next start.
#[test]
fn a_stream_out_of_service_has_no_open_batches() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","allow_atomic":true"#);
    let mut block = Vec::new();
    headers::append(&mut block, "Nats-Batch-Id", b"b");
    headers::append(&mut block, "Nats-Batch-Sequence", b"1");
    rig.send("s.a", &block, b"x");
    let shared = rig.node.shared();
    assert_eq!(shared.batch_budget.open(), 1);
    // A defect: its thread has other streams to serve.
    let stream = rig.stream();
    stream.with(|core, publisher| {
        assert_eq!(stream.guarded(core, publisher, |_, _| panic!("a defect")), None::<()>);
    });
    assert!(stream.lock().closed);
    assert_eq!(shared.batch_budget.open(), 0);
}

/// Nothing but the number of entries is a reason for a checkpoint.
fn one_segment() -> JournalOptions {
    let bytes = 16 * 1024 * 1024;
    JournalOptions { segment_bytes: Some(bytes), first_segment_bytes: bytes, checkpoint_bytes: 1 << 40, ..options() }
}

/// A start made each stream that the log of the list names, and kept it although the log says that it was deleted: memory and
/// time grew with every stream that there ever was.
#[test]
fn a_start_does_not_hold_streams_that_came_and_went() {
    let mut rig = Rig::start_with(&SimIo::new(), one_segment());
    let baseline = rig.account_holders_max;
    for _ in 0..100 {
        rig.create_stream("");
        rig.grant("STREAM.DELETE.S", "");
    }
    // No checkpoint of the list at a clean end.
    let io = rig.io.fork();
    io.crash(1);
    let rig = Rig::start(&io);
    assert!(rig.account_holders_max < baseline + 10, "{} have the account", rig.account_holders_max);
}

#[test]
fn the_list_of_streams_is_checkpointed_by_the_number_of_its_entries() {
    let mut rig = Rig::start_with(&SimIo::new(), one_segment());
    for _ in 0..500 {
        rig.create_stream("");
        rig.grant("STREAM.DELETE.S", "");
    }
    assert!(rig.node.meta().uncovered() < 1100, "{} entries to apply", rig.node.meta().uncovered());
}

/// A defect met while a client was served left the consumer out of the stream for good, and went on to the client's
/// thread.
#[test]
fn a_defect_met_by_a_request_takes_its_stream_out_of_service_and_nothing_else() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"]}"#);
    rig.stream().when_stored(0, |_, _| panic!("a defect"));
    assert!(rig.stream().lock().closed);
    assert_eq!(rig.store("t", b""), 1);
}
