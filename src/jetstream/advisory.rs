//! Advisories: what happened to streams and consumers, told on `$JS.EVENT.ADVISORY.>` (6.3).
//!
//! One is only encoded when somebody listens; it is never stored for later.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::api::{Timestamp, json};
use crate::account::{Account, ClientIdentity};
use crate::router::Publisher;

const SUBJECT_PREFIX: &str = "$JS.EVENT.ADVISORY.";
/// What the type of every advisory begins with.
pub const TYPE_PREFIX: &str = "io.nats.jetstream.advisory.v1.";

/// Who did something, as advisories and events show a connection.
#[derive(Serialize)]
pub struct ClientInfo {
    start: Timestamp,
    host: String,
    id: u64,
    acc: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ver: String,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<u64>,
    server: String,
    kind: &'static str,
    client_type: &'static str,
}

/// `server` is the one that the client is connected to.
pub fn client_info(client: &ClientIdentity, account: &str, server: &str) -> ClientInfo {
    let start = client.start.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    ClientInfo {
        start: Timestamp(i64::try_from(start).unwrap_or(i64::MAX)),
        host: client.host.clone(),
        id: client.id,
        acc: account.to_owned(),
        user: client.user.clone(),
        name: client.name.clone(),
        lang: client.lang.clone(),
        ver: client.version.clone(),
        rtt: client.round_trip.get().and_then(|taken| u64::try_from(taken.as_nanos()).ok()),
        server: server.to_owned(),
        kind: "Client",
        client_type: client.kind.as_str(),
    }
}

/// The body of an advisory: type, id and time, then its own fields.
pub fn encode<B: Serialize>(kind: &str, now: i64, body: B) -> Vec<u8> {
    json::write(&Envelope { kind, id: super::names::unique_id(), timestamp: Timestamp(now), body })
}

/// Publishes an advisory when somebody listens. `suffix` is the subject behind `$JS.EVENT.ADVISORY.`, `kind` the last
/// part of its type.
pub fn publish<B: Serialize>(
    publisher: &mut Publisher,
    account: &Account,
    suffix: &str,
    kind: &str,
    now: i64,
    body: B,
) {
    let subject = format!("{SUBJECT_PREFIX}{suffix}");
    publish_raw(publisher, account, &subject, &format!("{TYPE_PREFIX}{kind}"), now, body);
}

/// As [`publish`], with the whole subject and type.
pub fn publish_raw<B: Serialize>(
    publisher: &mut Publisher,
    account: &Account,
    subject: &str,
    kind: &str,
    now: i64,
    body: B,
) {
    if account.interest.any_match(subject.as_bytes(), |_| true) {
        publisher.publish(subject.as_bytes(), None, &[], &[&encode(kind, now, body)]);
    }
}

#[derive(Serialize)]
struct Envelope<'a, B> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: String,
    timestamp: Timestamp,
    #[serde(flatten)]
    body: B,
}

/// `stream_action`.
#[derive(Serialize)]
pub struct StreamAction<'a> {
    pub stream: &'a str,
    pub action: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'a str,
}

/// `consumer_action`.
#[derive(Serialize)]
pub struct ConsumerAction<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
    pub action: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'a str,
}
