//! What a client says in an ack: the first bytes of the body decide.

use crate::jetstream::api::duration;
use crate::jetstream::api::json::{self, Decoder, Fields, Json};

/// The meaning of an ack's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckBody<'a> {
    Ack,
    /// An ack and a pull request, whose body this is.
    AckAndNext(&'a [u8]),
    /// Deliver again, after this many nanoseconds; 0 for at once.
    Nak {
        delay: i64,
    },
    InProgress,
    /// Never deliver again; the reason may be empty.
    Term {
        reason: &'a [u8],
    },
    /// Nothing this server knows.
    Unknown,
}

impl<'a> AckBody<'a> {
    pub fn parse(body: &'a [u8]) -> Self {
        if body.is_empty() || body == b"+ACK" || body == b"+OK" {
            return Self::Ack;
        }
        if let Some(request) = body.strip_prefix(b"+NXT") {
            return Self::AckAndNext(request);
        }
        if let Some(delay) = body.strip_prefix(b"-NAK") {
            return Self::Nak { delay: nak_delay(delay.trim_ascii()) };
        }
        if body == b"+WPI" {
            return Self::InProgress;
        }
        match body.strip_prefix(b"+TERM") {
            Some(reason) => Self::Term { reason: reason.trim_ascii() },
            None => Self::Unknown,
        }
    }
}

#[derive(Default)]
struct NakOptions {
    delay: i64,
}

impl Fields for NakOptions {
    const NAME: &'static str = "ConsumerNakOptions";

    fn field(&mut self, name: &str, json: &Json<'_>, decoder: &mut Decoder) -> bool {
        name == "delay" && decoder.duration(json, &mut self.delay)
    }
}

/// A delay that cannot be read counts as none.
fn nak_delay(text: &[u8]) -> i64 {
    let delay = match text.first() {
        None => 0,
        Some(b'{') => json::read::<NakOptions>(text, false).map_or(0, |options| options.delay),
        Some(_) => std::str::from_utf8(text).ok().and_then(duration::parse).unwrap_or(0),
    };
    delay.max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_recognised() {
        for body in ["", "+ACK", "+OK"] {
            assert_eq!(AckBody::parse(body.as_bytes()), AckBody::Ack, "{body:?}");
        }
        assert_eq!(AckBody::parse(b"+NXT 5"), AckBody::AckAndNext(b" 5"));
        assert_eq!(AckBody::parse(b"+WPI"), AckBody::InProgress);
        assert_eq!(AckBody::parse(b"+TERM"), AckBody::Term { reason: b"" });
        assert_eq!(AckBody::parse(b"+TERM bad input "), AckBody::Term { reason: b"bad input" });
        for body in ["+WPI ", "ACK", "x"] {
            assert_eq!(AckBody::parse(body.as_bytes()), AckBody::Unknown, "{body:?}");
        }
    }

    #[test]
    fn a_nak_may_carry_a_delay_in_json_or_as_a_duration() {
        for (body, delay) in [
            ("-NAK", 0),
            ("-NAK {\"delay\": 5000}", 5000),
            ("-NAK {\"delay\": \"5s\"}", 0),
            ("-NAK {", 0),
            ("-NAK {}", 0),
            ("-NAK 10s", 10_000_000_000),
            ("-NAK 250ms", 250_000_000),
            ("-NAK soon", 0),
            ("-NAK -3s", 0),
        ] {
            assert_eq!(AckBody::parse(body.as_bytes()), AckBody::Nak { delay }, "{body}");
        }
    }
}
