//! HOT PATH: no allocation, no lock, no log for an ordinary delivery.
//!
//! One message to everything a match found: plain subscribers, one member of each queue group, services.

use super::burst::Burst;
use super::cache::{MatchCache, Target};
use super::mail::Letter;
use crate::account::{Account, Counted};
use crate::protocol::decimal;
use std::time::Instant;

/// A message on its way out.
pub struct Outgoing<'a> {
    pub letter: Letter<'a>,
    /// The subject that deliveries show, when it isn't the one that was matched.
    pub shown_as: Option<&'a [u8]>,
    /// `[reply] [header length] size CRLF headers payload CRLF`, in pieces.
    pub tail: &'a [&'a [u8]],
    /// Headers and payload.
    pub size: usize,
    /// Where the letter's slices may point to.
    pub buffer: &'a [u8],
}

/// Who got a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub clients: usize,
    pub services: usize,
}

impl Reached {
    pub fn nobody(self) -> bool {
        self.clients + self.services == 0
    }
}

/// Stages the message for all targets of the cache's entry `at`. What is staged for sockets is written whenever it is
/// much: one message to many is more than a burst may hold.
#[inline]
pub fn deliver(
    burst: &mut Burst,
    cache: &mut MatchCache,
    at: usize,
    account: &Account,
    message: &Outgoing<'_>,
) -> Reached {
    let entry = cache.entry(at);
    let head = &entry.head;
    let mut clients = 0;
    for target in &mut entry.plain {
        clients += usize::from(hand_over(burst, head, target, account, message));
        burst.flush_if_full();
    }
    for group in &mut entry.groups {
        clients += usize::from(hand_to_group(burst, head, group, account, message));
        burst.flush_if_full();
    }
    for service in &entry.services {
        burst.defer(service, &message.letter, message.buffer);
    }
    let services = entry.services.len();
    if clients > 0 {
        cache.count(at);
    }
    Reached { clients, services }
}

#[inline]
fn hand_over(burst: &mut Burst, head: &[u8], target: &mut Target, account: &Account, message: &Outgoing<'_>) -> bool {
    if target.epoch != burst.epoch() {
        // Often enough: it is a flush, after which the epoch is another, that ends who is too far behind.
        if target.outbound.is_closed() {
            return false;
        }
        target.slot = burst.slot(&target.outbound);
        target.epoch = burst.epoch();
    }
    let with_headers = !message.letter.headers.is_empty();
    if target.limited || target.tracks_replies || with_headers && !target.takes_headers {
        return hand_over_carefully(burst, head, target, account, message);
    }
    stage(burst, head, target, message, with_headers);
    true
}

#[inline]
fn stage(burst: &mut Burst, head: &[u8], target: &Target, message: &Outgoing<'_>, with_headers: bool) {
    match message.shown_as {
        None => {
            let head = if with_headers { head } else { &head[1..] };
            burst.stage(target.slot, &[head], &target.sid, message.tail, message.size);
        }
        Some(shown) => {
            let verb: &[u8] = if with_headers { b"HMSG " } else { b"MSG " };
            burst.stage(target.slot, &[verb, shown], &target.sid, message.tail, message.size);
        }
    }
}

#[cold]
fn hand_over_carefully(
    burst: &mut Burst,
    head: &[u8],
    target: &mut Target,
    account: &Account,
    message: &Outgoing<'_>,
) -> bool {
    let counted = if target.limited { target.subscription.count_limited() } else { Counted::Deliver };
    if counted == Counted::Refuse {
        account.end_subscription(&target.subscription);
        return false;
    }
    let letter = &message.letter;
    if let (true, Some(reply)) = (target.tracks_replies, letter.reply)
        && let Some(replies) = target.outbound.replies.lock().as_mut()
    {
        replies.opened(reply, Instant::now());
    }
    let with_headers = !letter.headers.is_empty();
    if with_headers && !target.takes_headers {
        stage_stripped(burst, target, message);
    } else {
        stage(burst, head, target, message, with_headers);
    }
    if counted == Counted::DeliverLast {
        account.end_subscription(&target.subscription);
    }
    true
}

/// A MSG without the headers, for a client that never learned about them.
fn stage_stripped(burst: &mut Burst, target: &Target, message: &Outgoing<'_>) {
    let size = message.size - message.letter.headers.len();
    let mut line = std::mem::take(&mut burst.line);
    write_line(&mut line, message.letter.reply, None, size);
    let mut parts: Vec<&[u8]> = vec![&line];
    parts.extend_from_slice(message.letter.payload);
    parts.push(b"\r\n");
    let shown = message.shown_as.unwrap_or(message.letter.subject);
    burst.stage(target.slot, &[b"MSG ", shown], &target.sid, &parts, size);
    burst.line = line;
}

/// Starts at a random member; of two, one that keeps up is preferred to one that doesn't.
fn hand_to_group(
    burst: &mut Burst,
    head: &[u8],
    group: &mut [Target],
    account: &Account,
    message: &Outgoing<'_>,
) -> bool {
    let members = group.len();
    if members == 0 {
        return false;
    }
    let mut first = burst.random_below(members);
    let waiting = group[first].outbound.pending_bytes();
    if waiting > 0 {
        let other = burst.random_below(members);
        if group[other].outbound.pending_bytes() < waiting {
            first = other;
        }
    }
    for step in 0..members {
        let target = &mut group[(first + step) % members];
        if target.outbound.is_closed() || target.subscription.is_closed() {
            continue;
        }
        if hand_over(burst, head, target, account, message) {
            if !target.limited {
                target.count();
            }
            return true;
        }
    }
    false
}

/// `[reply] [header length] size CRLF`, as it follows `MSG subject sid `.
pub fn write_line(line: &mut Vec<u8>, reply: Option<&[u8]>, header_len: Option<usize>, size: usize) {
    line.clear();
    line.extend_from_slice(reply.unwrap_or_default());
    finish_line(line, header_len, size);
}

/// As [`write_line`], with a line that holds the reply subject already, or nothing.
pub fn finish_line(line: &mut Vec<u8>, header_len: Option<usize>, size: usize) {
    if !line.is_empty() {
        line.push(b' ');
    }
    if let Some(header_len) = header_len {
        decimal::append(line, header_len as u64);
        line.push(b' ');
    }
    decimal::append(line, size as u64);
    line.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_reply_and_sizes() {
        let mut line = Vec::new();
        write_line(&mut line, Some(b"r"), Some(12), 1048576);
        assert_eq!(line, b"r 12 1048576\r\n");
        write_line(&mut line, None, None, 0);
        assert_eq!(line, b"0\r\n");
    }
}
