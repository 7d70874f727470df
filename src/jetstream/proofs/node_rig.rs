//! A whole node without sockets: a simulated disk below, a client above that publishes into the account and listens
//! inside of it. The journal has no threads; the test drives it, so a run depends on its seed alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headwater_raft::sim::Rng;
use headwater_storage::{Io, JournalOptions, SimIo};
use parking_lot::Mutex;
use serde_json::Value;

use super::super::{Limits, Node, NodeOptions, Replica};
use crate::account::{Account, ClientIdentity, ClientKind, InternalMessage, InternalSubscriber, RoundTrip};
use crate::jetstream::selection::Selection;
use crate::jetstream::service::{ApiService, PREFIX};
use crate::protocol::headers;
use crate::router::Publisher;

pub const DIRECTORY: &str = "journal";
const INBOX: &str = "inbox.";

/// What the client was sent: reply subject and payload.
#[derive(Clone, Debug)]
pub struct Received {
    pub reply: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

#[derive(Default)]
struct Inbox(Mutex<BTreeMap<String, Vec<Received>>>);

impl InternalSubscriber for Inbox {
    fn deliver(&self, _: &Arc<Account>, messages: &[InternalMessage<'_>]) {
        for message in messages {
            let subject = String::from_utf8_lossy(message.subject).into_owned();
            // A delivery is shown under the subject of its message; the reply tells that it is one.
            let key = subject.strip_prefix(INBOX).map_or_else(|| "delivered".to_owned(), str::to_owned);
            let received = Received { reply: message.reply.map(<[u8]>::to_vec), payload: message.payload.to_vec() };
            self.0.lock().entry(key).or_default().push(received);
        }
    }
}

pub struct Rig {
    pub io: SimIo,
    pub node: Arc<Node>,
    account: Arc<Account>,
    client: Arc<ClientIdentity>,
    inbox: Arc<Inbox>,
    next_request: u64,
    /// How many had a hold of the account at a time while the node started.
    pub account_holders_max: usize,
}

/// A message of the client.
struct Sent<'a> {
    subject: &'a str,
    reply: String,
    headers: &'a [u8],
    payload: &'a [u8],
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    Acked { sequence: u64, duplicate: bool },
    Refused { err_code: u64 },
}

/// Small segments and frequent checkpoints of many parts; no threads.
pub fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: Some(64 * 1024),
        first_segment_bytes: 64 * 1024,
        checkpoint_bytes: 24 * 1024,
        checkpoint_part_bytes: 512,
        scrub_bytes_per_second: 0,
        manual: true,
        ..JournalOptions::default()
    }
}

impl Rig {
    /// Starts a node on what the disk holds.
    pub fn start(io: &SimIo) -> Self {
        Self::try_start(io).unwrap_or_else(|problem| panic!("the node does not start: {problem}"))
    }

    pub fn start_with(io: &SimIo, journal: JournalOptions) -> Self {
        Self::try_start_with(io, journal).unwrap_or_else(|problem| panic!("the node does not start: {problem}"))
    }

    pub fn try_start(io: &SimIo) -> Result<Self, super::super::StartError> {
        Self::try_start_with(io, options())
    }

    fn try_start_with(io: &SimIo, journal: JournalOptions) -> Result<Self, super::super::StartError> {
        // A failing test shows what the server said.
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_test_writer().try_init();
        let account = Arc::new(Account::new("A"));
        let inbox = Arc::new(Inbox::default());
        account.subscribe_internal(format!("{INBOX}>").as_bytes(), None, inbox.clone());
        let node_options = NodeOptions {
            server_name: "rig".to_owned(),
            domain: None,
            strict: true,
            pending_bytes_max: 1 << 26,
            limits: Limits::default(),
        };
        let disk: Arc<dyn Io> = Arc::new(io.clone());
        let accounts = vec![(account.clone(), None)];
        let holders_max = std::cell::Cell::new(0);
        let find = |_: &str| {
            holders_max.set(holders_max.get().max(Arc::strong_count(&account)));
            account.clone()
        };
        let node = Node::start(disk, Path::new(DIRECTORY), journal, node_options, accounts, &find)?;
        let account_holders_max = holders_max.get();
        let client = Arc::new(client(account.name()));
        let rig = Self { io: io.clone(), node, account, client, inbox, next_request: 0, account_holders_max };
        rig.drive();
        Ok(rig)
    }

    /// Lets the disk do all its work.
    pub fn drive(&self) {
        self.node.shared().journal.drive();
    }

    /// Sends a request and gives the name under which the answer will be found.
    pub fn send(&mut self, subject: &str, headers: &[u8], payload: &[u8]) -> String {
        let request = self.name_request();
        self.deliver(&[Sent { subject, reply: format!("{INBOX}{request}"), headers, payload }]);
        request
    }

    /// Sends requests as one connection does that reads them at once.
    pub fn send_burst(&mut self, messages: &[(String, &[u8])]) -> Vec<String> {
        let requests: Vec<String> = messages.iter().map(|_| self.name_request()).collect();
        let sent = messages.iter().zip(&requests).map(|((subject, payload), request)| Sent {
            subject,
            reply: format!("{INBOX}{request}"),
            headers: b"",
            payload,
        });
        self.deliver(&sent.collect::<Vec<_>>());
        requests
    }

    /// Sends messages at once, each with the end of a reply subject of its own: the answers are found under that.
    pub fn send_with_replies(&mut self, messages: &[(&str, String, Vec<u8>)]) {
        let sent = messages.iter().map(|(subject, reply, payload)| Sent {
            subject,
            reply: format!("{INBOX}{reply}"),
            headers: b"",
            payload,
        });
        self.deliver(&sent.collect::<Vec<_>>());
    }

    fn name_request(&mut self) -> String {
        self.next_request += 1;
        self.next_request.to_string()
    }

    /// Requests to the API come from a client, and are handed over as from one. Everything else is published inside of
    /// the account, so that nothing is written before the disk is driven.
    fn deliver(&self, messages: &[Sent<'_>]) {
        let is_request = |message: &Sent<'_>| message.subject.starts_with(PREFIX);
        for run in messages.chunk_by(|left, right| is_request(left) == is_request(right)) {
            if is_request(&run[0]) {
                let account = self.node.account("A").expect("the account has JetStream");
                let api = ApiService { node: self.node.clone(), account, prefix: PREFIX.to_owned() };
                let requests = run.iter().map(|message| InternalMessage {
                    subject: message.subject.as_bytes(),
                    reply: Some(message.reply.as_bytes()),
                    headers: message.headers,
                    payload: message.payload,
                    client: Some(&self.client),
                });
                api.deliver(&self.account, &requests.collect::<Vec<_>>());
                api.end_turn(false);
            } else {
                let mut publisher = Publisher::new(&self.account);
                for Sent { subject, reply, headers, payload } in run {
                    publisher.publish(subject.as_bytes(), Some(reply.as_bytes()), headers, &[payload]);
                }
                publisher.flush();
            }
        }
    }

    pub fn take(&self, request: &str) -> Vec<Received> {
        self.inbox.0.lock().remove(request).unwrap_or_default()
    }

    /// Everything that was sent since, in the order of its subjects.
    pub fn take_all(&self) -> Vec<Received> {
        std::mem::take(&mut *self.inbox.0.lock()).into_values().flatten().collect()
    }

    /// An API request and its answer.
    pub fn ask(&mut self, subject: &str, body: &str) -> Value {
        let request = self.send(&format!("$JS.API.{subject}"), b"", body.as_bytes());
        self.drive();
        let answers = self.take(&request);
        assert_eq!(answers.len(), 1, "one answer to {subject} {body}");
        serde_json::from_slice(&answers[0].payload).unwrap()
    }

    /// As [`ask`](Self::ask), for requests that are granted.
    pub fn grant(&mut self, subject: &str, body: &str) -> Value {
        let answer = self.ask(subject, body);
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    pub fn create_stream(&mut self, more: &str) {
        let body = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"file"{more}}}"#);
        self.grant("STREAM.CREATE.S", &body);
    }

    pub fn create_consumer(&mut self) {
        let config =
            r#"{"durable_name":"C","ack_policy":"explicit","ack_wait":3600000000000,"max_ack_pending":100000}"#;
        let body = format!(r#"{{"stream_name":"S","config":{config}}}"#);
        self.grant("CONSUMER.DURABLE.CREATE.S.C", &body);
    }

    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> String {
        self.send(subject, b"", payload)
    }

    pub fn publish_with_id(&mut self, subject: &str, id: &str, payload: &[u8]) -> String {
        let mut block = Vec::new();
        headers::append(&mut block, "Nats-Msg-Id", id.as_bytes());
        self.send(subject, &block, payload)
    }

    /// The outcome of a publish, once there is one.
    pub fn outcome(&self, request: &str) -> Option<Published> {
        let mut answers = self.take(request);
        assert!(answers.len() <= 1, "one answer to each publish");
        let value: Value = serde_json::from_slice(&answers.pop()?.payload).unwrap();
        Some(match value.get("error") {
            Some(error) => Published::Refused { err_code: error["err_code"].as_u64().unwrap() },
            None => Published::Acked {
                sequence: value["seq"].as_u64().unwrap(),
                duplicate: value.get("duplicate").is_some(),
            },
        })
    }

    /// Publishes and waits for the acknowledgement.
    pub fn store(&mut self, subject: &str, payload: &[u8]) -> u64 {
        let request = self.publish(subject, payload);
        self.drive();
        match self.outcome(&request) {
            Some(Published::Acked { sequence, .. }) => sequence,
            other => panic!("not stored: {other:?}"),
        }
    }

    /// Pulls and gives the reply subjects of what was delivered.
    pub fn pull(&mut self, batch: u64) -> Vec<String> {
        let body = format!(r#"{{"batch":{batch},"no_wait":true}}"#);
        self.send("$JS.API.CONSUMER.MSG.NEXT.S.C", b"", body.as_bytes());
        let delivered = self.take("delivered");
        delivered.into_iter().filter_map(|message| String::from_utf8(message.reply?).ok()).collect()
    }

    pub fn stream(&self) -> Arc<Replica> {
        self.node.account("A").and_then(|account| account.find("S")).expect("the stream is there")
    }

    pub fn has_stream(&self) -> bool {
        self.node.account("A").is_some_and(|account| account.find("S").is_some())
    }

    pub fn payload(&self, sequence: u64) -> Option<Vec<u8>> {
        self.stream().select(&Selection::Sequence(sequence)).map(|message| message.payload().to_vec())
    }

    /// True when the consumer has done with the message.
    pub fn is_acked(&self, sequence: u64) -> bool {
        let stream = self.stream();
        let core = stream.lock();
        let (_, record) = core.consumers.find("C").expect("the consumer is there");
        !record.state.needs(sequence)
    }

    /// The end of the process without a stop: no checkpoints are made for the next start.
    pub fn kill(self) -> SimIo {
        let io = self.io.fork();
        io.crash(0);
        io
    }

    /// The end of the process, with the disk in whatever state it is.
    pub fn stop(self) -> SimIo {
        self.node.stop();
        self.io.clone()
    }
}

fn client(account: &str) -> ClientIdentity {
    ClientIdentity {
        id: 1,
        kind: ClientKind::Nats,
        host: "127.0.0.1".to_owned(),
        port: 4222,
        start: std::time::SystemTime::UNIX_EPOCH,
        name: String::new(),
        lang: String::new(),
        version: String::new(),
        user: String::new(),
        account: account.to_owned(),
        round_trip: RoundTrip::default(),
        no_responders: true,
    }
}

/// The stream's sequence in a reply subject of a delivery.
pub fn sequence_of(reply: &str) -> u64 {
    reply.split('.').nth(5).and_then(|token| token.parse().ok()).expect("a reply subject")
}

/// A payload that nobody else has.
pub fn payload(number: u64, rng: &mut Rng) -> Vec<u8> {
    let length = if rng.chance(50) { 6000 } else { 1 + rng.below(400) as usize };
    let text = format!("{number}:");
    text.bytes().cycle().take(text.len() + length).collect()
}
