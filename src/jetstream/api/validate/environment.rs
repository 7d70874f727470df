//! What a check looks at beside the request: limits of the server and the account, and the other streams.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::account_info::AccountLimits;
use super::super::stream_config::StreamConfig;
use super::super::time::DurationNs;

/// Everything that a check of a stream or consumer may depend on.
pub struct Environment<'a> {
    pub server: &'a ServerLimits,
    pub account: &'a AccountTiers,
    /// All streams of the account, in the order of their names.
    pub streams: &'a [Arc<StreamConfig>],
    /// Replicas above 1 need a cluster.
    pub clustered: bool,
}

impl Environment<'_> {
    pub fn stream(&self, name: &str) -> Option<&Arc<StreamConfig>> {
        self.streams.iter().find(|config| config.name == name)
    }
}

/// `jetstream { limits { .. } }` and the room of the server; 0 is without limit unless said otherwise.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    pub max_request_batch: i64,
    pub max_ack_pending: i64,
    pub max_duplicate_window: DurationNs,
    /// Consumers per stream when neither the stream nor the account says (T-05).
    pub default_max_consumers: i64,
    /// Bytes that streams may reserve; -1 is without limit.
    pub max_memory: i64,
    pub max_storage: i64,
    /// Bytes that streams of all accounts have reserved.
    pub reserved_memory: i64,
    pub reserved_storage: i64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_request_batch: 0,
            max_ack_pending: 0,
            max_duplicate_window: 0,
            default_max_consumers: 1000,
            max_memory: -1,
            max_storage: -1,
            reserved_memory: 0,
            reserved_storage: 0,
        }
    }
}

/// The limits of an account: flat, or per number of replicas (`R1`, `R3`).
#[derive(Clone, Debug, Default)]
pub struct AccountTiers {
    pub flat: Option<AccountLimits>,
    pub tiers: BTreeMap<String, AccountLimits>,
}

impl AccountTiers {
    pub fn unlimited() -> Self {
        Self { flat: Some(AccountLimits::UNLIMITED), tiers: BTreeMap::new() }
    }

    /// The limits that count for a stream, and whether they are those of a tier.
    pub fn select(&self, replicas: i64) -> Option<(&AccountLimits, bool)> {
        if let Some(flat) = &self.flat {
            return Some((flat, false));
        }
        let tier = format!("R{}", replicas.max(1));
        self.tiers.get(&tier).map(|limits| (limits, true))
    }
}
