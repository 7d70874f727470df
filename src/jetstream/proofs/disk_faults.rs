//! Disks that are full, and disks that fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::io::FaultKind;
use headwater_storage::{Health, Io, JournalOptions, SimIo};

use super::super::api::error_codes;
use super::node_rig::{Published, Rig, options, sequence_of};
use crate::account::Account;

fn rig() -> Rig {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    rig.create_consumer();
    rig
}

#[test]
fn a_full_disk_refuses_publishes_at_once_reads_go_on_and_it_resumes_by_itself() {
    let mut rig = rig();
    let first = rig.store("s.1", b"before");
    rig.io.set_capacity(Some(rig.io.used_bytes() + 200 * 1024));
    let refusal = error_codes::STORAGE_RESOURCES_EXCEEDED.error();
    let mut stored = vec![first];
    let refused = (0..2000).find_map(|_| {
        let request = rig.publish("s.1", &[b'x'; 1000]);
        if let Some(at_once) = rig.outcome(&request) {
            return Some(at_once);
        }
        rig.drive();
        match rig.outcome(&request)? {
            Published::Acked { sequence, .. } => {
                stored.push(sequence);
                None
            }
            refused => Some(refused),
        }
    });
    assert_eq!(refused, Some(Published::Refused { err_code: u64::from(refusal.err_code) }));
    assert!(matches!(rig.node.health(), Health::Full) && rig.node.is_full());
    // Reads, and acknowledgements, which are small, go on.
    assert_eq!(rig.payload(first).as_deref(), Some(&b"before"[..]));
    let delivered = rig.pull(1);
    assert_eq!(delivered.len(), 1);
    let ack = rig.send(&delivered[0], b"", b"+ACK");
    rig.drive();
    assert_eq!(rig.take(&ack).len(), 1, "an acknowledgement is answered on a full disk");
    // Space returns.
    rig.io.set_capacity(None);
    rig.drive();
    rig.drive();
    assert!(matches!(rig.node.health(), Health::Ok) && !rig.node.is_full());
    let after = rig.store("s.1", b"after");
    assert!(after > *stored.last().unwrap());
    let io = rig.stop();
    io.crash(7);
    let rig = Rig::start(&io);
    for sequence in stored {
        assert!(rig.payload(sequence).is_some(), "message {sequence} was acknowledged before the disk was full");
    }
    assert_eq!(rig.payload(after).as_deref(), Some(&b"after"[..]));
    assert!(rig.is_acked(sequence_of(&delivered[0])));
}

/// A purge makes room: it must work when nothing else does.
#[test]
fn a_full_disk_is_emptied_by_a_purge() {
    let mut rig = rig();
    rig.io.set_capacity(Some(rig.io.used_bytes() + 300 * 1024));
    let refused = (0..2000).find(|_| {
        let request = rig.publish("s.1", &[b'x'; 1000]);
        rig.drive();
        matches!(rig.outcome(&request), Some(Published::Refused { .. }))
    });
    assert!(refused.is_some(), "the disk is full at last");
    rig.grant("STREAM.PURGE.S", "");
    let begin = Instant::now();
    loop {
        let request = rig.publish("s.1", b"again");
        rig.drive();
        if matches!(rig.outcome(&request), Some(Published::Acked { .. })) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "the purge has made no room: {:?}", rig.node.stats());
        std::thread::yield_now();
    }
}

/// Fills the disk, with room for so many bytes more.
fn fill(rig: &mut Rig, room: u64) {
    rig.io.set_capacity(Some(rig.io.used_bytes() + room));
    let refused = (0..5000).find(|_| {
        let request = rig.publish("s.1", &[b'x'; 1000]);
        rig.drive();
        matches!(rig.outcome(&request), Some(Published::Refused { .. }))
    });
    assert!(refused.is_some() && rig.node.is_full());
}

/// Pulls one message after the other and acknowledges each, waiting for the answer.
fn consume(rig: &mut Rig, count: usize) {
    for number in 0..count {
        let delivered = rig.pull(1);
        rig.drive();
        let [subject] = &delivered[..] else { panic!("message {number} is not delivered: {:?}", rig.node.stats()) };
        let ack = rig.send(subject, b"", b"+ACK");
        rig.drive();
        assert_eq!(rig.take(&ack).len(), 1, "ack {number} is not answered: {:?}", rig.node.stats());
    }
}

/// Every delivery and every ack took a piece of the reserve until it was gone. Then nothing was delivered and no ack answered,
/// and a purge was refused like everything else, even after a start.
#[test]
fn acknowledgements_of_a_work_queue_empty_a_full_disk() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","retention":"workqueue""#);
    rig.create_consumer();
    fill(&mut rig, 700 * 1024);
    let stored = rig.stream().totals().messages;
    // Each ack is written in a block of its own: together they take more than they give back.
    consume(&mut rig, usize::try_from(stored).unwrap());
    assert_eq!(rig.stream().totals().messages, 0);
    rig.drive();
    assert!(!rig.node.is_full(), "{:?}", rig.node.stats());
    rig.store("s.1", b"after");
}

#[test]
fn a_consumer_on_a_full_disk_leaves_room_for_a_purge() {
    let mut rig = rig();
    // Another stream rests meanwhile: what it last wrote must not hold the space of what came after it.
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    fill(&mut rig, 700 * 1024);
    for _ in 0..10 {
        consume(&mut rig, 40);
        rig.grant("CONSUMER.RESET.S.C", r#"{"seq":1}"#);
    }
    let io = rig.stop();
    io.crash(11);
    let mut rig = Rig::start(&io);
    assert!(rig.stream().lock().log.is_leader());
    rig.grant("STREAM.PURGE.S", "");
    (0..3).for_each(|_| rig.drive());
    assert!(!rig.node.is_full(), "{:?}", rig.node.stats());
    rig.store("s.1", b"after");
}

/// Space that a purge had freed came back when the same stream had written as much as lies between two checkpoints, which a
/// stream that nobody writes to never does.
#[test]
fn a_purge_gives_space_back_though_nobody_writes_to_the_stream_any_more() {
    const MESSAGE_BYTES: usize = 512 * 1024;
    let mut rig = Rig::start_with(&SimIo::new(), JournalOptions { checkpoint_bytes: 1 << 40, ..options() });
    rig.create_stream("");
    for _ in 0..140 {
        rig.store("s.1", &vec![b'x'; MESSAGE_BYTES]);
    }
    let before = rig.node.stats().segments;
    assert!(before > 100, "{before}");
    rig.grant("STREAM.PURGE.S", "");
    let begin = Instant::now();
    while rig.node.stats().segments > before / 10 {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", rig.node.stats());
        rig.drive();
        std::thread::yield_now();
    }
}

/// A start on a full disk had no room for the entry that makes this server the leader: streams took nothing until the next
/// start.
#[test]
fn a_stream_that_found_no_room_to_be_led_is_led_when_there_is_space() {
    let mut rig = rig();
    let stored = rig.store("s.1", b"before");
    // Each start begins a segment of its own, and none is left.
    let io = rig.io.fork();
    io.set_capacity(Some(0));
    let unled = (0..5).find_map(|number| {
        io.crash(number);
        for path in io.paths().iter().filter(|path| path.extension().is_some_and(|extension| extension == "spare")) {
            io.remove(path).unwrap();
        }
        let rig = Rig::start(&io);
        if rig.stream().lock().log.is_leader() {
            std::mem::forget(rig);
            return None;
        }
        Some(rig)
    });
    let mut rig = unled.expect("the disk is full at last");
    assert_eq!(rig.payload(stored).as_deref(), Some(&b"before"[..]));
    io.set_capacity(None);
    rig.drive();
    rig.drive();
    assert!(rig.stream().lock().log.is_leader());
    rig.store("s.1", b"after");
}

/// What a defect or a refused read had left half applied became the checkpoint that the next start went on from.
#[test]
fn a_stream_out_of_service_writes_no_checkpoint() {
    let mut rig = rig();
    rig.store("s.1", b"x");
    let stream = rig.stream();
    assert!(stream.lock().checkpoint().is_some());
    rig.store("s.1", b"y");
    stream.with(|core, publisher| core.poison(publisher));
    assert!(stream.lock().checkpoint().is_none());
}

/// An expiry that a busy journal refused was forgotten: messages of a stream that nobody writes to outlived their age.
#[test]
fn an_expiry_that_a_busy_journal_refuses_comes_later() {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream(r#","max_age":100000000,"duplicate_window":100000000"#);
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    let stored = rig.store("s.1", b"x");
    let busy = (0..200).find_map(|_| {
        let request = rig.publish("t", &[b'x'; 200 * 1024]);
        rig.outcome(&request)
    });
    assert!(matches!(busy, Some(Published::Refused { .. })));
    let begin = Instant::now();
    // The timer comes while the journal takes nothing.
    while begin.elapsed() < Duration::from_millis(100) {
        std::thread::yield_now();
    }
    rig.stream().timer();
    assert!(rig.payload(stored).is_some());
    while rig.payload(stored).is_some() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it outlives its age");
        rig.drive();
        std::thread::yield_now();
    }
}

#[test]
fn after_a_failed_write_or_sync_nobody_is_acknowledged_and_everybody_is_told() {
    for seed in seeds(24) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let mut rig = rig();
        let mut acked = Vec::new();
        let kind = if rng.chance(500) { FaultKind::Write } else { FaultKind::Sync };
        rig.io.fail(kind, rng.below(30));
        let mut refused = 0;
        for number in 0..200u64 {
            let burst: Vec<(String, Vec<u8>)> = (0..1 + rng.below(4))
                .map(|at| {
                    let content = format!("{number} {at}").into_bytes();
                    (rig.publish("s.1", &content), content)
                })
                .collect();
            rig.drive();
            for (request, content) in burst {
                match rig.outcome(&request) {
                    Some(Published::Acked { sequence, .. }) => {
                        assert_eq!(refused, 0, "acknowledged after the journal had failed");
                        acked.push((sequence, content));
                    }
                    Some(Published::Refused { err_code }) => {
                        assert_eq!(err_code, u64::from(error_codes::STREAM_STORE_FAILED.with("").err_code));
                        refused += 1;
                    }
                    None => panic!("a publisher waits for ever"),
                }
            }
            if refused > 5 {
                break;
            }
        }
        assert!(refused > 0, "the fault was met");
        assert!(matches!(rig.node.health(), Health::Poisoned(_)) && rig.node.failure().is_some());
        // What was stored is still read.
        for (sequence, content) in &acked {
            assert_eq!(rig.payload(*sequence).as_ref(), Some(content));
        }
        let changed = rig.ask("STREAM.PURGE.S", "");
        assert_eq!(changed["error"]["code"], 503, "a change is refused with a reason: {changed}");
        let io = rig.stop();
        io.crash(seed);
        let rig = Rig::start(&io);
        for (sequence, content) in &acked {
            assert_eq!(rig.payload(*sequence).as_ref(), Some(content), "message {sequence} was acknowledged");
        }
    }
}

/// A consumer's deltas were refused by the poisoned journal, the refusal was dropped, and since nothing was in flight
/// the acknowledgement was answered at once: the client was told that something was durable which was nowhere.
#[test]
fn an_acknowledgement_that_the_journal_did_not_take_is_not_answered() {
    let mut rig = rig();
    let sequence = rig.store("s.1", b"x");
    let delivered = rig.pull(1);
    rig.drive();
    rig.io.fail(FaultKind::Write, 0);
    // Something that fails, so that the journal is poisoned.
    let request = rig.publish("s.2", b"y");
    rig.drive();
    assert!(matches!(rig.outcome(&request), Some(Published::Refused { .. })));
    let answers: Vec<String> = (0..3).map(|_| rig.send(&delivered[0], b"", b"+ACK")).collect();
    rig.drive();
    for answer in answers {
        assert_eq!(rig.take(&answer).len(), 0, "an acknowledgement was answered and is nowhere on disk");
    }
    let io = rig.stop();
    io.crash(1);
    let rig = Rig::start(&io);
    assert!(!rig.is_acked(sequence));
}

/// The same with nothing in flight when the journal fails: it fails while it makes a segment ready, say.
#[test]
fn an_acknowledgement_is_not_answered_when_the_journal_failed_at_rest() {
    let mut rig = rig();
    let sequence = rig.store("s.1", b"x");
    let delivered = rig.pull(1);
    rig.drive();
    // Another stream fails the journal; this one has nothing in flight.
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    rig.io.fail(FaultKind::Write, 0);
    let request = rig.publish("t", b"y");
    rig.drive();
    assert!(matches!(rig.outcome(&request), Some(Published::Refused { .. })));
    let answer = rig.send(&delivered[0], b"", b"+ACK");
    rig.drive();
    assert_eq!(rig.take(&answer).len(), 0, "an acknowledgement was answered and is nowhere on disk");
    let io = rig.stop();
    io.crash(1);
    assert!(!Rig::start(&io).is_acked(sequence));
}

/// Deltas that a busy journal refused were dropped: the consumer on its leader had the message acknowledged, the log had
/// not, and a stream that waits for acknowledgements kept it for ever. The client was told that all was well.
#[test]
fn acknowledgements_that_a_busy_journal_refuses_are_logged_and_answered_later() {
    let mut rig = rig();
    let sequence = rig.store("s.1", b"x");
    let delivered = rig.pull(1);
    rig.drive();
    let busy = (0..200).find_map(|_| {
        let request = rig.publish("s.2", &[b'x'; 200 * 1024]);
        rig.outcome(&request)
    });
    let too_many = error_codes::STREAM_TOO_MANY_REQUESTS.error();
    assert_eq!(busy, Some(Published::Refused { err_code: u64::from(too_many.err_code) }));
    let answer = rig.send(&delivered[0], b"", b"+ACK");
    assert!(rig.take(&answer).is_empty(), "nothing of it is on disk");
    rig.drive();
    assert_eq!(rig.take(&answer).len(), 1, "the acknowledgement is answered once the journal took it");
    let io = rig.stop();
    io.crash(3);
    assert!(Rig::start(&io).is_acked(sequence));
}

/// An ack of what was acknowledged already changes nothing, so nothing was counted: each left a reply to be given, without end.
#[test]
fn replies_that_wait_for_the_disk_are_bounded() {
    for busy in [false, true] {
        let mut rig = rig();
        rig.store("s.1", b"x");
        let delivered = rig.pull(1);
        rig.drive();
        if busy {
            let refused = (0..200).find_map(|_| {
                let request = rig.publish("s.2", &[b'x'; 200 * 1024]);
                rig.outcome(&request)
            });
            assert!(matches!(refused, Some(Published::Refused { .. })));
        }
        const SENT: usize = 100_000;
        let answers: Vec<String> = (0..SENT).map(|_| rig.send(&delivered[0], b"", b"+ACK")).collect();
        rig.drive();
        let answered = answers.iter().filter(|answer| !rig.take(answer).is_empty()).count();
        assert!(answered > 0 && answered < SENT * 3 / 4, "{answered}");
        let again = rig.send(&delivered[0], b"", b"+ACK");
        rig.drive();
        assert_eq!(rig.take(&again).len(), 1, "there is room again");
    }
}

/// Nothing is written for them, so that nothing bounded how many waited for what had been asked before.
#[test]
fn requests_that_wait_for_the_disk_are_bounded() {
    let too_many = u64::from(error_codes::STREAM_TOO_MANY_REQUESTS.error().err_code);
    let config = r#"{"durable_name":"C","ack_policy":"explicit","ack_wait":3600000000000,"max_ack_pending":100000}"#;
    let create = &format!(r#"{{"stream_name":"S","config":{config}}}"#);
    for (subject, body, refused_with) in [
        ("STREAM.INFO.S", "{}", None),
        ("CONSUMER.DURABLE.CREATE.S.C", create, Some(too_many)),
        ("CONSUMER.PAUSE.S.C", "{}", Some(too_many)),
        ("CONSUMER.RESET.S.C", r#"{"seq":1}"#, Some(too_many)),
    ] {
        let mut rig = rig();
        let stored = rig.publish("s.1", b"x");
        let long = format!("{body}{}", " ".repeat(128 * 1024));
        const SENT: usize = 100;
        let subject = format!("$JS.API.{subject}");
        let requests: Vec<String> = (0..SENT).map(|_| rig.send(&subject, b"", long.as_bytes())).collect();
        let code = |rig: &Rig, request: &String| -> Option<Option<u64>> {
            let answer: serde_json::Value = serde_json::from_slice(&rig.take(request).pop()?.payload).unwrap();
            Some(answer["error"]["err_code"].as_u64())
        };
        let waiting = requests.iter().take_while(|request| code(&rig, request).is_none()).count();
        assert!((50..SENT - 10).contains(&waiting), "{subject}: {waiting} wait");
        for request in &requests[waiting + 1..] {
            assert_eq!(code(&rig, request), Some(refused_with), "{subject}");
        }
        rig.drive();
        assert!(matches!(rig.outcome(&stored), Some(Published::Acked { .. })));
        for request in &requests[..waiting] {
            assert_eq!(code(&rig, request), Some(None), "{subject}");
        }
        let again = rig.send(&subject, b"", body.as_bytes());
        rig.drive();
        assert_eq!(code(&rig, &again), Some(None), "there is room again");
    }
}

/// Publishes without a look at the disk until those who publish are made to wait.
fn close_gate(rig: &mut Rig) -> Arc<Account> {
    let account = rig.stream().account().clone();
    for _ in 0..100 {
        if !account.ingest_gate.is_open() {
            break;
        }
        rig.publish("s.2", &[b'x'; 200 * 1024]);
    }
    assert!(!account.ingest_gate.is_open());
    account
}

#[test]
fn who_waits_to_publish_is_let_go_though_the_account_lost_jetstream_meanwhile() {
    // Only the gates of accounts that were still served were opened: connections of this one were never read again.
    let mut rig = rig();
    let account = close_gate(&mut rig);
    rig.node.set_accounts(Vec::new());
    rig.drive();
    assert!(account.ingest_gate.is_open());
}

#[test]
fn nobody_waits_to_publish_into_a_journal_that_has_failed() {
    let mut rig = rig();
    let account = close_gate(&mut rig);
    rig.io.fail(FaultKind::Write, 0);
    rig.drive();
    assert!(rig.node.failure().is_some() && account.ingest_gate.is_open());
    // Whoever had published before the failure may be late to close the gate.
    rig.node.close_gate(&account);
    assert!(account.ingest_gate.is_open());
}
