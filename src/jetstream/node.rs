//! JetStream on this server: the journal, the meta group, the streams, and the services that reach them.

mod accounts;
mod definitions;
mod recovery;
mod saving;
mod streams;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use headwater_storage::{
    EraseError, GroupId, Health, Io, JournalError, JournalOptions, JournalStats, Location, OpenError, ReadError,
    RecordRef, SequenceSet,
};
use parking_lot::{Mutex, RwLock};

use super::account::JetStreamAccount;
use super::api::account_info::AccountLimits;
use super::api::error_codes;
use super::api::stream_config::StorageType;
use super::api::validate::ServerLimits;
use super::completion::Completion;
use super::consumer::End;
use super::group_log::GroupLog;
use super::held_back::HeldBack;
use super::meta::META_GROUP;
use super::meta_group::{MetaGroup, MetaGuard};
use super::replica::Replica;
pub use super::shared::{Limits, NodeOptions};
use super::shared::{QUEUE_BYTES_LOW, Shared};
use super::timers::{TimerTarget, Timers};
use super::usage::Usage;
use super::workers::{Job, JobTarget, Task, Then, Workers};
use crate::account::Account;

/// See the module.
pub struct Node {
    shared: Arc<Shared>,
    meta: Mutex<MetaGroup>,
    accounts: RwLock<HashMap<String, Arc<JetStreamAccount>>>,
    /// The accounts without JetStream, and what tells their clients so.
    refused: Mutex<HashMap<String, Arc<JetStreamAccount>>>,
    /// Accounts that have lost JetStream, with what is counted for them.
    retired: Mutex<HashMap<String, Arc<JetStreamAccount>>>,
    /// What the streams hold of accounts that have not been served yet.
    usages: Mutex<BTreeMap<String, Arc<Usage>>>,
    /// Streams that can not be served, of accounts that have not been served yet.
    held_back: Mutex<Vec<Arc<HeldBack>>>,
    replicas: RwLock<HashMap<GroupId, Arc<Replica>>>,
    /// Streams whose account is not there, kept until it is (nothing is deleted because it is absent).
    strays: Mutex<Vec<Arc<Replica>>>,
    failure: OnceLock<JournalError>,
    full: AtomicBool,
    /// There is another worker for those who come by while one waits for the disk. With a single one each message would be
    /// written by itself, however many clients there are.
    may_write_here: bool,
    stopped: AtomicBool,
    stopping: Mutex<bool>,
}

/// Why JetStream could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not create storage directory - {}: {cause}", directory.display())]
    Directory { directory: std::path::PathBuf, cause: std::io::Error },
    #[error("could not open the store: {0}{hint}", hint = hint(.0))]
    Open(#[from] OpenError),
    #[error("could not read the store: {0}")]
    Read(#[from] headwater_storage::ReadError),
    #[error("the store can not be served: group {}: {problem}", group.0)]
    Recover { group: GroupId, problem: String },
    #[error("could not start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What there is to do about it.
fn hint(problem: &OpenError) -> &'static str {
    match problem {
        OpenError::Unreadable { .. } => {
            ". If it stays so, `headwater store accept-loss DIR` tells what is lost and how to go on without it"
        }
        OpenError::Unidentified { .. } => {
            ". `headwater store verify DIR` tells what is there. To begin anew on purpose, move the directory away"
        }
        _ => "",
    }
}

impl Node {
    /// Opens the store, recovers every stream and serves them to the accounts given. Streams of other accounts, found by
    /// their name, are kept until theirs is served.
    ///
    /// # Errors
    /// When the store is in use, unreadable as a whole, or holds what this version can not understand.
    pub fn start(
        io: Arc<dyn Io>,
        directory: &Path,
        journal: JournalOptions,
        options: NodeOptions,
        accounts: Vec<(Arc<Account>, Option<AccountLimits>)>,
        find_account: &dyn Fn(&str) -> Arc<Account>,
    ) -> Result<Arc<Self>, StartError> {
        let recovered = recovery::recover(io, directory, journal, options, find_account)?;
        let shared = recovered.shared.clone();
        let node = Arc::new(Self {
            shared: shared.clone(),
            meta: Mutex::new(recovered.meta),
            accounts: RwLock::default(),
            refused: Mutex::default(),
            retired: Mutex::default(),
            usages: Mutex::new(recovered.usages),
            held_back: Mutex::new(recovered.held_back),
            replicas: RwLock::default(),
            strays: Mutex::default(),
            failure: OnceLock::new(),
            full: AtomicBool::new(false),
            may_write_here: has_several_workers(),
            stopped: AtomicBool::new(false),
            stopping: Mutex::new(false),
        });
        let weak = Arc::downgrade(&node);
        let target = Arc::new(Background(weak.clone()));
        shared.start(Timers::start(target.clone())?, Workers::start(1, target)?);
        for (account, limits) in accounts {
            node.enable_account(account, limits);
        }
        for replica in recovered.replicas {
            node.replicas.write().insert(replica.group(), replica.clone());
        }
        shared.journal.start(Arc::new(Completion(weak)));
        node.lead_meta();
        for replica in node.all_replicas() {
            replica.with(|core, _| {
                core.lead();
                core.count_bytes();
            });
            node.serve(&replica);
        }
        node.repair(recovered.repairs);
        node.finish_removals();
        shared.journal.wake();
        node.watch_interest()?;
        Ok(node)
    }

    fn lead_meta(&self) {
        if let Err(problem) = self.meta.lock().log.take_lead(&self.shared.journal) {
            tracing::error!(%problem, "the list of streams can not be led");
        }
    }

    pub fn meta(self: &Arc<Self>) -> MetaGuard<'_> {
        MetaGuard::new(self, self.meta.lock())
    }

    pub fn complete_meta<'a>(
        self: &Arc<Self>,
        records: impl Iterator<Item = (Location, RecordRef<'a>)>,
        last: Location,
    ) {
        self.meta().complete(records, last);
    }

    pub fn replica(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.replicas.read().get(&group).cloned()
    }

    fn all_replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub fn options(&self) -> &NodeOptions {
        &self.shared.options
    }

    pub fn server_name(&self) -> &str {
        &self.shared.options.server_name
    }

    pub fn domain(&self) -> Option<&str> {
        self.shared.options.domain.as_deref()
    }

    pub fn now(&self) -> i64 {
        self.shared.now()
    }

    pub fn stats(&self) -> JournalStats {
        self.shared.journal.stats()
    }

    pub fn health(&self) -> Health {
        self.shared.journal.health()
    }

    /// Takes over changed limits. Those of batches hold for batches that begin from now on.
    pub fn set_limits(&self, limits: Limits) {
        let (batches, fast) = (limits.batches, limits.fast_batches);
        self.shared.set_limits(limits);
        for replica in self.all_replicas() {
            replica.with(|core, _| core.set_batch_limits(batches, fast));
        }
    }

    /// The limits of the server with what all accounts have reserved.
    pub fn server_limits(&self) -> ServerLimits {
        let mut limits = self.shared.limits().server;
        for account in self.accounts() {
            limits.reserved_memory += account.reserved_bytes(StorageType::Memory);
            limits.reserved_storage += account.reserved_bytes(StorageType::File);
        }
        limits
    }

    /// The end of a burst of messages or requests. With `lone` a client waits for a single one, and it may be written and
    /// answered on this thread. No lock may be held.
    pub fn end_of_burst(&self, lone: bool) {
        if lone && self.may_write_here { self.shared.journal.wake_or_write() } else { self.shared.journal.wake() }
    }

    /// Whoever publishes to the account's streams is not read until the queue is shorter.
    pub fn close_gate(&self, account: &Arc<Account>) {
        self.shared.gates.close(account);
        // The queue may have emptied before the gate was closed; then nobody else would open it.
        self.open_gates();
    }

    /// A batch is done: whoever waits for a shorter queue is let go.
    pub fn after_batch(&self) {
        self.open_gates();
    }

    fn open_gates(&self) {
        if self.shared.gates.is_empty() {
            return;
        }
        // The queue of a journal that is at its end gets no shorter, and what is published is refused.
        let is_over = self.failure.get().is_some() || self.stopped.load(Ordering::SeqCst);
        if is_over || self.shared.journal.queued_bytes() <= QUEUE_BYTES_LOW {
            self.shared.gates.open_all();
        }
    }

    /// The journal failed: final. Nothing is acknowledged any more.
    pub fn fail(self: &Arc<Self>, error: &JournalError) {
        if self.failure.set(error.clone()).is_err() {
            return;
        }
        tracing::error!(%error, "the store has failed: nothing is acknowledged until the server is restarted");
        let refused = error_codes::STREAM_STORE_FAILED.with(error);
        self.meta().fail(&refused);
        for replica in self.all_replicas() {
            replica.fail(&refused);
        }
        self.open_gates();
    }

    pub fn failure(&self) -> Option<&JournalError> {
        self.failure.get()
    }

    pub fn space(self: &Arc<Self>, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!("the disk is full: streams are read-only until there is space");
            } else {
                tracing::info!("there is space on the disk again: streams take messages");
            }
        }
        if !full {
            // What a start on a full disk, or a deletion on one, may have found no room for.
            self.lead_meta();
            self.finish_removals();
            for replica in self.all_replicas() {
                replica.with(|core, _| core.take_lead());
            }
        }
    }

    /// Streams whose account is not there or has no JetStream.
    pub fn strays(&self) -> Vec<Arc<Replica>> {
        self.strays.lock().clone()
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Writes a checkpoint of a group. On a full disk the group's state is written anew with it, for it may be what keeps a
    /// segment. False when there was one and it could not be written, or the one before is still being written.
    pub fn checkpoint(&self, group: GroupId) -> bool {
        let anew = matches!(self.health(), Health::Full);
        if group == META_GROUP {
            let meta = self.meta.lock();
            let checkpoint = meta.checkpoint();
            return self.write_checkpoint(&meta.log, checkpoint, anew);
        }
        let Some(replica) = self.replica(group) else { return true };
        let mut core = replica.lock();
        if core.is_memory() {
            return true;
        }
        if self.shared.journal.is_feeding(group) {
            // One large one in the place of another that is half written would only be as late.
            return false;
        }
        let checkpoint = core.checkpoint();
        self.write_checkpoint(&core.log, checkpoint, anew)
    }

    /// False when there was one and it could not be written.
    fn write_checkpoint(&self, log: &GroupLog, checkpoint: Option<(u64, u64, bytes::Bytes)>, anew: bool) -> bool {
        let Some(checkpoint) = checkpoint else { return true };
        match log.write_checkpoint(&self.shared.journal, checkpoint, anew) {
            Ok(()) => true,
            Err(problem) => {
                tracing::warn!(group = log.id().0, %problem, "a checkpoint could not be written");
                false
            }
        }
    }

    /// Overwrites what was deleted for good and is in no checkpoint any more. No stream is locked meanwhile.
    fn erase(&self, replica: &Replica) {
        let group = replica.group();
        let to_erase = replica.lock().to_erase();
        let erase = |sequence: &u64| match self.shared.journal.erase_message(group, *sequence) {
            Ok(()) | Err(EraseError::Read(ReadError::NotFound)) => true,
            Err(problem) => {
                tracing::error!(%problem, group = group.0, sequence, "a deleted message could not be overwritten");
                // What is damaged stays so; anything else is tried again, with the next checkpoint or start.
                matches!(problem, EraseError::Read(ReadError::Damaged(_)))
            }
        };
        let done: SequenceSet = to_erase.iter().filter(erase).collect();
        if !done.is_empty() {
            replica.with(|core, _| core.erased(&done));
        }
    }

    /// Push consumers depend on who listens; subscriptions change without a word to them.
    fn watch_interest(self: &Arc<Self>) -> Result<(), StartError> {
        let weak = Arc::downgrade(self);
        std::thread::Builder::new().name("interest".into()).spawn(move || {
            while let Some(node) = weak.upgrade().filter(|node| !node.stopped.load(Ordering::Relaxed)) {
                let began = Instant::now();
                for account in node.accounts() {
                    let interest = &account.account().interest;
                    // Named first: a change after the look below wakes this thread.
                    interest.report_to(std::thread::current());
                    for (group, consumer) in interest.take_changed() {
                        if let Some(replica) = node.replica(GroupId(group)) {
                            replica.look_for_interest(consumer);
                        }
                    }
                }
                drop(node);
                // Clients that subscribe for each request must not keep this thread busy: it rests ten times as long
                // as it works.
                std::thread::sleep(INTEREST_PAUSE.max(began.elapsed() * 10));
                std::thread::park_timeout(INTEREST_WAIT);
            }
        })?;
        Ok(())
    }

    /// Ends the services, writes what is queued and closes the store.
    pub fn stop(&self) {
        // Whoever comes second waits until the first is done.
        let mut done = self.stopping.lock();
        if std::mem::replace(&mut *done, true) {
            return;
        }
        self.stopped.store(true, Ordering::SeqCst);
        self.open_gates();
        for replica in self.all_replicas() {
            replica.unsubscribe();
        }
        self.save();
        for replica in self.all_replicas() {
            replica.with(|core, publisher| {
                core.end_consumers(End::ServerStops, publisher);
                core.closed = true;
            });
        }
        self.shared.stop();
        self.shared.journal.clone().close();
    }
}

/// Whether connections are served by more than one thread. Who has no runtime is a test, and alone.
fn has_several_workers() -> bool {
    tokio::runtime::Handle::try_current().map_or(true, |runtime| runtime.metrics().num_workers() > 1)
}

/// Between two looks at who listens to push consumers.
const INTEREST_PAUSE: Duration = Duration::from_millis(1);
/// A look without a change; new accounts are found by it, too.
const INTEREST_WAIT: Duration = Duration::from_millis(500);

/// What makes a stream's ids for deduplication its own: the same on every replica.
pub fn identity(group: GroupId) -> [u8; 16] {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&group.0.to_le_bytes());
    identity
}

/// Timers and workers hold the node weakly.
struct Background(std::sync::Weak<Node>);

impl TimerTarget for Background {
    fn timer_due(&self, group: GroupId) {
        if let Some(replica) = self.0.upgrade().and_then(|node| node.replica(group)) {
            replica.timer();
        }
    }
}

impl JobTarget for Background {
    fn work(&self, job: Job) -> Then {
        let Some(node) = self.0.upgrade() else { return Then::Done };
        let Some(replica) = node.replica(job.group) else { return Then::Done };
        match job.task {
            Task::Deliver(consumer) => return replica.work(consumer),
            Task::Updated => node.stream_updated(&replica),
            Task::Checkpoint => {
                node.checkpoint(job.group);
            }
            Task::Erase => node.erase(&replica),
        }
        Then::Done
    }
}
