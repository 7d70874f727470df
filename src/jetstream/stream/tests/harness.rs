//! A leader and its log in memory: publishes are decided on and appended at once, applied when the test says so.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::{
    Accept, ConsumerChange, Consumers, Control, Effects, Interest, LostInterest, MessageEntry, MessageSource,
    MessageView, Outcome, Publish, Refusal, Room, StreamMachine, Unreadable,
};
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::time::SECOND;
use crate::protocol::{headers, subject};

pub const IDENTITY: [u8; 16] = *b"of a test stream";

#[derive(Clone, Debug)]
pub struct Stored {
    pub time: i64,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
}

impl MessageView for Arc<Stored> {
    fn subject(&self) -> &[u8] {
        &self.subject
    }

    fn headers(&self) -> &[u8] {
        &self.headers
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn time(&self) -> i64 {
        self.time
    }
}

/// Every message ever appended. Some may be damaged.
#[derive(Default)]
pub struct Store {
    pub messages: BTreeMap<u64, Arc<Stored>>,
    pub damaged: BTreeSet<u64>,
    /// Tables have the subjects, also those of damaged messages.
    pub subjects_known: bool,
    pub reads: Cell<u64>,
    /// What was read, in that order.
    pub order: RefCell<Vec<u64>>,
    /// Reads of which nobody had said that they go through the stream in order.
    pub single_reads: Cell<u64>,
    pub in_order: Cell<bool>,
}

impl MessageSource for Store {
    type Message = Arc<Stored>;

    fn read(&self, sequence: u64) -> Result<Self::Message, Unreadable> {
        self.reads.set(self.reads.get() + 1);
        self.single_reads.set(self.single_reads.get() + u64::from(!self.in_order.get()));
        self.order.borrow_mut().push(sequence);
        if self.damaged.contains(&sequence) {
            return Err(Unreadable::Damaged);
        }
        self.messages.get(&sequence).cloned().ok_or(Unreadable::Missing)
    }

    fn in_order<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = self.in_order.replace(true);
        let done = work();
        self.in_order.set(before);
        done
    }

    fn subject_of_unreadable(&self, sequence: u64) -> Option<Vec<u8>> {
        self.messages.get(&sequence).filter(|_| self.subjects_known).map(|message| message.subject.clone())
    }

    fn next_of_subject(&self, subject: &[u8], from: u64) -> Result<Option<u64>, Unreadable> {
        let known = |(sequence, _): &(&u64, _)| self.subjects_known || !self.damaged.contains(*sequence);
        let mut on_it = self.messages.range(from..).filter(known).filter(|(_, message)| message.subject == subject);
        Ok(on_it.next().map(|(sequence, _)| *sequence))
    }

    fn previous_of_subject(&self, subject: &[u8], to: u64) -> Result<Option<u64>, Unreadable> {
        let known = |(sequence, _): &(&u64, _)| self.subjects_known || !self.damaged.contains(*sequence);
        let mut on_it = self.messages.range(..=to).filter(known).filter(|(_, message)| message.subject == subject);
        Ok(on_it.next_back().map(|(sequence, _)| *sequence))
    }
}

/// Consumers that know a filter and what they acknowledged.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FakeConsumers(pub BTreeMap<u64, (String, BTreeSet<u64>)>);

impl Interest for FakeConsumers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn wants(&self, literal: &[u8]) -> bool {
        self.0.values().any(|(filter, _)| subject::matches(filter.as_bytes(), literal))
    }

    fn needs(&self, sequence: u64, literal: &[u8]) -> bool {
        self.0
            .values()
            .any(|(filter, acked)| subject::matches(filter.as_bytes(), literal) && !acked.contains(&sequence))
    }

    fn may_need(&self, sequence: u64) -> bool {
        self.0.values().any(|(_, acked)| !acked.contains(&sequence))
    }
}

impl Consumers for FakeConsumers {
    fn apply(
        &mut self,
        change: ConsumerChange,
        id: u64,
        body: &[u8],
        _: i64,
        acked: &mut Vec<RangeInclusive<u64>>,
    ) -> Option<LostInterest> {
        let filter = String::from_utf8_lossy(body).into_owned();
        let lost = |filter: String| LostInterest {
            filters: vec![filter.into_bytes().into()],
            from: 0,
            below: Vec::new(),
            until: u64::MAX,
        };
        match change {
            ConsumerChange::Create => drop(self.0.insert(id, (filter, BTreeSet::new()))),
            ConsumerChange::Update => {
                let before = std::mem::replace(&mut self.0.get_mut(&id).unwrap().0, filter.clone());
                return (before != filter).then(|| lost(before));
            }
            ConsumerChange::Delete => return self.0.remove(&id).map(|(filter, _)| lost(filter)),
            ConsumerChange::Delta => {
                let sequence = u64::from_le_bytes(body.try_into().unwrap());
                self.0.get_mut(&id).unwrap().1.insert(sequence);
                acked.push(sequence..=sequence);
            }
        }
        None
    }
}

/// What stands in the log.
#[derive(Clone, Debug)]
pub enum Record {
    Message(u64),
    Control(Control, i64),
}

pub struct Harness {
    pub machine: StreamMachine,
    pub store: Store,
    pub consumers: FakeConsumers,
    pub log: Vec<Record>,
    /// Positions in the log that are not applied yet.
    pub unapplied: VecDeque<usize>,
    pub effects: Effects,
    pub now: i64,
}

impl Harness {
    pub fn new(config: StreamConfig) -> Self {
        Self {
            machine: StreamMachine::new(Arc::new(config), IDENTITY),
            store: Store::default(),
            consumers: FakeConsumers::default(),
            log: Vec::new(),
            unapplied: VecDeque::new(),
            effects: Effects::default(),
            now: SECOND,
        }
    }

    /// Decides and appends.
    pub fn accept(&mut self, subject: &str, header: &[(&str, &str)], payload: &str) -> Result<Accept, Refusal> {
        let mut block = Vec::new();
        header.iter().for_each(|(key, value)| headers::append(&mut block, key, value.as_bytes()));
        let publish = Publish {
            subject: subject.as_bytes(),
            reply: Some(b"inbox"),
            headers: &block,
            payload: payload.as_bytes(),
        };
        let accept = self.machine.decide(&publish, self.now, &Room::UNLIMITED, &self.store)?;
        let stored = accept.headers.clone().unwrap_or(block);
        self.append(&accept, subject.as_bytes(), &stored, payload.as_bytes());
        Ok(accept)
    }

    pub fn append(&mut self, accept: &Accept, subject: &[u8], headers: &[u8], payload: &[u8]) {
        let (subject, headers, payload) = (subject.to_vec(), headers.to_vec(), payload.to_vec());
        let stored = Arc::new(Stored { time: accept.time, subject, headers, payload });
        self.store.messages.insert(accept.sequence, stored);
        self.unapplied.push_back(self.log.len());
        self.log.push(Record::Message(accept.sequence));
    }

    /// Decides, appends and applies; gives the sequence.
    pub fn publish(&mut self, subject: &str, header: &[(&str, &str)], payload: &str) -> Result<u64, Refusal> {
        let accept = self.accept(subject, header, payload)?;
        self.apply_all();
        Ok(accept.sequence)
    }

    /// As [`publish`](Self::publish), without headers and never refused.
    pub fn put(&mut self, subject: &str) -> u64 {
        self.publish(subject, &[], "x").unwrap()
    }

    /// The code and text of a refusal.
    pub fn refusal(&mut self, subject: &str, header: &[(&str, &str)]) -> (u16, String) {
        match self.accept(subject, header, "x") {
            Err(Refusal::Error(error)) => (error.err_code, error.description.into_owned()),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn control(&mut self, control: Control) -> Outcome {
        self.apply_all();
        let time = self.machine.decide_control(self.now);
        self.machine.control_appended(&control);
        self.unapplied.push_back(self.log.len());
        self.log.push(Record::Control(control, time));
        self.apply_all();
        self.effects.outcome
    }

    pub fn purge(&mut self, filter: &str, up_to: u64, keep: u64) -> u64 {
        match self.control(Control::Purge { filter: filter.to_owned(), up_to, keep }) {
            Outcome::Purged(purged) => purged,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, sequence: u64) -> bool {
        self.control(Control::Delete { sequence, erase: true }) == Outcome::Deleted(true)
    }

    pub fn consumer(&mut self, change: ConsumerChange, id: u64, body: &[u8]) {
        self.control(Control::Consumer { change, id, body: body.to_vec() });
    }

    /// Lets time pass; expires and publishes markers as a leader does.
    pub fn pass(&mut self, duration: i64) {
        self.now += duration;
        self.apply_all();
        while self.machine.next_expiry(&self.store).is_some_and(|due| due <= self.now) {
            self.control(Control::Expire { at_most: 2 });
            self.publish_markers();
        }
    }

    pub fn publish_markers(&mut self) {
        for marker in self.machine.decide_markers(self.now, &self.store) {
            self.append(&marker.accept, &marker.subject, &marker.headers, b"");
        }
        self.apply_all();
    }

    pub fn apply_all(&mut self) {
        while !self.unapplied.is_empty() {
            self.apply_next();
        }
    }

    pub fn apply_next(&mut self) {
        let Some(position) = self.unapplied.pop_front() else { return };
        let Self { machine, store, consumers, effects, log, .. } = self;
        apply(machine, &log[position], store, consumers, effects);
    }

    /// The stored sequences, as the machine counts them.
    pub fn sequences(&self) -> Vec<u64> {
        (1..=self.machine.last_sequence()).filter(|sequence| self.machine.is_stored(*sequence)).collect()
    }

    /// `messages, bytes, first, last` and the gaps.
    pub fn shape(&self) -> (u64, u64, u64, u64, Vec<u64>) {
        let state = self.machine.state(&self.store, true, 0);
        (state.messages, state.bytes, state.first_seq, state.last_seq, state.deleted)
    }
}

pub fn apply(
    machine: &mut StreamMachine,
    record: &Record,
    store: &Store,
    consumers: &mut FakeConsumers,
    effects: &mut Effects,
) {
    match record {
        Record::Message(sequence) => {
            let stored = &store.messages[sequence];
            let entry = MessageEntry {
                sequence: *sequence,
                time: stored.time,
                subject: &stored.subject,
                headers: &stored.headers,
                payload_len: stored.payload.len(),
            };
            machine.apply_message(&entry, store, &*consumers, effects);
        }
        Record::Control(control, time) => machine.apply_control(control, *time, store, consumers, effects),
    }
}

/// A configuration without limits for the subjects `s.>`.
pub fn config() -> StreamConfig {
    StreamConfig {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        max_consumers: -1,
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        max_msg_size: -1,
        num_replicas: 1,
        duplicate_window: 120_000_000_000,
        allow_rollup_hdrs: true,
        allow_msg_ttl: true,
        ..StreamConfig::default()
    }
}
