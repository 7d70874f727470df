//! `/jsz`: JetStream of this server, its accounts, their streams and consumers.

mod detail;

use serde::Serialize;

use super::format::is_default;
use super::journal::JournalReport;
use super::query::BadRequest;
use super::{Context, LIST_LIMIT, format};
use crate::config::{JetStreamLimits as Configured, Options, SyncPolicy};
use crate::jetstream::api::account_info::ApiStats;
use crate::jetstream::api::stream_config::StorageType;
use crate::jetstream::api::{Timestamp, validate};
use crate::jetstream::{JetStreamAccount, Node};
use detail::{AccountDetail, Details};

#[derive(Serialize)]
pub struct Jsz {
    #[serde(flatten)]
    usage: JetStreamUsage,
    server_id: String,
    now: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    disabled: bool,
    config: JetStreamSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<JetStreamLimits>,
    streams: usize,
    #[serde(skip_serializing_if = "is_default")]
    streams_leader: usize,
    consumers: u64,
    #[serde(skip_serializing_if = "is_default")]
    consumers_leader: u64,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_details: Vec<AccountDetail>,
    total: usize,
    /// Ours: how the store is.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<JournalReport>,
}

/// Usage of the server or of one account.
#[derive(Default, Serialize)]
pub struct JetStreamUsage {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: usize,
    api: ApiStats,
}

impl JetStreamUsage {
    pub fn of_server(node: &Node) -> JetStreamUsage {
        let accounts = node.accounts();
        let limits = node.server_limits();
        let bytes = |storage| accounts.iter().map(|account| account.usage().bytes(storage)).sum();
        let (total, errors) =
            accounts.iter().map(|account| account.api_counts()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        JetStreamUsage {
            memory: bytes(StorageType::Memory),
            storage: bytes(StorageType::File),
            reserved_memory: u64::try_from(limits.reserved_memory).unwrap_or(0),
            reserved_storage: u64::try_from(limits.reserved_storage).unwrap_or(0),
            accounts: accounts.len(),
            ha_assets: 0,
            api: ApiStats { level: u64::from(validate::API_LEVEL), total, errors, inflight: 0 },
        }
    }

    /// The reserved bytes of an account are its limits; without one the genuine server shows -1 as unsigned.
    fn of_account(account: &JetStreamAccount) -> JetStreamUsage {
        let (total, errors) = account.api_counts();
        let limits = account.limits();
        JetStreamUsage {
            memory: account.usage().bytes(StorageType::Memory),
            storage: account.usage().bytes(StorageType::File),
            reserved_memory: limits.max_memory as u64,
            reserved_storage: limits.max_storage as u64,
            api: ApiStats { total, errors, ..ApiStats::default() },
            ..JetStreamUsage::default()
        }
    }
}

/// What the genuine server shows when it syncs always: its default, which then means nothing.
const SYNC_INTERVAL: i64 = 120_000_000_000;

#[derive(Default, Serialize)]
pub struct JetStreamSettings {
    max_memory: i64,
    max_storage: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    store_dir: String,
    #[serde(skip_serializing_if = "is_default")]
    sync_interval: i64,
    #[serde(skip_serializing_if = "is_default")]
    sync_always: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    unique_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    strict: bool,
    /// Told by the genuine server when both limits are set. Nothing is compressed between servers here.
    #[serde(skip_serializing_if = "is_default")]
    compress_ok: bool,
}

impl JetStreamSettings {
    pub fn of(options: &Options, node: &Node) -> JetStreamSettings {
        let jetstream = &options.jetstream;
        let limits = node.server_limits();
        let (sync_interval, sync_always) = match jetstream.sync {
            SyncPolicy::BeforeAck => (SYNC_INTERVAL, true),
            SyncPolicy::Interval(interval) => (format::nanoseconds(interval), false),
        };
        JetStreamSettings {
            max_memory: limits.max_memory,
            max_storage: limits.max_storage,
            store_dir: options.jetstream_directory().display().to_string(),
            sync_interval,
            sync_always,
            domain: node.domain().unwrap_or_default().to_owned(),
            unique_tag: jetstream.unique_tag.clone().unwrap_or_default(),
            strict: jetstream.strict,
            compress_ok: [jetstream.memory_bytes_max, jetstream.store_bytes_max].iter().all(|max| max.unwrap_or(0) > 0),
        }
    }
}

/// Limits as configured; what is a default of the genuine server is left out, but for the one it always shows.
#[derive(Serialize)]
pub struct JetStreamLimits {
    #[serde(skip_serializing_if = "is_default")]
    max_request_batch: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_ack_pending: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_ha_assets: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_duplicate_window: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_inflight_per_stream: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_inflight_total: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_size: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_timeout: i64,
    #[serde(skip_serializing_if = "is_default")]
    default_max_consumers: u64,
}

impl JetStreamLimits {
    pub fn of(options: &Options) -> JetStreamLimits {
        let (limits, usual) = (&options.jetstream.limits, Configured::default());
        JetStreamLimits {
            max_request_batch: limits.request_batch_max.unwrap_or(0),
            max_ack_pending: limits.ack_pending_max.unwrap_or(0),
            max_ha_assets: limits.ha_assets_max.unwrap_or(0),
            max_duplicate_window: limits.duplicate_window_max.map_or(0, format::nanoseconds),
            max_batch_inflight_per_stream: limits.batch_inflight_per_stream_max.unwrap_or(0),
            max_batch_inflight_total: limits.batch_inflight_total_max.unwrap_or(0),
            max_batch_size: Some(limits.batch_messages_max).filter(|max| *max != usual.batch_messages_max).unwrap_or(0),
            max_batch_timeout: Some(limits.batch_timeout)
                .filter(|timeout| *timeout != usual.batch_timeout)
                .map_or(0, format::nanoseconds),
            default_max_consumers: limits.default_max_consumers.unwrap_or(0),
        }
    }
}

pub fn jsz(context: &Context<'_>) -> Result<Jsz, BadRequest> {
    let query = context.query;
    let consumers = query.flag("consumers")?;
    let streams = query.flag("streams")? || consumers;
    let account = query.text("acc");
    let accounts = query.flag("accounts")? || (streams && account.is_empty());
    let raft = query.flag("raft")?;
    let details = Details { streams, consumers, config: query.flag("config")? };
    let (offset, limit) = (query.offset()?, query.number("limit")?);
    for known in ["direct-consumers", "leader-only", "stream-leader-only"] {
        // A single server leads everything, and has no consumers of sources yet.
        query.flag(known)?;
    }
    let Some(node) = &context.server.jetstream() else { return Ok(disabled(context)) };
    let all = node.accounts();
    let total = all.len();
    let mut sum = Sum::default();
    for account in &all {
        sum.add(account);
    }
    let chosen = match all.iter().find(|known| known.name() == account) {
        Some(found) => vec![found.clone()],
        None if accounts => {
            // As in the genuine server a negative limit is none.
            let limit = usize::try_from(if limit == 0 { LIST_LIMIT as i64 } else { limit }).unwrap_or(usize::MAX);
            all.into_iter().skip(offset).take(limit).collect()
        }
        None => Vec::new(),
    };
    let options = context.server.options();
    Ok(Jsz {
        usage: JetStreamUsage::of_server(node),
        server_id: context.server_id(),
        now: format::now(),
        disabled: false,
        config: JetStreamSettings::of(&options, node),
        limits: Some(JetStreamLimits::of(&options)),
        streams: sum.streams,
        streams_leader: if raft { sum.streams } else { 0 },
        consumers: sum.consumers,
        consumers_leader: if raft { sum.consumers } else { 0 },
        messages: sum.messages,
        bytes: sum.bytes,
        account_details: chosen.iter().map(|account| AccountDetail::of(node, account, &details)).collect(),
        total,
        journal: Some(JournalReport::of(node)),
    })
}

fn disabled(context: &Context<'_>) -> Jsz {
    Jsz {
        usage: JetStreamUsage::default(),
        server_id: context.server_id(),
        now: format::now(),
        disabled: true,
        config: JetStreamSettings::default(),
        limits: None,
        streams: 0,
        streams_leader: 0,
        consumers: 0,
        consumers_leader: 0,
        messages: 0,
        bytes: 0,
        account_details: Vec::new(),
        total: 0,
        journal: None,
    }
}

/// Over all streams, whatever was asked for.
#[derive(Default)]
struct Sum {
    streams: usize,
    consumers: u64,
    messages: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, account: &JetStreamAccount) {
        for stream in account.streams() {
            let totals = stream.totals();
            self.streams += 1;
            self.consumers += totals.consumers;
            self.messages += totals.messages;
            self.bytes += totals.bytes;
        }
        self.streams += account.held_back().len();
    }
}
