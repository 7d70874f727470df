//! Users, permissions and accounts as configured (sections 2.1 to 2.3). Plain data: authentication and subject
//! matching are done elsewhere.

use std::time::Duration;

use super::jetstream::AccountJetStreamLimits;
use super::secret::Secret;

/// One entry of `authorization.users` or `accounts.<name>.users` (S-03, S-04).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub identity: UserIdentity,
    /// The account that lists the user; `None` is the global account `$G`.
    pub account: Option<String>,
    /// The user's own permissions, or the default permissions of its block; `None` allows everything.
    pub permissions: Option<Permissions>,
    /// Transports the user may come by (S-20); empty allows every transport.
    pub connection_types: Vec<ConnectionType>,
    /// The user may only come through a trusted proxy (S-21).
    pub proxy_required: bool,
}

/// What a user proves to be itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserIdentity {
    /// The password may be empty (users that are mapped from a certificate) or a bcrypt hash.
    Password { name: String, password: Secret },
    /// A public user nkey (`U...`), proved by signing the server's nonce.
    Nkey { public_key: String },
}

impl User {
    /// The user name or the public nkey: unique in the whole configuration.
    pub fn name(&self) -> &str {
        match &self.identity {
            UserIdentity::Password { name, .. } => name,
            UserIdentity::Nkey { public_key } => public_key,
        }
    }
}

/// Transports of S-20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnectionType {
    Standard,
    Websocket,
    Leafnode,
    LeafnodeWebsocket,
    Mqtt,
    MqttWebsocket,
    InProcess,
}

impl ConnectionType {
    /// The name used in configurations and user JWTs; lookup is case-insensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "STANDARD" => Self::Standard,
            "WEBSOCKET" => Self::Websocket,
            "LEAFNODE" => Self::Leafnode,
            "LEAFNODE_WS" => Self::LeafnodeWebsocket,
            "MQTT" => Self::Mqtt,
            "MQTT_WS" => Self::MqttWebsocket,
            "IN_PROCESS" => Self::InProcess,
            _ => return None,
        })
    }
}

/// What a user may publish and subscribe to (S-30 to S-33).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `None` allows everything.
    pub publish: Option<SubjectPermissions>,
    /// `None` allows everything. Entries may be `"subject queue"` (S-31).
    pub subscribe: Option<SubjectPermissions>,
    /// Temporary permission to publish to received reply subjects. When it is set, `publish.allow` is `Some`, so that
    /// nothing else may be published unless it is listed.
    pub allow_responses: Option<AllowResponses>,
}

/// Allow and deny lists; deny wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectPermissions {
    /// `None` allows everything that is not denied; `Some` of an empty list allows nothing.
    pub allow: Option<Vec<String>>,
    pub deny: Vec<String>,
}

/// `allow_responses` (S-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowResponses {
    /// How many messages may be sent to one reply subject; `None` is unlimited.
    pub messages_max: Option<u64>,
    /// How long a reply subject stays allowed; `None` is for ever.
    pub expires: Option<Duration>,
}

impl Default for AllowResponses {
    fn default() -> Self {
        Self { messages_max: Some(1), expires: Some(Duration::from_secs(120)) }
    }
}

/// One entry of `accounts` (S-40). Its users are in [`super::Authorization::users`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOptions {
    pub name: String,
    /// Public account nkey (`A...`).
    pub nkey: Option<String>,
    /// Already applied to the account's users; kept for users that come later (callout, certificates).
    pub default_permissions: Option<Permissions>,
    pub limits: AccountLimits,
    /// `None`: JetStream is not enabled for the account.
    pub jetstream: Option<AccountJetStreamLimits>,
    pub jetstream_traffic: JetStreamTraffic,
    pub message_trace: Option<MessageTrace>,
}

/// `accounts.<name>.limits` (S-47); `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    pub connections_max: Option<u32>,
    pub subscriptions_max: Option<u32>,
    pub payload_bytes_max: Option<u32>,
    pub leafnodes_max: Option<u32>,
}

/// Which account carries the replication traffic of an account's assets (`cluster_traffic`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JetStreamTraffic {
    #[default]
    System,
    Owner,
}

/// `msg_trace`: where traces that arrive without a destination go, and for what share of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTrace {
    pub destination: String,
    /// 1 to 100.
    pub sampling_percent: u8,
}
