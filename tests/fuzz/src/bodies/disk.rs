//! What lies on the disk, and what peers send: the same records.

use bytes::{Bytes, BytesMut};
use headwater::jetstream::api::{ConsumerConfig, StreamConfig, json};
use headwater::jetstream::checkpoint;
use headwater::jetstream::consumer::{ConsumerState, delta};
use headwater::jetstream::consumer_table::{ConsumerTable, CreateBody};
use headwater::jetstream::meta::{MetaChange, MetaEntry, MetaMachine, StreamDefinition};
use headwater::jetstream::stream::{ConsumerChange, Consumers, Control, StreamMachine};
use headwater_raft::{CheckpointBody, Envelope, GroupState, decode_batch, encode_batch, frame_length};
use headwater_storage::format::batch::BatchHeader;
use headwater_storage::format::catalogue_row;
use headwater_storage::format::footer::{FooterDirectory, Section};
use headwater_storage::format::record;
use headwater_storage::format::segment::{FileName, SealSlot, SegmentHeader};
use headwater_storage::{DedupeWindow, SequenceSet, SubjectIndex};
use prost::Message;

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
    if let Ok(name) = std::str::from_utf8(data)
        && let Some(file) = FileName::parse(name)
    {
        assert_eq!(file.to_string(), name);
    }
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

/// A row that is believed is one that was written so; one spoilt bit and it is not.
pub fn catalogue_rows(data: &[u8]) {
    let Some((journal, rest)) = data.split_first_chunk() else { return };
    let journal = u64::from_le_bytes(*journal);
    for key_bytes in [catalogue_row::KEY_BYTES, rest.len() / 2] {
        let (key, value) = rest.split_at(key_bytes.min(rest.len()));
        if let Ok(row) = catalogue_row::read(journal, key, value) {
            let written = catalogue_row::key(journal, row.segment);
            assert_eq!(
                (&written[..], row.sound_at.map(|at| catalogue_row::value(&written, at).to_vec())),
                (key, Some(value.to_vec()))
            );
            let mut spoilt = value.to_vec();
            spoilt[usize::from(data[0]) % catalogue_row::VALUE_BYTES] ^= 1 << (data[1] % 8);
            assert!(
                catalogue_row::read(journal, key, &spoilt).is_err()
                    && catalogue_row::read(!journal, key, value).is_err()
            );
        }
    }
}

/// Checkpoints and deltas: what is read can be written and read again as the same.
pub fn checkpoints(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 10 {
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
        7 => {
            let Ok(restored) = checkpoint::restore(Bytes::copy_from_slice(rest)) else { return };
            let (machine, consumers) = (&restored.machine, &restored.consumers);
            let definition = restored.definition.clone().unwrap_or_default();
            let written = checkpoint::encode(machine, consumers, restored.time, &restored.erasures, definition.clone());
            let copy = checkpoint::restore(written).expect("what was written is read");
            assert_eq!(copy.definition.map(|copy| (copy.group, copy.name)), Some((definition.group, definition.name)));
            assert_eq!(copy.machine.state_hash(), restored.machine.state_hash());
            assert_eq!((copy.consumers.len(), copy.time), (restored.consumers.len(), restored.time));
            assert!(copy.erasures.runs().eq(restored.erasures.runs()));
        }
        8 => {
            // Two entries of a consumer on top of each other.
            let mut consumers = ConsumerTable::default();
            let (first, second) = rest.split_at(rest.len() / 2);
            let changes =
                [ConsumerChange::Create, ConsumerChange::Update, ConsumerChange::Delta, ConsumerChange::Delete];
            for change in changes {
                consumers.apply(ConsumerChange::Create, 1, rest, 5, &mut Vec::new());
                consumers.apply(change, 1, first, 6, &mut Vec::new());
                consumers.apply(change, 1, second, 7, &mut Vec::new());
            }
            assert!(ConsumerTable::restore(&consumers.checkpoint()).is_ok_and(|copy| copy.len() == consumers.len()));
        }
        9 => {
            if let Ok(mut machine) = MetaMachine::restore(rest) {
                assert_eq!(MetaMachine::restore(&machine.checkpoint()).as_ref(), Ok(&machine));
                let Ok(entry) = MetaEntry::decode(rest) else { return };
                machine.apply(entry);
                assert_eq!(MetaMachine::restore(&machine.checkpoint()), Ok(machine));
            }
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

pub fn journal_examples() -> Vec<Vec<u8>> {
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
    vec![record, FooterDirectory::default().encode(), vec![0; 128], b"0000000007.segment".to_vec()]
}

pub fn row_examples() -> Vec<Vec<u8>> {
    let (journal, segment) = (0x5eed_u64, 7);
    let key = catalogue_row::key(journal, segment);
    let value = catalogue_row::value(&key, 1_700_000_000_000_000_000);
    vec![[&journal.to_le_bytes()[..], &key, &value].concat()]
}

pub fn checkpoint_examples() -> Vec<Vec<u8>> {
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
    let mut consumers = ConsumerTable::default();
    let config = ConsumerConfig { durable_name: "C".to_owned(), ..ConsumerConfig::default() };
    let body = CreateBody {
        name: "C".to_owned(),
        config: json::write(&config).into(),
        state: encoded(|out| state.encode(out)).into(),
        created: 0,
        id: 1,
    };
    consumers.apply(ConsumerChange::Create, 1, &body.encode_to_vec(), 5, &mut Vec::new());
    let mut meta = MetaMachine::new();
    let definition = StreamDefinition { group: 2, account: "$G".into(), name: "S".into(), ..Default::default() };
    meta.apply(MetaEntry { change: Some(MetaChange::Created(definition.clone())) });
    let kinds = [
        encoded(|out| index.encode(out)),
        encoded(|out| set.encode(out)),
        encoded(|out| window.encode(5, out)),
        encoded(|out| state.encode(out)),
        encoded(|out| delta::encode(&deltas, out)),
        encoded(|out| machine.encode_checkpoint(out)),
        vec![1, 0x0a, 1, b'a', 0x10, 0xac, 2, 0x18, 1],
        checkpoint::encode(&machine, &consumers, 9, &set, definition).to_vec(),
        body.encode_to_vec(),
        meta.checkpoint(),
    ];
    let numbered = kinds.into_iter().enumerate();
    numbered.map(|(kind, bytes)| std::iter::once(kind as u8).chain(bytes).collect()).collect()
}

pub fn raft_examples() -> Vec<Vec<u8>> {
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
