//! The same entries give the same state: replayed as a whole, and from every checkpoint on.

use bytes::Bytes;
use headwater_raft::sim::{Rng, seeds};

use super::super::api::time::{MILLISECOND, SECOND};
use super::leader::{self, Leader};
use super::stream_replica::{Entry, StreamReplica};

const ENTRIES: usize = 300;
/// A checkpoint is tried at each entry whose place is a multiple.
const CHECKPOINT_EVERY: usize = 11;

/// A log that a leader wrote under random requests, and the state after each entry.
pub fn record(seed: u64) -> (Vec<Bytes>, Vec<u64>) {
    let mut rng = Rng::new(seed);
    let mut replica = StreamReplica::new(leader::config(seed));
    let mut now = 1000 * SECOND;
    let mut leader = Leader::new(&replica, now, 1);
    let (mut log, mut hashes) = (Vec::new(), Vec::new());
    while hashes.len() < ENTRIES {
        now += rng.below(60) as i64 * MILLISECOND;
        if let Some(entry) = leader.next_entry(&mut replica, now, &mut rng) {
            log.push(entry.to_bytes());
        }
        // Some entries are decided while others are still on their way.
        while hashes.len() < log.len() && rng.chance(600) {
            let entry = Entry::decode(&mut log[hashes.len()].clone());
            replica.apply(&entry);
            leader.follow(&replica, &entry, now);
            hashes.push(replica.state_hash());
        }
    }
    log.truncate(hashes.len());
    (log, hashes)
}

pub fn apply(replica: &mut StreamReplica, entry: &Bytes) {
    replica.apply(&Entry::decode(&mut entry.clone()));
}

#[test]
fn a_replayed_log_gives_the_same_state_from_the_start_and_from_every_checkpoint() {
    for seed in seeds(16) {
        println!("SEED={seed}");
        let (log, hashes) = record(seed);
        let mut replayed = StreamReplica::new(leader::config(seed));
        for (at, entry) in log.iter().enumerate() {
            apply(&mut replayed, entry);
            assert_eq!(replayed.state_hash(), hashes[at], "entry {at}");
            if at % CHECKPOINT_EVERY == 0 {
                let mut restored = StreamReplica::restore(replayed.checkpoint());
                assert_eq!(restored.state_hash(), hashes[at], "a checkpoint at entry {at} holds everything");
                log[at + 1..].iter().for_each(|entry| apply(&mut restored, entry));
                assert_eq!(restored.state_hash(), hashes[hashes.len() - 1], "from the checkpoint at entry {at}");
            }
        }
        let body = |replica: &StreamReplica| replica.checkpoint();
        let restored = StreamReplica::restore(body(&replayed));
        assert!(body(&restored) == body(&replayed), "a restored stream writes the checkpoint that it came from");
    }
}

/// A node may find entries in its journal that its checkpoint holds already.
#[test]
fn messages_that_the_checkpoint_holds_change_nothing_when_they_are_applied_again() {
    for seed in seeds(8) {
        println!("SEED={seed}");
        let (log, hashes) = record(seed);
        let mut replica = StreamReplica::new(leader::config(seed));
        for (at, entry) in log.iter().enumerate() {
            apply(&mut replica, entry);
            if Entry::decode(&mut entry.clone()).tag == super::super::stream::MESSAGE {
                apply(&mut replica, entry);
            }
            assert_eq!(replica.state_hash(), hashes[at], "entry {at}");
        }
    }
}
