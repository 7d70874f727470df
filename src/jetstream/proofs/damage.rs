//! Bits that flip while the node is stopped. One damaged record costs one record: the rest serves, and the damage is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::SimIo;

use super::super::meta::META_GROUP;
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
        if !rig.has_stream() {
            // The one record that says that the stream exists: it is kept, and not served.
            let damages = rig.node.stats().damages;
            assert!(damages.iter().any(|damage| damage.group == Some(META_GROUP)), "{damages:?}");
            continue;
        }
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
    rig.stop();
    let path = segments(&io).remove(0);
    let content = io.content(&path).unwrap();
    let name: &[u8] = br#""name":"S""#;
    let at = content.windows(name.len()).position(|window| window == name).expect("the definition is in the journal");
    flip(&io, &path, at, 0);
    let mut rig = Rig::start(&io);
    assert!(!rig.has_stream());
    rig.create_stream("");
    assert!(rig.stream().group() > old);
    assert_eq!(rig.store("s.1", b"new"), 1);
    rig.stop();
    let rig = Rig::start(&io);
    assert_eq!(rig.payload(1).as_deref(), Some(&b"new"[..]));
}
