//! A burst of publishes is one turn of the stream, and may be many writes of the journal.

use headwater_storage::SimIo;

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
