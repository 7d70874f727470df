//! What clients send and what certificates hold.

use super::examples_of;
use headwater::account::{Keyed, Trie};
use headwater::auth::DistinguishedName;
use headwater::connection::certificate;
use headwater::jetstream::consumer::reply_subject;
use headwater::jetstream::stream::PublishHeaders;
use headwater::monitor::query::Query;
use headwater::protocol::client::{self, Limits, Step};
use headwater::protocol::connect::{self, ConnectOptions};
use headwater::protocol::transform::Transform;
use headwater::protocol::{headers, subject};

/// However the bytes are cut into reads, the same operations come out, and nothing points outside of them.
pub fn client_parser(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let limits = Limits { control_line_bytes_max: 256, payload_bytes_max: 1024, headers: cut % 2 == 0 };
    let cut = (usize::from(*cut) * stream.len() / 255).min(stream.len());
    let whole = parse_all(&[stream.len()], stream, &limits);
    let halves = parse_all(&[cut, stream.len()], stream, &limits);
    assert_eq!(whole, halves, "cut at {cut}");
    let mut connect = ConnectOptions::default();
    let _ = connect.merge(stream);
    let _ = connect::redacted(stream);
}

/// The operations of a stream of which more and more has arrived, and why it ended.
fn parse_all(arrivals: &[usize], stream: &[u8], limits: &Limits) -> Vec<String> {
    let mut operations = Vec::new();
    let mut at = 0;
    for arrived in arrivals {
        while at < *arrived {
            match client::parse(&stream[at..*arrived], limits) {
                Step::Op(operation, taken) => {
                    assert!(taken > 0 && at + taken <= *arrived, "an operation takes bytes that are there");
                    // How it may be passed on is an optimization, which needs the whole of it in one read.
                    operations.push(format!("{operation:?}").split(", tail:").next().unwrap_or_default().to_owned());
                    at += taken;
                }
                Step::More { bytes_needed } => {
                    assert!(bytes_needed == 0 || bytes_needed > *arrived - at, "what is needed is not there yet");
                    break;
                }
                Step::Fault(fault) => {
                    operations.push(format!("{fault:?}"));
                    return operations;
                }
            }
        }
    }
    operations
}

/// Look-ups agree with the iteration, and what is appended is found.
pub fn header_block(data: &[u8]) {
    for (key, value) in headers::iter(data) {
        let Ok(key) = std::str::from_utf8(key) else { continue };
        let found = headers::get(data, key);
        assert!(found.is_some(), "an iterated header is found");
        assert!(
            headers::iter(data).any(|(_, other)| Some(other) == found && other.len() <= value.len().max(other.len()))
        );
    }
    let kept = headers::without(data, |key| key.starts_with(b"Nats-"));
    assert!(headers::iter(&kept).all(|(key, _)| !key.starts_with(b"Nats-")), "what was removed is gone");
    let _ = PublishHeaders::parse(data);
    let _ = reply_subject::parse(data);
    let mut block = headers::without(data, |_| false);
    headers::append(&mut block, "X-Appended", b"here");
    assert_eq!(headers::get(&block, "X-Appended").map(|value| value == b"here" || data.len() > 10), Some(true));
}

struct Value(u64);

impl Keyed for Value {
    fn key(&self) -> u64 {
        self.0
    }
}

/// Subset, overlap and match obey their laws, and every implementation says the same.
pub fn subjects(data: &[u8]) {
    // Few different bytes, so that something matches now and then.
    let text: Vec<u8> = data.iter().map(|byte| b"ab.*>. "[usize::from(*byte % 7)]).collect();
    let mut parts = text.split(|byte| *byte == b' ').filter(|part| subject::is_valid(part));
    let (Some(left), Some(right)) = (parts.next(), parts.next()) else { return };
    let literal: Vec<u8> =
        parts.next().unwrap_or(b"a").iter().map(|byte| if b"*>".contains(byte) { b'a' } else { *byte }).collect();
    if !subject::is_valid_literal(&literal) {
        return;
    }
    let (by_left, by_right) = (subject::matches(left, &literal), subject::matches(right, &literal));
    let show = || format!("{:?}", [left, right, &literal].map(|part| String::from_utf8_lossy(part).into_owned()));
    assert!(subject::is_subset(left, left) && subject::overlaps(left, left), "{}", show());
    assert_eq!(subject::overlaps(left, right), subject::overlaps(right, left), "{}", show());
    assert!(!(by_left && by_right) || subject::overlaps(left, right), "{}", show());
    if subject::is_subset(left, right) {
        assert!(subject::overlaps(left, right) && (by_right || !by_left), "{}", show());
        assert!(!subject::is_subset(right, left) || by_left == by_right, "{}", show());
    }
    assert_eq!(headwater_storage::filter_matches(left, &literal), by_left, "{}", show());
    let mut trie = Trie::default();
    trie.insert(left, Value(1));
    trie.insert(right, Value(2));
    let mut found = Vec::new();
    trie.for_each_match(&literal, |value: &Value| found.push(value.0));
    found.sort_unstable();
    let expected: Vec<u64> =
        [(by_left, 1), (by_right, 2)].into_iter().filter(|(yes, _)| *yes).map(|(_, key)| key).collect();
    assert_eq!(found, expected, "{}", show());
    assert!(trie.remove(left, 1).is_some() && trie.remove(right, 2).is_some() && trie.is_empty(), "{}", show());
}

/// A transform that was accepted makes subjects of subjects.
pub fn transforms(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, ' ');
    let (Some(source), Some(destination), Some(given)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(transform) = Transform::new(source, destination) else { return };
    if !subject::is_valid_literal(given.as_bytes()) {
        return;
    }
    let mut out = Vec::new();
    if transform.apply(given.as_bytes(), &mut |below| below.saturating_sub(1), &mut out) {
        assert!(source.is_empty() || subject::matches(source.as_bytes(), given.as_bytes()), "it matches its source");
    }
}

/// The options of a page of the monitor: each is read or refused with its name.
pub fn monitor_queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/connz?{text}").parse() else { return };
    let query = Query::of(&uri);
    for name in ["subs", "auth", "cid", "limit", "offset"] {
        let refused = [query.flag(name).err(), query.number(name).err(), query.unsigned(name).err()];
        assert!(refused.into_iter().flatten().all(|refusal| refusal.0.contains(name)), "a refusal names the option");
    }
    let (offset, limit) = (query.offset(), query.limit(1024));
    assert!(limit != Ok(0) && offset.is_ok() == query.number("offset").is_ok());
}

/// A damaged certificate has fewer names; a name that can be written is the one that was read.
pub fn certificates(data: &[u8]) {
    let names = certificate::names(data);
    let texts: usize = names.alternative().map(String::len).sum();
    assert!(texts <= data.len(), "names are parts of the certificate");
    assert!(certificate::public_key_hash(data).is_none_or(|hash| hash.len() == 64));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = DistinguishedName::parse(text) {
        assert!(name.matches_in_any_order(&name));
    }
}

pub fn client_examples() -> Vec<Vec<u8>> {
    let texts = [
        "\u{10}CONNECT {\"verbose\":false,\"headers\":true}\r\nPING\r\nSUB a.> q 1\r\nPUB a.b 5\r\nhello\r\n",
        "\u{40}HPUB a reply 24 29\r\nNATS/1.0\r\nKey: Value\r\n\r\nhello\r\nUNSUB 1 5\r\nPONG\r\n+OK\r\n-ERR 'x'\r\n",
        " pub  a.b   r\t0 \r\n\r\nsub * 9\r\nINFO {}\r\n",
    ];
    examples_of(&texts)
}

pub fn header_examples() -> Vec<Vec<u8>> {
    let texts = [
        "NATS/1.0\r\nNats-Msg-Id: 1\r\nNats-TTL: 5s\r\nNats-Rollup: sub\r\n\r\n",
        "NATS/1.0 503 No Responders\r\nA:b\r\n :\r\n\r\n",
        "$JS.ACK.S.C.1.2.3.1700000000000000000.0",
        "$JS.ACK._.hash.S.C.1.2.3.1700000000000000000.0.x",
    ];
    examples_of(&texts)
}

pub fn subject_examples() -> Vec<Vec<u8>> {
    // By place in the alphabet: "a.* a.> a.b", "> *.b a.a.b", "* > a".
    vec![vec![0, 2, 3, 6, 0, 2, 4, 6, 0, 2, 1], vec![4, 6, 3, 2, 1, 6, 0, 2, 0, 2, 1], vec![3, 6, 4, 6, 0]]
}

pub fn transform_examples() -> Vec<Vec<u8>> {
    let texts = [
        "a.*.> b.{{wildcard(1)}}.> a.x.y.z",
        "*.* {{partition(5,1,2)}}.$2.$1 left.right",
        "> x.> a",
        "* {{split(1,-)}} a-b-c",
        "* {{splitfromleft(1,2)}}.{{slicefromright(1,3)}}.{{left(1,2)}}.{{right(1,9)}}.{{random(4)}} abcdefg",
    ];
    examples_of(&texts)
}

pub fn query_examples() -> Vec<Vec<u8>> {
    let texts =
        ["subs=1&limit=10&offset=-3&sort=bytes_to", "acc=%24G&cid=18446744073709551615&auth=T", "limit=%31+%zz&=&&a"];
    examples_of(&texts)
}

pub fn certificate_examples() -> Vec<Vec<u8>> {
    let encoded = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let attribute = |kind: u8, text: &[u8]| {
        let pair = [encoded(0x06, &[0x55, 0x04, kind]), encoded(0x0c, text)].concat();
        encoded(0x31, &encoded(0x30, &pair))
    };
    let subject = encoded(0x30, &[attribute(10, b"Org"), attribute(3, b"client")].concat());
    let names = [encoded(0x81, b"a@b"), encoded(0x82, b"a.b"), encoded(0x86, b"x://y")].concat();
    let names = encoded(0x04, &encoded(0x30, &names));
    let extension = encoded(0x30, &[encoded(0x06, &[0x55, 0x1d, 0x11]), encoded(0x01, &[0xff]), names].concat());
    let extensions = encoded(0xa3, &encoded(0x30, &extension));
    let (version, empty) = (encoded(0xa0, &[2, 1, 2]), encoded(0x30, &[]));
    let fields = [&version[..], &[2, 1, 1], &empty, &empty, &empty, &subject, &empty, &extensions].concat();
    let certificate = encoded(0x30, &encoded(0x30, &fields));
    vec![certificate, b"CN=a\\2c b, OU = c+uid=\\\\d ,O=e".to_vec()]
}
