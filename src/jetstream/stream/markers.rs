//! Delete markers (T-31, P-09): what is left of a subject whose last message has expired.

use super::super::api::duration;
use super::super::api::time::SECOND;
use super::content::message_bytes;
use super::decide::Accept;
use super::in_flight::{Accepted, OfSubject};
use super::machine::StreamMachine;
use super::publish_headers::{MARKER_REASON, ROLLUP, Rollup, TTL};
use super::source::MessageSource;
use crate::protocol::headers;

/// A marker that was accepted: append it to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub accept: Accept,
    pub subject: Vec<u8>,
    pub headers: Vec<u8>,
}

impl StreamMachine {
    /// The markers that replace expired messages, in their order.
    pub fn decide_markers<S: MessageSource>(&mut self, now: i64, source: &S) -> Vec<Marker> {
        let waiting: Vec<u64> = self.expiry.waiting.iter().copied().collect();
        let decided = |sequence| self.decide_marker(sequence, now, source);
        source.in_order(|| waiting.into_iter().filter_map(decided).collect())
    }

    /// The marker that replaces an expired message. `None` when the message is gone or no longer the last of its
    /// subject: the marker would take newer messages with it.
    fn decide_marker<S: MessageSource>(&mut self, sequence: u64, now: i64, source: &S) -> Option<Marker> {
        let seconds = self.rules.marker_seconds?;
        let is_blocked = self.check_room_for(1).is_err();
        if is_blocked || !self.expiry.waiting.contains(&sequence) {
            return None;
        }
        let subject = source.inspect(sequence, |message| message.subject.to_vec()).ok()?;
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

    /// Some messages wait for a marker.
    pub fn wants_markers(&self) -> bool {
        !self.expiry.waiting.is_empty()
    }
}
