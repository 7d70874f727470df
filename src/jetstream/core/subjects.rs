//! Under which subject a message is stored, and under which it is published again once it is (T-22, T-52).

use crate::jetstream::api::{StreamConfig, Timestamp};
use crate::protocol::headers;
use crate::protocol::transform::Transform;

/// The transforms of one configuration; both absent for most streams.
#[derive(Default)]
pub(super) struct SubjectRules {
    transform: Option<Transform>,
    republish: Option<(Transform, bool)>,
}

/// A message that was stored.
pub(super) struct Stored<'a> {
    pub stream: &'a str,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload_len: usize,
    pub sequence: u64,
    pub time: i64,
    /// The last message of the subject before this one; 0 for none.
    pub last: u64,
}

impl SubjectRules {
    pub fn of(config: &StreamConfig) -> Self {
        // Checked when the configuration was accepted.
        let transform = config.subject_transform.as_ref().and_then(|rule| Transform::new(&rule.src, &rule.dest).ok());
        let republish = config
            .republish
            .as_ref()
            .and_then(|rule| Some((Transform::new(&rule.src, &rule.dest).ok()?, rule.headers_only)));
        Self { transform, republish }
    }

    pub fn transforms(&self) -> bool {
        self.transform.is_some()
    }

    /// What a subject is stored as.
    pub fn stored_as(&self, subject: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.transform {
            Some(transform) if transform.apply(subject, &mut random, &mut out) => out,
            _ => subject.to_vec(),
        }
    }

    /// Where a stored message is published again.
    pub fn republished_as(&self, subject: &[u8]) -> Option<Vec<u8>> {
        let (transform, _) = self.republish.as_ref()?;
        let mut out = Vec::new();
        transform.apply(subject, &mut random, &mut out).then_some(out)
    }

    pub fn headers_only(&self) -> bool {
        self.republish.as_ref().is_some_and(|(_, headers_only)| *headers_only)
    }

    /// The message's own headers and then its place in the stream.
    pub fn republished_headers(&self, stored: &Stored<'_>) -> Vec<u8> {
        let mut block = stored.headers.to_vec();
        let mut time = String::new();
        Timestamp(stored.time).write(&mut time);
        headers::append(&mut block, "Nats-Stream", stored.stream.as_bytes());
        headers::append(&mut block, "Nats-Subject", stored.subject);
        headers::append(&mut block, "Nats-Sequence", stored.sequence.to_string().as_bytes());
        headers::append(&mut block, "Nats-Time-Stamp", time.as_bytes());
        headers::append(&mut block, "Nats-Last-Sequence", stored.last.to_string().as_bytes());
        if self.headers_only() {
            headers::append(&mut block, "Nats-Msg-Size", stored.payload_len.to_string().as_bytes());
        }
        block
    }
}

/// Only the leader transforms, so replicas need not agree on the number.
fn random(below: u32) -> u32 {
    use rand::Rng;
    rand::rng().random_range(0..below.max(1))
}
