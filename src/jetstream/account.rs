//! JetStream as one account sees it: its streams, its limits, its counts of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_storage::GroupId;
use parking_lot::{Mutex, RwLock};

use super::api::account_info::{self, AccountInfo, ApiStats};
use super::api::stream_config::StorageType;
use super::api::validate::{self, AccountTiers, Environment, ServerLimits};
use super::api::{ApiError, StreamConfig, error_codes};
use super::held_back::HeldBack;
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
    /// Streams that are kept and not served.
    held_back: RwLock<BTreeMap<String, Arc<HeldBack>>>,
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
            held_back: RwLock::default(),
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

    /// The stream that a request names.
    ///
    /// # Errors
    /// When there is none, or it is held back.
    pub fn stream(&self, name: &str) -> Result<Arc<Replica>, ApiError> {
        self.find(name).ok_or_else(|| match self.find_held_back(name) {
            Some(held_back) => held_back.error(),
            None => error_codes::STREAM_NOT_FOUND.error(),
        })
    }

    pub fn find_held_back(&self, name: &str) -> Option<Arc<HeldBack>> {
        self.held_back.read().get(name).cloned()
    }

    /// In the order of their names.
    pub fn held_back(&self) -> Vec<Arc<HeldBack>> {
        self.held_back.read().values().cloned().collect()
    }

    /// A stream of the account can not be served.
    pub fn hold_back(&self, stream: Arc<HeldBack>) {
        self.held_back.write().insert(stream.name().to_owned(), stream);
    }

    /// A stream that was held back is deleted. None when it is not one of these.
    pub fn forget_held_back(&self, group: GroupId) -> Option<Arc<HeldBack>> {
        let mut held_back = self.held_back.write();
        let name = held_back.values().find(|stream| stream.group == group)?.name().to_owned();
        held_back.remove(&name)
    }

    /// Of all streams, those that are held back included, as they are about to be.
    fn configs(&self) -> Vec<Arc<StreamConfig>> {
        let mut configs: Vec<_> = self.streams.read().values().map(|stream| stream.coming_config()).collect();
        configs.extend(self.held_back.read().values().map(|stream| stream.config.clone()));
        configs
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
            self.configs().into_iter().map(|config| (config.name.clone(), config)).collect();
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
        let configs = self.configs().into_iter();
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
        usage.streams += self.held_back.read().len() as u64;
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
