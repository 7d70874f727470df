//! The texts of `-ERR` (1.4) and the reasons for which connections end (C-37), exactly as nats-server words them.

use std::fmt;

pub const UNKNOWN_OPERATION: &str = "Unknown Protocol Operation";
pub const INVALID_PUBLISH_SUBJECT: &str = "Invalid Publish Subject";
pub const INVALID_SUBJECT: &str = "Invalid Subject";
pub const MAX_PAYLOAD: &str = "Maximum Payload Violation";
pub const MAX_CONTROL_LINE: &str = "maximum control line exceeded";
pub const MAX_CONNECTIONS: &str = "maximum connections exceeded";
pub const MAX_ACCOUNT_CONNECTIONS: &str = "maximum account active connections exceeded";
pub const MAX_SUBSCRIPTIONS: &str = "maximum subscriptions exceeded";
pub const AUTHORIZATION: &str = "Authorization Violation";
pub const AUTHENTICATION_TIMEOUT: &str = "Authentication Timeout";
pub const USER_EXPIRED: &str = "User Authentication Expired";
pub const USER_REVOKED: &str = "User Authentication Revoked";
pub const ACCOUNT_EXPIRED: &str = "Account Authentication Expired";
pub const STALE: &str = "Stale Connection";
pub const TLS_REQUIRED: &str = "Secure Connection - TLS Required";
pub const THROTTLED: &str = "Connection throttling is active. Please try again later.";
pub const CLIENT_PROTOCOL: &str = "invalid client protocol";
pub const NO_RESPONDERS_NEEDS_HEADERS: &str = "no responders requires headers support";
pub const ACCOUNT_REGISTRATION: &str = "Failed Account Registration";

/// `-ERR 'text'`.
pub fn line(text: &str) -> Vec<u8> {
    format!("-ERR '{text}'\r\n").into_bytes()
}

pub fn publish_violation(subject: &[u8]) -> String {
    format!("Permissions Violation for Publish to {}", Quoted(subject))
}

pub fn reply_violation(reply: &[u8]) -> String {
    format!("Permissions Violation for Publish with Reply of {}", Quoted(reply))
}

pub fn subscribe_violation(subject: &[u8], queue: Option<&[u8]>) -> String {
    match queue {
        Some(queue) => {
            format!("Permissions Violation for Subscription to {} using queue {}", Quoted(subject), Quoted(queue))
        }
        None => format!("Permissions Violation for Subscription to {}", Quoted(subject)),
    }
}

/// A reload took the permission for a subscription that exists.
pub fn subscription_revoked(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> String {
    format!("{} (sid {})", subscribe_violation(subject, queue), Quoted(sid))
}

pub fn too_many_tokens(subject: &[u8]) -> String {
    format!("Permissions Violation for Subscription to {}, too many tokens", Quoted(subject))
}

/// Text between double quotes with Go's `%q` escapes, so that a subject can't break out of the line.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' => formatter.write_str("\\\"")?,
                    '\\' => formatter.write_str("\\\\")?,
                    '\n' => formatter.write_str("\\n")?,
                    '\r' => formatter.write_str("\\r")?,
                    '\t' => formatter.write_str("\\t")?,
                    '\u{7}' => formatter.write_str("\\a")?,
                    '\u{8}' => formatter.write_str("\\b")?,
                    '\u{b}' => formatter.write_str("\\v")?,
                    '\u{c}' => formatter.write_str("\\f")?,
                    control if control.is_ascii_control() => write!(formatter, "\\x{:02x}", u32::from(control))?,
                    control if control.is_control() => write!(formatter, "\\u{:04x}", u32::from(control))?,
                    other => write!(formatter, "{other}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(formatter, "\\x{byte:02x}")?;
            }
        }
        formatter.write_str("\"")
    }
}

/// Why a connection ended. The texts are part of `/connz` and of the disconnect events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedReason {
    ClientClosed,
    AuthenticationTimeout,
    AuthenticationViolation,
    TlsHandshake,
    SlowConsumerPendingBytes,
    SlowConsumerWriteDeadline,
    WriteError,
    ReadError,
    ParseError,
    StaleConnection,
    ProtocolViolation,
    BadClientProtocol,
    WrongPort,
    MaxConnections,
    MaxAccountConnections,
    MaxPayload,
    MaxControlLine,
    MaxSubscriptions,
    DuplicateRoute,
    RouteRemoved,
    ServerShutdown,
    AuthenticationExpired,
    WrongGateway,
    MissingAccount,
    Revocation,
    InternalClient,
    MessageHeaderViolation,
    NoRespondersRequiresHeaders,
    ClusterNameConflict,
    DuplicateRemoteLeaf,
    DuplicateClientId,
    DuplicateServerName,
    MinimumVersionRequired,
    ClusterNamesIdentical,
    Kicked,
    ProxyNotTrusted,
    ProxyRequired,
}

impl ClosedReason {
    pub fn as_str(self) -> &'static str {
        match self {
            ClosedReason::ClientClosed => "Client Closed",
            ClosedReason::AuthenticationTimeout => "Authentication Timeout",
            ClosedReason::AuthenticationViolation => "Authentication Failure",
            ClosedReason::TlsHandshake => "TLS Handshake Failure",
            ClosedReason::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            ClosedReason::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            ClosedReason::WriteError => "Write Error",
            ClosedReason::ReadError => "Read Error",
            ClosedReason::ParseError => "Parse Error",
            ClosedReason::StaleConnection => "Stale Connection",
            ClosedReason::ProtocolViolation => "Protocol Violation",
            ClosedReason::BadClientProtocol => "Bad Client Protocol Version",
            ClosedReason::WrongPort => "Incorrect Port",
            ClosedReason::MaxConnections => "Maximum Connections Exceeded",
            ClosedReason::MaxAccountConnections => "Maximum Account Connections Exceeded",
            ClosedReason::MaxPayload => "Maximum Message Payload Exceeded",
            ClosedReason::MaxControlLine => "Maximum Control Line Exceeded",
            ClosedReason::MaxSubscriptions => "Maximum Subscriptions Exceeded",
            ClosedReason::DuplicateRoute => "Duplicate Route",
            ClosedReason::RouteRemoved => "Route Removed",
            ClosedReason::ServerShutdown => "Server Shutdown",
            ClosedReason::AuthenticationExpired => "Authentication Expired",
            ClosedReason::WrongGateway => "Wrong Gateway",
            ClosedReason::MissingAccount => "Missing Account",
            ClosedReason::Revocation => "Credentials Revoked",
            ClosedReason::InternalClient => "Internal Client",
            ClosedReason::MessageHeaderViolation => "Message Header Violation",
            ClosedReason::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            ClosedReason::ClusterNameConflict => "Cluster Name Conflict",
            ClosedReason::DuplicateRemoteLeaf => "Duplicate Remote LeafNode Connection",
            ClosedReason::DuplicateClientId => "Duplicate Client ID",
            ClosedReason::DuplicateServerName => "Duplicate Server Name",
            ClosedReason::MinimumVersionRequired => "Minimum Version Required",
            ClosedReason::ClusterNamesIdentical => "Cluster Names Identical",
            ClosedReason::Kicked => "Kicked",
            ClosedReason::ProxyNotTrusted => "Proxy Not Trusted",
            ClosedReason::ProxyRequired => "Proxy Required",
        }
    }

    /// Whether what still waits for the socket is worth an attempt. After a write failed it is not, and
    /// a slow consumer learns its fate only from the closed reason.
    pub fn flushes(self) -> bool {
        !matches!(
            self,
            ClosedReason::ReadError
                | ClosedReason::WriteError
                | ClosedReason::SlowConsumerPendingBytes
                | ClosedReason::SlowConsumerWriteDeadline
                | ClosedReason::TlsHandshake
        )
    }
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_quote_as_go_does() {
        assert_eq!(publish_violation(b"a.b"), "Permissions Violation for Publish to \"a.b\"");
        assert_eq!(
            subscribe_violation(b"a\"\xff\n", Some(b"q")),
            "Permissions Violation for Subscription to \"a\\\"\\xff\\n\" using queue \"q\""
        );
        assert_eq!(line(UNKNOWN_OPERATION), b"-ERR 'Unknown Protocol Operation'\r\n");
    }
}
