//! Readings of connections, open and closed, for monitoring and events.

use super::connection::{Connection, TlsInfo};
use crate::account::{ClientKind, Subscription, Traffic};
use crate::protocol::error::ClosedReason;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Subscriptions kept with a closed connection, for `/connz?state=closed&subs=1`, and the subjects' bytes.
const CLOSED_SUBSCRIPTIONS_MAX: usize = 64;
const CLOSED_SUBJECT_BYTES_MAX: usize = 2048;

/// A reading of a connection, for monitoring.
#[derive(Clone, Debug)]
pub struct ConnectionSnapshot {
    pub id: u64,
    pub kind: ClientKind,
    pub peer: SocketAddr,
    pub start: SystemTime,
    pub last_activity: SystemTime,
    pub rtt: Option<Duration>,
    pub uptime: Duration,
    pub idle: Duration,
    pub pending_bytes: usize,
    pub traffic: Traffic,
    pub stalls: u64,
    pub subscriptions: usize,
    pub name: String,
    pub lang: String,
    pub version: String,
    pub user: String,
    pub account: String,
    pub tls: Option<TlsInfo>,
}

/// A subscription, for monitoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    pub subject: String,
    pub queue: Option<String>,
    pub sid: String,
    pub delivered: u64,
    /// Zero is no limit.
    pub delivered_max: u64,
}

/// A connection that ended.
#[derive(Clone, Debug)]
pub struct ClosedConnection {
    pub snapshot: ConnectionSnapshot,
    pub subscriptions: Vec<SubscriptionSnapshot>,
    pub stop: SystemTime,
    pub reason: ClosedReason,
}

impl Connection {
    pub fn snapshot(&self) -> ConnectionSnapshot {
        let age = self.age();
        let active = self.last_activity.load(Ordering::Relaxed).min(age);
        let delivered = self.outbound.delivered();
        let profile = self.profile.lock();
        ConnectionSnapshot {
            id: self.id(),
            kind: self.kind,
            peer: self.peer,
            start: self.start,
            last_activity: self.start + Duration::from_nanos(active),
            rtt: self.rtt(),
            uptime: Duration::from_nanos(age),
            idle: Duration::from_nanos(age - active),
            pending_bytes: self.outbound.pending_bytes(),
            traffic: Traffic {
                messages_in: self.messages_in.load(Ordering::Relaxed),
                bytes_in: self.bytes_in.load(Ordering::Relaxed),
                messages_out: delivered.messages,
                bytes_out: delivered.bytes,
            },
            stalls: self.outbound.stalls(),
            subscriptions: self.outbound.subscriptions.len(),
            name: profile.options.name.clone(),
            lang: profile.options.lang.clone(),
            version: profile.options.version.clone(),
            user: profile.user.clone(),
            account: profile.account.name().to_string(),
            tls: self.tls.as_deref().cloned(),
        }
    }

    /// At most `limit` of its subscriptions.
    pub fn subscriptions(&self, limit: usize) -> Vec<SubscriptionSnapshot> {
        self.outbound.subscriptions.list(limit).iter().map(|subscription| subscription.snapshot()).collect()
    }

    fn last_subscriptions(&self) -> Vec<SubscriptionSnapshot> {
        let mut bytes = 0;
        let mut kept = self.subscriptions(CLOSED_SUBSCRIPTIONS_MAX);
        kept.retain(|subscription| {
            bytes += subscription.subject.len() + subscription.queue.as_ref().map_or(0, String::len);
            bytes <= CLOSED_SUBJECT_BYTES_MAX
        });
        kept
    }

    /// How it ended; to be taken while its subscriptions are still known.
    pub fn closed(&self, reason: ClosedReason) -> ClosedConnection {
        ClosedConnection {
            snapshot: self.snapshot(),
            subscriptions: self.last_subscriptions(),
            stop: SystemTime::now(),
            reason,
        }
    }
}

trait Snapshot {
    fn snapshot(&self) -> SubscriptionSnapshot;
}

impl Snapshot for Subscription {
    fn snapshot(&self) -> SubscriptionSnapshot {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        SubscriptionSnapshot {
            subject: text(&self.subject),
            queue: self.queue.as_deref().map(text),
            sid: text(self.sid()),
            delivered: self.delivered(),
            delivered_max: self.delivered_max(),
        }
    }
}
