//! HOT PATH: no allocation per message, no log.
//! The second pass: what is durable and committed changes the machine and the store, and everybody who waits is told.

use headwater_raft::EntryKind;
use headwater_storage::{Location, RecordKind, RecordRef};

use super::{Cause, Core, StoredMessage, subjects};
use crate::jetstream::checkpoint::is_last_part;
use crate::jetstream::group_log::raft_kind;
use crate::jetstream::stream::{Control, MESSAGE_OF_BATCH, MessageEntry, Outcome};
use crate::jetstream::workers::Job;
use crate::router::Publisher;

impl Core {
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
                RecordKind::Checkpoint if is_last_part(record.payload()) => self.checkpoint_durable(header.index),
                RecordKind::Message | RecordKind::Entry
                    if committed.as_ref().is_some_and(|range| range.contains(&header.index)) =>
                {
                    if !self.apply_earlier(next, header.index, publisher) {
                        return;
                    }
                    let outcome = self.apply_record(&record, publisher);
                    self.answer(header.index, outcome, publisher);
                    next = header.index + 1;
                }
                _ => {}
            }
        }
        if let Some(committed) = committed {
            if !self.apply_earlier(next, *committed.end() + 1, publisher) {
                return;
            }
            self.log.advance_applied(*committed.end());
            self.log_unlogged(publisher);
            self.count_bytes();
            self.give_space_back();
            self.publish_markers(publisher);
            self.deliver_all(publisher);
            self.watch_expiry();
        }
    }

    /// Applies the entries from `next` up to and without `end`, read back from the journal. False when one of them can not
    /// be: nothing after it may be applied then.
    pub(super) fn apply_earlier(&mut self, next: u64, end: u64, publisher: &mut Publisher) -> bool {
        for index in next..end {
            match self.shared.journal.read_entry(self.log.id(), index) {
                Ok(record) => {
                    let outcome = self.apply_record(&record.as_ref(), publisher);
                    self.answer(index, outcome, publisher);
                }
                Err(problem) => {
                    tracing::error!(stream = %self.name, index, %problem, "a committed entry can not be read back");
                    self.poison(publisher);
                    return false;
                }
            }
        }
        true
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

    pub(super) fn apply_record(&mut self, record: &RecordRef<'_>, publisher: &mut Publisher) -> Outcome {
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
    pub(super) fn about_to_republish(&self, subject: &[u8]) -> Option<(Vec<u8>, u64)> {
        let target = self.subject_rules.republished_as(subject)?;
        Some((target, self.machine.last_matching(&[subject], &self.store).unwrap_or(0)))
    }

    pub(super) fn republish(
        &mut self,
        (target, last): &(Vec<u8>, u64),
        message: &StoredMessage<'_>,
        publisher: &mut Publisher,
    ) {
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

    pub(super) fn apply_entry(&mut self, record: &RecordRef<'_>) {
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

    pub(super) fn apply_control(&mut self, control: &Control, time: i64, publisher: &mut Publisher) -> Outcome {
        let before = self.config().clone();
        self.machine.apply_control(control, time, &self.store, &mut self.consumers, &mut self.effects);
        self.markers_wanted |= !self.effects.markers.is_empty();
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
            self.consumers_follow_stream(&before, publisher);
        }
        self.follow_consumer(control, publisher);
        outcome
    }

    /// Gives space back and tells the consumers what has left. The outcome is taken out, since what the consumers do
    /// about it may apply entries in turn.
    pub(super) fn after_effects(&mut self, cause: Cause, publisher: &mut Publisher) -> Outcome {
        let outcome = self.effects.outcome;
        self.report_forgotten_ids();
        if self.effects.removed.is_empty() && self.effects.removed_before.is_none() {
            self.report_damage();
            return outcome;
        }
        self.release_effects();
        self.tell_consumers_of_removals(cause, publisher);
        outcome
    }

    /// A memory stream gives space back at once; a file stream when a checkpoint has the removals.
    pub(super) fn release_effects(&mut self) {
        if self.is_memory() {
            for removed in &self.effects.removed {
                self.store.release(removed.sequence);
            }
            if let Some(before) = self.effects.removed_before {
                self.store.release_before(before);
            }
        } else {
            self.releases.note(&self.effects);
            if self.releases.has_erasures() && !self.shared.journal.is_checkpoint_under_way(self.log.id()) {
                self.shared.queue(Job::checkpoint(self.log.id()));
            }
        }
        self.report_damage();
    }
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
