//! What a leader adds to its replica: decisions on random publishes and requests, and the live halves of the consumers.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use headwater_raft::sim::Rng;
use prost::Message as _;

use super::super::api::consumer_config::AckPolicy;
use super::super::api::stream_config::{Discard, Retention};
use super::super::api::time::{MILLISECOND, SECOND};
use super::super::api::{ConsumerConfig, StreamConfig, json};
use super::super::consumer::reply_subject::ReplyNumbers;
use super::super::consumer::{Consumer, ConsumerState, Context, Environment, Event, Interest, Outputs, PassBound};
use super::super::consumer_table::CreateBody;
use super::super::live;
use super::super::stream::tests::harness;
use super::super::stream::{ConsumerChange, Control, MESSAGE, Publish, Room};
use super::stream_replica::{Entry, StreamReplica};
use crate::protocol::headers;

/// Consumers of one stream at most.
const CONSUMERS_MAX: usize = 4;
/// Ids of messages come from so few that duplicates are common.
const IDS: u64 = 24;

/// A leader's half of everything. It is made anew with each term.
#[derive(Default)]
pub struct Leader {
    live: BTreeMap<u64, Consumer>,
    /// Deltas that belong into the log before anything else of their consumer.
    queue: VecDeque<Control>,
    /// Delivered and perhaps not acknowledged: consumer, and the numbers of the reply subject.
    delivered: Vec<(u64, ReplyNumbers)>,
    next_consumer: u64,
    payloads: u64,
}

/// Everybody listens.
struct Listeners;

impl Environment for Listeners {
    fn interest(&self, _: &[u8]) -> Interest {
        Interest::Present
    }

    fn unique_id(&self) -> [u8; 22] {
        [b'0'; 22]
    }
}

/// Limits that are reached all the time, another mixture for each seed.
pub fn config(seed: u64) -> StreamConfig {
    let mut rng = Rng::new(seed ^ 0xc0f1);
    StreamConfig {
        retention: *rng
            .pick(&[Retention::Limits, Retention::Limits, Retention::Interest, Retention::WorkQueue])
            .unwrap(),
        max_msgs: 10 + rng.below(20) as i64,
        max_msgs_per_subject: if rng.chance(500) { 1 + rng.below(6) as i64 } else { -1 },
        max_age: if rng.chance(500) { 5 * SECOND } else { 0 },
        discard: if rng.chance(300) { Discard::New } else { Discard::Old },
        duplicate_window: 2 * SECOND,
        ..harness::config()
    }
}

impl Leader {
    /// Takes up the consumers as they are now. `origin` makes its payloads its own.
    pub fn new(replica: &StreamReplica, now: i64, origin: u64) -> Self {
        let mut leader = Self { payloads: origin << 32, ..Self::default() };
        for id in replica.consumers.ids().collect::<Vec<_>>() {
            leader.take_up(replica, id, now);
        }
        leader
    }

    fn take_up(&mut self, replica: &StreamReplica, id: u64, now: i64) {
        let Some(record) = replica.consumers.get(id) else { return };
        let removes_acked = replica.machine.config().retention != Retention::Limits;
        let settings = live::settings(&record.config, &record.name, "S", removes_acked, 0, id);
        let view = replica.view();
        let context = Context { now, stream: &view, environment: &Listeners };
        self.live.insert(id, Consumer::new(settings, record.state.clone(), &context));
    }

    /// An entry of this leader's term was applied.
    pub fn follow(&mut self, replica: &StreamReplica, entry: &Entry, now: i64) {
        if entry.tag != MESSAGE
            && let Ok(Control::Consumer { change, id, .. }) = Control::decode(entry.tag, &entry.payload)
        {
            match change {
                ConsumerChange::Create => self.take_up(replica, id, now),
                ConsumerChange::Delete => drop(self.live.remove(&id)),
                ConsumerChange::Update | ConsumerChange::Delta => {}
            }
        }
        let effects = &replica.effects;
        if effects.removed.is_empty() && effects.removed_before.is_none() {
            return;
        }
        for (id, consumer) in &mut self.live {
            let mut out = Outputs::default();
            for removed in &effects.removed {
                consumer.message_removed(removed.sequence, effects.subject(removed), now, &mut out);
            }
            if let Some(before) = effects.removed_before {
                consumer.messages_removed_before(before, now, &mut out);
            }
            self.queue.extend(deltas(*id, &out));
        }
    }

    /// What the clients want next, as the entry that it becomes, if it becomes one.
    pub fn next_entry(&mut self, replica: &mut StreamReplica, now: i64, rng: &mut Rng) -> Option<Entry> {
        let control = match self.queue.pop_front() {
            Some(control) => control,
            None => match rng.below(100) {
                0..=44 => return self.publish(replica, now, rng),
                45..=46 => purge(replica, rng),
                47..=49 => {
                    Control::Delete { sequence: 1 + rng.below(replica.machine.last_sequence() + 1), erase: true }
                }
                50..=51 => Control::Expire { at_most: rng.below(4) },
                52 => update(replica, rng),
                53..=57 => self.create(replica, rng)?,
                58 => self.delete(rng)?,
                59..=76 => self.pull(replica, now, rng)?,
                _ => self.ack(replica, now, rng)?,
            },
        };
        let time = replica.machine.decide_control(now);
        replica.machine.control_appended(&control);
        Some(Entry::control(&control, time))
    }

    fn publish(&mut self, replica: &mut StreamReplica, now: i64, rng: &mut Rng) -> Option<Entry> {
        let subject = format!("s.{}", rng.below(5));
        let mut block = Vec::new();
        if rng.chance(400) {
            headers::append(&mut block, "Nats-Msg-Id", format!("id{}", rng.below(IDS)).as_bytes());
        }
        if rng.chance(40) {
            let kind: &[u8] = if rng.chance(500) { b"sub" } else { b"all" };
            headers::append(&mut block, "Nats-Rollup", kind);
        }
        if rng.chance(100) {
            headers::append(&mut block, "Nats-TTL", b"3");
        }
        if rng.chance(50) {
            let last = replica.machine.last_of_subject(subject.as_bytes(), &replica.store).unwrap_or(0);
            headers::append(&mut block, "Nats-Expected-Last-Subject-Sequence", last.to_string().as_bytes());
        }
        self.payloads += 1;
        let payload = Bytes::from(self.payloads.to_string().repeat(1 + rng.below(3) as usize));
        let publish = Publish { subject: subject.as_bytes(), reply: Some(b"r"), headers: &block, payload: &payload };
        let accept = replica.machine.decide(&publish, now, &Room::UNLIMITED, &replica.store).ok()?;
        let headers = accept.headers.unwrap_or(block).into();
        Some(Entry {
            tag: MESSAGE,
            time: accept.time,
            sequence: accept.sequence,
            subject: subject.into(),
            headers,
            payload,
        })
    }

    fn create(&mut self, replica: &StreamReplica, rng: &mut Rng) -> Option<Control> {
        if replica.consumers.len() >= CONSUMERS_MAX {
            return None;
        }
        let id = replica.consumers.next_id().max(self.next_consumer);
        self.next_consumer = id + 1;
        let name = format!("c{id}");
        let filter_subject = if rng.chance(300) { "s.1".to_owned() } else { String::new() };
        let config = ConsumerConfig {
            durable_name: name.clone(),
            name: name.clone(),
            ack_policy: *rng.pick(&[AckPolicy::Explicit, AckPolicy::Explicit, AckPolicy::All]).unwrap(),
            ack_wait: 200 * MILLISECOND,
            max_deliver: if rng.chance(300) { 3 } else { -1 },
            max_ack_pending: 8,
            max_waiting: 512,
            filter_subject,
            ..ConsumerConfig::default()
        };
        let mut state = Vec::new();
        ConsumerState::start(&config, &replica.view()).encode(&mut state);
        let body = CreateBody { name, config: json::write(&config).into(), state: state.into(), created: 0, id: 0 };
        Some(Control::Consumer { change: ConsumerChange::Create, id, body: body.encode_to_vec() })
    }

    fn delete(&mut self, rng: &mut Rng) -> Option<Control> {
        let id = self.some_consumer(rng)?;
        Some(Control::Consumer { change: ConsumerChange::Delete, id, body: Vec::new() })
    }

    fn some_consumer(&self, rng: &mut Rng) -> Option<u64> {
        let ids: Vec<u64> = self.live.keys().copied().collect();
        rng.pick(&ids).copied()
    }

    fn pull(&mut self, replica: &StreamReplica, now: i64, rng: &mut Rng) -> Option<Control> {
        let id = self.some_consumer(rng)?;
        let body = format!(r#"{{"batch":{},"no_wait":{}}}"#, 1 + rng.below(4), rng.chance(500));
        self.step(replica, id, now, |consumer, context, out| consumer.pull_request(b"r", body.as_bytes(), context, out))
    }

    fn ack(&mut self, replica: &StreamReplica, now: i64, rng: &mut Rng) -> Option<Control> {
        if self.delivered.is_empty() {
            return None;
        }
        let at = rng.below(self.delivered.len() as u64) as usize;
        let (id, numbers) = self.delivered.swap_remove(at);
        let bodies: [&[u8]; 6] = [b"+ACK", b"+ACK", b"+ACK", b"-NAK", b"+WPI", b"+TERM"];
        let body = *rng.pick(&bodies)?;
        self.step(replica, id, now, |consumer, context, out| {
            consumer.ack(&numbers, body, Some(b"answer"), context, out)
        })
    }

    /// One input, due timers, and all deliveries that follow.
    fn step(
        &mut self,
        replica: &StreamReplica,
        id: u64,
        now: i64,
        input: impl FnOnce(&mut Consumer, &Context<'_>, &mut Outputs),
    ) -> Option<Control> {
        let consumer = self.live.get_mut(&id)?;
        let view = replica.view();
        let context = Context { now, stream: &view, environment: &Listeners };
        let mut out = Outputs::default();
        input(consumer, &context, &mut out);
        if consumer.deadline().is_some_and(|at| at <= now) {
            consumer.timer(&context, &mut out);
        }
        while consumer.deliver(PassBound { messages: 100, bytes: u64::MAX }, &context, &mut out).blocked.is_none() {}
        for event in &out.events {
            if let Event::Deliver(delivery) = event {
                assert!(replica.machine.is_stored(delivery.sequence), "only what is stored is delivered");
                let numbers = ReplyNumbers {
                    deliveries: delivery.deliveries,
                    stream_sequence: delivery.sequence,
                    consumer_sequence: delivery.consumer_sequence,
                    ..ReplyNumbers::default()
                };
                self.delivered.push((id, numbers));
            }
        }
        deltas(id, &out)
    }
}

fn deltas(id: u64, out: &Outputs) -> Option<Control> {
    if out.deltas.is_empty() {
        return None;
    }
    let mut body = Vec::new();
    out.encode_deltas(&mut body);
    Some(Control::Consumer { change: ConsumerChange::Delta, id, body })
}

fn purge(replica: &StreamReplica, rng: &mut Rng) -> Control {
    let filter = if rng.chance(500) { format!("s.{}", rng.below(5)) } else { String::new() };
    let keep = rng.below(4);
    // Sometimes beyond the end: later messages begin there.
    let up_to = if rng.chance(500) { rng.below(replica.machine.last_sequence() + 5) } else { 0 };
    let keep = if up_to > 0 { 0 } else { keep };
    Control::Purge { filter, up_to, keep }
}

fn update(replica: &StreamReplica, rng: &mut Rng) -> Control {
    let config = StreamConfig { max_msgs: 10 + rng.below(20) as i64, ..(**replica.machine.config()).clone() };
    Control::Update { config: Box::new(config) }
}
