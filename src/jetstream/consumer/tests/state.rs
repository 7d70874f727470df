//! The durable state by itself: deltas, checkpoints, hashes, and what is needed of the stream.

use super::*;
use proptest::prelude::*;
use std::hash::Hasher;

/// A short history that makes sense: deliveries in order, everything else about what was delivered.
fn history() -> impl Strategy<Value = Vec<Delta>> {
    let step = (0..10u8, 1u64..40, 1u32..5);
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let mut state = ConsumerState::new(AckPolicy::Explicit, 1);
        let mut deltas = Vec::new();
        for (index, (kind, number, count)) in steps.into_iter().enumerate() {
            let time = START + index as i64;
            let consumer = state.delivered.consumer + 1;
            let delivered = state.pending.iter().map(|(sequence, _)| sequence).nth(number as usize % 8);
            // Only what was looked at is ever mentioned.
            let stream = delivered.unwrap_or(number % state.next);
            let delta = match kind {
                0..3 => Delta::Delivered { stream: state.next + number % 3, consumer, count, time },
                3 if delivered.is_some() => Delta::Redelivered { stream, consumer, deliveries: count + 1, time },
                4 => Delta::Acked { stream, count: count.min((state.next - stream) as u32), time },
                5 => Delta::Rescheduled { stream, time: time + 77 },
                6 => Delta::Exhausted { stream, deliveries: count },
                7 => Delta::Removed { stream, count: u64::from(count).min(state.next - stream), time },
                8 => Delta::Advanced { stream: state.next + number % 5 },
                _ if number == 1 => Delta::Reset { stream: u64::from(count) },
                _ if number < 4 => Delta::Purged { stream: state.next + 1, time: time * i64::from(number == 2) },
                _ => Delta::Paused { until: time },
            };
            state.apply(&delta, |_| {});
            deltas.push(delta);
        }
        deltas
    })
}

fn after(deltas: &[Delta]) -> ConsumerState {
    let mut state = ConsumerState::new(AckPolicy::Explicit, 1);
    deltas.iter().for_each(|delta| state.apply(delta, |_| {}));
    state
}

fn hash(state: &ConsumerState) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    state.hash_into(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_delta_applied_twice_is_applied_once(deltas in history()) {
        let mut state = ConsumerState::new(AckPolicy::Explicit, 1);
        for delta in &deltas {
            state.apply(delta, |_| {});
            let once = state.clone();
            state.apply(delta, |_| {});
            prop_assert_eq!(&state, &once, "{:?}", delta);
        }
    }

    #[test]
    fn replaying_the_end_of_the_log_changes_nothing(deltas in history(), from in 0usize..60) {
        let mut state = after(&deltas);
        let whole = state.clone();
        deltas.iter().skip(from).for_each(|delta| state.apply(delta, |_| {}));
        prop_assert_eq!(state, whole);
    }

    #[test]
    fn a_checkpoint_brings_back_the_same_state(deltas in history()) {
        let state = after(&deltas);
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let back = ConsumerState::decode(&bytes).expect("what was written");
        prop_assert_eq!(hash(&back), hash(&state));
        prop_assert_eq!(back, state);
        prop_assert_eq!(ConsumerState::decode(&bytes[..bytes.len() - 1]), Err(MalformedState));
    }

    #[test]
    fn floors_and_deliveries_never_go_back_but_by_a_reset(deltas in history()) {
        let mut state = ConsumerState::new(AckPolicy::Explicit, 1);
        for delta in &deltas {
            let before = state.clone();
            state.apply(delta, |_| {});
            if matches!(delta, Delta::Reset { .. }) {
                continue;
            }
            prop_assert!(state.delivered.consumer >= before.delivered.consumer);
            prop_assert!(state.delivered.stream >= before.delivered.stream);
            prop_assert!(state.ack_floor.consumer >= before.ack_floor.consumer);
            prop_assert!(state.ack_floor.stream >= before.ack_floor.stream, "{:?} {:?} {:?}", delta, before, state);
            prop_assert!(state.ack_floor.consumer <= state.delivered.consumer);
            let (told_before, told) = (before.told_floor(), state.told_floor());
            prop_assert!(told.consumer >= told_before.consumer && told.stream >= told_before.stream, "{:?}", delta);
            prop_assert!(told.consumer <= state.ack_floor.consumer && told.stream <= state.ack_floor.stream);
            prop_assert_ne!(state.held_floor, Some(state.ack_floor));
            prop_assert!(state.next >= before.next);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300), deltas in history()) {
        let mut bytes = bytes;
        if let [version, policy, ..] = &mut bytes[..] {
            (*version, *policy) = (1 + *version % 2, *policy % 4);
        }
        if let Ok(mut state) = ConsumerState::decode(&bytes) {
            deltas.iter().for_each(|delta| state.apply(delta, |_| {}));
        }
    }
}

#[test]
fn the_list_of_last_messages_is_part_of_a_checkpoint() {
    let config = ConsumerConfig {
        deliver_policy: crate::jetstream::api::consumer_config::DeliverPolicy::LastPerSubject,
        ..explicit()
    };
    let rig = Rig::new(config, &["a", "b", "a"]);
    let mut bytes = Vec::new();
    rig.replica.encode(&mut bytes);
    assert_eq!(ConsumerState::decode(&bytes), Ok(rig.replica));
}

#[test]
fn what_is_needed_follows_the_ack_policy() {
    for (policy, needed) in [
        (AckPolicy::None, [false, false, false, true]),
        (AckPolicy::All, [false, true, true, true]),
        (AckPolicy::Explicit, [false, false, true, true]),
    ] {
        let mut state = ConsumerState::new(policy, 1);
        state.apply(&Delta::Delivered { stream: 1, consumer: 1, count: 3, time: 1 }, |_| {});
        match policy {
            AckPolicy::All => state.apply(&Delta::AckedThrough { stream: 1, consumer: 1, time: 1 }, |_| {}),
            _ => state.apply(&Delta::Acked { stream: 1, count: 2, time: 1 }, |_| {}),
        }
        assert_eq!([1, 2, 3, 4].map(|sequence| state.needs(sequence)), needed, "{policy:?}");
    }
}

/// A run of no messages was taken for one that ends before it begins, and ended the process once a message was given up.
#[test]
fn a_run_of_nothing_is_malformed() {
    let mut state = after(&[
        Delta::Delivered { stream: 5, consumer: 1, count: 2, time: 1 },
        Delta::Exhausted { stream: 5, deliveries: 2 },
    ]);
    for empty in [Delta::Acked { stream: 5, count: 0, time: 2 }, Delta::Removed { stream: 5, count: 0, time: 2 }] {
        let mut bytes = Vec::new();
        delta::encode(&[empty], &mut bytes);
        let (before, mut released) = (state.clone(), Vec::new());
        assert_eq!(state.apply_batch(&bytes, &mut released), Err(MalformedDelta));
        assert_eq!((&state, released.len()), (&before, 0));
    }
}

#[test]
fn a_run_that_is_partly_known_adds_the_rest() {
    let mut state = after(&[Delta::Delivered { stream: 10, consumer: 1, count: 3, time: 1 }]);
    state.apply(&Delta::Delivered { stream: 10, consumer: 1, count: 5, time: 2 }, |_| {});
    assert_eq!(state.delivered, SequencePair { consumer: 5, stream: 14 });
    let times: Vec<i64> = state.pending.iter().map(|(_, pending)| pending.time).collect();
    assert_eq!(times, [1, 1, 1, 2, 2]);
}

/// What is on disks must stay readable: a change here needs a new version.
#[test]
fn the_encodings_are_as_documented() {
    let deltas = [
        Delta::Delivered { stream: 7, consumer: 3, count: 2, time: 1000 },
        Delta::Delivered { stream: 10, consumer: 5, count: 1, time: 1000 },
        Delta::Acked { stream: 7, count: 1, time: 1001 },
        Delta::Redelivered { stream: 8, consumer: 6, deliveries: 2, time: 1001 },
        Delta::Paused { until: 0 },
    ];
    let mut bytes = Vec::new();
    delta::encode(&deltas, &mut bytes);
    assert_eq!(
        bytes,
        [0x01, 14, 6, 0xd0, 0x0f, 2, 0xe1, 2, 0x83, 7, 2, 0xf2, 0x0b, 17, 0xd1, 0x0f],
        "tag with expectations, then what differs from the delta before"
    );
    let state = after(&deltas);
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    let floor_and_delivered = [7, 3, 6, 6];
    let times_and_next = [0xd2, 0x0f, 0, 0, 11];
    let pending = [2, 8, 8, 0, 2, 2, 2, 1, 1];
    let expected = [&[1, 2][..], &floor_and_delivered, &times_and_next, &pending, &[0, 0]].concat();
    assert_eq!(bytes, expected);
}

/// Written when removals had no time, and still read: nothing is known of when.
#[test]
fn removals_without_a_time_are_still_read() {
    let deltas = [Delta::Removed { stream: 7, count: 2, time: 0 }, Delta::Purged { stream: 9, time: 0 }];
    let mut bytes = Vec::new();
    delta::encode(&deltas, &mut bytes);
    assert_eq!(bytes, [0x07, 14, 2, 0x18]);
    let back: Result<Vec<Delta>, _> = delta::decode(&bytes).collect();
    assert_eq!(back, Ok(deltas.to_vec()));
}

#[test]
fn a_held_floor_survives_in_a_checkpoint_of_its_own_version() {
    let delivered = Delta::Delivered { stream: 1, consumer: 1, count: 3, time: 1 };
    let given_up = Delta::Exhausted { stream: 1, deliveries: 1 };
    let state = after(&[delivered, given_up]);
    assert_eq!((state.ack_floor, state.told_floor()), (pair(1, 1), pair(0, 0)));
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    assert_eq!((bytes[0], &bytes[bytes.len() - 2..]), (2, &[1, 1][..]));
    assert_eq!(ConsumerState::decode(&bytes), Ok(state));
}

/// What nats-server tells: the floor stays below a message that was given up until an ack leaves nothing pending. An ack
/// of that message itself, or its removal, is not such an ack.
#[test]
fn a_message_given_up_holds_the_told_floor_back() {
    let mut state = after(&[
        Delta::Delivered { stream: 1, consumer: 1, count: 4, time: 1 },
        Delta::Acked { stream: 1, count: 1, time: 2 },
        Delta::Exhausted { stream: 2, deliveries: 1 },
    ]);
    let told_after = |state: &mut ConsumerState, delta| {
        state.apply(&delta, |_| {});
        state.told_floor()
    };
    assert_eq!((state.ack_floor, state.told_floor()), (pair(2, 2), pair(1, 1)));
    assert_eq!(told_after(&mut state, Delta::Acked { stream: 3, count: 1, time: 3 }), pair(1, 1));
    assert_eq!(told_after(&mut state, Delta::Acked { stream: 2, count: 1, time: 4 }), pair(1, 1));
    assert_eq!(state.exhausted.len(), 0);
    let mut removed = state.clone();
    assert_eq!(told_after(&mut removed, Delta::Removed { stream: 4, count: 1, time: 5 }), pair(4, 4));
    let mut given_up = state.clone();
    assert_eq!(told_after(&mut given_up, Delta::Exhausted { stream: 4, deliveries: 1 }), pair(1, 1));
    assert_eq!(told_after(&mut given_up, Delta::Removed { stream: 4, count: 1, time: 5 }), pair(1, 1));
    assert_eq!(told_after(&mut state, Delta::Acked { stream: 4, count: 1, time: 5 }), pair(4, 4));
    for delta in [Delta::Purged { stream: 5, time: 0 }, Delta::Reset { stream: 1 }] {
        let mut cleared = given_up.clone();
        cleared.apply(&delta, |_| {});
        assert_eq!(cleared.held_floor, None, "{delta:?}");
    }
}

fn pair(consumer: u64, stream: u64) -> SequencePair {
    SequencePair { consumer, stream }
}
