//! What is told about a stream: configuration, state, origin (T-44, T-48, T-67).

use std::collections::BTreeMap;

use serde::Serialize;

use super::cluster_info::ClusterInfo;
use super::error::ApiError;
use super::json::{Decoder, Fields, Json};
use super::skip::is_default;
use super::stream_config::StreamConfig;
use super::stream_source::{ExternalStream, SubjectTransform};
use super::time::{DurationNs, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamInfo {
    pub config: StreamConfig,
    pub created: Timestamp,
    pub state: StreamState,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternates: Vec<StreamAlternate>,
    /// When the info was gathered.
    pub ts: Timestamp,
}

/// The counters of a stream. Field names are those of JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub first_ts: Timestamp,
    pub last_seq: u64,
    pub last_ts: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub num_subjects: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub num_deleted: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostMessages>,
    pub consumer_count: u64,
}

/// Messages that damage has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LostMessages {
    pub msgs: Vec<u64>,
    pub bytes: u64,
}

/// How a mirror or a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamSourceInfo {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStream>,
    pub lag: u64,
    /// Since the last message or heartbeat; -1 when there was none yet.
    pub active: DurationNs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
}

/// Another place to read the same messages from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamAlternate {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    pub cluster: String,
}

/// Restores name the state they were taken from.
impl Fields for StreamState {
    const NAME: &'static str = "StreamState";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        let mut number = 0;
        match name {
            "messages" => decoder.unsigned(json, &mut self.messages),
            "bytes" => decoder.unsigned(json, &mut self.bytes),
            "first_seq" => decoder.unsigned(json, &mut self.first_seq),
            "first_ts" => decoder.instant(json, &mut self.first_ts),
            "last_seq" => decoder.unsigned(json, &mut self.last_seq),
            "last_ts" => decoder.instant(json, &mut self.last_ts),
            "num_subjects" | "num_deleted" | "consumer_count" => {
                let known = decoder.int(json, &mut number, "int");
                let target = match name {
                    "num_subjects" => &mut self.num_subjects,
                    "num_deleted" => &mut self.num_deleted,
                    _ => &mut self.consumer_count,
                };
                *target = u64::try_from(number).unwrap_or(0);
                known
            }
            // Details that nobody needs to restore.
            "subjects" | "deleted" | "lost" => true,
            _ => false,
        }
    }
}
