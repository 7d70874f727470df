//! The consumers of one stream as its log knows them: names, configurations and replicated states.
//!
//! Changed only by entries, in their order, so it is the same on every replica. What the leader does with a consumer
//! is in the module `live`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tracing::error;

use super::api::{ConsumerConfig, json};
use super::consumer::{ConsumerState, Delta, Filter, delta};
use super::stream::{ConsumerChange, Consumers, Interest, LostInterest};

/// One consumer.
pub struct ConsumerRecord {
    pub name: String,
    pub config: Arc<ConsumerConfig>,
    /// Log time of its creation.
    pub created: i64,
    pub state: ConsumerState,
    filter: Filter,
}

/// All consumers of a stream, by their number in it.
#[derive(Default)]
pub struct ConsumerTable {
    records: BTreeMap<u64, ConsumerRecord>,
    names: BTreeMap<String, u64>,
    next_id: u64,
}

/// The body of a create entry. The start is decided by whoever proposes, from the stream as it is then, so that the
/// entry says everything.
#[derive(Clone, PartialEq, Message)]
pub struct CreateBody {
    #[prost(string, tag = "1")]
    pub name: String,
    /// JSON.
    #[prost(bytes = "bytes", tag = "2")]
    pub config: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub state: Bytes,
    /// Set in checkpoints only; an entry has a time of its own.
    #[prost(int64, tag = "4")]
    pub created: i64,
    /// Set in checkpoints only.
    #[prost(uint64, tag = "5")]
    pub id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Checkpoint {
    #[prost(message, repeated, tag = "1")]
    consumers: Vec<CreateBody>,
    #[prost(uint64, tag = "2")]
    next_id: u64,
}

/// Bytes that hold no consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a consumer's definition is malformed")]
pub struct MalformedConsumer;

impl ConsumerTable {
    #[expect(clippy::len_without_is_empty, reason = "`Interest::is_empty` asks whether anybody needs a message")]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn id(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    pub fn get(&self, id: u64) -> Option<&ConsumerRecord> {
        self.records.get(&id)
    }

    pub fn find(&self, name: &str) -> Option<(u64, &ConsumerRecord)> {
        let id = self.id(name)?;
        Some((id, self.records.get(&id)?))
    }

    /// In the order of their names.
    pub fn by_name(&self) -> impl Iterator<Item = (&str, u64, &ConsumerRecord)> {
        self.names.iter().filter_map(|(name, id)| Some((name.as_str(), *id, self.records.get(id)?)))
    }

    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.records.keys().copied()
    }

    /// A number that no consumer of this stream has had, counting those whose creation is under way.
    pub fn next_id(&self) -> u64 {
        self.next_id.max(1)
    }

    pub fn checkpoint(&self) -> Vec<u8> {
        let consumers = self.records.iter().map(|(id, record)| record.encode(*id)).collect();
        Checkpoint { consumers, next_id: self.next_id }.encode_to_vec()
    }

    /// # Errors
    /// When the bytes are not a checkpoint of consumers.
    pub fn restore(bytes: &[u8]) -> Result<Self, MalformedConsumer> {
        let checkpoint = Checkpoint::decode(bytes).map_err(|_| MalformedConsumer)?;
        let mut table = Self::default();
        for body in checkpoint.consumers {
            let (id, created) = (body.id, body.created);
            table.create(id, body, created)?;
        }
        table.next_id = table.next_id.max(checkpoint.next_id);
        Ok(table)
    }

    /// Adds up what replicas must agree on.
    pub fn hash_into(&self, hasher: &mut impl std::hash::Hasher) {
        for (id, record) in &self.records {
            hasher.write_u64(*id);
            hasher.write(record.name.as_bytes());
            record.state.hash_into(hasher);
        }
    }

    fn create(&mut self, id: u64, body: CreateBody, created: i64) -> Result<(), MalformedConsumer> {
        let record = ConsumerRecord::decode(body, created)?;
        self.next_id = self.next_id.max(id.saturating_add(1));
        if !self.names.contains_key(&record.name) {
            self.names.insert(record.name.clone(), id);
            self.records.insert(id, record);
        }
        Ok(())
    }

    fn update(&mut self, id: u64, body: &[u8]) -> Result<Option<LostInterest>, MalformedConsumer> {
        let config: ConsumerConfig = json::read(body, false).map_err(|_| MalformedConsumer)?;
        let Some(record) = self.records.get_mut(&id) else { return Ok(None) };
        let filter = Filter::new(config.filters());
        let before = (record.filter != filter || config.direct).then(|| record.interest()).flatten();
        record.filter = filter;
        record.config = Arc::new(config);
        Ok(before)
    }

    /// What the consumer had not done is not done by its end: a work queue keeps it for the next consumer. Whether
    /// anybody still wants it is for the stream to say.
    fn delete(&mut self, id: u64) -> Option<LostInterest> {
        let record = self.records.remove(&id)?;
        self.names.remove(&record.name);
        record.interest()
    }

    fn delta(
        &mut self,
        id: u64,
        body: &[u8],
        released: &mut Vec<RangeInclusive<u64>>,
    ) -> Result<Option<LostInterest>, MalformedConsumer> {
        let Some(record) = self.records.get_mut(&id) else { return Ok(None) };
        let mut lost: Option<LostInterest> = None;
        for change in delta::decode(body) {
            let change = change.map_err(|_| MalformedConsumer)?;
            if let Delta::Reset { stream } = change {
                let before = record.interest().map(|before| LostInterest { until: stream, ..before });
                lost = match (lost, before) {
                    (Some(lost), Some(before)) => Some(lost.and(before)),
                    (lost, before) => lost.or(before),
                };
            }
            record.state.apply(&change, |sequence| match released.last_mut() {
                Some(last) if *last.end() + 1 == sequence => *last = *last.start()..=sequence,
                _ => released.push(sequence..=sequence),
            });
        }
        Ok(lost)
    }
}

impl ConsumerRecord {
    fn decode(body: CreateBody, created: i64) -> Result<Self, MalformedConsumer> {
        let config: ConsumerConfig = json::read(&body.config, false).map_err(|_| MalformedConsumer)?;
        let state = ConsumerState::decode(&body.state).map_err(|_| MalformedConsumer)?;
        let filter = Filter::new(config.filters());
        Ok(Self { name: body.name, config: Arc::new(config), created, state, filter })
    }

    fn encode(&self, id: u64) -> CreateBody {
        let mut state = Vec::new();
        self.state.encode(&mut state);
        CreateBody {
            name: self.name.clone(),
            config: json::write(self.config.as_ref()).into(),
            state: state.into(),
            created: self.created,
            id,
        }
    }

    /// Consumers of mirrors and sources have no part in retention.
    fn has_interest(&self) -> bool {
        !self.config.direct
    }

    /// What it would no longer need if it were not there.
    fn interest(&self) -> Option<LostInterest> {
        self.has_interest().then(|| LostInterest {
            filters: self.filter.as_slice().to_vec(),
            from: self.state.ack_floor().stream + 1,
            below: self.state.exhausted().collect(),
            until: u64::MAX,
        })
    }
}

impl Interest for ConsumerTable {
    fn is_empty(&self) -> bool {
        !self.records.values().any(ConsumerRecord::has_interest)
    }

    fn wants(&self, subject: &[u8]) -> bool {
        self.records.values().any(|record| record.has_interest() && record.filter.matches(subject))
    }

    fn needs(&self, sequence: u64, subject: &[u8]) -> bool {
        let needs = |record: &ConsumerRecord| {
            record.has_interest() && record.filter.matches(subject) && record.state.needs(sequence)
        };
        self.records.values().any(needs)
    }

    fn may_need(&self, sequence: u64) -> bool {
        self.records.values().any(|record| record.has_interest() && record.state.needs(sequence))
    }
}

impl Consumers for ConsumerTable {
    fn apply(
        &mut self,
        change: ConsumerChange,
        id: u64,
        body: &[u8],
        time: i64,
        acked: &mut Vec<RangeInclusive<u64>>,
    ) -> Option<LostInterest> {
        let applied = match change {
            ConsumerChange::Create => CreateBody::decode(body)
                .map_err(|_| MalformedConsumer)
                .and_then(|body| self.create(id, body, time))
                .map(|()| None),
            ConsumerChange::Update => self.update(id, body),
            ConsumerChange::Delete => Ok(self.delete(id)),
            ConsumerChange::Delta => self.delta(id, body, acked),
        };
        applied.unwrap_or_else(|problem| {
            // The record's checksum was right, so this was written by us: every replica skips it alike.
            error!(consumer = id, ?change, %problem, "an entry of a consumer can not be applied");
            None
        })
    }
}
