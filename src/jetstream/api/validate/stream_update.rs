//! Whether a stream may be changed (the update rules of T-01 to T-37).

use super::super::consumer_config::ConsumerConfig;
use super::super::error::ApiError;
use super::super::error_codes;
use super::super::requests::StreamConfigRequest;
use super::super::stream_config::{Discard, Retention, StreamConfig};
use super::environment::Environment;
use super::stream::{check_supported, invalid};
use super::{limits, metadata, stream_config, subjects};

/// Checks a request to update the stream that the subject names; gives the configuration to apply.
/// `consumers` are those of the stream, by name.
pub fn check_update<'a>(
    name_in_subject: &str,
    request: StreamConfigRequest,
    environment: &Environment<'_>,
    consumers: impl Iterator<Item = (&'a str, &'a ConsumerConfig)>,
) -> Result<StreamConfig, ApiError> {
    let StreamConfigRequest { config, pedantic } = request;
    let mut config = stream_config::check(config, environment, pedantic)?;
    if config.name != name_in_subject {
        return Err(error_codes::STREAM_MISMATCH.error());
    }
    let Some(old) = environment.stream(&config.name) else {
        return Err(error_codes::STREAM_NOT_FOUND.error());
    };
    metadata::set_static_stream(&mut config);
    if config.num_replicas > 1 && !environment.clustered {
        return Err(error_codes::STREAM_REPLICAS_NOT_SUPPORTED.error());
    }
    check_immutable(old, &config)?;
    if config.sealed {
        seal(&mut config);
    }
    let grows = (config.max_bytes.max(0) - old.max_bytes.max(0)).max(0);
    limits::check_bytes(environment, &config, grows, config.max_bytes - grows)?;
    check_consumer_limits(old, &config, consumers)?;
    if subjects::overlap_with_others(&config, environment.streams)? {
        return Err(error_codes::STREAM_SUBJECT_OVERLAP.error());
    }
    check_supported(&config)?;
    Ok(config)
}

fn check_immutable(old: &StreamConfig, new: &StreamConfig) -> Result<(), ApiError> {
    if new.storage != old.storage {
        return invalid("stream configuration update can not change storage type");
    }
    if new.retention != old.retention && [new.retention, old.retention].contains(&Retention::WorkQueue) {
        return invalid("stream configuration update can not change retention policy to/from workqueue");
    }
    if old.sealed && !new.sealed {
        return invalid("stream configuration update can not unseal a sealed stream");
    }
    if old.deny_delete && !new.deny_delete {
        return invalid("stream configuration update can not cancel deny message deletes");
    }
    if old.deny_purge && !new.deny_purge {
        return invalid("stream configuration update can not cancel deny purge");
    }
    if new.mirror.is_some() && new.mirror != old.mirror {
        return Err(error_codes::STREAM_MIRROR_NOT_UPDATABLE.error());
    }
    if old.allow_msg_ttl && !new.allow_msg_ttl {
        return invalid("message TTL status can not be disabled");
    }
    if new.allow_msg_counter != old.allow_msg_counter {
        return invalid("stream configuration update can not change message counter setting");
    }
    if old.allow_msg_schedules && !new.allow_msg_schedules {
        return invalid("message schedules can not be disabled");
    }
    if new.persist_mode != old.persist_mode {
        return invalid("stream configuration update can not change persist mode");
    }
    Ok(())
}

/// A sealed stream keeps what it has for ever (T-26).
fn seal(config: &mut StreamConfig) {
    config.max_age = 0;
    config.discard = Discard::New;
    config.deny_delete = true;
    config.deny_purge = true;
    config.allow_rollup_hdrs = false;
}

/// New caps must not contradict existing consumers (T-29).
fn check_consumer_limits<'a>(
    old: &StreamConfig,
    new: &StreamConfig,
    consumers: impl Iterator<Item = (&'a str, &'a ConsumerConfig)>,
) -> Result<(), ApiError> {
    let (was, is) = (old.consumer_limits, new.consumer_limits);
    let changed = (is.inactive_threshold > 0 && is.inactive_threshold != was.inactive_threshold)
        || (is.max_ack_pending > 0 && is.max_ack_pending != was.max_ack_pending);
    if !changed {
        return Ok(());
    }
    let violates = |config: &ConsumerConfig| {
        (is.inactive_threshold > 0 && config.inactive_threshold > is.inactive_threshold)
            || (is.max_ack_pending > 0 && config.max_ack_pending > is.max_ack_pending)
    };
    let names: Vec<&str> = consumers.filter(|(_, config)| violates(config)).map(|(name, _)| name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let text = format!("change to limits violates consumers: {}", names.join(", "));
    Err(error_codes::STREAM_UPDATE.with(text))
}
