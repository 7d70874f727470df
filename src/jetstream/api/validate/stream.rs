//! Whether a stream may be created, and as what.

use super::super::error::ApiError;
use super::super::error_codes;
use super::super::requests::StreamConfigRequest;
use super::super::stream_config::StreamConfig;
use super::environment::Environment;
use super::{limits, metadata, names, sources, stream_config, subjects};

/// The outcome of a legal request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCreate {
    /// A new stream, with all defaults set.
    New(Box<StreamConfig>),
    /// The same configuration exists: answer with that stream (T-69).
    Existing,
}

/// Checks a request to create the stream that the subject names.
pub fn check_create(
    name_in_subject: &str,
    request: StreamConfigRequest,
    environment: &Environment<'_>,
) -> Result<StreamCreate, ApiError> {
    let StreamConfigRequest { mut config, pedantic } = request;
    metadata::set_static_stream(&mut config);
    if config.name != name_in_subject {
        return Err(error_codes::STREAM_MISMATCH.error());
    }
    if names::has_path_separator(&config.name) {
        return Err(error_codes::STREAM_NAME_CONTAINS_PATH_SEPARATORS.error());
    }
    if config.sealed {
        return invalid("stream configuration for create can not be sealed");
    }
    if config.mirror_direct && config.mirror.is_none() {
        return invalid("stream has no mirror but does have mirror direct");
    }
    limits::check_stream_count(environment, &config)?;
    limits::check_bytes(environment, &config, config.max_bytes, 0)?;

    let mut config = stream_config::check(config, environment, pedantic)?;
    if config.num_replicas > 1 && !environment.clustered {
        return Err(error_codes::STREAM_REPLICAS_NOT_SUPPORTED.error());
    }
    if let Some(existing) = environment.stream(&config.name) {
        metadata::align(&mut config.metadata, &existing.metadata);
        let same = config == **existing;
        return if same { Ok(StreamCreate::Existing) } else { Err(error_codes::STREAM_NAME_EXIST.error()) };
    }
    limits::check_bytes(environment, &config, config.max_bytes, 0)?;
    sources::check_filters(&config)?;
    if subjects::overlap_with_others(&config, environment.streams)? {
        return Err(error_codes::STREAM_SUBJECT_OVERLAP.error());
    }
    check_supported(&config)?;
    Ok(StreamCreate::New(Box::new(config)))
}

/// What this server does not do yet is refused rather than silently ignored. (Async persistence merely allows what we do
/// not need: acks before a message is durable.)
pub(super) fn check_supported(config: &StreamConfig) -> Result<(), ApiError> {
    let unsupported = [
        (config.mirror.is_some(), "stream mirrors"),
        (!config.sources.is_empty(), "stream sources"),
        (config.allow_msg_counter, "message counters"),
        (config.allow_msg_schedules, "message schedules"),
    ];
    match unsupported.iter().find(|(is_set, _)| *is_set) {
        Some((_, what)) => invalid(format!("{what} not supported by this server version")),
        None => Ok(()),
    }
}

pub(super) fn invalid<T>(text: impl std::fmt::Display) -> Result<T, ApiError> {
    Err(error_codes::STREAM_INVALID_CONFIG.with(text))
}
