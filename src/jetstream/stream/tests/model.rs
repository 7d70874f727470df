//! Random configurations and operations: the machine against the naive stream, with publishes on the way, and then its
//! own log applied again to a fresh machine and to one restored in the middle.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{ConsumerChange, Control, Effects, Outcome, Refusal, StreamMachine};
use super::harness::{FakeConsumers, Harness, IDENTITY, apply, config};
use super::naive::{Naive, Publication, Verdict};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::{Discard, Retention, StorageType};
use crate::jetstream::api::time::{MILLISECOND, SECOND};

#[derive(Clone, Debug)]
enum Operation {
    Publish(Publication),
    ApplyOne,
    Delete(u64),
    Purge {
        filter: &'static str,
        up_to: u64,
        keep: u64,
    },
    /// So long, and how many messages expire at a time.
    Pass(i64, u64),
    Limits {
        max_msgs: i64,
        max_bytes: i64,
        max_msgs_per_subject: i64,
    },
    CreateConsumer(u64, &'static str),
    RemoveConsumer(u64),
    Ack(u64, u64),
}

const TEN_MS: i64 = 10 * MILLISECOND;
const SUBJECTS: &[&str] = &["s.a", "s.b", "s.c", "s.a.x", "s.d"];
const FILTERS: &[&str] = &["", ">", "s.*", "s.a", "s.a.>", "s.b", "nobody"];

fn publication() -> impl Strategy<Value = Publication> {
    let rarely = |odds: u32| prop::bool::weighted(1.0 / f64::from(odds));
    let expectations = (rarely(6), rarely(6), rarely(20), rarely(12), 0..30_u64);
    let rest = (rarely(4), 0..6_u8, rarely(12), rarely(5), -1..6_i64);
    (prop::sample::select(SUBJECTS), 0..40_usize, expectations, rest).prop_map(
        |(
            subject,
            payload_len,
            (last, last_of_subject, by_filter, last_id, sequence),
            (id, id_no, rollup, ttl, seconds),
        )| {
            Publication {
                subject: subject.to_owned(),
                payload_len,
                id: id.then(|| format!("id{id_no}")),
                expected_last: last.then_some(sequence),
                expected_last_of_subject: (last_of_subject || by_filter).then_some(sequence),
                expected_filter: by_filter.then(|| "s.*".to_owned()),
                expected_last_id: last_id.then(|| format!("id{id_no}")),
                rollup: rollup.then(|| if sequence % 3 == 0 { "all".to_owned() } else { "sub".to_owned() }),
                ttl: (ttl && seconds != 0).then_some(seconds),
            }
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let limit = || prop_oneof![2 => Just(-1_i64), 1 => 1..8_i64];
    let bytes = prop_oneof![2 => Just(-1_i64), 1 => 50..400_i64];
    prop_oneof![
        30 => publication().prop_map(Operation::Publish),
        12 => Just(Operation::ApplyOne),
        3 => (1..40_u64).prop_map(Operation::Delete),
        2 => (prop::sample::select(FILTERS), 0..3_u8, 1..40_u64).prop_map(|(filter, kind, number)| match kind {
            0 => Operation::Purge { filter, up_to: 0, keep: 0 },
            1 => Operation::Purge { filter, up_to: number, keep: 0 },
            _ => Operation::Purge { filter, up_to: 0, keep: number % 5 },
        }),
        4 => (0..4 * SECOND, 0..4_u64).prop_map(|(duration, at_most)| Operation::Pass(duration, at_most)),
        1 => (limit(), bytes, limit()).prop_map(|(max_msgs, max_bytes, max_msgs_per_subject)| {
            Operation::Limits { max_msgs, max_bytes, max_msgs_per_subject }
        }),
        2 => (1..4_u64, prop::sample::select(&["s.>", "s.a", "s.*"][..])).prop_map(|(id, filter)| Operation::CreateConsumer(id, filter)),
        1 => (1..4_u64).prop_map(Operation::RemoveConsumer),
        6 => (1..4_u64, 1..40_u64).prop_map(|(id, sequence)| Operation::Ack(id, sequence)),
    ]
}

fn configuration() -> impl Strategy<Value = StreamConfig> {
    let limit = || prop_oneof![2 => Just(-1_i64), 1 => 1..8_i64];
    let bytes = prop_oneof![3 => Just(-1_i64), 1 => 50..400_i64];
    let retention =
        prop_oneof![4 => Just(Retention::Limits), 2 => Just(Retention::Interest), 1 => Just(Retention::WorkQueue)];
    let age = prop_oneof![Just(0), Just(3 * SECOND)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (limit(), bytes, limit(), retention, age, flags, 0..12_u64).prop_map(
        |(max_msgs, max_bytes, max_msgs_per_subject, retention, max_age, (memory, new, per_subject), first_seq)| {
            StreamConfig {
                max_msgs,
                max_bytes,
                max_msgs_per_subject,
                retention,
                max_age,
                storage: if memory { StorageType::Memory } else { StorageType::File },
                discard: if new { Discard::New } else { Discard::Old },
                discard_new_per_subject: new && per_subject && max_msgs_per_subject > 0,
                duplicate_window: 2 * SECOND,
                first_seq,
                ..config()
            }
        },
    )
}

struct Pair {
    first_config: StreamConfig,
    harness: Harness,
    naive: Naive,
}

impl Pair {
    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Publish(wanted) => self.publish(wanted),
            Operation::ApplyOne => self.harness.apply_next(),
            Operation::Delete(sequence) => assert_eq!(self.harness.delete(*sequence), self.naive.delete(*sequence)),
            Operation::Purge { filter, up_to, keep } => {
                let purged = self.harness.purge(filter, *up_to, *keep);
                assert_eq!(purged, self.naive.purge(filter, *up_to, *keep), "purged");
            }
            Operation::Pass(duration, at_most) => {
                // The wheel may be late by a tick of a millisecond. So messages come at the beginning of every ten
                // milliseconds, and expiry in the middle, when nothing is about to be due.
                self.harness.now = (self.harness.now + duration) / TEN_MS * TEN_MS + TEN_MS / 2;
                let is_due = |harness: &Harness| {
                    harness.machine.next_expiry(&harness.store).is_some_and(|due| due <= harness.now)
                };
                self.harness.control(Control::Expire { at_most: *at_most });
                while *at_most > 0 && is_due(&self.harness) {
                    self.harness.control(Control::Expire { at_most: *at_most });
                }
                self.naive.expire(self.harness.now);
                self.harness.now += TEN_MS / 2;
            }
            Operation::Limits { max_msgs, max_bytes, max_msgs_per_subject } => {
                let config = StreamConfig {
                    max_msgs: *max_msgs,
                    max_bytes: *max_bytes,
                    max_msgs_per_subject: *max_msgs_per_subject,
                    discard_new_per_subject: self.naive.config.discard_new_per_subject && *max_msgs_per_subject > 0,
                    ..self.naive.config.clone()
                };
                self.naive.config = config.clone();
                self.naive.enforce();
                self.harness.control(Control::Update { config: Box::new(config) });
            }
            Operation::CreateConsumer(id, filter) => {
                if self.naive.consumers.iter().all(|(other, ..)| other != id) {
                    self.naive.consumers.push((*id, (*filter).to_owned(), Vec::new()));
                    self.harness.consumer(ConsumerChange::Create, *id, filter.as_bytes());
                }
            }
            Operation::RemoveConsumer(id) => {
                if self.naive.consumers.iter().any(|(other, ..)| other == id) {
                    self.naive.remove_consumer(*id);
                    self.harness.consumer(ConsumerChange::Delete, *id, b"");
                }
            }
            Operation::Ack(id, sequence) => {
                let known = self.naive.messages.iter().any(|message| message.sequence == *sequence);
                if known && self.naive.consumers.iter().any(|(other, ..)| other == id) {
                    self.naive.acked(*id, *sequence);
                    self.harness.consumer(ConsumerChange::Delta, *id, &sequence.to_le_bytes());
                }
            }
        }
    }

    fn publish(&mut self, wanted: &Publication) {
        // What is on the way may still push messages out, which the leader sees only where it must: in streams that
        // refuse at a limit. There, what removes otherwise must be applied first; roll-ups are seen.
        let config = &self.naive.config;
        let removes = config.retention == Retention::Interest || config.max_bytes > 0;
        let expects_subject = wanted.expected_last_of_subject.is_some();
        if (config.discard == Discard::New && removes) || expects_subject {
            self.harness.apply_all();
        }
        let mut header = Vec::new();
        let numbers = [
            ("Nats-Expected-Last-Sequence", wanted.expected_last),
            ("Nats-Expected-Last-Subject-Sequence", wanted.expected_last_of_subject),
        ];
        let numbers = numbers.iter().filter_map(|(key, value)| Some((*key, (*value)?.to_string())));
        header.extend(numbers);
        let texts = [
            ("Nats-Msg-Id", &wanted.id),
            ("Nats-Expected-Last-Subject-Sequence-Subject", &wanted.expected_filter),
            ("Nats-Expected-Last-Msg-Id", &wanted.expected_last_id),
            ("Nats-Rollup", &wanted.rollup),
        ];
        header.extend(texts.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?.clone()))));
        header.extend(wanted.ttl.map(|ttl| ("Nats-TTL", if ttl < 0 { "never".to_owned() } else { ttl.to_string() })));
        let header: Vec<(&str, &str)> = header.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut block = Vec::new();
        header.iter().for_each(|(key, value)| crate::protocol::headers::append(&mut block, key, value.as_bytes()));
        let time = self.harness.machine.message_time(self.harness.now);
        let verdict = match self.harness.accept(&wanted.subject, &header, &"x".repeat(wanted.payload_len)) {
            Ok(accept) => Verdict::Accepted(accept.sequence),
            Err(Refusal::Duplicate { sequence, .. }) => Verdict::Duplicate(sequence),
            Err(Refusal::Error(error)) => Verdict::Refused(error.err_code),
            Err(Refusal::Busy) => panic!("busy"),
        };
        assert_eq!(verdict, self.naive.publish(wanted, block.len(), time), "{wanted:?}");
    }

    fn check(&mut self) {
        self.harness.apply_all();
        let (machine, naive) = (&self.harness.machine, &self.naive);
        let expected: Vec<u64> = naive.messages.iter().map(|message| message.sequence).collect();
        assert_eq!(self.harness.sequences(), expected);
        assert_eq!(machine.first_sequence(), naive.first());
        assert_eq!(machine.last_sequence(), naive.next - 1);
        assert_eq!((machine.messages(), machine.bytes()), (expected.len() as u64, naive.bytes()));
        let mut subjects = std::collections::BTreeMap::new();
        naive.messages.iter().for_each(|message| *subjects.entry(message.subject.clone()).or_insert(0) += 1);
        assert_eq!(machine.subjects_page(b">", 0).subjects, subjects);
    }

    /// The same log gives the same state, from the beginning and from a checkpoint.
    fn replay(&self, cut: usize) {
        let Harness { machine, store, consumers, log, .. } = &self.harness;
        let mut fresh = StreamMachine::new(Arc::new(self.first_config.clone()), IDENTITY);
        let mut again = FakeConsumers::default();
        let mut effects = Effects::default();
        let cut = cut % (log.len() + 1);
        log[..cut].iter().for_each(|record| apply(&mut fresh, record, store, &mut again, &mut effects));
        let (mut bytes, mut of_checkpoint) = (Vec::new(), again.clone());
        fresh.encode_checkpoint(&mut bytes);
        let mut restored = StreamMachine::restore(&bytes).unwrap();
        assert_eq!(restored.state_hash(), fresh.state_hash());
        for record in &log[cut..] {
            apply(&mut fresh, record, store, &mut again, &mut effects);
            apply(&mut restored, record, store, &mut of_checkpoint, &mut effects);
        }
        assert_eq!(fresh.state_hash(), machine.state_hash());
        assert_eq!(restored.state_hash(), machine.state_hash());
        assert_eq!((&again, &of_checkpoint), (consumers, consumers));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        fresh.encode_checkpoint(&mut left);
        restored.encode_checkpoint(&mut right);
        let (left, right) = (StreamMachine::restore(&left).unwrap(), StreamMachine::restore(&right).unwrap());
        assert_eq!(left.next_expiry(store), right.next_expiry(store));
        // Applying what the checkpoint held already changes nothing.
        if let Some(super::harness::Record::Message(_)) = log.last() {
            let hash = restored.state_hash();
            apply(&mut restored, &log[log.len() - 1], store, &mut of_checkpoint, &mut effects);
            assert_eq!((restored.state_hash(), effects.outcome), (hash, Outcome::Done));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_agrees_with_the_naive_stream(
        config in configuration(),
        operations in prop::collection::vec(operation(), 1..80),
        cut in any::<usize>(),
    ) {
        let (harness, naive) = (Harness::new(config.clone()), Naive::new(config.clone()));
        let mut pair = Pair { first_config: config, harness, naive };
        for operation in &operations {
            pair.run(operation);
            if pair.harness.unapplied.is_empty() {
                pair.check();
            }
        }
        pair.check();
        pair.replay(cut);
    }
}
