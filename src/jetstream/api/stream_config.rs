//! The configuration of a stream (T-01 to T-37): fields named and ordered as in JSON.

use serde::Serialize;

use super::json::{Decode, Decoder, Fields, Json, Value, quote};
use super::metadata::Metadata;
use super::skip::{is_default, is_false};
use super::stream_source::{StreamSource, SubjectTransform};
use super::time::DurationNs;

/// What a client asks for and what every info reply echoes. All durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamConfig {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    pub retention: Retention,
    /// This and the limits below: -1 is without limit; 0 only before the defaults are set.
    pub max_consumers: i64,
    pub max_msgs: i64,
    pub max_bytes: i64,
    pub max_age: DurationNs,
    pub max_msgs_per_subject: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub max_msg_size: i32,
    pub discard: Discard,
    pub storage: StorageType,
    pub num_replicas: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub no_ack: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub duplicate_window: DurationNs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSource>,
    pub compression: Compression,
    #[serde(skip_serializing_if = "is_default")]
    pub first_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    pub allow_direct: bool,
    pub mirror_direct: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
    pub sealed: bool,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub allow_rollup_hdrs: bool,
    pub consumer_limits: ConsumerLimits,
    pub allow_msg_ttl: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub subject_delete_marker_ttl: DurationNs,
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_counter: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub allow_atomic: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub allow_msg_schedules: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub persist_mode: PersistMode,
    #[serde(skip_serializing_if = "is_false")]
    pub allow_batched: bool,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

impl Fields for StreamConfig {
    const NAME: &'static str = "StreamConfig";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "name" => decoder.text(json, &mut self.name),
            "description" => decoder.text(json, &mut self.description),
            "subjects" => decoder.texts(json, &mut self.subjects),
            "retention" => decoder.custom(json, &mut self.retention),
            "max_consumers" => decoder.int(json, &mut self.max_consumers, "int"),
            "max_msgs" => decoder.int(json, &mut self.max_msgs, "int64"),
            "max_bytes" => decoder.int(json, &mut self.max_bytes, "int64"),
            "max_age" => decoder.duration(json, &mut self.max_age),
            "max_msgs_per_subject" => decoder.int(json, &mut self.max_msgs_per_subject, "int64"),
            "max_msg_size" => decoder.int32(json, &mut self.max_msg_size),
            "discard" => decoder.custom(json, &mut self.discard),
            "storage" => decoder.custom(json, &mut self.storage),
            "num_replicas" => decoder.int(json, &mut self.num_replicas, "int"),
            "no_ack" => decoder.boolean(json, &mut self.no_ack),
            "duplicate_window" => decoder.duration(json, &mut self.duplicate_window),
            "placement" => decoder.optional(json, &mut self.placement),
            "mirror" => decoder.optional(json, &mut self.mirror),
            "sources" => decoder.objects(json, &mut self.sources, "[]*server.StreamSource"),
            "compression" => decoder.custom(json, &mut self.compression),
            "first_seq" => decoder.unsigned(json, &mut self.first_seq),
            "subject_transform" => decoder.optional(json, &mut self.subject_transform),
            "republish" => decoder.optional(json, &mut self.republish),
            "allow_direct" => decoder.boolean(json, &mut self.allow_direct),
            "mirror_direct" => decoder.boolean(json, &mut self.mirror_direct),
            "discard_new_per_subject" => decoder.boolean(json, &mut self.discard_new_per_subject),
            "sealed" => decoder.boolean(json, &mut self.sealed),
            "deny_delete" => decoder.boolean(json, &mut self.deny_delete),
            "deny_purge" => decoder.boolean(json, &mut self.deny_purge),
            "allow_rollup_hdrs" => decoder.boolean(json, &mut self.allow_rollup_hdrs),
            "consumer_limits" => decoder.object(json, &mut self.consumer_limits),
            "allow_msg_ttl" => decoder.boolean(json, &mut self.allow_msg_ttl),
            "subject_delete_marker_ttl" => decoder.duration(json, &mut self.subject_delete_marker_ttl),
            "allow_msg_counter" => decoder.boolean(json, &mut self.allow_msg_counter),
            "allow_atomic" => decoder.boolean(json, &mut self.allow_atomic),
            "allow_msg_schedules" => decoder.boolean(json, &mut self.allow_msg_schedules),
            "persist_mode" => decoder.custom(json, &mut self.persist_mode),
            "allow_batched" => decoder.boolean(json, &mut self.allow_batched),
            "metadata" => decoder.map(json, &mut self.metadata),
            _ => false,
        }
    }
}

/// Defaults and caps for the consumers of a stream (T-29); 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerLimits {
    #[serde(skip_serializing_if = "is_default")]
    pub inactive_threshold: DurationNs,
    #[serde(skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
}

impl Fields for ConsumerLimits {
    const NAME: &'static str = "StreamConsumerLimits";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "inactive_threshold" => decoder.duration(json, &mut self.inactive_threshold),
            "max_ack_pending" => decoder.int(json, &mut self.max_ack_pending, "int"),
            _ => false,
        }
    }
}

/// Stored messages are published again under another subject (T-23).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Republish {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub src: String,
    pub dest: String,
    #[serde(skip_serializing_if = "is_false")]
    pub headers_only: bool,
}

impl Fields for Republish {
    const NAME: &'static str = "RePublish";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "src" => decoder.text(json, &mut self.src),
            "dest" => decoder.text(json, &mut self.dest),
            "headers_only" => decoder.boolean(json, &mut self.headers_only),
            _ => false,
        }
    }
}

/// Where the replicas of a stream may live (T-17).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placement {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub preferred: String,
}

impl Fields for Placement {
    const NAME: &'static str = "Placement";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        match name {
            "cluster" => decoder.text(json, &mut self.cluster),
            "tags" => decoder.texts(json, &mut self.tags),
            "preferred" => decoder.text(json, &mut self.preferred),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    #[default]
    Limits,
    Interest,
    WorkQueue,
}

impl Decode for Retention {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""limits""# => Ok(Self::Limits),
            br#""interest""# => Ok(Self::Interest),
            br#""workqueue""# => Ok(Self::WorkQueue),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    #[default]
    Old,
    New,
}

impl Decode for Discard {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw.to_ascii_lowercase().as_slice() {
            br#""old""# => Ok(Self::Old),
            br#""new""# => Ok(Self::New),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    #[default]
    File,
    Memory,
}

impl Decode for StorageType {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""file""# => Ok(Self::File),
            br#""memory""# => Ok(Self::Memory),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    S2,
}

impl Decode for Compression {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match &json.value {
            Value::String(text) if text == "s2" => Ok(Self::S2),
            Value::String(text) if text == "none" => Ok(Self::None),
            Value::String(_) | Value::Null => Err("unknown compression algorithm".to_owned()),
            _ => Err(format!("json: cannot unmarshal {} into Go value of type string", json.kind())),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    #[default]
    Default,
    Async,
}

impl Decode for PersistMode {
    fn decode(json: &Json<'_>) -> Result<Self, String> {
        match json.raw {
            br#""default""# | br#""""# => Ok(Self::Default),
            br#""async""# => Ok(Self::Async),
            _ => Err(cannot_unmarshal(json)),
        }
    }
}

/// The refusal that the genuine server gives for an unknown value of most enums.
pub(super) fn cannot_unmarshal(json: &Json<'_>) -> String {
    format!("can not unmarshal {}", quote(&String::from_utf8_lossy(json.raw)))
}
