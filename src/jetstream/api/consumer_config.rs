//! The configuration of a consumer (U-01 to U-28): fields named and ordered as in JSON.

use serde::Serialize;

use super::json::{Decode, Decoder, Fields, Json};
use super::metadata::Metadata;
use super::skip::{is_default, is_false};
use super::stream_config::cannot_unmarshal;
use super::time::{DurationNs, Timestamp};

/// What a client asks for and what every info reply echoes. All durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub durable_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub opt_start_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<Timestamp>,
    pub ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub ack_wait: DurationNs,
    /// -1 is without limit; 0 only before the defaults are set.
    #[serde(skip_serializing_if = "is_default")]
    pub max_deliver: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff: Vec<DurationNs>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    pub replay_policy: ReplayPolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub rate_limit_bps: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sample_freq: String,
    #[serde(skip_serializing_if = "is_default")]
    pub max_waiting: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub flow_control: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub headers_only: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub max_batch: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_expires: DurationNs,
    #[serde(skip_serializing_if = "is_default")]
    pub max_bytes: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_group: String,
    #[serde(skip_serializing_if = "is_default")]
    pub idle_heartbeat: DurationNs,
    #[serde(skip_serializing_if = "is_default")]
    pub inactive_threshold: DurationNs,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub mem_storage: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub direct: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub sourcing: bool,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub priority_policy: PriorityPolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub priority_timeout: DurationNs,
}

impl ConsumerConfig {
    /// A durable consumer is never removed unless `inactive_threshold` is set.
    pub fn is_durable(&self) -> bool {
        !self.durable_name.is_empty()
    }

    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    pub fn is_pull(&self) -> bool {
        self.deliver_subject.is_empty()
    }

    /// The filters, of whichever field they were given in; none means every subject.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        let single = Some(self.filter_subject.as_str()).filter(|filter| !filter.is_empty());
        single.into_iter().chain(self.filter_subjects.iter().map(String::as_str))
    }
}

impl Fields for ConsumerConfig {
    const NAME: &'static str = "ConsumerConfig";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "durable_name" => decoder.text(json, &mut self.durable_name),
            "name" => decoder.text(json, &mut self.name),
            "description" => decoder.text(json, &mut self.description),
            "deliver_policy" => decoder.custom(json, &mut self.deliver_policy),
            "opt_start_seq" => decoder.unsigned(json, &mut self.opt_start_seq),
            "opt_start_time" => decoder.time(json, &mut self.opt_start_time),
            "ack_policy" => decoder.custom(json, &mut self.ack_policy),
            "ack_wait" => decoder.duration(json, &mut self.ack_wait),
            "max_deliver" => decoder.int(json, &mut self.max_deliver, "int"),
            "backoff" => decoder.durations(json, &mut self.backoff),
            "filter_subject" => decoder.text(json, &mut self.filter_subject),
            "filter_subjects" => decoder.texts(json, &mut self.filter_subjects),
            "replay_policy" => decoder.custom(json, &mut self.replay_policy),
            "rate_limit_bps" => decoder.unsigned(json, &mut self.rate_limit_bps),
            "sample_freq" => decoder.text(json, &mut self.sample_freq),
            "max_waiting" => decoder.int(json, &mut self.max_waiting, "int"),
            "max_ack_pending" => decoder.int(json, &mut self.max_ack_pending, "int"),
            "flow_control" => decoder.boolean(json, &mut self.flow_control),
            "headers_only" => decoder.boolean(json, &mut self.headers_only),
            "max_batch" => decoder.int(json, &mut self.max_batch, "int"),
            "max_expires" => decoder.duration(json, &mut self.max_expires),
            "max_bytes" => decoder.int(json, &mut self.max_bytes, "int"),
            "deliver_subject" => decoder.text(json, &mut self.deliver_subject),
            "deliver_group" => decoder.text(json, &mut self.deliver_group),
            "idle_heartbeat" => decoder.duration(json, &mut self.idle_heartbeat),
            "inactive_threshold" => decoder.duration(json, &mut self.inactive_threshold),
            "num_replicas" => decoder.int(json, &mut self.num_replicas, "int"),
            "mem_storage" => decoder.boolean(json, &mut self.mem_storage),
            "direct" => decoder.boolean(json, &mut self.direct),
            "sourcing" => decoder.boolean(json, &mut self.sourcing),
            "metadata" => decoder.map(json, &mut self.metadata),
            "pause_until" => decoder.time(json, &mut self.pause_until),
            "priority_groups" => decoder.texts(json, &mut self.priority_groups),
            "priority_policy" => decoder.custom(json, &mut self.priority_policy),
            "priority_timeout" => decoder.duration(json, &mut self.priority_timeout),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    #[default]
    All,
    Last,
    New,
    ByStartSequence,
    ByStartTime,
    LastPerSubject,
}

impl Decode for DeliverPolicy {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""all""# | br#""undefined""# => Ok(Self::All),
            br#""last""# => Ok(Self::Last),
            br#""new""# => Ok(Self::New),
            br#""by_start_sequence""# => Ok(Self::ByStartSequence),
            br#""by_start_time""# => Ok(Self::ByStartTime),
            br#""last_per_subject""# => Ok(Self::LastPerSubject),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    #[default]
    None,
    All,
    Explicit,
    FlowControl,
}

impl Decode for AckPolicy {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""none""# => Ok(Self::None),
            br#""all""# => Ok(Self::All),
            br#""explicit""# => Ok(Self::Explicit),
            br#""flow_control""# => Ok(Self::FlowControl),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    #[default]
    Instant,
    Original,
}

impl Decode for ReplayPolicy {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""instant""# => Ok(Self::Instant),
            br#""original""# => Ok(Self::Original),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

/// How a pull consumer chooses among its waiting requests (ADR-42).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityPolicy {
    #[default]
    None,
    Overflow,
    PinnedClient,
    Prioritized,
}

impl Decode for PriorityPolicy {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""none""# => Ok(Self::None),
            br#""overflow""# => Ok(Self::Overflow),
            br#""pinned_client""# => Ok(Self::PinnedClient),
            br#""prioritized""# => Ok(Self::Prioritized),
            _ => Err(format!("unknown priority policy: {}", String::from_utf8_lossy(json.raw))),
        }
    }
}
