//! Defaults and rules of one consumer configuration.

use super::super::account_info::AccountLimits;
use super::super::consumer_config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy};
use super::super::error::{ApiError, ErrorTemplate};
use super::super::error_codes;
use super::super::stream_config::{Retention, StreamConfig};
use super::super::time::{DurationNs, MILLISECOND, MINUTE, SECOND};
use super::super::{duration, json};
use super::environment::ServerLimits;
use super::stream::invalid;
use super::subject_tree::SubjectTree;
use super::{DESCRIPTION_BYTES_MAX, METADATA_BYTES_MAX, names, subjects};
use crate::protocol::subject;

const MAX_WAITING_DEFAULT: i64 = 512;
const ACK_WAIT_DEFAULT: DurationNs = 30 * SECOND;
const MAX_ACK_PENDING_DEFAULT: i64 = 1000;
const PRIORITY_TIMEOUT_DEFAULT: DurationNs = 2 * MINUTE;
const INACTIVE_THRESHOLD_DEFAULT: DurationNs = 5 * SECOND;
const HEARTBEAT_MIN: DurationNs = 100 * MILLISECOND;
/// The heartbeat that the flow control ack policy demands.
const FLOW_CONTROL_HEARTBEAT: DurationNs = SECOND;

/// Fills in what the request leaves open. In pedantic mode nothing that was given is corrected.
pub fn set_defaults(
    config: &mut ConsumerConfig,
    stream: &StreamConfig,
    server: &ServerLimits,
    account: &AccountLimits,
    pedantic: bool,
) -> Result<(), ApiError> {
    if config.max_deliver == 0 {
        config.max_deliver = -1;
    }
    at_least(&mut config.max_deliver, -1, "max_deliver must be set to -1", pedantic)?;
    at_least(&mut config.max_waiting, 0, "max_waiting must not be negative", pedantic)?;
    at_least(&mut config.max_ack_pending, -1, "max_ack_pending must be set to -1", pedantic)?;
    at_least(&mut config.max_batch, 0, "max_batch must not be negative", pedantic)?;
    at_least(&mut config.max_expires, 0, "max_expires must not be negative", pedantic)?;
    at_least(&mut config.max_bytes, 0, "max_bytes must not be negative", pedantic)?;
    at_least(&mut config.idle_heartbeat, 0, "idle_heartbeat must not be negative", pedantic)?;
    at_least(&mut config.inactive_threshold, 0, "inactive_threshold must not be negative", pedantic)?;
    at_least(&mut config.priority_timeout, 0, "priority_timeout must not be negative", pedantic)?;

    if config.is_pull() && config.max_waiting == 0 {
        config.max_waiting = MAX_WAITING_DEFAULT;
    }
    if config.ack_wait == 0 && matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
        config.ack_wait = ACK_WAIT_DEFAULT;
    }
    if let Some(first) = config.backoff.first() {
        if pedantic && config.ack_wait != *first {
            return pedantic_error("first backoff value has to equal batch AckWait");
        }
        config.ack_wait = *first;
    }
    let of_stream = stream.consumer_limits;
    if config.max_ack_pending == 0 {
        if pedantic && of_stream.max_ack_pending > 0 {
            return pedantic_error("max_ack_pending must be set if it's configured in stream limits");
        }
        config.max_ack_pending = of_stream.max_ack_pending;
    }
    if config.inactive_threshold == 0 {
        if pedantic && of_stream.inactive_threshold > 0 {
            return pedantic_error("inactive_threshold must be set if it's configured in stream limits");
        }
        config.inactive_threshold = of_stream.inactive_threshold;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        let caps = [server.max_ack_pending, account.max_ack_pending];
        config.max_ack_pending =
            caps.into_iter().filter(|cap| *cap > 0).fold(MAX_ACK_PENDING_DEFAULT, |least, cap| least.min(cap));
    }
    if config.is_pull() && config.max_batch == 0 && server.max_request_batch > 0 {
        if pedantic {
            return pedantic_error("max_request_batch must be set if it's JetStream limits are set");
        }
        config.max_batch = server.max_request_batch;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout == 0 {
        config.priority_timeout = PRIORITY_TIMEOUT_DEFAULT;
    }
    if config.ack_policy == AckPolicy::FlowControl && !pedantic {
        config.flow_control = true;
        config.idle_heartbeat = FLOW_CONTROL_HEARTBEAT;
    }
    Ok(())
}

/// A consumer that is not durable is removed when nobody uses it. This default is set after the comparison with an
/// existing configuration, so it makes a repeated strict create fail, as it does on the genuine server.
pub fn set_inactive_threshold(config: &mut ConsumerConfig) {
    if !config.is_durable() && config.inactive_threshold <= 0 {
        config.inactive_threshold = INACTIVE_THRESHOLD_DEFAULT;
    }
}

/// Checks every rule that does not look at other consumers.
pub fn check(
    config: &ConsumerConfig,
    stream: &StreamConfig,
    server: &ServerLimits,
    account: &AccountLimits,
) -> Result<(), ApiError> {
    if !config.name.is_empty() && !names::is_valid_name(&config.name) {
        return invalid("consumer name can not contain '.', '*', '>', '\\', '/'");
    }
    if !config.durable_name.is_empty() && !names::is_valid_name(&config.durable_name) {
        return invalid("consumer durable name can not contain '.', '*', '>', '\\', '/'");
    }
    check_replicas(config, stream)?;
    check_ack_timing(config)?;
    refuse(config.description.len() > DESCRIPTION_BYTES_MAX, || {
        error_codes::CONSUMER_DESCRIPTION_TOO_LONG.with(DESCRIPTION_BYTES_MAX)
    })?;
    if config.is_push() {
        check_push(config, stream)?
    } else {
        check_pull(config, stream, server)?
    }
    check_caps(config, stream, server, account)?;
    when(config.direct && config.is_pull(), &error_codes::CONSUMER_DIRECT_REQUIRES_PUSH)?;
    when(config.direct && config.is_durable(), &error_codes::CONSUMER_DIRECT_REQUIRES_EPHEMERAL)?;
    check_filters(config)?;
    check_start(config)?;
    check_sampling(config)?;
    when(config.flow_control && config.idle_heartbeat == 0, &error_codes::CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS)?;
    let two_names = config.is_durable() && !config.name.is_empty() && config.name != config.durable_name;
    when(two_names, &error_codes::CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH)?;
    let metadata_bytes: usize = config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    refuse(metadata_bytes > METADATA_BYTES_MAX, || {
        error_codes::CONSUMER_METADATA_LENGTH.with(format!("{}KB", METADATA_BYTES_MAX / 1024))
    })?;
    check_priority(config)?;
    if stream.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return invalid("preferred server not permitted in placement");
    }
    Ok(())
}

fn check_replicas(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let replicas = config.num_replicas;
    when(replicas > stream.num_replicas, &error_codes::CONSUMER_REPLICAS_EXCEEDS_STREAM)?;
    when(replicas < 0, &error_codes::REPLICAS_COUNT_CANNOT_BE_NEGATIVE)?;
    let must_match = stream.retention != Retention::Limits && replicas != 0 && replicas != stream.num_replicas;
    when(must_match, &error_codes::CONSUMER_REPLICAS_SHOULD_MATCH_STREAM)
}

fn check_ack_timing(config: &ConsumerConfig) -> Result<(), ApiError> {
    when(config.backoff.iter().any(|wait| *wait < 0), &error_codes::CONSUMER_BACK_OFF_NEGATIVE)?;
    when(config.ack_wait < 0, &error_codes::CONSUMER_ACK_WAIT_NEGATIVE)?;
    if config.ack_policy == AckPolicy::FlowControl {
        when(config.is_pull(), &error_codes::CONSUMER_ACK_FC_REQUIRES_PUSH)?;
        when(!config.flow_control, &error_codes::CONSUMER_ACK_FC_REQUIRES_FC)?;
        if config.idle_heartbeat != FLOW_CONTROL_HEARTBEAT {
            return invalid("flow control ack policy heartbeat needs to be 1s");
        }
        when(config.max_ack_pending <= 0, &error_codes::CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING)?;
        let waits = config.ack_wait != 0 || !config.backoff.is_empty();
        when(waits, &error_codes::CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT)?;
        when(config.max_deliver > 0, &error_codes::CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER)?;
    }
    let too_many = config.max_deliver != -1 && config.backoff.len() as i64 > config.max_deliver;
    when(!config.backoff.is_empty() && too_many, &error_codes::CONSUMER_MAX_DELIVER_BACKOFF)
}

fn check_push(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let deliver = config.deliver_subject.as_bytes();
    when(!subject::is_literal(deliver), &error_codes::CONSUMER_DELIVER_TO_WILDCARDS)?;
    when(!subject::is_valid(deliver), &error_codes::CONSUMER_INVALID_DELIVER_SUBJECT)?;
    let cycle = stream.subjects.iter().any(|own| subject::is_subset(deliver, own.as_bytes()));
    when(cycle, &error_codes::CONSUMER_DELIVER_CYCLE)?;
    when(config.max_waiting != 0, &error_codes::CONSUMER_PUSH_MAX_WAITING)?;
    let pending_without_acks = config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None;
    when(pending_without_acks, &error_codes::CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED)?;
    when((1..HEARTBEAT_MIN).contains(&config.idle_heartbeat), &error_codes::CONSUMER_SMALL_HEARTBEAT)
}

fn check_pull(config: &ConsumerConfig, stream: &StreamConfig, server: &ServerLimits) -> Result<(), ApiError> {
    let unacked_queue = config.ack_policy == AckPolicy::None && stream.retention == Retention::WorkQueue;
    when(unacked_queue, &error_codes::CONSUMER_PULL_REQUIRES_ACK)?;
    when(config.rate_limit_bps > 0, &error_codes::CONSUMER_PULL_WITH_RATE_LIMIT)?;
    when(config.max_waiting < 0, &error_codes::CONSUMER_MAX_WAITING_NEGATIVE)?;
    when(config.idle_heartbeat > 0, &error_codes::CONSUMER_HB_REQUIRES_PUSH)?;
    when(config.flow_control, &error_codes::CONSUMER_FC_REQUIRES_PUSH)?;
    when(config.max_batch < 0, &error_codes::CONSUMER_MAX_REQUEST_BATCH_NEGATIVE)?;
    let short = config.max_expires != 0 && config.max_expires < MILLISECOND;
    when(short, &error_codes::CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL)?;
    refuse(server.max_request_batch > 0 && config.max_batch > server.max_request_batch, || {
        error_codes::CONSUMER_MAX_REQUEST_BATCH_EXCEEDED.with(server.max_request_batch)
    })
}

fn check_caps(
    config: &ConsumerConfig,
    stream: &StreamConfig,
    server: &ServerLimits,
    account: &AccountLimits,
) -> Result<(), ApiError> {
    for cap in [server.max_ack_pending, account.max_ack_pending, stream.consumer_limits.max_ack_pending] {
        refuse(cap > 0 && config.max_ack_pending > cap, || error_codes::CONSUMER_MAX_PENDING_ACK_EXCESS.with(cap))?;
    }
    let threshold = stream.consumer_limits.inactive_threshold;
    refuse(threshold > 0 && config.inactive_threshold > threshold, || {
        error_codes::CONSUMER_INACTIVE_THRESHOLD_EXCESS.with(duration::format(threshold))
    })
}

fn check_filters(config: &ConsumerConfig) -> Result<(), ApiError> {
    let both = !config.filter_subject.is_empty() && !config.filter_subjects.is_empty();
    when(both, &error_codes::CONSUMER_DUPLICATE_FILTER_SUBJECTS)?;
    when(config.filter_subjects.iter().any(String::is_empty), &error_codes::CONSUMER_EMPTY_FILTER)?;
    let mut tree = SubjectTree::new(config.filters());
    for (position, filter) in config.filters().enumerate() {
        if !subject::is_valid(filter.as_bytes()) {
            return invalid("invalid subject");
        }
        let inside = tree.covers(filter, Some(position)).map_err(subjects::too_entangled)?;
        when(inside, &error_codes::CONSUMER_OVERLAPPING_SUBJECT_FILTERS)?;
    }
    Ok(())
}

fn check_start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let (has_sequence, has_time) = (config.opt_start_seq > 0, config.opt_start_time.is_some());
    let (policy, wants_sequence, wants_time) = match config.deliver_policy {
        DeliverPolicy::All => ("all", false, false),
        DeliverPolicy::Last => ("last", false, false),
        DeliverPolicy::New => ("new", false, false),
        DeliverPolicy::LastPerSubject => ("last per subject", false, false),
        DeliverPolicy::ByStartSequence => ("by start sequence", true, false),
        DeliverPolicy::ByStartTime => ("by start time", false, true),
    };
    let problem = if wants_sequence && !has_sequence {
        Some("optional start sequence is not set")
    } else if wants_time && !has_time {
        Some("optional start time is not set")
    } else if wants_time && has_sequence {
        Some("optional start start sequence is also set")
    } else if has_sequence && !wants_sequence {
        Some("optional start sequence is also set")
    } else if has_time && !wants_time {
        Some("optional start time is also set")
    } else if config.deliver_policy == DeliverPolicy::LastPerSubject && config.filters().next().is_none() {
        Some("optional filter subject is not set")
    } else {
        None
    };
    match problem {
        None => Ok(()),
        Some(problem) => {
            let text = format!("consumer delivery policy is deliver {policy}, but {problem}");
            Err(error_codes::CONSUMER_INVALID_POLICY.with(text))
        }
    }
}

fn check_sampling(config: &ConsumerConfig) -> Result<(), ApiError> {
    if config.sample_freq.is_empty() {
        return Ok(());
    }
    let text = config.sample_freq.strip_suffix('%').unwrap_or(&config.sample_freq);
    match text.parse::<i64>() {
        Ok(0..) => Ok(()),
        // The genuine server prints its missing error here.
        Ok(_) => Err(error_codes::CONSUMER_INVALID_SAMPLING.with("<nil>")),
        Err(problem) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let reason = match problem.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let problem = format!("strconv.Atoi: parsing {}: {reason}", json::quote(text));
            Err(error_codes::CONSUMER_INVALID_SAMPLING.with(problem))
        }
    }
}

fn check_priority(config: &ConsumerConfig) -> Result<(), ApiError> {
    let groups = &config.priority_groups;
    if config.priority_policy == PriorityPolicy::None {
        when(!groups.is_empty(), &error_codes::CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE)?;
        return when(config.priority_timeout > 0, &error_codes::CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE);
    }
    when(config.is_push(), &error_codes::CONSUMER_PUSH_WITH_PRIORITY_GROUP)?;
    when(groups.is_empty(), &error_codes::CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP)?;
    for group in groups {
        when(group.is_empty(), &error_codes::CONSUMER_EMPTY_GROUP_NAME)?;
        when(!names::is_valid_group_name(group), &error_codes::CONSUMER_INVALID_GROUP_NAME)?;
    }
    Ok(())
}

fn at_least(value: &mut i64, least: i64, problem: &str, pedantic: bool) -> Result<(), ApiError> {
    if *value < least {
        if pedantic {
            return pedantic_error(problem);
        }
        *value = least;
    }
    Ok(())
}

fn pedantic_error<T>(problem: &str) -> Result<T, ApiError> {
    Err(error_codes::PEDANTIC.with(problem))
}

fn when(applies: bool, error: &ErrorTemplate) -> Result<(), ApiError> {
    if applies { Err(error.error()) } else { Ok(()) }
}

fn refuse(applies: bool, error: impl FnOnce() -> ApiError) -> Result<(), ApiError> {
    if applies { Err(error()) } else { Ok(()) }
}
