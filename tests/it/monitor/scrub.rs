//! Stored data is read again now and then to find damage; a server knows what the one before it has read.

use super::metrics::{Samples, parse};
use super::{Watched, listening, request};
use crate::crash::headwater;
use crate::harness::{PATIENCE, TestServer};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const MESSAGE_BYTES: usize = 1_000_000;
/// More than the first segment holds, which is complete then.
const MESSAGES: usize = 6;
const SCRUBBED: &str = "headwater_journal_scrubbed_bytes_total";
const DUE: &str = "headwater_journal_segments_due";
const CHECKED: &str = "headwater_journal_checked_timestamp_seconds";

/// A server that checks what is complete at once.
fn start(store: &Path) -> Watched {
    let server = TestServer::start(|options| {
        listening(options);
        options.jetstream.enabled = true;
        options.jetstream.scrub.delay = Duration::ZERO;
        options.store_dir = Some(store.to_path_buf());
    });
    Watched { server, _store: None }
}

fn fill(server: &Watched) {
    let mut client = server.server.connected();
    client.send("SUB _INBOX.> 1\r\n");
    request(&mut client, "$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s"]}"#);
    for _ in 0..MESSAGES {
        let stored = request(&mut client, "s", &"x".repeat(MESSAGE_BYTES));
        assert!(stored["seq"].is_u64(), "{stored}");
    }
}

#[track_caller]
fn metrics_when(server: &Watched, what: &str, holds: impl Fn(&Samples) -> bool) -> Samples {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = parse(&server.get("/metrics").body);
        if holds(&samples) {
            return samples;
        }
        assert!(Instant::now() < deadline, "{what}: {} bytes, {} due", samples[SCRUBBED], samples[DUE]);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All that is complete was checked by this server.
#[track_caller]
fn checked(server: &Watched) -> Samples {
    let least = 3.0 * MESSAGE_BYTES as f64;
    metrics_when(server, "everything is read", |samples| samples[SCRUBBED] > least && samples[DUE] == 0.0)
}

fn has_thread(name: &str) -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.into_iter().any(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim() == name))
}

#[test]
fn what_was_checked_is_not_read_again_by_the_next_server() {
    let store = tempfile::tempdir().unwrap();
    let server = start(store.path());
    fill(&server);
    let first = checked(&server);
    let deadline = Instant::now() + PATIENCE;
    while has_thread("catalogue") {
        assert!(Instant::now() < deadline, "nothing is due, and the catalogue stays open");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(server);
    let server = start(store.path());
    let second = metrics_when(&server, "it is known what was checked", |samples| samples[DUE] == 0.0);
    assert_eq!(second[SCRUBBED], 0.0);
    assert!((second[CHECKED] - first[CHECKED]).abs() < 0.001, "{} {}", second[CHECKED], first[CHECKED]);
    drop(server);
    assert!(store.path().join("jetstream").join("catalogue").is_dir());
    let verified = Command::new(headwater()).args(["store", "verify"]).arg(store.path()).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let looked =
        Command::new(headwater()).args(["store", "accept-loss", "--write"]).arg(store.path()).output().unwrap();
    assert!(looked.status.success(), "{looked:?}");
    assert!(String::from_utf8_lossy(&looked.stdout).ends_with("everything can be read\n"), "{looked:?}");
    assert!(!store.path().join("jetstream").join("journal").join("quarantine").exists());
}

/// What could not be looked at was told like damage.
#[test]
fn a_check_of_a_store_tells_damage_from_one_that_it_can_not_look_at() {
    let verify = |path: &Path| Command::new(headwater()).args(["store", "verify"]).arg(path).output().unwrap();
    let store = tempfile::tempdir().unwrap();
    assert_eq!(verify(store.path()).status.code(), Some(2), "it holds no store");
    let server = start(store.path());
    assert_eq!(verify(store.path()).status.code(), Some(2), "it is in use");
    drop(server);
    let sound = verify(store.path());
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    let journal = store.path().join("jetstream").join("journal");
    fs::write(journal.join("0000000500.segment"), [0xa5; 100_000]).unwrap();
    drop(start(store.path()));
    let aside = verify(store.path());
    assert_eq!(aside.status.code(), Some(1), "{aside:?}");
    assert!(
        String::from_utf8_lossy(&aside.stdout).contains("in quarantine since an earlier start: 0000000500.segment")
    );
}

#[test]
fn a_damaged_catalogue_costs_another_reading_and_nothing_else() {
    let store = tempfile::tempdir().unwrap();
    let server = start(store.path());
    fill(&server);
    checked(&server);
    drop(server);
    let catalogue = store.path().join("jetstream").join("catalogue");
    for file in fs::read_dir(&catalogue).unwrap().flatten().filter(|file| file.path().is_file()) {
        fs::write(file.path(), b"not what was written here").unwrap();
    }
    let server = start(store.path());
    checked(&server);
    assert_eq!(server.get("/healthz").code, 200);
    let mut client = server.server.connected();
    client.send("SUB _INBOX.> 1\r\n");
    assert_eq!(request(&mut client, "s", "after")["seq"], MESSAGES + 1);
    assert!(catalogue.with_file_name("catalogue.doubted").is_dir());
}
