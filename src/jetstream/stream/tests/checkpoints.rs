//! Checkpoints: what they hold, and that no bytes make reading one panic.

use proptest::prelude::*;

use super::super::{Control, MalformedCheckpoint, StreamMachine};
use super::harness::{Harness, config};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::time::SECOND;

fn used() -> Harness {
    let config = StreamConfig { max_age: 60 * SECOND, subject_delete_marker_ttl: 5 * SECOND, ..config() };
    let mut harness = Harness::new(config);
    for i in 0..20 {
        harness.publish(&format!("s.{}", i % 3), &[("Nats-Msg-Id", &i.to_string())], "x").unwrap();
    }
    harness.publish("s.ttl", &[("Nats-TTL", "20")], "x").unwrap();
    harness.publish("s.waits", &[("Nats-TTL", "6")], "x").unwrap();
    harness.delete(7);
    harness.now += 6 * SECOND + 10_000_000;
    harness.control(Control::Expire { at_most: 0 });
    assert_eq!(harness.effects.markers, [22]);
    harness
}

fn checkpoint(machine: &StreamMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.encode_checkpoint(&mut bytes);
    bytes
}

#[test]
fn a_restored_machine_goes_on_as_if_nothing_had_happened() {
    let mut harness = used();
    let restored = StreamMachine::restore(&checkpoint(&harness.machine)).unwrap();
    assert_eq!(restored.state_hash(), harness.machine.state_hash());
    assert_eq!(restored.next_expiry(&harness.store), harness.machine.next_expiry(&harness.store));
    assert!(restored.wants_markers());
    harness.machine = restored;
    assert_eq!(harness.refusal("s.0", &[("Nats-Expected-Last-Subject-Sequence", "0")]).1, "wrong last sequence: 19");
    let duplicate = harness.accept("s.0", &[("Nats-Msg-Id", "5")], "x").unwrap_err();
    assert_eq!(duplicate, super::super::Refusal::Duplicate { sequence: 6, in_flight: false });
    assert_eq!(harness.put("s.0"), 23);
    harness.pass(14 * SECOND);
    assert!(!harness.machine.is_stored(21));
}

#[test]
fn other_content_gives_another_hash() {
    let mut hashes = std::collections::BTreeSet::new();
    let mut harness = Harness::new(config());
    hashes.insert(harness.machine.state_hash());
    for subject in ["s.a", "s.b", "s.a"] {
        harness.put(subject);
        hashes.insert(harness.machine.state_hash());
    }
    for sequence in [2, 1] {
        harness.delete(sequence);
        hashes.insert(harness.machine.state_hash());
    }
    let update = Control::Update { config: Box::new(StreamConfig { description: "d".to_owned(), ..config() }) };
    harness.control(update);
    hashes.insert(harness.machine.state_hash());
    assert_eq!(hashes.len(), 7);
}

#[test]
fn what_contradicts_itself_is_refused() {
    assert_eq!(StreamMachine::restore(b"").err(), Some(MalformedCheckpoint::Version(0)));
    assert_eq!(StreamMachine::restore(&[0x08, 1]).err(), Some(MalformedCheckpoint::Damaged("the configuration")));
    assert_eq!(StreamMachine::restore(&[0x08, 9]).err(), Some(MalformedCheckpoint::Version(9)));
}

proptest! {
    #[test]
    fn damage_is_told_or_harmless(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let harness = used();
        let mut bytes = checkpoint(&harness.machine);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(machine) = StreamMachine::restore(&bytes) {
            let _ = machine.state_hash();
            let _ = machine.state(&harness.store, true, 0);
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = StreamMachine::restore(&bytes);
    }
}
