//! Disks that refuse to read while a server starts. What it can not know, it must not decide: once the disk is well again,
//! everything is as it was.

use headwater_storage::SimIo;
use headwater_storage::io::FaultKind;

use super::node_rig::{Rig, sequence_of};

const MESSAGES: u64 = 120;
const OF_T: u64 = 10;

fn body(number: u64) -> Vec<u8> {
    format!("{number}:").bytes().cycle().take(2000).collect()
}

/// Two streams, one with a consumer that got ahead, in some segments, with checkpoints and entries after them.
fn filled() -> (SimIo, Vec<u64>) {
    let mut rig = Rig::start(&SimIo::new());
    rig.create_stream("");
    rig.create_consumer();
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    let mut acked = Vec::new();
    for number in 1..=MESSAGES {
        assert_eq!(rig.store("s.1", &body(number)), number);
        if number % (MESSAGES / OF_T) == 0 {
            rig.store("t", b"of T");
            let delivered = rig.pull(3);
            for reply in &delivered[..2] {
                let ack = rig.send(reply, b"", b"+ACK");
                rig.drive();
                assert_eq!(rig.take(&ack).len(), 1);
                acked.push(sequence_of(reply));
            }
        }
    }
    rig.grant("STREAM.MSG.DELETE.S", r#"{"seq":7}"#);
    (rig.stop(), acked)
}

/// Everything of `filled` is there, and `more` of each stream.
fn check(io: &SimIo, acked: &[u64], more: [u64; 2], what: &str) {
    io.mend();
    let mut rig = Rig::try_start(io).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    assert_eq!(rig.node.stats().damages, [], "{what}");
    for number in (1..=MESSAGES).filter(|number| *number != 7) {
        assert_eq!(rig.payload(number), Some(body(number)), "{what}: message {number}");
    }
    assert_eq!(rig.payload(7), None, "{what}: what was deleted stays so");
    assert!(acked.iter().all(|sequence| rig.is_acked(*sequence)), "{what}");
    let state = |rig: &mut Rig, stream: &str| rig.grant(&format!("STREAM.INFO.{stream}"), "")["state"].clone();
    let (of_s, of_t) = (state(&mut rig, "S"), state(&mut rig, "T"));
    assert_eq!(
        (&of_s["messages"], &of_s["last_seq"]),
        (&(MESSAGES - 1 + more[0]).into(), &(MESSAGES + more[0]).into())
    );
    assert!(of_s.get("lost").is_none(), "{what}: {of_s}");
    assert_eq!(of_t["messages"], OF_T + more[1], "{what}");
    rig.stop();
}

/// How many reads a start takes.
fn reads_of(io: &SimIo) -> u64 {
    let io = io.fork();
    Rig::start(&io).stop();
    io.count_of(FaultKind::Read)
}

/// Serves what is served, and stops. How many messages were taken in each stream.
fn serve(mut rig: Rig) -> [u64; 2] {
    let taken = ["s.1", "t"].map(|subject| {
        let request = rig.publish(subject, b"more");
        rig.drive();
        u64::from(!rig.take(&request).is_empty())
    });
    rig.stop();
    taken
}

/// Entries that a drive did not give for a moment were counted as lost, and a checkpoint said so for ever.
#[test]
fn a_start_during_which_the_disk_fails_costs_no_message_no_ack_and_no_stream() {
    let (stored, acked) = filled();
    let (mut starts, mut refused) = (0, 0);
    // Four reads are one that is tried again, in vain; all of them are a disk that is gone.
    for (nth, count) in (0..reads_of(&stored)).flat_map(|nth| [4, u64::MAX].map(|count| (nth, count))) {
        let what = format!("{count} reads from {nth} on fail");
        let io = stored.fork();
        io.refuse_reads(nth, count);
        let more = match Rig::try_start(&io) {
            Ok(rig) => serve(rig),
            Err(_) => [0, 0],
        };
        starts += u32::from(more == [1, 1]);
        refused += u32::from(more == [0, 0]);
        io.crash(nth);
        check(&io, &acked, more, &what);
    }
    // That a stream may be held back alone is shown below: which reads those are depends on when checkpoints were written.
    assert!(starts > 0 && refused > 0, "{starts} starts, {refused} refused");
}

#[test]
fn a_start_is_none_the_worse_for_a_disk_that_fails_for_a_moment() {
    let (stored, acked) = filled();
    for nth in 0..reads_of(&stored) {
        let io = stored.fork();
        io.refuse_reads(nth, 2);
        let more = serve(Rig::start(&io));
        assert_eq!(more, [1, 1], "reads {nth} and the next fail");
        check(&io, &acked, more, &format!("reads {nth} and the next fail"));
    }
}

/// A start on which the disk refuses what one of two streams needs. Which one of its reads that is depends on the layout.
fn held_back() -> (Rig, SimIo, Vec<u64>) {
    let (stored, acked) = filled();
    let reads = reads_of(&stored);
    for (nth, count) in (0..reads).flat_map(|nth| (3..9).map(move |count| (nth, count))) {
        let io = stored.fork();
        io.refuse_reads(nth, count);
        if let Ok(rig) = Rig::try_start(&io) {
            let account = rig.node.account("A").unwrap();
            let names: Vec<String> = account.held_back().iter().map(|stream| stream.name().to_owned()).collect();
            if names == ["T"] && rig.has_stream() {
                return (rig, io, acked);
            }
            rig.stop();
        }
    }
    panic!("no read of a start is of T alone");
}

/// It was not found by those who asked for it, and its name and subjects were free to be taken by another stream.
#[test]
fn a_stream_that_is_held_back_keeps_its_name_and_its_subjects_and_says_why() {
    let (mut rig, io, acked) = held_back();
    let code = |answer: &serde_json::Value| answer["error"]["err_code"].as_u64();
    const OFFLINE: Option<u64> = Some(10194);
    let same = r#"{"name":"T","subjects":["t"],"storage":"file"}"#;
    let told = rig.ask("STREAM.INFO.T", "");
    assert_eq!(told["error"]["code"], 500);
    let description = "stream is offline: the disk refuses to give what is stored of it";
    assert_eq!(told["error"]["description"], description);
    for (subject, body) in [
        ("STREAM.INFO.T", ""),
        ("STREAM.CREATE.T", same),
        ("STREAM.UPDATE.T", same),
        ("STREAM.PURGE.T", ""),
        ("STREAM.MSG.GET.T", r#"{"seq":1}"#),
        ("STREAM.MSG.DELETE.T", r#"{"seq":1}"#),
        ("CONSUMER.NAMES.T", ""),
        ("CONSUMER.LIST.T", ""),
        ("CONSUMER.CREATE.T.C", r#"{"stream_name":"T","config":{"name":"C"}}"#),
        ("CONSUMER.INFO.T.C", ""),
        ("CONSUMER.DELETE.T.C", ""),
    ] {
        let answer = rig.ask(subject, body);
        assert_eq!(code(&answer), OFFLINE, "{subject}: {answer}");
    }
    let other = rig.ask("STREAM.CREATE.T", r#"{"name":"T","subjects":["t2"],"storage":"file"}"#);
    assert_eq!(code(&other), Some(10058), "{other}");
    let overlapping = rig.ask("STREAM.CREATE.U", r#"{"name":"U","subjects":["*"],"storage":"file"}"#);
    assert_eq!(code(&overlapping), Some(10065), "{overlapping}");
    assert_eq!(rig.grant("STREAM.NAMES", "")["streams"], serde_json::json!(["S", "T"]));
    assert_eq!(rig.grant("STREAM.NAMES", r#"{"subject":"t"}"#)["streams"], serde_json::json!(["T"]));
    let list = rig.grant("STREAM.LIST", "");
    assert_eq!((&list["total"], &list["missing"]), (&2.into(), &serde_json::json!(["T"])));
    assert_eq!(list["offline"]["T"], "the disk refuses to give what is stored of it");
    assert_eq!(rig.grant("INFO", "")["streams"], 2);
    rig.stop();
    check(&io, &acked, [0, 0], "after a start without T");
}

/// It guarded the subjects that it was created with: what it was given later was free to be taken by another stream.
#[test]
fn a_stream_that_is_held_back_keeps_the_subjects_that_it_was_given_later() {
    let mut rig = Rig::start(&SimIo::new());
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    rig.grant("STREAM.UPDATE.T", r#"{"name":"T","subjects":["t","z.>"],"storage":"file"}"#);
    rig.store("t", b"of T");
    let group = rig.node.account("A").unwrap().find("T").unwrap().group();
    rig.node.checkpoint(group);
    rig.drive();
    let stored = rig.stop();
    let mut tried = 0;
    for nth in 0..reads_of(&stored) {
        // Just as often as a start tries: its definition can be read again then.
        let held_back = (1..12).find_map(|count| {
            let io = stored.fork();
            io.refuse_reads(nth, count);
            let rig = Rig::try_start(&io).ok()?;
            if rig.node.account("A").unwrap().held_back().is_empty() {
                rig.stop();
                return None;
            }
            Some(rig)
        });
        let Some(mut rig) = held_back else { continue };
        let taken = rig.ask("STREAM.CREATE.Z", r#"{"name":"Z","subjects":["z.a"],"storage":"file"}"#);
        assert_eq!(taken["error"]["err_code"], 10065, "{taken}");
        tried += 1;
        rig.stop();
    }
    assert!(tried > 0, "none of the reads held it back");
}

#[test]
fn a_stream_that_is_held_back_may_be_given_up() {
    let (mut rig, io, _) = held_back();
    rig.grant("STREAM.DELETE.T", "");
    assert_eq!(rig.ask("STREAM.INFO.T", "")["error"]["err_code"], 10059);
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"memory"}"#);
    io.mend();
    assert_eq!(rig.store("t", b"of another T"), 1);
    rig.grant("STREAM.DELETE.T", "");
    rig.stop();
    let mut rig = Rig::start(&io);
    assert_eq!(rig.grant("STREAM.NAMES", "")["streams"], serde_json::json!(["S"]));
    assert_eq!(rig.store("s.1", b"more"), MESSAGES + 1);
    rig.stop();
}
