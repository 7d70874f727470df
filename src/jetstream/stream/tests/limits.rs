//! Limits, purges, deletes, age and interest: the shapes are those observed of the genuine server.

use super::super::{ConsumerChange, Control, Effects, Outcome, StreamMachine};
use super::harness::{Harness, apply, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::error_codes;
use crate::jetstream::api::stream_config::{Discard, Retention, StorageType};
use crate::jetstream::api::time::SECOND;

#[test]
fn deletes_and_purges_leave_the_shapes_of_the_genuine_server() {
    let mut harness = Harness::new(StreamConfig { subjects: vec!["Pf.>".to_owned()], ..config() });
    for i in 0..5 {
        harness.put(&format!("Pf.a{}", i % 2));
    }
    assert_eq!(harness.shape(), (5, 180, 1, 5, vec![]));
    assert!(harness.delete(3) && !harness.delete(3) && !harness.delete(99) && !harness.delete(0));
    assert_eq!(harness.shape(), (4, 144, 1, 5, vec![3]));
    assert_eq!(harness.purge("", 1, 0), 0);
    assert_eq!(harness.purge("", 2, 0), 1);
    assert_eq!(harness.shape(), (3, 108, 2, 5, vec![3]));
    harness.delete(2);
    assert_eq!(harness.shape(), (2, 72, 4, 5, vec![]));
    harness.delete(5);
    assert_eq!(harness.shape(), (1, 36, 4, 5, vec![5]));
    harness.delete(4);
    assert_eq!(harness.shape(), (0, 0, 6, 5, vec![]));
    assert_eq!(harness.put("Pf.b"), 6);
    assert_eq!(harness.shape(), (1, 35, 6, 6, vec![]));
    assert_eq!(harness.purge("", 20, 0), 1);
    assert_eq!(harness.shape(), (0, 0, 20, 19, vec![]));
    for subject in ["Pf.b", "Pf.b", "Pf.c", "Pf.b"] {
        harness.put(subject);
    }
    assert_eq!(harness.purge("Pf.b", 0, 1), 2);
    assert_eq!(harness.shape(), (2, 70, 22, 23, vec![]));
    assert_eq!(harness.purge("Pf.*", 23, 0), 1);
    assert_eq!(harness.purge("Pf..b", 0, 0), 0);
    assert_eq!(harness.purge("", 0, 1), 0);
    assert_eq!(harness.shape(), (1, 35, 23, 23, vec![]));
    assert_eq!(harness.purge("", 0, 0), 1);
    assert_eq!(harness.shape(), (0, 0, 24, 23, vec![]));
}

#[test]
fn a_purge_beyond_the_end_moves_what_is_decided_after_it() {
    let mut harness = Harness::new(config());
    harness.put("s.a");
    let control = Control::Purge { filter: String::new(), up_to: 10, keep: 0 };
    let time = harness.machine.decide_control(harness.now);
    harness.machine.control_appended(&control);
    harness.unapplied.push_back(harness.log.len());
    harness.log.push(super::harness::Record::Control(control, time));
    // The purge is still on the way.
    assert_eq!(harness.accept("s.a", &[], "x").unwrap().sequence, 10);
    harness.apply_all();
    assert_eq!(harness.shape(), (1, 34, 10, 10, vec![]));
}

#[test]
fn old_messages_make_room() {
    let mut harness = Harness::new(StreamConfig { max_msgs: 3, ..config() });
    for _ in 0..5 {
        harness.put("s.a");
    }
    assert_eq!(harness.sequences(), [3, 4, 5]);
    assert_eq!(harness.effects.removed.len(), 1);
    assert_eq!(harness.effects.subject(&harness.effects.removed[0]), b"s.a");

    let mut harness = Harness::new(StreamConfig { max_bytes: 100, ..config() });
    for _ in 0..5 {
        harness.put("s.a");
    }
    assert_eq!(harness.shape(), (2, 68, 4, 5, vec![]));
    // Too large for the whole stream: it comes and goes.
    assert_eq!(harness.publish("s.a", &[], &"x".repeat(100)), Ok(6));
    assert_eq!(harness.shape(), (0, 0, 7, 6, vec![]));

    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 2, storage: StorageType::Memory, ..config() });
    for subject in ["s.a", "s.b", "s.a", "s.a", "s.b", "s.a"] {
        harness.put(subject);
    }
    assert_eq!(harness.sequences(), [2, 4, 5, 6]);
}

#[test]
fn lower_limits_apply_at_once() {
    let mut harness = Harness::new(config());
    for _ in 0..4 {
        harness.put("s.a");
        harness.put("s.b");
    }
    let update = |config: StreamConfig| Control::Update { config: Box::new(config) };
    assert_eq!(harness.control(update(StreamConfig { max_msgs_per_subject: 2, ..config() })), Outcome::Updated);
    assert_eq!(harness.sequences(), [5, 6, 7, 8]);
    harness.control(update(StreamConfig { max_msgs: 3, ..config() }));
    assert_eq!(harness.sequences(), [6, 7, 8]);
    harness.control(update(StreamConfig { max_bytes: 40, ..config() }));
    assert_eq!(harness.sequences(), [8]);
}

#[test]
fn rollups_replace_what_came_before() {
    let mut harness = Harness::new(config());
    for subject in ["s.a", "s.b", "s.a", "s.b"] {
        harness.put(subject);
    }
    harness.publish("s.a", &[("Nats-Rollup", "SUB")], "x").unwrap();
    assert_eq!(harness.sequences(), [2, 4, 5]);
    harness.publish("s.c", &[("Nats-Rollup", "all")], "x").unwrap();
    assert_eq!(harness.sequences(), [6]);
    assert_eq!(harness.effects.removed_before, Some(6).filter(|_| harness.effects.removed.is_empty()));
}

#[test]
fn messages_grow_too_old() {
    let mut harness = Harness::new(StreamConfig { max_age: 10 * SECOND, ..config() });
    harness.put("s.a");
    harness.publish("s.b", &[("Nats-TTL", "never")], "x").unwrap();
    harness.now += 5 * SECOND;
    harness.put("s.c");
    let oldest = harness.store.messages[&1].time;
    assert_eq!(harness.machine.next_expiry(&harness.store), Some(oldest + 10 * SECOND));
    harness.pass(5 * SECOND);
    assert_eq!(harness.sequences(), [2, 3]);
    harness.pass(5 * SECOND);
    assert_eq!(harness.sequences(), [2]);
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
    // A longer age makes nothing come back, a shorter one is looked at anew.
    harness.put("s.c");
    let config = StreamConfig { max_age: SECOND, ..config() };
    harness.control(Control::Update { config: Box::new(config) });
    harness.pass(SECOND + 1);
    assert_eq!(harness.sequences(), [2]);
}

/// After every commit the oldest message was read anew, however large it was.
#[test]
fn the_age_of_the_oldest_message_is_looked_at_once() {
    let mut harness = Harness::new(StreamConfig { max_age: 10 * SECOND, ..config() });
    harness.put("s.a");
    let due = harness.machine.next_expiry(&harness.store);
    harness.put("s.a");
    harness.store.reads.set(0);
    assert_eq!(harness.machine.next_expiry(&harness.store), due);
    assert_eq!(harness.store.reads.get(), 0);
    harness.delete(1);
    let second = harness.store.messages[&2].time;
    assert_eq!(harness.machine.next_expiry(&harness.store), Some(second + 10 * SECOND));
    // What could be read when it was looked at and can not be when it is due is not due again at once.
    harness.put("s.a");
    harness.store.damaged.extend([2, 3]);
    harness.now += 11 * SECOND;
    harness.put("s.a");
    harness.control(Control::Expire { at_most: 0 });
    assert_eq!(harness.sequences(), [2, 3, 4]);
    assert!(harness.machine.next_expiry(&harness.store).is_some_and(|due| due > harness.now));
}

#[test]
fn messages_live_as_long_as_they_were_given() {
    let mut harness = Harness::new(config());
    harness.publish("s.a", &[("Nats-TTL", "5")], "x").unwrap();
    harness.publish("s.b", &[("Nats-TTL", "1m")], "x").unwrap();
    harness.put("s.c");
    harness.pass(4 * SECOND);
    assert_eq!(harness.sequences(), [1, 2, 3]);
    harness.pass(SECOND + 2_000_000);
    assert_eq!(harness.sequences(), [2, 3]);
    harness.pass(55 * SECOND);
    assert_eq!(harness.sequences(), [3]);
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
}

/// Each message whose time to live was over was looked up twice, by itself: a million of them kept all streams waiting
/// for half a minute.
#[test]
fn messages_that_expire_together_are_read_in_the_order_of_the_stream() {
    let markers = StreamConfig { subject_delete_marker_ttl: SECOND, ..config() };
    let mut harness = Harness::new(markers);
    for key in 0..100 {
        // Later messages live shorter.
        let ttl = (200 - key).to_string();
        harness.publish(&format!("s.{key}"), &[("Nats-TTL", &ttl)], "x").unwrap();
        harness.publish("s.a", &[("Nats-TTL", &ttl)], "x").unwrap();
    }
    harness.now += 300 * SECOND;
    harness.store.single_reads.set(0);
    harness.store.order.take();
    harness.control(Control::Expire { at_most: 0 });
    assert_eq!((harness.effects.removed.len(), harness.effects.markers.len()), (99, 101));
    assert_eq!(harness.store.single_reads.get(), 0);
    assert!(harness.store.order.take().is_sorted());
    assert_eq!(harness.machine.decide_markers(harness.now, &harness.store).len(), 101);
    assert_eq!(harness.store.single_reads.get(), 0);
    assert!(harness.store.order.take().is_sorted());
    harness.machine.reset_in_flight();
    // No marker came: they wait anew.
    harness.control(Control::Expire { at_most: 0 });
    assert_eq!(harness.effects.markers.len(), 101);
    assert_eq!(harness.store.single_reads.get(), 0);
    assert!(harness.store.order.take().is_sorted());
}

/// One entry took out whatever was too old: the stream was locked, and all others waited, for as long as that took.
#[test]
fn no_more_messages_expire_at_once_than_the_entry_says() {
    let mut harness = Harness::new(StreamConfig { max_age: 100 * SECOND, ..config() });
    for nth in 0..10 {
        // The older half goes by age, the other by its time to live.
        let ttl = [("Nats-TTL", "5")];
        harness.publish("s.a", if nth < 5 { &[] } else { &ttl }, "x").unwrap();
        harness.now += if nth == 4 { 95 * SECOND } else { 1 };
    }
    harness.now += 6 * SECOND;
    let mut left = Vec::new();
    while harness.machine.next_expiry(&harness.store).is_some_and(|due| due <= harness.now) {
        let mut bytes = Vec::new();
        harness.machine.encode_checkpoint(&mut bytes);
        let mut restored = StreamMachine::restore(&bytes).unwrap();
        harness.control(Control::Expire { at_most: 3 });
        left.push(harness.machine.messages());
        // Whoever starts from a checkpoint takes out the same ones.
        let control = harness.log.last().unwrap();
        apply(&mut restored, control, &harness.store, &mut harness.consumers, &mut Effects::default());
        assert_eq!(restored.state_hash(), harness.machine.state_hash());
    }
    assert_eq!(left, [7, 4, 1, 0]);
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
}

#[test]
fn a_deadline_goes_with_its_message() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 1, ..config() });
    harness.publish("s.a", &[("Nats-TTL", "5")], "x").unwrap();
    harness.put("s.a");
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
}

#[test]
fn the_last_of_a_subject_leaves_a_marker() {
    let markers = StreamConfig { max_age: 10 * SECOND, subject_delete_marker_ttl: 3600 * SECOND, ..config() };
    let mut harness = Harness::new(markers);
    harness.put("s.a");
    harness.put("s.a");
    harness.put("s.b");
    harness.now += 10 * SECOND + 10;
    harness.control(Control::Expire { at_most: 0 });
    assert_eq!(harness.effects.markers, [2, 3]);
    assert_eq!(harness.sequences(), [2, 3], "the first of two goes at once");
    // Somebody was faster on s.b: no marker may take that message away.
    harness.accept("s.b", &[], "x").unwrap();
    harness.publish_markers();
    assert_eq!(harness.sequences(), [3, 4, 5]);
    let marker = &harness.store.messages[&5];
    let expected = "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1h0m0s\r\nNats-Rollup: sub\r\n\r\n";
    assert_eq!((marker.subject.as_slice(), String::from_utf8_lossy(&marker.headers)), (&b"s.a"[..], expected.into()));
    harness.pass(2 * SECOND);
    assert_eq!(harness.sequences(), [4, 5], "what waited in vain goes");
    // The marker itself goes by its age and leaves none.
    harness.pass(20 * SECOND);
    assert_eq!(harness.sequences().len(), 1, "the marker of s.b");
    harness.pass(20 * SECOND);
    assert_eq!(harness.sequences(), [] as [u64; 0]);
}

#[test]
fn short_lives_are_lengthened_to_that_of_markers() {
    let markers = StreamConfig { subject_delete_marker_ttl: 60 * SECOND, ..config() };
    let mut harness = Harness::new(markers.clone());
    let accept = harness.accept("s.a", &[("Nats-TTL", "5"), ("A", "1")], "x").unwrap();
    assert_eq!(accept.headers.as_deref(), Some(&b"NATS/1.0\r\nA: 1\r\nNats-TTL: 60\r\n\r\n"[..]));
    assert_eq!(harness.accept("s.a", &[("Nats-TTL", "2m")], "x").unwrap().headers, None);
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 1, ..markers });
    assert_eq!(harness.accept("s.a", &[("Nats-TTL", "5")], "x").unwrap().headers, None);
}

#[test]
fn without_interest_a_sequence_is_used_up() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::Interest, ..config() });
    assert_eq!(harness.put("s.a"), 1);
    assert!(matches!(harness.effects.outcome, Outcome::Skipped { sequence: 1, .. }));
    assert_eq!(harness.shape(), (0, 0, 2, 1, vec![]));
    harness.consumer(ConsumerChange::Create, 1, b"s.a");
    harness.put("s.a");
    harness.put("s.b");
    harness.put("s.a");
    assert_eq!(harness.shape(), (2, 68, 2, 4, vec![3]));
    harness.consumer(ConsumerChange::Create, 2, b"s.>");
    harness.consumer(ConsumerChange::Delta, 1, &2_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [2, 4], "the second consumer still needs it");
    harness.consumer(ConsumerChange::Delta, 2, &2_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [4]);
    harness.consumer(ConsumerChange::Delta, 2, &4_u64.to_le_bytes());
    harness.put("s.c");
    harness.consumer(ConsumerChange::Delete, 1, b"");
    assert_eq!(harness.sequences(), [5], "only the first consumer needed 4");
    harness.consumer(ConsumerChange::Delete, 2, b"");
    assert_eq!(harness.shape(), (0, 0, 6, 5, vec![]));
}

#[test]
fn a_work_queue_gives_every_message_away_once() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::WorkQueue, ..config() });
    harness.put("s.a");
    harness.put("s.b");
    harness.consumer(ConsumerChange::Create, 1, b"s.a");
    harness.consumer(ConsumerChange::Delta, 1, &1_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [2]);
    harness.consumer(ConsumerChange::Delete, 1, b"");
    assert_eq!(harness.sequences(), [2], "a queue keeps what nobody took");
}

#[test]
fn limits_to_interest_drops_what_consumers_have_done_with() {
    let mut harness = Harness::new(config());
    harness.consumer(ConsumerChange::Create, 1, b"s.a");
    for subject in ["s.a", "s.b", "s.a"] {
        harness.put(subject);
    }
    harness.consumer(ConsumerChange::Delta, 1, &1_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [1, 2, 3]);
    let config = StreamConfig { retention: Retention::Interest, ..config() };
    harness.control(Control::Update { config: Box::new(config) });
    assert_eq!(harness.sequences(), [2, 3], "nobody has seen 2");
}

/// Any update of a consumer, and any deletion, read the whole stream.
#[test]
fn a_consumer_that_changes_costs_only_what_it_needed() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::Interest, ..config() });
    harness.consumer(ConsumerChange::Create, 1, b"s.a");
    harness.consumer(ConsumerChange::Create, 2, b"s.rare");
    for _ in 0..1000 {
        harness.put("s.a");
    }
    harness.put("s.rare");
    harness.store.reads.set(0);
    harness.consumer(ConsumerChange::Update, 1, b"s.a");
    harness.consumer(ConsumerChange::Update, 2, b"s.rare");
    assert_eq!(harness.store.reads.get(), 0, "nothing has changed");
    harness.consumer(ConsumerChange::Delete, 2, b"");
    let reads = harness.store.reads.get();
    assert!(reads < 100, "{reads} messages were read to find one");
    assert_eq!(harness.sequences(), (1..=1000).collect::<Vec<_>>());
    harness.consumer(ConsumerChange::Create, 3, b"s.b");
    harness.consumer(ConsumerChange::Update, 1, b"s.b");
    assert_eq!(harness.sequences(), [0; 0], "nobody needs them any more");
}

/// A message that could not be read counted as infinitely old, and as needed by nobody: a disk that refused reads for a
/// while cost a stream with `max_age` or interest retention whatever was looked at in that time.
#[test]
fn what_can_not_be_read_is_not_too_old_for_that() {
    let mut harness = Harness::new(StreamConfig { max_age: 10 * SECOND, ..config() });
    for _ in 0..4 {
        harness.put("s.a");
        harness.now += 2 * SECOND;
    }
    harness.store.damaged.extend([1, 2]);
    let witness = harness.store.messages[&3].time;
    harness.pass(0);
    assert_eq!(harness.machine.next_expiry(&harness.store), Some(witness + 10 * SECOND));
    harness.pass(3 * SECOND);
    assert_eq!(harness.sequences(), [1, 2, 3, 4], "1 is too old, but nobody can know");
    // The disk gives them again.
    harness.store.damaged.remove(&1);
    harness.pass(1);
    assert_eq!(harness.sequences(), [2, 3, 4]);
    harness.pass(3 * SECOND);
    assert_eq!(harness.sequences(), [4], "2 is older than 3, and that is too old");
}

#[test]
fn when_nothing_can_be_read_all_is_as_old_as_the_newest() {
    let mut harness = Harness::new(StreamConfig { max_age: 10 * SECOND, ..config() });
    for _ in 0..40 {
        harness.put("s.a");
        harness.now += SECOND / 10;
    }
    harness.store.damaged.extend(1..=40);
    let newest = harness.store.messages[&40].time;
    harness.pass(0);
    assert_eq!(harness.machine.next_expiry(&harness.store), Some(newest + 10 * SECOND));
    harness.pass(9 * SECOND);
    assert_eq!(harness.sequences().len(), 40);
    harness.pass(SECOND);
    assert_eq!(harness.sequences(), [0; 0]);
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
}

#[test]
fn what_can_not_be_read_keeps_nothing_behind_it_longer() {
    let mut harness = Harness::new(StreamConfig { max_age: 10 * SECOND, ..config() });
    for _ in 0..60 {
        harness.put("s.a");
        harness.now += SECOND / 10;
    }
    harness.store.damaged.extend(1..=50);
    harness.pass(0);
    // The publisher never stops, so that the newest is never old.
    while harness.sequences().first() == Some(&1) {
        assert!(harness.now < harness.store.messages[&51].time + 11 * SECOND, "51 is too old");
        harness.put("s.a");
        harness.pass(SECOND / 10);
    }
    assert_eq!(harness.sequences().first(), Some(&52));
    // What stood for the others is damaged, too.
    harness.store.damaged.extend(52..=54);
    harness.pass(SECOND);
    let oldest = harness.sequences()[0];
    let age = harness.now - harness.store.messages[&oldest].time;
    assert!(oldest > 54 && age < 10 * SECOND && age > 10 * SECOND - SECOND / 5, "{oldest} of {age} ns");
}

#[test]
fn what_can_not_be_read_is_needed_until_every_consumer_is_past_it() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::Interest, ..config() });
    harness.consumer(ConsumerChange::Create, 1, b"s.>");
    harness.consumer(ConsumerChange::Create, 2, b"s.>");
    for _ in 0..3 {
        harness.put("s.a");
    }
    harness.store.damaged.extend([1, 2]);
    harness.consumer(ConsumerChange::Delta, 1, &1_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [1, 2, 3], "the second consumer needs it");
    harness.consumer(ConsumerChange::Delta, 2, &1_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [2, 3]);
    harness.consumer(ConsumerChange::Delete, 2, b"");
    assert_eq!(harness.sequences(), [2, 3], "the first one has not seen it");
}

#[test]
fn what_can_not_be_read_leaves_a_work_queue_with_its_ack() {
    let mut harness = Harness::new(StreamConfig { retention: Retention::WorkQueue, ..config() });
    harness.consumer(ConsumerChange::Create, 1, b"s.a");
    harness.consumer(ConsumerChange::Create, 2, b"s.b");
    harness.put("s.a");
    harness.store.damaged.insert(1);
    harness.consumer(ConsumerChange::Delta, 1, &1_u64.to_le_bytes());
    assert_eq!(harness.sequences(), [0; 0]);
}

#[test]
fn damaged_messages_can_still_go() {
    let mut harness = Harness::new(StreamConfig { max_msgs: 3, ..config() });
    for _ in 0..3 {
        harness.put("s.a");
    }
    harness.store.damaged.insert(1);
    harness.put("s.a");
    assert_eq!(harness.effects.damaged, [1]);
    assert_eq!(harness.sequences(), [2, 3, 4]);
    harness.store.damaged.insert(3);
    assert!(harness.delete(3));
    let state = harness.machine.state(&harness.store, false, 0);
    assert_eq!(state.lost.map(|lost| lost.msgs), Some(vec![3]));
    harness.purge("", 0, 0);
    assert_eq!(harness.shape(), (0, 0, 5, 4, vec![]));
}

/// In the place of what could not be read, something was purged that was to be kept.
#[test]
fn a_purge_keeps_what_it_was_asked_to_keep_though_something_can_not_be_read() {
    let mut harness = Harness::new(config());
    for subject in ["s.a", "s.b", "s.a", "s.b", "s.a", "s.b"] {
        harness.put(subject);
    }
    harness.store.damaged.insert(1);
    assert_eq!(harness.purge("s.*", 0, 2), 3);
    assert_eq!(harness.sequences(), [1, 5, 6]);
    assert_eq!(harness.publish("s.*", &[("Nats-Rollup", "sub")], "x"), Ok(7));
    assert_eq!(harness.sequences(), [1, 7]);
    assert_eq!(harness.purge("s.*", 0, 0), 2);
    assert_eq!(harness.sequences(), [0; 0]);
}

#[test]
fn a_large_purge_counts_what_remains_instead_of_what_goes() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 5000, ..config() });
    for i in 0..3000 {
        harness.accept(&format!("s.{}", i % 7), &[], "x").unwrap();
    }
    harness.accept("s.0", &[("Nats-TTL", "5")], "x").unwrap();
    harness.apply_all();
    harness.delete(2990);
    assert_eq!(harness.purge("", 2981, 0), 2980);
    assert_eq!(harness.effects.removed_before, Some(2981));
    assert!(harness.effects.removed.is_empty());
    let page = harness.machine.subjects_page(b"s.*", 0);
    assert_eq!(page.subjects.values().sum::<u64>(), 20);
    assert_eq!(harness.shape().0, 20);
    assert!(harness.machine.next_expiry(&harness.store).is_some());
    assert_eq!(harness.purge("s.0", 0, 0), 3);
    assert_eq!(harness.machine.next_expiry(&harness.store), None);
}

/// It was counted in by the second purge, and not counted out when it went: the stream held bytes and a subject of
/// nothing.
#[test]
fn a_message_that_a_disk_refuses_for_one_purge_is_counted_as_often_in_as_out() {
    let mut harness = Harness::new(config());
    for sequence in 1..=5000_u64 {
        harness.put(if sequence == 4800 { "s.b" } else { "s.a" });
    }
    harness.store.damaged.insert(4800);
    assert_eq!(harness.purge("", 3001, 0), 3000);
    assert_eq!(harness.effects.damaged, [4800]);
    harness.store.damaged.clear();
    assert_eq!(harness.purge("", 4501, 0), 1500);
    assert_eq!(harness.effects.damaged, [0; 0], "it has been told");
    harness.delete(4800);
    assert_eq!((harness.machine.messages(), harness.machine.bytes()), (499, 499 * 34));
    assert_eq!(harness.machine.subjects.total(), 499);
    assert_eq!(harness.machine.subjects_page(b">", 0).total, 1);
}

/// The index still named the damaged message after it had gone. It was counted out again and again, each time for one of the
/// others, until the stream was empty: a bucket lost all its keys when one of them was put anew.
#[test]
fn a_damaged_message_of_a_full_subject_takes_no_other_along() {
    for history in [1, 2] {
        let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: history, ..config() });
        for subject in ["s.a", "s.b", "s.c"] {
            for _ in 0..history {
                harness.put(subject);
            }
        }
        harness.store.damaged.insert(1);
        harness.put("s.a");
        let last = 3 * history as u64 + 1;
        assert_eq!(harness.sequences(), (2..=last).collect::<Vec<_>>());
        harness.put("s.a");
        let page = harness.machine.subjects_page(b"s.*", 0);
        assert!(page.subjects.values().all(|count| *count == history as u64), "{:?}", page.subjects);
        assert_eq!(harness.sequences().len(), 3 * history as usize);
    }
}

/// As above, but what named the message was left behind by a removal of another kind.
#[test]
fn a_damaged_message_that_went_is_not_removed_once_more() {
    for forgotten in [true, false] {
        let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 1, ..config() });
        for subject in ["s.a", "s.b", "s.c"] {
            harness.put(subject);
        }
        harness.store.damaged.insert(1);
        harness.store.subjects_known = !forgotten;
        assert!(harness.delete(1));
        assert_eq!(harness.sequences(), [2, 3]);
        assert_eq!(harness.purge("s.a", 0, 0), 0);
        assert_eq!(harness.sequences(), [2, 3]);
        harness.put("s.a");
        assert_eq!(harness.sequences(), [2, 3, 4]);
        assert_eq!(harness.machine.subjects_page(b"s.*", 0).subjects.values().sum::<u64>(), 3);
        harness.put("s.a");
        assert_eq!(harness.sequences(), [2, 3, 5]);
    }
}

/// A read that fails once and succeeds the next time removed the message twice; no start took the checkpoint after that.
#[test]
fn a_message_that_a_disk_refuses_once_is_counted_out_once() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 1, ..config() });
    for subject in ["s.a", "s.b", "s.c"] {
        harness.put(subject);
    }
    harness.store.damaged.insert(1);
    assert!(harness.delete(1));
    harness.store.damaged.clear();
    harness.put("s.a");
    assert_eq!(harness.purge("s.a", 0, 0), 1);
    assert_eq!(harness.sequences(), [2, 3]);
    let mut checkpoint = Vec::new();
    harness.machine.encode_checkpoint(&mut checkpoint);
    assert!(StreamMachine::restore(&checkpoint).is_ok());
}

/// What the damaged message had counted for stayed in `bytes`: all others had to go to make room for it.
#[test]
fn a_damaged_message_that_went_needs_no_room() {
    let mut harness = Harness::new(StreamConfig { max_bytes: 4000, ..config() });
    harness.publish("s.a", &[], &"x".repeat(3000)).unwrap();
    for _ in 0..20 {
        harness.put("s.b");
    }
    harness.store.damaged.insert(1);
    assert!(harness.delete(1));
    let mut checkpoint = Vec::new();
    harness.machine.encode_checkpoint(&mut checkpoint);
    harness.machine = StreamMachine::restore(&checkpoint).unwrap();
    for _ in 0..40 {
        harness.put("s.b");
    }
    assert_eq!(harness.sequences(), (2..=61).collect::<Vec<_>>());
    assert_eq!(harness.machine.state(&harness.store, false, 0).bytes, 60 * 34);
}

/// Each message on its way was counted as if it pushed out the one stored, which only the first of them does: a bucket with
/// a limit took twice what it may hold.
#[test]
fn messages_on_their_way_push_out_one_message_each() {
    let limits = StreamConfig { discard: Discard::New, max_bytes: 1000, max_msgs_per_subject: 1, ..config() };
    let mut harness = Harness::new(limits);
    let text = |bytes: usize| "x".repeat(bytes - 33);
    harness.accept("s.a", &[], &text(900)).unwrap();
    harness.apply_all();
    harness.accept("s.a", &[], &text(40)).unwrap();
    harness.accept("s.a", &[], &text(40)).unwrap();
    harness.accept("s.b", &[], &text(900)).unwrap();
    assert!(harness.accept("s.c", &[], &text(900)).is_err());
    // As large as what it replaces, and hence accepted.
    harness.accept("s.a", &[], &text(40)).unwrap();
    harness.apply_all();
    assert!(harness.shape().1 <= 1000, "{:?}", harness.shape());
    assert_eq!(harness.sequences().len(), 2);
}

/// More than a record holds took the stream out of service, where the configuration allowed payloads of that size.
#[test]
fn a_message_that_no_record_could_hold_is_refused() {
    let mut harness = Harness::new(config());
    let refusal = harness.accept("s.a", &[], &"x".repeat(64 * 1024 * 1024 + 1)).unwrap_err();
    assert_eq!(refusal, error_codes::STREAM_MESSAGE_EXCEEDS_MAXIMUM.error().into());
    assert!(harness.accept("s.a", &[], &"x".repeat(64 * 1024 * 1024)).is_ok());
}

/// After a start the second message on a key read the whole stream, under its lock.
#[test]
fn a_key_that_is_full_costs_no_more_after_a_start_than_before() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 3, ..config() });
    for nth in 0..900 {
        harness.put(&format!("s.{}", nth % 300));
    }
    let mut bytes = Vec::new();
    harness.machine.encode_checkpoint(&mut bytes);
    harness.machine = StreamMachine::restore(&bytes).unwrap();
    harness.store.reads.set(0);
    for _ in 0..5 {
        harness.put("s.7");
    }
    let reads = harness.store.reads.get();
    assert!(reads <= 10, "{reads} messages were read to remove 5");
    let of_key: Vec<u64> =
        harness.sequences().into_iter().filter(|sequence| harness.store.messages[sequence].subject == b"s.7").collect();
    assert_eq!(of_key, [903, 904, 905]);
}

/// Each key of which the last message had gone was looked for from the end of the stream down, at every request: a minute
/// for a thousand keys, under the stream's lock.
#[test]
fn the_last_messages_of_keys_are_found_without_reading_the_stream() {
    let mut harness = Harness::new(StreamConfig { allow_direct: true, ..config() });
    for nth in 0..600 {
        harness.put(&format!("s.{}", nth % 300));
    }
    for _ in 0..50 {
        harness.put("s.filler");
    }
    for key in 0..300 {
        let last = harness.put(&format!("s.{key}"));
        harness.delete(last);
    }
    harness.store.reads.set(0);
    let machine = &harness.machine;
    for key in 0..300 {
        let subject = format!("s.{key}");
        assert_eq!(machine.last_of_subject(subject.as_bytes(), &harness.store), Some(301 + key));
        assert_eq!(machine.last_matching(&[subject.as_bytes(), b"none.*"], &harness.store), Some(301 + key));
    }
    let all: [&[u8]; 1] = [b"s.*"];
    let expected: Vec<u64> = (301..=600).chain([650]).collect();
    assert_eq!(machine.last_per_subject(&all, u64::MAX, 1000, &harness.store).unwrap(), expected);
    assert_eq!(machine.last_per_subject(&all, 300, 1000, &harness.store).unwrap(), (1..=300).collect::<Vec<_>>());
    assert_eq!(harness.store.reads.get(), 0);
}

/// Lowering the limit per subject looked for each message anew, and read them in the order of subjects: minutes in which the
/// server acknowledged nothing.
#[test]
fn lowering_the_limit_per_subject_reads_what_goes_once_and_in_order() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 10, ..config() });
    for nth in 0..1000 {
        harness.put(&format!("s.{}", nth % 100));
    }
    let mut bytes = Vec::new();
    harness.machine.encode_checkpoint(&mut bytes);
    harness.machine = StreamMachine::restore(&bytes).unwrap();
    harness.store.reads.set(0);
    harness.store.order.take();
    let config = StreamConfig { max_msgs_per_subject: 2, ..config() };
    harness.control(Control::Update { config: Box::new(config) });
    assert_eq!(harness.store.reads.get(), 800, "each that goes, for what it counts for");
    assert_eq!(harness.sequences(), (801..=1000).collect::<Vec<_>>());
    assert!(harness.store.order.take().is_sorted());
}

/// A purge of one key read the whole stream.
#[test]
fn a_purge_of_one_subject_reads_that_alone() {
    let mut harness = Harness::new(config());
    for nth in 0..1000 {
        harness.put(&format!("s.{}", nth % 100));
    }
    harness.store.reads.set(0);
    assert_eq!(harness.purge("s.7", 0, 0), 10);
    assert_eq!(harness.store.reads.get(), 10);
    assert_eq!(harness.purge("s.8", 500, 0), 5);
    assert_eq!(harness.sequences().len(), 985);
}

/// Each message that was replaced was looked for and read by itself: a million of one subject took half a minute, in
/// which the server acknowledged nothing.
#[test]
fn a_rollup_reads_what_it_replaces_once_and_in_order() {
    let mut harness = Harness::new(config());
    for nth in 0..1000 {
        harness.put(if nth % 2 == 0 { "s.a" } else { "s.b" });
    }
    harness.accept("s.a", &[], "x").unwrap();
    harness.accept("s.a", &[("Nats-Rollup", "sub")], "x").unwrap();
    harness.accept("s.a", &[], "x").unwrap();
    harness.store.reads.set(0);
    harness.store.single_reads.set(0);
    harness.store.order.take();
    harness.apply_all();
    assert_eq!((harness.store.reads.get(), harness.store.single_reads.get()), (501, 0));
    assert!(harness.store.order.take().is_sorted());
    assert_eq!(harness.machine.subjects_page(b"s.a", 0).subjects["s.a"], 2);
    assert_eq!(harness.sequences().len(), 502);
}

/// However it came to be there: its next message meets all that is too much.
#[test]
fn a_subject_far_above_its_limit_is_trimmed_in_order() {
    let mut harness = Harness::new(config());
    for _ in 0..1000 {
        harness.put("s.a");
    }
    harness.store.damaged.extend([3, 4, 5]);
    harness.store.subjects_known = true;
    harness.machine.set_config(std::sync::Arc::new(StreamConfig { max_msgs_per_subject: 10, ..config() }));
    harness.store.single_reads.set(0);
    harness.put("s.a");
    assert_eq!(harness.store.single_reads.get(), 0);
    assert_eq!(harness.effects.damaged, [3, 4, 5]);
    assert_eq!(harness.sequences(), (992..=1001).collect::<Vec<_>>());
    assert_eq!(harness.machine.subjects_page(b"s.a", 0).subjects["s.a"], 10);
}

/// Each was looked up by itself: a start after the loss of entries took as long as the stream was large.
#[test]
fn what_gathered_while_the_limits_were_suspended_is_read_in_order() {
    let mut harness = Harness::new(StreamConfig { max_msgs_per_subject: 10, ..config() });
    harness.machine.suspend_limits();
    for nth in 0..1000 {
        harness.put(&format!("s.{}", nth % 10));
    }
    assert_eq!(harness.sequences().len(), 1000);
    harness.store.single_reads.set(0);
    harness.store.order.take();
    harness.machine.resume_limits(None, &harness.store, &mut harness.effects);
    assert_eq!(harness.sequences(), (901..=1000).collect::<Vec<_>>());
    assert_eq!(harness.store.single_reads.get(), 0);
    assert!(harness.store.order.take().is_sorted());
}
