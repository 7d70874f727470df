//! Requests that come before those ahead of them are durable are held against what these will leave behind.

use headwater_storage::SimIo;
use serde_json::Value;

use super::node_rig::Rig;

/// Sends requests at once and gives the error codes of their answers, 0 for success.
fn codes(rig: &mut Rig, requests: &[(&str, &str)]) -> Vec<u64> {
    let burst: Vec<(String, &[u8])> =
        requests.iter().map(|(subject, body)| (format!("$JS.API.{subject}"), body.as_bytes())).collect();
    let sent = rig.send_burst(&burst);
    rig.drive();
    let code = |request: &String| {
        let answers = rig.take(request);
        assert_eq!(answers.len(), 1, "one answer to each request");
        let answer: Value = serde_json::from_slice(&answers[0].payload).unwrap();
        answer["error"]["err_code"].as_u64().unwrap_or(0)
    };
    sent.iter().map(code).collect()
}

fn names(rig: &mut Rig) -> Value {
    rig.grant("STREAM.NAMES", "")["streams"].clone()
}

fn consumer(more: &str) -> String {
    format!(r#"{{"stream_name":"S","config":{{"durable_name":"C","ack_policy":"explicit"{more}}}}}"#)
}

const CREATE_S: &str = r#"{"name":"S","subjects":["s.>"],"storage":"file"}"#;

#[test]
fn a_subject_that_an_update_is_about_to_take_is_taken() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let (update, create) = (r#"{"name":"S","subjects":["s.>","x"]}"#, r#"{"name":"T","subjects":["x"]}"#);
    assert_eq!(codes(&mut rig, &[("STREAM.UPDATE.S", update), ("STREAM.CREATE.T", create)]), [0, 10065]);
    assert_eq!(codes(&mut rig, &[("STREAM.UPDATE.S", CREATE_S), ("STREAM.CREATE.T", create)]), [0, 0]);
    assert_eq!(names(&mut rig), serde_json::json!(["S", "T"]));
    rig.store("x", b"only T has it");
}

#[test]
fn an_update_is_held_against_the_one_before_it() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    let sealed = r#"{"name":"S","subjects":["s.>"],"deny_purge":true}"#;
    assert_eq!(codes(&mut rig, &[("STREAM.UPDATE.S", sealed), ("STREAM.UPDATE.S", CREATE_S)]), [0, 10052]);
}

/// The creation was answered with the stream that was about to go, and then there was none.
#[test]
fn a_stream_deleted_and_created_in_one_burst_is_there() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.store("s.a", b"of the old one");
    assert_eq!(codes(&mut rig, &[("STREAM.DELETE.S", ""), ("STREAM.CREATE.S", CREATE_S)]), [0, 0]);
    assert_eq!(rig.store("s.a", b"of the new one"), 1);
    assert_eq!(codes(&mut rig, &[("STREAM.DELETE.S", ""), ("STREAM.DELETE.S", "")]), [0, 10059]);
    rig.create_stream("");
    let other = r#"{"name":"T","subjects":["s.>"]}"#;
    assert_eq!(codes(&mut rig, &[("STREAM.DELETE.S", ""), ("STREAM.CREATE.T", other)]), [0, 0]);
    rig.stop();
    assert_eq!(names(&mut Rig::start(&io)), serde_json::json!(["T"]));
}

/// A success was answered, without the consumer's state, and the consumer was gone.
#[test]
fn a_consumer_deleted_and_created_in_one_burst_is_there() {
    for storage in ["file", "memory"] {
        let mut rig = Rig::start(&SimIo::new());
        rig.grant("STREAM.CREATE.S", &CREATE_S.replace("file", storage));
        rig.create_consumer();
        rig.store("s.a", b"");
        assert_eq!(rig.pull(1).len(), 1);
        let create = consumer("");
        let delete = ("CONSUMER.DELETE.S.C", "");
        assert_eq!(codes(&mut rig, &[delete, ("CONSUMER.DURABLE.CREATE.S.C", &create)]), [0, 0]);
        assert_eq!(rig.grant("CONSUMER.INFO.S.C", "")["delivered"]["stream_seq"], 0);
        assert_eq!(rig.pull(1).len(), 1, "it is a new one");
        assert_eq!(codes(&mut rig, &[delete, ("CONSUMER.INFO.S.C", ""), delete]), [0, 10014, 10014]);
        let burst = [("CONSUMER.DURABLE.CREATE.S.C", &*create), delete, ("CONSUMER.DURABLE.CREATE.S.C", &*create)];
        assert_eq!(codes(&mut rig, &burst), [0, 0, 0]);
        let changed = consumer(r#","description":"changed""#);
        assert_eq!(codes(&mut rig, &[("CONSUMER.DURABLE.CREATE.S.C", &changed), delete]), [0, 0]);
        assert_eq!(codes(&mut rig, &[("CONSUMER.DURABLE.CREATE.S.C", &create)]), [0]);
        assert_eq!(rig.grant("CONSUMER.NAMES.S", "")["consumers"], serde_json::json!(["C"]));
        assert_eq!(rig.pull(1).len(), 1);
    }
}

/// Two consumers of a work queue had the same filter: one by an update that was not applied yet when the other was checked.
#[test]
fn a_filter_that_an_update_is_about_to_set_is_taken() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","retention":"workqueue""#);
    rig.grant("CONSUMER.DURABLE.CREATE.S.C", &consumer(r#","filter_subject":"s.a""#));
    let update = consumer(r#","filter_subject":"s.b""#);
    let other = update.replace(r#""C""#, r#""D""#);
    let burst = [("CONSUMER.DURABLE.CREATE.S.C", &*update), ("CONSUMER.DURABLE.CREATE.S.D", &*other)];
    assert_eq!(codes(&mut rig, &burst), [0, 10100]);
}

/// Each wrote an entry, and in an interest stream each read all of it.
#[test]
fn a_consumer_that_is_made_sure_of_writes_nothing() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","retention":"interest""#);
    let last_index = |rig: &Rig| rig.stream().lock().log.group().last_index();
    let create = ("CONSUMER.DURABLE.CREATE.S.C", &*consumer(r#","description":"one""#));
    assert_eq!(codes(&mut rig, &[create, create]), [0, 0]);
    let before = last_index(&rig);
    assert_eq!(codes(&mut rig, &[create, create]), [0, 0]);
    assert_eq!(last_index(&rig), before);
    let changed = consumer(r#","description":"two""#);
    let burst = [("CONSUMER.DURABLE.CREATE.S.C", &*changed), create, create];
    assert_eq!(codes(&mut rig, &burst), [0, 0, 0]);
    assert_eq!(last_index(&rig), before + 2);
    assert_eq!(rig.grant("CONSUMER.INFO.S.C", "")["config"]["description"], "one");
}

#[test]
fn a_message_that_is_on_its_way_with_a_wider_filter_is_wanted() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","retention":"interest","max_msgs":1,"discard":"new""#);
    rig.grant("CONSUMER.DURABLE.CREATE.S.C", &consumer(r#","filter_subject":"s.a""#));
    rig.store("s.a", b"fills it");
    let update = consumer(r#","filter_subject":"s.>""#);
    let subject = "$JS.API.CONSUMER.DURABLE.CREATE.S.C".to_owned();
    let sent = rig.send_burst(&[(subject, update.as_bytes()), ("s.b".to_owned(), b"too many")]);
    rig.drive();
    let refused = Some(super::node_rig::Published::Refused { err_code: 10077 });
    assert_eq!(rig.outcome(&sent[1]), refused);
}
