//! The power goes at random instants. Whatever was acknowledged is there afterwards.

use std::collections::{BTreeMap, BTreeSet};

use headwater_raft::sim::{Rng, seeds};
use headwater_storage::SimIo;
use headwater_storage::io::CrashPoint;

use super::node_rig::{Published, Rig, payload, sequence_of};

/// Lives of one disk.
const LIVES: u64 = 4;
const STEPS_MAX: u64 = 120;

/// What the client knows.
#[derive(Default)]
struct Promises {
    published: u64,
    stored: BTreeMap<u64, Vec<u8>>,
    acked: BTreeSet<u64>,
    /// Message ids and the sequence each was acknowledged with.
    ids: BTreeMap<String, u64>,
    highest: u64,
}

/// Requests that have no answer yet.
#[derive(Default)]
struct Open {
    publishes: Vec<(String, Option<String>, Vec<u8>)>,
    acks: Vec<(String, u64)>,
}

impl Promises {
    /// Works until the power goes.
    fn work(&mut self, rig: &mut Rig, rng: &mut Rng) {
        let mut open = Open::default();
        let mut delivered = Vec::new();
        for _ in 0..STEPS_MAX {
            match rng.below(10) {
                0..=4 => {
                    for _ in 0..1 + rng.below(5) {
                        self.publish(rig, rng, &mut open);
                    }
                }
                5..=6 => delivered.extend(rig.pull(1 + rng.below(8))),
                7 => {
                    for reply in delivered.drain(..) {
                        let request = rig.send(&reply, b"", b"+ACK");
                        open.acks.push((request, sequence_of(&reply)));
                    }
                }
                _ => {
                    rig.drive();
                    self.collect(rig, &mut open);
                }
            }
            if rig.io.is_crashed() {
                break;
            }
        }
        rig.drive();
        self.collect(rig, &mut open);
    }

    fn publish(&mut self, rig: &mut Rig, rng: &mut Rng, open: &mut Open) {
        self.published += 1;
        let content = payload(self.published, rng);
        let subject = format!("s.{}", rng.below(20));
        if rng.chance(300) {
            // Some are sent again, as by a client that never saw its acknowledgement.
            let id = format!("id{}", rng.below(self.published));
            let request = rig.publish_with_id(&subject, &id, &content);
            open.publishes.push((request, Some(id), content));
        } else {
            open.publishes.push((rig.publish(&subject, &content), None, content));
        }
    }

    fn collect(&mut self, rig: &Rig, open: &mut Open) {
        open.publishes.retain(|(request, id, content)| {
            match rig.outcome(request) {
                None => return true,
                Some(Published::Refused { .. }) => {}
                Some(Published::Acked { sequence, duplicate: false }) => {
                    let before = self.stored.insert(sequence, content.clone());
                    assert_eq!(before, None, "sequence {sequence} was acknowledged twice");
                    self.highest = self.highest.max(sequence);
                    if let Some(id) = id {
                        assert_eq!(self.ids.insert(id.clone(), sequence), None, "{id} was stored twice");
                    }
                }
                Some(Published::Acked { sequence, duplicate: true }) => {
                    let id = id.as_ref().expect("only a message with an id can be a duplicate");
                    // The first may have been stored without its acknowledgement.
                    assert_eq!(*self.ids.entry(id.clone()).or_insert(sequence), sequence, "{id}");
                }
            }
            false
        });
        open.acks.retain(|(request, sequence)| {
            let answered = !rig.take(request).is_empty();
            if answered {
                self.acked.insert(*sequence);
            }
            !answered
        });
    }

    fn check(&self, rig: &Rig) {
        for (sequence, content) in &self.stored {
            let found = rig.payload(*sequence);
            assert!(found.as_ref() == Some(content), "message {sequence} was acknowledged and is {found:?}");
        }
        for sequence in &self.acked {
            assert!(rig.is_acked(*sequence), "the acknowledgement of {sequence} was answered and is forgotten");
        }
        assert!(rig.stream().info().state.last_seq >= self.highest, "sequences never go back");
    }
}

/// A node on an empty disk, with a stream and a consumer.
fn set_up(seed: u64) -> (Rng, SimIo, Rig) {
    println!("SEED={seed}");
    let io = SimIo::new();
    let mut rig = Rig::start(&io);
    rig.create_stream("");
    rig.create_consumer();
    (Rng::new(seed), io, rig)
}

#[test]
fn what_was_acknowledged_survives_power_cuts_at_random_instants() {
    let (mut stored, mut acked) = (0, 0);
    for seed in seeds(24) {
        let (mut rng, io, mut rig) = set_up(seed);
        let mut promises = Promises::default();
        for life in 0..LIVES {
            // Sometimes a clean stop.
            if rng.chance(850) {
                io.crash_at(CrashPoint(io.mutations() + rng.below(60)));
            }
            promises.work(&mut rig, &mut rng);
            rig.stop();
            io.crash(seed * 1000 + life);
            rig = Rig::start(&io);
            promises.check(&rig);
        }
        stored += promises.stored.len();
        acked += promises.acked.len();
    }
    println!("{stored} messages and {acked} acknowledgements checked");
    if std::env::var("SEED").is_err() {
        assert!(stored > 1000 && acked > 100, "{stored} {acked}");
    }
}

/// The power may go while the node is starting, again and again.
#[test]
fn power_cuts_during_the_start_lose_nothing_either() {
    for seed in seeds(12) {
        let (mut rng, io, mut rig) = set_up(seed);
        let mut promises = Promises::default();
        promises.work(&mut rig, &mut rng);
        rig.stop();
        for cut in 0..6 {
            io.crash(seed * 1000 + cut);
            io.crash_at(CrashPoint(io.mutations() + rng.below(12)));
            // It may or may not come up.
            if let Ok(rig) = Rig::try_start(&io) {
                rig.stop();
            }
        }
        io.crash(seed);
        promises.check(&Rig::start(&io));
    }
}
