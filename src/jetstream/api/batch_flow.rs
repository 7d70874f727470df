//! HOT PATH: no lock, no log, no allocation but for errors.
//! What the publisher of a fast batch is told before its end (P-12). The end is a [`PubAck`](super::PubAck).

use serde::Serialize;

use super::error::ApiError;
use super::json;
use crate::protocol::decimal;

/// Messages are stored up to `sequence`; the next word comes after `messages` more.
pub fn write_ack(out: &mut Vec<u8>, sequence: u64, messages: u16) {
    out.extend_from_slice(b"{\"type\":\"ack\",\"seq\":");
    decimal::append(out, sequence);
    out.extend_from_slice(b",\"msgs\":");
    decimal::append(out, u64::from(messages));
    out.push(b'}');
}

/// Message `received` came where `expected` should have.
pub fn write_gap(out: &mut Vec<u8>, expected: u64, received: u64) {
    out.extend_from_slice(b"{\"type\":\"gap\",\"last_seq\":");
    decimal::append(out, expected);
    out.extend_from_slice(b",\"seq\":");
    decimal::append(out, received);
    out.push(b'}');
}

/// Message `sequence` is not stored.
pub fn write_error(out: &mut Vec<u8>, sequence: u64, error: &ApiError) {
    #[derive(Serialize)]
    struct FlowError<'a> {
        r#type: &'static str,
        seq: u64,
        error: &'a ApiError,
    }
    out.extend_from_slice(&json::write(&FlowError { r#type: "err", seq: sequence, error }));
}

#[cfg(test)]
mod tests {
    use super::super::{error_codes, written as text};
    use super::*;

    #[test]
    fn bytes_are_those_of_the_genuine_server() {
        assert_eq!(text(|out| write_ack(out, 20, 100)), r#"{"type":"ack","seq":20,"msgs":100}"#);
        assert_eq!(text(|out| write_gap(out, 2, 3)), r#"{"type":"gap","last_seq":2,"seq":3}"#);
        let error = error_codes::STREAM_WRONG_LAST_SEQUENCE.with(2);
        assert_eq!(
            text(|out| write_error(out, 3, &error)),
            r#"{"type":"err","seq":3,"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 2"}}"#
        );
    }
}
