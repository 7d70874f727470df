//! The machine against a stream in memory, with virtual time.

mod acks;
mod model;
mod policies;
mod priority;
mod pull;
mod push;
mod state;
mod unread;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::jetstream::api::ConsumerConfig;
use crate::jetstream::api::consumer_config::AckPolicy;

pub const MILLI: i64 = 1_000_000;
pub const SECOND: i64 = 1_000 * MILLI;
/// When the tests begin: a time of today's length.
pub const START: i64 = 1_795_414_132_126_131_046;

#[derive(Clone, Debug)]
pub struct Stored {
    pub subject: String,
    pub payload: u32,
    pub time: i64,
}

/// A stream as a map.
#[derive(Clone, Debug, Default)]
pub struct TestStream {
    pub messages: BTreeMap<u64, Stored>,
    pub last: u64,
    pub first: u64,
    pub one_per_subject: bool,
    pub unread: BTreeMap<u64, Unread>,
}

impl TestStream {
    pub fn store(&mut self, subject: &str, time: i64) -> u64 {
        self.store_sized(subject, time, 2)
    }

    pub fn store_sized(&mut self, subject: &str, time: i64, payload: u32) -> u64 {
        self.last += 1;
        self.messages.insert(self.last, Stored { subject: subject.into(), payload, time });
        self.last
    }

    pub fn remove(&mut self, sequence: u64) -> Option<Stored> {
        self.messages.remove(&sequence)
    }

    fn matching<'a>(&'a self, from: u64, filter: &'a Filter) -> impl DoubleEndedIterator<Item = u64> + 'a {
        let matches = |(_, message): &(&u64, &Stored)| filter.matches(message.subject.as_bytes());
        self.messages.range(from..).filter(matches).map(|(sequence, _)| *sequence)
    }
}

impl StreamView for TestStream {
    fn first_sequence(&self) -> u64 {
        self.messages.keys().next().copied().unwrap_or(self.last + 1).max(self.first)
    }

    fn last_sequence(&self) -> u64 {
        self.last
    }

    fn next_matching(&self, from: u64, filter: &Filter) -> Option<u64> {
        self.matching(from, filter).next()
    }

    fn next_matching_run(&self, from: u64, filter: &Filter, count_max: u64) -> Option<Run> {
        let mut matching = self.matching(from, filter);
        let first = matching.next()?;
        let more = matching.zip(first + 1..).take_while(|(found, expected)| found == expected).count() as u64;
        Some(Run { first, count: (more + 1).min(count_max) })
    }

    fn last_matching(&self, filter: &Filter) -> Option<u64> {
        self.matching(0, filter).next_back()
    }

    fn count_matching(&self, from: u64, filter: &Filter) -> u64 {
        self.matching(from, filter).count() as u64
    }

    fn last_per_subject(&self, filter: &Filter) -> Vec<u64> {
        let lasts = self.matching(0, filter).map(|sequence| (self.messages[&sequence].subject.clone(), sequence));
        lasts.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn sequence_at_time(&self, time: i64) -> u64 {
        let found = self.messages.iter().find(|(_, message)| message.time >= time);
        found.map_or(self.last + 1, |(sequence, _)| *sequence)
    }

    fn size_of(&self, sequence: u64) -> Result<MessageSize, Unread> {
        if let Some(unread) = self.unread.get(&sequence) {
            return Err(*unread);
        }
        let message = &self.messages[&sequence];
        Ok(MessageSize { subject: message.subject.len() as u32, headers: 0, payload: message.payload })
    }

    fn time_of(&self, sequence: u64) -> Option<i64> {
        self.messages.get(&sequence).map(|message| message.time)
    }

    fn keeps_one_per_subject(&self) -> bool {
        self.one_per_subject
    }
}

/// Who listens.
#[derive(Default)]
pub struct TestEnvironment {
    pub gone: RefCell<BTreeSet<Vec<u8>>>,
    pub behind_import: Cell<bool>,
    ids: Cell<u32>,
}

impl Environment for TestEnvironment {
    fn interest(&self, reply: &[u8]) -> Interest {
        match (self.gone.borrow().contains(reply), self.behind_import.get()) {
            (false, _) => Interest::Present,
            (true, false) => Interest::Gone,
            (true, true) => Interest::GoneBehindImport,
        }
    }

    fn unique_id(&self) -> [u8; 22] {
        self.ids.set(self.ids.get() + 1);
        format!("{:022}", self.ids.get()).into_bytes().try_into().expect("22 digits")
    }
}

/// A consumer of stream `S` named `c`, its stream and the clock.
pub struct Rig {
    pub stream: TestStream,
    pub environment: TestEnvironment,
    pub consumer: Consumer,
    pub config: ConsumerConfig,
    /// What a replica that applied every delta has.
    pub replica: ConsumerState,
    pub now: i64,
    pub out: Outputs,
    pub urgent: bool,
    pub released: Vec<u64>,
    /// Everything that came out, with the time.
    pub log: Vec<(i64, Event)>,
}

pub fn traits() -> StreamTraits {
    StreamTraits {
        reply_prefix: Bytes::from(reply_subject::prefix("S", "c")),
        flow_prefix: Bytes::from(flow_control::prefix("S", "c")),
        ..StreamTraits::default()
    }
}

pub fn explicit() -> ConsumerConfig {
    ConsumerConfig {
        durable_name: "c".into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: SECOND,
        max_deliver: -1,
        ..ConsumerConfig::default()
    }
}

impl Rig {
    /// Over a stream that holds these subjects, stored a millisecond apart.
    pub fn new(config: ConsumerConfig, subjects: &[&str]) -> Self {
        let mut stream = TestStream::default();
        for (index, subject) in subjects.iter().enumerate() {
            stream.store(subject, START + index as i64 * MILLI);
        }
        Self::over(config, stream)
    }

    pub fn over(config: ConsumerConfig, stream: TestStream) -> Self {
        Self::with_traits(config, stream, traits())
    }

    pub fn with_traits(config: ConsumerConfig, stream: TestStream, traits: StreamTraits) -> Self {
        let environment = TestEnvironment::default();
        let now = START + SECOND;
        let state = ConsumerState::start(&config, &stream);
        let context = Context { now, stream: &stream, environment: &environment };
        let consumer = Consumer::new(Settings::new(&config, traits), state.clone(), &context);
        Self {
            stream,
            environment,
            consumer,
            config,
            replica: state,
            now,
            out: Outputs::default(),
            urgent: false,
            released: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Lets the machine do something, delivers what it can, and tells what came out.
    pub fn step(&mut self, act: impl FnOnce(&mut Consumer, &Context<'_>, &mut Outputs)) -> Vec<String> {
        self.out.clear();
        let context = Context { now: self.now, stream: &self.stream, environment: &self.environment };
        act(&mut self.consumer, &context, &mut self.out);
        while self
            .consumer
            .deliver(PassBound { messages: 100, bytes: u64::MAX }, &context, &mut self.out)
            .blocked
            .is_none()
        {}
        self.replicate();
        self.log.extend(self.out.events.iter().map(|event| (self.now, *event)));
        self.out.events.iter().filter_map(|event| describe(event, &self.out)).collect()
    }

    /// The replica applies what was proposed, over the wire.
    fn replicate(&mut self) {
        self.urgent = self.out.urgent;
        let mut bytes = Vec::new();
        self.out.encode_deltas(&mut bytes);
        let deltas: Vec<Delta> = delta::decode(&bytes).map(|delta| delta.expect("well formed")).collect();
        assert_eq!(deltas, self.out.deltas);
        let mut released = Vec::new();
        assert_eq!(self.replica.apply_batch(&bytes, &mut released), Ok(()));
        self.released.extend(released.into_iter().flatten());
        assert_eq!(&self.replica, self.consumer.state());
    }

    pub fn pull(&mut self, reply: &str, body: &str) -> Vec<String> {
        self.step(|consumer, context, out| consumer.pull_request(reply.as_bytes(), body.as_bytes(), context, out))
    }

    /// Acks as a client does, with the numbers of the reply subject.
    pub fn ack(&mut self, stream: u64, consumer_sequence: u64, body: &str) -> Vec<String> {
        let numbers = ReplyNumbers { stream_sequence: stream, consumer_sequence, deliveries: 1, ..Default::default() };
        self.step(|consumer, context, out| consumer.ack(&numbers, body.as_bytes(), None, context, out))
    }

    pub fn ack_sync(&mut self, stream: u64, body: &str) -> Vec<String> {
        let numbers = ReplyNumbers { stream_sequence: stream, consumer_sequence: stream, ..Default::default() };
        self.step(|consumer, context, out| consumer.ack(&numbers, body.as_bytes(), Some(b"answer"), context, out))
    }

    pub fn store(&mut self, subject: &str) -> Vec<String> {
        self.stream.store(subject, self.now);
        self.step(|_, _, _| {})
    }

    pub fn remove(&mut self, sequence: u64) -> Vec<String> {
        let message = self.stream.remove(sequence).expect("a stored message");
        self.step(|consumer, context, out| {
            consumer.message_removed(sequence, message.subject.as_bytes(), context.now, out);
        })
    }

    /// Time passes; the timer is called whenever it asked to be.
    pub fn wait(&mut self, duration: i64) -> Vec<String> {
        let end = self.now + duration;
        let mut told = Vec::new();
        while let Some(deadline) = self.consumer.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            told.extend(self.step(|consumer, context, out| consumer.timer(context, out)));
        }
        self.now = end;
        told
    }

    /// Another server takes over with what is durable.
    pub fn change_leader(&mut self) {
        let mut bytes = Vec::new();
        self.replica.encode(&mut bytes);
        let state = ConsumerState::decode(&bytes).expect("a state");
        let context = Context { now: self.now, stream: &self.stream, environment: &self.environment };
        self.consumer = Consumer::new(Settings::new(&self.config, traits()), state, &context);
        self.step(|consumer, context, out| consumer.timer(context, out));
    }

    pub fn info(&mut self) -> crate::jetstream::api::ConsumerInfo {
        self.out.clear();
        let context = Context { now: self.now, stream: &self.stream, environment: &self.environment };
        self.consumer.info(&context, &mut self.out)
    }

    pub fn why(&self) -> Option<Blocked> {
        let context = Context { now: self.now, stream: &self.stream, environment: &self.environment };
        self.consumer.why_not_delivering(&context)
    }
}

/// `reply: stream/consumer sequence xdeliveries pending`, or the status line with its headers.
fn describe(event: &Event, out: &Outputs) -> Option<String> {
    let text = |text: TextRef| String::from_utf8_lossy(out.text(text)).into_owned();
    Some(match event {
        Event::Deliver(delivery) => {
            let Delivery { sequence, consumer_sequence, pending, deliveries, target, pin } = *delivery;
            let pin = if pin.is_none() { String::new() } else { format!(" pin {}", text(pin).trim_start_matches('0')) };
            format!("{}: {sequence}/{consumer_sequence} x{deliveries} {pending}{pin}", text(target))
        }
        Event::Status { target, status } => {
            let mut block = Vec::new();
            status.write(out, &mut block);
            let block = String::from_utf8(block).expect("text");
            let line = block.trim_start_matches("NATS/1.0 ").trim_end().replace("\r\n", " | ");
            let line = line.replace("Nats-Pending-Messages: ", "messages ").replace("Nats-Pending-Bytes: ", "bytes ");
            format!("{}: {line}", text(*target))
        }
        Event::ReplyAfterCommit { subject } => format!("{}: committed", text(*subject)),
        Event::Reply { subject } => format!("{}: reply", text(*subject)),
        Event::Advisory(Advisory::Terminated { stream_sequence, reason, .. }) => {
            format!("terminated {stream_sequence} {}", text(*reason)).trim_end().to_owned()
        }
        Event::Advisory(Advisory::Dropped { stream_sequence, reason, .. }) => {
            format!("terminated {stream_sequence} {}", reason.as_str())
        }
        Event::Advisory(Advisory::Naked { stream_sequence, .. }) => format!("naked {stream_sequence}"),
        Event::Advisory(Advisory::MaxDeliveries { stream_sequence, deliveries }) => {
            format!("max deliveries {stream_sequence} x{deliveries}")
        }
        Event::Advisory(Advisory::AckSample { stream_sequence, delay, .. }) => {
            format!("sample {stream_sequence} {}ms", delay / MILLI)
        }
        Event::Advisory(Advisory::Pinned { group, id }) => {
            format!("pinned {} {}", text(*group), text(*id).trim_start_matches('0'))
        }
        Event::Advisory(Advisory::Unpinned { group, reason }) => {
            format!("unpinned {} {}", text(*group), reason.as_str())
        }
        Event::Advisory(Advisory::Paused { paused, .. }) => format!("paused {paused}"),
        Event::DeleteInactive => "delete".to_owned(),
    })
}
