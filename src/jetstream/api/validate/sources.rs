//! Mirrors, sources and transforms of a stream configuration (T-18, T-19, T-22).

use std::collections::{BTreeSet, VecDeque};

use super::super::error::ApiError;
use super::super::error_codes;
use super::super::json;
use super::super::stream_config::StreamConfig;
use super::super::stream_source::{StreamSource, SubjectTransform};
use super::environment::Environment;
use super::stream::invalid;
use super::{names, subjects};
use crate::protocol::{subject, transform};

/// Sources, and transforms of sources and the mirror, that are looked at: each is compared with the others.
const ORIGINS_MAX: usize = 200;

/// Checks mirror and sources; sets `mirror_direct` from the origin when that is visible.
pub fn check(config: &mut StreamConfig, environment: &Environment<'_>, pedantic: bool) -> Result<(), ApiError> {
    let transforms = config.mirror.iter().chain(&config.sources).map(|origin| origin.subject_transforms.len());
    if config.sources.len() + transforms.sum::<usize>() > ORIGINS_MAX {
        return invalid(format!("more than {ORIGINS_MAX} sources and transforms are not supported"));
    }
    check_mirror(config, environment, pedantic)?;
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(error_codes::SOURCE_WITH_MSG_SCHEDULES.error());
    }
    let mut seen = BTreeSet::new();
    let mut consumers = BTreeSet::new();
    for source in &config.sources {
        check_source(config, source, environment, &mut seen, &mut consumers)?;
    }
    check_external(config, environment)?;
    check_cycles(config, environment)
}

/// The form of filters, which the genuine server looks at later than at the rest.
pub fn check_filters(config: &StreamConfig) -> Result<(), ApiError> {
    let is_bad = |source: &&StreamSource| {
        source.subject_transforms.is_empty()
            && !source.filter_subject.is_empty()
            && !subject::is_valid(source.filter_subject.as_bytes())
    };
    if let Some(mirror) = config.mirror.as_ref().filter(is_bad) {
        let text = format!("subject filter '{}' for the mirror invalid subject", mirror.filter_subject);
        return Err(error_codes::STREAM_CREATE.with(text));
    }
    if let Some(source) = config.sources.iter().find(is_bad) {
        let text = format!("subject filter '{}' for the source: invalid subject", source.filter_subject);
        return Err(error_codes::STREAM_CREATE.with(text));
    }
    Ok(())
}

/// The transform that the stream applies to what it takes in.
pub fn check_own_transform(config: &StreamConfig) -> Result<(), ApiError> {
    let Some(SubjectTransform { src, dest }) = &config.subject_transform else {
        return Ok(());
    };
    if !src.is_empty() && !subject::is_valid(src.as_bytes()) {
        return Err(error_codes::STREAM_TRANSFORM_INVALID_SOURCE.with(format!("invalid subject {src}")));
    }
    transform::check(src, dest).map_err(|problem| error_codes::STREAM_TRANSFORM_INVALID_DESTINATION.with(problem))
}

fn check_mirror(config: &mut StreamConfig, environment: &Environment<'_>, pedantic: bool) -> Result<(), ApiError> {
    let Some(mirror) = &config.mirror else {
        return Ok(());
    };
    let exclusions = [
        (config.first_seq > 0, error_codes::MIRROR_WITH_FIRST_SEQ),
        (!config.subjects.is_empty(), error_codes::MIRROR_WITH_SUBJECTS),
        (!config.sources.is_empty(), error_codes::MIRROR_WITH_SOURCES),
        (config.allow_msg_counter, error_codes::MIRROR_WITH_COUNTERS),
        (config.allow_atomic, error_codes::MIRROR_WITH_ATOMIC_PUBLISH),
        (config.allow_batched, error_codes::MIRROR_WITH_BATCH_PUBLISH),
        (config.allow_msg_schedules, error_codes::MIRROR_WITH_MSG_SCHEDULES),
        (has_bad_consumer(mirror), error_codes::MIRROR_DURABLE_CONSUMER_CFG_INVALID),
        (has_two_kinds_of_filters(mirror), error_codes::MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED),
    ];
    if let Some((_, error)) = exclusions.iter().find(|(applies, _)| *applies) {
        return Err(error.error());
    }
    if config.subject_delete_marker_ttl > 0 {
        return invalid("subject delete markers forbidden on mirrors");
    }
    for (position, SubjectTransform { src, dest }) in mirror.subject_transforms.iter().enumerate() {
        if !src.is_empty() && !subject::is_valid(src.as_bytes()) {
            return Err(error_codes::MIRROR_INVALID_SUBJECT_FILTER.with(format!("invalid subject {src}")));
        }
        transform::check(src, dest)
            .map_err(|problem| error_codes::MIRROR_INVALID_TRANSFORM_DESTINATION.with(problem))?;
        let overlaps = |(at, other): (usize, &SubjectTransform)| at != position && subjects::collide(src, &other.src);
        if mirror.subject_transforms.iter().enumerate().any(overlaps) {
            return Err(error_codes::MIRROR_OVERLAPPING_SUBJECT_FILTERS.error());
        }
    }
    if mirror.external.is_some() {
        return Ok(());
    }
    if !names::is_valid_name(&mirror.name) {
        return Err(error_codes::MIRROR_INVALID_STREAM_NAME.error());
    }
    if let Some(origin) = environment.stream(&mirror.name) {
        if takes_too_little(config, origin) {
            return Err(error_codes::MIRROR_MAX_MESSAGE_SIZE_TOO_BIG.error());
        }
        if pedantic && config.mirror_direct != origin.allow_direct {
            return Err(error_codes::PEDANTIC.with("origin stream has direct get set, mirror has it disabled"));
        }
        config.mirror_direct = origin.allow_direct;
    }
    Ok(())
}

fn check_source(
    config: &StreamConfig,
    source: &StreamSource,
    environment: &Environment<'_>,
    seen: &mut BTreeSet<String>,
    consumers: &mut BTreeSet<String>,
) -> Result<(), ApiError> {
    if !names::is_valid_name(&source.name) {
        return Err(error_codes::SOURCE_INVALID_STREAM_NAME.error());
    }
    if !seen.insert(identity(source)) {
        return Err(error_codes::SOURCE_DUPLICATE_DETECTED.error());
    }
    if has_two_kinds_of_filters(source) {
        return Err(error_codes::SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED.error());
    }
    for SubjectTransform { src, dest } in &source.subject_transforms {
        if !src.is_empty() && !subject::is_valid(src.as_bytes()) {
            return Err(error_codes::SOURCE_INVALID_SUBJECT_FILTER.with(format!("invalid subject {src}")));
        }
        transform::check(src, dest)
            .map_err(|problem| error_codes::SOURCE_INVALID_TRANSFORM_DESTINATION.with(problem))?;
    }
    for (position, transform) in source.subject_transforms.iter().enumerate() {
        let contains = |(at, other): (usize, &SubjectTransform)| {
            at != position && subject::is_subset(transform.src.as_bytes(), other.src.as_bytes())
        };
        if source.subject_transforms.iter().enumerate().any(contains) {
            return Err(error_codes::SOURCE_OVERLAPPING_SUBJECT_FILTERS.error());
        }
    }
    if has_bad_consumer(source) {
        return Err(error_codes::SOURCE_DURABLE_CONSUMER_CFG_INVALID.error());
    }
    let consumer = source.consumer.as_ref();
    if consumer.is_some_and(|consumer| {
        !consumers.insert(format!("{}\0{}\0{}", source.name, api_prefix(source), consumer.name))
    }) {
        return Err(error_codes::SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED.error());
    }
    let origin = environment.stream(&source.name).filter(|_| source.external.is_none());
    if origin.is_some_and(|origin| takes_too_little(config, origin)) {
        return Err(error_codes::SOURCE_MAX_MESSAGE_SIZE_TOO_BIG.error());
    }
    Ok(())
}

/// Two sources with the same identity would store every message twice.
fn identity(source: &StreamSource) -> String {
    let mut identity = format!("{}\0{}\0{}", source.name, api_prefix(source), source.filter_subject);
    for transform in &source.subject_transforms {
        identity.push_str(&format!("\0{}\0{}", transform.src, transform.dest));
    }
    identity
}

fn api_prefix(source: &StreamSource) -> &str {
    source.external.as_ref().map_or("", |external| &external.api)
}

fn has_two_kinds_of_filters(source: &StreamSource) -> bool {
    !source.filter_subject.is_empty() && !source.subject_transforms.is_empty()
}

fn has_bad_consumer(source: &StreamSource) -> bool {
    source.consumer.as_ref().is_some_and(|consumer| {
        !names::is_valid_name(&consumer.name)
            || !subject::is_valid_literal(consumer.deliver_subject.as_bytes())
            || source.opt_start_seq != 0
            || source.opt_start_time.is_some()
            || !source.filter_subject.is_empty()
    })
}

fn takes_too_little(config: &StreamConfig, origin: &StreamConfig) -> bool {
    config.max_msg_size > 0 && origin.max_msg_size > 0 && config.max_msg_size < origin.max_msg_size
}

/// Prefixes of other accounts and domains must not overlap with what is local.
fn check_external(config: &StreamConfig, environment: &Environment<'_>) -> Result<(), ApiError> {
    let origins = || config.mirror.iter().chain(&config.sources);
    let local = || {
        let names = origins().filter(|origin| origin.external.is_none()).map(|origin| &origin.name);
        names
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|name| environment.stream(name))
            .flat_map(|origin| &origin.subjects)
    };
    let external = || origins().filter_map(|origin| origin.external.as_ref());
    for prefix in external().map(|external| &external.deliver).filter(|prefix| !prefix.is_empty()) {
        if !subject::is_valid_literal(prefix.as_bytes()) {
            return Err(error_codes::STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ.with(prefix));
        }
        if let Some(taken) = local().find(|taken| subjects::collide(taken, &format!("{prefix}.{taken}"))) {
            let values = [("prefix", prefix.as_str()), ("subject", taken.as_str())];
            return Err(error_codes::STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS.with_all(&values));
        }
    }
    for prefix in external().map(|external| &external.api).filter(|prefix| !prefix.is_empty()) {
        if !subject::is_valid_literal(prefix.as_bytes()) {
            let quoted = json::quote(prefix);
            return invalid(format!("stream external api prefix {quoted} must be a valid subject without wildcards"));
        }
        if subjects::collide(prefix, "$JS.API") {
            let values = [("prefix", prefix.as_str()), ("subject", "$JS.API")];
            return Err(error_codes::STREAM_EXTERNAL_API_OVERLAP.with_all(&values));
        }
    }
    Ok(())
}

/// A stream must not come back to itself over sources and mirrors.
fn check_cycles(config: &StreamConfig, environment: &Environment<'_>) -> Result<(), ApiError> {
    let mut to_visit = VecDeque::from([config]);
    let mut visited = BTreeSet::new();
    while let Some(stream) = to_visit.pop_front() {
        visited.insert(&stream.name);
        let takes = |filter: &str| {
            filter.is_empty() || stream.subjects.iter().any(|subject| subjects::collide(subject, filter))
        };
        let sources = stream.sources.iter().map(|source| (source, takes(&source.filter_subject)));
        let mirror = stream.mirror.iter().map(|mirror| (mirror, true));
        for (origin, closes) in sources.chain(mirror).filter(|(origin, _)| origin.external.is_none()) {
            if visited.contains(&origin.name) {
                if closes {
                    return invalid("detected cycle");
                }
            } else if let Some(next) = environment.stream(&origin.name) {
                to_visit.push_back(next);
            }
        }
    }
    Ok(())
}
