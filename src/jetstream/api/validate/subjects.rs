//! Subjects of a stream: their form, overlap inside the stream, with other streams, and with the server's own.

use std::sync::Arc;

use super::super::error::ApiError;
use super::super::error_codes;
use super::super::json;
use super::super::stream_config::StreamConfig;
use super::subject_tree::{SubjectTree, TooEntangled};
use crate::protocol::subject;

/// Checks the subjects of a configuration whose defaults are set.
pub fn check(config: &StreamConfig) -> Result<(), ApiError> {
    let mut tree = SubjectTree::new(config.subjects.iter().map(String::as_str));
    for (position, name) in config.subjects.iter().enumerate() {
        if !subject::is_valid(name.as_bytes()) {
            return invalid("invalid subject");
        }
        check_reserved(config, name)?;
        // One that stands before it would have been found from there.
        if tree.overlaps(name, Some(position)).map_err(too_entangled)?
            && let Some(other) = config.subjects[position + 1..].iter().find(|other| collide(other, name))
        {
            return invalid(format!("subject {} overlaps with {}", json::quote(name), json::quote(other)));
        }
    }
    Ok(())
}

/// True when some subject belongs to another stream too.
///
/// # Errors
/// When wildcards cross each other so often that this would take too long to find out.
pub fn overlap_with_others(config: &StreamConfig, streams: &[Arc<StreamConfig>]) -> Result<bool, ApiError> {
    let mut tree = SubjectTree::new(config.subjects.iter().map(String::as_str));
    for taken in streams.iter().filter(|other| other.name != config.name).flat_map(|other| &other.subjects) {
        if tree.overlaps(taken, None).map_err(too_entangled)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The refusal of subjects that can not be compared in reasonable time.
pub fn too_entangled(_: TooEntangled) -> ApiError {
    error_codes::STREAM_INVALID_CONFIG.with("too many subjects with wildcards that cross each other")
}

pub fn collide(left: &str, right: &str) -> bool {
    subject::overlaps(left.as_bytes(), right.as_bytes())
}

/// A stream that answers every publish must not swallow requests to the server.
fn check_reserved(config: &StreamConfig, name: &str) -> Result<(), ApiError> {
    if name == ">" {
        if !config.no_ack {
            return invalid("capturing all subjects requires no-ack to be true");
        }
        if config.num_replicas != 1 {
            return invalid("capturing all subjects requires replicas of 1");
        }
    }
    if config.no_ack {
        return Ok(());
    }
    let inside = |outer: &str| subject::is_subset(name.as_bytes(), outer.as_bytes());
    let api = ["$JS.>", "$JSC.>", "$NRG.>"].iter().any(|reserved| collide(name, reserved));
    if api && !inside("$JS.EVENT.>") {
        return invalid("subjects that overlap with jetstream api require no-ack to be true");
    }
    if collide(name, "$SYS.>") && !inside("$SYS.ACCOUNT.>") {
        return invalid("subjects that overlap with system api require no-ack to be true");
    }
    Ok(())
}

fn invalid<T>(text: impl std::fmt::Display) -> Result<T, ApiError> {
    Err(error_codes::STREAM_INVALID_CONFIG.with(text))
}
