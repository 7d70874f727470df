//! HOT PATH: no allocation, no lock and no log per message.
//!
//! PUB and HPUB: permission, reserved subjects, delivery, and the answer when nobody is there.

use super::Session;
use crate::protocol::client::Publish;
use crate::protocol::{error, subject};
use crate::router::{
    Burst, Letter, MatchCache, Outgoing, Verdict, deliver, is_reserved_reply, no_responders, write_line,
};
use std::time::Instant;

impl Session {
    #[inline]
    pub(super) fn publish(&mut self, publish: &Publish<'_>, burst: &mut Burst, cache: &mut MatchCache, buffer: &[u8]) {
        let size = publish.headers.len() + publish.payload.len();
        self.messages += 1;
        self.bytes += size as u64;
        self.active = true;
        if self.pedantic && !subject::is_valid_literal(publish.subject) {
            self.say_error(burst, error::INVALID_PUBLISH_SUBJECT);
        }
        let at = cache.look_up(publish.subject, &self.account, &self.rights);
        if cache.entry(at).verdict != Verdict::Allowed && !self.may_answer(publish.subject, cache.entry(at).verdict) {
            return self.refuse_publish(publish.subject, burst);
        }
        if let Some(reply) = publish.reply
            && is_reserved_reply(reply)
        {
            return self.refuse_reply(reply, burst);
        }
        self.say_ok(burst);
        let payload = [publish.payload];
        let letter =
            Letter { subject: publish.subject, reply: publish.reply, headers: publish.headers, payload: &payload };
        let reached = match publish.tail {
            Some(tail) => {
                let tail = [tail];
                let message = Outgoing { letter, shown_as: None, tail: &tail, size, buffer };
                deliver(burst, cache, at, &self.account, &message)
            }
            None => {
                let mut line = std::mem::take(&mut burst.line);
                let header_len = (!publish.headers.is_empty()).then_some(publish.headers.len());
                write_line(&mut line, publish.reply, header_len, size);
                let tail = [line.as_slice(), publish.headers, publish.payload, b"\r\n"];
                let message = Outgoing { letter, shown_as: None, tail: &tail, size, buffer };
                let reached = deliver(burst, cache, at, &self.account, &message);
                burst.line = line;
                reached
            }
        };
        if let Some(reply) = publish.reply
            && self.no_responders
            && reached.nobody()
        {
            self.tell_no_responders(publish.subject, reply, burst);
        }
        if burst.is_full() {
            cache.settle();
            burst.flush();
        }
    }

    /// A user who may only answer uses up one of the answers it was asked for.
    #[cold]
    fn may_answer(&self, subject: &[u8], verdict: Verdict) -> bool {
        verdict == Verdict::OnlyAsReply
            && self
                .connection
                .outbound
                .replies
                .lock()
                .as_mut()
                .is_some_and(|replies| replies.consume(subject, Instant::now()))
    }

    /// Answers a request that nobody is there for (C-23).
    #[cold]
    fn tell_no_responders(&self, subject: &[u8], reply: &[u8], burst: &mut Burst) {
        let answer = no_responders(&self.account, self.connection.id(), subject, reply);
        if let Some((_, message)) = answer {
            self.say(burst, &message);
        }
    }
}
