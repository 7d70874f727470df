//! Who serves a stream or a consumer, as infos tell it. Single servers omit it, except for `leader` and `replicas` in a cluster.

use serde::Serialize;

use super::skip::{is_default, is_false};
use super::time::{DurationNs, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub raft_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub leader: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_false")]
    pub system_account: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub traffic_account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<PeerInfo>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerInfo {
    pub name: String,
    pub current: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub offline: bool,
    /// How long ago it was last heard of.
    pub active: DurationNs,
    #[serde(skip_serializing_if = "is_default")]
    pub lag: u64,
    pub peer: String,
    #[serde(skip_serializing_if = "is_false")]
    pub pending: bool,
}
