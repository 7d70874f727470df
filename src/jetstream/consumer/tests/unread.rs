//! Messages that can not be read, and deliveries that came to nothing.

use super::*;

fn unreadable(config: ConsumerConfig, unread: Unread) -> Rig {
    let mut rig = Rig::new(config, &["a", "b", "c"]);
    rig.stream.unread.insert(2, unread);
    rig
}

/// The request that met one got nothing, nor the ones after it: the message stayed pending and came up again and again.
#[test]
fn a_damaged_message_is_passed_over_and_told() {
    let mut rig = unreadable(ConsumerConfig { max_ack_pending: 1, ..explicit() }, Unread::Damaged);
    assert_eq!(rig.pull("r", "1"), ["r: 1/1 x1 2"]);
    rig.ack(1, 1, "");
    assert_eq!(rig.pull("s", "1"), ["terminated 2 Message can not be read", "s: 3/2 x1 0"]);
    rig.ack(3, 2, "");
    assert_eq!(rig.released, [1, 3], "the stream keeps it");
    rig.change_leader();
    assert_eq!(rig.why(), Some(Blocked::NoWaitingPull));
    assert_eq!(rig.pull("t", r#"{"no_wait":true}"#), ["t: 404 No Messages"]);
}

#[test]
fn a_message_that_is_damaged_by_the_time_of_its_redelivery_is_given_up() {
    let mut rig = Rig::new(explicit(), &["a", "b"]);
    rig.pull("r", "2");
    rig.stream.unread.insert(1, Unread::Damaged);
    rig.wait(2 * SECOND);
    assert_eq!(rig.pull("s", "2"), ["terminated 1 Message can not be read", "s: 2/3 x2 0"]);
    assert_eq!(rig.info().num_ack_pending, 1);
}

/// A message of an interest stream was counted as done by a consumer that acknowledges nothing, and removed, though nobody
/// had been given it.
#[test]
fn a_message_that_the_disk_refuses_is_waited_for() {
    for ack_policy in [AckPolicy::Explicit, AckPolicy::None] {
        let mut rig = unreadable(ConsumerConfig { ack_policy, ack_wait: 3600 * SECOND, ..explicit() }, Unread::Refused);
        assert_eq!(rig.pull("r", "3"), ["r: 1/1 x1 2"]);
        assert_eq!(rig.why(), Some(Blocked::Unread));
        assert_eq!(rig.pull("s", r#"{"no_wait":true}"#), ["s: 404 No Messages"]);
        assert_eq!(rig.wait(2 * SECOND + SECOND / 2), [""; 0]);
        assert!(!rig.released.contains(&2));
        rig.stream.unread.clear();
        assert_eq!(rig.wait(SECOND), ["r: 2/2 x1 1", "r: 3/3 x1 0"]);
    }
}

#[test]
fn a_message_that_the_disk_goes_on_refusing_is_passed_over_in_the_end() {
    let mut rig = unreadable(ConsumerConfig { ack_wait: 3600 * SECOND, ..explicit() }, Unread::Refused);
    rig.pull("r", "3");
    // However often somebody asks meanwhile.
    (0..100).for_each(|_| drop(rig.pull("s", r#"{"no_wait":true}"#)));
    assert_eq!(rig.wait(28 * SECOND), [""; 0]);
    assert_eq!(rig.wait(2 * SECOND), ["terminated 2 Message can not be read", "r: 3/2 x1 0"]);
}

#[test]
fn a_message_that_reached_nobody_goes_to_the_next_request() {
    let mut rig = Rig::new(explicit(), &["a", "b"]);
    assert_eq!(rig.pull("r", "3"), ["r: 1/1 x1 1", "r: 2/2 x1 0"]);
    rig.pull("s", "1");
    let why = Undelivered::NobodyThere;
    let told = rig.step(|consumer, context, out| consumer.not_delivered(2, b"r", why, context, out));
    assert_eq!(told, ["s: 2/3 x1 0"], "not counted as a delivery, and the request of nobody is over");
}

#[test]
fn a_message_that_could_not_be_sent_is_owed_to_its_request() {
    let mut rig = Rig::new(explicit(), &["a", "b"]);
    assert_eq!(rig.pull("r", "3"), ["r: 1/1 x1 1", "r: 2/2 x1 0"]);
    let why = Undelivered::Unread;
    let told = rig.step(|consumer, context, out| consumer.not_delivered(2, b"r", why, context, out));
    assert_eq!(told, ["r: 2/3 x1 0"]);
    rig.store("c");
    assert_eq!(rig.consumer.num_waiting(), 0);
}

/// The request had had all it wanted, as far as anybody knew, and ended without a word.
#[test]
fn a_request_whose_last_message_could_not_be_sent_is_told_that_it_is_over() {
    let mut rig = Rig::new(explicit(), &["a", "b"]);
    assert_eq!(rig.pull("r", "2"), ["r: 1/1 x1 1", "r: 2/2 x1 0"]);
    let why = Undelivered::Unread;
    let told = rig.step(|consumer, context, out| consumer.not_delivered(2, b"r", why, context, out));
    assert_eq!(told, ["r: 408 Request Timeout | messages 1 | bytes 0"]);
    assert_eq!(rig.pull("s", "1"), ["s: 2/3 x1 0"]);
}

/// The end of another pause than that of the disk was taken for both: nobody asked for the message again.
#[test]
fn a_message_that_the_disk_refuses_is_asked_for_again_whatever_changes_meanwhile() {
    let config =
        ConsumerConfig { deliver_subject: "d".into(), rate_limit_bps: 8_000, ack_wait: 3600 * SECOND, ..explicit() };
    let mut rig = unreadable(config, Unread::Refused);
    let told = rig.step(|consumer, context, _| consumer.interest_changed(true, context.now));
    assert_eq!(told, ["d: 1/1 x1 2"]);
    rig.config.rate_limit_bps = 80_000;
    let settings = Settings::new(&rig.config, traits());
    rig.step(|consumer, context, out| consumer.config_updated(settings, context, out));
    rig.stream.unread.clear();
    let told = rig.wait(SECOND + SECOND / 2);
    assert!(told.contains(&"d: 2/2 x1 1".to_owned()), "{told:?}");
}
