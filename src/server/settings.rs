//! From the typed options to what accounts, authentication and connections need.

use crate::account::{AccountLimits, GLOBAL, PermissionRules, ResponseRule, SYSTEM};
use crate::auth::{AuthSettings, AuthSettingsError, ConnectionType, Directory, UserIdentity, UserSettings};
use crate::config::{self, Options, WriteTimeout};
use crate::connection::{CertificateFiles, HandshakeFirst, Hub, Settings, TlsSettings, Trace};
use crate::process::clients_max;
use crate::protocol::connect::Secret;
use std::collections::HashSet;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Auth(#[from] AuthSettingsError),
}

pub fn connections(options: &Options) -> Settings {
    Settings {
        control_line_bytes_max: options.control_line_bytes_max as usize,
        payload_bytes_max: options.payload_bytes_max as usize,
        pending_bytes_max: usize::try_from(options.pending_bytes_max).unwrap_or(usize::MAX),
        connections_max: (options.connections_max as usize).min(clients_max()),
        subscriptions_max: options.subscriptions_max.map(|max| max as usize),
        subscription_tokens_max: options.subscription_tokens_max.map(usize::from),
        closed_connections_max: options.closed_clients_max as usize,
        ping_interval: options.ping_interval,
        pings_out_max: options.pings_out_max,
        write_deadline: options.write_deadline,
        retry_writes: options.write_timeout == WriteTimeout::Retry,
        auth_timeout: options.authorization.timeout,
        stall_publishers: !options.no_fast_producer_stall,
        headers: !options.no_header_support,
        allow_plain: options.allow_non_tls,
        trace: Trace {
            message_bytes_max: options.traced_message_bytes_max.map(|max| max as usize),
            headers_only: options.log.trace_headers,
        },
    }
}

pub fn directory(options: &Options) -> Result<Directory, SettingsError> {
    let authorization = &options.authorization;
    let settings = AuthSettings {
        user: authorization.user.as_ref().map(|user| (user.name.clone(), secret(&user.password))),
        token: authorization.token.as_ref().map(secret),
        users: authorization.users.iter().map(user).collect(),
        no_auth_user: options.no_auth_user.clone(),
        anonymous: authorization.anonymous,
        default_permissions: None,
        map_certificates: options.tls.as_ref().is_some_and(|tls| tls.verify_and_map),
        proxy_required: authorization.proxy_required,
    };
    Ok(Directory::new(&settings)?)
}

/// Makes the accounts of the configuration and names the system account.
pub fn accounts(options: &Options, hub: &Hub) {
    for account in hub.accounts() {
        account.set_limits(AccountLimits::default());
    }
    for account in &options.accounts {
        let limits = &account.limits;
        let limit = |max: Option<u32>| max.map(|max| max as usize);
        hub.set_account_limits(
            &account.name,
            AccountLimits {
                connections_max: limit(limits.connections_max),
                leaf_nodes_max: limit(limits.leafnodes_max),
                subscriptions_max: limit(limits.subscriptions_max),
                payload_bytes_max: limit(limits.payload_bytes_max),
            },
        );
    }
    hub.ensure_account(GLOBAL);
    hub.set_system_account(options.system_account.as_deref().unwrap_or(SYSTEM));
    let wanted: HashSet<&str> = options.accounts.iter().map(|account| account.name.as_str()).collect();
    hub.retain_accounts(&wanted);
}

/// Puts into INFO what follows from the options and where the server listens.
pub fn announce(options: &Options, hub: &Hub, port: u16) {
    let required = hub.directory.load().is_required();
    let verify = options.tls.as_ref().is_some_and(|tls| tls.verify || tls.verify_and_map);
    let (host, port) = match options.client_advertise.as_deref().map(advertised) {
        Some((host, advertised)) => (host.to_string(), advertised.unwrap_or(port)),
        None => (options.listen.host.clone(), port),
    };
    hub.update_info(|info| {
        info.auth_required = required;
        info.tls_verify = verify;
        info.max_payload = i64::from(options.payload_bytes_max);
        info.host = host.clone();
        info.port = port;
    });
}

/// `host[:port]`, with brackets around an IPv6 address (C-35).
fn advertised(text: &str) -> (&str, Option<u16>) {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (text, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

pub fn tls(options: &Options) -> Option<TlsSettings> {
    let tls = options.tls.as_ref()?;
    let pairs = tls.certificates.iter();
    let certificates =
        pairs.map(|pair| CertificateFiles { certificate: pair.cert_file.clone(), key: pair.key_file.clone() });
    Some(TlsSettings {
        certificates: certificates.collect(),
        ca_file: tls.ca_file.clone(),
        verify: tls.verify || tls.verify_and_map,
        pinned_keys: tls.pinned_certs.clone(),
        only_1_3: tls.min_version == config::TlsVersion::Tls13,
        cipher_suites: tls.cipher_suites.clone(),
        curves: tls.curve_preferences.clone(),
        handshakes_per_second_max: tls.connection_rate_limit,
        timeout: tls.timeout,
        first: match tls.handshake_first {
            config::HandshakeFirst::No => HandshakeFirst::No,
            config::HandshakeFirst::Always => HandshakeFirst::Always,
            config::HandshakeFirst::Fallback(wait) => HandshakeFirst::Within(wait),
        },
    })
}

/// The certificates of the client port, for whoever asks: the monitor wants none of its visitors.
/// None where it speaks plain HTTP, or nothing.
pub fn monitor_tls(options: &Options) -> Option<TlsSettings> {
    if options.http.is_some() || options.https.is_none() {
        return None;
    }
    let settings = tls(options).unwrap_or_default();
    Some(TlsSettings {
        verify: false,
        pinned_keys: Default::default(),
        handshakes_per_second_max: None,
        first: HandshakeFirst::No,
        ..settings
    })
}

fn secret(secret: &config::Secret) -> Secret {
    Secret::new(secret.reveal())
}

fn user(user: &config::User) -> UserSettings {
    UserSettings {
        identity: match &user.identity {
            config::UserIdentity::Password { name, password } => {
                UserIdentity::Password { name: name.clone(), password: secret(password) }
            }
            config::UserIdentity::Nkey { public_key } => UserIdentity::Nkey(public_key.clone()),
        },
        account: user.account.clone(),
        permissions: user.permissions.as_ref().map(rules),
        connection_types: user.connection_types.iter().map(|kind| connection_type(*kind)).collect(),
        proxy_required: user.proxy_required,
    }
}

fn connection_type(kind: config::ConnectionType) -> ConnectionType {
    match kind {
        config::ConnectionType::Standard => ConnectionType::Standard,
        config::ConnectionType::Websocket => ConnectionType::WebSocket,
        config::ConnectionType::Leafnode => ConnectionType::Leaf,
        config::ConnectionType::LeafnodeWebsocket => ConnectionType::LeafWebSocket,
        config::ConnectionType::Mqtt => ConnectionType::Mqtt,
        config::ConnectionType::MqttWebsocket => ConnectionType::MqttWebSocket,
        config::ConnectionType::InProcess => ConnectionType::InProcess,
    }
}

fn rules(permissions: &config::Permissions) -> PermissionRules {
    let publish = permissions.publish.clone().unwrap_or_default();
    let subscribe = permissions.subscribe.clone().unwrap_or_default();
    PermissionRules {
        publish_allow: publish.allow,
        publish_deny: publish.deny,
        subscribe_allow: subscribe.allow,
        subscribe_deny: subscribe.deny,
        responses: permissions.allow_responses.map(|allow| ResponseRule {
            messages_max: allow.messages_max.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX)),
            expires: allow.expires,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_addresses_may_lack_a_port() {
        assert_eq!(advertised("example.com"), ("example.com", None));
        assert_eq!(advertised("example.com:4333"), ("example.com", Some(4333)));
        assert_eq!(advertised("[::1]:4333"), ("::1", Some(4333)));
        assert_eq!(advertised("::1"), ("::1", None));
    }
}
