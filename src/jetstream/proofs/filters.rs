//! Another filter for a consumer of a stream that keeps what consumers need.

use headwater_storage::SimIo;

use super::node_rig::{Rig, sequence_of};

const OTHERS: usize = 20;

fn consumer(rig: &mut Rig, name: &str, filter: &str) -> String {
    let config = format!(r#"{{"durable_name":"{name}","ack_policy":"explicit","filter_subject":"{filter}"}}"#);
    let body = format!(r#"{{"stream_name":"S","config":{config}}}"#);
    rig.send(&format!("$JS.API.CONSUMER.DURABLE.CREATE.S.{name}"), b"", body.as_bytes())
}

/// The reply subjects of what a consumer delivers now.
fn pull(rig: &mut Rig, name: &str) -> Vec<String> {
    let body = format!(r#"{{"batch":{},"no_wait":true}}"#, 2 * OTHERS);
    rig.send(&format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}"), b"", body.as_bytes());
    replies(rig)
}

fn replies(rig: &Rig) -> Vec<String> {
    let delivered = rig.take("delivered");
    delivered.into_iter().filter_map(|message| String::from_utf8(message.reply?).ok()).collect()
}

fn ack(rig: &mut Rig, replies: &[String]) {
    for reply in replies {
        rig.send(reply, b"", b"+ACK");
    }
}

/// `A` and `B` have filters of their own, and there are messages for `B`.
fn with_messages_for_b() -> Rig {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","retention":"interest""#);
    for (name, filter) in [("A", "s.a"), ("B", "s.b")] {
        let created = consumer(&mut rig, name, filter);
        rig.drive();
        assert_eq!(rig.take(&created).len(), 1);
    }
    for _ in 0..OTHERS {
        rig.store("s.b", b"for B");
    }
    rig
}

fn messages(rig: &mut Rig) -> serde_json::Value {
    rig.drive();
    rig.grant("STREAM.INFO.S", "")["state"]["messages"].clone()
}

/// Between the new filter and the record of what the consumer had passed over, acks of others found that it still
/// needed these messages; and nobody ever asked again.
#[test]
fn what_a_consumer_passed_over_leaves_with_the_acks_of_others_while_its_filter_changes() {
    let mut rig = with_messages_for_b();
    rig.send("$JS.API.CONSUMER.MSG.NEXT.S.A", b"", br#"{"batch":1,"expires":3600000000000}"#);
    let delivered = pull(&mut rig, "B");
    assert_eq!(delivered.len(), OTHERS);
    consumer(&mut rig, "A", "s.b");
    ack(&mut rig, &delivered);
    assert_eq!(messages(&mut rig), 0);
    rig.store("s.b", b"for both");
    assert_eq!(rig.take("delivered").len(), 1, "the request that waits gets what the new filter matches");
}

/// A delivery by the old filter, in the log behind the new one, said that nothing before it was left: what was only now
/// wanted stayed behind, for ever.
#[test]
fn nothing_is_delivered_by_the_old_filter_once_there_is_to_be_another() {
    let mut rig = with_messages_for_b();
    rig.store("s.a", b"for A");
    let of_b = pull(&mut rig, "B");
    consumer(&mut rig, "A", "s.b");
    ack(&mut rig, &of_b);
    assert_eq!(pull(&mut rig, "A"), [""; 0], "it waits for the new filter");
    rig.drive();
    let of_a = replies(&rig);
    assert!(of_a.iter().map(|reply| sequence_of(reply)).eq(1..=OTHERS as u64), "{of_a:?}");
    ack(&mut rig, &of_a);
    assert_eq!(messages(&mut rig), 0);
}
