//! What publishers ask for in headers, with the answers of the genuine server.

use super::super::{Refusal, Room};
use super::harness::{Harness, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::{Discard, Retention};

#[test]
fn expectations_are_checked_against_everything_accepted() {
    let mut harness = Harness::new(config());
    harness.accept("s.a", &[], "x").unwrap();
    // Nothing is applied yet.
    let wrong = |sequence: u64| (10071, format!("wrong last sequence: {sequence}"));
    assert_eq!(harness.refusal("s.a", &[("Nats-Expected-Last-Sequence", "3")]), wrong(1));
    assert_eq!(harness.refusal("s.a", &[("Nats-Expected-Last-Sequence", "abc")]), wrong(1));
    assert_eq!(harness.refusal("s.a", &[("Nats-Expected-Last-Subject-Sequence", "0")]), wrong(1));
    assert_eq!(harness.refusal("s.b", &[("Nats-Expected-Last-Subject-Sequence", "1")]), wrong(0));
    let by_filter =
        [("Nats-Expected-Last-Subject-Sequence", "5"), ("Nats-Expected-Last-Subject-Sequence-Subject", "s.>")];
    assert_eq!(harness.refusal("s.b", &by_filter), wrong(1));
    let (code, text) = harness.refusal("s.b", &[("Nats-Expected-Last-Subject-Sequence-Subject", "s.>")]);
    assert_eq!((code, text.as_str()), (10193, "missing sequence for expected last sequence per subject"));
    assert_eq!(harness.refusal("s.a", &[("Nats-Expected-Stream", "T")]).0, 10060);

    let second = harness.accept("s.b", &[("Nats-Expected-Last-Subject-Sequence", "0")], "x").unwrap();
    let header = [("Nats-Expected-Last-Sequence", "2"), ("Nats-Expected-Last-Subject-Sequence", "1")];
    let third = harness.accept("s.a", &header, "x").unwrap();
    assert_eq!((second.sequence, third.sequence), (2, 3));
    harness.apply_all();
    assert_eq!(harness.refusal("s.a", &[("Nats-Expected-Last-Subject-Sequence", "1")]), wrong(3));
    assert_eq!(harness.publish("s.a", &[("Nats-Expected-Last-Subject-Sequence", "3")], "x"), Ok(4));
}

#[test]
fn duplicates_are_told_before_and_after_the_original_is_applied() {
    let mut harness = Harness::new(config());
    let id = [("Nats-Msg-Id", "m1")];
    let accept = harness.accept("s.a", &id, "x").unwrap();
    assert_eq!(harness.accept("s.b", &id, "x"), Err(Refusal::Duplicate { sequence: 1, in_flight: true }));
    harness.apply_all();
    assert_eq!(harness.accept("s.b", &id, "x"), Err(Refusal::Duplicate { sequence: 1, in_flight: false }));
    // Within the window only: it ends so long after the original.
    harness.now = accept.time + 120_000_000_000 - 1;
    assert_eq!(harness.accept("s.b", &id, "x"), Err(Refusal::Duplicate { sequence: 1, in_flight: false }));
    harness.now += 1;
    assert_eq!(harness.publish("s.b", &id, "x"), Ok(2));
}

#[test]
fn a_retry_with_an_expectation_fails_as_on_a_single_genuine_server() {
    let mut harness = Harness::new(config());
    let header = [("Nats-Msg-Id", "m1"), ("Nats-Expected-Last-Sequence", "0")];
    assert_eq!(harness.publish("s.a", &header, "x"), Ok(1));
    assert_eq!(harness.refusal("s.a", &header).0, 10071);
}

#[test]
fn the_last_id_is_that_of_the_last_message_even_when_it_has_none() {
    let mut harness = Harness::new(config());
    let expects = |id| [("Nats-Expected-Last-Msg-Id", id)];
    assert_eq!(harness.refusal("s.a", &expects("zz")), (10070, "wrong last msg ID: ".to_owned()));
    harness.accept("s.a", &[("Nats-Msg-Id", "m1")], "x").unwrap();
    assert_eq!(harness.refusal("s.a", &expects("zz")), (10070, "wrong last msg ID: m1".to_owned()));
    harness.apply_all();
    assert_eq!(harness.publish("s.a", &expects("m1"), "x"), Ok(2));
    assert_eq!(harness.refusal("s.a", &expects("m1")), (10070, "wrong last msg ID: ".to_owned()));
}

#[test]
fn refusals_have_the_texts_of_the_genuine_server() {
    let plain = StreamConfig { allow_rollup_hdrs: false, allow_msg_ttl: false, ..config() };
    let mut harness = Harness::new(plain);
    for (header, code, text) in [
        (("Nats-TTL", "5"), 10166, "per-message TTL is disabled"),
        (("Nats-TTL", "abc"), 10165, "invalid per-message TTL"),
        (("Nats-TTL", "0"), 10165, "invalid per-message TTL"),
        (("Nats-Rollup", "sub"), 10111, "rollup not permitted"),
        (("Nats-Incr", "5"), 10168, "message counters is disabled"),
        (("Nats-Incr", "x"), 10171, "message counter increment is invalid"),
        (("Nats-Batch-Id", "5"), 10174, "atomic publish is disabled"),
        (("Nats-Schedule", "zzz"), 10188, "message schedules is disabled"),
        (("Nats-Schedule-Next", "purge"), 10212, "message schedules invalid scheduler"),
        (("Nats-Scheduler", "x"), 10212, "message schedules invalid scheduler"),
        (("Nats-Stream-Source", "x"), 10227, "message stream source header is not allowed"),
    ] {
        assert_eq!(harness.refusal("s.a", &[header]), (code, text.to_owned()), "{header:?}");
    }
    let mut harness = Harness::new(config());
    let invalid = harness.refusal("s.a", &[("Nats-Rollup", "XYZ")]);
    assert_eq!(invalid, (10111, "rollup value invalid: \"xyz\"".to_owned()));
}

#[test]
fn sizes_and_room_are_limited() {
    let mut harness = Harness::new(StreamConfig { max_msg_size: 10, ..config() });
    assert!(harness.publish("s.a", &[], "0123456789").is_ok());
    let refused = harness.publish("s.a", &[], "0123456789a").unwrap_err();
    assert!(matches!(refused, Refusal::Error(error) if error.err_code == 10054));

    let mut harness = Harness::new(config());
    let long = "x".repeat(70_000);
    assert_eq!(harness.refusal("s.a", &[("Long", &long)]).0, 10097);
    let publish = super::super::Publish { subject: b"s.a", reply: None, headers: b"", payload: b"x" };
    let room = Room { server_is_full: true, ..Room::UNLIMITED };
    let refused = harness.machine.decide(&publish, 0, &room, &harness.store).unwrap_err();
    assert!(matches!(refused, Refusal::Error(error) if error.err_code == 10023));
    // 30 bytes of overhead, 3 of subject, 1 of payload.
    let room = Room { account_bytes: 33, ..Room::UNLIMITED };
    let refused = harness.machine.decide(&publish, 0, &room, &harness.store).unwrap_err();
    assert!(matches!(refused, Refusal::Error(error) if error.err_code == 10002));
    let room = Room { account_bytes: 34, ..Room::UNLIMITED };
    assert!(harness.machine.decide(&publish, 0, &room, &harness.store).is_ok());
}

#[test]
fn a_sealed_stream_takes_nothing() {
    let mut harness = Harness::new(StreamConfig { sealed: true, ..config() });
    assert_eq!(harness.refusal("s.a", &[]).0, 10109);
}

#[test]
fn a_fast_batch_is_refused_by_its_reply_subject() {
    let mut harness = Harness::new(config());
    let reply = Some(&b"_INBOX.x.uuid.10.ok.1.0.$FI"[..]);
    let publish = super::super::Publish { subject: b"s.a", reply, headers: b"", payload: b"x" };
    let refused = harness.machine.decide(&publish, 0, &Room::UNLIMITED, &harness.store).unwrap_err();
    assert!(matches!(refused, Refusal::Error(error) if error.err_code == 10205));
}

#[test]
fn what_came_over_an_import_loses_its_request_info() {
    let mut harness = Harness::new(config());
    let header = [("Nats-Request-Info", "{}"), ("A", "1")];
    let accept = harness.accept("s.a", &header, "x").unwrap();
    assert_eq!(accept.headers.as_deref(), Some(&b"NATS/1.0\r\nA: 1\r\n\r\n"[..]));
}

#[test]
fn times_grow_even_when_the_clock_does_not() {
    let mut harness = Harness::new(config());
    let first = harness.accept("s.a", &[], "x").unwrap().time;
    harness.now -= 500;
    assert_eq!(harness.accept("s.a", &[], "x").unwrap().time, first + 1);
    harness.apply_all();
    harness.machine.reset_in_flight();
    assert_eq!(harness.accept("s.a", &[], "x").unwrap().time, first + 2);
}

#[test]
fn what_the_log_did_not_take_leaves_what_is_on_its_way_alone() {
    let mut harness = Harness::new(config());
    harness.put("s.a");
    assert_eq!(harness.accept("s.a", &[("Nats-Msg-Id", "first")], "x").unwrap().sequence, 2);
    for id in ["second", "third"] {
        harness.accept("s.b", &[("Nats-Msg-Id", id)], "x").unwrap();
        harness.unapplied.pop_back();
    }
    harness.machine.take_back(3);
    harness.machine.take_back(4);
    let again = harness.accept("s.b", &[("Nats-Msg-Id", "third"), ("Nats-Expected-Last-Sequence", "2")], "x");
    assert_eq!(again.unwrap().sequence, 3);
    assert!(matches!(
        harness.accept("s.a", &[("Nats-Msg-Id", "first")], "x"),
        Err(Refusal::Duplicate { sequence: 2, .. })
    ));
}

#[test]
fn what_was_accepted_is_forgotten_on_reset() {
    let mut harness = Harness::new(config());
    harness.put("s.a");
    harness.accept("s.a", &[("Nats-Msg-Id", "m")], "x").unwrap();
    harness.unapplied.clear();
    harness.machine.reset_in_flight();
    assert_eq!(harness.publish("s.a", &[("Nats-Msg-Id", "m"), ("Nats-Expected-Last-Sequence", "1")], "x"), Ok(2));
}

#[test]
fn too_many_on_the_way_are_refused() {
    let mut harness = Harness::new(config());
    let publish = super::super::Publish { subject: b"s.a", reply: None, headers: b"", payload: b"" };
    for _ in 0..super::super::IN_FLIGHT_MAX {
        harness.machine.decide(&publish, 0, &Room::UNLIMITED, &harness.store).unwrap();
    }
    assert_eq!(harness.machine.decide(&publish, 0, &Room::UNLIMITED, &harness.store), Err(Refusal::Busy));
}

#[test]
fn discard_new_counts_what_is_on_the_way() {
    let limited = StreamConfig { discard: Discard::New, max_msgs: 2, ..config() };
    let mut harness = Harness::new(limited.clone());
    harness.accept("s.a", &[], "x").unwrap();
    harness.accept("s.b", &[], "x").unwrap();
    assert_eq!(harness.refusal("s.c", &[]), (10077, "maximum messages exceeded".to_owned()));

    // With a limit per subject a message may replace an older one of its subject.
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 1, ..limited.clone() });
    for subject in ["s.a", "s.b", "s.a", "s.b"] {
        harness.accept(subject, &[], "x").unwrap();
    }
    assert_eq!(harness.refusal("s.c", &[]).0, 10077);
    harness.apply_all();
    assert_eq!(harness.sequences(), [3, 4]);

    let per_subject = StreamConfig { max_msgs_per_subject: 1, discard_new_per_subject: true, ..limited.clone() };
    let mut harness = Harness::new(per_subject);
    harness.accept("s.a", &[], "x").unwrap();
    let refused = (10077, "maximum messages per subject exceeded".to_owned());
    assert_eq!(harness.refusal("s.a", &[]), refused);
    harness.apply_all();
    assert_eq!(harness.refusal("s.a", &[]), refused);
    assert_eq!(harness.publish("s.a", &[("Nats-Rollup", "sub")], "x"), Ok(2));
    assert_eq!(harness.sequences(), [2]);

    let mut harness = Harness::new(StreamConfig { max_msgs: -1, max_bytes: 70, ..limited });
    harness.accept("s.a", &[], "x").unwrap();
    harness.accept("s.a", &[], "x").unwrap();
    assert_eq!(harness.refusal("s.a", &[]), (10077, "maximum bytes exceeded".to_owned()));
}

/// What a roll-up on its way replaces was counted with it: the message behind it was refused though there was room.
#[test]
fn discard_new_does_not_count_what_a_roll_up_on_the_way_replaces() {
    let rolls_up = |value| [("Nats-Rollup", value)];
    let limited = StreamConfig { discard: Discard::New, max_msgs: 3, ..config() };
    let mut harness = Harness::new(limited.clone());
    harness.put("s.a");
    harness.accept("s.b", &[], "x").unwrap();
    harness.accept("s.a", &rolls_up("all"), "x").unwrap();
    harness.accept("s.c", &[], "x").unwrap();
    harness.accept("s.a", &[], "x").unwrap();
    assert_eq!(harness.refusal("s.c", &[]).0, 10077);
    harness.apply_all();
    assert_eq!(harness.sequences(), [3, 4, 5]);

    let mut harness = Harness::new(StreamConfig { max_msgs: 4, ..limited.clone() });
    harness.put("s.a");
    harness.put("s.a");
    harness.accept("s.a", &[], "x").unwrap();
    harness.accept("s.a", &rolls_up("sub"), "x").unwrap();
    for subject in ["s.a", "s.b", "s.c"] {
        harness.accept(subject, &[], "x").unwrap();
    }
    assert_eq!(harness.refusal("s.d", &[]).0, 10077);
    harness.apply_all();
    assert_eq!(harness.sequences(), [4, 5, 6, 7]);

    let per_subject = StreamConfig { max_msgs_per_subject: 1, discard_new_per_subject: true, ..limited.clone() };
    let mut harness = Harness::new(per_subject);
    harness.put("s.a");
    harness.accept("s.b", &rolls_up("all"), "x").unwrap();
    harness.accept("s.a", &[], "x").unwrap();
    assert_eq!(harness.refusal("s.b", &[]).0, 10077);
    harness.apply_all();
    assert_eq!(harness.sequences(), [2, 3]);

    for value in ["sub", "all"] {
        let mut harness = Harness::new(StreamConfig { max_msgs: -1, max_bytes: 240, ..limited.clone() });
        // 133 bytes; a roll-up has 77.
        harness.publish("s.a", &[], &"x".repeat(100)).unwrap();
        for _ in 0..5 {
            harness.accept("s.a", &rolls_up(value), &"x".repeat(10)).unwrap();
        }
        harness.accept("s.b", &[], &"x".repeat(100)).unwrap();
        assert_eq!(harness.refusal("s.c", &[]).1, "maximum bytes exceeded");
        harness.apply_all();
        assert_eq!(harness.sequences(), [6, 7]);
        assert_eq!(harness.machine.bytes(), 210);
    }
}

#[test]
fn what_a_roll_up_on_the_way_replaces_is_not_the_last_of_its_subject() {
    let mut harness = Harness::new(config());
    harness.put("s.a");
    harness.accept("s.b", &[("Nats-Rollup", "all")], "x").unwrap();
    let expects = |last| [("Nats-Expected-Last-Subject-Sequence", last)];
    assert_eq!(harness.refusal("s.a", &expects("1")).0, 10071);
    harness.accept("s.a", &expects("0"), "x").unwrap();
    harness.accept("s.a", &expects("3"), "x").unwrap();
}

/// The genuine server looks at the life of a message when it stores it, and stores none that nobody wants.
#[test]
fn nobody_looks_at_the_life_of_a_message_that_nobody_wants() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::Interest, allow_msg_ttl: true, ..config() });
    let mut block = Vec::new();
    crate::protocol::headers::append(&mut block, "Nats-TTL", b"x");
    let publish = super::super::Publish { subject: b"s.a", reply: Some(b"inbox"), headers: &block, payload: b"" };
    let unwanted = Room { is_unwanted: true, ..Room::UNLIMITED };
    assert_eq!(harness.machine.decide(&publish, 0, &unwanted, &harness.store).unwrap().sequence, 1);
    harness.machine.take_back(1);
    assert_eq!(harness.refusal("s.a", &[("Nats-TTL", "x")]).0, 10165);
}

/// nats.py purges many keys of a bucket with one message: `kv.purge("a.*")`.
#[test]
fn a_rollup_of_a_subject_with_wildcards_replaces_all_that_it_matches() {
    let mut harness = Harness::new(config());
    let subjects = ["s.a.1", "s.b.1", "s.a.2", "s.a.1.x", "s.a.1", "s.a.*"];
    for subject in subjects {
        harness.put(subject);
    }
    assert_eq!(harness.publish("s.a.*", &[("Nats-Rollup", "sub")], "x"), Ok(7));
    assert_eq!(harness.sequences(), [2, 4, 7]);
    assert_eq!(harness.publish("s.>", &[("Nats-Rollup", "sub")], "x"), Ok(8));
    assert_eq!(harness.sequences(), [8]);
}
