//! Acks, redelivery and giving up.

use super::*;

fn rig_with_deliveries(config: ConsumerConfig, count: usize) -> Rig {
    let mut rig = Rig::new(config, &vec!["a"; count]);
    assert_eq!(rig.pull("r", &count.to_string()).len(), count);
    rig
}

fn floor(rig: &Rig) -> (u64, u64) {
    let floor = rig.consumer.state().ack_floor();
    (floor.consumer, floor.stream)
}

#[test]
fn acks_in_any_order_move_the_floor_over_gaps_once() {
    let mut rig =
        Rig::new(ConsumerConfig { filter_subject: "b".into(), ..explicit() }, &["a", "b", "a", "a", "b", "b"]);
    assert_eq!(rig.pull("r", "5"), ["r: 2/1 x1 2", "r: 5/2 x1 1", "r: 6/3 x1 0"]);
    assert_eq!(floor(&rig), (0, 0));
    rig.ack(5, 2, "+ACK");
    assert_eq!(floor(&rig), (0, 0));
    rig.ack(2, 1, "");
    assert_eq!(floor(&rig), (2, 5));
    rig.ack(2, 1, "+OK");
    assert_eq!(floor(&rig), (2, 5));
    rig.ack(6, 3, "+ACK");
    assert_eq!(floor(&rig), (3, 6));
    assert_eq!(rig.released, [5, 2, 6], "each once");
}

#[test]
fn double_acks_are_answered_after_the_commit_also_when_repeated() {
    let mut rig = rig_with_deliveries(explicit(), 2);
    assert_eq!(rig.ack_sync(1, "+ACK"), ["answer: committed"]);
    assert!(rig.urgent, "somebody waits");
    assert_eq!(rig.ack_sync(1, "+ACK"), ["answer: committed"]);
    assert_eq!(rig.ack_sync(2, "whatever"), ["answer: committed"], "an unknown body is answered and ignored");
    assert_eq!(rig.info().num_ack_pending, 1);
    assert!(rig.ack_sync(9, "+ACK").is_empty(), "never delivered");
    assert!(rig.ack_sync(0, "-NAK").is_empty());
    for body in ["+ACK", "+TERM"] {
        assert!(rig.ack_sync(0, body).contains(&"answer: committed".to_owned()), "{body}: no message, and answered");
    }
    rig.ack(2, 2, "+ACK");
    assert!(!rig.urgent, "nobody waits");
}

#[test]
fn an_ack_of_no_message_is_not_answered_where_acks_are_of_all_before() {
    let mut rig = rig_with_deliveries(ConsumerConfig { ack_policy: AckPolicy::All, ..explicit() }, 2);
    assert!(rig.ack_sync(0, "+ACK").is_empty());
    assert_eq!(rig.ack_sync(1, "+ACK"), ["answer: committed"]);
}

#[test]
fn where_acks_remove_messages_they_are_urgent() {
    let mut stream = TestStream::default();
    stream.store("a", START);
    let traits = StreamTraits { removes_acked: true, ..traits() };
    let mut rig = Rig::with_traits(explicit(), stream, traits);
    rig.pull("r", "1");
    assert!(!rig.urgent);
    rig.ack(1, 1, "+ACK");
    assert!(rig.urgent);
}

#[test]
fn acking_all_covers_everything_before() {
    let mut rig = rig_with_deliveries(ConsumerConfig { ack_policy: AckPolicy::All, ..explicit() }, 5);
    rig.ack(3, 3, "+ACK");
    assert_eq!((floor(&rig), rig.info().num_ack_pending), ((3, 3), 2));
    assert_eq!(rig.released, [1, 2, 3]);
    rig.ack(2, 2, "+ACK");
    assert_eq!(floor(&rig), (3, 3));
    assert_eq!(rig.ack_sync(1, "+ACK"), ["answer: committed"]);
}

#[test]
fn without_acks_the_floor_is_what_was_delivered() {
    let mut rig = rig_with_deliveries(ConsumerConfig { ack_policy: AckPolicy::None, ..explicit() }, 3);
    assert_eq!((floor(&rig), rig.info().num_ack_pending), ((3, 3), 0));
    assert_eq!(rig.released, [1, 2, 3]);
    assert!(rig.wait(100 * SECOND).is_empty());
}

#[test]
fn what_is_not_acked_comes_again_oldest_first_after_what_was_naked() {
    let mut rig = rig_with_deliveries(explicit(), 6);
    assert_eq!(rig.ack(4, 4, "-NAK"), ["naked 4"]);
    rig.ack(2, 2, "-NAK");
    rig.ack(5, 5, "-NAK {\"delay\":500000000}");
    rig.ack(6, 6, "-NAK 1500ms");
    assert_eq!(rig.pull("s", "20"), ["s: 4/7 x2 0", "s: 2/8 x2 0"]);
    assert_eq!(rig.wait(SECOND / 2), ["s: 5/9 x2 0"]);
    assert_eq!(rig.wait(SECOND / 2), ["s: 1/10 x2 0", "s: 2/11 x3 0", "s: 3/12 x2 0", "s: 4/13 x3 0"]);
    assert_eq!(rig.wait(SECOND / 2), ["s: 5/14 x3 0", "s: 6/15 x2 0"]);
    assert_eq!(rig.info().num_redelivered, 6);
}

#[test]
fn a_progress_report_and_a_delay_begin_the_wait_anew() {
    let mut rig = rig_with_deliveries(explicit(), 2);
    rig.wait(900 * MILLI);
    rig.ack(1, 1, "+WPI");
    rig.pull("s", "9");
    assert_eq!(rig.wait(900 * MILLI), ["s: 2/3 x2 0"]);
    assert_eq!(rig.wait(150 * MILLI), ["s: 1/4 x2 0"]);
}

#[test]
fn backoff_grows_with_the_deliveries() {
    let config = ConsumerConfig { backoff: vec![SECOND, 3 * SECOND], ..explicit() };
    let mut rig = rig_with_deliveries(config, 1);
    rig.pull("s", "9");
    assert_eq!(rig.wait(SECOND), ["s: 1/2 x2 0"]);
    assert!(rig.wait(2900 * MILLI).is_empty());
    assert_eq!(rig.wait(100 * MILLI), ["s: 1/3 x3 0"]);
    assert_eq!(rig.wait(3 * SECOND), ["s: 1/4 x4 0"]);
    // A delay counts from now, whatever the backoff says.
    rig.ack(1, 4, "-NAK 200ms");
    assert_eq!(rig.wait(200 * MILLI), ["s: 1/5 x5 0"]);
}

#[test]
fn a_message_is_given_up_once_and_kept_by_the_stream() {
    let mut rig = rig_with_deliveries(ConsumerConfig { max_deliver: 2, ..explicit() }, 2);
    rig.pull("s", "1");
    assert_eq!(rig.wait(1100 * MILLI), ["s: 1/3 x2 0"]);
    rig.ack(2, 2, "+ACK");
    assert_eq!(floor(&rig), (0, 0));
    assert_eq!(rig.wait(SECOND), ["max deliveries 1 x2"]);
    assert!(rig.wait(100 * SECOND).is_empty());
    assert_eq!(floor(&rig), (3, 2));
    let info = rig.info();
    assert_eq!((info.num_ack_pending, info.num_redelivered), (0, 1));
    assert_eq!((info.ack_floor.consumer_seq, info.ack_floor.stream_seq), (0, 0), "what is told stays below it");
    assert!(rig.replica.needs(1), "a work queue keeps it");
    rig.ack(1, 3, "+ACK");
    assert!(!rig.replica.needs(1), "a late ack lets it go");
    assert_eq!((rig.released.clone(), rig.info().num_redelivered), (vec![2, 1], 0));
}

#[test]
fn a_nak_of_the_last_delivery_gives_up_at_once() {
    let mut rig = rig_with_deliveries(ConsumerConfig { max_deliver: 1, ..explicit() }, 1);
    assert_eq!(rig.ack(1, 1, "-NAK"), ["naked 1", "max deliveries 1 x1"]);
    let info = rig.info();
    assert_eq!((info.num_ack_pending, info.num_redelivered), (0, 0), "a single delivery has no redeliveries");
}

#[test]
fn termination_is_an_ack_with_a_reason() {
    let mut rig = rig_with_deliveries(explicit(), 1);
    assert_eq!(rig.ack(1, 1, "+TERM poison"), ["terminated 1 poison"]);
    // As nats-server tells it, of whatever message.
    assert_eq!(rig.ack(1, 1, "+TERM"), ["terminated 1"]);
    assert_eq!((rig.info().num_ack_pending, floor(&rig)), (0, (1, 1)));
    assert!(rig.pull("s", r#"{"no_wait":true}"#).contains(&"s: 404 No Messages".to_owned()));
}

#[test]
fn next_is_an_ack_and_a_request() {
    let mut rig = rig_with_deliveries(explicit(), 1);
    rig.stream.store("a", START);
    assert_eq!(rig.ack_sync(1, "+NXT"), ["answer: 2/2 x1 0"]);
    rig.stream.store("a", START);
    rig.stream.store("a", START);
    assert_eq!(rig.ack_sync(2, "+NXT {\"batch\":2}"), ["answer: 3/3 x1 1", "answer: 4/4 x1 0"]);
    assert_eq!(rig.info().num_ack_pending, 2);
}

#[test]
fn redeliveries_need_no_free_place() {
    let mut rig = Rig::new(ConsumerConfig { max_ack_pending: 2, ..explicit() }, &["a", "a", "a", "a"]);
    assert_eq!(rig.pull("r", "9"), ["r: 1/1 x1 3", "r: 2/2 x1 2"]);
    assert_eq!(rig.ack(1, 1, "-NAK"), ["naked 1", "r: 1/3 x2 2"]);
    assert_eq!(rig.ack(1, 3, "+ACK"), ["r: 3/4 x1 1"]);
    assert_eq!((floor(&rig), rig.why()), ((1, 1), Some(Blocked::MaxAckPending)));
}

#[test]
fn samples_are_the_wanted_share() {
    let mut rig = rig_with_deliveries(ConsumerConfig { sample_freq: "25%".into(), ..explicit() }, 8);
    rig.wait(30 * MILLI);
    let told: Vec<String> = (1..=8).flat_map(|sequence| rig.ack(sequence, sequence, "+ACK")).collect();
    assert_eq!(told, ["sample 4 30ms", "sample 8 30ms"]);
}

#[test]
fn a_removed_message_is_no_longer_pending() {
    let mut rig = rig_with_deliveries(explicit(), 3);
    assert_eq!(rig.remove(1), ["terminated 1 Unacknowledged message was deleted"]);
    assert_eq!((floor(&rig), rig.info().num_ack_pending), ((1, 1), 2));
    assert_eq!(rig.info().ack_floor.last_active.map(|time| time.0), Some(rig.now), "as an ack would have been");
    rig.stream.remove(2);
    let told = rig.step(|consumer, context, out| consumer.messages_removed_before(3, context.now, out));
    assert_eq!(told, ["terminated 2 Message deleted by stream limits"]);
    rig.ack(3, 3, "-NAK");
    rig.stream.remove(3);
    // Not told of the removal: found out when it should be delivered again.
    assert_eq!(rig.pull("s", "1"), ["terminated 3 Unacknowledged message was deleted"]);
    assert!(rig.released.is_empty());
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_was() {
    let mut rig = rig_with_deliveries(ConsumerConfig { max_deliver: 3, ..explicit() }, 4);
    rig.ack(2, 2, "+ACK");
    rig.ack(3, 3, "-NAK");
    rig.ack(4, 4, "-NAK 10s");
    rig.stream.store("a", START);
    rig.change_leader();
    assert_eq!(rig.pull("s", "9"), ["s: 3/5 x2 1", "s: 5/6 x1 0"], "a nak is remembered");
    assert_eq!(rig.wait(SECOND), ["s: 1/7 x2 0", "s: 3/8 x3 0", "s: 5/9 x2 0"]);
    rig.ack(1, 7, "+ACK");
    rig.ack(5, 9, "+ACK");
    assert_eq!(rig.wait(SECOND), ["max deliveries 3 x3"]);
    assert_eq!(rig.wait(8 * SECOND), ["s: 4/10 x2 0"], "and so is its delay");
}

#[test]
fn what_left_the_stream_while_nobody_led_takes_no_place() {
    // A server was killed between the removal of messages, which was durable, and the consumer's record of it. Until
    // ack_wait was over nothing more was delivered, and what had been given up was counted for ever.
    let config = ConsumerConfig { max_ack_pending: 2, max_deliver: 1, ack_wait: 3600 * SECOND, ..explicit() };
    let mut rig = rig_with_deliveries(config, 2);
    rig.ack(1, 1, "-NAK");
    rig.stream.remove(1);
    rig.stream.remove(2);
    for subject in ["a", "b"] {
        rig.stream.store(subject, START);
    }
    rig.change_leader();
    assert_eq!(rig.pull("s", "5"), ["s: 3/3 x1 1", "s: 4/4 x1 0"]);
    let info = rig.info();
    assert_eq!((floor(&rig), info.num_ack_pending, info.num_redelivered), ((2, 2), 2, 0));
}

/// A wait of a nanosecond had the server do nothing else: millions of deliveries a second of a thousand messages.
#[test]
fn no_message_is_delivered_again_more_often_than_every_few_milliseconds() {
    for (ack_wait, backoff) in [(1, vec![]), (0, vec![1, 2])] {
        let mut rig = Rig::new(ConsumerConfig { ack_wait, backoff, ..explicit() }, &["a"]);
        rig.pull("r", "1000");
        let told = rig.wait(100 * MILLI).len();
        assert!((10..=20).contains(&told), "{told} deliveries");
    }
}

/// As nats-server does it.
#[test]
fn a_wait_of_nothing_delivers_nothing_again_by_itself() {
    let mut rig = Rig::new(ConsumerConfig { ack_wait: 0, backoff: vec![0], ..explicit() }, &["a"]);
    rig.pull("r", "1000");
    assert_eq!(rig.wait(3600 * SECOND), [""; 0]);
    rig.ack(1, 1, r#"-NAK {"delay":1000000000}"#);
    assert_eq!(rig.wait(2 * SECOND), ["r: 1/2 x2 0"]);
}
