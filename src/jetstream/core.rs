//! The state of one stream on this node, behind one lock: its log, its machine, its consumers, and who waits for what.
//!
//! Everything that changes the stream passes here twice: once to be decided and appended, once to be applied when it is
//! durable and committed. Acks, answers and deliveries come out of the second pass only.

mod answers;
mod batches;
mod consumers;
mod fast_batches;
mod incomplete;
mod publish;
mod subjects;
mod unlogged;

pub use consumers::Delivered;

use answers::{Duplicate, Waiting};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use headwater_raft::EntryKind;
use headwater_storage::{AppendClass, AppendError, Location, RecordKind, RecordRef, Urgency};

use super::api::{ApiError, PubAck, StreamConfig, error_codes};
use super::consumer::Outputs;
use super::consumer_table::ConsumerTable;
use super::group_log::{GroupLog, raft_kind};
use super::live::Live;
use super::shared::Shared;
use super::store::Store;
use super::stream::{Control, Effects, MESSAGE_OF_BATCH, MessageEntry, OpenBatches, Outcome, Releases, StreamMachine};
use super::usage::Usage;
use super::view::View;
use super::workers::Job;
use crate::account::Account;
use crate::router::{MatchCache, Publisher};

/// Called with what came of a change once it is durable, or with the error that prevents it. The stream is locked then:
/// answers go to the publisher, which is flushed when it is not.
pub type Answered<T> = Box<dyn FnOnce(&mut Core, &mut Publisher, Result<T, ApiError>) + Send>;

/// Called with the outcome of a control entry once it is applied, or with the error that prevents it.
pub type Done = Answered<Outcome>;

/// See the module.
pub struct Core {
    pub shared: Arc<Shared>,
    pub account: Arc<Account>,
    pub name: Arc<str>,
    pub log: GroupLog,
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    /// The leader's half of each consumer, by number.
    pub live: BTreeMap<u64, Live>,
    pub store: Store,
    /// Consumers whose creation is under way: names and numbers are taken.
    pub creating: BTreeMap<String, (u64, Arc<super::api::ConsumerConfig>)>,
    waiting: VecDeque<Waiting>,
    pub_ack: PubAck,
    /// Set once the stream is deleted: nothing is taken any more.
    pub closed: bool,
    /// Set once the journal has failed: nothing will ever be applied again.
    failed: bool,
    /// Something of a consumer is staged: see [`send_in_order`](Core::send_in_order).
    staged: bool,
    /// What consumers have done and the journal did not take yet, and who waits for it.
    unlogged: unlogged::Unlogged,
    expire_at: Option<i64>,
    /// The earliest deadline told to the timers.
    timer_at: i64,
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
    /// Checkpoints written and not yet durable.
    checkpoints_begun: u32,
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
    pub log: GroupLog,
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    pub store: Store,
}

impl Core {
    pub fn new(start: Start) -> Self {
        let Start { shared, account, usage, name, log, machine, consumers, store } = start;
        let batches = OpenBatches::new(shared.options.batches, shared.batch_budget.clone());
        Self {
            pub_ack: PubAck::new(&name, shared.options.domain.as_deref()),
            shared,
            account,
            name,
            log,
            machine,
            consumers,
            live: BTreeMap::new(),
            store,
            creating: BTreeMap::new(),
            waiting: VecDeque::new(),
            closed: false,
            failed: false,
            staged: false,
            unlogged: unlogged::Unlogged::default(),
            expire_at: None,
            timer_at: i64::MAX,
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
            checkpoints_begun: 0,
            usage,
            counted_bytes: 0,
        }
    }

    pub fn config(&self) -> &Arc<StreamConfig> {
        self.machine.config()
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.store, Store::Memory(_))
    }

    pub fn view(&self) -> View<'_> {
        View { machine: &self.machine, store: &self.store }
    }

    /// After a start nothing is known to be covered by a durable checkpoint but what the next one will have.
    pub fn release_with_next_checkpoint(&mut self) {
        if !self.is_memory() {
            self.releases.note_all(self.machine.first_sequence(), self.machine.deleted());
        }
    }

    /// Takes the lead and takes up the consumers.
    pub fn lead(&mut self) {
        // The first entry of a new leader ends what the one before it left open.
        self.drop_held();
        let shared = self.shared.clone();
        if self.is_memory() {
            self.log.lead(None);
            self.log.on_remembered();
        } else {
            match shared.journal.append(AppendClass::Control) {
                Ok(mut appender) => {
                    self.log.lead(Some(&mut appender));
                    appender.finish(Urgency::Lazy);
                }
                Err(problem) => tracing::error!(stream = %self.name, %problem, "the stream can not be led"),
            }
        }
        self.subject_rules = subjects::SubjectRules::of(self.config());
        let ids: Vec<u64> = self.consumers.ids().collect();
        for id in ids {
            self.take_up(id);
        }
        self.watch_expiry();
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
            self.waiting.push_back(Waiting::Control { index, done });
        }
    }

    /// Replies with nothing once everything appended so far is applied.
    pub fn reply_after_commit(&mut self, replies: Vec<Bytes>, publisher: &mut Publisher) {
        if self.failed {
            // Nobody knows whether it is durable: the client tries again.
            return;
        }
        let index = self.log.group().last_index();
        self.waiting.push_back(Waiting::Acked { index, replies });
        if self.log.in_flight() == 0 {
            self.answer(index, Outcome::Done, publisher);
        }
    }

    /// Calls `look` once the messages accepted so far are applied; at once when none is on its way, or the journal takes
    /// none: nobody should wait for a disk that is full or broken to be told so.
    pub fn when_stored(
        &mut self,
        publisher: &mut Publisher,
        look: impl FnOnce(&mut Core, &mut Publisher) + Send + 'static,
    ) {
        if self.failed || self.machine.in_flight() == 0 || self.shared.journal.admit().is_err() {
            return look(self, publisher);
        }
        let index = self.log.group().last_index();
        let done = Box::new(move |core: &mut Core, publisher: &mut Publisher, _| look(core, publisher));
        self.waiting.push_back(Waiting::Control { index, done });
    }

    /// Calls `done` once everything appended so far is applied.
    pub fn after_commit(&mut self, publisher: &mut Publisher, done: Done) {
        if self.failed || !self.unlogged.is_empty() {
            let error = error_codes::STREAM_STORE_FAILED.with("the journal does not take the change");
            return done(self, publisher, Err(error));
        }
        let index = self.log.group().last_index();
        self.waiting.push_back(Waiting::Control { index, done });
        if self.log.in_flight() == 0 {
            self.answer(index, Outcome::Done, publisher);
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
            let time = self.machine.decide_control(control, now);
            return self.log.append_control(None, tag, &body, time).map(|placed| placed.index).map_err(refused);
        }
        let shared = self.shared.clone();
        let mut appender = shared.journal.append(AppendClass::Control).map_err(|error| refusal(&error))?;
        let time = self.machine.decide_control(control, now);
        let placed = self.log.append_control(Some(&mut appender), tag, &body, time);
        appender.finish(urgency);
        placed.map(|placed| placed.index).map_err(refused)
    }

    /// A memory stream's entries are durable as soon as they are made.
    fn settle_memory(&mut self) {
        if let Some(committed) = self.log.on_remembered() {
            self.log.advance_applied(*committed.end());
        }
    }

    /// Records of this group have become durable, the last of them at `last`: applies what is committed.
    ///
    /// What is committed and what has just become durable need not be the same entries: a burst may lie in two batches
    /// and is committed as a whole with the second, and a replica's entries wait for a quorum. Entries whose records
    /// came by earlier are read back.
    pub fn complete<'a>(
        &mut self,
        records: impl Iterator<Item = (Location, RecordRef<'a>)>,
        last: Location,
        publisher: &mut Publisher,
    ) {
        // A memory stream has nothing in the journal but its definition.
        if self.closed || self.is_memory() {
            return;
        }
        let committed = self.log.on_durable(last);
        let mut next = committed.as_ref().map_or(u64::MAX, |range| *range.start());
        for (_, record) in records {
            let header = &record.header;
            match header.kind {
                RecordKind::Checkpoint => self.checkpoint_durable(&record),
                RecordKind::Message | RecordKind::Entry
                    if committed.as_ref().is_some_and(|range| range.contains(&header.index)) =>
                {
                    self.apply_earlier(next, header.index, publisher);
                    let outcome = self.apply_record(&record, publisher);
                    self.answer(header.index, outcome, publisher);
                    next = header.index + 1;
                }
                _ => {}
            }
        }
        if let Some(committed) = committed {
            self.apply_earlier(next, *committed.end() + 1, publisher);
            self.log.advance_applied(*committed.end());
            self.log_unlogged(publisher);
            self.count_bytes();
            self.publish_markers(publisher);
            self.deliver_all(publisher);
            self.watch_expiry();
        }
    }

    /// Applies the entries from `next` up to and without `end`, read back from the journal.
    fn apply_earlier(&mut self, next: u64, end: u64, publisher: &mut Publisher) {
        for index in next..end {
            match self.shared.journal.read_entry(self.log.id(), index) {
                Ok(record) => {
                    let outcome = self.apply_record(&record.as_ref(), publisher);
                    self.answer(index, outcome, publisher);
                }
                Err(problem) => {
                    tracing::error!(stream = %self.name, index, %problem, "a committed entry can not be read back");
                    return self.poison(publisher);
                }
            }
        }
    }

    /// The state can no longer be trusted: the stream is not served until a restart recovers it.
    pub fn poison(&mut self, publisher: &mut Publisher) {
        self.closed = true;
        let error = error_codes::STREAM_OFFLINE.error();
        self.fail(&error, publisher);
    }

    /// The stream is gone: the account holds that much less.
    pub fn forget_bytes(&mut self) {
        self.usage.change(self.config().storage, self.counted_bytes, 0);
        self.counted_bytes = 0;
    }

    /// Tells the account how much this stream holds.
    pub fn count_bytes(&mut self) {
        let bytes = self.machine.bytes();
        self.usage.change(self.config().storage, self.counted_bytes, bytes);
        self.counted_bytes = bytes;
    }

    /// Applies an entry at a restart: nobody waits for it.
    ///
    /// `damaged` entries before this one could not be read.
    pub fn replay(&mut self, record: &RecordRef<'_>, damaged: u64) {
        let header = &record.header;
        self.log.set_time(header.time);
        if damaged > 0 {
            // The end of a batch may be among what is damaged. It was there, since the log goes on: what can be read of the
            // batch counts.
            self.replay_held();
            if header.kind == RecordKind::Message {
                self.lose(header.sequence, damaged);
            }
        }
        match (header.kind, header.tag) {
            (RecordKind::Message, MESSAGE_OF_BATCH) => return self.hold(record),
            (RecordKind::Message, _) => self.replay_held(),
            _ => self.drop_held(),
        }
        self.apply_entry(record);
        self.release_effects();
    }

    /// So many entries can not be read, and the next message has this sequence. Messages among them may be there all the
    /// same: an entry may be missing since a checkpoint held it that is damaged.
    pub fn lose(&mut self, sequence: u64, entries: u64) {
        let next = self.machine.last_sequence() + 1;
        if sequence.saturating_sub(next) > entries {
            self.machine.jump_to(sequence);
            return;
        }
        let mut lost = 0;
        for missing in next..sequence {
            match self.store.message(missing) {
                Ok(message) => {
                    let entry = MessageEntry {
                        sequence: missing,
                        time: message.time(),
                        subject: message.subject(),
                        headers: message.headers(),
                        payload_len: message.payload().len(),
                    };
                    self.machine.apply_message(&entry, &self.store, &self.consumers, &mut self.effects);
                    self.release_effects();
                }
                Err(_) => {
                    self.machine.lose_next();
                    lost += 1;
                }
            }
        }
        if lost > 0 {
            tracing::error!(stream = %self.name, lost, from = next, below = sequence, "messages are damaged and lost");
        }
    }

    fn apply_record(&mut self, record: &RecordRef<'_>, publisher: &mut Publisher) -> Outcome {
        let header = &record.header;
        match (header.kind, header.tag) {
            (RecordKind::Message, MESSAGE_OF_BATCH) => {
                self.hold(record);
                return Outcome::Done;
            }
            (RecordKind::Message, _) => {
                self.apply_held(publisher);
                let (subject, headers, payload) = (record.subject(), record.headers(), record.payload());
                let (sequence, time) = (header.sequence, header.time);
                return self.apply_message(&StoredMessage { subject, headers, payload, sequence, time }, publisher);
            }
            _ => self.drop_held(),
        }
        match decode(record) {
            Some(control) => self.apply_control(&control, header.time, publisher),
            None => Outcome::Done,
        }
    }

    /// Where the message that is about to be stored goes afterwards, and the last one of its subject until then.
    fn about_to_republish(&self, subject: &[u8]) -> Option<(Vec<u8>, u64)> {
        let target = self.subject_rules.republished_as(subject)?;
        Some((target, self.machine.last_matching(&[subject], &self.store).unwrap_or(0)))
    }

    fn republish(&mut self, (target, last): &(Vec<u8>, u64), message: &StoredMessage<'_>, publisher: &mut Publisher) {
        let StoredMessage { subject, headers, payload, sequence, time } = *message;
        let stored = subjects::Stored {
            stream: &self.name,
            subject,
            headers,
            payload_len: payload.len(),
            sequence,
            time,
            last: *last,
        };
        let block = self.subject_rules.republished_headers(&stored);
        let payload: &[&[u8]] = if self.subject_rules.headers_only() { &[] } else { &[payload] };
        publisher.publish_cached(&mut self.cache, target, None, &block, payload);
    }

    fn apply_entry(&mut self, record: &RecordRef<'_>) {
        let header = &record.header;
        if header.kind == RecordKind::Message {
            let entry = MessageEntry {
                sequence: header.sequence,
                time: header.time,
                subject: record.subject(),
                headers: record.headers(),
                payload_len: header.payload_len as usize,
            };
            self.machine.apply_message(&entry, &self.store, &self.consumers, &mut self.effects);
        } else if let Some(control) = decode(record) {
            self.machine.apply_control(&control, header.time, &self.store, &mut self.consumers, &mut self.effects);
        }
    }

    fn apply_control(&mut self, control: &Control, time: i64, publisher: &mut Publisher) -> Outcome {
        self.machine.apply_control(control, time, &self.store, &mut self.consumers, &mut self.effects);
        let cause = if matches!(control, Control::Purge { .. }) { Cause::Purge } else { Cause::Other };
        let outcome = self.after_effects(cause, publisher);
        if matches!(control, Control::Update { .. }) {
            self.subject_rules = subjects::SubjectRules::of(self.config());
            if !self.config().allow_atomic {
                self.batches.clear();
            }
            if !self.config().allow_batched {
                self.forget_fast_batches();
            }
        }
        self.follow_consumer(control, publisher);
        outcome
    }

    /// Gives space back and tells the consumers what has left. The outcome is taken out, since what the consumers do
    /// about it may apply entries in turn.
    fn after_effects(&mut self, cause: Cause, publisher: &mut Publisher) -> Outcome {
        let outcome = self.effects.outcome;
        if self.effects.removed.is_empty() && self.effects.removed_before.is_none() {
            self.report_damage();
            return outcome;
        }
        self.release_effects();
        self.tell_consumers_of_removals(cause, publisher);
        outcome
    }

    /// A memory stream gives space back at once; a file stream when a checkpoint has the removals.
    fn release_effects(&mut self) {
        if self.is_memory() {
            for removed in &self.effects.removed {
                self.store.release(removed.sequence);
            }
            if let Some(before) = self.effects.removed_before {
                self.store.release_before(before);
            }
        } else {
            self.releases.note(&self.effects);
            if self.releases.has_erasures() && self.checkpoints_begun == 0 {
                self.shared.queue(Job::checkpoint(self.log.id()));
            }
        }
        self.report_damage();
    }

    /// A part of a checkpoint is durable; with the last one, what the checkpoint covers may go.
    fn checkpoint_durable(&mut self, record: &RecordRef<'_>) {
        if !is_last_part(record.payload()) {
            return;
        }
        self.log.compact(record.header.index);
        self.checkpoints_begun = self.checkpoints_begun.saturating_sub(1);
        if self.checkpoints_begun > 0 {
            return;
        }
        let released = self.releases.checkpoint_durable();
        for sequence in &released.erase {
            self.store.erase(*sequence);
        }
        if released.before > 0 {
            self.store.release_before(released.before);
        }
        for sequence in released.sequences.iter() {
            self.store.release(sequence);
        }
        if self.releases.has_erasures() {
            self.shared.queue(Job::checkpoint(self.log.id()));
        }
    }

    fn report_damage(&mut self) {
        for sequence in &self.effects.damaged {
            tracing::error!(stream = %self.name, sequence, "a message is damaged: it left the stream unread");
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
            self.propose(&Control::Expire, Urgency::Lazy, publisher, None);
            self.publish_markers(publisher);
            if self.is_memory() {
                self.count_bytes();
                self.watch_expiry();
            }
        } else if let Some(at) = self.machine.next_expiry(&self.store) {
            self.set_timer(at);
        }
        self.abandon_idle_batches(now, publisher);
        self.forget_idle_fast_batches(now);
        self.log_unlogged(publisher);
        self.consumer_timers(now, publisher);
    }

    /// The checkpoint just made could not be written; the next one covers what it would have.
    pub fn checkpoint_refused(&mut self) {
        self.checkpoints_begun = self.checkpoints_begun.saturating_sub(1);
    }

    /// A checkpoint of everything that the log up to `applied` made: index, term, body.
    /// It must be written at once, since what was removed up to here is released when it is durable.
    pub fn checkpoint(&mut self) -> Option<(u64, u64, Bytes)> {
        if !self.held.is_empty() {
            // What is held is in no checkpoint; it must be read from the log again.
            return None;
        }
        let index = self.log.applied();
        let term = self.log.group().entry_term(index).filter(|_| index > self.log.group().compacted())?;
        let body = super::checkpoint::encode(&self.machine, &self.consumers, self.log.time());
        self.releases.checkpoint_begun();
        self.checkpoints_begun += 1;
        Some((index, term, self.log.wrap_checkpoint(body)))
    }
}

/// A checkpoint comes in parts: `part u32 | parts u32 | bytes`.
fn is_last_part(payload: &[u8]) -> bool {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let part = payload.get(..4).and_then(number);
    let parts = payload.get(4..8).and_then(number);
    part.zip(parts).is_some_and(|(part, parts)| part.saturating_add(1) >= parts)
}

/// The control entry in a record; none for raft's own entries.
fn decode(record: &RecordRef<'_>) -> Option<Control> {
    let tag = record.header.tag;
    if raft_kind(tag) != EntryKind::Normal {
        return None;
    }
    match Control::decode(tag, record.payload()) {
        Ok(control) => Some(control),
        Err(problem) => {
            let (group, index) = (record.header.group.0, record.header.index);
            tracing::error!(group, index, %problem, "an entry can not be understood: it was written by a newer version");
            None
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
