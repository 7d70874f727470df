//! HOT PATH (`apply_message`): no allocation per plain message, no lock, no log.
//! What entries of the log change. Every replica applies the same entries in the same order; nothing here may depend on
//! anything else. A replica that starts from a checkpoint applies only what came after it.

use std::sync::Arc;

use super::consumers::{Consumers, Interest};
use super::content::{SEQUENCE_MAX, message_bytes};
use super::control::Control;
use super::effects::{Effects, Outcome};
use super::links::SubjectLinks;
use super::machine::{MessageEntry, StreamMachine};
use super::publish_headers::{PublishHeaders, Rollup, Ttl};
use super::source::MessageSource;
use crate::jetstream::api::StreamConfig;
use crate::jetstream::api::stream_config::Retention;
use crate::protocol::subject;

impl StreamMachine {
    /// The time of a control entry that is about to be proposed.
    pub fn decide_control(&mut self, now: i64) -> i64 {
        self.stamp(now)
    }

    /// The log took a control entry. A purge that reaches beyond the last sequence makes later messages jump, so it
    /// must be told here, before they are decided on.
    pub fn control_appended(&mut self, control: &Control) {
        if let Control::Purge { filter, up_to, .. } = control
            && (filter.is_empty() || filter == ">")
        {
            self.next_sequence = self.next_sequence.max((*up_to).min(SEQUENCE_MAX));
        }
    }

    /// Applies a message. `source` must hold it already.
    pub fn apply_message<S: MessageSource>(
        &mut self,
        entry: &MessageEntry<'_>,
        source: &S,
        interest: &dyn Interest,
        effects: &mut Effects,
    ) {
        effects.clear();
        if entry.sequence <= self.content.last {
            // The checkpoint held it already.
            return;
        }
        let (sequence, time) = (entry.sequence, entry.time);
        self.in_flight.applied(sequence);
        self.clock = self.clock.max(time);
        self.next_sequence = self.next_sequence.max(sequence + 1);
        let asked = PublishHeaders::parse(entry.headers);
        self.remember_id(&asked, sequence, time);
        let kept = self.rules.retention != Retention::Interest || interest.wants(entry.subject);
        if kept {
            effects.outcome = Outcome::Stored { sequence, time };
            self.store(entry, &asked, source, effects);
        } else {
            effects.outcome = Outcome::Skipped { sequence, time };
            self.content.skip(sequence, time);
            effects.remove(sequence, entry.subject);
        }
        if self.rules.allows_rollup
            && let Some(rollup) = asked.rollup.and_then(Rollup::parse)
        {
            self.roll_up(rollup, entry, kept, source, effects);
        }
    }

    /// Uses up the sequence of a message without storing it: it belongs to a batch whose end was never written (P-11).
    pub fn skip_message(&mut self, entry: &MessageEntry<'_>, effects: &mut Effects) {
        effects.clear();
        let (sequence, time) = (entry.sequence, entry.time);
        if sequence <= self.content.last {
            // The checkpoint held it already.
            return;
        }
        self.in_flight.applied(sequence);
        self.clock = self.clock.max(time);
        self.next_sequence = self.next_sequence.max(sequence + 1);
        effects.outcome = Outcome::Skipped { sequence, time };
        self.content.skip(sequence, time);
        effects.remove(sequence, entry.subject);
    }

    /// Applies any other entry.
    pub fn apply_control<S: MessageSource>(
        &mut self,
        control: &Control,
        time: i64,
        source: &S,
        consumers: &mut dyn Consumers,
        effects: &mut Effects,
    ) {
        effects.clear();
        self.clock = self.clock.max(time);
        match control {
            Control::Purge { filter, up_to, keep } => {
                effects.outcome = Outcome::Purged(self.purge(filter, *up_to, *keep, source, effects));
            }
            Control::Delete { sequence, erase } => {
                let is_stored = self.content.is_stored(*sequence);
                if is_stored {
                    self.remove(*sequence, source, effects);
                    effects.erase.extend(erase.then_some(*sequence));
                }
                effects.outcome = Outcome::Deleted(is_stored);
            }
            Control::Expire { at_most } => self.expire(self.clock, *at_most, source, effects),
            Control::Update { config } => {
                self.update(Arc::new((**config).clone()), source, &*consumers, effects);
                effects.outcome = Outcome::Updated;
            }
            Control::Consumer { change, id, body } => {
                self.apply_to_consumers(*change, *id, body, time, source, consumers, effects);
            }
        }
    }

    fn remember_id(&mut self, asked: &PublishHeaders<'_>, sequence: u64, time: i64) {
        let id = asked.message_id.unwrap_or_default();
        if !id.is_empty() && self.rules.dedupes {
            self.dedupe.insert(id, sequence, time);
        }
        self.last_message_id.clear();
        self.last_message_id.extend_from_slice(id);
    }

    fn store<S: MessageSource>(
        &mut self,
        entry: &MessageEntry<'_>,
        asked: &PublishHeaders<'_>,
        source: &S,
        effects: &mut Effects,
    ) {
        let sequence = entry.sequence;
        let bytes = message_bytes(self.rules.storage, entry.subject.len(), entry.headers.len(), entry.payload_len);
        if self.links.is_enabled() {
            let state = self.subjects.get(entry.subject);
            let previous = state.filter(|state| state.last_exact).map(|state| state.last);
            self.links.append(sequence, previous, self.content.messages);
        }
        self.content.store(sequence, entry.time, bytes);
        let of_subject = self.subjects.insert(entry.subject, sequence);
        if self.rules.allows_ttl
            && let Some(Ttl::Seconds(seconds)) = asked.ttl.and_then(Ttl::parse)
        {
            self.expiry.set_deadline(sequence, entry.time, seconds);
        }
        if let Some(max) = self.rules.per_subject_max
            && of_subject.messages > max
        {
            self.trim_subject(entry.subject, max, u64::MAX, source, effects);
        }
        self.enforce_limits(source, effects);
    }

    /// The message replaces what came before it (P-07).
    fn roll_up<S: MessageSource>(
        &mut self,
        rollup: Rollup,
        entry: &MessageEntry<'_>,
        kept: bool,
        source: &S,
        effects: &mut Effects,
    ) {
        match rollup {
            Rollup::Subject if subject::is_literal(entry.subject) => {
                self.trim_subject(entry.subject, u64::from(kept), entry.sequence, source, effects);
            }
            // The subject is a filter then, as in a purge: how clients purge many keys of a bucket at once.
            Rollup::Subject => {
                self.purge_matching(entry.subject, entry.sequence, u64::from(kept), source, effects);
            }
            Rollup::All if self.content.messages > 0 => {
                self.remove_before(entry.sequence, source, effects);
            }
            Rollup::All => {}
        }
    }

    /// Takes on another configuration and whatever follows from it at once.
    fn update<S: MessageSource>(
        &mut self,
        config: Arc<StreamConfig>,
        source: &S,
        interest: &dyn Interest,
        effects: &mut Effects,
    ) {
        let old = self.rules;
        let window = u64::try_from(config.duplicate_window).unwrap_or(0);
        self.dedupe.set_window(window, self.clock);
        self.set_config(config);
        if self.rules.per_subject_max != old.per_subject_max {
            self.links = SubjectLinks::new(self.rules.per_subject_max, self.content.last + 1);
            self.enforce_subject_limits(source, effects);
        }
        self.expiry.age_changed(old.age_max, self.rules.age_max, self.content.first);
        self.enforce_limits(source, effects);
        if self.rules.retention == Retention::Interest && old.retention != Retention::Interest && !interest.is_empty() {
            self.remove_done(source, interest, effects);
        }
    }
}
