//! Whether a consumer may be created, and as what (U-01 to U-28, D-10, D-16, D-17).

use super::super::consumer_config::{AckPolicy, ConsumerConfig, DeliverPolicy};
use super::super::error::ApiError;
use super::super::error_codes;
use super::super::requests::{ConsumerAction, CreateConsumerRequest};
use super::super::stream_config::{Retention, StreamConfig};
use super::consumer_update::check_consumer_update;
use super::environment::Environment;
use super::subject_tree::SubjectTree;
use super::{NAME_BYTES_MAX, consumer_config, limits, metadata, names, subjects};

/// What the subject of a create request says about the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerName<'a> {
    /// `CONSUMER.CREATE.<stream>`: the name is in the body, or the server makes one.
    Absent,
    /// `CONSUMER.DURABLE.CREATE.<stream>.<name>`.
    Durable(&'a str),
    /// `CONSUMER.CREATE.<stream>.<name>[.<filter>]`; the filter is empty when there is none.
    Named { name: &'a str, filter: &'a str },
}

/// A consumer that the stream has already.
#[derive(Clone, Copy, Debug)]
pub struct OtherConsumer<'a> {
    pub name: &'a str,
    pub config: &'a ConsumerConfig,
}

/// The outcome of a legal request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerCreate {
    /// A new consumer. `config.name` may be empty: then the server makes a name, which the configuration does not show.
    New(Box<ConsumerConfig>),
    /// An existing one gets this configuration, which may be the same.
    Update { name: String, config: Box<ConsumerConfig> },
}

/// Checks a request to create or update a consumer of `stream`, which is `None` when there is no such stream.
/// That the stream in the subject is the one in the body (10056) is checked by the caller.
///
/// `deliver_has_interest` tells whether somebody listens on a deliver subject: a bound push consumer can not be moved.
pub fn check_consumer(
    name: ConsumerName<'_>,
    request: CreateConsumerRequest,
    stream: Option<&StreamConfig>,
    others: &[OtherConsumer<'_>],
    environment: &Environment<'_>,
    deliver_has_interest: &dyn Fn(&str) -> bool,
) -> Result<ConsumerCreate, ApiError> {
    let CreateConsumerRequest { stream_name: _, mut config, action, pedantic } = request;
    let name = settle_name(name, &mut config)?;
    if config.num_replicas > 1 && !environment.clustered {
        return Err(error_codes::STREAM_REPLICAS_NOT_SUPPORTED.error());
    }
    let stream = stream.ok_or_else(|| error_codes::STREAM_NOT_FOUND.error())?;
    let existing = others.iter().find(|other| !name.is_empty() && other.name == name);
    if let Some(existing) = existing {
        // Only the PAUSE request moves the pause of an existing consumer.
        config.pause_until = existing.config.pause_until;
    }
    metadata::set_static_consumer(&mut config);
    let (account, _) = limits::select(environment, config.num_replicas)?;
    consumer_config::set_defaults(&mut config, stream, environment.server, account, pedantic)?;
    consumer_config::check(&config, stream, environment.server, account)?;
    let stored_name = if config.durable_name.is_empty() { &config.name } else { &config.durable_name };
    if let Some(existing) = others.iter().find(|other| !stored_name.is_empty() && other.name == stored_name) {
        return update(existing, config, action, stream, others, deliver_has_interest);
    }
    if action == ConsumerAction::Update {
        return Err(error_codes::CONSUMER_DOES_NOT_EXIST.error());
    }
    check_count(stream, others, account.max_consumers, environment.server.default_max_consumers)?;
    check_workqueue(stream, &config, others)?;
    if config.durable_name.len() > NAME_BYTES_MAX {
        return Err(error_codes::CONSUMER_NAME_TOO_LONG.with(NAME_BYTES_MAX));
    }
    consumer_config::set_inactive_threshold(&mut config);
    Ok(ConsumerCreate::New(Box::new(config)))
}

/// Makes the name in the subject and those in the body one.
fn settle_name(name: ConsumerName<'_>, config: &mut ConsumerConfig) -> Result<String, ApiError> {
    let (in_subject, filter) = match name {
        ConsumerName::Absent => (config.name.clone(), ""),
        ConsumerName::Durable(name) => (name.to_owned(), ""),
        ConsumerName::Named { name, filter } => (name.to_owned(), filter),
    };
    if names::has_path_separator(&in_subject) {
        return Err(error_codes::CONSUMER_NAME_CONTAINS_PATH_SEPARATORS.error());
    }
    let durable = config.durable_name.as_str();
    match name {
        ConsumerName::Absent if !durable.is_empty() => {
            return Err(error_codes::CONSUMER_EPHEMERAL_WITH_DURABLE_NAME.error());
        }
        ConsumerName::Durable(_) if durable.is_empty() => {
            return Err(error_codes::CONSUMER_DURABLE_NAME_NOT_SET.error());
        }
        ConsumerName::Durable(_) | ConsumerName::Named { .. } => {
            if !durable.is_empty() && durable != in_subject {
                return Err(error_codes::CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT.error());
            }
            config.name.clone_from(&in_subject);
        }
        ConsumerName::Absent => {}
    }
    if !filter.is_empty() && !config.filter_subjects.is_empty() {
        return Err(error_codes::CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED.error());
    }
    if !filter.is_empty() && config.filter_subject != filter {
        return Err(error_codes::CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH.error());
    }
    Ok(in_subject)
}

fn update(
    existing: &OtherConsumer<'_>,
    mut config: ConsumerConfig,
    action: ConsumerAction,
    stream: &StreamConfig,
    others: &[OtherConsumer<'_>],
    deliver_has_interest: &dyn Fn(&str) -> bool,
) -> Result<ConsumerCreate, ApiError> {
    if action == ConsumerAction::Create {
        metadata::align(&mut config.metadata, &existing.config.metadata);
        if config != *existing.config {
            return Err(error_codes::CONSUMER_ALREADY_EXISTS.error());
        }
    }
    if stream.retention == Retention::WorkQueue && !is_unique(existing.name, &config, others)? {
        return Err(error_codes::CONSUMER_WQ_CONSUMER_NOT_UNIQUE.error());
    }
    check_consumer_update(existing.config, &config, deliver_has_interest)?;
    consumer_config::set_inactive_threshold(&mut config);
    Ok(ConsumerCreate::Update { name: existing.name.to_owned(), config: Box::new(config) })
}

fn check_count(
    stream: &StreamConfig,
    others: &[OtherConsumer<'_>],
    account_max: i64,
    default_max: i64,
) -> Result<(), ApiError> {
    let mut max = stream.max_consumers;
    if max <= 0 || (account_max > 0 && account_max < max) {
        max = account_max;
    }
    if max <= 0 {
        max = default_max;
    }
    if max > 0 && public(others).count() as i64 >= max {
        return Err(error_codes::MAXIMUM_CONSUMERS_LIMIT.error());
    }
    Ok(())
}

/// A work queue hands every message to one consumer only.
fn check_workqueue(
    stream: &StreamConfig,
    config: &ConsumerConfig,
    others: &[OtherConsumer<'_>],
) -> Result<(), ApiError> {
    if stream.retention != Retention::WorkQueue || config.direct || config.sourcing {
        return Ok(());
    }
    if !matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl) {
        return Err(error_codes::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK.error());
    }
    if config.deliver_policy != DeliverPolicy::All {
        return Err(error_codes::CONSUMER_WQ_CONSUMER_NOT_DELIVER_ALL.error());
    }
    if public(others).next().is_none() {
        return Ok(());
    }
    if config.filters().next().is_none() {
        return Err(error_codes::CONSUMER_WQ_MULTIPLE_UNFILTERED.error());
    }
    if is_unique("", config, others)? { Ok(()) } else { Err(error_codes::CONSUMER_WQ_CONSUMER_NOT_UNIQUE.error()) }
}

/// True when no other consumer shares a subject with the filters of `config`.
fn is_unique(name: &str, config: &ConsumerConfig, others: &[OtherConsumer<'_>]) -> Result<bool, ApiError> {
    let mut tree = SubjectTree::new(config.filters());
    for other in public(others).filter(|other| other.name != name) {
        let takes_all = config.filters().next().is_some() && other.config.filters().next().is_none();
        if takes_all {
            return Ok(false);
        }
        for taken in other.config.filters() {
            if tree.overlaps(taken, None).map_err(subjects::too_entangled)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Consumers that count: those of mirrors and sources do not.
fn public<'a, 'b>(others: &'b [OtherConsumer<'a>]) -> impl Iterator<Item = &'b OtherConsumer<'a>> {
    others.iter().filter(|other| !other.config.direct && !other.config.sourcing)
}
