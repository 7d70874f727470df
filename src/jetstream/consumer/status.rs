//! The status messages a consumer sends (5.3): their lines and headers, to the byte.

use super::outputs::{Outputs, TextRef};
use crate::jetstream::api::duration;

/// What is left of a pull request when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    pub messages: i64,
    pub bytes: i64,
}

/// A status line with its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 100; `stalled` is the subject of a flow control request that was not answered, or `NONE`.
    IdleHeartbeat { last_consumer: u64, last_stream: u64, stalled: TextRef },
    /// 100; to be sent with the reply subject that the client answers.
    FlowControl { reply: TextRef },
    /// 400; the text behind `Bad Request - `.
    BadRequest(BadRequest),
    /// 404
    NoMessages,
    /// 408
    RequestTimeout(Remaining),
    /// 408
    InterestExpired(Remaining),
    /// 408
    RequestsPending,
    /// 409
    PushBased,
    /// 409
    BatchExceeded { max: i64 },
    /// 409
    ExpiresExceeded { max: i64 },
    /// 409
    BytesExceeded { max: i64 },
    /// 409
    WaitingExceeded,
    /// 409
    MessageTooLarge(Remaining),
    /// 409
    BatchCompleted(Remaining),
    /// 409
    ConsumerDeleted,
    /// 409
    LeadershipChange,
    /// 409
    ServerShutdown(Remaining),
    /// 412
    RequiredApiLevel,
    /// 423
    WrongPinId(Remaining),
    /// 423
    PinIdMismatch,
}

/// What is wrong with a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// The words of the JSON reader.
    Json(TextRef),
    HeartbeatTooLarge,
    NotOverflow,
    NotPinned,
    PriorityOutOfRange,
    GroupMissing,
    GroupInvalid,
}

impl BadRequest {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Json(_) => "",
            Self::HeartbeatTooLarge => "heartbeat value too large",
            Self::NotOverflow => "Not a Overflow Priority consumer",
            Self::NotPinned => "Not a Pinned Client Priority consumer",
            Self::PriorityOutOfRange => "Priority must be between 0 and 9",
            Self::GroupMissing => "Priority Group missing",
            Self::GroupInvalid => "Invalid Priority Group",
        }
    }
}

impl Status {
    /// The reply subject the message carries, if any.
    pub fn reply(&self) -> TextRef {
        match self {
            Self::FlowControl { reply } => *reply,
            _ => TextRef::NONE,
        }
    }

    /// Appends the header block; `texts` is the buffer that holds this status.
    pub fn write(&self, texts: &Outputs, out: &mut Vec<u8>) {
        out.extend_from_slice(b"NATS/1.0 ");
        out.extend_from_slice(self.line().as_bytes());
        match *self {
            Self::IdleHeartbeat { last_consumer, last_stream, stalled } => {
                header(out, "Nats-Last-Consumer", last_consumer.to_string().as_bytes());
                header(out, "Nats-Last-Stream", last_stream.to_string().as_bytes());
                if !stalled.is_none() {
                    header(out, "Nats-Consumer-Stalled", texts.text(stalled));
                }
            }
            Self::BadRequest(problem) => {
                out.extend_from_slice(problem.as_str().as_bytes());
                if let BadRequest::Json(text) = problem {
                    out.extend_from_slice(texts.text(text));
                }
            }
            Self::BatchExceeded { max } | Self::BytesExceeded { max } => {
                out.extend_from_slice(max.to_string().as_bytes());
            }
            Self::ExpiresExceeded { max } => out.extend_from_slice(duration::format(max).as_bytes()),
            Self::RequestTimeout(remaining)
            | Self::InterestExpired(remaining)
            | Self::MessageTooLarge(remaining)
            | Self::BatchCompleted(remaining)
            | Self::ServerShutdown(remaining)
            | Self::WrongPinId(remaining) => {
                header(out, "Nats-Pending-Messages", remaining.messages.to_string().as_bytes());
                header(out, "Nats-Pending-Bytes", remaining.bytes.to_string().as_bytes());
            }
            _ => {}
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn line(&self) -> &'static str {
        match self {
            Self::IdleHeartbeat { .. } => "100 Idle Heartbeat",
            Self::FlowControl { .. } => "100 FlowControl Request",
            Self::BadRequest(_) => "400 Bad Request - ",
            Self::NoMessages => "404 No Messages",
            Self::RequestTimeout(_) => "408 Request Timeout",
            Self::InterestExpired(_) => "408 Interest Expired",
            Self::RequestsPending => "408 Requests Pending",
            Self::PushBased => "409 Consumer is push based",
            Self::BatchExceeded { .. } => "409 Exceeded MaxRequestBatch of ",
            Self::ExpiresExceeded { .. } => "409 Exceeded MaxRequestExpires of ",
            Self::BytesExceeded { .. } => "409 Exceeded MaxRequestMaxBytes of ",
            Self::WaitingExceeded => "409 Exceeded MaxWaiting",
            Self::MessageTooLarge(_) => "409 Message Size Exceeds MaxBytes",
            Self::BatchCompleted(_) => "409 Batch Completed",
            Self::ConsumerDeleted => "409 Consumer Deleted",
            Self::LeadershipChange => "409 Leadership Change",
            Self::ServerShutdown(_) => "409 Server Shutdown",
            Self::RequiredApiLevel => "412 Required Api Level",
            Self::WrongPinId(_) => "423 Nats-Wrong-Pin-Id",
            Self::PinIdMismatch => "423 Nats-Pin-Id mismatch",
        }
    }
}

fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: Status, texts: &Outputs) -> String {
        let mut out = Vec::new();
        status.write(texts, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_status_has_its_exact_text() {
        let mut texts = Outputs::default();
        let flow = texts.hold_copy(b"$JS.FC.S.C.abcd");
        let json = texts.hold_copy(b"unexpected end of JSON input");
        let left = Remaining { messages: 3, bytes: 100 };
        let pending = "\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 100";
        let heartbeat = |stalled| Status::IdleHeartbeat { last_consumer: 5, last_stream: 9, stalled };
        let bad = |problem| Status::BadRequest(problem);
        let cases = [
            (heartbeat(TextRef::NONE), "100 Idle Heartbeat\r\nNats-Last-Consumer: 5\r\nNats-Last-Stream: 9".to_owned()),
            (
                heartbeat(flow),
                "100 Idle Heartbeat\r\nNats-Last-Consumer: 5\r\nNats-Last-Stream: 9\r\n\
                 Nats-Consumer-Stalled: $JS.FC.S.C.abcd"
                    .to_owned(),
            ),
            (Status::FlowControl { reply: flow }, "100 FlowControl Request".to_owned()),
            (bad(BadRequest::Json(json)), "400 Bad Request - unexpected end of JSON input".to_owned()),
            (bad(BadRequest::HeartbeatTooLarge), "400 Bad Request - heartbeat value too large".to_owned()),
            (bad(BadRequest::GroupMissing), "400 Bad Request - Priority Group missing".to_owned()),
            (bad(BadRequest::GroupInvalid), "400 Bad Request - Invalid Priority Group".to_owned()),
            (bad(BadRequest::PriorityOutOfRange), "400 Bad Request - Priority must be between 0 and 9".to_owned()),
            (bad(BadRequest::NotOverflow), "400 Bad Request - Not a Overflow Priority consumer".to_owned()),
            (bad(BadRequest::NotPinned), "400 Bad Request - Not a Pinned Client Priority consumer".to_owned()),
            (Status::NoMessages, "404 No Messages".to_owned()),
            (Status::RequestTimeout(left), format!("408 Request Timeout{pending}")),
            (Status::InterestExpired(left), format!("408 Interest Expired{pending}")),
            (Status::RequestsPending, "408 Requests Pending".to_owned()),
            (Status::PushBased, "409 Consumer is push based".to_owned()),
            (Status::BatchExceeded { max: 2 }, "409 Exceeded MaxRequestBatch of 2".to_owned()),
            (Status::ExpiresExceeded { max: 90_000_000_000 }, "409 Exceeded MaxRequestExpires of 1m30s".to_owned()),
            (Status::BytesExceeded { max: 200 }, "409 Exceeded MaxRequestMaxBytes of 200".to_owned()),
            (Status::WaitingExceeded, "409 Exceeded MaxWaiting".to_owned()),
            (Status::MessageTooLarge(left), format!("409 Message Size Exceeds MaxBytes{pending}")),
            (Status::BatchCompleted(left), format!("409 Batch Completed{pending}")),
            (Status::ConsumerDeleted, "409 Consumer Deleted".to_owned()),
            (Status::LeadershipChange, "409 Leadership Change".to_owned()),
            (Status::ServerShutdown(left), format!("409 Server Shutdown{pending}")),
            (Status::RequiredApiLevel, "412 Required Api Level".to_owned()),
            (Status::WrongPinId(left), format!("423 Nats-Wrong-Pin-Id{pending}")),
            (Status::PinIdMismatch, "423 Nats-Pin-Id mismatch".to_owned()),
        ];
        for (status, text) in cases {
            assert_eq!(written(status, &texts), format!("NATS/1.0 {text}\r\n\r\n"), "{status:?}");
        }
    }
}
