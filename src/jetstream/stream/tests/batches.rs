//! Atomic batches, accepted or refused as one, and messages of fast ones, with the answers of the genuine server.

use super::super::{PublishHeaders, Refusal, Room, StagedMessage};
use super::harness::{Harness, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::Discard;
use crate::protocol::headers;

type Message<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn staged(messages: &[Message<'_>]) -> Vec<StagedMessage> {
    let stage = |(subject, values): &Message<'_>| {
        let mut block = Vec::new();
        for (key, value) in *values {
            headers::append(&mut block, key, value.as_bytes());
        }
        StagedMessage::new(subject.as_bytes(), &block, b"x")
    };
    messages.iter().map(stage).collect()
}

fn decide(harness: &mut Harness, messages: &[Message<'_>]) -> Result<Vec<u64>, (u16, String)> {
    decide_with(harness, messages, Room::UNLIMITED)
}

fn decide_with(harness: &mut Harness, messages: &[Message<'_>], room: Room) -> Result<Vec<u64>, (u16, String)> {
    let decided = harness.machine.decide_batch(&staged(messages), harness.now, &room, &harness.store);
    match decided {
        Ok(accepts) => Ok(accepts.iter().map(|accept| accept.sequence).collect()),
        Err(Refusal::Error(error)) => Err((error.err_code, error.description.to_string())),
        Err(other) => panic!("{other:?}"),
    }
}

const LAST: &str = "Nats-Expected-Last-Sequence";
const LAST_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence";
const ID: &str = "Nats-Msg-Id";
const ROLLUP: &str = "Nats-Rollup";

#[test]
fn a_refused_batch_leaves_no_trace() {
    let mut harness = Harness::new(config());
    harness.accept("s.a", &[(ID, "m0")], "x").unwrap();
    let hash = harness.machine.state_hash();
    let messages: [Message<'_>; 3] = [("s.a", &[(ID, "m1")]), ("s.b", &[]), ("s.c", &[("Nats-TTL", "x")])];
    assert_eq!(decide(&mut harness, &messages), Err((10165, "invalid per-message TTL".to_owned())));
    assert_eq!((harness.machine.in_flight(), harness.machine.state_hash()), (1, hash));
    // The ids and sequences of the batch are free again.
    assert_eq!(decide(&mut harness, &messages[..2]), Ok(vec![2, 3]));
    assert_eq!(decide(&mut harness, &[("s.d", &[(LAST, "3")])]), Ok(vec![4]));
}

#[test]
fn what_the_batch_writes_itself_can_not_be_expected() {
    let mut harness = Harness::new(config());
    harness.publish("s.a", &[], "x").unwrap();
    let wrong = |sequence: u64| Err((10071, format!("wrong last sequence: {sequence}")));
    let constant = || Err((10164, "wrong last sequence".to_owned()));
    assert_eq!(decide(&mut harness, &[("s.a", &[(LAST, "0")]), ("s.b", &[])]), wrong(1));
    assert_eq!(decide(&mut harness, &[("s.b", &[]), ("s.b", &[(LAST, "1")])]), wrong(2));
    assert_eq!(decide(&mut harness, &[("s.b", &[]), ("s.b", &[(LAST, "2")])]), constant());
    assert_eq!(decide(&mut harness, &[("s.a", &[(LAST_OF_SUBJECT, "0")])]), wrong(1));
    assert_eq!(decide(&mut harness, &[("s.b", &[]), ("s.b", &[(LAST_OF_SUBJECT, "2")])]), constant());
    let other: &[(&str, &str)] = &[(LAST_OF_SUBJECT, "0"), ("Nats-Expected-Last-Subject-Sequence-Subject", "s.b")];
    assert_eq!(decide(&mut harness, &[("s.b", &[]), ("s.c", other)]), constant());
    let unsupported = (10177, "atomic publish unsupported header used: Nats-Expected-Last-Msg-Id".to_owned());
    assert_eq!(decide(&mut harness, &[("s.a", &[("Nats-Expected-Last-Msg-Id", "x")])]), Err(unsupported));
    let fits: [Message<'_>; 2] = [("s.a", &[(LAST, "1"), (LAST_OF_SUBJECT, "1")]), ("s.b", &[(LAST_OF_SUBJECT, "0")])];
    assert_eq!(decide(&mut harness, &fits), Ok(vec![2, 3]));
}

#[test]
fn ids_are_refused_when_they_are_known_to_the_stream_or_twice_in_the_batch() {
    let mut harness = Harness::new(config());
    harness.publish("s.a", &[(ID, "applied")], "x").unwrap();
    harness.accept("s.a", &[(ID, "on its way")], "x").unwrap();
    let duplicate = || Err((10201, "atomic publish batch contains duplicate message id".to_owned()));
    assert_eq!(decide(&mut harness, &[("s.a", &[(ID, "applied")])]), duplicate());
    assert_eq!(decide(&mut harness, &[("s.a", &[(ID, "on its way")])]), duplicate());
    assert_eq!(decide(&mut harness, &[("s.a", &[(ID, "new")]), ("s.b", &[(ID, "new")])]), duplicate());
    assert_eq!(decide(&mut harness, &[("s.a", &[(ID, "new")]), ("s.b", &[(ID, "newer")])]), Ok(vec![3, 4]));
    assert_eq!(harness.accept("s.a", &[(ID, "newer")], "x"), Err(Refusal::Duplicate { sequence: 4, in_flight: true }));
}

#[test]
fn a_rollup_must_not_undo_the_batch_itself() {
    let mut harness = Harness::new(config());
    let failed = |text: &str| Err((10111, text.to_owned()));
    assert_eq!(decide(&mut harness, &[("s.a", &[]), ("s.a", &[(ROLLUP, "sub")])]), failed("batch rollup sub invalid"));
    assert_eq!(decide(&mut harness, &[("s.a", &[]), ("s.b", &[(ROLLUP, "all")])]), failed("batch rollup all invalid"));
    assert_eq!(decide(&mut harness, &[("s.a", &[(ROLLUP, "all")]), ("s.b", &[(ROLLUP, "sub")])]), Ok(vec![1, 2]));
}

#[test]
fn limits_count_the_whole_batch() {
    let strict = StreamConfig { discard: Discard::New, max_msgs: 3, ..config() };
    let mut harness = Harness::new(strict);
    harness.publish("s.a", &[], "x").unwrap();
    let messages: [Message<'_>; 3] = [("s.b", &[]), ("s.c", &[]), ("s.d", &[])];
    assert_eq!(decide(&mut harness, &messages), Err((10077, "maximum messages exceeded".to_owned())));
    assert_eq!(decide(&mut harness, &messages[..2]), Ok(vec![2, 3]));

    let mut harness = Harness::new(config());
    let messages: [Message<'_>; 2] = [("s.b", &[]), ("s.c", &[])];
    // 30 bytes of overhead, 3 of subject, 1 of payload, each.
    let room = |account_bytes| Room { account_bytes, ..Room::UNLIMITED };
    assert_eq!(decide_with(&mut harness, &messages, room(67)).unwrap_err().0, 10002);
    assert_eq!(harness.machine.in_flight(), 0);
    assert_eq!(decide_with(&mut harness, &messages, room(68)), Ok(vec![1, 2]));
}

/// A message of a fast batch: its sequence, or why it is not stored.
fn decide_fast(harness: &mut Harness, subject: &str, values: &[(&str, &str)]) -> Result<u64, Refusal> {
    let staged = staged(&[(subject, values)]);
    let publish = staged[0].as_publish();
    let asked = PublishHeaders::parse(publish.headers);
    let (now, room) = (harness.now, Room::UNLIMITED);
    harness.machine.decide_in_fast_batch(&publish, &asked, now, &room, &harness.store).map(|accept| accept.sequence)
}

#[test]
fn messages_of_a_fast_batch_see_those_before_them() {
    let mut harness = Harness::new(StreamConfig { max_msgs: 4, discard: Discard::New, ..config() });
    harness.publish("s.a", &[(ID, "m1")], "x").unwrap();
    assert_eq!(decide_fast(&mut harness, "s.b", &[(LAST, "1"), (ID, "m2")]), Ok(2));
    assert_eq!(decide_fast(&mut harness, "s.b", &[(LAST_OF_SUBJECT, "2"), ("Nats-Expected-Last-Msg-Id", "m2")]), Ok(3));
    let duplicate = |sequence, in_flight| Err(Refusal::Duplicate { sequence, in_flight });
    assert_eq!(decide_fast(&mut harness, "s.b", &[(ID, "m1")]), duplicate(1, false));
    assert_eq!(decide_fast(&mut harness, "s.b", &[(ID, "m2")]), duplicate(2, true));
    for (values, err_code) in [
        ((LAST, "1"), 10071),
        ((LAST_OF_SUBJECT, "1"), 10071),
        (("Nats-Expected-Last-Msg-Id", "m2"), 10070),
        ((ROLLUP, "x"), 10111),
        (("Nats-TTL", "x"), 10165),
    ] {
        let refused = decide_fast(&mut harness, "s.b", &[values]);
        assert!(
            matches!(&refused, Err(Refusal::Error(error)) if error.err_code == err_code),
            "{values:?}: {refused:?}"
        );
    }
    // Atomic batches are none of its business.
    assert_eq!(decide_fast(&mut harness, "s.c", &[("Nats-Batch-Id", "a")]), Ok(4));
    let refused = decide_fast(&mut harness, "s.c", &[]);
    assert!(matches!(&refused, Err(Refusal::Error(error)) if error.err_code == 10077), "{refused:?}");
}
