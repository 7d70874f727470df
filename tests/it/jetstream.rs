//! A server with JetStream on a store of its own, and a client that speaks the API as JSON. Everything waits with a
//! deadline.

use crate::harness::{PATIENCE, TestServer};
use async_nats::jetstream::{self, Context};
use async_nats::{HeaderMap, Message, Subscriber};
use futures::StreamExt;
use headwater::config::Options;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for whatever is under way in the server to show.
pub const MOMENT: Duration = Duration::from_millis(150);

/// Runs a test against a fresh server. With `GENUINE=path/to/nats-server` against that one instead, which shows whether
/// the test expects the right thing.
pub fn with_jetstream<F: Future<Output = ()>>(test: impl FnOnce(Js) -> F) {
    let store = tempfile::tempdir().unwrap();
    if let Some(genuine) = std::env::var_os("GENUINE") {
        let process = Process::start(genuine.as_ref(), store.path());
        return run(&process.address, test);
    }
    run_with(store.path(), |_| {}, test);
}

/// Runs a test against a fresh server that lets batches of a stream wait so long, and so many of them.
pub fn with_batch_limits<F: Future<Output = ()>>(timeout: Duration, open: u64, test: impl FnOnce(Js) -> F) {
    let store = tempfile::tempdir().unwrap();
    let limit = |options: &mut Options| {
        options.jetstream.limits.batch_timeout = timeout;
        options.jetstream.limits.batch_inflight_per_stream_max = Some(open);
    };
    run_with(store.path(), limit, test);
}

fn run_with<F: Future<Output = ()>>(store: &Path, change: impl FnOnce(&mut Options), test: impl FnOnce(Js) -> F) {
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.to_path_buf());
        change(options);
    });
    run(&server.address().to_string(), test);
}

fn run<F: Future<Output = ()>>(address: &str, test: impl FnOnce(Js) -> F) {
    block_on(async {
        let js = Js::connect(address).await;
        tokio::time::timeout(PATIENCE * 6, test(js)).await.expect("the test takes too long");
    });
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A server as a process of its own, on a free port; killed when it is dropped.
pub struct Process {
    pub child: Child,
    pub address: String,
    ports: tempfile::TempDir,
}

impl Process {
    pub fn start(program: &OsStr, store: &Path) -> Process {
        Process::start_with(program, store, |_| {})
    }

    /// As [`Process::start`], with more arguments or another environment.
    pub fn start_with(program: &OsStr, store: &Path, change: impl FnOnce(&mut Command)) -> Process {
        let ports = tempfile::tempdir().unwrap();
        let mut command = Process::command(program, store, ports.path());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            if let Some(address) = read_ports(ports.path(), "nats") {
                break address;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server does not start: {status}");
            }
            assert!(Instant::now() < deadline, "the server does not tell its port");
            std::thread::sleep(Duration::from_millis(2));
        };
        Process { child, address, ports }
    }

    pub fn command(program: &OsStr, store: &Path, ports: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"]).arg(store).arg("--ports_file_dir").arg(ports);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// `host:port` of the monitor, if it was asked for.
    pub fn monitor(&self) -> Option<String> {
        read_ports(self.ports.path(), "monitoring")
    }

    /// kill -9: nothing in the process runs any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `host:port` of a kind of listener, once the file with the ports is there and whole.
fn read_ports(directory: &Path, kind: &str) -> Option<String> {
    let file = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .find(|file| file.path().extension().is_some_and(|end| end == "ports"))?;
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    Some(ports[kind][0].as_str()?.split("://").last()?.to_owned())
}

/// A connection that uses JetStream.
#[derive(Clone)]
pub struct Js {
    pub client: async_nats::Client,
    pub context: Context,
}

impl Js {
    pub async fn connect(address: &str) -> Js {
        let client = async_nats::connect(format!("nats://{address}")).await.unwrap();
        Js { context: jetstream::new(client.clone()), client }
    }

    /// The reply to a request.
    pub async fn request(&self, subject: &str, headers: HeaderMap, body: impl Into<bytes::Bytes>) -> Message {
        let request = async_nats::Request::new().headers(headers).payload(body.into()).timeout(Some(PATIENCE));
        match self.client.send_request(subject.to_owned(), request).await {
            Ok(message) => message,
            Err(problem) => panic!("{subject}: {problem}"),
        }
    }

    /// The JSON answer of the API; a null body is an empty one.
    #[track_caller]
    pub fn api(&self, subject: &str, body: Value) -> impl Future<Output = Value> + use<> {
        let this = self.clone();
        let subject = format!("$JS.API.{subject}");
        async move {
            let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
            let reply = this.request(&subject, HeaderMap::new(), body).await;
            serde_json::from_slice(&reply.payload)
                .unwrap_or_else(|_| panic!("{subject}: not JSON: {:?} {:?}", reply.status, reply.payload))
        }
    }

    /// As [`Js::api`], which must not answer with an error.
    pub async fn ok(&self, subject: &str, body: Value) -> Value {
        let reply = self.api(subject, body.clone()).await;
        assert!(reply.get("error").is_none(), "{subject} {body}: {reply}");
        reply
    }

    /// The error code of a request that must be refused.
    pub async fn refused(&self, subject: &str, body: Value) -> u64 {
        let reply = self.api(subject, body.clone()).await;
        reply["error"]["err_code"].as_u64().unwrap_or_else(|| panic!("{subject} {body} was not refused: {reply}"))
    }

    /// Creates a stream; subjects are `<name>.>` in lower case unless given.
    pub async fn stream(&self, name: &str, config: Value) -> Value {
        self.ok(&format!("STREAM.CREATE.{name}"), stream_config(name, config)).await
    }

    pub async fn consumer(&self, stream: &str, name: &str, config: Value) -> Value {
        self.ok(&format!("CONSUMER.CREATE.{stream}.{name}"), consumer_config(stream, name, config)).await
    }

    /// The `PubAck`, or the error in its place.
    pub async fn publish_with(&self, subject: &str, headers: &[(&str, &str)], payload: &str) -> Value {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.append(*name, *value));
        let reply = self.request(subject, map, payload.to_owned()).await;
        serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{subject}: {reply:?}"))
    }

    /// The sequence of a message that must be stored.
    pub async fn publish(&self, subject: &str, payload: &str) -> u64 {
        let ack = self.publish_with(subject, &[], payload).await;
        ack["seq"].as_u64().unwrap_or_else(|| panic!("{subject}: {ack}"))
    }

    pub async fn publish_many(&self, subject: &str, count: usize) {
        for number in 1..=count {
            self.publish(subject, &number.to_string()).await;
        }
    }

    /// The `state` of a stream.
    pub async fn state(&self, stream: &str) -> Value {
        self.ok(&format!("STREAM.INFO.{stream}"), Value::Null).await["state"].clone()
    }

    pub async fn messages(&self, stream: &str) -> u64 {
        self.state(stream).await["messages"].as_u64().unwrap()
    }

    /// Payloads of all messages that are there.
    pub async fn contents(&self, stream: &str) -> Vec<String> {
        let state = self.state(stream).await;
        let (first, last) = (state["first_seq"].as_u64().unwrap(), state["last_seq"].as_u64().unwrap());
        let mut contents = Vec::new();
        for sequence in first..=last {
            let reply = self.api(&format!("STREAM.MSG.GET.{stream}"), json!({"seq": sequence})).await;
            if let Some(data) = reply["message"]["data"].as_str() {
                contents.push(decoded(data));
            } else if reply["message"].is_object() {
                contents.push(String::new());
            }
        }
        contents
    }

    pub async fn consumer_info(&self, stream: &str, consumer: &str) -> Value {
        self.ok(&format!("CONSUMER.INFO.{stream}.{consumer}"), Value::Null).await
    }

    pub async fn subscribe(&self, subject: &str) -> Inbox {
        let inbox = Inbox { subscriber: self.client.subscribe(subject.to_owned()).await.unwrap() };
        // The server knows of the subscription when it answers.
        self.client.flush().await.unwrap();
        self.round_trip().await;
        inbox
    }

    /// Everything sent before has been processed by the server when this returns.
    pub async fn round_trip(&self) {
        let inbox = self.client.new_inbox();
        let mut subscriber = self.client.subscribe(inbox.clone()).await.unwrap();
        self.client.publish(inbox, "".into()).await.unwrap();
        tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("the server answers");
    }

    /// A pull request whose messages and statuses come to the inbox.
    pub async fn pull(&self, stream: &str, consumer: &str, body: Value) -> Inbox {
        let reply = self.client.new_inbox();
        let inbox = self.subscribe(&reply).await;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        self.client.publish_with_reply(subject, reply, serde_json::to_vec(&body).unwrap().into()).await.unwrap();
        self.round_trip().await;
        inbox
    }

    /// Fetches so many messages, which must be there.
    pub async fn fetch(&self, stream: &str, consumer: &str, count: usize) -> Vec<Message> {
        let body = json!({"batch": count, "expires": 5_000_000_000_u64});
        let mut inbox = self.pull(stream, consumer, body).await;
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(inbox.message().await);
        }
        messages
    }

    /// Payloads of what a consumer has right now, up to a count.
    pub async fn fetch_now(&self, stream: &str, consumer: &str, count: usize) -> Vec<Message> {
        let mut inbox = self.pull(stream, consumer, json!({"batch": count, "no_wait": true})).await;
        let mut messages = Vec::new();
        while messages.len() < count {
            let message = inbox.next().await;
            if message.status.is_some() {
                break;
            }
            messages.push(message);
        }
        messages
    }

    /// Answers a delivery and waits until the server confirms it.
    pub async fn confirm(&self, message: &Message, answer: &str) {
        let reply = message.reply.clone().expect("a delivery can be answered");
        self.request(reply.as_str(), HeaderMap::new(), answer.to_owned()).await;
    }

    /// Answers a delivery; the server has taken it in when this returns.
    pub async fn answer(&self, message: &Message, answer: &str) {
        let reply = message.reply.clone().expect("a delivery can be answered");
        self.client.publish(reply, answer.to_owned().into()).await.unwrap();
        self.round_trip().await;
    }

    /// Asks the API until the answer is as wanted.
    pub async fn until(&self, subject: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reply = self.api(subject, Value::Null).await;
            if wanted(&reply) {
                return reply;
            }
            assert!(Instant::now() < deadline, "never came true: {what}: {reply}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn stream_config(name: &str, mut config: Value) -> Value {
    let fields = config.as_object_mut().expect("an object");
    fields.insert("name".into(), name.into());
    let bare = ["subjects", "mirror", "sources"].iter().all(|field| !fields.contains_key(*field));
    if bare {
        fields.insert("subjects".into(), json!([format!("{}.>", name.to_lowercase())]));
    }
    for (field, value) in [("retention", "limits"), ("storage", "file"), ("discard", "old")] {
        fields.entry(field).or_insert(value.into());
    }
    config
}

pub fn consumer_config(stream: &str, name: &str, mut config: Value) -> Value {
    let fields = config.as_object_mut().expect("an object");
    fields.insert("name".into(), name.into());
    if !fields.contains_key("inactive_threshold") {
        fields.insert("durable_name".into(), name.into());
    }
    for (field, value) in [("ack_policy", "explicit"), ("deliver_policy", "all")] {
        fields.entry(field).or_insert(value.into());
    }
    json!({"stream_name": stream, "config": config, "action": ""})
}

/// Messages of one subscription.
pub struct Inbox {
    subscriber: Subscriber,
}

impl Inbox {
    pub async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.subscriber.next()).await;
        next.expect("a message in time").expect("an open subscription")
    }

    /// The next, which must be a message and no status.
    pub async fn message(&mut self) -> Message {
        let message = self.next().await;
        assert!(message.status.is_none(), "{:?} {:?}", message.status, message.description);
        message
    }

    /// The next, which must be a status: `409 Consumer Deleted`.
    pub async fn status(&mut self) -> String {
        let message = self.next().await;
        let status = message.status.unwrap_or_else(|| panic!("not a status: {message:?}"));
        format!("{} {}", status.as_u16(), message.description.unwrap_or_default()).trim().to_owned()
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_slice(&self.next().await.payload).unwrap()
    }

    /// What comes within a moment, if anything does.
    pub async fn soon(&mut self) -> Option<Message> {
        tokio::time::timeout(MOMENT, self.subscriber.next()).await.ok().flatten()
    }

    pub async fn close(mut self) {
        self.subscriber.unsubscribe().await.unwrap();
    }
}

/// Payloads as text.
pub fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// Coordinates in the subject for acknowledgements.
#[derive(Debug, PartialEq, Eq)]
pub struct Coordinates {
    pub deliveries: u64,
    pub stream: u64,
    pub consumer: u64,
    pub pending: u64,
}

pub fn coordinates(message: &Message) -> Coordinates {
    let reply = message.reply.as_ref().expect("a delivery").as_str();
    let tokens: Vec<&str> = reply.split('.').collect();
    assert_eq!(tokens[..2], ["$JS", "ACK"], "{reply}");
    let number = |at: usize| tokens[at].parse().unwrap_or_else(|_| panic!("{reply}"));
    Coordinates { deliveries: number(4), stream: number(5), consumer: number(6), pending: number(8) }
}

fn decoded(base64: &str) -> String {
    use base64::Engine;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(base64).unwrap()).unwrap()
}

pub fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.headers.as_ref().and_then(|headers| headers.get(name)).map_or("", |value| value.as_str())
}

#[test]
fn a_second_connect_behind_a_request_in_one_piece_ends_nobody() {
    // The request was handed over at CONNECT without the bytes that it is made of, and the client's task panicked.
    let store = tempfile::tempdir().unwrap();
    let server = TestServer::start(|options| {
        options.jetstream.enabled = true;
        options.store_dir = Some(store.path().to_path_buf());
    });
    let mut client = server.client();
    client.info();
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    client.send(format!("{connect}SUB r 1\r\nPUB $JS.API.INFO r 0\r\n\r\n{connect}PING\r\n"));
    let answer = client.line();
    assert!(answer.starts_with("MSG r 1 "), "{answer}");
    assert!(client.line().contains("account_info_response"));
    client.expect("PONG\r\n");
}
