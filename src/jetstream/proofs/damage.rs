//! Bits that flip while the node is stopped. One damaged record costs one record: the rest serves, and the damage is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::SimIo;

use super::node_rig::{DIRECTORY, Rig, payload};

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
        missing += check(&mut rig, &stored, 1, seed);
        rig.stop();
        // And again: what was found the first time is not worse the second.
        let mut rig = Rig::start(&io);
        check(&mut rig, &stored, 1, seed);
        rig.stop();
    }
    println!("{missing} messages lost in all");
}
