//! Atomic batches (P-11): staged beside the log, decided on as a whole, appended in one go, and applied once the last
//! message is there. A crash leaves all of a batch or nothing (docs/adr/0008).

use headwater_storage::{RecordRef, Urgency};
use serde::Serialize;

use super::answers::{Reply, Waiting};
use super::publish::Record;
use super::{Cause, Core, StoredMessage, refusal};
use crate::account::InternalMessage;
use crate::jetstream::advisory;
use crate::jetstream::api::error_codes;
use crate::jetstream::group_log::Placed;
use crate::jetstream::stream::{
    Abandoned, Accept, Commit, MESSAGE, MESSAGE_OF_BATCH, MessageEntry, Outcome, PublishHeaders, Refusal,
    StagedMessage, Step, is_of_fast_batch,
};
use crate::router::Publisher;

/// Messages of a batch that are in the log, while its last one has not been seen.
#[derive(Default)]
pub(super) struct Held(Vec<HeldMessage>);

struct HeldMessage {
    sequence: u64,
    time: i64,
    message: StagedMessage,
}

impl HeldMessage {
    fn as_stored(&self) -> StoredMessage<'_> {
        StoredMessage {
            subject: self.message.subject(),
            headers: self.message.headers(),
            payload: self.message.payload(),
            sequence: self.sequence,
            time: self.time,
        }
    }

    fn as_entry(&self) -> MessageEntry<'_> {
        self.as_stored().as_entry()
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// Staging and committing.

impl Core {
    /// Whether the message belongs to a batch. A stream without batches refuses it like any other message, and a reply
    /// subject of fast batches counts before any header.
    pub(super) fn is_of_batch(&self, message: &InternalMessage<'_>) -> bool {
        !message.headers.is_empty()
            && self.config().allow_atomic
            && !message.reply.is_some_and(is_of_fast_batch)
            && PublishHeaders::parse(message.headers).batch_id.is_some()
    }

    /// Takes in a message of a batch; gives the batch when this message commits it.
    pub(super) fn stage(&mut self, message: &InternalMessage<'_>, publisher: &mut Publisher) -> Option<Commit> {
        let publish = self.as_publish(message, publisher)?;
        if let Err(refusal) = self.machine.check_part(&publish, &self.room()) {
            self.refused(message, refusal, publisher);
            return None;
        }
        let asked = PublishHeaders::parse(message.headers);
        match self.batches.step(&publish, &asked, self.shared.now()) {
            Step::Commit(commit) => return Some(commit),
            Step::Staged => {
                if let Some(reply) = message.reply.filter(|_| !self.config().no_ack) {
                    publisher.publish_cached(&mut self.cache, reply, None, &[], &[]);
                }
                self.watch_batches();
            }
            Step::Refused { error, abandoned } => {
                if let (Some(reason), Some(id)) = (abandoned, asked.batch_id) {
                    self.advise_abandoned(id, reason, publisher);
                }
                self.refuse_message(message, &error, publisher);
            }
        }
        None
    }

    /// Stores a batch, or nothing of it. `message` is the one that commits. Returns the bytes that wait in the journal's
    /// queue.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        message: &InternalMessage<'_>,
        publisher: &mut Publisher,
    ) -> usize {
        let committed = if self.is_memory() {
            self.commit_to_memory(commit, message, publisher)
        } else {
            self.commit_to_log(commit, message)
        };
        match committed {
            Ok(queued) => queued,
            Err(Refusal::Error(error)) => {
                self.refuse_message(message, &error, publisher);
                0
            }
            Err(Refusal::Busy | Refusal::Duplicate { .. }) => {
                self.refuse_message(message, &error_codes::STREAM_TOO_MANY_REQUESTS.error(), publisher);
                0
            }
        }
    }

    fn commit_to_log(&mut self, commit: &Commit, message: &InternalMessage<'_>) -> Result<usize, Refusal> {
        let shared = self.shared.clone();
        // Asked first: once decided, the batch must be appended.
        shared.journal.admit().map_err(|problem| refusal(&problem))?;
        let room = self.room();
        let accepts = self.machine.decide_batch(&commit.messages, shared.now(), &room, &self.store)?;
        // One proposal: no other entry comes in between.
        let (mut appender, first) = match self.begin_append(&shared.journal, accepts.len()) {
            Ok(begun) => begun,
            Err(error) => {
                self.machine.take_back(accepts[0].sequence);
                return Err(error.into());
            }
        };
        let last = first.index + accepts.len() as u64 - 1;
        for (index, (message, accept)) in (first.index..).zip(commit.messages.iter().zip(&accepts)) {
            let tag = if index == last { MESSAGE } else { MESSAGE_OF_BATCH };
            let record = record(message, accept, tag);
            self.write_record(&record, accept, Placed { index, ..first }, &mut appender);
        }
        self.log.written();
        if let Some(reply) = message.reply.filter(|_| !self.config().no_ack) {
            let count = accepts.len() as u64;
            let id = commit.id.clone();
            self.waiting.push_back(Waiting::Batch { index: last, id, count, reply: Reply::new(reply) });
        }
        let queued = appender.queued_bytes();
        appender.finish(Urgency::Wake);
        Ok(queued)
    }

    fn commit_to_memory(
        &mut self,
        commit: &Commit,
        message: &InternalMessage<'_>,
        publisher: &mut Publisher,
    ) -> Result<usize, Refusal> {
        let room = self.room();
        let accepts = self.machine.decide_batch(&commit.messages, self.shared.now(), &room, &self.store)?;
        let mut last = 0;
        for (message, accept) in commit.messages.iter().zip(&accepts) {
            let record = record(message, accept, MESSAGE);
            // Only what leads no more refuses, and then it refuses the first already.
            self.remember(record.subject, record.headers, record.payload, accept, publisher)?;
            last = accept.sequence;
        }
        if let Some(reply) = message.reply.filter(|_| !self.config().no_ack) {
            self.acknowledge_batch(reply, last, &commit.id, accepts.len() as u64, publisher);
        }
        Ok(0)
    }

    fn watch_batches(&mut self) {
        if let Some(at) = self.batches.deadline() {
            self.set_timer(at);
        }
    }

    /// Abandons the batches whose publishers have fallen silent.
    pub(super) fn abandon_idle_batches(&mut self, now: i64, publisher: &mut Publisher) {
        for id in self.batches.expire(now) {
            self.advise_abandoned(&id, Abandoned::Timeout, publisher);
        }
        self.watch_batches();
    }

    fn advise_abandoned(&self, batch: &[u8], reason: Abandoned, publisher: &mut Publisher) {
        let body = BatchAbandoned {
            stream: &self.name,
            domain: self.shared.options.domain.as_deref().unwrap_or_default(),
            batch: &String::from_utf8_lossy(batch),
            reason: reason.as_str(),
        };
        let suffix = format!("STREAM.BATCH_ABANDONED.{}", self.name);
        advisory::publish(publisher, &self.account, &suffix, "stream_batch_abandoned", self.shared.now(), body);
    }
}

// Applying.

impl Core {
    /// Keeps a message of a batch until the last one is there.
    pub(super) fn hold(&mut self, record: &RecordRef<'_>) {
        let message = StagedMessage::new(record.subject(), record.headers(), record.payload());
        self.held.0.push(HeldMessage { sequence: record.header.sequence, time: record.header.time, message });
    }

    /// The end of the batch is there: applies what was held.
    pub(super) fn apply_held(&mut self, publisher: &mut Publisher) {
        for held in std::mem::take(&mut self.held.0) {
            self.apply_message(&held.as_stored(), publisher);
        }
    }

    /// As `apply_held`, at a restart, when nobody waits and nobody listens.
    pub fn replay_held(&mut self) {
        for held in std::mem::take(&mut self.held.0) {
            self.machine.apply_message(&held.as_entry(), &self.store, &self.consumers, &mut self.effects);
            self.release_effects();
        }
    }

    /// The end of the batch was never written: its messages are not stored. Their sequences are not given again, since
    /// their records are there to be found.
    pub(super) fn drop_held(&mut self) {
        let held = std::mem::take(&mut self.held.0);
        if held.is_empty() {
            return;
        }
        let (stream, messages) = (&*self.name, held.len());
        tracing::info!(stream, messages, "a batch whose commit was never written is dropped");
        for held in held {
            self.machine.skip_message(&held.as_entry(), &mut self.effects);
            self.release_effects();
        }
    }

    /// Applies a message that is in the log, all of its batch included.
    pub(super) fn apply_message(&mut self, message: &StoredMessage<'_>, publisher: &mut Publisher) -> Outcome {
        let again = self.about_to_republish(message.subject);
        self.machine.apply_message(&message.as_entry(), &self.store, &self.consumers, &mut self.effects);
        let outcome = self.after_effects(Cause::Other, publisher);
        if let (Some(again), Outcome::Stored { .. }) = (again, outcome) {
            self.republish(&again, message, publisher);
        }
        outcome
    }
}

fn record<'a>(message: &'a StagedMessage, accept: &'a Accept, tag: u8) -> Record<'a> {
    Record {
        subject: message.subject(),
        headers: accept.headers.as_deref().unwrap_or(message.headers()),
        payload: message.payload(),
        tag,
    }
}

#[derive(Serialize)]
struct BatchAbandoned<'a> {
    stream: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    batch: &'a str,
    reason: &'static str,
}
