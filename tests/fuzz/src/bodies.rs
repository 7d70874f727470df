//! What is fuzzed: one function per target, which must hold for any bytes. They stand here once and run twice: under
//! libFuzzer (`cargo +nightly fuzz run <target>` in `tests/fuzz`), and as property tests in `cargo test`.

use bytes::{Bytes, BytesMut};
use headwater::account::{Keyed, Trie};
use headwater::jetstream::api::message_get::MessageGetRequest;
use headwater::jetstream::api::requests::{
    ConsumersRequest, CreateConsumerRequest, MessageDeleteRequest, PurgeRequest, StreamConfigRequest,
    StreamInfoRequest, StreamNamesRequest,
};
use headwater::jetstream::api::{ConsumerConfig, StreamConfig, json};
use headwater::jetstream::consumer::{ConsumerState, delta, reply_subject};
use headwater::jetstream::stream::{Control, PublishHeaders, StreamMachine};
use headwater::protocol::client::{self, Limits, Step};
use headwater::protocol::connect::ConnectOptions;
use headwater::protocol::{headers, subject};
use headwater_raft::{CheckpointBody, Envelope, GroupState, decode_batch, encode_batch, frame_length};
use headwater_storage::format::batch::BatchHeader;
use headwater_storage::format::footer::{FooterDirectory, Section};
use headwater_storage::format::record;
use headwater_storage::format::segment::{SealSlot, SegmentHeader};
use headwater_storage::{DedupeWindow, SequenceSet, SubjectIndex};

pub struct Target {
    pub name: &'static str,
    pub body: fn(&[u8]),
    /// Inputs that are well formed: where the property tests begin to spoil things.
    pub examples: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "client_parser", body: client_parser, examples: client_examples },
    Target { name: "header_block", body: header_block, examples: header_examples },
    Target { name: "subjects", body: subjects, examples: subject_examples },
    Target { name: "configuration", body: configuration, examples: configuration_examples },
    Target { name: "journal_formats", body: journal_formats, examples: journal_examples },
    Target { name: "checkpoints", body: checkpoints, examples: checkpoint_examples },
    Target { name: "api_json", body: api_json, examples: json_examples },
    Target { name: "raft_batch", body: raft_batch, examples: raft_examples },
];

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

/// A configuration is read or refused with a place; it never takes the process along.
pub fn configuration(data: &[u8]) {
    // An include would read whatever file the fuzzer thinks of.
    if data.windows(7).any(|window| window.eq_ignore_ascii_case(b"include")) {
        return;
    }
    if let Err(error) = headwater::config::load_text(data) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
    }
}

/// Every layout of the journal, from bytes that may be anything.
pub fn journal_formats(data: &[u8]) {
    let seed = data.first().map_or(0, |byte| u32::from(*byte));
    if let Ok(record) = record::verify(data, seed) {
        assert!(record.bytes().len() <= data.len() && record.subject().len() + record.payload().len() <= data.len());
    }
    let _ = record::decode_header(data);
    if let Some(header) = BatchHeader::decode(data, 1, seed) {
        assert!(header.length as usize >= 1);
    }
    let _ = SealSlot::decode(data, seed);
    let _ = SegmentHeader::decode(data);
    if let Some(directory) = FooterDirectory::decode(data) {
        assert_eq!(directory.encoded_length(), data.len());
        assert_eq!(FooterDirectory::decode(&directory.encode()), Some(directory));
    }
    // A section with the right checksum and any content.
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(data);
    if let Some(section) = Section::decode(Bytes::copy_from_slice(data), seed, hasher.finalize()) {
        for position in 0..section.entry_count().min(64) {
            let _ = section.entry(position);
        }
        for position in 0..section.message_count().min(64) {
            let _ = (section.message(position), section.subject_id(position));
        }
        for id in 0..section.subject_count().min(64) {
            let _ = section.subject(id as u32);
        }
    }
}

/// Checkpoints and deltas: what is read can be written and read again as the same.
pub fn checkpoints(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 7 {
        0 => {
            let Ok(index) = SubjectIndex::decode(rest) else { return };
            let (mut sum, mut again) = (0, 0);
            index.hash_into(&mut sum);
            let copy = SubjectIndex::decode(&encoded(|out| index.encode(out))).expect("what was written is read");
            copy.hash_into(&mut again);
            assert_eq!((sum, index.len(), index.total()), (again, copy.len(), copy.total()));
        }
        1 => {
            let Ok(set) = SequenceSet::decode(rest) else { return };
            let copy = SequenceSet::decode(&encoded(|out| set.encode(out))).expect("what was written is read");
            assert!(set.len() == copy.len() && set.runs().take(1000).eq(copy.runs().take(1000)));
        }
        2 => {
            let Ok(window) = DedupeWindow::decode(rest) else { return };
            let written = encoded(|out| window.encode(i64::MIN, out));
            assert!(DedupeWindow::decode(&written).is_ok_and(|copy| copy.len() <= window.len()));
        }
        3 => {
            let Ok(state) = ConsumerState::decode(rest) else { return };
            let copy = ConsumerState::decode(&encoded(|out| state.encode(out))).expect("what was written is read");
            assert_eq!(copy, state);
        }
        4 => {
            let deltas: Vec<_> = delta::decode(rest).map_while(Result::ok).collect();
            let written = encoded(|out| delta::encode(&deltas, out));
            let again: Vec<_> = delta::decode(&written).map_while(Result::ok).collect();
            assert_eq!(again, deltas);
        }
        5 => {
            let Ok(machine) = StreamMachine::restore(rest) else { return };
            let copy = StreamMachine::restore(&encoded(|out| machine.encode_checkpoint(out)));
            assert_eq!(copy.expect("what was written is read").state_hash(), machine.state_hash());
        }
        _ => {
            let Some((tag, body)) = rest.split_first() else { return };
            let Ok(control) = Control::decode(*tag, body) else { return };
            let written = encoded(|out| control.encode(out));
            assert_eq!(Control::decode(control.tag(), &written), Ok(control));
        }
    }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// API requests; a configuration that was read is written and read as the same.
pub fn api_json(data: &[u8]) {
    for strict in [false, true] {
        if let Ok(request) = json::read::<StreamConfigRequest>(data, strict) {
            let written = json::write(&request.config);
            assert_eq!(json::read::<StreamConfig>(&written, false).as_ref(), Ok(&request.config));
        }
        if let Ok(request) = json::read::<CreateConsumerRequest>(data, strict) {
            let written = json::write(&request.config);
            assert_eq!(json::read::<ConsumerConfig>(&written, false).as_ref(), Ok(&request.config));
        }
        let _ = json::read::<PurgeRequest>(data, strict).map(|request| request.check());
        let _ = json::read::<MessageGetRequest>(data, strict);
        let _ = json::read::<MessageDeleteRequest>(data, strict);
        let _ = json::read::<StreamInfoRequest>(data, strict);
        let _ = json::read::<StreamNamesRequest>(data, strict);
        let _ = json::read::<ConsumersRequest>(data, strict);
    }
}

/// What a peer sends, and the records of raft's own.
pub fn raft_batch(data: &[u8]) {
    if let Ok(Some(length)) = frame_length(data) {
        assert!(length > 0);
    }
    let read: Result<Vec<Envelope>, _> = decode_batch(Bytes::copy_from_slice(data)).collect();
    if let Ok(batch) = read
        && !batch.is_empty()
    {
        let mut out = BytesMut::new();
        encode_batch(&batch, &mut out);
        let again: Result<Vec<Envelope>, _> = decode_batch(out.freeze()).collect();
        assert_eq!(again.as_ref(), Ok(&batch));
    }
    let _ = GroupState::decode(data);
    let _ = CheckpointBody::decode(Bytes::copy_from_slice(data));
}

fn client_examples() -> Vec<Vec<u8>> {
    let texts = [
        "\u{10}CONNECT {\"verbose\":false,\"headers\":true}\r\nPING\r\nSUB a.> q 1\r\nPUB a.b 5\r\nhello\r\n",
        "\u{40}HPUB a reply 24 29\r\nNATS/1.0\r\nKey: Value\r\n\r\nhello\r\nUNSUB 1 5\r\nPONG\r\n+OK\r\n-ERR 'x'\r\n",
        " pub  a.b   r\t0 \r\n\r\nsub * 9\r\nINFO {}\r\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn header_examples() -> Vec<Vec<u8>> {
    let texts = [
        "NATS/1.0\r\nNats-Msg-Id: 1\r\nNats-TTL: 5s\r\nNats-Rollup: sub\r\n\r\n",
        "NATS/1.0 503 No Responders\r\nA:b\r\n :\r\n\r\n",
        "$JS.ACK.S.C.1.2.3.1700000000000000000.0",
        "$JS.ACK._.hash.S.C.1.2.3.1700000000000000000.0.x",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn subject_examples() -> Vec<Vec<u8>> {
    // By place in the alphabet: "a.* a.> a.b", "> *.b a.a.b", "* > a".
    vec![vec![0, 2, 3, 6, 0, 2, 4, 6, 0, 2, 1], vec![4, 6, 3, 2, 1, 6, 0, 2, 0, 2, 1], vec![3, 6, 4, 6, 0]]
}

fn configuration_examples() -> Vec<Vec<u8>> {
    let texts = [
        "port: 4222\njetstream { store_dir: \"/tmp/x\", max_file: 10G }\n",
        "accounts { A { users = [ {user: a, password: b, permissions: {publish: \"a.>\"}} ], jetstream: enabled } }",
        "x = 5m\nauthorization: { token: $T, timeout: 1.5 } # note\n// other\nlisten 127.0.0.1:-1\ny: (\nblock\n)\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn journal_examples() -> Vec<Vec<u8>> {
    let header = headwater_storage::RecordHeader {
        group: headwater_storage::GroupId(2),
        index: 7,
        term: 1,
        kind: headwater_storage::RecordKind::Message,
        tag: 0,
        sequence: 5,
        time: 9,
        subject_len: 1,
        headers_len: 0,
        payload_len: 3,
    };
    let mut record = vec![0; header.record_bytes()];
    record::encode(&header, &[b"s", b"abc"], 0, &mut record);
    vec![record, FooterDirectory::default().encode(), vec![0; 128]]
}

fn checkpoint_examples() -> Vec<Vec<u8>> {
    let mut index = SubjectIndex::new();
    let mut set = SequenceSet::new();
    let mut window = DedupeWindow::new([1; 16], 1000, 100);
    for sequence in 1..20u64 {
        index.insert(format!("a.{}.b", sequence % 5).as_bytes(), sequence);
        set.insert(sequence * sequence);
        window.insert(&sequence.to_le_bytes(), sequence, sequence as i64);
    }
    let config = StreamConfig { name: "S".to_owned(), subjects: vec!["s".to_owned()], ..StreamConfig::default() };
    let machine = StreamMachine::new(std::sync::Arc::new(config), [2; 16]);
    let state = ConsumerState::new(Default::default(), 1);
    let deltas = [
        delta::Delta::Delivered { stream: 1, consumer: 1, count: 9, time: 5 },
        delta::Delta::Acked { stream: 3, count: 2, time: 6 },
        delta::Delta::Redelivered { stream: 1, consumer: 10, deliveries: 2, time: 7 },
        delta::Delta::Purged { stream: 4, time: 8 },
    ];
    let kinds = [
        encoded(|out| index.encode(out)),
        encoded(|out| set.encode(out)),
        encoded(|out| window.encode(5, out)),
        encoded(|out| state.encode(out)),
        encoded(|out| delta::encode(&deltas, out)),
        encoded(|out| machine.encode_checkpoint(out)),
        vec![1, 0x0a, 1, b'a', 0x10, 0xac, 2, 0x18, 1],
    ];
    let numbered = kinds.into_iter().enumerate();
    numbered.map(|(kind, bytes)| std::iter::once(kind as u8).chain(bytes).collect()).collect()
}

fn json_examples() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"name":"S","subjects":["a.>"],"max_age":1000,"retention":"limits","storage":"file","num_replicas":1,"metadata":{"k":"v"}}"#,
        r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit","backoff":[1,2],"filter_subjects":["a"],"opt_start_time":"2020-01-02T03:04:05.678Z"},"action":"create"}"#,
        r#"{"seq":5,"filter":"a","keep":0}"#,
        r#"{"last_by_subj":"a\u00e9\ud83d\ude00","batch":5,"up_to_time":"2020-01-02T03:04:05+02:00"}"#,
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn raft_examples() -> Vec<Vec<u8>> {
    use headwater_raft::{Body, Chunk, ChunkAck, GroupId, NodeId, PeerId};
    let (from, to) = (PeerId::new(NodeId(1), 1), PeerId::new(NodeId(2), 1));
    let bodies = [
        Body::Raft(Box::default()),
        Body::Sleep { term: 3, commit: 4, state_hash: 5 },
        Body::Chunk(Chunk { transfer: 1, offset: 2, total: 9, data: Bytes::from_static(b"abc"), message: None }),
        Body::ChunkAck(ChunkAck { transfer: 1, next: 5, complete: false }),
    ];
    let batch = bodies.map(|body| Envelope { group: GroupId(2), from, to, body });
    let mut out = BytesMut::new();
    encode_batch(&batch, &mut out);
    vec![out.to_vec(), GroupState::bootstrap(&[from, to]).encode().to_vec()]
}
