//! The NATS header block (C-24, ADR-4): a version line, `Key: Value` lines, a blank line.
//!
//! Look-ups are case-sensitive and exact, as in nats-server. Nothing here trusts the block to be well formed:
//! a damaged one yields fewer headers, never an error or a panic.

/// What every header block begins with.
pub const VERSION: &[u8] = b"NATS/1.0";

const LINE_END: &[u8] = b"\r\n";

/// Iterates over `(key, value)` of a header block; spaces before a value are not part of it, those behind it are.
pub fn iter(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let body = match memchr::memmem::find(block, LINE_END) {
        Some(end) => &block[end + LINE_END.len()..],
        None => &[],
    };
    Lines { rest: body }.filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let value = &line[colon + 1..];
        let spaces = value.iter().take_while(|byte| **byte == b' ').count();
        Some((&line[..colon], &value[spaces..]))
    })
}

/// The value of the first header with exactly this key.
pub fn get<'a>(block: &'a [u8], key: &str) -> Option<&'a [u8]> {
    // A cheap refusal first: most messages hold none of the keys the server asks for.
    memchr::memmem::find(block, key.as_bytes())?;
    iter(block).find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
}

/// As [`get`], when the value is text.
pub fn get_str<'a>(block: &'a [u8], key: &str) -> Option<&'a str> {
    std::str::from_utf8(get(block, key)?).ok()
}

/// Appends a header to a block, which is begun when it is empty.
pub fn append(block: &mut Vec<u8>, key: &str, value: &[u8]) {
    if block.is_empty() {
        block.extend_from_slice(VERSION);
        block.extend_from_slice(LINE_END);
        block.extend_from_slice(LINE_END);
    }
    if block.ends_with(LINE_END) {
        block.truncate(block.len() - LINE_END.len());
    }
    block.extend_from_slice(key.as_bytes());
    block.extend_from_slice(b": ");
    block.extend_from_slice(value);
    block.extend_from_slice(LINE_END);
    block.extend_from_slice(LINE_END);
}

/// A copy of the block without the headers for which `remove` says so; empty when none is left.
pub fn without(block: &[u8], remove: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut copy = Vec::with_capacity(block.len());
    for (key, value) in iter(block).filter(|(key, _)| !remove(key)) {
        append(&mut copy, &String::from_utf8_lossy(key), value);
    }
    copy
}

/// The block without a status in its first line, and nothing when that was all of it; `None` when there is no status.
pub fn without_status(block: &[u8]) -> Option<Vec<u8>> {
    let status = block.strip_prefix(VERSION)?;
    let end = memchr::memchr(b'\r', status).filter(|length| *length > 0)?;
    let rest = &status[end..];
    Some(if rest == b"\r\n\r\n" { Vec::new() } else { [VERSION, rest].concat() })
}

/// A block that holds only a status line, such as `NATS/1.0 503\r\n\r\n`.
pub fn status(code: u16, text: &str) -> Vec<u8> {
    let mut block = format!("NATS/1.0 {code}").into_bytes();
    if !text.is_empty() {
        block.push(b' ');
        block.extend_from_slice(text.as_bytes());
    }
    block.extend_from_slice(b"\r\n\r\n");
    block
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memmem::find(self.rest, LINE_END)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + LINE_END.len()..];
        if line.is_empty() { None } else { Some(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &[u8] = b"NATS/1.0\r\nA: 1\r\nb:2\r\nA: 3\r\n\r\n";

    #[test]
    fn lookups_are_exact_and_take_the_first() {
        assert_eq!(get(BLOCK, "A"), Some(&b"1"[..]));
        assert_eq!(get(BLOCK, "b"), Some(&b"2"[..]));
        assert_eq!(get(BLOCK, "B"), None);
        assert_eq!(get(b"", "B"), None);
        assert_eq!(get(b"NATS/1.0 503\r\n\r\n", "B"), None);
    }

    #[test]
    fn append_and_without_keep_the_block_well_formed() {
        let mut block = Vec::new();
        append(&mut block, "A", b"1");
        append(&mut block, "B", b"2");
        assert_eq!(block, b"NATS/1.0\r\nA: 1\r\nB: 2\r\n\r\n");
        assert_eq!(without(&block, |key| key == b"A"), b"NATS/1.0\r\nB: 2\r\n\r\n");
        assert!(without(&block, |_| true).is_empty());
        assert_eq!(status(404, "No Messages"), b"NATS/1.0 404 No Messages\r\n\r\n");
    }

    #[test]
    fn a_status_is_cut_out_and_the_rest_is_left_to_the_letter() {
        assert_eq!(without_status(b"NATS/1.0 503\r\n\r\n"), Some(Vec::new()));
        assert_eq!(without_status(b"NATS/1.0 100 x\r\nA:b\r\n\r\n").unwrap(), b"NATS/1.0\r\nA:b\r\n\r\n");
        for block in [BLOCK, b"", b"NATS/1.0\r\n\r\n", b"garbage 503\r\n\r\n", b"NATS/1.0 503"] {
            assert_eq!(without_status(block), None, "{block:?}");
        }
    }

    #[test]
    fn a_damaged_block_yields_what_it_can() {
        assert_eq!(iter(b"NATS/1.0\r\nno colon\r\nk: v\r\n").count(), 1);
        assert_eq!(iter(b"garbage").count(), 0);
    }
}
