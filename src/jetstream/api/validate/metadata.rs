//! The metadata that the server itself writes: which API level an asset needs, which server answers (T-37, T-75).
//!
//! The required level is stored with the asset; version and level of the server are added to replies only.

use super::super::consumer_config::{AckPolicy, ConsumerConfig, PriorityPolicy};
use super::super::metadata::Metadata;
use super::super::stream_config::{PersistMode, StreamConfig};

/// The API level that we speak.
pub const API_LEVEL: u32 = 5;
/// The version of the genuine server that we are compatible with; clients derive features from it.
pub const SERVER_VERSION: &str = "2.15.1";

const REQUIRED_LEVEL: &str = "_nats.req.level";
const VERSION: &str = "_nats.ver";
const LEVEL: &str = "_nats.level";

/// Notes the level that a stream needs and drops what belongs to replies.
pub fn set_static_stream(config: &mut StreamConfig) {
    let level = if config.allow_batched {
        4
    } else if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist_mode == PersistMode::Async
    {
        2
    } else {
        u32::from(config.allow_msg_ttl || config.subject_delete_marker_ttl > 0)
    };
    set_static(&mut config.metadata, level);
}

/// Notes the level that a consumer needs and drops what belongs to replies.
pub fn set_static_consumer(config: &mut ConsumerConfig) {
    let paused = config.pause_until.is_some_and(|until| !until.is_zero());
    let prioritized = config.priority_policy != PriorityPolicy::None
        || config.priority_timeout != 0
        || !config.priority_groups.is_empty();
    let level = if config.ack_policy == AckPolicy::FlowControl { 4 } else { u32::from(paused || prioritized) };
    set_static(&mut config.metadata, level);
}

/// A copy for a reply, with version and level of this server.
pub fn with_dynamic_stream(config: &StreamConfig) -> StreamConfig {
    let mut copy = config.clone();
    set_dynamic(&mut copy.metadata);
    copy
}

/// A copy for a reply, with version and level of this server.
pub fn with_dynamic_consumer(config: &ConsumerConfig) -> ConsumerConfig {
    let mut copy = config.clone();
    set_dynamic(&mut copy.metadata);
    copy
}

/// Makes `metadata` comparable with the `stored` one: only the user's entries may differ.
pub(super) fn align(metadata: &mut Metadata, stored: &Metadata) {
    remove_dynamic(metadata);
    match stored.get(REQUIRED_LEVEL) {
        Some(level) => drop(metadata.insert(REQUIRED_LEVEL.to_owned(), level.clone())),
        None => drop(metadata.remove(REQUIRED_LEVEL)),
    }
}

/// True when this server can run an asset with this metadata (T-72).
pub fn supports(metadata: &Metadata) -> bool {
    match metadata.get(REQUIRED_LEVEL).map(String::as_str) {
        None | Some("") => true,
        Some(level) => level.parse::<u32>().is_ok_and(|level| level <= API_LEVEL),
    }
}

/// Whether a request with this `Nats-Required-Api-Level` header may be served (P-16); `None` is no such header.
pub fn required_level_is_met(header: Option<&str>) -> bool {
    match header {
        None | Some("") => true,
        Some(level) => level.parse::<i64>().is_ok_and(|level| level <= i64::from(API_LEVEL)),
    }
}

fn set_static(metadata: &mut Metadata, level: u32) {
    remove_dynamic(metadata);
    metadata.insert(REQUIRED_LEVEL.to_owned(), level.to_string());
}

fn set_dynamic(metadata: &mut Metadata) {
    metadata.insert(VERSION.to_owned(), SERVER_VERSION.to_owned());
    metadata.insert(LEVEL.to_owned(), API_LEVEL.to_string());
}

/// Lists show assets as they are stored: without version and level of the server.
pub fn remove_dynamic(metadata: &mut Metadata) {
    metadata.remove(VERSION);
    metadata.remove(LEVEL);
}
