//! When an acknowledgement may leave.

use headwater_storage::SimIo;

use super::node_rig::{Published, Rig};

#[test]
fn an_ack_waits_for_the_disk() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let request = rig.publish("s.a", b"one");
    assert_eq!(rig.outcome(&request), None, "nothing is written yet");
    rig.drive();
    assert_eq!(rig.outcome(&request), Some(Published::Acked { sequence: 1, duplicate: false }));
}

#[test]
fn an_ack_waits_for_nothing_where_the_operator_says_so() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream(r#","persist_mode":"async""#);
    let requests = rig.send_burst(&[("s.a".into(), b"one"), ("s.b".into(), b"two")]);
    for (request, sequence) in requests.iter().zip(1..) {
        let acked = Some(Published::Acked { sequence, duplicate: false });
        assert_eq!(rig.outcome(request), acked, "acked before it is written");
        assert_eq!(rig.payload(sequence), None, "and not there yet");
    }
    rig.drive();
    assert!(requests.iter().all(|request| rig.take(request).is_empty()), "one answer each");
    assert_eq!(rig.payload(2).as_deref(), Some(&b"two"[..]));
    rig.stop();
    let mut rig = Rig::start(&io);
    assert_eq!(rig.store("s.c", b"three"), 3);
    assert_eq!(rig.payload(1).as_deref(), Some(&b"one"[..]));
}
