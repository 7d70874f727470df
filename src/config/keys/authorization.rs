//! The `authorization` block and lists of users (S-01 to S-04).

use std::time::Duration;

use super::super::account::{ConnectionType, Permissions, User, UserIdentity};
use super::super::duration::GoDuration;
use super::super::options::UserPassword;
use super::super::reader::Entry;
use super::super::report::Report;
use super::super::secret::Secret;
use super::super::syntax::{Map, Value};
use super::{Draft, permissions, unsupported};

/// A longer time to authenticate is probably a unit that went missing.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn read_block(entry: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    let Some(map) = entry.map(report) else { return };
    draft.authorization_seen = true;
    let mut user_name = None;
    let mut password = None;
    let mut token = None;
    let mut users = None;
    let mut defaults = None;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "user" | "username" => user_name = entry.string(report).filter(|name| !name.is_empty()),
            "pass" | "password" => password = entry.string(report).filter(|text| !text.is_empty()),
            "token" => token = entry.string(report).filter(|text| !text.is_empty()),
            "timeout" => {
                if let Some(timeout) = entry.timeout("authorization", report) {
                    warn_long_timeout(entry, timeout, report);
                    draft.authorization_timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
                }
            }
            "users" => users = read_users(entry, None, report),
            "default_permission" | "default_permissions" | "permissions" => {
                defaults = permissions::read(entry, report);
            }
            "proxy_required" => super::top::set(&mut draft.options.authorization.proxy_required, entry.boolean(report)),
            _ if unsupported::read_in("authorization", entry, report) => {}
            _ => report.unknown(key, node),
        }
    }
    let span = &entry.node.span;
    let conflict = match (user_name.is_some() || password.is_some(), token.is_some(), users.is_some()) {
        (true, true, _) => Some("Cannot have a user/pass and token"),
        (true, _, true) if user_name.is_some() => Some("Can not have a single user/pass and a users array"),
        (_, true, true) => Some("Can not have a token and a users array"),
        _ => None,
    };
    if let Some(text) = conflict {
        report.error(span, text);
        return;
    }
    draft.user_name = user_name.map(String::from);
    draft.password = password.map(String::from);
    draft.options.authorization.token = token.map(Secret::new);
    let mut users = users.unwrap_or_default();
    apply_defaults(&mut users, defaults.as_ref());
    add_users(users, entry, draft, report);
}

fn warn_long_timeout(entry: Entry<'_>, timeout: Duration, report: &mut Report) {
    if timeout <= TIMEOUT_MAX {
        return;
    }
    let written = match &entry.node.value {
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => GoDuration::from(timeout).to_string(),
    };
    report.misuse(
        entry.key,
        &entry.node.span,
        format_args!(
            "timeout of {written} ({:.6} seconds) is high, consider keeping it under 60 seconds. possibly caused by \
             unquoted duration; use '1m' instead of 1m, for example",
            timeout.as_secs_f64()
        ),
    );
}

/// Gives the users of a block its default permissions where they have none (S-34).
pub(super) fn apply_defaults(users: &mut [User], defaults: Option<&Permissions>) {
    for user in users {
        if user.permissions.is_none() {
            user.permissions = defaults.cloned();
        }
    }
}

/// Adds users whose names nobody has yet.
pub(super) fn add_users(users: Vec<User>, list: Entry<'_>, draft: &mut Draft, report: &mut Report) {
    for user in users {
        if draft.user_names.insert(user.name().to_string()) {
            draft.options.authorization.users.push(user);
            continue;
        }
        let kind = match user.identity {
            UserIdentity::Password { .. } => "user",
            UserIdentity::Nkey { .. } => "nkey",
        };
        report.error(&list.node.span, format_args!("Duplicate {kind} {:?} detected", user.name()));
    }
}

/// A list of users of one account; `None` when the list cannot be used.
pub(super) fn read_users(entry: Entry<'_>, account: Option<&str>, report: &mut Report) -> Option<Vec<User>> {
    let Value::List(items) = &entry.node.value else {
        let text = format!("Expected users field to be an array, got {}", entry.node.value.kind());
        report.error(&entry.node.span, text);
        return None;
    };
    let mut users = Vec::with_capacity(items.len());
    for item in items {
        let Value::Map(map) = &item.value else {
            let text = format!("Expected user entry to be a map/struct, got {}", item.value.kind());
            report.error(&item.span, text);
            continue;
        };
        match read_user(map, account, report) {
            Ok(user) => users.push(user),
            Err(text) => report.error(&item.span, text),
        }
    }
    Some(users)
}

fn read_user(map: &Map, account: Option<&str>, report: &mut Report) -> Result<User, &'static str> {
    let mut nkey = "";
    let mut name = "";
    let mut password = "";
    let mut permissions = None;
    let mut connection_types = Vec::new();
    let mut proxy_required = false;
    for (key, node) in map.iter() {
        let entry = Entry::new(key, node);
        match key.to_ascii_lowercase().as_str() {
            "nkey" => nkey = entry.string(report).unwrap_or(nkey),
            "user" | "username" => name = entry.string(report).unwrap_or(name),
            "pass" | "password" => password = entry.string(report).unwrap_or(password),
            "permission" | "permissions" | "authorization" => permissions = permissions::read(entry, report),
            "allowed_connection_types" | "connection_types" | "clients" => {
                connection_types = read_connection_types(entry, report);
            }
            "proxy_required" => proxy_required = entry.boolean(report).unwrap_or(false),
            _ => report.unknown(key, node),
        }
    }
    let identity = match (nkey, name) {
        ("", "") => return Err("User entry requires a user"),
        ("", name) => UserIdentity::Password { name: name.into(), password: Secret::new(password) },
        (nkey, _) if !is_public_key(nkey, nkeys::KeyPairType::User) => {
            return Err("Not a valid public nkey for a user");
        }
        (_, name) if !name.is_empty() || !password.is_empty() => {
            return Err("Nkey users do not take usernames or passwords");
        }
        (nkey, _) => UserIdentity::Nkey { public_key: nkey.into() },
    };
    Ok(User { identity, account: account.map(String::from), permissions, connection_types, proxy_required })
}

fn read_connection_types(entry: Entry<'_>, report: &mut Report) -> Vec<ConnectionType> {
    let mut types = Vec::new();
    let mut unknown = Vec::new();
    for name in entry.strings("allowed connection types", report).unwrap_or_default() {
        match ConnectionType::from_name(&name) {
            Some(kind) if types.contains(&kind) => {}
            Some(kind) => types.push(kind),
            None => unknown.push(format!("{:?}", name.to_uppercase())),
        }
    }
    if !unknown.is_empty() {
        report.error(&entry.node.span, format_args!("invalid connection types [{}]", unknown.join(" ")));
    }
    types
}

/// True for the public half of an nkey of this kind.
pub(super) fn is_public_key(text: &str, kind: nkeys::KeyPairType) -> bool {
    nkeys::from_public_key(text).is_ok_and(|(prefix, _)| nkeys::KeyPairType::from(prefix) == kind)
}

/// Fills the single user in; a user without a name is none.
pub(in super::super) fn single_user(draft: &Draft) -> Option<UserPassword> {
    let name = draft.user_name.clone()?;
    Some(UserPassword { name, password: Secret::new(draft.password.clone().unwrap_or_default()) })
}
