//! What is left behind when a consumer goes, or when a stream leaves a subject.

use crate::harness::TestServer;
use crate::jetstream::{Js, stream_config, texts, with_jetstream};
use async_nats::client::RequestErrorKind;
use serde_json::{Value, json};

/// A request is refused at once, without waiting for a deadline.
async fn nobody_is_there(js: &Js, subject: &str) {
    let answer = js.client.request(subject.to_owned(), "".into()).await;
    let kind = answer.as_ref().err().map(|problem| problem.kind());
    assert_eq!(kind, Some(RequestErrorKind::NoResponders), "{subject}: {answer:?}");
}

/// Deleting the consumer counted as having done with all that it had not done: every message of the queue was removed,
/// those included that no consumer had ever been asked for.
#[test]
fn a_work_queue_keeps_its_messages_when_its_consumer_is_deleted() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "retention": "workqueue"})).await;
            js.consumer("S", "A", json!({"filter_subject": "s.a"})).await;
            for (subject, payload) in [("s.a", "1"), ("s.a", "2"), ("s.b", "3"), ("s.a", "4")] {
                js.publish(subject, payload).await;
            }
            let messages = js.fetch("S", "A", 2).await;
            js.confirm(&messages[0], "+ACK").await;
            js.ok("CONSUMER.DELETE.S.A", Value::Null).await;
            assert_eq!(js.contents("S").await, ["2", "3", "4"]);
            js.consumer("S", "B", json!({})).await;
            let rest = js.fetch("S", "B", 3).await;
            assert_eq!(texts(&rest), ["2", "3", "4"]);
        });
    }
}

#[test]
fn a_work_queue_keeps_its_messages_when_its_consumer_becomes_inactive() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"retention": "workqueue"})).await;
        js.consumer("S", "A", json!({"inactive_threshold": 100_000_000, "ack_wait": 100_000_000})).await;
        js.publish("s.a", "1").await;
        js.publish("s.a", "2").await;
        js.fetch("S", "A", 1).await;
        js.until("STREAM.INFO.S", "the consumer goes", |info| info["state"]["consumer_count"] == 0).await;
        assert_eq!(js.contents("S").await, ["1", "2"]);
    });
}

/// Clients that wait for the answer to an ack waited in vain, until their own deadline.
#[test]
fn an_ack_to_a_deleted_consumer_is_told_that_nobody_is_there() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        js.consumer("S", "C", json!({})).await;
        js.publish("s.a", "1").await;
        let message = js.fetch("S", "C", 1).await.remove(0);
        js.ok("CONSUMER.DELETE.S.C", Value::Null).await;
        for subject in [message.reply.as_deref().unwrap(), "$JS.ACK.NONE.C.1.1.1.1.0", "$JS.ACK.S.C", "$JS.FC.S.C.x"] {
            nobody_is_there(&js, subject).await;
        }
    });
}

/// Everybody was told: a client without headers got an empty message, and took its ack for confirmed.
#[test]
fn only_who_asks_for_it_and_waits_itself_is_told_that_nobody_is_there() {
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
    });
    let gone =
        ["$JS.ACK.GONE.C.1.1.1.1.0", "$JS.FC.GONE.C.x", "$JS.API.DIRECT.GET.GONE", "$JS.API.CONSUMER.MSG.NEXT.GONE.C"];
    let mut asks = server.connected();
    let mut plain = server.connected_with("\"headers\":false,\"no_responders\":false");
    let mut with_headers = server.connected_with("\"no_responders\":false");
    let mut other = server.connected();
    let mut member = server.connected();
    other.send("SUB o 1\r\n");
    other.expect_nothing();
    member.send("SUB r pool 1\r\n");
    for client in [&mut asks, &mut plain, &mut with_headers] {
        client.send("SUB r 1\r\n");
    }
    for subject in gone {
        for client in [&mut asks, &mut plain, &mut with_headers] {
            client.send(format!("PUB {subject} r 0\r\n\r\n"));
        }
        let headers = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
        asks.expect(format!("HMSG r 1 {0} {0}\r\n{headers}\r\n", headers.len()));
        member.send(format!("PUB {subject} r 0\r\n\r\nPUB {subject} o 0\r\n\r\n"));
        for client in [&mut plain, &mut with_headers, &mut member, &mut other] {
            // The answer to what came with a PING may stand behind its PONG.
            client.expect_nothing();
            client.expect_nothing();
        }
    }
}

/// The old subjects were left a moment after the answer; what was published meanwhile was stored, by two streams when
/// another had taken the subject already.
#[test]
fn a_stream_has_left_a_subject_when_its_update_is_answered() {
    with_jetstream(|js| async move {
        js.stream("S", json!({})).await;
        for _ in 0..100 {
            js.ok("STREAM.UPDATE.S", stream_config("S", json!({"subjects": ["s.>", "t"]}))).await;
            js.publish("t", "stored").await;
            js.ok("STREAM.UPDATE.S", stream_config("S", json!({"subjects": ["s.>"]}))).await;
            nobody_is_there(&js, "t").await;
        }
    });
}
