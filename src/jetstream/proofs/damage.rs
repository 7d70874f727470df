//! Bits that flip while the node is stopped. One damaged record costs one record: the rest serves, and the damage is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::{DamageKind, GroupId, Journal, JournalOptions, Location, Record, RecordKind, SimIo};
use prost::Message;

use super::super::meta::{META_GROUP, MetaChange, MetaEntry};
use super::node_rig::{DIRECTORY, Rig, options, payload};

fn filled(seed: u64, rng: &mut Rng) -> (SimIo, BTreeMap<u64, Vec<u8>>) {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.create_consumer();
    let mut stored = BTreeMap::new();
    for number in 0..200 + 40 * (seed % 5) {
        let content = payload(number, rng);
        stored.insert(rig.store(&format!("s.{}", number % 7), &content), content);
        if number % 10 == 0 {
            for reply in rig.pull(5) {
                rig.send(&reply, b"", b"+ACK");
            }
        }
    }
    rig.stop();
    (io, stored)
}

/// The files that hold data, not the spares.
fn segments(io: &SimIo) -> Vec<PathBuf> {
    let with_data = |path: &PathBuf| io.content(path).is_some_and(|content| content.iter().any(|byte| *byte != 0));
    io.paths().into_iter().filter(|path| path.starts_with(Path::new(DIRECTORY)) && with_data(path)).collect()
}

const NAME: &[u8] = br#""name":"S""#;

/// Where the bytes are in the journal, in its order.
fn occurrences(io: &SimIo, needle: &[u8]) -> Vec<(PathBuf, usize)> {
    let in_file = |path: PathBuf| {
        let content = io.content(&path).unwrap();
        let windows = content.windows(needle.len()).enumerate();
        let places: Vec<usize> = windows.filter(|(_, window)| *window == needle).map(|(at, _)| at).collect();
        places.into_iter().map(move |at| (path.clone(), at))
    };
    segments(io).into_iter().flat_map(in_file).collect()
}

fn flip(io: &SimIo, path: &Path, at: usize, bit: u8) {
    let mut content = io.content(path).unwrap();
    content[at] ^= 1 << bit;
    io.set_content(path, content);
}

/// Every message is there with its bytes, or reported.
fn check(rig: &mut Rig, stored: &BTreeMap<u64, Vec<u8>>, flips: usize, seed: u64) -> u64 {
    let mut gone = Vec::new();
    for (sequence, content) in stored {
        match rig.payload(*sequence) {
            Some(found) => assert!(found == *content, "SEED={seed}: message {sequence} has other bytes"),
            None => gone.push(*sequence),
        }
    }
    let missing = gone.len();
    let info = rig.grant("STREAM.INFO.S", "");
    let lost = info["state"]["lost"]["msgs"].as_array().map_or(0, Vec::len);
    let damages = rig.node.stats().damaged_records;
    if missing > 0 {
        println!("gone {gone:?}, damages {:?}", rig.node.stats().damages);
        assert!(lost > 0 || damages > 0, "SEED={seed}: {missing} messages are gone without a word");
        assert!(missing <= flips, "SEED={seed}: {flips} bits cost {missing} messages");
    }
    // The rest goes on.
    rig.store("s.1", b"after the damage");
    missing as u64
}

#[test]
fn a_flipped_bit_costs_at_most_one_message_and_is_told() {
    let mut missing = 0;
    for seed in seeds(60) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let (io, stored) = filled(seed, &mut rng);
        let files = segments(&io);
        let path = rng.pick(&files).unwrap().clone();
        let content = io.content(&path).unwrap();
        // Among the data, where it hurts.
        let end = content.iter().rposition(|byte| *byte != 0).unwrap();
        let at = rng.below(end as u64 + 1) as usize;
        println!("{path:?} {at}");
        flip(&io, &path, at, rng.below(8) as u8);
        let mut rig = Rig::start(&io);
        assert!(rig.has_stream(), "SEED={seed}: one bit costs the stream");
        missing += check(&mut rig, &stored, 1, seed);
        rig.stop();
        // And again: what was found the first time is not worse the second.
        let mut rig = Rig::start(&io);
        check(&mut rig, &stored, 1, seed);
        rig.stop();
    }
    println!("{missing} messages lost in all");
}

/// The entry that creates the stream was damaged, the list of streams began anew with the group's number, and the next
/// stream wrote its entries among those of the one before.
#[test]
fn a_new_stream_never_gets_the_group_of_one_whose_definition_is_damaged() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    let old = rig.stream().group();
    rig.store("s.1", b"old");
    let io = rig.kill();
    // In the list of streams, and in the stream's own group.
    let places = occurrences(&io, NAME);
    assert_eq!(places.len(), 2);
    places.iter().for_each(|(path, at)| flip(&io, path, *at, 0));
    let mut rig = Rig::start(&io);
    assert!(!rig.has_stream());
    rig.create_stream("");
    assert!(rig.stream().group() > old);
    assert_eq!(rig.store("s.1", b"new"), 1);
    rig.stop();
    let rig = Rig::start(&io);
    assert_eq!(rig.payload(1).as_deref(), Some(&b"new"[..]));
}

/// Compaction had taken the entries from the log and left their messages, as it may below a checkpoint. Then that checkpoint
/// was damaged (seed 72 of the sweep above, at its time). The log after the one that served instead, or after none, had a
/// gap, and the messages in it were taken for lost.
#[test]
fn messages_that_only_a_damaged_checkpoint_knew_are_there() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    let group = rig.stream().group();
    let mut kept = BTreeMap::new();
    for number in 0..120_u64 {
        let content = if number % 3 == 0 { number.to_string().into_bytes() } else { vec![7; 5000] };
        let sequence = rig.store("s.1", &content);
        if number % 3 == 0 {
            kept.insert(sequence, content);
        } else {
            rig.grant("STREAM.MSG.DELETE.S", &format!(r#"{{"seq":{sequence},"no_erase":true}}"#));
        }
        if number == 20 {
            rig.node.checkpoint(group);
            rig.drive();
        }
    }
    rig.node.checkpoint(group);
    rig.drive();
    kept.insert(rig.store("s.1", b"more"), b"more".to_vec());
    assert!(rig.node.stats().segments_compacted > 0, "nothing was compacted");
    rig.stop();
    let places = occurrences(&io, NAME);
    assert!(places.len() > 2, "the list, the definition, checkpoints");
    places[2..].iter().for_each(|(path, at)| flip(&io, path, *at, 0));
    for start in 0..2 {
        let mut rig = Rig::start(&io);
        let damages = rig.node.stats().damages;
        let has_gap = damages.iter().any(|damage| damage.kind == DamageKind::Gap);
        assert_eq!(has_gap, start == 0, "{damages:?}");
        assert_eq!(check(&mut rig, &kept, 0, 72), 0);
        rig.stop();
    }
}

/// Twenty messages and a consumer, and beside them a stream that is written to until nothing of the first one's log is left:
/// its checkpoints alone know what it is.
fn at_rest() -> (SimIo, GroupId) {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.create_consumer();
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file","max_msgs":10}"#);
    for number in 0..20_u64 {
        rig.store("s.1", &number.to_le_bytes());
        (0..8).for_each(|_| assert!(rig.store("t", &[7; 5000]) > 0));
    }
    for reply in rig.pull(5) {
        rig.send(&reply, b"", b"+ACK");
    }
    let (group, journal) = (rig.stream().group(), rig.node.shared().journal.clone());
    let last = rig.stream().lock().log.applied();
    for _ in 0..2 {
        // Each in a segment of its own.
        (0..16).for_each(|_| assert!(rig.store("t", &[7; 5000]) > 0));
        rig.node.checkpoint(group);
        rig.drive();
    }
    while journal.read_entry(group, last).is_ok() {
        assert!(rig.store("t", &[7; 5000]) < 2000, "the log stays");
    }
    assert!(rig.node.stats().segments_compacted > 0, "its messages are elsewhere");
    rig.stop();
    (io, group)
}

/// The only checkpoint was the only copy of what the stream was. With one bit of it flipped the stream was empty, though its
/// messages were all there, and gave their sequences to others.
#[test]
fn a_flipped_bit_in_a_checkpoint_costs_nothing() {
    let (io, _) = at_rest();
    let places = occurrences(&io, NAME);
    assert!(places.len() > 2, "checkpoints among them");
    for (path, at) in places {
        let io = io.fork();
        flip(&io, &path, at, 1);
        let mut rig = Rig::start(&io);
        assert!((0..20_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
        assert!((1..=5).all(|sequence| rig.is_acked(sequence)) && !rig.is_acked(6), "the consumer goes on");
        assert_eq!(rig.store("s.1", b"next"), 21);
        rig.stop();
    }
}

/// Of a stream without log and checkpoints its messages are left, and no sequence is given twice.
#[test]
fn messages_outlive_all_checkpoints_of_a_stream_at_rest() {
    for restarted in [false, true] {
        let (io, group) = at_rest();
        if restarted {
            // What was committed by then is on record.
            let rig = Rig::start(&io);
            rig.drive();
            rig.stop();
        }
        let checkpoints = checkpoints_of(&io, group);
        assert!(checkpoints.len() > 1);
        checkpoints.iter().for_each(|(path, at)| flip(&io, path, *at, 1));
        let mut next = 0;
        for start in 0..3 {
            let mut rig = Rig::start(&io);
            assert!((0..20_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
            let state = rig.grant("STREAM.INFO.S", "")["state"].clone();
            assert_eq!((&state["first_seq"], &state["messages"]), (&1.into(), &(20 + start).into()), "{state}");
            let sequence = rig.store("s.1", b"next");
            assert!(sequence > next.max(20), "{sequence} is given a second time");
            next = sequence;
            rig.stop();
        }
    }
}

/// Where the bodies of a group's checkpoints begin.
fn checkpoints_of(io: &SimIo, group: GroupId) -> Vec<(PathBuf, usize)> {
    let in_file = |path: PathBuf| {
        let content = io.content(&path).unwrap();
        // The group, and a kind that has neither headers nor subject.
        let is_checkpoint = |at: &usize| {
            let record = &content[*at..*at + 64];
            let kind = [&[0; 4][..], &record[52..56], &[0, 0, RecordKind::Checkpoint as u8]].concat();
            record[8..16] == group.0.to_le_bytes() && record[48..59] == kind
        };
        let places: Vec<usize> = (0..content.len() - 64).step_by(8).filter(is_checkpoint).collect();
        // Behind the record's header and the part's.
        places.into_iter().map(move |at| (path.clone(), at + 64 + 8))
    };
    segments(io).into_iter().flat_map(in_file).collect()
}

/// The page of a disk that went bad, or never was written.
fn zero_page(io: &SimIo, path: &Path, at: usize) {
    let mut content = io.content(path).unwrap();
    let start = at / 4096 * 4096;
    let end = content.len().min(start + 4096);
    content[start..end].fill(0);
    io.set_content(path, content);
}

/// The list's entry and the stream's own definition are written within milliseconds: with the page that had both, nobody knew
/// whose the messages were, and an empty stream could take the place.
#[test]
fn a_stream_outlives_the_page_that_says_what_it_is() {
    for with_others in [false, true] {
        let io = SimIo::new();
        let mut rig = Rig::start(&io);
        rig.create_stream(r#","max_msgs":500"#);
        (0..10_u64).for_each(|number| assert!(rig.store("s.1", &[number as u8; 900]) > 0));
        if with_others {
            rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
        }
        rig.node.checkpoint(rig.stream().group());
        rig.drive();
        rig.stop();
        let (path, at) = occurrences(&io, NAME).remove(0);
        zero_page(&io, &path, at);
        for _ in 0..2 {
            let mut rig = Rig::start(&io);
            assert_eq!(rig.stream().config().max_msgs, 500, "{with_others}");
            assert!((4..10_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&[number as u8; 900][..])));
            assert!(
                rig.ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["x"],"storage":"file"}"#)["error"].is_object()
            );
            assert_eq!(rig.node.meta().listed(), 1 + usize::from(with_others), "it is in the list again");
            rig.stop();
        }
    }
}

/// A stream that goes on in another segment says there, too, what it is.
#[test]
fn a_stream_outlives_the_first_segment() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    (0..20_u64).for_each(|number| assert!(rig.store("t", &[number as u8; 5000]) > 0));
    let sequence = rig.store("s.1", b"in the second segment");
    // Without threads nobody looks around by himself.
    rig.grant("STREAM.CREATE.U", r#"{"name":"U","subjects":["u"],"storage":"file"}"#);
    rig.stop();
    let (first, _) = occurrences(&io, NAME).remove(0);
    io.delete(&first);
    let mut rig = Rig::start(&io);
    let found = rig.payload(sequence);
    assert_eq!(found.as_deref(), Some(&b"in the second segment"[..]));
    assert_eq!(rig.grant("STREAM.NAMES", "")["streams"], serde_json::json!(["S", "T", "U"]));
}

/// A compaction had put the only record of what each stream is beside its only checkpoint.
#[test]
fn no_page_of_a_compacted_segment_costs_a_stream() {
    let (io, _) = at_rest();
    let is_compacted = |path: &PathBuf| io.content(path).unwrap()[44] & 1 == 1;
    let mut tried = 0;
    for path in segments(&io).into_iter().filter(is_compacted) {
        for page in 3..io.content(&path).unwrap().len() / 4096 {
            let io = io.fork();
            zero_page(&io, &path, page * 4096);
            let rig = Rig::start(&io);
            assert!((1..=5).all(|sequence| rig.is_acked(sequence)), "the consumer is there");
            rig.stop();
            tried += 1;
        }
    }
    assert!(tried > 1);
}

/// The stream was kept and not served, and its name could not be used again.
#[test]
fn a_stream_is_served_although_its_entry_in_the_list_is_damaged() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream(r#","max_msgs":500"#);
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    for number in 0..30_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    let (group, created) = (rig.stream().group(), rig.stream().created());
    rig.stop();
    let (path, at) = occurrences(&io, NAME).remove(0);
    flip(&io, &path, at, 3);
    for start in 0..3 {
        let mut rig = Rig::start(&io);
        let stream = rig.stream();
        assert_eq!((stream.group(), stream.created(), stream.config().max_msgs), (group, created, 500));
        assert!((0..30_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
        assert_eq!(rig.grant("STREAM.NAMES", "")["total"], 2);
        let taken = rig.ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["other"],"storage":"file"}"#);
        assert!(taken.get("error").is_some(), "{taken}");
        assert!(start > 0 || rig.node.stats().damages.iter().any(|damage| damage.group == Some(META_GROUP)));
        assert_eq!(rig.node.meta().listed(), 2, "it is in the list again");
        rig.stop();
    }
    // And it can be deleted for good.
    let mut rig = Rig::start(&io);
    rig.grant("STREAM.DELETE.S", "");
    rig.stop();
    assert!(!Rig::start(&io).has_stream());
}

/// The checkpoint of the list is the only place where old streams are listed, once the entries before it are gone.
#[test]
fn no_stream_is_lost_with_the_checkpoint_of_the_list() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.grant("STREAM.CREATE.T", r#"{"name":"T","subjects":["t"],"storage":"file"}"#);
    rig.grant("STREAM.CREATE.U", r#"{"name":"U","subjects":["u"],"storage":"file"}"#);
    rig.store("s.1", b"of S");
    rig.grant("STREAM.DELETE.U", "");
    rig.node.checkpoint(META_GROUP);
    rig.drive();
    let groups = [rig.stream().group().0, rig.stream().group().0 + 1, rig.stream().group().0 + 2];
    let io = rig.kill();
    // The entry of S is gone as if by compaction, and the checkpoint is damaged.
    let places = occurrences(&io, NAME);
    assert_eq!(places.len(), 3, "entry, definition, checkpoint");
    for (path, at) in [&places[0], &places[2]] {
        flip(&io, path, *at, 1);
    }
    for _ in 0..2 {
        let mut rig = Rig::start(&io);
        assert_eq!(rig.payload(1).as_deref(), Some(&b"of S"[..]));
        assert_eq!(rig.grant("STREAM.NAMES", "")["streams"], serde_json::json!(["S", "T"]), "U stays deleted");
        rig.stop();
    }
    let mut rig = Rig::start(&io);
    rig.grant("STREAM.CREATE.V", r#"{"name":"V","subjects":["v"],"storage":"file"}"#);
    let new = rig.node.account("A").unwrap().find("V").unwrap().group().0;
    assert!(groups.iter().all(|group| *group < new), "group {new} is used a second time");
}

/// The entry that deletes a stream was damaged after it had been carried out: an empty stream came back, whose group the
/// journal had given up, so that publishing to it was never answered.
#[test]
fn a_deleted_stream_does_not_come_back_with_the_entry_that_deleted_it_damaged() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    let group = rig.stream().group();
    rig.store("s.1", b"x");
    rig.grant("STREAM.DELETE.S", "");
    let io = rig.kill();
    let deleted = MetaEntry { change: Some(MetaChange::Deleted(group.0)) }.encode_to_vec();
    let (path, at) = place_of(&io, |record| record.header.group == META_GROUP && record.payload() == deleted);
    flip(&io, &path, at, 2);
    for _ in 0..2 {
        let rig = Rig::start(&io);
        assert!(!rig.has_stream());
        rig.drive();
        rig.stop();
    }
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    assert!(rig.stream().group() > group);
    assert_eq!(rig.store("s.1", b"new"), 1);
}

/// Where the body of the first such record begins.
fn place_of(io: &SimIo, wanted: impl Fn(&Record) -> bool) -> (PathBuf, usize) {
    let fork = io.fork();
    let opened = Journal::open(std::sync::Arc::new(fork), Path::new(DIRECTORY), options(), &mut |_| {}).unwrap();
    let mut place = None;
    let mut visit = |location: Location, record: Record| {
        if wanted(&record) {
            place.get_or_insert((location.segment, location.offset as usize + 64));
        }
    };
    opened.journal.replay(&mut |_| {}, &mut visit).unwrap();
    let (segment, at) = place.expect("such a record is in the journal");
    (Path::new(DIRECTORY).join(format!("{segment:010}.segment")), at)
}

/// The limit that was raised was lost with its entry, and the replay removed by the old one what had been stored since:
/// one bad record cost every message but the last ten.
#[test]
fn messages_do_not_leave_by_a_limit_whose_successor_is_damaged() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream(r#","max_msgs":10"#);
    for number in 0..15_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    rig.grant("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"file","max_msgs":1000}"#);
    for number in 15..100_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    rig.stop();
    let raised = br#""max_msgs":1000"#;
    let (path, at) = occurrences(&io, raised).remove(0);
    flip(&io, &path, at, 1);
    for _ in 0..2 {
        let rig = Rig::start(&io);
        assert_eq!(rig.stream().config().max_msgs, 1000);
        assert!((15..100_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
        rig.stop();
    }
}

/// The newest checkpoint is damaged, an older one has older limits, and the entry that changed them is behind it.
#[test]
fn an_older_checkpoint_with_older_limits_costs_no_message() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream(r#","max_msgs":10"#);
    for number in 0..15_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    let group = rig.stream().group();
    rig.node.checkpoint(group);
    rig.drive();
    rig.grant("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"file","max_msgs":1000}"#);
    for number in 15..60_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    rig.node.checkpoint(group);
    rig.drive();
    for number in 60..100_u64 {
        rig.store("s.1", &number.to_le_bytes());
    }
    rig.stop();
    let raised = occurrences(&io, br#""max_msgs":1000"#);
    assert_eq!(raised.len(), 3, "entry, definition, checkpoint");
    for (path, at) in [&raised[0], &raised[2]] {
        flip(&io, path, *at, 1);
    }
    for _ in 0..2 {
        let rig = Rig::start(&io);
        assert_eq!(rig.stream().config().max_msgs, 1000);
        assert!((15..100_u64).all(|number| rig.payload(number + 1).as_deref() == Some(&number.to_le_bytes()[..])));
        assert!(rig.payload(5).is_none(), "what had left before is gone");
        rig.stop();
    }
}

#[test]
fn limits_hold_again_once_the_damaged_log_is_read() {
    let io = SimIo::new();
    // All in one segment: no checkpoint is made that covers the damage.
    let in_one = JournalOptions { segment_bytes: Some(1 << 20), first_segment_bytes: 1 << 20, ..options() };
    let mut rig = Rig::start_with(&io, in_one.clone());
    rig.create_stream(r#","max_msgs_per_subject":3,"max_msgs":20"#);
    for number in 0..120_u64 {
        rig.store(&format!("s.{}", number % 6), format!("message {number:03}").as_bytes());
    }
    let before: Vec<bool> = (1..=120).map(|sequence| rig.payload(sequence).is_some()).collect();
    rig.stop();
    let (path, at) = occurrences(&io, b"message 040").remove(0);
    flip(&io, &path, at, 1);
    let mut rig = Rig::start_with(&io, in_one);
    let after: Vec<bool> = (1..=120).map(|sequence| rig.payload(sequence).is_some()).collect();
    assert_eq!(after, before);
    for number in 120..130_u64 {
        rig.store(&format!("s.{}", number % 6), b"more");
    }
    assert_eq!(rig.grant("STREAM.INFO.S", "")["state"]["messages"], 18);
}

/// A memory stream's log goes with the process, and with it went every change of its configuration.
#[test]
fn a_memory_stream_keeps_its_latest_configuration() {
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.grant("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"storage":"memory"}"#);
    rig.grant("STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.>","more"],"storage":"memory","max_msgs":7}"#);
    rig.drive();
    rig.stop();
    let mut rig = Rig::start(&io);
    assert_eq!((rig.stream().config().max_msgs, rig.stream().config().subjects.len()), (7, 2));
    assert_eq!(rig.store("more", b"x"), 1);
}
