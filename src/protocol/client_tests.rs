//! The client parser against examples, against itself split at every byte, and against noise.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { control_line_bytes_max: 4096, payload_bytes_max: 1 << 20, headers: true };

fn op(input: &[u8]) -> Op<'_> {
    match parse(input, &LIMITS) {
        Step::Op(op, len) => {
            assert_eq!(len, input.len(), "{}", String::from_utf8_lossy(input));
            op
        }
        other => panic!("{}: {other:?}", String::from_utf8_lossy(input)),
    }
}

fn publish(input: &[u8]) -> Publish<'_> {
    match op(input) {
        Op::Publish(publish) => publish,
        other => panic!("{other:?}"),
    }
}

fn fault(input: &[u8]) -> Fault {
    match parse(input, &LIMITS) {
        Step::Fault(fault) => fault,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(input)),
    }
}

#[test]
fn publish_keeps_the_bytes_behind_the_subject() {
    let message = publish(b"PUB foo 5\r\nhello\r\n");
    assert_eq!((message.subject, message.reply, message.payload), (&b"foo"[..], None, &b"hello"[..]));
    assert_eq!(message.tail, Some(&b"5\r\nhello\r\n"[..]));
    let message = publish(b"pub foo bar 5\r\nhello\r\n");
    assert_eq!(message.reply, Some(&b"bar"[..]));
    assert_eq!(message.tail, Some(&b"bar 5\r\nhello\r\n"[..]));
    let message = publish(b"HPUB foo bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    assert_eq!((message.headers, message.payload), (&b"NATS/1.0\r\n\r\n"[..], &b"hi"[..]));
    assert_eq!(message.tail, Some(&b"bar 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"[..]));
}

#[test]
fn odd_spacing_is_accepted_but_not_forwarded() {
    for line in ["PUB \t f\t  r  1  \r\na\r\n", "PUB f r 1\na\r\n", "PUB f  r 1\r\na\r\n", "PUB f r 1 \r\na\r\n"] {
        let message = publish(line.as_bytes());
        assert_eq!((message.subject, message.reply, message.payload), (&b"f"[..], Some(&b"r"[..]), &b"a"[..]));
        assert_eq!(message.tail, None, "{line:?}");
    }
    assert_eq!(publish(b"PUB f 0001\r\na\r\n").tail, Some(&b"0001\r\na\r\n"[..]));
    assert_eq!(publish(b"HPUB f 0 2\r\nhi\r\n").tail, None);
}

#[test]
fn other_verbs() {
    assert_eq!(op(b"SUB a 1\r\n"), Op::Subscribe { subject: b"a", queue: None, sid: b"1" });
    assert_eq!(op(b"sub\ta q\t 1 \r\n"), Op::Subscribe { subject: b"a", queue: Some(b"q"), sid: b"1" });
    assert_eq!(op(b"UNSUB 1\r\n"), Op::Unsubscribe { sid: b"1", max: None });
    assert_eq!(op(b"UNSUB 1 5\r\n"), Op::Unsubscribe { sid: b"1", max: Some(5) });
    assert_eq!(op(b"UNSUB 1 -5\r\n"), Op::Unsubscribe { sid: b"1", max: None });
    assert_eq!(op(b"PING junk\r\n"), Op::Ping);
    assert_eq!(op(b"PONG\n"), Op::Pong);
    assert_eq!(op(b"CONNECT{}\r\n"), Op::Connect(b"{}"));
    assert_eq!(op(b"CONNECT {\"a\": 1}\r\n"), Op::Connect(b"{\"a\": 1}"));
    assert_eq!(op(b"+OK\r\n"), Op::Ok);
    assert_eq!(op(b"-ERR 'x'\r\n"), Op::Err(b"'x'"));
}

#[test]
fn faults_are_found_as_early_as_in_nats_server() {
    for bad in ["BOGUS", "PUX", "\r\n", " PING", "MSG a 1 1\r\n", "UNSUB\r\n", "SUBx", "HMSG", "PUB f 2\r\nhello\r\n"] {
        assert_eq!(fault(bad.as_bytes()), Fault::UnknownOperation, "{bad:?}");
    }
    for bad in [
        "PUB f\r\n",
        "PUB f a b 3\r\n",
        "PUB f -1\r\n",
        "PUB f 9999999999\r\n",
        "HPUB f 13 12\r\n",
        "HPUB f 12\r\n",
        "SUB a\r\n",
        "SUB a b c d\r\n",
        "UNSUB  \r\n",
        "UNSUB 1 2 3\r\n",
        "PUB  1\r\n",
    ] {
        assert_eq!(fault(bad.as_bytes()), Fault::Arguments, "{bad:?}");
    }
    assert_eq!(fault(b"PUB f 1048577\r\n"), Fault::Payload { bytes: 1_048_577 });
    let limits = Limits { headers: false, ..LIMITS };
    assert_eq!(parse(b"HPUB f 12 12\r\n", &limits), Step::Fault(Fault::HeadersNotSupported));
}

/// Blanks in front of a line were counted as long as its end was not there: the same line was taken in one read and
/// refused in two.
#[test]
fn a_line_behind_many_blanks_is_the_same_however_it_arrives() {
    let line = |blanks: usize| [b"-ERR".as_slice(), &vec![b'\t'; blanks], &[b'x'; 300], b"\n"].concat();
    let taken = line(4000);
    assert_eq!(op(&taken), Op::Err(&[b'x'; 300]));
    let refused = line(4097);
    assert_eq!(fault(&refused), Fault::ControlLine);
    for arrived in 1..taken.len() {
        assert_eq!(parse(&taken[..arrived], &LIMITS), Step::More { bytes_needed: 0 }, "{arrived}");
    }
    assert_eq!(parse(&refused[..refused.len() - 1], &LIMITS), Step::Fault(Fault::ControlLine));
}

#[test]
fn control_lines_are_limited_before_they_are_complete() {
    let mut line = b"SUB ".to_vec();
    line.resize(4 + 4094, b'a');
    line.extend_from_slice(b" 1\r\n");
    assert!(matches!(op(&line), Op::Subscribe { .. }));
    line.insert(4, b'a');
    assert_eq!(fault(&line), Fault::ControlLine);
    line.resize(4 + 5000, b'a');
    assert_eq!(fault(&line[..line.len() - 20]), Fault::ControlLine);
    assert_eq!(fault(&[b"PING".as_slice(), &[b' '; 5000]].concat()), Fault::ControlLine);
}

#[test]
fn an_incomplete_payload_says_how_much_it_needs() {
    assert_eq!(parse(b"PUB f 100\r\nab", &LIMITS), Step::More { bytes_needed: 113 });
    assert_eq!(parse(b"PUB f 2\r\nabX", &LIMITS), Step::Fault(Fault::UnknownOperation));
    assert_eq!(parse(b"PUB f 2\r\nab\r", &LIMITS), Step::More { bytes_needed: 13 });
}

fn any_op() -> impl Strategy<Value = Vec<u8>> {
    let token = "[a-zA-Z0-9*>$_]{1,12}";
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (token, proptest::option::of(token), payload.clone()).prop_map(|(subject, reply, payload)| {
            let reply = reply.map(|reply| reply + " ").unwrap_or_default();
            let mut line = format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes();
            line.extend_from_slice(&payload);
            line.extend_from_slice(b"\r\n");
            line
        }),
        (token, proptest::option::of(token), payload, any::<bool>()).prop_map(|(subject, reply, payload, upper)| {
            let verb = if upper { "HPUB" } else { "hpub" };
            let reply = reply.map(|reply| reply + " ").unwrap_or_default();
            let mut line =
                format!("{verb} {subject} {reply}12 {}\r\nNATS/1.0\r\n\r\n", 12 + payload.len()).into_bytes();
            line.extend_from_slice(&payload);
            line.extend_from_slice(b"\r\n");
            line
        }),
        (token, "[0-9]{1,4}").prop_map(|(subject, sid)| format!("SUB {subject} {sid}\r\n").into_bytes()),
        ("[0-9]{1,4}", "[0-9]{0,3}").prop_map(|(sid, max)| format!("UNSUB {sid} {max}\r\n").into_bytes()),
        Just(b"PING\r\n".to_vec()),
        Just(b"PONG\r\n".to_vec()),
        Just(b"CONNECT {}\r\n".to_vec()),
    ]
}

/// Feeds the pieces the way a connection does: what is left over goes in front of the next piece.
fn feed(pieces: &[&[u8]]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut left = Vec::new();
    for piece in pieces {
        left.extend_from_slice(piece);
        let mut position = 0;
        while position < left.len() {
            match parse(&left[position..], &LIMITS) {
                Step::Op(op, len) => {
                    seen.push(format!("{op:?}"));
                    position += len;
                }
                Step::More { .. } => break,
                Step::Fault(fault) => {
                    seen.push(format!("{fault:?}"));
                    return seen;
                }
            }
        }
        left.drain(..position);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_split_at_any_byte_gives_the_same_operations(ops in proptest::collection::vec(any_op(), 1..6)) {
        let stream = ops.concat();
        let whole = feed(&[&stream]);
        prop_assert_eq!(whole.len(), ops.len());
        for split in 0..=stream.len() {
            prop_assert_eq!(&feed(&[&stream[..split], &stream[split..]]), &whole, "split at {}", split);
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&feed(&bytes), &whole);
    }

    #[test]
    fn noise_neither_panics_nor_is_gathered_without_bound(
        verb in prop_oneof![Just("PUB "), Just("HPUB "), Just("SUB "), Just("UNSUB "), Just("CONNECT "), Just("PI"), Just("")],
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        digits in "[0-9 \\t\\r\\n-]{0,24}",
    ) {
        let limits = Limits { control_line_bytes_max: 64, payload_bytes_max: 128, headers: true };
        let input = [verb.as_bytes(), &noise, digits.as_bytes()].concat();
        match parse(&input, &limits) {
            Step::Op(_, len) => prop_assert!(len > 0 && len <= input.len()),
            Step::More { bytes_needed: 0 } => prop_assert!(input.len() <= 64 + 16),
            Step::More { bytes_needed } => prop_assert!(bytes_needed > input.len() && bytes_needed <= 64 + 16 + 128),
            Step::Fault(_) => {}
        }
    }

    #[test]
    fn tokens_end_at_the_first_space_or_control(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(token_len(&bytes), bytes.iter().position(|byte| *byte <= b' '));
    }

    #[test]
    fn the_fast_path_agrees_with_the_general_one(op in any_op(), cut in 0usize..80, at in 0usize..60, byte in any::<u8>()) {
        prop_assert_eq!(parse(&op, &LIMITS), parse_any(&op, &LIMITS));
        // Also cut short, and with a byte exchanged.
        let cut = &op[..op.len().min(cut.max(1))];
        prop_assert_eq!(parse(cut, &LIMITS), parse_any(cut, &LIMITS));
        let mut damaged = op.to_ascii_uppercase();
        let at = at % damaged.len();
        damaged[at] = byte;
        prop_assert_eq!(parse(&damaged, &LIMITS), parse_any(&damaged, &LIMITS));
    }
}
