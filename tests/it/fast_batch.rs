//! Fast batches over the wire (P-12): the reply subject says what a message is, and what is told under it is stored.

use crate::crash::headwater;
use crate::harness::PATIENCE;
use crate::jetstream::{Js, Process, block_on, with_batch_limits, with_jetstream};
use async_nats::Subscriber;
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A publisher of one batch.
struct Batch {
    js: Js,
    id: String,
    mode: &'static str,
    told: Subscriber,
}

const START: u8 = 0;
const APPEND: u8 = 1;
const COMMIT: u8 = 2;
const END: u8 = 3;
const PING: u8 = 4;

impl Batch {
    async fn new(js: &Js, id: &str, mode: &'static str) -> Batch {
        let told = js.client.subscribe(format!("told.{id}.>")).await.unwrap();
        Batch { js: js.clone(), id: id.to_owned(), mode, told }
    }

    /// Sends without waiting; acknowledgements come after ten messages at the latest.
    async fn send(&self, sequence: u64, operation: u8) {
        let reply = format!("told.{}.10.{}.{sequence}.{operation}.$FI", self.id, self.mode);
        let payload = format!("{}.{sequence}", self.id);
        let subject = format!("s.{}", sequence % 3);
        self.js.client.publish_with_reply(subject, reply, payload.into()).await.unwrap();
    }

    async fn send_many(&self, sequences: std::ops::RangeInclusive<u64>) {
        for sequence in sequences {
            self.send(sequence, if sequence == 1 { START } else { APPEND }).await;
        }
    }

    async fn next(&mut self) -> Value {
        let message = tokio::time::timeout(PATIENCE, self.told.next()).await.expect("an answer in time").unwrap();
        serde_json::from_slice(&message.payload).unwrap_or_else(|_| panic!("{message:?}"))
    }

    /// What is told up to and with the end.
    async fn until_end(&mut self) -> Vec<Value> {
        let mut told = Vec::new();
        loop {
            told.push(self.next().await);
            if told.last().is_some_and(|notice| notice.get("type").is_none()) {
                return told;
            }
        }
    }

    async fn refusal(&mut self) -> Value {
        self.next().await["error"]["err_code"].clone()
    }
}

fn flow(sequence: u64, messages: u64) -> Value {
    json!({"type": "ack", "seq": sequence, "msgs": messages})
}

#[test]
fn a_batch_is_acknowledged_by_the_dozen_and_delivered_in_order() {
    for storage in ["file", "memory"] {
        with_jetstream(|js| async move {
            js.stream("S", json!({"storage": storage, "allow_batched": true})).await;
            let mut delivered = js.client.subscribe("delivered").await.unwrap();
            js.consumer("S", "C", json!({"deliver_subject": "delivered", "ack_policy": "none"})).await;
            let mut batch = Batch::new(&js, "b", "fail").await;
            batch.send_many(1..=35).await;
            batch.send(36, COMMIT).await;
            let end = json!({"stream": "S", "seq": 36, "batch": "b", "count": 36});
            assert_eq!(batch.until_end().await, [flow(0, 10), flow(10, 10), flow(20, 10), flow(30, 10), end]);
            for sequence in 1..=36 {
                let message = tokio::time::timeout(PATIENCE, delivered.next()).await.unwrap().unwrap();
                assert_eq!(message.payload, format!("b.{sequence}"));
            }
            assert_eq!(js.state("S").await["messages"], 36);
        });
    }
}

#[test]
fn batches_singles_and_atomic_batches_of_one_connection_keep_their_order() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_batched": true, "allow_atomic": true})).await;
        let mut batch = Batch::new(&js, "b", "fail").await;
        for round in 0..50 {
            batch.send_many(2 * round + 1..=2 * round + 1).await;
            js.client.publish("s.single", format!("single {round}").into()).await.unwrap();
            let mut headers = async_nats::HeaderMap::new();
            headers.append("Nats-Batch-Id", format!("a{round}").as_str());
            headers.append("Nats-Batch-Sequence", "1");
            headers.append("Nats-Batch-Commit", "1");
            js.client.publish_with_headers("s.atomic", headers, format!("atomic {round}").into()).await.unwrap();
            batch.send_many(2 * round + 2..=2 * round + 2).await;
        }
        batch.send(101, END).await;
        let told = batch.until_end().await;
        assert_eq!(told.last().unwrap(), &json!({"stream": "S", "seq": 200, "batch": "b", "count": 100}));
        let stream = js.context.get_stream("S").await.unwrap();
        for round in 0..50 {
            let expected = [
                format!("b.{}", 2 * round + 1),
                format!("single {round}"),
                format!("atomic {round}"),
                format!("b.{}", 2 * round + 2),
            ];
            for (at, expected) in expected.iter().enumerate() {
                let message = stream.get_raw_message(round * 4 + at as u64 + 1).await.unwrap();
                assert_eq!(&String::from_utf8_lossy(&message.payload), expected);
            }
        }
    });
}

#[test]
fn a_gap_is_told_and_ends_the_batch_or_not_as_its_publisher_wants() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_batched": true})).await;
        let gap = json!({"type": "gap", "last_seq": 3, "seq": 5});
        let mut strict = Batch::new(&js, "b", "fail").await;
        strict.send_many(1..=2).await;
        strict.send(5, APPEND).await;
        let end = json!({"stream": "S", "seq": 2, "batch": "b", "count": 2});
        let told = strict.until_end().await;
        assert!(told.contains(&gap) && told.contains(&end), "{told:?}");
        strict.send(6, APPEND).await;
        assert_eq!(strict.refusal().await, 10208);

        let mut lax = Batch::new(&js, "c", "ok").await;
        lax.send_many(1..=2).await;
        lax.send(5, APPEND).await;
        lax.send(20, COMMIT).await;
        let told = lax.until_end().await;
        assert!(told.contains(&gap), "{told:?}");
        assert_eq!(told.last().unwrap(), &json!({"stream": "S", "seq": 6, "batch": "c", "count": 20}));
    });
}

#[test]
fn whoever_missed_an_acknowledgement_asks_for_it() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_batched": true})).await;
        let mut batch = Batch::new(&js, "b", "fail").await;
        batch.send_many(1..=12).await;
        assert_eq!((batch.next().await, batch.next().await), (flow(0, 10), flow(10, 10)));
        batch.send(12, PING).await;
        assert_eq!(batch.next().await, flow(10, 10));
        // The loss of the last messages shows, too.
        batch.send(15, PING).await;
        assert_eq!(batch.next().await, json!({"type": "gap", "last_seq": 13, "seq": 16}));
        assert_eq!(batch.until_end().await.last().unwrap()["count"], 12);
    });
}

#[test]
fn batches_end_with_their_stream_or_with_its_permission_and_outlive_a_purge() {
    with_jetstream(|js| async move {
        js.stream("S", json!({"allow_batched": true})).await;
        let mut batch = Batch::new(&js, "b", "fail").await;
        batch.send_many(1..=10).await;
        assert_eq!((batch.next().await, batch.next().await), (flow(0, 10), flow(10, 10)));
        js.context.get_stream("S").await.unwrap().purge().await.unwrap();
        batch.send_many(11..=20).await;
        assert_eq!(batch.next().await, flow(20, 10));
        assert_eq!(js.state("S").await["messages"], 10);

        js.ok("STREAM.UPDATE.S", json!({"name": "S", "subjects": ["s.>"]})).await;
        batch.send(21, APPEND).await;
        assert_eq!(batch.refusal().await, 10205);
        js.ok("STREAM.UPDATE.S", json!({"name": "S", "subjects": ["s.>"], "allow_batched": true})).await;
        batch.send(21, APPEND).await;
        assert_eq!(batch.refusal().await, 10208);

        let mut batch = Batch::new(&js, "c", "fail").await;
        batch.send_many(1..=1).await;
        assert_eq!(batch.next().await, flow(0, 10));
        js.context.delete_stream("S").await.unwrap();
        js.stream("S", json!({"allow_batched": true})).await;
        batch.send(2, APPEND).await;
        assert_eq!(batch.refusal().await, 10208);
    });
}

#[test]
fn a_stream_takes_only_so_many_batches_at_once() {
    with_batch_limits(PATIENCE, 2, |js| async move {
        js.stream("S", json!({"allow_batched": true})).await;
        let (mut a, mut b) = (Batch::new(&js, "a", "fail").await, Batch::new(&js, "b", "fail").await);
        let mut c = Batch::new(&js, "c", "fail").await;
        for batch in [&mut a, &mut b] {
            batch.send(1, START).await;
            assert_eq!(batch.next().await["seq"], 0);
        }
        c.send(1, START).await;
        assert_eq!(c.refusal().await, 10211);
        a.send(2, END).await;
        assert_eq!(a.until_end().await.last().unwrap()["count"], 1);
        c.send(1, START).await;
        assert_eq!(c.next().await["seq"], 0, "there is room again");
    });
}

#[test]
fn silence_ends_a_batch() {
    with_batch_limits(Duration::from_millis(100), 2, |js| async move {
        js.stream("S", json!({"allow_batched": true})).await;
        let mut batch = Batch::new(&js, "b", "fail").await;
        batch.send(1, START).await;
        assert_eq!(batch.next().await, flow(0, 10));
        let deadline = Instant::now() + PATIENCE;
        // A ping would keep it alive; another batch finds room only once it is gone.
        let mut others = Vec::new();
        for id in 0.. {
            assert!(Instant::now() < deadline, "it is not forgotten");
            let mut other = Batch::new(&js, &format!("o{id}"), "fail").await;
            other.send(1, START).await;
            let answer = other.next().await;
            others.push(other);
            if id > 0 && answer.get("error").is_none() {
                break;
            }
        }
        batch.send(2, APPEND).await;
        assert_eq!(batch.refusal().await, 10208);
        assert_eq!(js.context.get_stream("S").await.unwrap().get_raw_message(1).await.unwrap().payload, "b.1");
    });
}

/// Publishes one long batch until the connection ends; gives the place that was told last.
async fn publish_until_killed(js: &Js, id: &str, told: &mut u64) {
    let mut batch = Batch::new(js, id, "fail").await;
    let mut sent = 0;
    loop {
        // Never more than some acknowledgements ahead.
        while sent < *told + 40 {
            sent += 1;
            batch.send(sent, if sent == 1 { START } else { APPEND }).await;
        }
        let notice = batch.next().await;
        assert_eq!(notice["type"], "ack", "{notice}");
        *told = notice["seq"].as_u64().unwrap();
    }
}

#[test]
fn a_killed_server_has_every_message_up_to_what_it_told() {
    let store = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for round in 0..3 {
        let process = Process::start(headwater(), store.path());
        block_on(async {
            let js = Js::connect(&process.address).await;
            if round == 0 {
                js.stream("S", json!({"allow_batched": true})).await;
            }
            let (id, mut last) = (format!("r{round}"), 0);
            // The end of the time is the instant of the kill.
            let time = Duration::from_millis(80 + 43 * round);
            let _ = tokio::time::timeout(time, publish_until_killed(&js, &id, &mut last)).await;
            told.push((id, last));
        });
        process.kill();
    }
    assert!(told.iter().all(|(_, last)| *last > 0), "{told:?}");
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = Js::connect(&process.address).await;
        let contents = js.contents("S").await;
        for (id, last) in told {
            let prefix = format!("{id}.");
            let places: Vec<u64> =
                contents.iter().filter_map(|content| content.strip_prefix(&prefix)?.parse().ok()).collect();
            assert!(places.iter().copied().eq(1..=places.len() as u64), "a gap, or messages change places");
            assert!(places.len() as u64 >= last, "{} of {last} that were told", places.len());
        }
    });
}
