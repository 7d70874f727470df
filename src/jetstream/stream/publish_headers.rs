//! The headers by which a publisher asks something of its stream (section 4.3).

use super::super::api::{duration, time};
use crate::protocol::headers;

/// What a header block asks for. An empty value counts as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishHeaders<'a> {
    pub message_id: Option<&'a [u8]>,
    pub expected_stream: Option<&'a [u8]>,
    pub expected_last_sequence: Option<u64>,
    pub expected_last_subject_sequence: Option<u64>,
    pub expected_last_subject_sequence_subject: Option<&'a [u8]>,
    pub expected_last_message_id: Option<&'a [u8]>,
    pub rollup: Option<&'a [u8]>,
    pub ttl: Option<&'a [u8]>,
    pub increment: Option<&'a [u8]>,
    pub batch_id: Option<&'a [u8]>,
    pub batch_sequence: Option<u64>,
    /// Here an empty value is a value, one that means nothing.
    pub batch_commit: Option<&'a [u8]>,
    pub required_level: Option<&'a [u8]>,
    pub schedule: Option<&'a [u8]>,
    pub scheduler: Option<&'a [u8]>,
    pub schedule_next: Option<&'a [u8]>,
    pub stream_source: Option<&'a [u8]>,
    /// Set when the block has the header that a request through an import carries; it is not stored.
    pub has_request_info: bool,
}

pub const ROLLUP: &str = "Nats-Rollup";
pub const TTL: &str = "Nats-TTL";
pub const MARKER_REASON: &str = "Nats-Marker-Reason";
pub const REQUEST_INFO: &str = "Nats-Request-Info";
pub const BATCH_COMMIT: &str = "Nats-Batch-Commit";
pub const REQUIRED_LEVEL: &str = "Nats-Required-Api-Level";
pub const EXPECTED_LAST_MESSAGE_ID: &str = "Nats-Expected-Last-Msg-Id";
const KV_OPERATION: &str = "KV-Operation";

impl<'a> PublishHeaders<'a> {
    /// Reads a block in one pass. Of equal headers the first counts.
    pub fn parse(block: &'a [u8]) -> Self {
        let mut found = Self::default();
        if memchr::memmem::find(block, b"Nats-").is_none() {
            return found;
        }
        for (key, value) in headers::iter(block) {
            let Some(name) = key.strip_prefix(b"Nats-") else { continue };
            let text = if value.is_empty() { None } else { Some(value) };
            let set = |slot: &mut Option<&'a [u8]>| *slot = slot.or(text);
            let set_number = |slot: &mut Option<u64>| *slot = slot.or(text.map(parse_sequence));
            match name {
                b"Msg-Id" => set(&mut found.message_id),
                b"Expected-Stream" => set(&mut found.expected_stream),
                b"Expected-Last-Sequence" => set_number(&mut found.expected_last_sequence),
                b"Expected-Last-Subject-Sequence" => set_number(&mut found.expected_last_subject_sequence),
                b"Expected-Last-Subject-Sequence-Subject" => set(&mut found.expected_last_subject_sequence_subject),
                b"Expected-Last-Msg-Id" => set(&mut found.expected_last_message_id),
                b"Rollup" => set(&mut found.rollup),
                b"TTL" => set(&mut found.ttl),
                b"Incr" => set(&mut found.increment),
                b"Batch-Id" => set(&mut found.batch_id),
                // What is not a number is no sequence at all here.
                b"Batch-Sequence" => {
                    let number = text.map(parse_sequence).filter(|number| *number != u64::MAX);
                    found.batch_sequence = found.batch_sequence.or(number);
                }
                b"Batch-Commit" => found.batch_commit = found.batch_commit.or(Some(value)),
                b"Required-Api-Level" => set(&mut found.required_level),
                b"Schedule" => set(&mut found.schedule),
                b"Scheduler" => set(&mut found.scheduler),
                b"Schedule-Next" => set(&mut found.schedule_next),
                b"Stream-Source" => set(&mut found.stream_source),
                b"Request-Info" => found.has_request_info = true,
                _ => {}
            }
        }
        found
    }
}

/// What is not a sequence equals none, so that the expectation fails.
fn parse_sequence(text: &[u8]) -> u64 {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// Which older messages a message replaces (P-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollup {
    /// Those of its subject.
    Subject,
    /// All of the stream.
    All,
}

impl Rollup {
    /// `None` for a value that means nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"sub") {
            Some(Self::Subject)
        } else if value.eq_ignore_ascii_case(b"all") {
            Some(Self::All)
        } else {
            None
        }
    }
}

/// How long a message lives (P-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Whole seconds.
    Seconds(u64),
    /// Longer than the stream's `max_age` too.
    Never,
}

impl Ttl {
    /// `None` for a value that means nothing. A fraction of a second is cut off.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"never") {
            return Some(Self::Never);
        }
        let text = std::str::from_utf8(value).ok()?;
        if let Some(duration) = duration::parse(text) {
            return (duration >= time::SECOND).then_some(Self::Seconds((duration / time::SECOND) as u64));
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = text.parse::<i64>().ok().filter(|_| is_number)?;
        Some(Self::Seconds(seconds as u64))
    }
}

/// True for a message that tells of the end of its subject: it leaves no marker of its own behind.
pub fn is_delete_marker(block: &[u8]) -> bool {
    let has_reason = headers::get(block, MARKER_REASON).is_some_and(|reason| !reason.is_empty());
    has_reason || headers::get(block, KV_OPERATION) == Some(b"PURGE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_in_one_pass() {
        let block =
            b"NATS/1.0\r\nNats-Msg-Id: a\r\nNats-Msg-Id: b\r\nNats-Expected-Last-Sequence: 7\r\nNats-Rollup:\r\n\r\n";
        let found = PublishHeaders::parse(block);
        assert_eq!(found.message_id, Some(&b"a"[..]));
        assert_eq!(found.expected_last_sequence, Some(7));
        assert_eq!(found.rollup, None);
        assert_eq!(PublishHeaders::parse(b"NATS/1.0\r\nfoo: bar\r\n\r\n"), PublishHeaders::default());
        let block = b"NATS/1.0\r\nNats-Expected-Last-Sequence: abc\r\n\r\n";
        assert_eq!(PublishHeaders::parse(block).expected_last_sequence, Some(u64::MAX));
    }

    #[test]
    fn times_to_live_are_seconds_durations_or_never() {
        for (text, expected) in [
            ("5", Some(Ttl::Seconds(5))),
            ("1h", Some(Ttl::Seconds(3600))),
            ("1500ms", Some(Ttl::Seconds(1))),
            ("Never", Some(Ttl::Never)),
            ("0", None),
            ("999ms", None),
            ("-5", None),
            ("-5s", None),
            ("abc", None),
            ("1.5", None),
        ] {
            assert_eq!(Ttl::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn markers_are_recognised() {
        assert!(is_delete_marker(b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n"));
        assert!(is_delete_marker(b"NATS/1.0\r\nKV-Operation: PURGE\r\n\r\n"));
        assert!(!is_delete_marker(b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"));
        assert!(!is_delete_marker(b""));
    }
}
