//! Permissions of users, accounts and the `authorization` block (S-30 to S-34).

use super::super::account::{AllowResponses, Permissions, SubjectPermissions};
use super::super::duration::parse_duration;
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Map, Node, Value};
use crate::protocol::subject;

pub(super) fn read(entry: Entry<'_>, report: &mut Report) -> Option<Permissions> {
    let Value::Map(map) = &entry.node.value else {
        let text = format!("Expected permissions to be a map/struct, got {}", entry.node.value.kind());
        report.error(&entry.node.span, text);
        return None;
    };
    let mut permissions = Permissions::default();
    for (key, node) in map.iter() {
        match key.to_ascii_lowercase().as_str() {
            "pub" | "publish" | "import" => permissions.publish = read_subjects(node, false, report),
            "sub" | "subscribe" | "export" => permissions.subscribe = read_subjects(node, true, report),
            "publish_allow_responses" | "allow_responses" => {
                permissions.allow_responses = read_allow_responses(node, report);
            }
            _ => unknown(format_args!("Unknown field {key:?} parsing permissions"), node, report),
        }
    }
    if permissions.allow_responses.is_some() {
        // Answers are allowed one by one, so everything else is closed unless it is listed.
        permissions.publish.get_or_insert_default().allow.get_or_insert_default();
    }
    Some(permissions)
}

/// `"subject"`, a list of subjects, or `{allow, deny}`.
fn read_subjects(node: &Node, queues: bool, report: &mut Report) -> Option<SubjectPermissions> {
    let Value::Map(map) = &node.value else {
        return Some(SubjectPermissions { allow: read_list(node, queues, report)?, deny: Vec::new() });
    };
    if map.is_empty() {
        return None;
    }
    let mut permissions = SubjectPermissions::default();
    for (key, node) in map.iter() {
        match key.to_ascii_lowercase().as_str() {
            "allow" => permissions.allow = read_list(node, queues, report).flatten(),
            "deny" => permissions.deny = read_list(node, queues, report).flatten().unwrap_or_default(),
            _ => unknown(
                format_args!(
                    "Unknown field name {key:?} parsing subject permissions, only 'allow' or 'deny' are permitted"
                ),
                node,
                report,
            ),
        }
    }
    Some(permissions)
}

/// The outer `None` is an error. An empty list is the same as no list, as in nats-server.
fn read_list(node: &Node, queues: bool, report: &mut Report) -> Option<Option<Vec<String>>> {
    let mut subjects = Vec::new();
    match &node.value {
        Value::String(text) => subjects.push(text.clone()),
        Value::List(items) => {
            for item in items {
                let Value::String(text) = &item.value else {
                    report.error(&item.span, "Subject in permissions array cannot be cast to string");
                    return None;
                };
                subjects.push(text.clone());
            }
        }
        other => {
            report.error(
                &node.span,
                format_args!(
                    "Expected subject permissions to be a subject, or array of subjects, got {}",
                    other.go_type()
                ),
            );
            return None;
        }
    }
    if let Err(text) = subjects.iter().try_for_each(|text| check_subject(text, queues)) {
        report.error(&node.span, text);
        return None;
    }
    Some(Some(subjects).filter(|subjects| !subjects.is_empty()))
}

/// A valid subject, or `subject queue` where queues are allowed (S-31).
fn check_subject(text: &str, queues: bool) -> Result<(), String> {
    let is_subject = |text: &str| subject::is_valid(text.as_bytes());
    if is_subject(text) {
        return Ok(());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [subject, _] if queues && !is_subject(subject) => Err(format!("subject {subject:?} is not a valid subject")),
        [_, queue] if queues && !is_subject(queue) => Err(format!("queue {queue:?} is not a valid queue")),
        [_, _] if queues => Ok(()),
        _ => Err(format!("subject {text:?} is not a valid subject")),
    }
}

fn read_allow_responses(node: &Node, report: &mut Report) -> Option<AllowResponses> {
    let map = match &node.value {
        Value::Bool(true) => return Some(AllowResponses::default()),
        Value::Bool(false) => return None,
        Value::Map(map) => map,
        _ => {
            report.error(&node.span, "error parsing response permissions, expected a boolean or a map");
            return None;
        }
    };
    read_response_limits(map, report)
}

/// Zero keeps a default, negative numbers lift the limit.
fn read_response_limits(map: &Map, report: &mut Report) -> Option<AllowResponses> {
    let mut responses = AllowResponses::default();
    for (key, node) in map.iter() {
        match key.to_ascii_lowercase().as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => match Entry::new(key, node).integer(report) {
                Some(0) | None => {}
                Some(max) => responses.messages_max = u64::try_from(max).ok(),
            },
            "expires" | "expiration" | "ttl" => {
                let Value::String(text) = &node.value else {
                    report.error(&node.span, "error parsing expires, not a duration string");
                    return None;
                };
                match parse_duration(text) {
                    Ok(duration) if duration.0 == 0 => {}
                    Ok(duration) => responses.expires = duration.positive(),
                    Err(error) => {
                        report.error(&node.span, format_args!("error parsing expires: {error}"));
                        return None;
                    }
                }
            }
            _ => unknown(format_args!("Unknown field {key:?} parsing permissions"), node, report),
        }
    }
    Some(responses)
}

fn unknown(text: std::fmt::Arguments<'_>, node: &Node, report: &mut Report) {
    if !node.is_variable {
        report.error(&node.span, text);
    }
}
