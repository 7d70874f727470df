//! Rules between settings, with the words of nats-server. There they are checked at start only; here `-t` checks them
//! as well, because a file that cannot be started with is not valid.

use super::account::UserIdentity;
use super::duration::GoDuration;
use super::options::Options;
use super::report::ConfigError;
use crate::protocol::subject;

pub(super) fn check(options: &Options) -> Result<(), ConfigError> {
    check_limits(options)
        .and_then(|()| check_authorization(options))
        .and_then(|()| check_network(options))
        .and_then(|()| check_jetstream_accounts(options))
        .and_then(|()| check_domain(options.jetstream.domain.as_deref()))
        .map_err(ConfigError::new)
}

fn check_limits(options: &Options) -> Result<(), String> {
    if options.lame_duck_grace_period >= options.lame_duck_duration {
        return Err(format!(
            "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
            GoDuration::from(options.lame_duck_grace_period),
            GoDuration::from(options.lame_duck_duration)
        ));
    }
    if u64::from(options.payload_bytes_max) > options.pending_bytes_max {
        return Err(format!(
            "max_payload ({}) cannot be higher than max_pending ({})",
            options.payload_bytes_max, options.pending_bytes_max
        ));
    }
    Ok(())
}

fn check_network(options: &Options) -> Result<(), String> {
    if options.server_name.contains(' ') {
        return Err("server name cannot contain spaces".into());
    }
    if let Some(text) = &options.client_advertise {
        check_advertise(text).map_err(|error| format!("invalid ClientAdvertise value of {text}, err={error}"))?;
    }
    if options.https.is_some() && options.tls.is_none() {
        return Err("TLS cert and key required for HTTPS".into());
    }
    // nats-server starts and then fails every handshake.
    if options.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty()) {
        return Err("missing 'cert_file' in TLS configuration".into());
    }
    Ok(())
}

/// `host` or `host:port`.
fn check_advertise(text: &str) -> Result<(), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("invalid address")?)),
            None => return Err("missing ']' in address"),
        },
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => return Err("too many colons in address"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("no hostname specified");
    }
    match port.map(|port| port.trim().parse::<i32>()) {
        Some(Err(_)) => Err("invalid port"),
        Some(Ok(port)) if !(-1..=65535).contains(&port) => Err("invalid port"),
        _ => Ok(()),
    }
}

fn check_authorization(options: &Options) -> Result<(), String> {
    let users = &options.authorization.users;
    let Some(name) = &options.no_auth_user else { return Ok(()) };
    if users.is_empty() {
        return Err(format!("no_auth_user: \"{name}\" present, but users/nkeys are not defined"));
    }
    let named = |identity: &UserIdentity| match identity {
        UserIdentity::Password { name: user, .. } => user == name,
        UserIdentity::Nkey { public_key } => public_key == name,
    };
    if users.iter().any(|user| named(&user.identity)) {
        return Ok(());
    }
    Err(format!("no_auth_user: \"{name}\" not present as user or nkey in authorization block or account configuration"))
}

/// What accounts may store together, the server must have.
fn check_jetstream_accounts(options: &Options) -> Result<(), String> {
    if !options.jetstream.enabled {
        return Ok(());
    }
    let (mut memory_bytes, mut store_bytes) = (0_u64, 0_u64);
    for account in &options.accounts {
        let Some(limits) = &account.jetstream else { continue };
        if options.system_account.as_ref() == Some(&account.name) {
            return Err("Not allowed to enable JetStream on the system account".into());
        }
        // Without a limit nothing is reserved.
        memory_bytes = memory_bytes.saturating_add(u64::try_from(limits.memory_bytes_max).unwrap_or(0));
        store_bytes = store_bytes.saturating_add(u64::try_from(limits.store_bytes_max).unwrap_or(0));
    }
    for (kind, code, reserved, most) in [
        ("memory", 10028, memory_bytes, options.jetstream.memory_bytes_max),
        ("storage", 10047, store_bytes, options.jetstream.store_bytes_max),
    ] {
        if most.is_some_and(|most| reserved > most) {
            return Err(format!(
                "Error enabling jetstream on configured accounts: insufficient {kind} resources available ({code})"
            ));
        }
    }
    Ok(())
}

fn check_domain(domain: Option<&str>) -> Result<(), String> {
    let Some(domain) = domain else { return Ok(()) };
    let derived = format!("$JS.{domain}.API.>");
    if !subject::is_valid(derived.as_bytes()) {
        return Err(format!("invalid domain name: derived {derived:?} is not a valid subject"));
    }
    if domain.contains([' ', '\t', '\r', '\n', '\u{c}', '.', '*', '>']) {
        return Err("invalid domain name: may not contain ., * or >".into());
    }
    Ok(())
}
