//! What a trace shows of one client's operations: one line each, and one per message, as nats-server writes them.

use super::Session;
use crate::connection::settings::Trace;
use crate::protocol::client::{Op, Publish};
use crate::protocol::connect;

impl Session {
    /// A line to the client that is no message.
    pub(super) fn trace_sent(&self, line: std::fmt::Arguments<'_>) {
        if tracing::event_enabled!(tracing::Level::TRACE) {
            tracing::trace!("{} - ->> [{line}]", self.connection.label());
        }
    }

    #[cold]
    pub(super) fn trace(&self, op: &Op<'_>, bytes: &[u8]) {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        let label = self.connection.label();
        match op {
            Op::Connect(json) => tracing::trace!("{label} - <<- [CONNECT {}]", connect::redacted(json)),
            Op::Publish(publish) => {
                tracing::trace!("{label} - <<- [{line}]");
                if let Some(shown) = self.hub.settings.load().trace.shown(publish) {
                    tracing::trace!("{label} - <<- MSG_PAYLOAD: [{shown}]");
                }
            }
            _ => tracing::trace!("{label} - <<- [{line}]"),
        }
    }
}

impl Trace {
    /// The message in quotes; none when there is nothing to show.
    fn shown(&self, publish: &Publish<'_>) -> Option<String> {
        let message = match self.headers_only {
            true => publish.headers.strip_suffix(b"\r\n\r\n").unwrap_or(publish.headers).to_vec(),
            false => [publish.headers, publish.payload].concat(),
        };
        if message.is_empty() {
            return None;
        }
        let shown = &message[..self.message_bytes_max.unwrap_or(usize::MAX).min(message.len())];
        let mut text = format!("{:?}", String::from_utf8_lossy(shown));
        if shown.len() < message.len() {
            text.insert_str(text.len() - 1, "...");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shown_as_far_as_configured() {
        let message =
            Publish { subject: b"a", reply: None, headers: b"NATS/1.0\r\nA: b\r\n\r\n", payload: b"xyz", tail: None };
        let bare = Publish { headers: b"", ..message };
        let all = Trace::default();
        assert_eq!(all.shown(&message).as_deref(), Some(r#""NATS/1.0\r\nA: b\r\n\r\nxyz""#));
        assert_eq!(all.shown(&Publish { payload: b"", ..bare }), None);
        let short = Trace { message_bytes_max: Some(2), ..all };
        assert_eq!(short.shown(&bare).as_deref(), Some(r#""xy...""#));
        let headers = Trace { headers_only: true, ..all };
        assert_eq!(headers.shown(&message).as_deref(), Some(r#""NATS/1.0\r\nA: b""#));
        assert_eq!(headers.shown(&bare), None);
    }
}
