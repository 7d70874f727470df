//! What a server sends, cut into frames. Knows only lengths and fields, keeps no state.

#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    Message {
        subject: &'a [u8],
        reply: Option<&'a [u8]>,
        headers: &'a [u8],
        payload: &'a [u8],
    },
    Ping,
    Pong,
    Error(&'a [u8]),
    /// INFO and +OK: nothing a load waits for.
    Other,
}

/// Bytes of the first frame, None while it is not complete.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let line = line_length(bytes)?;
    let total = match bytes[0] {
        b'M' | b'H' => line + last_number(&bytes[..line - 2]) + 2,
        _ => line,
    };
    (bytes.len() >= total).then_some(total)
}

/// `frame` is exactly one frame, as measured by `length`.
pub fn decode(frame: &[u8]) -> Frame<'_> {
    let line = line_length(frame).expect("a frame has a complete line");
    match frame[0] {
        b'M' => message(&frame[..line - 2], &frame[line..frame.len() - 2], 1),
        b'H' => message(&frame[..line - 2], &frame[line..frame.len() - 2], 2),
        b'P' if frame.starts_with(b"PING") => Frame::Ping,
        b'P' => Frame::Pong,
        b'-' => Frame::Error(&frame[..line - 2]),
        _ => Frame::Other,
    }
}

/// `MSG subject sid [reply] size` or `HMSG subject sid [reply] headers size`.
fn message<'a>(line: &'a [u8], body: &'a [u8], sizes: usize) -> Frame<'a> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip(1);
    let subject = words.next().unwrap_or_default();
    let rest: Vec<&[u8]> = words.skip(1).collect();
    let reply = (rest.len() > sizes).then(|| rest[0]);
    let header_bytes = if sizes == 2 { last_number(rest[rest.len() - 2]) } else { 0 };
    let (headers, payload) = body.split_at(header_bytes.min(body.len()));
    Frame::Message { subject, reply, headers, payload }
}

/// Length of the first line with its CRLF.
fn line_length(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|end| end + 1)
}

/// The decimal number that ends the slice, 0 without one.
fn last_number(bytes: &[u8]) -> usize {
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    bytes[bytes.len() - digits..].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_measured_with_its_payload() {
        let bytes = b"MSG a.b 1 5\r\nhello\r\nPONG\r\n";
        assert_eq!(length(bytes), Some(20));
        assert_eq!(length(&bytes[..19]), None);
        assert_eq!(length(b"MSG a"), None);
        assert_eq!(
            decode(&bytes[..20]),
            Frame::Message { subject: b"a.b", reply: None, headers: b"", payload: b"hello" }
        );
    }

    #[test]
    fn a_reply_and_headers_are_found() {
        assert_eq!(
            decode(b"MSG a 1 r.1 2\r\nhi\r\n"),
            Frame::Message { subject: b"a", reply: Some(b"r.1"), headers: b"", payload: b"hi" }
        );
        let bytes = b"HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        assert_eq!(length(bytes), Some(bytes.len()));
        assert_eq!(
            decode(bytes),
            Frame::Message { subject: b"a", reply: Some(b"r"), headers: b"NATS/1.0\r\n\r\n", payload: b"hi" }
        );
    }

    #[test]
    fn control_lines_are_told_apart() {
        assert_eq!(decode(b"PING\r\n"), Frame::Ping);
        assert_eq!(decode(b"PONG\r\n"), Frame::Pong);
        assert_eq!(decode(b"-ERR 'x'\r\n"), Frame::Error(b"-ERR 'x'"));
        assert_eq!(decode(b"INFO {} \r\n"), Frame::Other);
    }
}
