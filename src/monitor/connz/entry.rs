//! One connection as `/connz` tells it.

use serde::Serialize;

use super::Found;
use crate::account::GLOBAL;
use crate::connection::{SubscriptionSnapshot, TlsInfo};
use crate::jetstream::api::Timestamp;
use crate::monitor::Context;
use crate::monitor::format::{self, is_default};
use crate::monitor::subsz::Subscription;

/// What is told beside the counters.
pub struct Details {
    pub auth: bool,
    /// Subjects of subscriptions.
    pub listed: bool,
    /// Whole subscriptions.
    pub detailed: bool,
}

#[derive(Serialize)]
pub struct Entry {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type")]
    transport: &'static str,
    ip: String,
    port: u16,
    start: Timestamp,
    last_activity: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    tls_version: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_cipher_suite: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "is_default")]
    tls_first: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<Subscription>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name_tag: String,
}

#[derive(Serialize)]
struct PeerCertificate {
    spki_sha256: String,
}

impl Entry {
    /// `subscriptions_left` is what the page may still list.
    pub fn of(context: &Context<'_>, found: Found, details: &Details, subscriptions_left: &mut usize) -> Entry {
        let Found { connection, ended } = found;
        let subscriptions = if details.listed || details.detailed {
            let subscriptions = match &ended {
                Some(ended) => ended.subscriptions.clone(),
                None => context
                    .server
                    .connection(connection.id)
                    .map(|open| open.subscriptions(*subscriptions_left))
                    .unwrap_or_default(),
            };
            *subscriptions_left = subscriptions_left.saturating_sub(subscriptions.len());
            subscriptions
        } else {
            Vec::new()
        };
        let elsewhere = connection.account != GLOBAL;
        let account = if ended.is_some() { connection.account.as_str() } else { "" };
        let tls = connection.tls.unwrap_or_default();
        Entry {
            cid: connection.id,
            kind: "Client",
            transport: connection.kind.as_str(),
            ip: connection.peer.ip().to_canonical().to_string(),
            port: connection.peer.port(),
            start: format::timestamp(connection.start),
            last_activity: format::timestamp(connection.last_activity),
            stop: ended.as_ref().map(|ended| format::timestamp(ended.stop)),
            reason: ended.as_ref().map_or("", |ended| ended.reason.as_str()),
            rtt: format::round_trip(connection.rtt),
            uptime: format::uptime(connection.uptime),
            idle: format::uptime(connection.idle),
            pending_bytes: connection.pending_bytes,
            in_msgs: connection.traffic.messages_in,
            out_msgs: connection.traffic.messages_out,
            in_bytes: connection.traffic.bytes_in,
            out_bytes: connection.traffic.bytes_out,
            stalls: connection.stalls,
            subscriptions: connection.subscriptions,
            name: connection.name,
            lang: connection.lang,
            version: connection.version,
            tls_version: tls.version,
            tls_peer_certs: if details.auth { peer_certificates(&tls) } else { Vec::new() },
            tls_first: tls.first,
            tls_cipher_suite: tls.cipher_suite,
            authorized_user: if details.auth { connection.user } else { String::new() },
            account: if details.auth && elsewhere { connection.account.clone() } else { String::new() },
            subscriptions_list: if details.listed { subjects(&subscriptions) } else { Vec::new() },
            subscriptions_list_detail: if details.detailed {
                subscriptions
                    .into_iter()
                    .map(|subscription| Subscription::of_client(subscription, connection.id, account))
                    .collect()
            } else {
                Vec::new()
            },
            name_tag: if details.auth && (ended.is_none() || elsewhere) { connection.account } else { String::new() },
        }
    }
}

fn subjects(subscriptions: &[SubscriptionSnapshot]) -> Vec<String> {
    subscriptions.iter().map(|subscription| subscription.subject.clone()).collect()
}

fn peer_certificates(tls: &TlsInfo) -> Vec<PeerCertificate> {
    tls.key_hash.iter().map(|hash| PeerCertificate { spki_sha256: hash.clone() }).collect()
}
