//! The state of one stream on this node, behind one lock: its log, its machine, its consumers, and who waits for what.
//!
//! Everything that changes the stream passes here twice: once to be decided and appended, once to be applied when it is
//! durable and committed. Acks, answers and deliveries come out of the second pass only.

mod answers;
mod apply;
mod batches;
mod checkpoints;
mod consumer_changes;
mod consumers;
mod fast_batches;
mod incomplete;
mod publish;
mod reload;
mod subjects;
mod unlogged;

use answers::{Duplicate, Waiting};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use headwater_storage::{AppendClass, AppendError, MemoryLog, Urgency};

use super::api::{ApiError, ConsumerConfig, PubAck, StreamConfig, error_codes, json};
use super::consumer::Outputs;
use super::consumer_table::ConsumerTable;
use super::group_log::GroupLog;
use super::live::Live;
use super::meta::StreamDefinition;
use super::shared::Shared;
use super::store::Store;
use super::stream::{Control, Effects, MessageEntry, OpenBatches, Outcome, Releases, StreamMachine};
use super::usage::Usage;
use super::view::View;
use crate::account::Account;
use crate::router::{MatchCache, Publisher};

/// Called with what came of a change once it is durable, or with the error that prevents it. The stream is locked then:
/// answers go to the publisher, which is flushed when it is not.
pub type Answered<T> = Box<dyn FnOnce(&mut Core, &mut Publisher, Result<T, ApiError>) + Send>;

/// Called with the outcome of a control entry once it is applied, or with the error that prevents it.
pub type Done = Answered<Outcome>;

/// When an expiry that was refused is proposed again, in nanoseconds.
const EXPIRE_AGAIN: i64 = 1_000_000_000;
/// Messages that one entry makes expire: a few milliseconds in which the stream is locked, and whoever applies entries
/// can tell no other stream's publishers anything.
const EXPIRE_AT_MOST: u64 = 10_000;

/// See the module.
pub struct Core {
    pub shared: Arc<Shared>,
    pub account: Arc<Account>,
    pub name: Arc<str>,
    /// Log time of its creation.
    pub created: i64,
    pub log: GroupLog,
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    /// The leader's half of each consumer, by number.
    pub live: BTreeMap<u64, Live>,
    pub store: Store,
    /// Consumers whose creation is under way: names and numbers are taken.
    creating: BTreeMap<String, (u64, Arc<ConsumerConfig>)>,
    /// Consumers whose end is under way: to whoever asks from now on they are gone.
    deleting: BTreeSet<u64>,
    /// Configurations that consumers are about to have, in their order.
    updating_consumers: Vec<(u64, Arc<ConsumerConfig>)>,
    /// Configurations that the stream is about to have, in their order.
    updating: Vec<Arc<StreamConfig>>,
    waiting: VecDeque<Waiting>,
    /// What the replies to acknowledgements take in it.
    acked_bytes: usize,
    /// What the requests that write nothing take in it.
    request_bytes: usize,
    pub_ack: PubAck,
    /// Set once the stream is deleted: nothing is taken any more.
    pub closed: bool,
    /// The account has no JetStream any more: consumers rest until it has.
    suspended: bool,
    /// Set once the journal has failed: nothing will ever be applied again.
    failed: bool,
    /// Something of a consumer is staged: see [`send_in_order`](Core::send_in_order).
    staged: bool,
    /// What consumers have done and the journal did not take yet, and who waits for it.
    unlogged: unlogged::Unlogged,
    expire_at: Option<i64>,
    /// Messages have begun to wait for their delete markers.
    markers_wanted: bool,
    /// The earliest deadline told to the timers.
    timer_at: i64,
    /// It was told that message ids were forgotten early.
    told_of_ids: bool,
    cache: MatchCache,
    effects: Effects,
    outputs: Outputs,
    line: Vec<u8>,
    /// Scratch of a burst of publishes.
    accepted: Vec<publish::Accepted>,
    subject_rules: subjects::SubjectRules,
    /// Duplicates, within a burst, of messages on their way: answered after the burst's own.
    duplicates: Vec<Duplicate>,
    /// Atomic batches that are being published.
    batches: OpenBatches,
    /// Fast batches, once there was one.
    fast: Option<Box<fast_batches::Fast>>,
    /// Messages of a batch whose end has not been applied yet.
    held: batches::Held,
    /// Removed messages that wait for a checkpoint.
    releases: Releases,
    /// What the last checkpoint that was begun covers.
    checkpoint_index: u64,
    /// The most that the stream held since it last wanted a checkpoint to give space back.
    bytes_held: u64,
    usage: Arc<Usage>,
    /// Bytes of this stream that `usage` counts.
    counted_bytes: u64,
}

/// Why messages leave a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Consumers go on behind what was purged, without a word about each message.
    Purge,
    Other,
}

/// A stored message, which may be published again.
#[derive(Clone, Copy)]
struct StoredMessage<'a> {
    subject: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
    sequence: u64,
    time: i64,
}

impl<'a> StoredMessage<'a> {
    fn as_entry(&self) -> MessageEntry<'a> {
        let Self { subject, headers, sequence, time, .. } = *self;
        MessageEntry { sequence, time, subject, headers, payload_len: self.payload.len() }
    }
}

/// What a new core starts from.
pub struct Start {
    pub shared: Arc<Shared>,
    pub account: Arc<Account>,
    pub usage: Arc<Usage>,
    pub name: Arc<str>,
    pub created: i64,
    pub log: GroupLog,
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    pub store: Store,
}

impl Core {
    pub fn new(start: Start) -> Self {
        let Start { shared, account, usage, name, created, log, machine, consumers, store } = start;
        let batches = OpenBatches::new(shared.limits().batches, shared.batch_budget.clone());
        Self {
            pub_ack: PubAck::new(&name, shared.options.domain.as_deref()),
            shared,
            account,
            name,
            created,
            log,
            machine,
            consumers,
            live: BTreeMap::new(),
            store,
            creating: BTreeMap::new(),
            deleting: BTreeSet::new(),
            updating_consumers: Vec::new(),
            updating: Vec::new(),
            waiting: VecDeque::new(),
            acked_bytes: 0,
            request_bytes: 0,
            closed: false,
            suspended: false,
            failed: false,
            staged: false,
            unlogged: unlogged::Unlogged::default(),
            expire_at: None,
            markers_wanted: false,
            timer_at: i64::MAX,
            told_of_ids: false,
            cache: MatchCache::default(),
            effects: Effects::default(),
            outputs: Outputs::default(),
            line: Vec::new(),
            accepted: Vec::new(),
            subject_rules: subjects::SubjectRules::default(),
            duplicates: Vec::new(),
            batches,
            fast: None,
            held: batches::Held::default(),
            releases: Releases::default(),
            checkpoint_index: 0,
            bytes_held: 0,
            usage,
            counted_bytes: 0,
        }
    }

    pub fn config(&self) -> &Arc<StreamConfig> {
        self.machine.config()
    }

    /// What the stream is, for whoever finds its group and nothing else.
    pub fn definition(&self) -> StreamDefinition {
        StreamDefinition {
            group: self.log.id().0,
            account: self.account.name().to_owned(),
            name: self.name.to_string(),
            config: json::write(self.config().as_ref()).into(),
            created: self.created,
        }
    }

    /// The configuration once what is on its way is applied.
    pub fn coming_config(&self) -> &Arc<StreamConfig> {
        self.updating.last().unwrap_or_else(|| self.config())
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.store, Store::Memory(_))
    }

    pub fn view(&self) -> View<'_> {
        View { machine: &self.machine, store: &self.store }
    }

    /// Takes the lead and takes up the consumers.
    pub fn lead(&mut self) {
        // The first entry of a new leader ends what the one before it left open.
        self.drop_held();
        self.take_lead();
        self.markers_wanted = true;
        self.go_on_erasing();
        self.subject_rules = subjects::SubjectRules::of(self.config());
        let ids: Vec<u64> = self.consumers.ids().collect();
        for id in ids {
            self.take_up(id);
        }
        self.watch_expiry();
    }

    /// Takes the lead, unless the stream has it.
    pub fn take_lead(&mut self) {
        if self.closed {
            return;
        }
        if !self.is_memory() {
            if let Err(problem) = self.log.take_lead(&self.shared.journal) {
                tracing::error!(stream = %self.name, %problem, "the stream can not be led");
            }
        } else if !self.log.is_leader() {
            self.log.lead(None);
            self.log.on_remembered();
        }
    }

    /// Gives the stream another configuration, which has been checked.
    pub fn update_stream(&mut self, config: StreamConfig, publisher: &mut Publisher, done: Done) {
        let coming = Arc::new(config.clone());
        self.updating.push(coming.clone());
        let done = Box::new(move |core: &mut Self, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
            core.updating.retain(|other| !Arc::ptr_eq(other, &coming));
            done(core, publisher, outcome);
        });
        let control = Control::Update { config: Box::new(config) };
        self.change(&control, publisher, done);
    }

    /// Proposes what was asked for from outside, and sees to what follows from it.
    pub fn change(&mut self, control: &Control, publisher: &mut Publisher, done: Done) {
        self.propose(control, Urgency::Wake, publisher, Some(done));
        self.follow_change(publisher);
    }

    /// What a commit does once its entries are applied: a memory stream has none.
    pub(super) fn follow_change(&mut self, publisher: &mut Publisher) {
        if self.is_memory() && !self.closed {
            self.publish_markers(publisher);
            self.count_bytes();
            self.deliver_all(publisher);
            self.watch_expiry();
        }
    }

    /// Appends a control entry; `done` is called when it is applied, or at once when it cannot be appended.
    pub fn propose(&mut self, control: &Control, urgency: Urgency, publisher: &mut Publisher, done: Option<Done>) {
        match self.append(control, urgency) {
            Ok(index) => self.after_append(control, index, done, publisher),
            Err(error) => {
                if let Some(done) = done {
                    done(self, publisher, Err(error));
                }
            }
        }
    }

    /// What is appended to a memory stream is applied at once.
    fn after_append(&mut self, control: &Control, index: u64, done: Option<Done>, publisher: &mut Publisher) {
        if self.is_memory() {
            let outcome = self.apply_control(control, self.log.time(), publisher);
            self.settle_memory();
            // Not by way of the queue: entries that this one caused have been answered there already.
            if let Some(done) = done {
                done(self, publisher, Ok(outcome));
            }
            self.answer(index, Outcome::Done, publisher);
        } else if let Some(done) = done {
            self.waiting.push_back(Waiting::Control { index, bytes: 0, done });
        }
    }

    fn append(&mut self, control: &Control, urgency: Urgency) -> Result<u64, ApiError> {
        if self.closed {
            return Err(error_codes::STREAM_NOT_FOUND.error());
        }
        let mut body = Vec::new();
        control.encode(&mut body);
        let body = Bytes::from(body);
        let (tag, now) = (control.tag(), self.shared.now());
        let refused = |problem| error_codes::STREAM_STORE_FAILED.with(problem);
        if self.is_memory() {
            let time = self.machine.decide_control(now);
            let placed = self.log.append_control(None, tag, &body, time).map_err(refused)?;
            self.machine.control_appended(control);
            return Ok(placed.index);
        }
        let shared = self.shared.clone();
        let class = if control.frees_space() { AppendClass::Control } else { AppendClass::Progress };
        let mut appender = shared.journal.append_large(class, body.len()).map_err(|error| refusal(&error))?;
        let time = self.machine.decide_control(now);
        let placed = self.log.append_control(Some(&mut appender), tag, &body, time);
        appender.finish(urgency);
        let placed = placed.map_err(refused)?;
        self.machine.control_appended(control);
        Ok(placed.index)
    }

    /// A memory stream's entries are durable as soon as they are made.
    fn settle_memory(&mut self) {
        if let Some(committed) = self.log.on_remembered() {
            self.log.advance_applied(*committed.end());
        }
        self.count_bytes();
    }

    /// The state can no longer be trusted: the stream is not served until a restart recovers it.
    pub fn poison(&mut self, publisher: &mut Publisher) {
        self.closed = true;
        let error = error_codes::STREAM_OFFLINE.error();
        self.fail(&error, publisher);
        // What is open takes from a budget that other streams share, and nothing would end it any more.
        self.batches.clear();
        self.forget_fast_batches();
        self.store.rest(i64::MAX);
    }

    /// The stream is gone: the account holds that much less. Connections that published to it may keep the handle for as
    /// long as they are silent, but not what it held.
    pub fn let_go(&mut self) {
        self.set_counted(0);
        self.cache = MatchCache::default();
        self.store.rest(i64::MAX);
        if self.is_memory() {
            self.store = Store::Memory(MemoryLog::new());
        }
    }

    /// Tells the account and the server how much this stream holds.
    pub fn count_bytes(&mut self) {
        if !self.closed {
            self.set_counted(self.machine.bytes());
        }
    }

    fn set_counted(&mut self, bytes: u64) {
        let (storage, before) = (self.config().storage, std::mem::replace(&mut self.counted_bytes, bytes));
        if bytes != before {
            self.usage.change(storage, before, bytes);
            self.shared.usage.change(storage, before, bytes);
        }
    }

    fn report_damage(&mut self) {
        for sequence in &self.effects.damaged {
            match self.machine.is_stored(*sequence) {
                true => {
                    tracing::error!(stream = %self.name, sequence, "a message can not be read: it counts for nothing")
                }
                false => {
                    tracing::error!(stream = %self.name, sequence, "a message is damaged: it left the stream unread")
                }
            }
        }
    }

    /// Tells once that duplicates may go unnoticed.
    fn report_forgotten_ids(&mut self) {
        if self.machine.ids_forgotten() > 0 && !self.told_of_ids {
            self.told_of_ids = true;
            tracing::warn!(
                stream = %self.name,
                "more message ids came within the duplicate window than are remembered: the oldest are forgotten early"
            );
        }
    }

    /// Removes what is too old, and sees to it that this is done again in time.
    fn watch_expiry(&mut self) {
        let next = self.machine.next_expiry(&self.store);
        if next != self.expire_at {
            self.expire_at = next;
            if let Some(at) = next {
                self.set_timer(at);
            }
        }
    }

    /// Asks to be woken at this time, unless that happens earlier anyway.
    fn set_timer(&mut self, at: i64) {
        if at < self.timer_at {
            self.timer_at = at;
            self.shared.set_timer(self.log.id(), at);
        }
    }

    /// The time asked for has come.
    pub fn timer(&mut self, publisher: &mut Publisher) {
        self.timer_at = i64::MAX;
        if self.closed {
            return;
        }
        let now = self.shared.now();
        if self.machine.next_expiry(&self.store).is_some_and(|at| at <= now) {
            self.expire_at = None;
            // Refused by a busy or full journal: nothing else may happen in this stream that would ask again.
            let again: Done = Box::new(|core, _, outcome| {
                if outcome.is_err() {
                    core.set_timer(core.shared.now() + EXPIRE_AGAIN);
                }
            });
            self.propose(&Control::Expire { at_most: EXPIRE_AT_MOST }, Urgency::Lazy, publisher, Some(again));
            self.publish_markers(publisher);
            self.follow_change(publisher);
        }
        self.abandon_idle_batches(now, publisher);
        self.forget_idle_fast_batches(now);
        self.log_unlogged(publisher);
        self.consumer_timers(now, publisher);
        if let Some(at) = self.store.rest(now) {
            self.set_timer(at);
        }
        // Usually the farthest of all: nothing is to be woken for it that is woken earlier anyway.
        if let Some(at) = self.machine.next_expiry(&self.store).filter(|at| *at > now) {
            self.set_timer(at);
        }
    }
}

/// Why the journal does not take a message, in the API's words.
pub fn refusal(error: &AppendError) -> ApiError {
    match error {
        AppendError::Busy => error_codes::STREAM_TOO_MANY_REQUESTS.error(),
        AppendError::Full => error_codes::STORAGE_RESOURCES_EXCEEDED.error(),
        other => error_codes::STREAM_STORE_FAILED.with(other),
    }
}
