//! What every stream of the node needs of it: the journal, the clock, timers and workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headwater_storage::{GroupId, Journal};
use parking_lot::RwLock;

use super::api::stream_config::StorageType;
use super::api::validate::ServerLimits;
use super::gates::ClosedGates;
use super::stream::{BatchBudget, BatchLimits, FastLimits};
use super::timers::Timers;
use super::usage::Usage;
use super::workers::{Job, Workers};

/// Settings of a node. Its limits may change while it runs.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub server_name: String,
    /// JetStream domain; none is the default one.
    pub domain: Option<String>,
    /// Unknown fields of requests are errors.
    pub strict: bool,
    /// Bytes after which a connection counts as slow; also the largest batch of a direct get.
    pub pending_bytes_max: usize,
    pub limits: Limits,
}

/// What a reload may change.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub server: ServerLimits,
    /// `server.max_storage` is not a setting but what was free at the start. What the store held by then is not part of it,
    /// so it bounds what streams reserve and not what they hold: the journal itself knows when the disk is full.
    pub storage_is_measured: bool,
    /// `max_payload`: the largest message of a stream without a limit of its own; 0 when it is not known.
    pub payload_bytes_max: u64,
    /// Of atomic batches.
    pub batches: BatchLimits,
    pub fast_batches: FastLimits,
}

/// Shared by the node and its streams.
pub struct Shared {
    pub journal: Journal,
    pub options: NodeOptions,
    limits: RwLock<Limits>,
    /// What the streams of all accounts hold.
    pub usage: Usage,
    /// The log says that the server's limit is reached: for memory, for files.
    full: [AtomicBool; 2],
    /// What the open atomic batches of all streams take.
    pub batch_budget: Arc<BatchBudget>,
    /// How many fast batches are open on all streams.
    pub fast_budget: Arc<BatchBudget>,
    timers: OnceLock<Timers>,
    workers: OnceLock<Workers>,
    /// Those who publish to these accounts wait for the journal's queue to shorten.
    pub gates: ClosedGates,
}

/// Above this many bytes in the journal's queue, connections that publish to streams are not read.
pub const QUEUE_BYTES_HIGH: usize = 8 * 1024 * 1024;
/// Below this many they are read again.
pub const QUEUE_BYTES_LOW: usize = 2 * 1024 * 1024;

impl Shared {
    pub fn new(journal: Journal, options: NodeOptions) -> Self {
        let usage = Usage::default();
        bound(&usage, &options.limits);
        Self {
            journal,
            limits: RwLock::new(options.limits.clone()),
            usage,
            full: [const { AtomicBool::new(false) }; 2],
            options,
            batch_budget: Arc::default(),
            fast_budget: Arc::default(),
            timers: OnceLock::new(),
            workers: OnceLock::new(),
            gates: ClosedGates::default(),
        }
    }

    /// The limits in force, without what is reserved.
    pub fn limits(&self) -> Limits {
        self.limits.read().clone()
    }

    pub fn set_limits(&self, limits: Limits) {
        bound(&self.usage, &limits);
        *self.limits.write() = limits;
    }

    /// True when the streams of all accounts hold more than the server may store.
    pub fn is_full(&self, storage: StorageType) -> bool {
        let is_full = self.usage.is_exceeded(storage);
        let told = &self.full[usize::from(storage == StorageType::File)];
        if told.load(Ordering::Relaxed) != is_full && told.swap(is_full, Ordering::Relaxed) != is_full {
            match is_full {
                true => tracing::warn!(
                    ?storage,
                    "the server's limit of JetStream storage is reached: publishes are refused"
                ),
                false => tracing::info!(?storage, "there is JetStream storage again"),
            }
        }
        is_full
    }

    pub fn start(&self, timers: Timers, workers: Workers) {
        if self.timers.set(timers).is_err() || self.workers.set(workers).is_err() {
            tracing::error!("the node was started twice");
        }
    }

    pub fn stop(&self) {
        if let Some(timers) = self.timers.get() {
            timers.stop();
        }
        if let Some(workers) = self.workers.get() {
            workers.stop();
        }
    }

    /// Nanoseconds since the epoch.
    pub fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Calls the stream's timer at a wall-clock time.
    pub fn set_timer(&self, group: GroupId, at: i64) {
        if let Some(timers) = self.timers.get() {
            let wait = u64::try_from(at.saturating_sub(self.now())).unwrap_or(0);
            // A wait beyond the clock's range is cut: the timer then looks again.
            let wait = Duration::from_nanos(wait).min(Duration::from_secs(24 * 3600));
            timers.schedule(group, Instant::now() + wait);
        }
    }

    /// Goes on with a consumer's deliveries on a worker thread.
    pub fn queue(&self, job: Job) {
        if let Some(workers) = self.workers.get() {
            workers.queue(job);
        }
    }
}

fn bound(usage: &Usage, limits: &Limits) {
    let file = if limits.storage_is_measured { -1 } else { limits.server.max_storage };
    usage.set_bytes_max(limits.server.max_memory, file);
}
