//! Delete markers (T-31, P-09): what is left of a subject whose last message has expired.

use super::super::api::duration;
use super::super::api::time::SECOND;
use super::content::message_bytes;
use super::decide::Accept;
use super::in_flight::{Accepted, OfSubject};
use super::machine::StreamMachine;
use super::publish_headers::{MARKER_REASON, ROLLUP, Rollup, TTL};
use super::source::{MessageSource, MessageView};
use crate::protocol::headers;

/// A marker that was accepted: append it to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub accept: Accept,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
}

impl StreamMachine {
    /// The marker that replaces an expired message. `None` when the message is gone or no longer the last of its
    /// subject: the marker would take newer messages with it.
    pub fn decide_marker<S: MessageSource>(&mut self, sequence: u64, now: i64, source: &S) -> Option<Marker> {
        let seconds = self.rules.marker_seconds?;
        let is_blocked = self.check_room_for(1).is_err();
        if is_blocked || !self.expiry.waiting.contains(&sequence) {
            return None;
        }
        let subject = source.read(sequence).ok()?.subject().to_vec();
        let is_last = self.subjects.get(&subject).is_some_and(|state| state.messages == 1);
        if !is_last || self.in_flight.of_subject(&subject) != OfSubject::default() {
            return None;
        }
        let mut block = Vec::new();
        headers::append(&mut block, MARKER_REASON, b"MaxAge");
        let life = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND);
        headers::append(&mut block, TTL, duration::format(life).as_bytes());
        headers::append(&mut block, ROLLUP, b"sub");
        let bytes = message_bytes(self.rules.storage, subject.len(), block.len(), 0) as i64;
        let accept = Accept { sequence: self.next_sequence, time: self.message_time(now), headers: None };
        let (sequence, rollup) = (accept.sequence, Some(Rollup::Subject));
        self.in_flight.push(&Accepted { sequence, subject: &subject, id: b"", messages: 0, bytes, rollup });
        self.next_sequence += 1;
        self.proposed_time = accept.time;
        Some(Marker { accept, subject, headers: block })
    }

    /// The messages that wait for a marker: a new leader publishes these first.
    pub fn waiting_for_markers(&self) -> impl Iterator<Item = u64> + '_ {
        self.expiry.waiting.iter().copied()
    }
}
