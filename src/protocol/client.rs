//! HOT PATH: no allocation, no lock, no log.
//!
//! What clients send (C-02..C-10): one operation at a time out of a read buffer, as slices of it.
//! The parser keeps nothing: a buffer that ends inside an operation yields [`Step::More`], and the
//! connection, which owns what is left over, calls again with more bytes behind it.

use std::ops::Range;

/// What a connection allows its peer to send; checked as soon as the control line is complete,
/// so that an oversized payload is refused before a byte of it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument part of a control line.
    pub control_line_bytes_max: usize,
    /// Longest headers plus payload of one message.
    pub payload_bytes_max: usize,
    /// Whether both sides agreed on headers, without which HPUB is refused.
    pub headers: bool,
}

/// One operation, pointing into the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    Publish(Publish<'a>),
    Subscribe {
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    },
    /// `max` is the total number of deliveries after which to remove the subscription; none means now.
    Unsubscribe {
        sid: &'a [u8],
        max: Option<u64>,
    },
    Connect(&'a [u8]),
    Info(&'a [u8]),
    Ping,
    Pong,
    Ok,
    Err(&'a [u8]),
}

/// PUB or HPUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub subject: &'a [u8],
    pub reply: Option<&'a [u8]>,
    /// The header block; empty for PUB and for HPUB with a header length of zero.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    /// `[reply] [header length] size CRLF headers payload CRLF` as it was sent, when that is already
    /// what a delivery has to carry behind `MSG subject sid `.
    pub tail: Option<&'a [u8]>,
}

/// What one look at the buffer gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// An operation and how many bytes it took.
    Op(Op<'a>, usize),
    /// The operation is not complete; it takes `bytes_needed` in all, or 0 when that isn't known yet.
    More {
        bytes_needed: usize,
    },
    Fault(Fault),
}

/// Why a connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not the protocol: a bad verb, or a payload that is not as long as announced.
    UnknownOperation,
    /// The verb is good and its arguments are not. nats-server closes without a word.
    Arguments,
    ControlLine,
    Payload {
        bytes: usize,
    },
    HeadersNotSupported,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::UnknownOperation => formatter.write_str("Client parser ERROR"),
            Fault::Arguments => formatter.write_str("Client parse error: bad arguments"),
            Fault::ControlLine => formatter.write_str("maximum control line exceeded"),
            Fault::Payload { bytes } => write!(formatter, "maximum payload exceeded: {bytes}"),
            Fault::HeadersNotSupported => formatter.write_str("message headers not supported"),
        }
    }
}

/// Sizes of more digits are refused, as in nats-server; it also keeps all sums far from overflow.
const SIZE_DIGITS_MAX: usize = 9;

/// The first operation in `buffer`, which must not be empty.
#[inline]
pub fn parse<'a>(buffer: &'a [u8], limits: &Limits) -> Step<'a> {
    let canonical = match buffer.first_chunk() {
        Some(b"PUB ") => publish_canonical(buffer, limits),
        Some(b"HPUB") if limits.headers => header_publish_canonical(buffer, limits),
        _ => None,
    };
    match canonical {
        Some(step) => step,
        None => parse_any(buffer, limits),
    }
}

/// `PUB subject [reply] size CRLF payload CRLF` with single spaces and a complete control line: nearly all traffic.
#[inline]
fn publish_canonical<'a>(buffer: &'a [u8], limits: &Limits) -> Option<Step<'a>> {
    const START: usize = b"PUB ".len();
    let subject = word(buffer, START)?;
    let second = word(buffer, next_word(buffer, &subject)?)?;
    let (reply, size) = match next_word(buffer, &second) {
        None => (None, second.clone()),
        Some(start) => (Some(&buffer[second.clone()]), word(buffer, start)?),
    };
    let payload_start = line_end(buffer, &size, START, limits)?;
    let size = parse_size(&buffer[size])?;
    Some(match payload_end(buffer, payload_start, size, limits) {
        Ok(end) => {
            let publish = Publish {
                subject: &buffer[subject],
                reply,
                headers: &[],
                payload: &buffer[payload_start..payload_start + size],
                tail: Some(&buffer[second.start..end]),
            };
            Step::Op(Op::Publish(publish), end)
        }
        Err(step) => step,
    })
}

/// `HPUB subject [reply] header_len size CRLF headers payload CRLF`, spaced in the same way.
#[inline]
fn header_publish_canonical<'a>(buffer: &'a [u8], limits: &Limits) -> Option<Step<'a>> {
    const START: usize = b"HPUB ".len();
    if *buffer.get(START - 1)? != b' ' {
        return None;
    }
    let subject = word(buffer, START)?;
    let second = word(buffer, next_word(buffer, &subject)?)?;
    let third = word(buffer, next_word(buffer, &second)?)?;
    let (reply, header_len, size) = match next_word(buffer, &third) {
        None => (None, second.clone(), third),
        Some(start) => (Some(&buffer[second.clone()]), third, word(buffer, start)?),
    };
    let payload_start = line_end(buffer, &size, START, limits)?;
    let size = parse_size(&buffer[size])?;
    let header_len = parse_size(&buffer[header_len]).filter(|len| *len > 0 && *len <= size)?;
    Some(match payload_end(buffer, payload_start, size, limits) {
        Ok(end) => {
            let (headers, payload) = buffer[payload_start..payload_start + size].split_at(header_len);
            let tail = Some(&buffer[second.start..end]);
            Step::Op(Op::Publish(Publish { subject: &buffer[subject], reply, headers, payload, tail }), end)
        }
        Err(step) => step,
    })
}

/// The word at `start`; none when it is empty or its end is not in sight.
#[inline]
fn word(buffer: &[u8], start: usize) -> Option<Range<usize>> {
    let len = token_len(&buffer[start..])?;
    if len == 0 { None } else { Some(start..start + len) }
}

/// Where the next word begins, if the byte behind this one is a single space.
#[inline]
fn next_word(buffer: &[u8], word: &Range<usize>) -> Option<usize> {
    if buffer[word.end] == b' ' { Some(word.end + 1) } else { None }
}

/// The offset behind CRLF, if the last word is followed by it and the line is not too long.
#[inline]
fn line_end(buffer: &[u8], last: &Range<usize>, start: usize, limits: &Limits) -> Option<usize> {
    let end = last.end + 2;
    let fits = last.end - start <= limits.control_line_bytes_max;
    if fits && buffer.get(last.end..end)? == b"\r\n" { Some(end) } else { None }
}

/// Length of the token that `bytes` begin with; none when its end is not in sight. Eight bytes at a time: in the
/// lowest marked byte of `ends` the borrow of lower ones can't have played a part.
#[inline]
fn token_len(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut offset = 0;
    while let Some(word) = bytes[offset..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let ends = word.wrapping_sub(EACH * (b' ' as u64 + 1)) & !word & (EACH * 0x80);
        if ends != 0 {
            return Some(offset + ends.trailing_zeros() as usize / 8);
        }
        offset += 8;
    }
    bytes[offset..].iter().position(|byte| *byte <= b' ').map(|at| offset + at)
}

/// Checks the payload's size and its closing CRLF, and gives the offset behind it.
#[inline]
fn payload_end<'a>(buffer: &'a [u8], start: usize, size: usize, limits: &Limits) -> Result<usize, Step<'a>> {
    if size > limits.payload_bytes_max {
        return Err(Step::Fault(Fault::Payload { bytes: size }));
    }
    let end = start + size + 2;
    match buffer.get(start + size..end) {
        Some(b"\r\n") => Ok(end),
        Some(_) => Err(Step::Fault(Fault::UnknownOperation)),
        None if buffer.get(start + size).is_some_and(|byte| *byte != b'\r') => {
            Err(Step::Fault(Fault::UnknownOperation))
        }
        None => Err(Step::More { bytes_needed: end }),
    }
}

const MORE: Step<'static> = Step::More { bytes_needed: 0 };

fn parse_any<'a>(buffer: &'a [u8], limits: &Limits) -> Step<'a> {
    let Some(first) = buffer.first() else {
        return MORE;
    };
    let verb = match (first.to_ascii_uppercase(), buffer.get(1).map(u8::to_ascii_uppercase)) {
        (b'P', None) => return MORE,
        (b'P', Some(b'U')) => Verb::Pub,
        (b'P', Some(b'I')) => Verb::Ping,
        (b'P', Some(b'O')) => Verb::Pong,
        (b'H', _) => Verb::Hpub,
        (b'S', _) => Verb::Sub,
        (b'U', _) => Verb::Unsub,
        (b'C', _) => Verb::Connect,
        (b'I', _) => Verb::Info,
        (b'+', _) => Verb::Ok,
        (b'-', _) => Verb::Err,
        _ => return Step::Fault(Fault::UnknownOperation),
    };
    let name = verb.name();
    let seen = name.len().min(buffer.len());
    if !buffer[..seen].eq_ignore_ascii_case(&name[..seen]) {
        return Step::Fault(Fault::UnknownOperation);
    }
    if seen < name.len() {
        return MORE;
    }
    match buffer.get(seen) {
        None => return MORE,
        Some(b' ' | b'\t') => {}
        Some(_) if verb.needs_space() => return Step::Fault(Fault::UnknownOperation),
        Some(_) => {}
    }
    let start = seen + buffer[seen..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    // Blanks are no part of the line, but must not be gathered without end either.
    if start - seen > limits.control_line_bytes_max {
        return Step::Fault(Fault::ControlLine);
    }
    let Some(line_len) = memchr::memchr(b'\n', &buffer[start..]) else {
        // What can't be a line any more must not be gathered further.
        if buffer.len() - start > limits.control_line_bytes_max + 2 {
            return Step::Fault(Fault::ControlLine);
        }
        return MORE;
    };
    let line_end = start + line_len + 1;
    let line = &buffer[start..start + line_len];
    let argument = line.strip_suffix(b"\r").unwrap_or(line);
    if argument.len() > limits.control_line_bytes_max {
        return Step::Fault(Fault::ControlLine);
    }
    let op = match verb {
        Verb::Pub | Verb::Hpub => return publish_any(buffer, argument, line_end, verb, limits),
        Verb::Sub => subscribe(argument),
        Verb::Unsub => unsubscribe(argument),
        Verb::Connect => Some(Op::Connect(argument)),
        Verb::Info => Some(Op::Info(argument)),
        Verb::Ping => Some(Op::Ping),
        Verb::Pong => Some(Op::Pong),
        Verb::Ok => Some(Op::Ok),
        Verb::Err => Some(Op::Err(argument)),
    };
    match op {
        Some(op) => Step::Op(op, line_end),
        None => Step::Fault(Fault::Arguments),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Connect,
    Info,
    Ping,
    Pong,
    Ok,
    Err,
}

impl Verb {
    fn name(self) -> &'static [u8] {
        match self {
            Verb::Pub => b"PUB",
            Verb::Hpub => b"HPUB",
            Verb::Sub => b"SUB",
            Verb::Unsub => b"UNSUB",
            Verb::Connect => b"CONNECT",
            Verb::Info => b"INFO",
            Verb::Ping => b"PING",
            Verb::Pong => b"PONG",
            Verb::Ok => b"+OK",
            Verb::Err => b"-ERR",
        }
    }

    fn needs_space(self) -> bool {
        matches!(self, Verb::Pub | Verb::Hpub | Verb::Sub | Verb::Unsub | Verb::Err)
    }
}

fn publish_any<'a>(
    buffer: &'a [u8],
    argument: &'a [u8],
    payload_start: usize,
    verb: Verb,
    limits: &Limits,
) -> Step<'a> {
    const BAD: Step<'static> = Step::Fault(Fault::Arguments);
    let with_headers = verb == Verb::Hpub;
    if with_headers && !limits.headers {
        return Step::Fault(Fault::HeadersNotSupported);
    }
    let Some((words, count)) = split::<4>(argument, |byte| matches!(byte, b' ' | b'\t')) else {
        return BAD;
    };
    let sizes = if with_headers { 2 } else { 1 };
    let reply = match count.checked_sub(sizes) {
        Some(1) => None,
        Some(2) => Some(words[1]),
        _ => return BAD,
    };
    let Some(size) = parse_size(words[count - 1]) else {
        return BAD;
    };
    let header_len = if with_headers { parse_size(words[count - 2]) } else { Some(0) };
    let Some(header_len) = header_len.filter(|len| *len <= size) else {
        return BAD;
    };
    match payload_end(buffer, payload_start, size, limits) {
        Ok(end) => {
            let body = &buffer[payload_start..payload_start + size];
            let (headers, payload) = body.split_at(header_len);
            let tail = canonical_tail(buffer, &words[..count], argument, payload_start, end);
            let tail = tail.filter(|_| !with_headers || header_len > 0);
            Step::Op(Op::Publish(Publish { subject: words[0], reply, headers, payload, tail }), end)
        }
        Err(step) => step,
    }
}

/// The bytes from the second word to the end of the message, if they are spaced as a delivery must be.
fn canonical_tail<'a>(
    buffer: &'a [u8],
    words: &[&'a [u8]],
    argument: &'a [u8],
    payload_start: usize,
    end: usize,
) -> Option<&'a [u8]> {
    let words_len: usize = words.iter().map(|word| word.len()).sum();
    let argument_start = payload_start.checked_sub(argument.len() + 2)?;
    let spaced_once = words_len + words.len() - 1 == argument.len() && !argument.contains(&b'\t');
    if !spaced_once || &buffer[payload_start - 2..payload_start] != b"\r\n" {
        return None;
    }
    Some(&buffer[argument_start + words[0].len() + 1..end])
}

fn subscribe(argument: &[u8]) -> Option<Op<'_>> {
    match split::<3>(argument, is_space)? {
        ([subject, sid, _], 2) => Some(Op::Subscribe { subject, queue: None, sid }),
        ([subject, queue, sid], 3) => Some(Op::Subscribe { subject, queue: Some(queue), sid }),
        _ => None,
    }
}

fn unsubscribe(argument: &[u8]) -> Option<Op<'_>> {
    match split::<2>(argument, is_space)? {
        ([sid, _], 1) => Some(Op::Unsubscribe { sid, max: None }),
        // A bad number removes the subscription now, as does zero.
        ([sid, max], 2) => {
            let max = parse_size(max).filter(|max| *max > 0).map(|max| max as u64);
            Some(Op::Unsubscribe { sid, max })
        }
        _ => None,
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits into at most `N` words; none when there are more.
fn split<const N: usize>(argument: &[u8], is_space: fn(u8) -> bool) -> Option<([&[u8]; N], usize)> {
    let mut words: [&[u8]; N] = [&[]; N];
    let mut count = 0;
    for word in argument.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()) {
        *words.get_mut(count)? = word;
        count += 1;
    }
    Some((words, count))
}

/// Decimal digits only, at most nine of them.
#[inline]
pub fn parse_size(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > SIZE_DIGITS_MAX {
        return None;
    }
    let mut size = 0usize;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        size = size * 10 + usize::from(digit);
    }
    Some(size)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
