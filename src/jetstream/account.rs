//! JetStream as one account sees it: its streams, its limits, its counts of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::api::account_info::{self, AccountInfo, ApiStats};
use super::api::stream_config::StorageType;
use super::api::validate::{self, AccountTiers, Environment, ServerLimits};
use super::api::{ApiError, StreamConfig};
use super::meta_group::MetaGuard;
use super::node::Node;
use super::replica::Replica;
use super::usage::Usage;
use crate::account::{Account, InternalSubscriptionId};

/// What the API does for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// JetStream is enabled.
    Enabled,
    /// It is not: each request is refused by the answer of its kind.
    Disabled,
    /// The system account, for which it never is: all requests but one are refused by the same kind of answer.
    System,
}

/// An account with JetStream enabled, or one that the API only refuses.
pub struct JetStreamAccount {
    account: Arc<Account>,
    access: Access,
    tiers: RwLock<AccountTiers>,
    /// Read by every request and every acknowledgement, changed by create and delete.
    streams: RwLock<BTreeMap<String, Arc<Replica>>>,
    usage: Arc<Usage>,
    /// Subscriptions of the API and of what consumers are told.
    services: Mutex<Vec<InternalSubscriptionId>>,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl JetStreamAccount {
    pub fn new(account: Arc<Account>, tiers: AccountTiers, usage: Arc<Usage>) -> Self {
        usage.set_limits(tiers.flat.as_ref());
        Self {
            account,
            access: Access::Enabled,
            usage,
            tiers: RwLock::new(tiers),
            streams: RwLock::default(),
            services: Mutex::default(),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// An account without JetStream: it has no streams, and never gets any.
    pub fn refused(account: Arc<Account>, access: Access) -> Self {
        Self { access, ..Self::new(account, AccountTiers::default(), Arc::default()) }
    }

    pub fn access(&self) -> Access {
        self.access
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub fn name(&self) -> &str {
        self.account.name()
    }

    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub fn set_tiers(&self, tiers: AccountTiers) {
        self.usage.set_limits(tiers.flat.as_ref());
        *self.tiers.write() = tiers;
    }

    pub fn find(&self, name: &str) -> Option<Arc<Replica>> {
        self.streams.read().get(name).cloned()
    }

    /// In the order of their names.
    pub fn streams(&self) -> Vec<Arc<Replica>> {
        self.streams.read().values().cloned().collect()
    }

    pub fn insert(&self, stream: Arc<Replica>) {
        self.streams.write().insert(stream.name().to_owned(), stream);
    }

    pub fn remove(&self, name: &str) -> Option<Arc<Replica>> {
        self.streams.write().remove(name)
    }

    /// The account loses JetStream: it has no streams any more; those it had are given.
    pub fn take_streams(&self) -> Vec<Arc<Replica>> {
        std::mem::take(&mut *self.streams.write()).into_values().collect()
    }

    /// Holds subscriptions of services until they [leave](Self::leave).
    pub fn hold(&self, services: impl IntoIterator<Item = InternalSubscriptionId>) {
        self.services.lock().extend(services);
    }

    /// The services end.
    pub fn leave(&self) {
        for id in std::mem::take(&mut *self.services.lock()) {
            self.account.unsubscribe_internal(id);
        }
    }

    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests answered and those answered with an error.
    pub fn api_counts(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }

    /// Runs a check of streams: those that exist and those whose creation is under way.
    pub fn with_environment<R>(
        &self,
        node: &Node,
        meta: &MetaGuard<'_>,
        check: impl FnOnce(&Environment<'_>) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let mut configs: BTreeMap<String, Arc<StreamConfig>> =
            self.streams.read().values().map(|stream| (stream.name().to_owned(), stream.config())).collect();
        configs.extend(meta.creating(self.name()));
        let configs: Vec<Arc<StreamConfig>> = configs.into_values().collect();
        self.check(&node.server_limits(), &configs, check)
    }

    /// Runs a check that depends on limits only.
    pub fn with_limits<R>(
        &self,
        node: &Node,
        check: impl FnOnce(&Environment<'_>) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        self.check(&node.server_limits(), &[], check)
    }

    fn check<R>(
        &self,
        server: &ServerLimits,
        streams: &[Arc<StreamConfig>],
        check: impl FnOnce(&Environment<'_>) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let tiers = self.tiers.read();
        check(&Environment { server, account: &tiers, streams, clustered: false })
    }

    /// Of the account as a whole.
    pub fn limits(&self) -> account_info::AccountLimits {
        self.tiers.read().flat.unwrap_or_default()
    }

    /// Bytes that streams of this kind reserve by their `max_bytes`.
    pub fn reserved_bytes(&self, storage: StorageType) -> i64 {
        let streams = self.streams.read();
        let configs = streams.values().map(|stream| stream.config());
        configs.filter(|config| config.storage == storage).map(|config| validate::reserved_bytes(&config)).sum()
    }

    /// The reply to `INFO`.
    pub fn info(&self, node: &Node) -> AccountInfo {
        let mut usage = account_info::Usage::default();
        for stream in self.streams() {
            let (bytes, consumers) = stream.usage();
            match stream.config().storage {
                StorageType::Memory => usage.memory += bytes,
                StorageType::File => usage.storage += bytes,
            }
            usage.streams += 1;
            usage.consumers += consumers;
        }
        usage.reserved_memory = u64::try_from(self.reserved_bytes(StorageType::Memory)).unwrap_or(0);
        usage.reserved_storage = u64::try_from(self.reserved_bytes(StorageType::File)).unwrap_or(0);
        usage.limits = self.limits();
        let (total, errors) = self.api_counts();
        AccountInfo {
            usage,
            domain: node.domain().unwrap_or_default().to_owned(),
            api: ApiStats { level: u64::from(validate::API_LEVEL), total, errors, inflight: 0 },
            tiers: BTreeMap::new(),
        }
    }
}
