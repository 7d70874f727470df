//! HOT PATH: no lock, no log, one allocation per stream.
//! The acknowledgement of a publish (P-19), written by hand: clients match its bytes.

use super::error::ApiError;
use super::json;
use crate::protocol::decimal;

/// Everything of an acknowledgement that does not change from message to message.
#[derive(Clone, Debug)]
pub struct PubAck {
    /// `{"stream":"S","seq":`, with `domain` in between when there is one.
    prefix: Vec<u8>,
    /// `,"stream":"S","seq":0}`, which ends an error.
    error_suffix: Vec<u8>,
}

impl PubAck {
    pub fn new(stream: &str, domain: Option<&str>) -> Self {
        let mut prefix = format!("{{\"stream\":{}", json::quote(stream)).into_bytes();
        if let Some(domain) = domain.filter(|domain| !domain.is_empty()) {
            prefix.extend_from_slice(b",\"domain\":");
            prefix.extend_from_slice(json::quote(domain).as_bytes());
        }
        prefix.extend_from_slice(b",\"seq\":");
        let mut error_suffix = b",\"stream\":".to_vec();
        json::append_string(&mut error_suffix, stream);
        error_suffix.extend_from_slice(b",\"seq\":0}");
        Self { prefix, error_suffix }
    }

    /// Stored as `sequence`.
    pub fn stored(&self, out: &mut Vec<u8>, sequence: u64) {
        self.begin(out, sequence);
        out.push(b'}');
    }

    /// The message was stored before, as `sequence`. The space is part of the protocol.
    pub fn duplicate(&self, out: &mut Vec<u8>, sequence: u64) {
        self.begin(out, sequence);
        out.extend_from_slice(b",\"duplicate\": true}");
    }

    /// A counter moved to `value`.
    pub fn counter(&self, out: &mut Vec<u8>, sequence: u64, value: &str) {
        self.begin(out, sequence);
        out.extend_from_slice(b",\"val\":");
        out.extend_from_slice(json::quote(value).as_bytes());
        out.push(b'}');
    }

    /// A batch of `count` messages was stored up to `sequence`.
    pub fn batch(&self, out: &mut Vec<u8>, sequence: u64, batch: &str, count: u64) {
        self.begin(out, sequence);
        end_batch(out, batch, count);
    }

    /// A batch of `count` messages, of which the stream had the only one already, as `sequence`.
    pub fn duplicate_batch(&self, out: &mut Vec<u8>, sequence: u64, batch: &str, count: u64) {
        self.begin(out, sequence);
        out.extend_from_slice(b",\"duplicate\": true");
        end_batch(out, batch, count);
    }

    /// The message was refused.
    pub fn refused(&self, out: &mut Vec<u8>, error: &ApiError) {
        out.extend_from_slice(b"{\"error\":");
        out.extend_from_slice(&json::write(error));
        out.extend_from_slice(&self.error_suffix);
    }

    fn begin(&self, out: &mut Vec<u8>, sequence: u64) {
        out.extend_from_slice(&self.prefix);
        decimal::append(out, sequence);
    }
}

fn end_batch(out: &mut Vec<u8>, batch: &str, count: u64) {
    out.extend_from_slice(b",\"batch\":");
    json::append_string(out, batch);
    out.extend_from_slice(b",\"count\":");
    decimal::append(out, count);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::{error_codes, written as text};
    use super::*;

    #[test]
    fn bytes_are_those_of_the_genuine_server() {
        let ack = PubAck::new("S", None);
        assert_eq!(text(|out| ack.stored(out, 1)), r#"{"stream":"S","seq":1}"#);
        assert_eq!(text(|out| ack.stored(out, u64::MAX)), r#"{"stream":"S","seq":18446744073709551615}"#);
        assert_eq!(text(|out| ack.stored(out, 0)), r#"{"stream":"S","seq":0}"#);
        assert_eq!(text(|out| ack.duplicate(out, 12)), r#"{"stream":"S","seq":12,"duplicate": true}"#);
        assert_eq!(text(|out| ack.counter(out, 3, "-2")), r#"{"stream":"S","seq":3,"val":"-2"}"#);
        assert_eq!(text(|out| ack.batch(out, 9, "id", 4)), r#"{"stream":"S","seq":9,"batch":"id","count":4}"#);
        assert_eq!(
            text(|out| ack.duplicate_batch(out, 1, "id", 1)),
            r#"{"stream":"S","seq":1,"duplicate": true,"batch":"id","count":1}"#
        );
        assert_eq!(
            text(|out| ack.refused(out, &error_codes::STREAM_WRONG_LAST_SEQUENCE.with(5))),
            r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"},"stream":"S","seq":0}"#
        );
        let ack = PubAck::new("S", Some("hub"));
        assert_eq!(text(|out| ack.stored(out, 10)), r#"{"stream":"S","domain":"hub","seq":10}"#);
        assert_eq!(PubAck::new("S", Some("")).prefix, PubAck::new("S", None).prefix);
    }
}
