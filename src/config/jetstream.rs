//! JetStream settings of the server and of one account (section 12.2 `jetstream`, S-48).

use std::path::PathBuf;
use std::time::Duration;

/// The `jetstream` block of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamOptions {
    pub enabled: bool,
    /// Unknown fields in API requests are errors (default on).
    pub strict: bool,
    /// When a message counts as stored.
    pub sync: SyncPolicy,
    pub scrub: ScrubPolicy,
    /// Bytes of memory streams; `None` is three quarters of the machine's memory, decided at start.
    pub memory_bytes_max: Option<u64>,
    /// Bytes of file streams; `None` is three quarters of the free disk space, decided at start.
    pub store_bytes_max: Option<u64>,
    pub domain: Option<String>,
    pub extension_hint: Option<String>,
    /// Server tag prefix that replicas of one stream must not share.
    pub unique_tag: Option<String>,
    /// Bytes in flight to catching-up followers; `None` is the built-in default.
    pub outstanding_catchup_bytes_max: Option<u64>,
    /// Bound of a stream's ingest queue in bytes and messages.
    pub buffered_bytes_max: u64,
    pub buffered_messages_max: u64,
    /// Bound of the queue of API requests; more are dropped with an advisory.
    pub request_queue_limit: u64,
    /// The same for INFO and LIST requests.
    pub info_queue_limit: u64,
    /// Entries and bytes after which the meta group's log is compacted; 0 leaves it to the server.
    pub meta_compact_entries: u64,
    pub meta_compact_bytes: u64,
    pub meta_compact_sync: bool,
    /// Concurrent disk operations, 4 to 8192.
    pub concurrent_io_max: u32,
    pub limits: JetStreamLimits,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            strict: true,
            sync: SyncPolicy::BeforeAck,
            scrub: ScrubPolicy::default(),
            memory_bytes_max: None,
            store_bytes_max: None,
            domain: None,
            extension_hint: None,
            unique_tag: None,
            outstanding_catchup_bytes_max: None,
            buffered_bytes_max: 128 * 1024 * 1024,
            buffered_messages_max: 100_000,
            request_queue_limit: 10_000,
            info_queue_limit: 10_000,
            meta_compact_entries: 0,
            meta_compact_bytes: 0,
            meta_compact_sync: false,
            concurrent_io_max: 4096,
            limits: JetStreamLimits::default(),
        }
    }
}

/// `sync_interval`. Headwater acknowledges after the sync unless the operator opts out by naming an interval, whereas
/// nats-server syncs every two minutes unless told `always`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// An ack means synced. The default, also spelled `sync_interval: always`.
    #[default]
    BeforeAck,
    /// Ack from the page cache, sync this often.
    Interval(Duration),
}

/// `scrub_interval` and `scrub_delay`: when stored data is read again to find damage. Not known to nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPolicy {
    /// From one check of a file to the next; zero is never.
    pub interval: Duration,
    /// From the making of a file to its first check.
    pub delay: Duration,
}

impl Default for ScrubPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(7 * 24 * 60 * 60), delay: Duration::from_secs(60 * 60) }
    }
}

/// `jetstream.limits`: ceilings for what the API may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JetStreamLimits {
    /// Ceiling of a consumer's `max_ack_pending`; `None` is unlimited.
    pub ack_pending_max: Option<u64>,
    /// Replicated streams and consumers per server; `None` is unlimited.
    pub ha_assets_max: Option<u64>,
    /// Ceiling of a pull request's batch; `None` is unlimited.
    pub request_batch_max: Option<u64>,
    /// Ceiling of a stream's duplicate window; `None` is unlimited.
    pub duplicate_window_max: Option<Duration>,
    /// Consumers of a stream that sets no limit of its own; `None` is unlimited.
    pub default_max_consumers: Option<u64>,
    /// Batches open at once, per stream and per server; `None` leaves each kind of batch its own default
    /// (50 and 1000 for atomic batches, 1000 and 50 000 for fast ones).
    pub batch_inflight_per_stream_max: Option<u64>,
    pub batch_inflight_total_max: Option<u64>,
    /// Messages in one atomic batch.
    pub batch_messages_max: u64,
    /// How long a batch may stay open without a new message.
    pub batch_timeout: Duration,
}

impl Default for JetStreamLimits {
    fn default() -> Self {
        Self {
            ack_pending_max: None,
            ha_assets_max: None,
            request_batch_max: None,
            duplicate_window_max: None,
            default_max_consumers: Some(1000),
            batch_inflight_per_stream_max: None,
            batch_inflight_total_max: None,
            batch_messages_max: 1000,
            batch_timeout: Duration::from_secs(10),
        }
    }
}

/// `accounts.<name>.jetstream` (S-48). As in the API, -1 is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountJetStreamLimits {
    pub memory_bytes_max: i64,
    pub store_bytes_max: i64,
    pub streams_max: i64,
    pub consumers_max: i64,
    pub ack_pending_max: i64,
    pub memory_stream_bytes_max: i64,
    pub store_stream_bytes_max: i64,
    /// Streams must set `max_bytes`.
    pub max_bytes_required: bool,
}

impl Default for AccountJetStreamLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: -1,
            store_bytes_max: -1,
            streams_max: -1,
            consumers_max: -1,
            ack_pending_max: -1,
            memory_stream_bytes_max: -1,
            store_stream_bytes_max: -1,
            max_bytes_required: false,
        }
    }
}

/// The directory below `store_dir` that holds everything JetStream writes, as in nats-server.
pub(super) fn directory(store_dir: Option<&PathBuf>) -> PathBuf {
    match store_dir {
        Some(dir) => dir.join("jetstream"),
        None => std::env::temp_dir().join("nats").join("jetstream"),
    }
}
