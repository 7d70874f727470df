//! Streams wired in a circle. A message that is stored in one reaches the other and comes back, again and again; each
//! step used to run inside the one before, until the stack of the thread was used up and the process died.

use crate::jetstream::{Js, with_jetstream};
use serde_json::{Value, json};

/// A memory stream whose consumer pushes everything to a subject.
async fn pushing_stream(js: &Js, name: &str, subject: &str, target: &str) {
    js.stream(name, json!({"subjects": [subject], "storage": "memory", "max_msgs": 10})).await;
    let consumer = json!({"deliver_subject": target, "ack_policy": "none", "mem_storage": true});
    js.consumer(name, "circle", consumer).await;
}

fn last_sequence(info: &Value) -> u64 {
    info["state"]["last_seq"].as_u64().unwrap()
}

#[test]
fn consumers_that_push_in_a_circle_leave_the_server_to_others() {
    with_jetstream(|js| async move {
        js.stream("OTHER", json!({"subjects": ["other.>"]})).await;
        pushing_stream(&js, "LEFT", "left.in", "right.in").await;
        pushing_stream(&js, "RIGHT", "right.in", "left.in").await;
        js.publish("left.in", "x").await;
        js.until("STREAM.INFO.LEFT", "the message goes round", |info| last_sequence(info) > 2000).await;

        for number in 1..100 {
            assert_eq!(js.publish("other.one", "y").await, number);
        }
        for name in ["LEFT", "RIGHT"] {
            assert!(js.messages(name).await <= 10, "{name} keeps to its limit");
        }
        js.ok("STREAM.DELETE.RIGHT", Value::Null).await;
        let before = last_sequence(&js.ok("STREAM.INFO.LEFT", Value::Null).await);
        js.round_trip().await;
        let after = last_sequence(&js.ok("STREAM.INFO.LEFT", Value::Null).await);
        assert!(after <= before + 1, "the circle is broken: {before}, {after}");
    });
}

#[test]
fn messages_that_multiply_in_a_circle_are_bounded() {
    with_jetstream(|js| async move {
        pushing_stream(&js, "LEFT", "left.in", "right.in").await;
        pushing_stream(&js, "RIGHT", "right.in", "left.in").await;
        let second = json!({"deliver_subject": "right.in", "ack_policy": "none", "mem_storage": true});
        js.consumer("LEFT", "second", second).await;
        js.publish("left.in", "x".repeat(1000).as_str()).await;
        js.until("STREAM.INFO.LEFT", "the messages multiply", |info| last_sequence(info) > 2000).await;
        for _ in 0..10 {
            js.round_trip().await;
        }
        for name in ["LEFT", "RIGHT"] {
            assert!(js.messages(name).await <= 10, "{name} keeps to its limit");
            js.ok(&format!("STREAM.DELETE.{name}"), Value::Null).await;
        }
    });
}

#[test]
fn messages_republished_in_a_circle_end_when_their_headers_are_full() {
    with_jetstream(|js| async move {
        for (name, subject, target) in [("LEFT", "left.>", "right.>"), ("RIGHT", "right.>", "left.>")] {
            let republish = json!({"src": subject, "dest": target});
            let config = json!({"subjects": [subject], "storage": "memory", "republish": republish});
            js.stream(name, config).await;
        }
        js.publish("left.first", "x").await;
        js.until("STREAM.INFO.LEFT", "the message goes round", |info| last_sequence(info) > 50).await;
        let settled = || async {
            let mut last = 0;
            loop {
                js.round_trip().await;
                tokio::time::sleep(crate::jetstream::MOMENT).await;
                let now = last_sequence(&js.ok("STREAM.INFO.LEFT", Value::Null).await);
                if std::mem::replace(&mut last, now) == now {
                    return now;
                }
            }
        };
        let rounds = settled().await;
        assert!((100..1000).contains(&rounds), "64 KiB of headers, three of them per round: {rounds}");
    });
}

#[test]
fn nobody_commands_the_api_by_what_the_server_delivers() {
    // A reply subject is anybody's choice. A message that a consumer delivered to the API was taken for a request, and
    // since it kept the subject under which it was stored, that was the command: whoever may publish and pull could
    // delete streams. Answers and confirmations did the same with their reply subjects.
    with_jetstream(|js| async move {
        // As long as `$JS.API`.
        js.stream("FEED", json!({"subjects": ["aaaaaaa.>"], "allow_direct": true})).await;
        js.stream("KEPT", json!({})).await;
        js.publish("kept.one", "x").await;
        js.consumer("FEED", "c", json!({"ack_policy": "explicit"})).await;
        let mine = js.publish("aaaaaaa.STREAM.DELETE.KEPT", "").await;
        let send = |subject: &str, reply: &str, body: &str| {
            js.client.publish_with_reply(subject.to_owned(), reply.to_owned(), body.to_owned().into())
        };

        send("$JS.API.CONSUMER.MSG.NEXT.FEED.c", "$JS.API.whatever", "1").await.unwrap();
        js.until("CONSUMER.INFO.FEED.c", "it is delivered", |info| info["num_pending"] == 0).await;
        send("$JS.ACK.FEED.c.1.1.1.1.0", "$JS.API.STREAM.DELETE.KEPT", "+ACK").await.unwrap();
        js.until("CONSUMER.INFO.FEED.c", "it is confirmed", |info| info["num_ack_pending"] == 0).await;
        let body = json!({"seq": mine}).to_string();
        send("$JS.API.DIRECT.GET.FEED", "$JS.API.STREAM.DELETE.KEPT", &body).await.unwrap();
        send("$JS.API.CONSUMER.MSG.NEXT.FEED.c", "$JS.API.STREAM.DELETE.KEPT", r#"{"no_wait":true}"#).await.unwrap();
        send("aaaaaaa.later", "$JS.API.STREAM.DELETE.KEPT", "").await.unwrap();

        // Whatever would have been asked for is done before this is.
        js.stream("LATER", json!({})).await;
        assert_eq!(js.messages("KEPT").await, 1);
    });
}
