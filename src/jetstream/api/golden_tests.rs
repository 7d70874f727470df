//! Requests and the replies of a genuine nats-server 2.15.1, recorded once: we must answer with the same bytes.
//!
//! In `golden/requests.txt` every request is followed by its reply, in which times are replaced by `T`.

use std::sync::Arc;

use super::cluster_info::ClusterInfo;
use super::consumer_config::ConsumerConfig;
use super::consumer_info::{ConsumerInfo, PriorityGroupState, SequenceInfo};
use super::error::ApiError;
use super::requests::{
    ConsumersRequest, CreateConsumerRequest, StreamConfigRequest, StreamInfoRequest, StreamListRequest,
    StreamNamesRequest, read, read_optional,
};
use super::responses::{
    ConsumerCreated, ConsumerInfoReply, ConsumerList, ConsumerNames, LIST_LIMIT, NAMES_LIMIT, Paging, StreamCreated,
    StreamInfoReply, StreamList, StreamNames, StreamUpdated, encode,
};
use super::stream_config::StreamConfig;
use super::stream_info::{StreamInfo, StreamState};
use super::subjects::ApiSubject;
use super::time::Timestamp;
use super::validate::{
    AccountTiers, ConsumerCreate, ConsumerName, Environment, OtherConsumer, ServerLimits, StreamCreate, check_consumer,
    check_create, check_update, with_dynamic_consumer, with_dynamic_stream,
};
use super::{error_codes, json};
use crate::protocol::subject;

/// The least that a server needs to answer: configurations, and no messages.
#[derive(Default)]
struct Model {
    streams: Vec<Arc<StreamConfig>>,
    consumers: Vec<(String, String, ConsumerConfig)>,
}

impl Model {
    fn answer(&mut self, subject: &str, body: &[u8]) -> Vec<u8> {
        match ApiSubject::parse(subject).expect("a known subject") {
            ApiSubject::StreamCreate(name) => encode(self.create(name, body)),
            ApiSubject::StreamUpdate(name) => encode(self.update(name, body)),
            ApiSubject::StreamNames => encode(self.names(body)),
            ApiSubject::StreamList => encode(self.list(body)),
            ApiSubject::StreamInfo(name) => encode(self.info(name, body)),
            ApiSubject::ConsumerCreate(stream) => encode(self.consumer(stream, ConsumerName::Absent, body)),
            ApiSubject::ConsumerCreateNamed { stream, name, filter } => {
                encode(self.consumer(stream, ConsumerName::Named { name, filter }, body))
            }
            ApiSubject::ConsumerCreateDurable { stream, name } => {
                encode(self.consumer(stream, ConsumerName::Durable(name), body))
            }
            ApiSubject::ConsumerNames(stream) => encode(self.consumer_names(stream, body)),
            ApiSubject::ConsumerList(stream) => encode(self.consumer_list(stream)),
            ApiSubject::ConsumerInfo { stream, consumer } => encode(self.consumer_info(stream, consumer)),
            other => panic!("{other:?} is not modelled"),
        }
    }

    fn create(&mut self, name: &str, body: &[u8]) -> Result<StreamCreated, ApiError> {
        let request: StreamConfigRequest = read(body, true)?;
        let (server, account) = (ServerLimits::default(), AccountTiers::unlimited());
        let environment = Environment { server: &server, account: &account, streams: &self.streams, clustered: false };
        if let StreamCreate::New(config) = check_create(name, request, &environment)? {
            self.streams.push(Arc::new(*config));
            self.streams.sort_by(|left, right| left.name.cmp(&right.name));
        }
        let info = self.stream_info(self.find(name)?, true);
        Ok(StreamCreated { info: Some(info), did_create: true })
    }

    fn update(&mut self, name: &str, body: &[u8]) -> Result<StreamUpdated, ApiError> {
        let request: StreamConfigRequest = read(body, true)?;
        let (server, account) = (ServerLimits::default(), AccountTiers::unlimited());
        let environment = Environment { server: &server, account: &account, streams: &self.streams, clustered: false };
        let consumers = self.consumers.iter().filter(|(stream, ..)| stream == name);
        let consumers = consumers.map(|(_, name, config)| (name.as_str(), config));
        let config = check_update(name, request, &environment, consumers)?;
        let position = self.streams.iter().position(|stream| stream.name == name).expect("it was found");
        self.streams[position] = Arc::new(config);
        Ok(StreamUpdated(Some(self.stream_info(&self.streams[position], true))))
    }

    fn names(&self, body: &[u8]) -> Result<StreamNames, ApiError> {
        let request: StreamNamesRequest = read_optional(body, true)?;
        let found = self.matching(&request.subject);
        let (paging, page) = Paging::of(found.len(), request.offset, NAMES_LIMIT);
        Ok(StreamNames::new(paging, found[page].iter().map(|config| config.name.clone()).collect()))
    }

    fn list(&self, body: &[u8]) -> Result<StreamList, ApiError> {
        let StreamListRequest(request) = read_optional(body, true)?;
        let found = self.matching(&request.subject);
        let (paging, page) = Paging::of(found.len(), request.offset, LIST_LIMIT);
        let streams = found[page].iter().map(|config| self.stream_info(config, false)).collect();
        Ok(StreamList { paging, streams, ..StreamList::default() })
    }

    fn info(&self, name: &str, body: &[u8]) -> Result<StreamInfoReply, ApiError> {
        let _: StreamInfoRequest = read_optional(body, true)?;
        let mut info = self.stream_info(self.find(name)?, true);
        info.cluster = Some(ClusterInfo { leader: "L".to_owned(), ..ClusterInfo::default() });
        Ok(StreamInfoReply { info: Some(info), ..StreamInfoReply::default() })
    }

    fn consumer(&mut self, stream: &str, name: ConsumerName<'_>, body: &[u8]) -> Result<ConsumerCreated, ApiError> {
        let request: CreateConsumerRequest = read(body, true)?;
        if request.stream_name != stream {
            return Err(error_codes::STREAM_MISMATCH.error());
        }
        let (server, account) = (ServerLimits::default(), AccountTiers::unlimited());
        let environment = Environment { server: &server, account: &account, streams: &self.streams, clustered: false };
        let others: Vec<OtherConsumer<'_>> = self
            .consumers
            .iter()
            .filter(|(of, ..)| of == stream)
            .map(|(_, name, config)| OtherConsumer { name, config })
            .collect();
        let config = self.streams.iter().find(|config| config.name == stream);
        let (name, config) =
            match check_consumer(name, request, config.map(|it| &**it), &others, &environment, &|_| false)? {
                ConsumerCreate::New(config) => (config.name.clone(), *config),
                ConsumerCreate::Update { name, config } => (name, *config),
            };
        self.consumers.retain(|(of, other, _)| of != stream || *other != name);
        self.consumers.push((stream.to_owned(), name.clone(), config));
        self.consumers.sort_by(|left, right| left.1.cmp(&right.1));
        self.consumer_info(stream, &name).map(|reply| ConsumerCreated(reply.0))
    }

    fn consumer_names(&self, stream: &str, body: &[u8]) -> Result<ConsumerNames, ApiError> {
        let request: ConsumersRequest = read_optional(body, true)?;
        self.find(stream)?;
        let names: Vec<String> =
            self.consumers.iter().filter(|(of, ..)| of == stream).map(|(_, name, _)| name.clone()).collect();
        let (paging, page) = Paging::of(names.len(), request.offset, NAMES_LIMIT);
        Ok(ConsumerNames { paging, consumers: names[page].to_vec() })
    }

    fn consumer_list(&self, stream: &str) -> Result<ConsumerList, ApiError> {
        self.find(stream)?;
        let of_stream = self.consumers.iter().filter(|(of, ..)| of == stream);
        let consumers: Vec<ConsumerInfo> =
            of_stream.map(|(_, name, config)| info_of_consumer(stream, name, config.clone())).collect();
        let (paging, _) = Paging::of(consumers.len(), 0, LIST_LIMIT);
        Ok(ConsumerList { paging, consumers, ..ConsumerList::default() })
    }

    fn consumer_info(&self, stream: &str, name: &str) -> Result<ConsumerInfoReply, ApiError> {
        self.find(stream)?;
        let found = self.consumers.iter().find(|(of, other, _)| of == stream && other == name);
        let (.., config) = found.ok_or_else(|| error_codes::CONSUMER_NOT_FOUND.error())?;
        Ok(ConsumerInfoReply(Some(info_of_consumer(stream, name, with_dynamic_consumer(config)))))
    }

    fn find(&self, name: &str) -> Result<&Arc<StreamConfig>, ApiError> {
        let found = self.streams.iter().find(|config| config.name == name);
        found.ok_or_else(|| error_codes::STREAM_NOT_FOUND.error())
    }

    fn matching(&self, filter: &str) -> Vec<&Arc<StreamConfig>> {
        let overlaps = |own: &String| subject::overlaps(own.as_bytes(), filter.as_bytes());
        self.streams.iter().filter(|config| filter.is_empty() || config.subjects.iter().any(overlaps)).collect()
    }

    fn stream_info(&self, config: &StreamConfig, dynamic: bool) -> StreamInfo {
        let consumer_count = self.consumers.iter().filter(|(of, ..)| *of == config.name).count() as u64;
        let first_seq = config.first_seq;
        let state =
            StreamState { consumer_count, first_seq, last_seq: first_seq.saturating_sub(1), ..StreamState::default() };
        let config = if dynamic { with_dynamic_stream(config) } else { config.clone() };
        StreamInfo { config, state, ..StreamInfo::default() }
    }
}

fn info_of_consumer(stream: &str, name: &str, config: ConsumerConfig) -> ConsumerInfo {
    let groups = config.priority_groups.iter();
    let priority_groups = groups.map(|group| PriorityGroupState { group: group.clone(), ..Default::default() });
    // The consumers recorded start at the sequence that they ask for, or at the first of their stream.
    let first = if stream == "B" { 10 } else { config.opt_start_seq };
    let start = SequenceInfo { stream_seq: first.saturating_sub(1), ..SequenceInfo::default() };
    ConsumerInfo {
        delivered: start,
        ack_floor: start,
        stream_name: stream.to_owned(),
        name: name.to_owned(),
        priority_groups: priority_groups.collect(),
        config: Some(config),
        ..ConsumerInfo::default()
    }
}

#[test]
fn replies_are_those_of_the_genuine_server() {
    let recorded = include_str!("golden/requests.txt");
    let mut lines = recorded.lines().filter(|line| !line.starts_with('#'));
    let mut model = Model::default();
    let mut failures = Vec::new();
    while let (Some(request), Some(expected)) = (lines.next(), lines.next()) {
        let (subject, body) = request.split_once(' ').unwrap_or((request, ""));
        let reply = String::from_utf8(model.answer(subject, body.as_bytes())).unwrap();
        let zero = Timestamp::ZERO.to_string();
        let reply = reply
            .replace(&format!("\"created\":\"{zero}\""), "\"created\":\"T\"")
            .replace(&format!("\"ts\":\"{zero}\""), "\"ts\":\"T\"");
        if reply != expected {
            failures.push(format!("{request}\n  genuine {expected}\n  ours    {reply}"));
        }
    }
    assert!(failures.is_empty(), "{} replies differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_is_not_json_is_told_as_the_genuine_server_does() {
    for (body, expected) in [
        (
            r#"{"name":"A","max_msgs":"x"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
        (r#"{"name":"A","#, "unexpected EOF"),
        (r#"{"name" "A"}"#, "invalid character '\"' after object key at offset 9"),
        (r#"{"retention":"foo"}"#, r#"can not unmarshal "\"foo\"""#),
        (
            r#"{"subjects":["a<b>",1]}"#,
            "json: cannot unmarshal number into StreamConfigRequest.subjects.1 of type string",
        ),
        (
            r#"{"max_msgs":1.5}"#,
            "json: cannot unmarshal number 1.5 into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
        (
            r#"{"max_msg_size":99999999999999}"#,
            "json: cannot unmarshal number 99999999999999 into Go struct field StreamConfigRequest.max_msg_size of type int32",
        ),
        (
            r#"{"mirror":{"opt_start_time":"abc"}}"#,
            "parsing time \"abc\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"abc\" as \"2006\"",
        ),
        ("[]", "json: cannot unmarshal array into Go value of type server.StreamConfigRequest"),
        (
            r#"{"sources":[{"name":1}]}"#,
            "json: cannot unmarshal number into Go struct field StreamConfigRequest.sources.0.name of type string",
        ),
        (
            r#"{"sources":[5]}"#,
            "json: cannot unmarshal number into StreamConfigRequest.sources.0 of type server.StreamSource",
        ),
        (
            r#"{"sources":{}}"#,
            "json: cannot unmarshal object into Go struct field StreamConfigRequest.sources of type []*server.StreamSource",
        ),
        (
            r#"{"metadata":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field StreamConfigRequest.metadata.a of type string",
        ),
        (
            r#"{"max_age":"5s"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_age of type time.Duration",
        ),
        (
            r#"{"first_seq":-1}"#,
            "json: cannot unmarshal number -1 into Go struct field StreamConfigRequest.first_seq of type uint64",
        ),
        (r#"{"discard":"OLD","compression":"x"}"#, "unknown compression algorithm"),
        (r#"{"storage":null}"#, r#"can not unmarshal "null""#),
        (r#"{"name":"B"} x"#, "invalid character 'x' looking for beginning of value at offset 14"),
        (r#"{"name":"B",}"#, "invalid character '}' looking for beginning of object key string at offset 13"),
        (r#"{"name":"B\q"}"#, "invalid escape sequence `\\q` in string at offset 12"),
        ("{\"name\":\"B\t\"}", "invalid character '\\t' in string at offset 11"),
        (r#"{"name":truX}"#, "invalid character 'X' in literal true (expecting 'e') at offset 12"),
        (r#"{"name":-}"#, "invalid character '}' in numeric literal at offset 10"),
        (r#"{"name":01}"#, "invalid character '1' after object key:value pair at offset 10"),
        ("[1 2]", "invalid character '2' after array element at offset 4"),
        ("é", "invalid character 'é' looking for beginning of value at offset 2"),
        (r#"{"name":"\u12zz"}"#, "invalid escape sequence `\\u12zz` in string at offset 15"),
        ("{\"bogus<\\\"é\\u0001>\":1}", "json: unknown field \"bogus<\\\"é\\x01>\""),
        (
            r#"{"max_msgs":"x","bogus":1,"retention":"foo"}"#,
            "json: cannot unmarshal string into Go struct field StreamConfigRequest.max_msgs of type int64",
        ),
    ] {
        assert_eq!(json::read::<StreamConfigRequest>(body.as_bytes(), true).unwrap_err(), expected, "{body}");
    }
}

#[test]
fn reading_is_lenient_where_the_genuine_server_is() {
    let body = br#"{"NAME":"A","Subjects":["a"],"metadata":null,"placement":null,"max_age":null} {"max_msgs":7}"#;
    let request: StreamConfigRequest = read(body, true).unwrap();
    assert_eq!((request.config.name.as_str(), request.config.max_msgs), ("A", 7));
    assert_eq!(request.config.subjects, ["a"]);
    assert!(read::<StreamConfigRequest>(b"", true).is_ok());
    assert!(read::<StreamConfigRequest>(b"null", true).is_ok());
    assert!(read::<StreamConfigRequest>(br#"{"unknown":1}"#, false).is_ok());
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(body in "[\\[\\]{}\":,a-z0-9\\\\u.eE+-]{0,60}") {
        let _ = read::<CreateConsumerRequest>(body.as_bytes(), true);
        let _ = read::<StreamConfigRequest>(body.as_bytes(), false);
    }

    #[test]
    fn a_written_config_is_read_back(name in "\\PC{0,10}", max_msgs: i64, wait: i64, filter in "\\PC{0,10}") {
        let config = StreamConfig { name: name.clone(), max_msgs, subjects: vec![filter.clone()], ..Default::default() };
        let read_back: StreamConfigRequest = read(&json::write(&config), true).unwrap();
        proptest::prop_assert_eq!(read_back.config, config);
        let config = ConsumerConfig { name, ack_wait: wait, filter_subject: filter, ..Default::default() };
        let mut body = b"{\"config\":".to_vec();
        body.extend_from_slice(&json::write(&config));
        body.push(b'}');
        let read_back: CreateConsumerRequest = read(&body, true).unwrap();
        proptest::prop_assert_eq!(read_back.config, config);
    }
}
