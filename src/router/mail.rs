//! HOT PATH: no lock per message; buffers are kept from burst to burst.
//!
//! The messages of one burst for services inside the server. They are called at the end of the burst, in arrival
//! order, and never while it is filled.

use crate::account::{Account, ClientIdentity, InternalMessage, InternalSubscriber};
use std::sync::Arc;

/// What a mail keeps of its buffer for the next burst.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Copies of messages that one mail holds; a message beyond that is left out, as it would be for a full subscriber.
const ARENA_BYTES_MAX: usize = 1 << 30;
/// More messages in one burst are the work of somebody who does not wait for each.
const LONE_MESSAGES_MAX: usize = 2;

#[derive(Default)]
pub struct Mail {
    /// Copies of messages whose bytes don't live in the publisher's buffer until the end of the burst.
    arena: Vec<u8>,
    deferred: Vec<Deferred>,
    services: Vec<Arc<dyn InternalSubscriber>>,
}

/// A message for a service, by place.
struct Deferred {
    service: u32,
    subject: Span,
    reply: Option<Span>,
    headers: Span,
    payload: Span,
}

/// A piece of the publisher's buffer or of the arena.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
    in_arena: bool,
}

/// A message on its way to services, as slices of the publisher's buffer or not.
#[derive(Clone, Copy)]
pub struct Letter<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    pub headers: &'a [u8],
    /// In pieces, so that a publisher inside the server needs no copy of its own.
    pub payload: &'a [&'a [u8]],
}

impl Letter<'_> {
    fn len(&self) -> usize {
        let payload: usize = self.payload.iter().map(|part| part.len()).sum();
        self.subject.len() + self.reply.map_or(0, <[u8]>::len) + self.headers.len() + payload
    }
}

impl Mail {
    pub fn is_empty(&self) -> bool {
        self.deferred.is_empty()
    }

    /// Bytes of copied messages.
    #[inline]
    pub fn copied_bytes(&self) -> usize {
        self.arena.len()
    }

    /// What it takes to keep the mail.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.deferred.len() * size_of::<Deferred>()
    }

    /// Adds a message for a service. `buffer` is where its slices may point to.
    pub fn add(&mut self, service: &Arc<dyn InternalSubscriber>, letter: &Letter<'_>, buffer: &[u8]) {
        if self.arena.len() + letter.len() > ARENA_BYTES_MAX {
            tracing::warn!(bytes = self.arena.len(), "too many messages in one burst: one for a service is left out");
            return;
        }
        if !self.services.last().is_some_and(|last| Arc::ptr_eq(last, service)) {
            self.services.push(Arc::clone(service));
        }
        let subject = self.span(letter.subject, buffer);
        let reply = letter.reply.map(|reply| self.span(reply, buffer));
        let headers = self.span(letter.headers, buffer);
        let payload = match letter.payload {
            [] => Span { start: 0, len: 0, in_arena: true },
            [whole] => self.span(whole, buffer),
            parts => {
                let start = self.arena.len() as u32;
                parts.iter().for_each(|part| self.arena.extend_from_slice(part));
                Span { start, len: self.arena.len() as u32 - start, in_arena: true }
            }
        };
        self.deferred.push(Deferred { service: self.services.len() as u32 - 1, subject, reply, headers, payload });
    }

    /// Where the slice lies in the buffer; a copy in the arena when it doesn't.
    fn span(&mut self, slice: &[u8], buffer: &[u8]) -> Span {
        let len = slice.len() as u32;
        let offset = (slice.as_ptr() as usize).wrapping_sub(buffer.as_ptr() as usize);
        if offset.checked_add(slice.len()).is_some_and(|end| end <= buffer.len()) {
            return Span { start: offset as u32, len, in_arena: false };
        }
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(slice);
        Span { start, len, in_arena: true }
    }

    /// Calls the services. `buffer` is the one that the messages were added with.
    pub fn deliver(&self, account: &Arc<Account>, client: Option<&Arc<ClientIdentity>>, buffer: &[u8]) {
        let slice = |span: &Span| {
            let source = if span.in_arena { self.arena.as_slice() } else { buffer };
            &source[span.start as usize..][..span.len as usize]
        };
        let messages: Vec<InternalMessage<'_>> = self
            .deferred
            .iter()
            .map(|deferred| InternalMessage {
                subject: slice(&deferred.subject),
                reply: deferred.reply.as_ref().map(slice),
                headers: slice(&deferred.headers),
                payload: slice(&deferred.payload),
                client,
            })
            .collect();
        let mut start = 0;
        for run in self.deferred.chunk_by(|left, right| left.service == right.service) {
            let end = start + run.len();
            self.services[run[0].service as usize].deliver(account, &messages[start..end]);
            start = end;
        }
        let lone = client.is_some() && messages.len() <= LONE_MESSAGES_MAX;
        for service in &self.services {
            service.end_turn(lone);
        }
    }

    /// Makes it ready for the next burst.
    pub fn clear(&mut self) {
        self.deferred.clear();
        self.services.clear();
        if self.arena.capacity() > KEPT_BYTES_MAX {
            self.arena = Vec::new();
        } else {
            self.arena.clear();
        }
    }
}
