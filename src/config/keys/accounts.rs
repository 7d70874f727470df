//! The `accounts` block (S-40, S-47, S-48, S-50).

use std::collections::HashSet;

use super::super::account::{AccountLimits, AccountOptions, MessageTrace};
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::syntax::{Map, Node, Value};
use super::authorization::{add_users, apply_defaults, is_public_key, read_users};
use super::{Draft, jetstream, permissions, unsupported};
use crate::protocol::subject;

/// The account of everybody who is in no other account.
const GLOBAL_ACCOUNT: &str = "$G";

pub(super) fn read(entry: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    match &entry.node.value {
        Value::List(names) => read_names(names, draft, report),
        Value::Map(map) => {
            for (name, node) in map.iter() {
                read_account(name, node, draft, report);
            }
        }
        // nats-server passes over anything else.
        _ => {}
    }
}

/// `accounts: [A, B]`.
fn read_names(names: &[Node], draft: &mut Draft, report: &mut Report) {
    let mut seen = HashSet::new();
    for node in names {
        let Some(name) = Entry::new("account", node).string(report) else { continue };
        if name == GLOBAL_ACCOUNT {
            report.error(&node.span, format_args!("{name:?} is a Reserved Account"));
        } else if !seen.insert(name) {
            report.error(&node.span, format_args!("Duplicate Account Entry: {name}"));
        } else {
            draft.options.accounts.push(AccountOptions { name: name.into(), ..AccountOptions::default() });
        }
    }
}

fn read_account(name: &str, node: &Node, draft: &mut Draft, report: &mut Report) {
    if node.is_variable {
        return;
    }
    let Value::Map(map) = &node.value else {
        report.error(&node.span, "Expected map entries for accounts");
        return;
    };
    if name == GLOBAL_ACCOUNT {
        report.error(&node.span, format_args!("{name:?} is a Reserved Account"));
        return;
    }
    let mut account = AccountOptions { name: name.into(), ..AccountOptions::default() };
    let mut users = Vec::new();
    let mut users_entry = None;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "nkey" => account.nkey = read_nkey(entry, report),
            "jetstream" => jetstream::read_account(entry, &mut account, report),
            "users" => {
                users = read_users(entry, Some(name), report).unwrap_or_default();
                users_entry = Some(entry);
            }
            "default_permissions" => account.default_permissions = permissions::read(entry, report),
            "limits" => account.limits = read_limits(entry, report),
            "msg_trace" | "trace_dest" => {
                account.message_trace = read_trace(entry, report);
                report.unsupported(format!("accounts.{name}.{key}"), &node.span);
            }
            _ if unsupported::read_in_account(name, entry, report) => {}
            _ => report.unknown(key, node),
        }
    }
    if let Some(entry) = users_entry.filter(|_| !users.is_empty()) {
        let conflict = match (&draft.user_name, &draft.options.authorization.token) {
            (Some(_), _) => Some("Can not have a single user/pass and accounts"),
            (None, Some(_)) => Some("Can not have a token and accounts"),
            (None, None) => None,
        };
        match conflict {
            Some(text) => report.error(&entry.node.span, text),
            None => {
                apply_defaults(&mut users, account.default_permissions.as_ref());
                add_users(users, entry, draft, report);
            }
        }
    }
    draft.options.accounts.push(account);
}

fn read_nkey(entry: Entry<'_>, report: &mut Report) -> Option<String> {
    match &entry.node.value {
        Value::String(text) if is_public_key(text, nkeys::KeyPairType::Account) => Some(text.clone()),
        value => {
            let shown = if let Value::String(text) = value { text.as_str() } else { value.kind() };
            report.error(&entry.node.span, format_args!("Not a valid public nkey for an account: {shown:?}"));
            None
        }
    }
}

/// -1 lifts a limit.
fn read_limits(entry: Entry<'_>, report: &mut Report) -> AccountLimits {
    let mut limits = AccountLimits::default();
    let Value::Map(map) = &entry.node.value else {
        let text = format!("Expected account limits to be a map/struct, got {}", entry.node.value.kind());
        report.error(&entry.node.span, text);
        return limits;
    };
    for (key, node) in map.iter() {
        let target = match key.to_ascii_lowercase().as_str() {
            "max_connections" | "max_conn" => &mut limits.connections_max,
            "max_subscriptions" | "max_subs" => &mut limits.subscriptions_max,
            "max_payload" | "max_pay" => &mut limits.payload_bytes_max,
            "max_leafnodes" | "max_leafs" => &mut limits.leafnodes_max,
            _ => {
                if !node.is_variable {
                    report.error(&node.span, format_args!("Unknown field {key:?} parsing account limits"));
                }
                continue;
            }
        };
        let entry = Entry::new(key, node);
        *target = match node.value {
            Value::Integer(number) if number < 0 => None,
            _ => entry.count(report),
        };
    }
    limits
}

fn read_trace(entry: Entry<'_>, report: &mut Report) -> Option<MessageTrace> {
    match &entry.node.value {
        Value::String(_) => {
            Some(MessageTrace { destination: read_trace_destination(entry, report)?, sampling_percent: 100 })
        }
        Value::Map(map) => read_trace_block(entry, map, report),
        other => {
            report.error(
                &entry.node.span,
                format_args!(
                    "Expected account message trace {:?} to be a string or a map/struct, got {}",
                    entry.key,
                    other.go_type()
                ),
            );
            None
        }
    }
}

fn read_trace_block(block: Entry<'_>, map: &Map, report: &mut Report) -> Option<MessageTrace> {
    let mut destination = None;
    let mut sampling = None;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "dest" => destination = read_trace_destination(entry, report),
            "sampling" => sampling = read_sampling(entry, report),
            _ if node.is_variable => {}
            _ => report.error(
                &node.span,
                format_args!("Unknown field {key:?} parsing account message trace map/struct {:?}", block.key),
            ),
        }
    }
    if destination.is_none() && sampling.is_some() {
        report.warning(&block.node.span, "Trace destination sampling ignored since no destination was set");
    }
    Some(MessageTrace { destination: destination?, sampling_percent: sampling.unwrap_or(100) })
}

fn read_trace_destination(entry: Entry<'_>, report: &mut Report) -> Option<String> {
    match &entry.node.value {
        Value::String(text) if subject::is_valid_literal(text.as_bytes()) => return Some(text.clone()),
        Value::String(text) => {
            report.error(&entry.node.span, format_args!("Trace destination {text:?} is not valid"));
        }
        other => report
            .error(&entry.node.span, format_args!("Field {:?} should be a string, got {}", entry.key, other.go_type())),
    }
    None
}

fn read_sampling(entry: Entry<'_>, report: &mut Report) -> Option<u8> {
    let number = match &entry.node.value {
        Value::Integer(number) => *number,
        Value::String(text) => match text.trim_end_matches('%').parse() {
            Ok(number) => number,
            Err(_) => {
                report.error(&entry.node.span, format_args!("Invalid trace destination sampling value {text:?}"));
                return None;
            }
        },
        other => {
            report.error(
                &entry.node.span,
                format_args!(
                    "Trace destination sampling field {:?} should be an integer or a percentage, got {}",
                    entry.key,
                    other.go_type()
                ),
            );
            return None;
        }
    };
    match u8::try_from(number) {
        Ok(percent @ 1..=100) => Some(percent),
        _ => {
            report.error(
                &entry.node.span,
                format_args!("Trace destination sampling value {number} is invalid, needs to be [1..100]"),
            );
            None
        }
    }
}
