//! One stream on this node: the handle that everybody holds. What it does happens in its core, under one lock.
//!
//! Whatever is published meanwhile is flushed after the lock is let go: a subscriber may be a stream, even this one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use headwater_storage::{GroupId, Location, RecordRef};
use parking_lot::{Mutex, MutexGuard};

use super::api::message_get::{DirectStatus, MessageGetRequest};
use super::api::responses::{ConsumerPaused, ConsumerReset};
use super::api::{ApiError, ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo, Timestamp, error_codes, validate};
use super::consumer::reply_subject::ReplyNumbers;
use super::core::Core;
use super::messages::Message;
use super::selection::{Batch, BatchBound, Selection};
use super::stream::{Control, Outcome};
use super::workers::Then;
use crate::account::{Account, InternalMessage, InternalSubscriptionId};
use crate::router::Publisher;

/// See the module.
pub struct Replica {
    account: Arc<Account>,
    name: Arc<str>,
    group: GroupId,
    created: i64,
    core: Mutex<Core>,
    /// Held while a consumer is checked and proposed, so that no two creations are checked against the same state.
    creating: Mutex<()>,
    /// Subscriptions to the stream's subjects.
    /// None once the stream has ended or while it is suspended: what was on its way to subscribe for it comes too late.
    pub subscriptions: Mutex<Option<Vec<(String, InternalSubscriptionId)>>>,
}

/// Sizes of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    pub messages: u64,
    pub bytes: u64,
    pub consumers: u64,
}

impl Replica {
    pub fn new(core: Core) -> Self {
        Self {
            account: core.account.clone(),
            name: core.name.clone(),
            group: core.log.id(),
            created: core.created,
            core: Mutex::new(core),
            creating: Mutex::new(()),
            subscriptions: Mutex::new(Some(Vec::new())),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn group(&self) -> GroupId {
        self.group
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The stream ends: leaves its subjects for good.
    pub fn unsubscribe(&self) {
        for (_, id) in self.subscriptions.lock().take().unwrap_or_default() {
            self.account.unsubscribe_internal(id);
        }
    }

    /// The account has lost JetStream: the stream leaves its subjects, and consumers rest.
    pub fn suspend(&self) {
        self.unsubscribe();
        self.with(|core, publisher| core.suspend(publisher));
    }

    /// The account has JetStream again; the stream may subscribe.
    pub fn resume(&self) {
        let mut core = self.core.lock();
        if core.is_suspended() && !core.closed {
            *self.subscriptions.lock() = Some(Vec::new());
            core.resume();
        }
    }

    pub fn config(&self) -> Arc<StreamConfig> {
        self.core.lock().config().clone()
    }

    /// The configuration once what is on its way is applied: what a request that comes now is held against.
    pub fn coming_config(&self) -> Arc<StreamConfig> {
        self.core.lock().coming_config().clone()
    }

    pub fn created(&self) -> i64 {
        self.created
    }

    /// For reports that read many things at once.
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Works on the core; what is published to services meanwhile leaves after the lock.
    pub fn with<R>(&self, work: impl FnOnce(&mut Core, &mut Publisher) -> R) -> R {
        let mut publisher = Publisher::new(&self.account);
        let result = self.work_on(&mut publisher, work);
        publisher.flush();
        result
    }

    /// As [`with`](Self::with), [`guarded`](Self::guarded): none when the work fails.
    fn serve<R>(&self, work: impl FnOnce(&mut Core, &mut Publisher) -> R) -> Option<R> {
        self.with(|core, publisher| self.guarded(core, publisher, work))
    }

    /// As [`serve`](Self::serve), for callers with a lock of their own: what is published leaves with the publisher.
    fn serve_unflushed(&self, work: impl FnOnce(&mut Core, &mut Publisher)) -> Publisher {
        let mut publisher = Publisher::new(&self.account);
        self.work_on(&mut publisher, |core, publisher| self.guarded(core, publisher, work));
        publisher
    }

    /// Works on the core. What consumers deliver is sent before the lock is let go, so that it stays in order.
    fn work_on<R>(&self, publisher: &mut Publisher, work: impl FnOnce(&mut Core, &mut Publisher) -> R) -> R {
        let mut core = self.core.lock();
        let result = work(&mut core, publisher);
        core.send_in_order(publisher);
        result
    }

    /// Takes a burst of messages; returns the bytes that wait for the disk.
    pub fn publish(&self, messages: &[InternalMessage<'_>]) -> usize {
        self.serve(|core, publisher| core.publish(messages, publisher)).unwrap_or(0)
    }

    /// A defect in one stream must not stop the others, which are served by the same threads: it takes this stream out of
    /// service.
    pub(super) fn guarded<R>(
        &self,
        core: &mut Core,
        publisher: &mut Publisher,
        work: impl FnOnce(&mut Core, &mut Publisher) -> R,
    ) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| work(core, publisher)));
        if done.is_err() {
            tracing::error!(stream = %self.name, "a step of the stream failed: it is taken out of service");
            core.poison(publisher);
        }
        done.ok()
    }

    /// Records of this stream have become durable, the last of them at `last`.
    pub fn complete<'a>(&self, records: impl Iterator<Item = (Location, RecordRef<'a>)>, last: Location) {
        self.serve(|core, publisher| core.complete(records, last, publisher));
    }

    pub fn timer(&self) {
        self.serve(Core::timer);
    }

    pub fn fail(&self, error: &ApiError) {
        self.with(|core, publisher| core.fail(error, publisher));
    }

    pub fn look_for_interest(&self, consumer: u64) {
        self.serve(|core, publisher| core.look_for_interest(consumer, publisher));
    }

    /// Goes on with the deliveries of a consumer.
    pub fn work(&self, consumer: u64) -> Then {
        let mut publisher = Publisher::new(&self.account);
        let then = self.work_on(&mut publisher, |core, publisher| {
            self.guarded(core, publisher, |core, publisher| core.deliver_in_background(consumer, publisher))
        });
        publisher.flush();
        then.unwrap_or(Then::Done)
    }

    /// Proposes a change; `done` is called once it is applied, or at once with what prevents it.
    pub fn propose(
        &self,
        control: Control,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<Outcome, ApiError>) + Send + 'static,
    ) {
        self.serve(|core, publisher| core.change(&control, publisher, Box::new(done)));
    }

    /// Proposes another configuration, which has been checked; `done` as in [`propose`](Self::propose). What is published
    /// meanwhile leaves with the publisher.
    pub fn update(
        &self,
        config: StreamConfig,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<Outcome, ApiError>) + Send + 'static,
    ) -> Publisher {
        self.serve_unflushed(|core, publisher| core.update_stream(config, publisher, Box::new(done)))
    }

    /// Calls `look` once the messages accepted so far are stored, or will not be; the core is locked then. `bytes` is
    /// what the request takes until then: when others take too much already, it is called at once.
    pub fn when_stored(&self, bytes: usize, look: impl FnOnce(&mut Core, &mut Publisher) + Send + 'static) {
        self.serve(|core, publisher| core.when_stored(bytes, publisher, look));
    }

    /// Without the sequences of removed messages.
    pub fn info(&self) -> StreamInfo {
        self.info_locked(&self.core.lock(), false)
    }

    pub fn info_locked(&self, core: &Core, deleted_details: bool) -> StreamInfo {
        StreamInfo {
            config: validate::with_dynamic_stream(core.config()),
            created: Timestamp(self.created),
            state: core.machine.state(&core.store, deleted_details, core.consumers.len() as u64),
            domain: core.shared.options.domain.clone().unwrap_or_default(),
            ts: Timestamp(core.shared.now()),
            ..StreamInfo::default()
        }
    }

    /// Bytes and consumers, for the account's usage.
    pub fn usage(&self) -> (u64, u64) {
        let core = self.core.lock();
        (core.machine.bytes(), core.consumers.len() as u64)
    }

    /// What sums over all streams are made of; unlike [`Replica::info`] it never reads the disk.
    pub fn totals(&self) -> StreamTotals {
        let core = self.core.lock();
        StreamTotals {
            messages: core.machine.messages(),
            bytes: core.machine.bytes(),
            consumers: core.consumers.len() as u64,
        }
    }

    /// Message ids that were forgotten within the duplicate window since the start, for want of room.
    pub fn ids_forgotten(&self) -> u64 {
        self.core.lock().machine.ids_forgotten()
    }

    pub fn has_consumer(&self, name: &str) -> bool {
        self.core.lock().id_of(name).is_ok()
    }

    pub fn select(&self, selection: &Selection) -> Option<Message> {
        let core = self.core.lock();
        core.store.message(selection.find(&core)?).ok()
    }

    /// The messages from a selection on (T-62).
    pub fn batch(&self, selection: Selection, bound: BatchBound) -> Batch {
        Batch::from_on(&self.core.lock(), selection, bound)
    }

    /// The last message of each matching subject up to a point, and that point (T-63).
    pub fn multi_last(
        &self,
        request: &MessageGetRequest,
        results_max: usize,
        bound: BatchBound,
    ) -> Result<(Batch, u64), DirectStatus> {
        Batch::multi_last(&self.core.lock(), request, results_max, bound)
    }

    // Consumers.

    /// Held from the check of a consumer to its proposal.
    pub fn create_lock(&self) -> MutexGuard<'_, ()> {
        self.creating.lock()
    }

    pub fn consumer_configs(&self) -> Vec<(String, Arc<ConsumerConfig>)> {
        self.core.lock().consumer_configs()
    }

    pub fn consumer_info(&self, name: &str) -> Option<ConsumerInfo> {
        self.serve(|core, publisher| {
            core.id_of(name).ok()?;
            core.consumer_info(name, publisher)
        })
        .flatten()
    }

    /// What comes of it leaves when the publisher is dropped, after the [`create_lock`](Self::create_lock).
    pub fn create_consumer(
        &self,
        config: ConsumerConfig,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<String, ApiError>) + Send + 'static,
    ) -> Publisher {
        self.serve_unflushed(|core, publisher| {
            // The name is known only when the entry is made, and the answer needs it.
            let name = Arc::new(std::sync::OnceLock::new());
            let of_answer = name.clone();
            let done =
                Box::new(move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
                    let name = of_answer.get().cloned().unwrap_or_default();
                    done(core, publisher, outcome.map(|_| name));
                });
            core.create_consumer(config, publisher, &name, done);
        })
    }

    /// See [`create_consumer`](Self::create_consumer). `bytes` is what the request takes while it waits: too many that
    /// change nothing are refused, here and below.
    pub fn update_consumer(
        &self,
        name: String,
        config: ConsumerConfig,
        bytes: usize,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<String, ApiError>) + Send + 'static,
    ) -> Publisher {
        self.serve_unflushed(|core, publisher| {
            let of_answer = name.clone();
            let done =
                Box::new(move |core: &mut Core, publisher: &mut Publisher, outcome: Result<Outcome, ApiError>| {
                    done(core, publisher, outcome.map(|_| of_answer));
                });
            core.update_consumer(&name, &config, bytes, publisher, done);
        })
    }

    pub fn delete_consumer(
        &self,
        name: &str,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<Outcome, ApiError>) + Send + 'static,
    ) {
        self.serve(|core, publisher| core.delete_consumer(name, publisher, Box::new(done)));
    }

    pub fn pause_consumer(
        &self,
        name: &str,
        until: Timestamp,
        bytes: usize,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<ConsumerPaused, ApiError>) + Send + 'static,
    ) {
        self.serve(|core, publisher| core.pause_consumer(name, until, bytes, publisher, Box::new(done)));
    }

    pub fn reset_consumer(
        &self,
        name: &str,
        sequence: u64,
        bytes: usize,
        done: impl FnOnce(&mut Core, &mut Publisher, Result<ConsumerReset, ApiError>) + Send + 'static,
    ) {
        self.serve(|core, publisher| core.reset_consumer(name, sequence, bytes, publisher, Box::new(done)));
    }

    pub fn unpin_consumer(&self, name: &str, group: &str) -> Result<(), ApiError> {
        let unpinned = self.serve(|core, publisher| core.unpin_consumer(name, group, publisher));
        unpinned.unwrap_or_else(|| Err(error_codes::STREAM_OFFLINE.error()))
    }

    /// HOT PATH: a pull request, and whether this server has the API level that it needs. False when there is no such
    /// consumer.
    pub fn pull(&self, consumer: &str, reply: &[u8], body: &[u8], level_is_met: bool) -> bool {
        self.serve(|core, publisher| core.pull(consumer, reply, body, level_is_met, publisher)).unwrap_or(true)
    }

    /// HOT PATH: an acknowledgement. False when there is no such consumer, or it takes none.
    pub fn ack(&self, consumer: &str, numbers: &ReplyNumbers, body: &[u8], reply: Option<&[u8]>) -> bool {
        self.serve(|core, publisher| core.ack(consumer, numbers, body, reply, publisher)).unwrap_or(true)
    }

    /// False when there is no such consumer, or it has no flow control.
    pub fn flow_control(&self, consumer: &str, subject: &[u8], headers: &[u8]) -> bool {
        self.serve(|core, publisher| core.flow_control(consumer, subject, headers, publisher)).unwrap_or(true)
    }
}
