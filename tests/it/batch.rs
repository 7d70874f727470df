//! Atomic batches over the wire (P-11): nothing of one can be seen before its commit, and all of it afterwards, whatever
//! happens to the process.

use crate::harness::PATIENCE;
use crate::jetstream::{Js, Process, block_on, with_batch_limits, with_jetstream};
use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::time::{Duration, Instant};

fn headers(id: &str, sequence: u64, commit: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append("Nats-Batch-Id", id);
    headers.append("Nats-Batch-Sequence", sequence.to_string().as_str());
    if let Some(commit) = commit {
        headers.append("Nats-Batch-Commit", commit);
    }
    headers
}

async fn part(js: &Js, id: &str, sequence: u64, commit: Option<&str>) -> Message {
    let payload = format!("{id}.{sequence}");
    js.request(&format!("s.{sequence}"), headers(id, sequence, commit), payload).await
}

fn ack(reply: &Message) -> Value {
    serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{reply:?}"))
}

async fn next(subscriber: &mut async_nats::Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("a message in time").expect("a message")
}

#[test]
fn a_batch_is_seen_and_delivered_only_once_it_is_committed() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "allow_atomic": true})).await;
            let push = json!({"deliver_subject": "delivered", "ack_policy": "none"});
            let mut delivered = js.client.subscribe("delivered").await.unwrap();
            js.consumer("S", "C", push).await;
            for sequence in 1..=3 {
                let reply = part(&js, "b", sequence, None).await;
                assert!(reply.payload.is_empty() && reply.status.is_none(), "{reply:?}");
            }
            assert_eq!(js.publish("s.single", "single").await, 1);
            assert_eq!(next(&mut delivered).await.payload, "single");
            assert_eq!(js.state("S").await["messages"], 1);

            let committed = part(&js, "b", 4, Some("1")).await;
            assert_eq!(ack(&committed), json!({"stream": "S", "seq": 5, "batch": "b", "count": 4}));
            assert_eq!(js.state("S").await["messages"], 5);
            for sequence in 1..=4 {
                assert_eq!(next(&mut delivered).await.payload, format!("b.{sequence}"));
            }
        });
    }
}

#[test]
fn the_publishers_of_a_burst_keep_their_order() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_atomic": true})).await;
        // Without waiting: singles and batches come in the same read of the server.
        for round in 0..50 {
            let id = format!("b{round}");
            js.client.publish("s.single", format!("{round} before").into()).await.unwrap();
            for sequence in 1..=3 {
                let block = headers(&id, sequence, (sequence == 3).then_some("1"));
                js.client.publish_with_headers("s.b", block, format!("{round} {sequence}").into()).await.unwrap();
            }
        }
        js.client.flush().await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while js.state("S").await["messages"] != 200 {
            assert!(Instant::now() < deadline, "{}", js.state("S").await);
        }
        for round in 0..50u64 {
            for (at, expected) in ["before", "1", "2", "3"].iter().enumerate() {
                let stream = js.context.get_stream("S").await.unwrap();
                let message = stream.get_raw_message(round * 4 + at as u64 + 1).await.unwrap();
                assert_eq!(message.payload, format!("{round} {expected}"));
            }
        }
    });
}

#[test]
fn silence_abandons_a_batch_and_says_so() {
    with_batch_limits(Duration::from_millis(100), 2, |js| async move {
        js.stream("S", json!({"allow_atomic": true})).await;
        let mut advisories = js.client.subscribe("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.S").await.unwrap();
        part(&js, "b", 1, None).await;
        let advisory = ack(&next(&mut advisories).await);
        assert_eq!(advisory["type"], "io.nats.jetstream.advisory.v1.stream_batch_abandoned");
        assert_eq!((&advisory["batch"], &advisory["reason"]), (&json!("b"), &json!("timeout")));
        let refused = ack(&part(&js, "b", 2, Some("1")).await);
        assert_eq!(refused["error"]["err_code"], 10176);
        assert_eq!(js.state("S").await["last_seq"], 0);
    });
}

#[test]
fn a_stream_takes_only_so_many_batches_at_once() {
    with_batch_limits(PATIENCE, 2, |js| async move {
        js.stream("S", json!({"allow_atomic": true})).await;
        part(&js, "a", 1, None).await;
        part(&js, "b", 1, None).await;
        let refused = ack(&part(&js, "c", 1, None).await);
        assert_eq!((&refused["error"]["code"], &refused["error"]["err_code"]), (&json!(429), &json!(10210)));
        assert_eq!(ack(&part(&js, "a", 2, Some("1")).await)["count"], 2);
        assert!(part(&js, "c", 1, None).await.payload.is_empty(), "there is room again");
    });
}

/// Publishes batches until the connection ends; notes those that were acknowledged.
async fn publish_batches(js: &Js, round: u64, acked: &mut Vec<String>) {
    for number in 0.. {
        let id = format!("r{round}n{number}");
        for sequence in 1..BATCH {
            let payload = format!("{id} {}", "x".repeat(500));
            js.client.publish_with_headers("s.b", headers(&id, sequence, None), payload.into()).await.unwrap();
        }
        let request = async_nats::Request::new()
            .headers(headers(&id, BATCH, Some("1")))
            .payload(id.clone().into())
            .timeout(Some(PATIENCE));
        let Ok(reply) = js.client.send_request("s.b", request).await else { return };
        assert_eq!(ack(&reply)["count"], BATCH, "{reply:?}");
        acked.push(id);
    }
}

const BATCH: u64 = 25;

#[test]
fn a_killed_server_has_all_of_a_batch_or_nothing() {
    let store = tempfile::tempdir().unwrap();
    let program = OsStr::new(env!("CARGO_BIN_EXE_headwater"));
    let mut acked = Vec::new();
    for round in 0..3 {
        let process = Process::start(program, store.path());
        block_on(async {
            let js = Js::connect(&process.address).await;
            if round == 0 {
                js.stream("S", json!({"allow_atomic": true})).await;
            }
            // The end of the time is the instant of the kill.
            let time = Duration::from_millis(150 + 97 * round);
            let _ = tokio::time::timeout(time, publish_batches(&js, round, &mut acked)).await;
        });
        process.kill();
    }
    assert!(!acked.is_empty());
    let process = Process::start(program, store.path());
    block_on(async {
        let js = Js::connect(&process.address).await;
        let stream = js.context.get_stream("S").await.unwrap();
        let mut found = std::collections::BTreeMap::<String, u64>::new();
        let state = js.state("S").await;
        for sequence in 1..=state["last_seq"].as_u64().unwrap() {
            let Ok(message) = stream.get_raw_message(sequence).await else { continue };
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            *found.entry(text.split(' ').next().unwrap().to_owned()).or_default() += 1;
        }
        assert!(found.values().all(|count| *count == BATCH), "{found:?}");
        assert!(acked.iter().all(|id| found.contains_key(id)), "an acknowledged batch is gone");
    });
}
