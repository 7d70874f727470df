//! A burst of publishes is one turn of the stream, and may be many writes of the journal.

use headwater_storage::SimIo;

use super::super::group_log::GroupLog;
use super::node_rig::{Published, Rig, sequence_of};

/// A burst that did not fit into one batch is committed as a whole with its last one. Its earlier entries, whose records
/// had come by before that, were passed over: their publishers were answered with the last sequence, and the messages were
/// neither counted nor delivered. Then they were applied at both times, and the stream stopped at the second.
#[test]
fn a_burst_that_lies_in_two_batches_is_applied_once_and_answered_once() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.create_consumer();
    rig.store("s.0", b"before");
    let batches = rig.node.stats().batches;
    let contents: Vec<Vec<u8>> = (1..=40_u8).map(|number| vec![number; 3000]).collect();
    let burst: Vec<(String, &[u8])> =
        contents.iter().enumerate().map(|(at, content)| (format!("s.{at}"), &content[..])).collect();
    let requests = rig.send_burst(&burst);
    assert!(requests.iter().all(|request| rig.take(request).is_empty()), "nothing of it is durable");
    rig.drive();
    assert!(rig.node.stats().batches >= batches + 2, "the burst lies in several batches");
    for (at, request) in requests.iter().enumerate() {
        let expected = Some(Published::Acked { sequence: at as u64 + 2, duplicate: false });
        assert_eq!(rig.outcome(request), expected, "publish {at}");
    }
    let check = |rig: &mut Rig| {
        let state = rig.grant("STREAM.INFO.S", r#"{"subjects_filter":">"}"#)["state"].clone();
        assert_eq!((state["messages"].as_u64(), state["last_seq"].as_u64()), (Some(41), Some(41)));
        assert!((0..40).all(|at| state["subjects"][format!("s.{at}")] == if at == 0 { 2 } else { 1 }), "{state}");
        assert!((0..40).all(|at| rig.payload(at as u64 + 2).as_ref() == Some(&contents[at])));
    };
    check(&mut rig);
    let delivered: Vec<u64> = rig.pull(100).iter().map(|reply| sequence_of(reply)).collect();
    assert_eq!(delivered, (1..=41).collect::<Vec<_>>());
    // It goes on, and a restart finds the same.
    rig.stop();
    let mut rig = Rig::start(&io);
    check(&mut rig);
    assert_eq!(rig.store("s.0", b"after"), 42);
}

/// A proposal that failed used to reset everything that was accepted, also messages that were in the log and not applied
/// yet: the next message would have been given a sequence of theirs. A group of one never refuses, so its log is taken
/// away here.
#[test]
fn a_burst_that_the_log_does_not_take_costs_no_other_message_its_sequence() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let burst = |rig: &mut Rig| rig.send_burst(&[("s.a".to_owned(), b"one"), ("s.b".to_owned(), b"two")]);
    let before = burst(&mut rig);
    let refused = without_log(&mut rig, burst);
    let after = burst(&mut rig);
    rig.drive();
    let outcomes = |requests: &[String]| -> Vec<_> { requests.iter().map(|request| rig.outcome(request)).collect() };
    let acked = |sequence| Some(Published::Acked { sequence, duplicate: false });
    let error = Some(Published::Refused { err_code: 10077 });
    assert_eq!(outcomes(&before), [acked(1), acked(2)]);
    assert_eq!(outcomes(&refused), [error.clone(), error]);
    assert_eq!(outcomes(&after), [acked(3), acked(4)]);
}

/// A purge beyond the end that the log did not take still made the next message jump there, which no replica could
/// apply.
#[test]
fn a_purge_that_the_log_does_not_take_moves_nothing() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    assert_eq!(rig.store("s.a", b"one"), 1);
    let answer = without_log(&mut rig, |rig| rig.ask("STREAM.PURGE.S", r#"{"seq":10}"#));
    assert_eq!(answer["error"]["err_code"], 10077, "{answer}");
    assert_eq!(rig.store("s.a", b"two"), 2);
    assert_eq!(rig.grant("STREAM.PURGE.S", r#"{"seq":10}"#)["purged"], 2);
    assert_eq!(rig.store("s.a", b"three"), 10);
}

/// Does something while the stream's log takes nothing.
fn without_log<R>(rig: &mut Rig, work: impl FnOnce(&mut Rig) -> R) -> R {
    let leading = {
        let stream = rig.stream();
        let mut core = stream.lock();
        let follower = GroupLog::create(core.log.id()).unwrap();
        std::mem::replace(&mut core.log, follower)
    };
    let done = work(rig);
    rig.stream().lock().log = leading;
    done
}
