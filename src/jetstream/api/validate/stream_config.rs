//! Defaults and rules of one stream configuration, for create and update alike.

use super::super::duration;
use super::super::error::ApiError;
use super::super::error_codes;
use super::super::stream_config::{Discard, PersistMode, Placement, Retention, StorageType, StreamConfig};
use super::super::time::{DurationNs, MILLISECOND, MINUTE, SECOND};
use super::environment::Environment;
use super::stream::invalid;
use super::{DESCRIPTION_BYTES_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX, limits, names, sources, subjects};

const REPLICAS_MAX: i64 = 5;
const DUPLICATE_WINDOW_DEFAULT: DurationNs = 2 * MINUTE;
const SHORTEST: DurationNs = 100 * MILLISECOND;

/// Sets the defaults and checks every rule that does not compare with an older configuration.
pub fn check(
    mut config: StreamConfig,
    environment: &Environment<'_>,
    pedantic: bool,
) -> Result<StreamConfig, ApiError> {
    check_texts(&config)?;
    set_limits(&mut config, pedantic)?;
    set_durations(&mut config, environment.server.max_duplicate_window, pedantic)?;
    if config.deny_purge && config.allow_rollup_hdrs {
        return invalid("roll-ups require the purge permission");
    }
    check_counter(&config)?;
    check_discard_new_per_subject(&config)?;
    set_delete_markers(&mut config, pedantic)?;
    set_schedules(&mut config, pedantic)?;
    check_persist_mode(&config)?;
    sources::check(&mut config, environment, pedantic)?;
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
    } else if config.mirror.is_some() {
        return Err(error_codes::MIRROR_WITH_SUBJECTS.error());
    }
    subjects::check(&config)?;
    limits::check_stream_bytes(environment, &config)?;
    sources::check_own_transform(&config)?;
    set_republish(&mut config, pedantic)?;
    if config.placement == Some(Placement::default()) {
        config.placement = None;
    }
    if config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return invalid("preferred server not permitted in placement");
    }
    Ok(config)
}

fn check_texts(config: &StreamConfig) -> Result<(), ApiError> {
    if !names::is_valid_name(&config.name) {
        return invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'");
    }
    if config.name.len() > NAME_BYTES_MAX {
        return invalid(format!("stream name is too long, maximum allowed is {NAME_BYTES_MAX}"));
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        return invalid(format!("stream description is too long, maximum allowed is {DESCRIPTION_BYTES_MAX}"));
    }
    let metadata_bytes: usize = config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if metadata_bytes > METADATA_BYTES_MAX {
        return invalid(format!("stream metadata exceeds maximum size of {METADATA_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn set_limits(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    if config.num_replicas > REPLICAS_MAX {
        return invalid(format!("maximum replicas is {REPLICAS_MAX}"));
    }
    if config.num_replicas < 0 {
        return Err(error_codes::REPLICAS_COUNT_CANNOT_BE_NEGATIVE.error());
    }
    unlimited_by_default(&mut config.max_msgs, "max_msgs", pedantic)?;
    unlimited_by_default(&mut config.max_msgs_per_subject, "max_msgs_per_subject", pedantic)?;
    unlimited_by_default(&mut config.max_bytes, "max_bytes", pedantic)?;
    let mut max_msg_size = i64::from(config.max_msg_size);
    unlimited_by_default(&mut max_msg_size, "max_msg_size", pedantic)?;
    if max_msg_size == -1 {
        config.max_msg_size = -1;
    }
    unlimited_by_default(&mut config.max_consumers, "max_consumers", pedantic)
}

fn unlimited_by_default(limit: &mut i64, name: &str, pedantic: bool) -> Result<(), ApiError> {
    if pedantic && *limit < -1 {
        return Err(error_codes::PEDANTIC.with(format!("{name} must be set to -1")));
    }
    if *limit == 0 || *limit < -1 {
        *limit = -1;
    }
    Ok(())
}

fn set_durations(config: &mut StreamConfig, window_max: DurationNs, pedantic: bool) -> Result<(), ApiError> {
    if config.max_age < 0 {
        return invalid("max age can not be negative");
    }
    if config.max_age != 0 && config.max_age < SHORTEST {
        return invalid("max age needs to be >= 100ms");
    }
    if config.duplicate_window == 0 && config.mirror.is_none() && config.sources.is_empty() {
        config.duplicate_window = default_duplicate_window(config.max_age, window_max, pedantic)?;
    }
    let window = config.duplicate_window;
    if window < 0 {
        return invalid("duplicates window can not be negative");
    }
    if config.max_age != 0 && window > config.max_age {
        return invalid("duplicates window can not be larger then max age");
    }
    if window_max > 0 && window > window_max {
        let limit = duration::format(window_max);
        return invalid(format!("duplicates window can not be larger then server limit of {limit}"));
    }
    if window > 0 && window < SHORTEST {
        return invalid("duplicates window needs to be >= 100ms");
    }
    Ok(())
}

fn default_duplicate_window(max_age: DurationNs, max: DurationNs, pedantic: bool) -> Result<DurationNs, ApiError> {
    let mut window = DUPLICATE_WINDOW_DEFAULT;
    if max > 0 && window > max {
        if pedantic {
            return Err(error_codes::PEDANTIC.with("duplicate window limits are higher than current limits"));
        }
        window = max;
    }
    if max_age != 0 && max_age < window {
        if pedantic {
            return Err(error_codes::PEDANTIC.with("duplicate window cannot be bigger than max age"));
        }
        window = max_age;
    }
    Ok(window)
}

fn check_counter(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.allow_msg_counter {
        return Ok(());
    }
    if config.discard == Discard::New {
        return invalid("counter stream cannot use discard new");
    }
    if config.allow_msg_ttl {
        return invalid("counter stream cannot use message TTLs");
    }
    if config.allow_msg_schedules {
        return invalid("counter stream cannot use message schedules");
    }
    if config.retention != Retention::Limits {
        return invalid("counter stream can only use limits retention");
    }
    Ok(())
}

fn check_discard_new_per_subject(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.discard_new_per_subject {
        return Ok(());
    }
    if config.discard != Discard::New {
        return invalid("discard new per subject requires discard new policy to be set");
    }
    if config.max_msgs_per_subject <= 0 {
        return invalid("discard new per subject requires max msgs per subject > 0");
    }
    Ok(())
}

fn set_delete_markers(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.subject_delete_marker_ttl < 0 {
        return invalid("subject delete marker TTL must not be negative");
    }
    if config.subject_delete_marker_ttl == 0 {
        return Ok(());
    }
    if config.subject_delete_marker_ttl < SECOND {
        return invalid("subject delete marker TTL must be at least 1 second");
    }
    if !config.allow_msg_ttl {
        if pedantic {
            return invalid("subject delete marker cannot be set if message TTLs are disabled");
        }
        config.allow_msg_ttl = true;
    }
    allow_rollup_for(config, "subject delete marker", pedantic)
}

fn set_schedules(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if !config.allow_msg_schedules {
        return Ok(());
    }
    if config.discard == Discard::New {
        return invalid("message scheduling cannot use discard new");
    }
    allow_rollup_for(config, "message scheduling", pedantic)
}

fn allow_rollup_for(config: &mut StreamConfig, what: &str, pedantic: bool) -> Result<(), ApiError> {
    if !config.allow_rollup_hdrs {
        if pedantic {
            return invalid(format!("{what} cannot be set if roll-ups are disabled"));
        }
        config.allow_rollup_hdrs = true;
        config.deny_purge = false;
    }
    Ok(())
}

fn check_persist_mode(config: &StreamConfig) -> Result<(), ApiError> {
    if config.persist_mode != PersistMode::Async {
        return Ok(());
    }
    if config.storage != StorageType::File {
        return invalid("async persist mode is only supported on file storage");
    }
    if config.num_replicas > 1 {
        return invalid("async persist mode is not supported on replicated streams");
    }
    if config.allow_atomic {
        return invalid("async persist mode is not supported with atomic batch publish");
    }
    Ok(())
}

fn set_republish(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    let Some(republish) = &mut config.republish else {
        return Ok(());
    };
    if republish.src.is_empty() {
        if pedantic {
            return Err(error_codes::PEDANTIC.with("republish source can not be empty"));
        }
        republish.src = ">".to_owned();
    }
    // Everything to everything is legal when the stream's own transform moves it elsewhere.
    let transform = config.subject_transform.as_ref().filter(|transform| config.subjects == [transform.src.as_str()]);
    if let (">", ">", Some(transform)) = (republish.src.as_str(), republish.dest.as_str(), transform) {
        if pedantic {
            return Err(error_codes::PEDANTIC.with("implicit republish based on subject transform"));
        }
        republish.src.clone_from(&transform.dest);
        republish.dest.clone_from(&transform.dest);
    }
    if config.subjects.iter().any(|subject| subjects::collide(&republish.dest, subject)) {
        return invalid("stream configuration for republish destination forms a cycle");
    }
    if crate::protocol::transform::check(&republish.src, &republish.dest).is_err() {
        return invalid(format!(
            "stream configuration for republish with transform from '{}' to '{}' not valid",
            republish.src, republish.dest
        ));
    }
    Ok(())
}
