//! The replies of the API: `type`, then `error` or the data (6.1).
//!
//! A body knows the type of its reply. A refused request is answered with the body's defaults, since that is what
//! the genuine server does: paging totals and `purged` stay visible beside an error.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account_info::AccountInfo;
use super::consumer_info::ConsumerInfo;
use super::error::ApiError;
use super::json;
use super::skip::{is_default, is_false};
use super::stream_config::StreamConfig;
use super::stream_info::{StreamInfo, StreamState};
use super::time::{DurationNs, Timestamp};

/// What a reply carries beside its type and error.
pub trait Body: Serialize + Default {
    /// The last part of the type, as in `io.nats.jetstream.api.v1.<NAME>_response`.
    const NAME: &'static str;
}

/// The JSON of a reply.
pub fn encode<B: Body>(outcome: Result<B, ApiError>) -> Vec<u8> {
    let (body, error) = match outcome {
        Ok(body) => (body, None),
        Err(error) => (B::default(), Some(error)),
    };
    encode_with(body, error)
}

/// As [`encode`], when an error comes with data.
pub fn encode_with<B: Body>(body: B, error: Option<ApiError>) -> Vec<u8> {
    json::write(&Reply { kind: format!("io.nats.jetstream.api.v1.{}_response", B::NAME), error, body })
}

#[derive(Serialize)]
struct Reply<B> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(flatten)]
    body: B,
}

/// Declares the bodies that say nothing but `success`.
macro_rules! success_bodies {
    ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Serialize)]
        pub struct $type {
            #[serde(skip_serializing_if = "is_false")]
            pub success: bool,
        }

        impl $type {
            pub const SUCCESS: $type = $type { success: true };
        }

        impl Body for $type {
            const NAME: &'static str = $name;
        }
    )*};
}

success_bodies! {
    /// STREAM.DELETE.
    StreamDeleted = "stream_delete";
    /// STREAM.MSG.DELETE.
    MessageDeleted = "stream_msg_delete";
    /// CONSUMER.DELETE.
    ConsumerDeleted = "consumer_delete";
    /// STREAM.LEADER.STEPDOWN.
    StreamSteppedDown = "stream_leader_stepdown";
    /// CONSUMER.LEADER.STEPDOWN.
    ConsumerSteppedDown = "consumer_leader_stepdown";
    /// STREAM.PEER.REMOVE.
    PeerRemoved = "stream_remove_peer";
    /// STREAM.PEER.EVACUATE.
    PeerEvacuated = "stream_evacuate_peer";
    /// STREAM.CANCEL_MOVE.
    MoveCancelled = "stream_cancel_move";
    /// META.LEADER.STEPDOWN.
    MetaSteppedDown = "meta_leader_stepdown";
    /// SERVER.REMOVE.
    ServerRemoved = "meta_server_remove";
}

/// Declares the bodies that are an optional info and nothing else.
macro_rules! info_bodies {
    ($($(#[$doc:meta])* $type:ident($info:ty) = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Serialize)]
        #[serde(transparent)]
        pub struct $type(pub Option<$info>);

        impl Body for $type {
            const NAME: &'static str = $name;
        }
    )*};
}

info_bodies! {
    /// INFO.
    AccountInfoReply(AccountInfo) = "account_info";
    /// STREAM.UPDATE.
    StreamUpdated(StreamInfo) = "stream_update";
    /// CONSUMER.CREATE.
    ConsumerCreated(ConsumerInfo) = "consumer_create";
    /// CONSUMER.INFO.
    ConsumerInfoReply(ConsumerInfo) = "consumer_info";
}

/// STREAM.CREATE.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamCreated {
    #[serde(flatten)]
    pub info: Option<StreamInfo>,
    #[serde(skip_serializing_if = "is_false")]
    pub did_create: bool,
}

impl Body for StreamCreated {
    const NAME: &'static str = "stream_create";
}

/// Which part of a list this is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Paging {
    pub total: u64,
    pub offset: u64,
    pub limit: u64,
}

/// Names, per page.
pub const NAMES_LIMIT: usize = 1024;
/// Infos, per page.
pub const LIST_LIMIT: usize = 256;
/// Subjects in a stream info, per page.
pub const SUBJECTS_LIMIT: usize = 100_000;

impl Paging {
    /// The page of `total` items that begins at `offset`, and which items are on it.
    pub fn of(total: usize, offset: i64, limit: usize) -> (Self, std::ops::Range<usize>) {
        let offset = usize::try_from(offset).unwrap_or(0).min(total);
        let end = total.min(offset.saturating_add(limit));
        (Self { total: total as u64, offset: offset as u64, limit: limit as u64 }, offset..end)
    }
}

/// STREAM.INFO.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamInfoReply {
    #[serde(flatten)]
    pub paging: Paging,
    #[serde(flatten)]
    pub info: Option<StreamInfo>,
}

impl Body for StreamInfoReply {
    const NAME: &'static str = "stream_info";
}

/// STREAM.NAMES; no names are `null`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamNames {
    #[serde(flatten)]
    pub paging: Paging,
    pub streams: Option<Vec<String>>,
}

impl StreamNames {
    pub fn new(paging: Paging, streams: Vec<String>) -> Self {
        Self { paging, streams: Some(streams).filter(|names| !names.is_empty()) }
    }
}

impl Body for StreamNames {
    const NAME: &'static str = "stream_names";
}

/// STREAM.LIST.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamList {
    #[serde(flatten)]
    pub paging: Paging,
    pub streams: Vec<StreamInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offline: BTreeMap<String, String>,
}

impl Body for StreamList {
    const NAME: &'static str = "stream_list";
}

/// CONSUMER.NAMES.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumerNames {
    #[serde(flatten)]
    pub paging: Paging,
    pub consumers: Vec<String>,
}

impl Body for ConsumerNames {
    const NAME: &'static str = "consumer_names";
}

/// CONSUMER.LIST.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumerList {
    #[serde(flatten)]
    pub paging: Paging,
    pub consumers: Vec<ConsumerInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub offline: BTreeMap<String, String>,
}

impl Body for ConsumerList {
    const NAME: &'static str = "consumer_list";
}

/// STREAM.PURGE.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StreamPurged {
    #[serde(skip_serializing_if = "is_false")]
    pub success: bool,
    pub purged: u64,
}

impl Body for StreamPurged {
    const NAME: &'static str = "stream_purge";
}

/// STREAM.MSG.GET.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MessageReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<StoredMessage>,
}

impl Body for MessageReply {
    const NAME: &'static str = "stream_msg_get";
}

/// A message in JSON: bytes are base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoredMessage {
    pub subject: String,
    pub seq: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hdrs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    pub time: Timestamp,
}

/// CONSUMER.PAUSE.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ConsumerPaused {
    pub paused: bool,
    pub pause_until: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub pause_remaining: DurationNs,
}

impl Body for ConsumerPaused {
    const NAME: &'static str = "consumer_pause";
}

/// CONSUMER.RESET.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumerReset {
    #[serde(flatten)]
    pub info: Option<ConsumerInfo>,
    pub reset_seq: u64,
}

impl Body for ConsumerReset {
    const NAME: &'static str = "consumer_reset";
}

/// CONSUMER.UNPIN.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ConsumerUnpinned {}

impl Body for ConsumerUnpinned {
    const NAME: &'static str = "consumer_unpin";
}

/// STREAM.SNAPSHOT.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SnapshotStarted {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<StreamConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StreamState>,
}

impl Body for SnapshotStarted {
    const NAME: &'static str = "stream_snapshot";
}

/// STREAM.RESTORE.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreStarted {
    pub deliver_subject: String,
}

impl Body for RestoreStarted {
    const NAME: &'static str = "stream_restore";
}

/// Whatever has no type of its own: JetStream is off, the subject is malformed.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct System {}

impl Body for System {
    const NAME: &'static str = "system";
}
