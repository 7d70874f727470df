//! Deleted for good: the bytes are overwritten whatever happens in between, and an error while doing so costs no more than
//! any other.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use headwater_storage::SimIo;
use headwater_storage::io::FaultKind;

use super::node_rig::{Published, Rig};

const SECRET: &[u8] = b"nobody may ever read this again";
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream with the secret between other messages.
fn rig() -> (Rig, u64) {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    rig.store("s.1", b"before");
    let sequence = rig.store("s.1", SECRET);
    rig.store("s.1", b"after");
    (rig, sequence)
}

fn is_on_disk(io: &SimIo) -> bool {
    let holds = |content: Vec<u8>| content.windows(SECRET.len()).any(|window| window == SECRET);
    io.paths().iter().any(|path| io.content(path).is_some_and(holds))
}

fn eventually(rig: &Rig, what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        rig.drive();
        std::thread::yield_now();
    }
}

/// A server that stopped, or was cut off, between the checkpoint with the deletion and the overwriting forgot about it.
#[test]
fn what_was_deleted_for_good_is_overwritten_though_the_server_ends_at_any_moment() {
    for steps in 0..12 {
        for clean in [true, false] {
            let (mut rig, sequence) = rig();
            let request = rig.send("$JS.API.STREAM.MSG.DELETE.S", b"", format!(r#"{{"seq":{sequence}}}"#).as_bytes());
            rig.drive();
            assert_eq!(rig.take(&request).len(), 1, "the deletion is durable");
            let begin = rig.io.mutations();
            let end = Instant::now() + PATIENCE / 30;
            while rig.io.mutations() < begin + steps && Instant::now() < end {
                rig.drive();
            }
            let io = if clean { rig.stop() } else { rig.io.fork() };
            io.crash(steps);
            let rig = Rig::start(&io);
            assert_eq!(rig.payload(sequence), None);
            eventually(&rig, "the bytes are still there", || !is_on_disk(&io));
            assert_eq!(rig.payload(sequence + 1).as_deref(), Some(&b"after"[..]));
        }
    }
}

/// Whoever overwrote held the stream's lock, and the failure of the journal, told on the same thread, wanted it: the server
/// stood still.
#[test]
fn a_write_error_while_a_deleted_message_is_overwritten_is_told_to_everybody() {
    for number in 0..8 {
        let (sender, done) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut rig, sequence) = rig();
            rig.io.fail(FaultKind::Write, number);
            rig.send("$JS.API.STREAM.MSG.DELETE.S", b"", format!(r#"{{"seq":{sequence}}}"#).as_bytes());
            eventually(&rig, "no fault, and no end of the secret", || {
                rig.node.failure().is_some() || !is_on_disk(&rig.io)
            });
            let failed = rig.node.failure().is_some();
            let request = rig.publish("s.1", b"x");
            rig.drive();
            let refused = matches!(rig.outcome(&request), Some(Published::Refused { .. }));
            rig.stop();
            let _ = sender.send((failed, refused));
        });
        let (failed, refused) = done.recv_timeout(PATIENCE).expect("the server stands still");
        assert!(refused || !failed, "a message was taken after the journal had failed");
    }
}
