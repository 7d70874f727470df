//! Push consumers: interest, heartbeats, flow control, pacing.

use super::*;
use crate::jetstream::api::consumer_config::ReplayPolicy;

fn push() -> ConsumerConfig {
    ConsumerConfig { deliver_subject: "d".into(), ..explicit() }
}

/// What clients create for an ordered consumer.
fn ordered() -> ConsumerConfig {
    ConsumerConfig {
        name: "c".into(),
        durable_name: String::new(),
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        mem_storage: true,
        flow_control: true,
        idle_heartbeat: 5 * SECOND,
        inactive_threshold: 300 * SECOND,
        ..push()
    }
}

fn listen(rig: &mut Rig, interested: bool) -> Vec<String> {
    rig.step(|consumer, context, _| consumer.interest_changed(interested, context.now))
}

#[test]
fn delivery_begins_with_interest_and_stops_without() {
    let mut rig = Rig::new(push(), &["a", "a"]);
    assert!(rig.store("a").is_empty());
    assert_eq!(rig.why(), Some(Blocked::NoInterest));
    assert_eq!(listen(&mut rig, true), ["d: 1/1 x1 2", "d: 2/2 x1 1", "d: 3/3 x1 0"]);
    assert!(rig.info().push_bound);
    listen(&mut rig, false);
    assert!(rig.store("a").is_empty());
    assert_eq!(listen(&mut rig, true), ["d: 4/4 x1 0"]);
}

#[test]
fn an_ordered_consumer_replays_without_pending_acks() {
    let mut rig = Rig::new(ordered(), &["a", "a"]);
    assert_eq!(listen(&mut rig, true), ["d: 1/1 x1 1", "d: 2/2 x1 0"]);
    let beat = "d: 100 Idle Heartbeat | Nats-Last-Consumer: 2 | Nats-Last-Stream: 2";
    assert_eq!(rig.wait(12 * SECOND), [beat, beat]);
    assert_eq!(rig.store("a"), ["d: 3/3 x1 0"]);
    assert!(rig.wait(4 * SECOND).is_empty(), "a delivery puts the heartbeat off");
    listen(&mut rig, false);
    assert_eq!(rig.wait(301 * SECOND), ["delete"]);
}

#[test]
fn heartbeats_of_a_filtered_consumer_name_what_was_looked_at() {
    let config = ConsumerConfig { filter_subject: "b".into(), idle_heartbeat: SECOND, ..push() };
    let mut rig = Rig::new(config, &["b", "a", "a"]);
    assert_eq!(listen(&mut rig, true), ["d: 1/1 x1 0"]);
    let told = rig.wait(SECOND);
    assert!(
        told.contains(&"d: 100 Idle Heartbeat | Nats-Last-Consumer: 1 | Nats-Last-Stream: 3".to_owned()),
        "{told:?}"
    );
}

#[test]
fn flow_control_asks_at_half_a_window_and_stalls_at_all_of_it() {
    let mut rig = Rig::new(ordered(), &[]);
    listen(&mut rig, true);
    for _ in 0..6 {
        rig.stream.store_sized("a", START, 500_000);
    }
    let told = rig.step(|_, _, _| {});
    let expected = ["d: 1/1 x1 5", "d: 2/2 x1 4", "d: 3/3 x1 3", "d: 100 FlowControl Request", "d: 4/4 x1 2"];
    assert_eq!(told[..5], expected);
    assert_eq!(told[5], "d: 5/5 x1 1", "the stall shows after the message that exceeds the window");
    assert_eq!((told.len(), rig.why()), (6, Some(Blocked::FlowControl)));
    let beat = rig.wait(5 * SECOND).remove(0);
    let (start, subject) = beat.split_once(" | Nats-Consumer-Stalled: ").expect("stalled");
    assert_eq!(start, "d: 100 Idle Heartbeat | Nats-Last-Consumer: 5 | Nats-Last-Stream: 5");
    assert!(subject.starts_with("$JS.FC.S.c.") && subject.len() == 15, "{subject}");
    let answer = |rig: &mut Rig, subject: &str| {
        rig.step(|consumer, context, out| consumer.flow_control_reply(subject.as_bytes(), b"", context, out))
    };
    assert!(answer(&mut rig, "$JS.FC.S.c.none").is_empty());
    assert_eq!(answer(&mut rig, subject), ["d: 6/6 x1 0"]);
}

#[test]
fn with_acks_by_flow_control_the_answer_acks() {
    let config = ConsumerConfig {
        ack_policy: AckPolicy::FlowControl,
        flow_control: true,
        idle_heartbeat: SECOND,
        max_ack_pending: 3,
        ..push()
    };
    let mut rig = Rig::new(config, &["a", "a", "a", "a"]);
    let told = listen(&mut rig, true);
    assert_eq!(told, ["d: 1/1 x1 3", "d: 2/2 x1 2", "d: 3/3 x1 1", "d: 100 FlowControl Request"]);
    assert_eq!(rig.why(), Some(Blocked::MaxAckPending));
    let subject = match rig.out.events.iter().rfind(|event| matches!(event, Event::Status { .. })) {
        Some(Event::Status { status, .. }) => rig.out.text(status.reply()).to_vec(),
        other => panic!("{other:?}"),
    };
    let header = b"NATS/1.0\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n";
    let told = rig.step(|consumer, context, out| consumer.flow_control_reply(&subject, header, context, out));
    assert_eq!(told, ["d: 4/4 x1 0"]);
    assert_eq!(rig.consumer.state().ack_floor(), SequencePair { consumer: 2, stream: 2 });
    let told = rig.wait(SECOND);
    assert_eq!(told.last().map(String::as_str), Some("d: 100 FlowControl Request"), "the heartbeat asks again");
    assert!(rig.wait(100 * SECOND).iter().all(|told| !told.contains(" x2 ")), "nothing is redelivered by time");
}

#[test]
fn the_rate_limit_spreads_messages_over_time() {
    let config = ConsumerConfig { rate_limit_bps: 8 * 530, ..push() };
    let mut stream = TestStream::default();
    for _ in 0..4 {
        stream.store("S.a", START);
    }
    let traits = StreamTraits { message_bytes_max: 106, ..traits() };
    let mut rig = Rig::with_traits(config, stream, traits);
    // Some 53 bytes each, two in a burst, ten a second.
    assert_eq!(listen(&mut rig, true), ["d: 1/1 x1 3", "d: 2/2 x1 2"]);
    assert_eq!(rig.why(), Some(Blocked::RateLimit));
    assert!(rig.wait(99 * MILLI).is_empty());
    assert_eq!(rig.wait(MILLI), ["d: 3/3 x1 1"]);
    assert_eq!(rig.wait(100 * MILLI), ["d: 4/4 x1 0"]);
}

#[test]
fn original_pace_keeps_the_pauses_of_what_was_there() {
    let mut stream = TestStream::default();
    for offset in [0, 300, 1000] {
        stream.store("a", START + offset * MILLI);
    }
    let config = ConsumerConfig { replay_policy: ReplayPolicy::Original, ack_wait: 100 * SECOND, ..push() };
    let mut rig = Rig::over(config, stream);
    assert_eq!(listen(&mut rig, true), ["d: 1/1 x1 2"]);
    assert_eq!(rig.why(), Some(Blocked::ReplayPace));
    assert!(rig.wait(299 * MILLI).is_empty());
    assert_eq!(rig.wait(MILLI), ["d: 2/2 x1 1"]);
    assert_eq!(rig.wait(700 * MILLI), ["d: 3/3 x1 0"]);
    rig.now += 10 * SECOND;
    assert_eq!(rig.store("a"), ["d: 4/4 x1 0"], "what is new comes at once");
}

#[test]
fn pausing_stops_deliveries_but_not_heartbeats() {
    let mut rig = Rig::new(ConsumerConfig { idle_heartbeat: SECOND, ..push() }, &[]);
    listen(&mut rig, true);
    let until = rig.now + 3 * SECOND / 2;
    let told = rig.step(|consumer, context, out| assert!(consumer.pause(until, context, out)));
    assert_eq!((told, rig.urgent), (vec!["paused true".to_owned()], true));
    assert!(rig.store("a").is_empty());
    let info = rig.info();
    assert_eq!((info.paused, info.pause_remaining), (true, 3 * SECOND / 2));
    assert_eq!(rig.why(), Some(Blocked::Paused));
    assert_eq!(rig.wait(SECOND), ["d: 100 Idle Heartbeat | Nats-Last-Consumer: 0 | Nats-Last-Stream: 0"]);
    rig.change_leader();
    listen(&mut rig, true);
    assert_eq!(rig.wait(SECOND), ["paused false", "d: 1/1 x1 0"], "a pause outlives the leader");
}

#[test]
fn a_new_deliver_subject_gets_everything_pending() {
    let mut rig = Rig::new(ConsumerConfig { max_deliver: 3, ..push() }, &["a", "a"]);
    listen(&mut rig, true);
    rig.config.deliver_subject = "e".into();
    let settings = Settings::new(&rig.config, traits());
    assert!(rig.step(|consumer, context, out| consumer.config_updated(settings, context, out)).is_empty());
    assert_eq!(listen(&mut rig, true), ["e: 1/3 x2 0", "e: 2/4 x2 0"]);
}

/// A pass was bounded by its messages only: a hundred of a megabyte each were staged for a client at once.
#[test]
fn a_pass_ends_behind_the_message_that_reaches_its_bytes() {
    let mut rig = Rig::new(push(), &[]);
    for _ in 0..10 {
        rig.stream.store_sized("a", rig.now, 1000);
    }
    let context = Context { now: rig.now, stream: &rig.stream, environment: &rig.environment };
    rig.consumer.interest_changed(true, rig.now);
    let mut pass = |bytes| rig.consumer.deliver(PassBound { messages: 100, bytes }, &context, &mut rig.out);
    assert_eq!(pass(2500), Progress { delivered: 3, blocked: None });
    assert_eq!(pass(1), Progress { delivered: 1, blocked: None }, "one goes whatever its size");
    assert_eq!(pass(u64::MAX), Progress { delivered: 6, blocked: Some(Blocked::NothingPending) });
}
