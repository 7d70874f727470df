//! The real process is killed at random instants: what was confirmed is there afterwards, and nothing else is claimed.
//!
//! Replay a failure with the seed it printed: `SEED=42 cargo test --test it crash::`.

use crate::harness::PATIENCE;
use crate::jetstream::{Js, Process, block_on, consumer_config, coordinates, stream_config, text, texts};
use async_nats::HeaderMap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 6;
const SECOND: u64 = 1_000_000_000;

pub fn headwater() -> &'static OsStr {
    OsStr::new(env!("CARGO_BIN_EXE_headwater"))
}

/// splitmix64 from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn of_today() -> Dice {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into(),
        };
        println!("SEED={seed}");
        Dice(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// Message ids by the sequence that their ack named. The id is the content's beginning.
    stored: BTreeMap<u64, String>,
    /// Published, and no ack seen.
    unsure: BTreeSet<String>,
    /// Sequences whose acknowledgement was confirmed, of the durable consumer and of the work queue's.
    confirmed: BTreeSet<u64>,
    worked: BTreeSet<u64>,
    /// Those and the ones whose confirmation did not come.
    tried: BTreeSet<u64>,
    tried_work: BTreeSet<u64>,
    /// Acks of the work queue's publishes.
    queued: BTreeSet<u64>,
}

fn content(id: &str) -> String {
    format!("{id} {}", id.repeat(id.len() % 7 * 20))
}

async fn connect(process: &Process) -> Js {
    Js::connect(&process.address).await
}

/// A request whose answer may never come.
async fn ask(js: &Js, subject: String, headers: HeaderMap, body: String) -> Option<async_nats::Message> {
    let request = async_nats::Request::new().headers(headers).payload(body.into()).timeout(Some(PATIENCE));
    js.client.send_request(subject, request).await.ok()
}

async fn publish(js: &Js, told: &RefCell<Told>, id: String) {
    let mut headers = HeaderMap::new();
    headers.append("Nats-Msg-Id", id.as_str());
    told.borrow_mut().unsure.insert(id.clone());
    let subject = format!("f.{}", id.len());
    let Some(reply) = ask(js, subject, headers, content(&id)).await else { return };
    let Ok(ack) = serde_json::from_slice::<Value>(&reply.payload) else { return };
    let Some(sequence) = ack["seq"].as_u64() else { panic!("{id}: {ack}") };
    let mut told = told.borrow_mut();
    told.unsure.remove(&id);
    told.stored.insert(sequence, id);
}

/// Publishes without end, many at a time.
async fn publish_on(js: &Js, told: &RefCell<Told>, round: u64) {
    let mut under_way = FuturesUnordered::new();
    for number in 0.. {
        under_way.push(publish(js, told, format!("{round}-{number}")));
        if under_way.len() >= 64 {
            under_way.next().await;
        }
    }
}

async fn queue_on(js: &Js, told: &RefCell<Told>) {
    loop {
        let Some(reply) = ask(js, "w.a".into(), HeaderMap::new(), "job".into()).await else { return };
        let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
        told.borrow_mut().queued.insert(ack["seq"].as_u64().unwrap());
    }
}

/// Takes messages and has about two thirds of the acknowledgements confirmed.
async fn consume_on(js: &Js, stream: &str, consumer: &str, note: impl Fn(u64, bool)) {
    loop {
        let mut inbox = js.pull(stream, consumer, json!({"batch": 20, "expires": SECOND / 5})).await;
        loop {
            let message = inbox.next().await;
            if message.status.is_some() {
                break;
            }
            let sequence = coordinates(&message).stream;
            if sequence.is_multiple_of(3) && coordinates(&message).deliveries == 1 {
                continue;
            }
            let reply = message.reply.clone().unwrap().to_string();
            note(sequence, false);
            if ask(js, reply, HeaderMap::new(), "+ACK".into()).await.is_some() {
                note(sequence, true);
            }
        }
        inbox.close().await;
    }
}

async fn prepare(js: &Js) {
    js.stream("F", json!({"max_msgs_per_subject": 1_000_000, "description": "survives"})).await;
    js.stream("W", json!({"retention": "workqueue"})).await;
    js.consumer("F", "C", json!({"ack_wait": SECOND / 2, "max_ack_pending": 100_000})).await;
    js.consumer("W", "C", json!({"ack_wait": SECOND / 2, "max_ack_pending": 100_000})).await;
}

/// Everything in a stream, by sequence, read by a consumer that leaves no trace.
async fn read_all(js: &Js, stream: &str) -> BTreeMap<u64, String> {
    let messages = js.messages(stream).await;
    let mut contents = BTreeMap::new();
    if messages == 0 {
        return contents;
    }
    let config = json!({"ack_policy": "none", "inactive_threshold": 60 * SECOND, "mem_storage": true});
    js.consumer(stream, "READER", config).await;
    let mut inbox = js.pull(stream, "READER", json!({"batch": messages, "expires": 10 * SECOND})).await;
    for _ in 0..messages {
        let message = inbox.message().await;
        contents.insert(coordinates(&message).stream, text(&message));
    }
    js.ok(&format!("CONSUMER.DELETE.{stream}.READER"), Value::Null).await;
    contents
}

async fn check(js: &Js, told: &RefCell<Told>) {
    // Configurations.
    let info = js.ok("STREAM.INFO.F", Value::Null).await;
    assert_eq!(info["config"]["description"], "survives");
    let of_consumer = js.consumer_info("F", "C").await;
    assert_eq!(of_consumer["config"]["ack_wait"], SECOND / 2);

    // Every acknowledged message, with its content, and no gap.
    let contents = read_all(js, "F").await;
    let last = info["state"]["last_seq"].as_u64().unwrap();
    assert_eq!(contents.keys().copied().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    for (sequence, id) in &told.borrow().stored {
        assert_eq!(contents.get(sequence), Some(&content(id)), "{sequence} was acknowledged");
    }
    // Each was stored once.
    let distinct: BTreeSet<&String> = contents.values().collect();
    assert_eq!(distinct.len(), contents.len());

    // Retries: what was acknowledged is a duplicate of itself, what was not is stored once.
    let some: Vec<(u64, String)> =
        told.borrow().stored.iter().rev().take(50).map(|(at, id)| (*at, id.clone())).collect();
    for (sequence, id) in some {
        let ack = js.publish_with(&format!("f.{}", id.len()), &[("Nats-Msg-Id", &id)], &content(&id)).await;
        assert_eq!((&ack["seq"], &ack["duplicate"]), (&json!(sequence), &json!(true)), "{id}: {ack}");
    }
    let unsure: Vec<String> = told.borrow().unsure.iter().cloned().collect();
    for id in unsure {
        publish(js, told, id).await;
    }
    assert!(told.borrow().unsure.is_empty());

    // What was done in the work queue is gone.
    let left = read_queue(js).await;
    let told = told.borrow();
    let lost: Vec<_> = told.queued.iter().filter(|at| !told.tried_work.contains(at) && !left.contains(at)).collect();
    assert!(lost.is_empty(), "queued, not done, and not there: {lost:?}");
    let back: Vec<_> = told.worked.intersection(&left).collect();
    assert!(back.is_empty(), "done and yet there: {back:?}");
    let floor = of_consumer["ack_floor"]["stream_seq"].as_u64().unwrap();
    let contiguous = (1..).take_while(|sequence| told.confirmed.contains(sequence)).count() as u64;
    assert!(floor >= contiguous, "the ack floor {floor} went back below {contiguous}");
}

/// Sequences in the work queue.
async fn read_queue(js: &Js) -> BTreeSet<u64> {
    let info = js.ok("STREAM.INFO.W", json!({"deleted_details": true})).await["state"].clone();
    let (first, last) = (info["first_seq"].as_u64().unwrap(), info["last_seq"].as_u64().unwrap());
    let deleted: BTreeSet<u64> =
        info["deleted"].as_array().map(|list| list.iter().filter_map(Value::as_u64).collect()).unwrap_or_default();
    (first..=last).filter(|sequence| !deleted.contains(sequence)).collect()
}

/// Takes everything that a consumer may still deliver: nothing that was confirmed is among it.
async fn drain(js: &Js, stream: &str, done: &BTreeSet<u64>, mut missing: BTreeSet<u64>) {
    let deadline = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "never delivered again: {missing:?}");
        let messages = js.fetch_now(stream, "C", 1000).await;
        for message in &messages {
            let sequence = coordinates(message).stream;
            assert!(!done.contains(&sequence), "{sequence} was confirmed and is delivered again");
            missing.remove(&sequence);
        }
        futures::future::join_all(messages.iter().map(|message| js.confirm(message, "+ACK"))).await;
    }
}

#[test]
fn nothing_confirmed_is_lost_or_repeated_when_the_process_is_killed() {
    let mut dice = Dice::of_today();
    let store = tempfile::tempdir().unwrap();
    let told = RefCell::new(Told::default());
    for round in 0..ROUNDS {
        let process = Process::start(headwater(), store.path());
        let until = Duration::from_millis(30 + dice.below(400));
        block_on(async {
            let js = connect(&process).await;
            if round == 0 {
                prepare(&js).await;
            } else {
                check(&js, &told).await;
            }
            let load = async {
                tokio::join!(
                    publish_on(&js, &told, round),
                    queue_on(&js, &told),
                    consume_on(&js, "F", "C", |sequence, confirmed| {
                        let told = &mut *told.borrow_mut();
                        if confirmed { &mut told.confirmed } else { &mut told.tried }.insert(sequence);
                    }),
                    consume_on(&js, "W", "C", |sequence, confirmed| {
                        let told = &mut *told.borrow_mut();
                        if confirmed { &mut told.worked } else { &mut told.tried_work }.insert(sequence);
                    }),
                );
            };
            assert!(tokio::time::timeout(until, load).await.is_err(), "load goes on until the end");
            // While the clients are still connected.
            process.kill();
        });
    }
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        check(&js, &told).await;
        let told = told.take();
        let left = told.stored.keys().filter(|sequence| !told.tried.contains(sequence)).copied().collect();
        drain(&js, "F", &told.confirmed, left).await;
        let left = told.queued.difference(&told.tried_work).copied().collect();
        drain(&js, "W", &told.worked, left).await;

        println!(
            "{} stored, {} confirmed, {} queued, {} worked off",
            told.stored.len(),
            told.confirmed.len(),
            told.queued.len(),
            told.worked.len()
        );
        assert!(
            told.stored.len() > 50 && told.confirmed.len() > 10 && told.worked.len() > 5,
            "there was too little load"
        );
    });
}

#[test]
fn a_terminated_process_ends_cleanly_and_starts_again() {
    let store = tempfile::tempdir().unwrap();
    let mut process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        js.stream("S", json!({})).await;
        js.consumer("S", "C", json!({})).await;
        js.publish_many("s.a", 20).await;
        let messages = js.fetch("S", "C", 5).await;
        js.confirm(&messages[0], "+ACK").await;
        let mut waiting = js.pull("S", "C", json!({"batch": 100, "expires": 30 * SECOND})).await;
        for _ in 0..15 {
            waiting.message().await;
        }
        terminate(&process);
        assert_eq!(waiting.status().await, "409 Server Shutdown");
    });
    assert!(wait(&mut process).success());
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        assert_eq!(js.messages("S").await, 20);
        let info = js.consumer_info("S", "C").await;
        assert_eq!((&info["delivered"]["stream_seq"], &info["ack_floor"]["stream_seq"]), (&json!(20), &json!(1)));
        assert_eq!(info["num_ack_pending"], 19);
        assert_eq!(js.publish("s.a", "21").await, 21);
        assert_eq!(texts(&js.fetch("S", "C", 1).await), ["21"]);
    });
}

/// One message before a purge far beyond the end and one after it: what lies between them is not gone through, neither when
/// they go nor when that is read again.
#[test]
fn a_purge_far_beyond_the_end_leaves_a_stream_that_can_be_deleted() {
    const FAR: u64 = 1 << 62;
    let store = tempfile::tempdir().unwrap();
    let mut process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        for name in ["DELETED", "EMPTIED", "KEPT"] {
            let subject = format!("{}.a", name.to_lowercase());
            js.stream(name, json!({})).await;
            js.publish(&subject, "before").await;
            js.ok(&format!("STREAM.PURGE.{name}"), json!({"seq": FAR})).await;
            assert_eq!(js.publish(&subject, "after").await, FAR);
        }
        js.ok("STREAM.MSG.DELETE.EMPTIED", json!({"seq": FAR})).await;
        js.ok("STREAM.DELETE.DELETED", Value::Null).await;
        assert_eq!(js.publish("kept.a", "more").await, FAR + 1);
        terminate(&process);
    });
    assert!(wait(&mut process).success());
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        assert_eq!(js.publish("emptied.a", "again").await, FAR + 1);
        assert_eq!(js.messages("KEPT").await, 2);
        assert_eq!(js.refused("STREAM.INFO.DELETED", Value::Null).await, 10059);
        let got = js.ok("STREAM.MSG.GET.KEPT", json!({"seq": FAR})).await;
        assert_eq!(got["message"]["seq"], json!(FAR));
    });
}

/// The floor that is told does not catch up by being read from the disk.
#[test]
fn a_message_given_up_holds_the_ack_floor_back_after_a_restart_too() {
    let store = tempfile::tempdir().unwrap();
    let floor = |info: &Value| (info["ack_floor"]["stream_seq"].clone(), info["num_redelivered"].clone());
    let mut process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        js.stream("S", json!({"retention": "workqueue"})).await;
        js.consumer("S", "C", json!({"ack_wait": SECOND / 10, "max_deliver": 2})).await;
        js.publish("s.a", "1").await;
        let mut advisories = js.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C").await;
        js.fetch("S", "C", 1).await;
        let mut again = js.pull("S", "C", json!({"batch": 1, "expires": 20 * SECOND})).await;
        again.message().await;
        advisories.json().await;
        assert_eq!(floor(&js.consumer_info("S", "C").await), (json!(0), json!(1)));
        js.publish("s.a", "2").await;
        terminate(&process);
    });
    assert!(wait(&mut process).success());
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        let info = js.consumer_info("S", "C").await;
        assert_eq!((floor(&info), &info["num_ack_pending"]), ((json!(0), json!(1)), &json!(0)));
        assert_eq!(js.messages("S").await, 2, "the work queue keeps what was given up");
        let messages = js.fetch("S", "C", 1).await;
        js.confirm(&messages[0], "+ACK").await;
        assert_eq!(floor(&js.consumer_info("S", "C").await), (json!(2), json!(1)));
        assert_eq!(js.messages("S").await, 1);
    });
}

fn terminate(process: &Process) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

fn wait(process: &mut Process) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_store_is_served_by_one_process_only() {
    let store = tempfile::tempdir().unwrap();
    let first = Process::start(headwater(), store.path());
    let ports = tempfile::tempdir().unwrap();
    let mut command = Process::command(headwater(), store.path(), ports.path());
    let second = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "{said}");
    assert!(said.contains("in use") || said.contains("lock"), "{said}");
    block_on(async {
        let js = connect(&first).await;
        js.stream("S", json!({})).await;
        assert_eq!(js.publish("s.a", "the first is not disturbed").await, 1);
    });
    // Killed, it leaves nothing behind that keeps the next one out.
    first.kill();
    let next = Process::start(headwater(), store.path());
    block_on(async { assert_eq!(connect(&next).await.messages("S").await, 1) });
}

/// Sealed segments, their footers, and the one that was written to.
#[test]
fn a_start_reads_several_segments() {
    let store = tempfile::tempdir().unwrap();
    let payload = |number: u64| format!("{number} ").repeat(30_000);
    const MESSAGES: u64 = 480;
    let process = Process::start(headwater(), store.path());
    block_on(async {
        let js = connect(&process).await;
        js.stream("S", json!({})).await;
        js.consumer("S", "C", json!({})).await;
        let mut acks = FuturesUnordered::new();
        for number in 1..=MESSAGES {
            let publish = js.context.publish("s.a", payload(number).into()).await.unwrap();
            acks.push(async move { publish.await.unwrap() });
            if acks.len() >= 16 {
                acks.next().await;
            }
        }
        while acks.next().await.is_some() {}
        for message in js.fetch("S", "C", 10).await {
            js.confirm(&message, "+ACK").await;
        }
        process.kill();
    });
    assert!(segments(store.path()) >= 2, "{} segments", segments(store.path()));
    for _ in 0..2 {
        let process = Process::start(headwater(), store.path());
        block_on(async {
            let js = connect(&process).await;
            let state = js.state("S").await;
            assert_eq!((&state["messages"], &state["last_seq"]), (&json!(MESSAGES), &json!(MESSAGES)));
            let stream = js.context.get_stream("S").await.unwrap();
            for sequence in [1, 2, MESSAGES / 2, MESSAGES - 1, MESSAGES] {
                let message = stream.get_raw_message(sequence).await.unwrap();
                assert!(message.payload == payload(message.payload_number()).as_bytes());
            }
            assert_eq!(js.consumer_info("S", "C").await["ack_floor"]["stream_seq"], 10);
            process.kill();
        });
    }
}

trait Numbered {
    fn payload_number(&self) -> u64;
}

impl Numbered for async_nats::jetstream::message::StreamMessage {
    /// With several publishes under way a sequence need not be its message's number.
    fn payload_number(&self) -> u64 {
        let text = std::str::from_utf8(&self.payload).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }
}

/// Segment files that hold records.
fn segments(store: &Path) -> usize {
    let mut count = 0;
    let mut waiting = vec![store.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            } else if name.ends_with(".segment") {
                count += 1;
            }
        }
    }
    count
}

#[test]
fn streams_and_consumers_come_and_go_across_kills() {
    let store = tempfile::tempdir().unwrap();
    let mut dice = Dice::of_today();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..4 {
        let process = Process::start(headwater(), store.path());
        block_on(async {
            let js = connect(&process).await;
            let names = js.ok("STREAM.NAMES", Value::Null).await["streams"].clone();
            let names: Vec<String> = serde_json::from_value(names).unwrap_or_default();
            assert_eq!(names, expected.keys().cloned().collect::<Vec<_>>());
            for (name, limit) in &expected {
                let info = js.ok(&format!("STREAM.INFO.{name}"), Value::Null).await;
                assert_eq!(info["config"]["max_msgs"], *limit, "{name}");
                assert_eq!(info["state"]["consumer_count"], 1, "{name}");
                js.publish(&format!("{}.a", name.to_lowercase()), "x").await;
            }
            for _ in 0..12 {
                let name = format!("S{}", dice.below(5));
                let limit = 1 + dice.below(100);
                match expected.contains_key(&name) {
                    true if dice.below(3) == 0 => {
                        js.ok(&format!("STREAM.DELETE.{name}"), Value::Null).await;
                        expected.remove(&name);
                    }
                    true => {
                        let config = stream_config(&name, json!({"max_msgs": limit}));
                        js.ok(&format!("STREAM.UPDATE.{name}"), config).await;
                        let gone = js.ok(&format!("CONSUMER.DELETE.{name}.C"), Value::Null).await;
                        assert_eq!(gone["success"], true);
                        js.ok(&format!("CONSUMER.CREATE.{name}.C"), consumer_config(&name, "C", json!({}))).await;
                        expected.insert(name, limit);
                    }
                    false => {
                        js.stream(&name, json!({"max_msgs": limit})).await;
                        js.consumer(&name, "C", json!({})).await;
                        expected.insert(name, limit);
                    }
                }
            }
            process.kill();
        });
    }
}
