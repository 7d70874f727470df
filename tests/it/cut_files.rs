//! Somebody cuts a segment file of a running server. The server had it mapped, and ended with a bus error as soon as
//! anybody asked for a message in it. What was cut off is lost, and told; all else is served.

use crate::crash::headwater;
use crate::harness::PATIENCE;
use crate::jetstream::{Js, Process, block_on, coordinates, text};
use crate::monitor::metrics::parse;
use crate::monitor::{Page, get};
use async_nats::{HeaderMap, Message};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Messages of one run of the server, which begins a segment after it was killed.
const RUN: u64 = 200;
const MESSAGES: u64 = 3 * RUN;

fn content(sequence: u64) -> String {
    format!("message {sequence} ").repeat(60)
}

fn start(store: &Path) -> Process {
    let log = store.join("log");
    Process::start_with(headwater(), store, |command| {
        command.args(["-m", "-1", "-l"]).arg(log);
    })
}

fn page(process: &Process, path: &str) -> Page {
    get(process.monitor().expect("there is a monitor").parse().unwrap(), path)
}

/// A running server and, on its disk only, three segments of messages.
fn stored(store: &Path) -> Process {
    for run in 0..3 {
        let process = start(store);
        block_on(async {
            let js = Js::connect(&process.address).await;
            if run == 0 {
                js.stream("S", json!({"allow_direct": true})).await;
            }
            for sequence in run * RUN + 1..=(run + 1) * RUN {
                assert_eq!(js.publish(&format!("s.{}", sequence % 5), &content(sequence)).await, sequence);
            }
        });
        process.kill();
    }
    start(store)
}

/// The segment that holds a message, and where in it the message is. It is sealed, and so read by way of a mapping.
fn segment_of(store: &Path, sequence: u64) -> (PathBuf, usize) {
    let find = |content: &[u8], wanted: &[u8]| content.windows(wanted.len()).position(|window| window == wanted);
    for file in fs::read_dir(store.join("jetstream").join("journal")).unwrap().flatten() {
        let Ok(bytes) = fs::read(file.path()) else { continue };
        if let Some(at) = find(&bytes, content(sequence).as_bytes()) {
            assert!(find(&bytes, b"HWFOOTER").is_some(), "{} is not sealed", file.path().display());
            return (file.path(), at);
        }
    }
    panic!("message {sequence} is in no file");
}

fn cut(path: &Path, length: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

/// The messages that a direct get answers with.
async fn got(js: &Js) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for sequence in 1..=MESSAGES {
        let reply = js.request("$JS.API.DIRECT.GET.S", HeaderMap::new(), json!({"seq": sequence}).to_string()).await;
        match reply.status.map(|status| status.as_u16()) {
            None => {
                assert_eq!(text(&reply), content(sequence));
                found.insert(sequence);
            }
            Some(404) => {}
            Some(other) => panic!("{sequence}: {other} {:?}", reply.description),
        }
    }
    found
}

/// The messages that a new consumer delivers.
async fn delivered(js: &Js, name: &str, filter: &str) -> BTreeSet<u64> {
    js.consumer("S", name, json!({"ack_policy": "none", "filter_subject": filter})).await;
    let messages = js.fetch_now("S", name, MESSAGES as usize).await;
    let check = |message: &Message| {
        let sequence = coordinates(message).stream;
        assert_eq!(text(message), content(sequence));
        sequence
    };
    messages.iter().map(check).collect()
}

/// Waits for a line of the log with all of these words.
fn expect_logged(store: &Path, words: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    let has_all = |line: &str| words.iter().all(|word| line.contains(word));
    while !fs::read_to_string(store.join("log")).unwrap().lines().any(has_all) {
        assert!(Instant::now() < deadline, "the log has no line with {words:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn cut_while_it_runs(consumer_first: bool) {
    let store = tempfile::tempdir().unwrap();
    let mut process = stored(store.path());
    let all: BTreeSet<u64> = (1..=MESSAGES).collect();
    let last_whole = RUN + RUN / 2;
    let (path, offset) = segment_of(store.path(), last_whole + 1);
    block_on(async {
        let js = Js::connect(&process.address).await;
        // Everything is mapped.
        assert_eq!(got(&js).await, all);
        cut(&path, offset);
        let whole: BTreeSet<u64> = all.iter().copied().filter(|at| *at <= last_whole || *at > 2 * RUN).collect();
        if consumer_first {
            assert_eq!(delivered(&js, "FIRST", "s.>").await, whole);
        }
        assert_eq!(got(&js).await, whole);
        let of_subject: BTreeSet<u64> = whole.iter().copied().filter(|at| at % 5 == 3).collect();
        assert_eq!(delivered(&js, "FILTERED", "s.3").await, of_subject);
        assert_eq!(delivered(&js, "ALL", "s.>").await, whole);
        assert_eq!(js.publish("s.0", "after the damage").await, MESSAGES + 1);
        let state = js.state("S").await;
        assert_eq!((&state["messages"], &state["last_seq"]), (&json!(MESSAGES + 1), &json!(MESSAGES + 1)));
    });
    assert!(process.child.try_wait().unwrap().is_none(), "the server lives");

    // And says what it knows.
    let health = page(&process, "/healthz");
    assert_eq!(health.code, 200);
    assert!(health.body.contains("damaged records have been found"), "{}", health.body);
    let journal: Value = serde_json::from_str(&page(&process, "/jsz").body).unwrap();
    assert!(journal["journal"]["damaged_records"].as_u64().unwrap() > 0, "{journal}");
    assert!(parse(&page(&process, "/metrics").body)["headwater_journal_damaged_records"] > 0.0);
    let name = path.file_name().unwrap().to_str().unwrap();
    expect_logged(store.path(), &[name, "Truncated", "offset"]);
    expect_logged(store.path(), &[name, "can not be read any more", &format!("lost={}", 2 * RUN - last_whole)]);
    process.kill();

    // The next server finds the same.
    let process = start(store.path());
    block_on(async {
        let js = Js::connect(&process.address).await;
        let found = got(&js).await;
        assert!(found.iter().all(|at| *at <= last_whole || *at > 2 * RUN));
        assert_eq!(found.len() as u64, MESSAGES - (2 * RUN - last_whole));
    });
}

#[test]
fn a_segment_that_is_cut_under_a_direct_get_costs_what_was_cut_off() {
    cut_while_it_runs(false);
}

#[test]
fn a_segment_that_is_cut_under_a_consumer_costs_what_was_cut_off() {
    cut_while_it_runs(true);
}

/// Each message of another file is there, whatever happens to this one.
#[test]
fn a_segment_that_is_cut_to_nothing_costs_no_other() {
    let store = tempfile::tempdir().unwrap();
    let mut process = stored(store.path());
    let (path, _) = segment_of(store.path(), 1);
    block_on(async {
        let js = Js::connect(&process.address).await;
        assert_eq!(got(&js).await.len() as u64, MESSAGES);
        cut(&path, 0);
        let counts = BTreeMap::from([("got", got(&js).await), ("delivered", delivered(&js, "C", "s.>").await)]);
        for (how, found) in counts {
            assert_eq!(found, (RUN + 1..=MESSAGES).collect(), "{how}");
        }
    });
    assert!(process.child.try_wait().unwrap().is_none(), "the server lives");
}
