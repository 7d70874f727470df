//! HOT PATH: publishing from inside the server, from any thread: JetStream's deliveries and answers, `$SYS`.

use super::burst::Burst;
use super::cache::{MatchCache, Rights};
use super::deliver::{Outgoing, Reached, deliver, finish_line, write_line};
use super::mail::Letter;
use crate::account::{Account, Outbound};
use std::sync::Arc;

/// One burst of messages into one account. What it touched is written when it is flushed or dropped; services are
/// called then and never before, so that a burst may be filled under a lock and flushed without it.
pub struct Publisher {
    account: Arc<Account>,
    burst: Option<Box<Burst>>,
    cache: Option<Box<MatchCache>>,
}

const HAS_BURST: &str = "a publisher has its burst until it is dropped";

/// Rights of the server itself.
const RIGHTS: Rights = Rights { muted: None, permissions: None, is_internal: true, in_system_account: true };

impl Publisher {
    pub fn new(account: &Arc<Account>) -> Publisher {
        Publisher { account: Arc::clone(account), burst: Some(Burst::take()), cache: None }
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Publishes to whoever is interested; gives the number of clients that get it.
    pub fn publish(&mut self, subject: &[u8], reply: Option<&[u8]>, headers: &[u8], payload: &[&[u8]]) -> usize {
        let mut cache = self.cache.take().unwrap_or_default();
        let clients = self.publish_cached(&mut cache, subject, reply, headers, payload);
        self.cache = Some(cache);
        clients
    }

    /// As [`Publisher::publish`], with a cache that the caller keeps from burst to burst.
    pub fn publish_cached(
        &mut self,
        cache: &mut MatchCache,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: &[u8],
        payload: &[&[u8]],
    ) -> usize {
        let mut line = std::mem::take(&mut self.burst().line);
        let size = headers.len() + payload.iter().map(|part| part.len()).sum::<usize>();
        write_line(&mut line, reply, (!headers.is_empty()).then_some(headers.len()), size);
        let letter = Letter { subject, reply, headers, payload };
        let reached = match payload {
            // Nearly always one piece: no list of parts has to be built.
            [whole] => self.hand_out(cache, subject, letter, &[&line, headers, whole, b"\r\n"], size),
            parts => {
                let mut tail = vec![line.as_slice(), headers];
                tail.extend_from_slice(parts);
                tail.push(b"\r\n");
                self.hand_out(cache, subject, letter, &tail, size)
            }
        };
        self.burst().line = line;
        cache.settle();
        reached.clients
    }

    /// Matches one subject and delivers under another, as a push consumer does with the stream's subjects. `line` begins
    /// with the reply subject, or is empty: what stands behind it on the wire is appended, and it is copied no further.
    /// The caller settles the cache after a run of these. Gives the number of clients and services that get it.
    pub fn publish_with_line(
        &mut self,
        cache: &mut MatchCache,
        subject: &[u8],
        shown: &[u8],
        line: &mut Vec<u8>,
        headers: &[u8],
        payload: &[u8],
    ) -> usize {
        let reply_len = line.len();
        let size = headers.len() + payload.len();
        finish_line(line, (!headers.is_empty()).then_some(headers.len()), size);
        let reply = Some(&line[..reply_len]).filter(|reply| !reply.is_empty());
        let letter = Letter { subject: shown, reply, headers, payload: &[payload] };
        let reached = self.hand_out(cache, subject, letter, &[line, headers, payload, b"\r\n"], size);
        reached.clients + reached.services
    }

    /// Stages a message for those who match `subject`.
    #[inline]
    fn hand_out(
        &mut self,
        cache: &mut MatchCache,
        subject: &[u8],
        letter: Letter<'_>,
        tail: &[&[u8]],
        size: usize,
    ) -> Reached {
        let at = cache.look_up(subject, &self.account, &RIGHTS);
        let shown_as = (letter.subject != subject).then_some(letter.subject);
        let burst = self.burst.as_mut().expect(HAS_BURST);
        let reached = deliver(burst, cache, at, &self.account, &Outgoing { letter, shown_as, tail, size, buffer: &[] });
        if burst.is_full() {
            // Only sockets: whoever publishes may hold a lock that the services take too.
            burst.flush();
        }
        reached
    }

    fn burst(&mut self) -> &mut Burst {
        self.burst.as_mut().expect(HAS_BURST)
    }

    /// Writes each touched connection once. Services wait for [`flush`](Self::flush), so this may be called under a lock.
    pub fn send(&mut self) {
        if let Some(burst) = self.burst.as_mut() {
            burst.flush();
        }
    }

    /// Writes each touched connection once, and then calls the services that were published to.
    pub fn flush(&mut self) {
        let burst = self.burst.as_mut().expect(HAS_BURST);
        burst.flush();
        burst.run_services(&self.account, None, &[]);
        self.account.counters.add(&burst.take_traffic());
    }

    /// The most loaded connection above 1 MiB pending that the last flush touched.
    pub fn pressure(&self) -> Option<Arc<Outbound>> {
        self.burst.as_ref().and_then(|burst| burst.loaded())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.flush();
        if let Some(burst) = self.burst.take() {
            burst.give_back();
        }
    }
}
