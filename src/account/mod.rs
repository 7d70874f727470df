//! Accounts (S-40): isolated subject spaces. An account owns its interest graph, its limits and its counters, and
//! the handles of those who subscribe; how messages find their way through it is the router's business.

mod budget;
mod gate;
mod interest;
mod outbound;
mod permissions;
mod replies;
mod subscription;
mod subscriptions;
mod trie;
mod watches;

pub use budget::EgressBudget;
pub use gate::Gate;
pub use interest::{Interest, InterestStatistics};
pub use outbound::{Batch, Delivered, Drained, Outbound, Transport};
pub use permissions::{InvalidPermission, PermissionRules, Permissions, ResponseRule};
pub use replies::ReplyTracker;
pub use subscription::{
    ClientIdentity, ClientKind, Counted, InternalMessage, InternalSubscriber, RoundTrip, Sink, Subscription,
};
pub use subscriptions::SubscriptionSet;
pub use trie::{Keyed, Trie};
pub use watches::{Watch, WatchKey};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The account of those who name none.
pub const GLOBAL: &str = "$G";
/// The default system account.
pub const SYSTEM: &str = "$SYS";

pub struct Account {
    name: String,
    pub interest: Interest,
    limits: ArcSwap<AccountLimits>,
    pub counters: TrafficCounters,
    connections: AtomicUsize,
    connections_total: AtomicU64,
    slow_consumers: AtomicU64,
    internal: Mutex<HashMap<InternalSubscriptionId, Arc<Subscription>>>,
    /// Closed while the journal queue is above its bound: connections whose burst went to a stream wait here.
    pub ingest_gate: Gate,
}

/// Limits per account (S-47); none means no limit. All but `connections_max` hold for each connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    pub connections_max: Option<usize>,
    pub leaf_nodes_max: Option<usize>,
    pub subscriptions_max: Option<usize>,
    pub payload_bytes_max: Option<usize>,
}

/// Messages and bytes in and out, added to once per read burst.
#[derive(Default)]
pub struct TrafficCounters {
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_out: AtomicU64,
}

/// A reading of [`TrafficCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages_in: u64,
    pub bytes_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
}

impl TrafficCounters {
    pub fn add(&self, traffic: &Traffic) {
        if traffic.messages_in > 0 {
            self.messages_in.fetch_add(traffic.messages_in, Ordering::Relaxed);
            self.bytes_in.fetch_add(traffic.bytes_in, Ordering::Relaxed);
        }
        if traffic.messages_out > 0 {
            self.messages_out.fetch_add(traffic.messages_out, Ordering::Relaxed);
            self.bytes_out.fetch_add(traffic.bytes_out, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> Traffic {
        Traffic {
            messages_in: self.messages_in.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

/// Names an internal subscription for its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InternalSubscriptionId(u64);

/// The account already has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("maximum account active connections exceeded")]
pub struct TooManyConnections;

impl Account {
    pub fn new(name: impl Into<String>) -> Account {
        Account {
            name: name.into(),
            interest: Interest::default(),
            limits: ArcSwap::default(),
            counters: TrafficCounters::default(),
            connections: AtomicUsize::new(0),
            connections_total: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
            internal: Mutex::default(),
            ingest_gate: Gate::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn limits(&self) -> AccountLimits {
        **self.limits.load()
    }

    pub fn set_limits(&self, limits: AccountLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Current client connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Client connections since the start.
    pub fn connections_total(&self) -> u64 {
        self.connections_total.load(Ordering::Relaxed)
    }

    pub fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    pub fn count_slow_consumer(&self) {
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection in, unless the account is full.
    pub fn admit(&self) -> Result<(), TooManyConnections> {
        let connections_max = self.limits().connections_max.unwrap_or(usize::MAX);
        let admitted = self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |connections| {
            (connections < connections_max).then_some(connections + 1)
        });
        admitted.map_err(|_| TooManyConnections)?;
        self.connections_total.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a connection in that has not said who it is; no limit holds yet.
    pub fn enter(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connections_total.fetch_add(1, Ordering::Relaxed);
    }

    pub fn dismiss(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Subscribes a service inside the server. Panics on a subject that is not valid: such subjects are ours.
    pub fn subscribe_internal(
        &self,
        subject: &[u8],
        queue: Option<&[u8]>,
        subscriber: Arc<dyn InternalSubscriber>,
    ) -> InternalSubscriptionId {
        assert!(crate::protocol::subject::is_valid(subject), "internal subscriptions have valid subjects");
        let subscription = Arc::new(Subscription::new(subject, queue, Sink::Internal(subscriber), None));
        let id = InternalSubscriptionId(subscription.id());
        self.internal.lock().insert(id, Arc::clone(&subscription));
        self.interest.insert(subscription);
        id
    }

    pub fn unsubscribe_internal(&self, id: InternalSubscriptionId) {
        if let Some(subscription) = self.internal.lock().remove(&id) {
            subscription.close();
            self.interest.remove(&subscription);
        }
    }

    /// Whether any client, not counting services of the server, would get a message with this subject.
    pub fn has_interest(&self, subject: &[u8]) -> bool {
        self.interest.any_match(subject, |subscription| subscription.outbound().is_some())
    }

    /// So many bytes may be sent with this subject before a client that gets them is closed as a slow consumer, unless its
    /// socket takes some meanwhile; without bound when no client does.
    pub fn room(&self, subject: &[u8]) -> usize {
        let mut room = usize::MAX;
        self.interest.any_match(subject, |subscription| {
            room = room.min(subscription.outbound().map_or(usize::MAX, |outbound| outbound.room()));
            false
        });
        room
    }

    /// Changes whenever anybody subscribes or unsubscribes in this account.
    pub fn interest_generation(&self) -> u64 {
        self.interest.generation()
    }

    /// Ends a client's subscription wherever it is known; only the first to call does anything.
    pub fn end_subscription(&self, subscription: &Subscription) {
        if subscription.close() {
            self.interest.remove(subscription);
            if let Some(outbound) = subscription.outbound() {
                outbound.subscriptions.remove(subscription);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl InternalSubscriber for Nobody {
        fn deliver(&self, _: &Arc<Account>, _: &[InternalMessage<'_>]) {}
    }

    #[test]
    fn services_are_no_client_interest() {
        let account = Account::new("A");
        let before = account.interest_generation();
        let id = account.subscribe_internal(b"$JS.API.>", None, Arc::new(Nobody));
        assert!(!account.has_interest(b"$JS.API.INFO") && account.interest.len() == 1);
        assert_ne!(account.interest_generation(), before);
        account.unsubscribe_internal(id);
        assert!(account.interest.is_empty());
    }

    #[test]
    fn connections_are_admitted_up_to_the_limit() {
        let account = Account::new("A");
        account.set_limits(AccountLimits { connections_max: Some(1), ..AccountLimits::default() });
        assert_eq!((account.admit(), account.admit()), (Ok(()), Err(TooManyConnections)));
        account.dismiss();
        assert_eq!(account.admit(), Ok(()));
    }
}
