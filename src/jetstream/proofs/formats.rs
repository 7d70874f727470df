//! What stands in the records is as docs/formats.md says.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use headwater_raft::{CheckpointBody, GroupState, NodeId, PeerId};
use headwater_storage::SequenceSet;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::super::api::StreamConfig;
use super::super::consumer::{Delta, delta};
use super::super::consumer_table::CreateBody;
use super::super::meta::{MetaChange, MetaEntry, MetaMachine, StreamDefinition};
use super::super::stream::{ConsumerChange, Control, MESSAGE, MESSAGE_OF_BATCH};
use super::determinism::{apply, record};
use super::leader;
use super::stream_replica::StreamReplica;

const TEXT: &str = include_str!("../../../docs/formats.md");

/// The cells of the rows of the table under a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, below) = TEXT.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rows = below.lines().skip_while(|line| !line.starts_with('|')).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// A message's fields and how they are encoded.
type Fields = BTreeMap<u32, &'static str>;

fn told(heading: &str) -> Fields {
    let wire = |kind: &str| match kind {
        "u64" | "i64" | "bool" => "varint",
        "fixed64" => "fixed64",
        "string" | "bytes" | "message" | "list" => "bytes",
        other => panic!("{other} in {heading}"),
    };
    rows(heading).iter().map(|cells| (cells[0].parse().unwrap(), wire(cells[1]))).collect()
}

fn found(bytes: &[u8]) -> Fields {
    let (mut rest, mut fields) = (bytes, Fields::new());
    while rest.has_remaining() {
        let (field, wire) = decode_key(&mut rest).unwrap();
        let kind = match wire {
            WireType::Varint => decode_varint(&mut rest).map(|_| "varint").unwrap(),
            WireType::SixtyFourBit => {
                rest.advance(8);
                "fixed64"
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).unwrap();
                rest.advance(length as usize);
                "bytes"
            }
            other => panic!("field {field} is a {other:?}"),
        };
        fields.insert(field, kind);
    }
    fields
}

/// `bytes` has every field set.
#[track_caller]
fn check(heading: &str, bytes: &[u8]) {
    assert_eq!(found(bytes), told(heading), "{heading}");
}

fn definition() -> StreamDefinition {
    let (account, name) = ("A".to_owned(), "S".to_owned());
    StreamDefinition { group: 2, account, name, config: Bytes::from_static(b"{}"), created: 5 }
}

#[test]
fn bodies_of_entries_and_states_are_as_documented() {
    let encoded = |control: Control| {
        let mut bytes = Vec::new();
        control.encode(&mut bytes);
        bytes
    };
    check("Purge (protobuf)", &encoded(Control::Purge { filter: "a".to_owned(), up_to: 7, keep: 1 }));
    check("Expire (protobuf)", &encoded(Control::Expire { at_most: 7 }));
    check("Delete (protobuf)", &encoded(Control::Delete { sequence: 7, erase: true }));
    let (name, config, state) = ("C".to_owned(), Bytes::from_static(b"{}"), Bytes::from_static(b"state"));
    check("Consumer (protobuf)", &CreateBody { name, config, state, created: 5, id: 1 }.encode_to_vec());
    check("Stream (protobuf; also the payload of kind Definition)", &definition().encode_to_vec());
    let members = GroupState::bootstrap(&[PeerId::new(NodeId(1), 1)]).membership();
    check("Group state (protobuf; kind State)", &GroupState::joining(&members, 9).encode());
    let body = CheckpointBody::new(&members, Bytes::from_static(b"body")).encode();
    check("Checkpoint (protobuf; kind Checkpoint, its parts put together)", &body);
    let changes = [MetaChange::Created(definition()), MetaChange::Deleted(2), MetaChange::Removed(2)];
    let entries = changes.map(|change| found(&MetaEntry { change: Some(change) }.encode_to_vec()));
    let entries: Fields = entries.into_iter().flatten().collect();
    assert_eq!(entries, told("Entry of the list of streams (protobuf; group 1)"));
    let mut list = MetaMachine::new();
    list.apply(MetaEntry { change: Some(MetaChange::Created(definition())) });
    list.apply(MetaEntry { change: Some(MetaChange::Deleted(2)) });
    list.apply(MetaEntry { change: Some(MetaChange::Created(StreamDefinition { group: 3, ..definition() })) });
    check("Checkpoint of the list of streams (protobuf)", &list.checkpoint());
}

/// Every field of a checkpoint turns up in some stream of a random life, but for one.
#[test]
fn checkpoints_of_streams_are_as_documented() {
    let (mut whole, mut machine, mut consumers) = (Fields::new(), Fields::new(), Fields::new());
    for seed in 0..8 {
        let mut replica = StreamReplica::new(leader::config(seed));
        for entry in record(seed).0 {
            apply(&mut replica, &entry);
            let (mut body, table) = (Vec::new(), replica.consumers.checkpoint());
            replica.machine.encode_checkpoint(&mut body);
            machine.extend(found(&body));
            consumers.extend(found(&table));
            let erasures = SequenceSet::from_iter([seed + 1]);
            let (machine, consumers) = (&replica.machine, &replica.consumers);
            let body = super::super::checkpoint::encode(machine, consumers, replica.time, &erasures, definition());
            whole.extend(found(&body));
        }
    }
    assert_eq!(consumers, told("Consumers (protobuf)"));
    assert_eq!(whole, told("Checkpoint of a stream (protobuf)"));
    // None of them has a message that waits for its delete marker just then, or has lost one to damage.
    assert_eq!((machine.insert(18, "bytes"), machine.insert(19, "varint")), (None, None));
    assert_eq!(machine, told("Stream state (protobuf)"));
}

#[test]
fn tags_of_entries_are_as_documented() {
    let consumer = |change| Control::Consumer { change, id: 1, body: Vec::new() };
    let entries = [
        (MESSAGE, "a message"),
        (Control::Purge { filter: String::new(), up_to: 0, keep: 0 }.tag(), "Purge"),
        (Control::Delete { sequence: 1, erase: false }.tag(), "Delete"),
        (Control::Expire { at_most: 0 }.tag(), "Expire"),
        (Control::Update { config: Box::new(StreamConfig::default()) }.tag(), "Update"),
        (consumer(ConsumerChange::Create).tag(), "a consumer is created"),
        (consumer(ConsumerChange::Update).tag(), "a consumer is updated"),
        (consumer(ConsumerChange::Delete).tag(), "a consumer is deleted"),
        (consumer(ConsumerChange::Delta).tag(), "a consumer's deltas"),
        (MESSAGE_OF_BATCH, "a message of an atomic batch"),
    ];
    let rows = rows("Entries of a stream");
    for (row, (tag, text)) in rows.iter().zip(entries) {
        assert!(row[0] == tag.to_string() && row[2].starts_with(text), "{row:?} is not {tag}, {text}");
    }
    assert_eq!(rows[entries.len()..].iter().map(|row| row[0]).collect::<Vec<_>>(), ["0xf1", "0xf2"]);
}

#[test]
fn kinds_of_deltas_and_their_fields_are_as_documented() {
    let (stream, consumer, count, deliveries, time) = (1000, 2000, 5, 5, 3000);
    let deltas = [
        Delta::Delivered { stream, consumer, count, time },
        Delta::Redelivered { stream, consumer, deliveries, time },
        Delta::Acked { stream, count, time },
        Delta::AckedThrough { stream, consumer, time },
        Delta::Rescheduled { stream, time },
        Delta::Exhausted { stream, deliveries },
        Delta::Removed { stream, count: 5, time: 0 },
        Delta::Purged { stream, time: 0 },
        Delta::Advanced { stream },
        Delta::Reset { stream },
        Delta::Paused { until: time },
        Delta::Removed { stream, count: 5, time },
        Delta::Purged { stream, time },
    ];
    let rows = rows("Deltas");
    assert_eq!(rows.len(), deltas.len());
    for (row, delta) in rows.iter().zip(deltas) {
        let mut bytes = Vec::new();
        delta::encode(&[delta], &mut bytes);
        assert_eq!((bytes[0] & 0x0f).to_string(), row[0], "{delta:?}");
        // Two bytes for each of the larger numbers, one for a count; what is zero is as expected at first.
        let bytes_of = |field: &str| match field.trim() {
            "stream" | "consumer" | "time" => 2,
            "count" | "deliveries" => 1,
            _ => 0,
        };
        let wanted: usize = row[2].split(',').map(bytes_of).sum();
        assert_eq!(bytes.len(), 1 + wanted, "{delta:?} has the fields {}", row[2]);
    }
}
