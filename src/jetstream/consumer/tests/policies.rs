//! Where consumers begin, what they count, how they are reset. Numbers of the genuine server 2.15.1.

use super::*;
use crate::jetstream::api::Timestamp;
use crate::jetstream::api::consumer_config::DeliverPolicy;

const SUBJECTS: [&str; 6] = ["S.a", "S.b", "S.c", "S.c", "S.b", "S.b"];

fn policy(deliver_policy: DeliverPolicy) -> ConsumerConfig {
    ConsumerConfig { deliver_policy, ..explicit() }
}

fn start(config: ConsumerConfig) -> (u64, u64) {
    let mut rig = Rig::new(config, &SUBJECTS);
    let info = rig.info();
    assert_eq!(info.delivered, info.ack_floor);
    (info.delivered.stream_seq, info.num_pending)
}

#[test]
fn every_policy_begins_where_the_genuine_server_does() {
    assert_eq!(start(policy(DeliverPolicy::All)), (0, 6));
    assert_eq!(start(policy(DeliverPolicy::Last)), (5, 1));
    assert_eq!(start(policy(DeliverPolicy::New)), (6, 0));
    let by_sequence = |opt_start_seq| ConsumerConfig { opt_start_seq, ..policy(DeliverPolicy::ByStartSequence) };
    assert_eq!(start(by_sequence(4)), (3, 3));
    assert_eq!(start(by_sequence(40)), (39, 0));
    let filtered =
        |policy_: DeliverPolicy, filter: &str| ConsumerConfig { filter_subject: filter.into(), ..policy(policy_) };
    assert_eq!(start(filtered(DeliverPolicy::Last, "S.zz")), (0, 0));
    assert_eq!(start(filtered(DeliverPolicy::Last, "S.c")), (3, 1));
    assert_eq!(start(filtered(DeliverPolicy::All, "S.b")), (0, 3));
    assert_eq!(start(filtered(DeliverPolicy::LastPerSubject, "S.*")), (0, 3));
    assert_eq!(start(filtered(DeliverPolicy::LastPerSubject, "S.b")), (5, 1));
    assert_eq!(start(filtered(DeliverPolicy::LastPerSubject, "S.zz")), (5, 0));
    let by_time = |offset| ConsumerConfig {
        opt_start_time: Some(Timestamp(START + offset)),
        ..policy(DeliverPolicy::ByStartTime)
    };
    assert_eq!(start(by_time(2 * MILLI)), (2, 4));
    assert_eq!(start(by_time(-SECOND)), (0, 6));
    assert_eq!(start(by_time(SECOND)), (6, 0));
}

#[test]
fn an_empty_and_a_purged_stream() {
    for (last, begins) in [(0, 0), (9, 9)] {
        for deliver_policy in [DeliverPolicy::All, DeliverPolicy::New, DeliverPolicy::LastPerSubject] {
            let stream = TestStream { last, first: last + 1, ..TestStream::default() };
            let state = ConsumerState::start(&policy(deliver_policy), &stream);
            assert_eq!(state.delivered().stream, begins, "{deliver_policy:?} after {last}");
        }
    }
}

#[test]
fn the_last_of_each_subject_comes_first_then_everything_new() {
    let config = ConsumerConfig { filter_subject: "S.*".into(), ..policy(DeliverPolicy::LastPerSubject) };
    let mut rig = Rig::new(config, &SUBJECTS);
    rig.store("S.a");
    assert_eq!(rig.info().num_pending, 4);
    assert_eq!(rig.pull("r", "2"), ["r: 1/1 x1 3", "r: 4/2 x1 2"]);
    rig.store("S.c");
    rig.change_leader();
    assert_eq!(rig.info().num_pending, 3);
    assert_eq!(rig.pull("r", "9"), ["r: 6/3 x1 2", "r: 7/4 x1 1", "r: 8/5 x1 0"]);
    assert!(rig.replica.last_per_subject.is_none(), "the list is gone when it is done");
}

#[test]
fn listed_messages_that_leave_the_stream_are_skipped() {
    let config = ConsumerConfig { filter_subject: "S.*".into(), ..policy(DeliverPolicy::LastPerSubject) };
    let mut rig = Rig::new(config, &SUBJECTS);
    assert_eq!(rig.info().num_pending, 3);
    rig.remove(6);
    rig.remove(5);
    assert_eq!(rig.info().num_pending, 2, "the second was not listed");
    rig.remove(4);
    assert_eq!(rig.pull("r", "9"), ["r: 1/1 x1 0"]);
    assert_eq!(rig.store("S.b"), ["r: 7/2 x1 0"]);
}

#[test]
fn with_one_message_per_subject_no_list_is_needed() {
    let mut stream = TestStream { one_per_subject: true, ..TestStream::default() };
    stream.store("S.a", START);
    stream.store("S.b", START);
    let state = ConsumerState::start(&policy(DeliverPolicy::LastPerSubject), &stream);
    assert!(state.last_per_subject.is_none() && state.next() == 1);
}

#[test]
fn pending_is_exact_while_messages_come_and_go() {
    let config = ConsumerConfig { filter_subjects: vec!["S.a".into(), "S.c".into()], ..explicit() };
    let mut rig = Rig::new(config, &SUBJECTS);
    assert_eq!(rig.info().num_pending, 3);
    rig.remove(3);
    assert_eq!(rig.info().num_pending, 2);
    rig.store("S.b");
    rig.store("S.a");
    rig.remove(7);
    assert_eq!(rig.info().num_pending, 3);
    assert_eq!(rig.pull("r", "1"), ["r: 1/1 x1 2"]);
    rig.remove(8);
    assert_eq!(rig.info().num_pending, 1);
    rig.stream.messages.clear();
    rig.step(|consumer, context, out| consumer.stream_purged(context, out));
    assert_eq!(rig.info().num_pending, 0);
}

#[test]
fn a_purge_moves_delivered_and_floor_behind_it() {
    let mut rig = Rig::new(explicit(), &SUBJECTS);
    rig.pull("r", "2");
    rig.stream.messages.clear();
    assert!(rig.step(|consumer, context, out| consumer.stream_purged(context, out)).is_empty());
    let info = rig.info();
    assert_eq!((info.delivered.stream_seq, info.delivered.consumer_seq), (6, 2));
    assert_eq!((info.ack_floor.stream_seq, info.ack_floor.consumer_seq), (6, 2));
    assert_eq!(info.num_ack_pending, 0);
}

#[test]
fn a_reset_starts_over() {
    let mut rig = Rig::new(explicit(), &SUBJECTS);
    rig.pull("r", "4");
    rig.ack(1, 1, "+ACK");
    let reset = |rig: &mut Rig, sequence| {
        let config = rig.config.clone();
        let mut result = Ok(0);
        let told = rig.step(|consumer, context, out| result = consumer.reset(sequence, &config, context, out));
        (told, result)
    };
    let (told, result) = reset(&mut rig, 0);
    assert_eq!((told.len(), result), (0, Ok(2)));
    assert!(rig.urgent);
    let info = rig.info();
    assert_eq!((info.delivered.stream_seq, info.delivered.consumer_seq, info.num_ack_pending), (1, 0, 0));
    assert_eq!((info.num_pending, info.delivered.last_active), (5, None));
    assert_eq!(rig.pull("r", "9").first().map(String::as_str), Some("r: 2/1 x1 4"));
    let (told, result) = reset(&mut rig, 6);
    assert_eq!((told, result), (vec!["r: 6/1 x1 0".to_owned()], Ok(6)));
}

#[test]
fn a_reset_stays_within_the_policy() {
    let context_of = |config: &ConsumerConfig, sequence| {
        let mut rig = Rig::new(config.clone(), &SUBJECTS);
        let mut result = Ok(0);
        rig.step(|consumer, context, out| result = consumer.reset(sequence, config, context, out));
        result.map_err(|error: ResetError| error.to_string())
    };
    let by_sequence = ConsumerConfig { opt_start_seq: 4, ..policy(DeliverPolicy::ByStartSequence) };
    assert_eq!(context_of(&by_sequence, 3), Err("below start seq".to_owned()));
    assert_eq!(context_of(&by_sequence, 5), Ok(5));
    let time = Some(Timestamp(START + 2 * MILLI));
    let by_time = ConsumerConfig { opt_start_time: time, ..policy(DeliverPolicy::ByStartTime) };
    assert_eq!(context_of(&by_time, 2), Err("below start time".to_owned()));
    assert_eq!(context_of(&by_time, 3), Ok(3));
    assert_eq!(context_of(&policy(DeliverPolicy::New), 3), Err("not allowed".to_owned()));
    assert_eq!(context_of(&policy(DeliverPolicy::New), 0), Ok(7));
}

#[test]
fn a_new_filter_counts_from_where_the_consumer_is() {
    let mut rig = Rig::new(ConsumerConfig { filter_subject: "S.c".into(), ..explicit() }, &SUBJECTS);
    rig.pull("r", "3");
    rig.step(|consumer, _, out| consumer.filter_changes(out));
    rig.config.filter_subject = "S.b".into();
    let settings = Settings::new(&rig.config, traits());
    rig.step(|consumer, context, out| consumer.config_updated(settings, context, out));
    rig.change_leader();
    assert_eq!(rig.info().num_pending, 0, "what the old filter passed over stays behind");
    rig.store("S.b");
    assert_eq!(rig.info().num_pending, 1);
}

#[test]
fn nothing_beyond_the_committed_end_is_delivered() {
    let mut rig = Rig::new(explicit(), &SUBJECTS);
    rig.stream.last = 4;
    assert_eq!(rig.pull("r", "9").len(), 4);
    assert_eq!(rig.why(), Some(Blocked::NothingPending));
    rig.stream.last = 6;
    assert_eq!(rig.step(|_, _, _| {}).len(), 2);
}

#[test]
fn an_idle_consumer_is_small() {
    let rig = Rig::new(ConsumerConfig { filter_subject: "orders.*.new".into(), ..explicit() }, &[]);
    let bytes = size_of::<Consumer>() + size_of::<ConsumerState>() + size_of::<Settings>() + 64;
    assert!(bytes < 1500, "{bytes}");
    let mut encoded = Vec::new();
    rig.replica.encode(&mut encoded);
    assert!(encoded.len() < 40, "{}", encoded.len());
    assert!(size_of::<Event>() <= 48 && size_of::<Delta>() <= 32);
}
