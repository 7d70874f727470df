//! Atomic batches and power cuts: after a start there is all of a batch or nothing, and every further start agrees.

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::SimIo;
use headwater_storage::io::CrashPoint;
use serde_json::Value;

use super::node_rig::{Rig, payload};
use crate::protocol::headers;

/// Messages of one batch: enough to lie in several blocks, and sometimes in two segments.
const BATCH: u64 = 30;

fn create(rig: &mut Rig) {
    rig.create_stream(r#","allow_atomic":true"#);
}

fn contents(number: u64, rng: &mut Rng) -> Vec<Vec<u8>> {
    (0..BATCH).map(|at| [format!("batch {number}.{at} ").into_bytes(), payload(number, rng)].concat()).collect()
}

/// Sends a batch; gives the request that commits it.
fn send(rig: &mut Rig, number: u64, messages: &[Vec<u8>]) -> String {
    let mut commit = String::new();
    for (sequence, message) in (1u64..).zip(messages) {
        let mut block = Vec::new();
        headers::append(&mut block, "Nats-Batch-Id", format!("b{number}").as_bytes());
        headers::append(&mut block, "Nats-Batch-Sequence", sequence.to_string().as_bytes());
        if sequence == messages.len() as u64 {
            headers::append(&mut block, "Nats-Batch-Commit", b"1");
        }
        commit = rig.send(&format!("s.{number}"), &block, message);
    }
    commit
}

/// The acknowledgement of a batch, when there is one.
fn acknowledged(rig: &Rig, commit: &str) -> Option<u64> {
    let answer = rig.take(commit).pop()?;
    let value: Value = serde_json::from_slice(&answer.payload).unwrap();
    if value.get("error").is_none() {
        assert_eq!(value["count"], BATCH, "{value}");
    }
    value.get("error").is_none().then(|| value["seq"].as_u64().unwrap())
}

/// What is stored of a batch, in order.
fn stored(rig: &Rig, number: u64) -> Vec<Vec<u8>> {
    let last = rig.stream().info().state.last_seq;
    let prefix = format!("batch {number}.").into_bytes();
    (1..=last).filter_map(|sequence| rig.payload(sequence)).filter(|payload| payload.starts_with(&prefix)).collect()
}

fn state_hash(rig: &Rig) -> u64 {
    rig.stream().lock().machine.state_hash()
}

fn gaps(rig: &Rig) -> u64 {
    rig.stream().info().state.num_deleted
}

#[test]
fn a_batch_is_there_as_a_whole_or_not_at_all_whenever_the_power_goes() {
    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for seed in seeds(60) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let io = SimIo::new();
        let mut rig = Rig::start(&io);
        create(&mut rig);
        for number in 0..rng.below(60) {
            rig.store("s.before", &payload(number, &mut rng));
        }
        io.crash_at(CrashPoint(io.mutations() + rng.below(8)));
        let messages = contents(1, &mut rng);
        let commit = send(&mut rig, 1, &messages);
        rig.drive();
        let acked = acknowledged(&rig, &commit);
        rig.stop();
        io.crash(seed);

        let mut rig = Rig::start(&io);
        let found = stored(&rig, 1);
        assert!(found.is_empty() || found == messages, "{} of {BATCH} messages are there", found.len());
        assert!(acked.is_none() || !found.is_empty(), "the batch was acknowledged and is gone");
        whole += usize::from(!found.is_empty());
        none += usize::from(found.is_empty());
        torn += usize::from(gaps(&rig) > 0);

        // What was left open stays closed: messages and batches that follow do not complete it.
        rig.store("s.after", b"after");
        let commit = send(&mut rig, 2, &contents(2, &mut rng));
        rig.drive();
        assert!(acknowledged(&rig, &commit).is_some());
        assert_eq!(stored(&rig, 1), found);
        let (hash, gone) = (state_hash(&rig), gaps(&rig));
        rig.stop();
        let rig = Rig::start(&io);
        assert_eq!((state_hash(&rig), gaps(&rig)), (hash, gone), "a second start reads the same log otherwise");
        assert_eq!((stored(&rig, 1), stored(&rig, 2).len() as u64), (found, BATCH));
    }
    println!("{whole} whole, {none} not there, {torn} of them torn in the log");
    if std::env::var("SEED").is_err() {
        assert!(whole > 5 && none > 5 && torn > 2, "{whole} {none} {torn}: the cuts miss the batch");
    }
}

#[test]
fn checkpoints_and_starts_in_between_keep_every_batch_whole() {
    for seed in seeds(6) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let io = SimIo::new();
        let mut rig = Rig::start(&io);
        create(&mut rig);
        let mut batches = Vec::new();
        for number in 1..=12 {
            let messages = contents(number, &mut rng);
            let commit = send(&mut rig, number, &messages);
            rig.store("s.between", b"single");
            assert!(acknowledged(&rig, &commit).is_some());
            batches.push(messages);
            if rng.chance(300) {
                let hash = state_hash(&rig);
                rig.stop();
                rig = Rig::start(&io);
                assert_eq!(state_hash(&rig), hash);
            }
        }
        for (number, messages) in (1..).zip(&batches) {
            assert_eq!(&stored(&rig, number), messages);
        }
        assert_eq!(gaps(&rig), 0);
    }
}

/// The record that ends a batch decides over the others, so its damage could cost all of them.
#[test]
fn a_damaged_message_of_a_batch_costs_itself_only() {
    for (at, is_followed) in [(0, true), (BATCH / 2, true), (BATCH - 1, true), (BATCH - 1, false)] {
        let io = SimIo::new();
        let mut rig = Rig::start(&io);
        create(&mut rig);
        let messages = contents(1, &mut Rng::new(at));
        let commit = send(&mut rig, 1, &messages);
        rig.drive();
        assert_eq!(acknowledged(&rig, &commit), Some(BATCH));
        if is_followed {
            rig.store("s.after", b"after");
        }
        rig.stop();
        let needle = format!("batch 1.{at} ").into_bytes();
        let path = io.paths().into_iter().find(|path| position(&io, path, &needle).is_some()).expect("it is on disk");
        let mut content = io.content(&path).unwrap();
        content[position(&io, &path, &needle).unwrap()] ^= 1;
        io.set_content(&path, content);

        let rig = Rig::start(&io);
        let mut expected = messages;
        expected.remove(at as usize);
        assert_eq!(stored(&rig, 1), expected, "message {at} is damaged");
        assert_eq!(rig.payload(BATCH + 1).is_some(), is_followed);
    }
}

fn position(io: &SimIo, path: &std::path::Path, needle: &[u8]) -> Option<usize> {
    io.content(path)?.windows(needle.len()).position(|window| window == needle)
}
