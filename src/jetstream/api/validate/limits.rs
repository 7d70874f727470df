//! Limits of an account and of the server on what streams may reserve (S-48).

use super::super::account_info::AccountLimits;
use super::super::error::ApiError;
use super::super::error_codes;
use super::super::stream_config::{StorageType, StreamConfig};
use super::environment::Environment;

/// The limits for a stream with this many replicas, and whether they are those of a tier.
pub fn select<'a>(environment: &'a Environment<'_>, replicas: i64) -> Result<(&'a AccountLimits, bool), ApiError> {
    environment.account.select(replicas).ok_or_else(|| error_codes::NO_LIMITS.error())
}

/// Whether the account may have one more stream.
pub fn check_stream_count(environment: &Environment<'_>, config: &StreamConfig) -> Result<(), ApiError> {
    let (limits, tiered) = select(environment, config.num_replicas)?;
    let counts = |other: &StreamConfig| other.name != config.name && (!tiered || same_tier(other, config));
    let streams = environment.streams.iter().filter(|other| counts(other)).count();
    if limits.max_streams > 0 && streams as i64 >= limits.max_streams {
        return Err(error_codes::MAXIMUM_STREAMS_LIMIT.error());
    }
    Ok(())
}

/// Whether account and server have room for `add_bytes` more, beside the `kept_bytes` that the stream has already.
pub fn check_bytes(
    environment: &Environment<'_>,
    config: &StreamConfig,
    add_bytes: i64,
    kept_bytes: i64,
) -> Result<(), ApiError> {
    let (limits, tiered) = select(environment, config.num_replicas)?;
    if config.max_consumers > 0 && limits.max_consumers > 0 && config.max_consumers > limits.max_consumers {
        return Err(error_codes::MAXIMUM_CONSUMERS_LIMIT.error());
    }
    // A stream without max_bytes still needs room for something.
    let add_bytes = if add_bytes < 0 { 1 } else { add_bytes };
    let others = environment.streams.iter().filter(|other| other.name != config.name);
    let mut reserved = for_account(config.num_replicas, kept_bytes, tiered);
    for other in others.filter(|other| other.storage == config.storage && (!tiered || same_tier(other, config))) {
        reserved = reserved.saturating_add(for_account(other.num_replicas, other.max_bytes, tiered));
    }
    let account_bytes = for_account(config.num_replicas, add_bytes, tiered);
    let server = environment.server;
    let (account_max, server_max, server_reserved, error) = match config.storage {
        StorageType::Memory => {
            (limits.max_memory, server.max_memory, server.reserved_memory, error_codes::MEMORY_RESOURCES_EXCEEDED)
        }
        StorageType::File => {
            (limits.max_storage, server.max_storage, server.reserved_storage, error_codes::STORAGE_RESOURCES_EXCEEDED)
        }
    };
    if exceeds(account_max, reserved, account_bytes) || exceeds(server_max, server_reserved, add_bytes) {
        return Err(error.error());
    }
    Ok(())
}

/// Whether `max_bytes` is what the account demands.
pub fn check_stream_bytes(environment: &Environment<'_>, config: &StreamConfig) -> Result<(), ApiError> {
    let Some((limits, _)) = environment.account.select(config.num_replicas) else {
        return Ok(());
    };
    let max = match config.storage {
        StorageType::Memory => limits.memory_max_stream_bytes,
        StorageType::File => limits.storage_max_stream_bytes,
    };
    if limits.max_bytes_required && config.max_bytes <= 0 {
        return Err(error_codes::STREAM_MAX_BYTES_REQUIRED.error());
    }
    if max > 0 && config.max_bytes > max {
        return Err(error_codes::STREAM_MAX_STREAM_BYTES_EXCEEDED.error());
    }
    Ok(())
}

/// What a stream reserves on one server.
pub fn reserved_bytes(config: &StreamConfig) -> i64 {
    config.max_bytes.max(0)
}

/// Flat limits count every replica; tiers have that built in.
fn for_account(replicas: i64, bytes: i64, tiered: bool) -> i64 {
    if bytes <= 0 {
        0
    } else if tiered {
        bytes
    } else {
        bytes.saturating_mul(replicas.max(1))
    }
}

fn exceeds(max: i64, reserved: i64, add: i64) -> bool {
    max >= 0 && (reserved > max || add > max - reserved)
}

fn same_tier(left: &StreamConfig, right: &StreamConfig) -> bool {
    left.num_replicas.max(1) == right.num_replicas.max(1)
}
