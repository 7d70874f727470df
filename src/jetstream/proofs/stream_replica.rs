//! One replica of a stream and its consumers: the machines of production over a map of messages, with the bytes that
//! stand in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use headwater_storage::SequenceSet;

use super::super::api::StreamConfig;
use super::super::checkpoint;
use super::super::consumer::{Delta, delta};
use super::super::consumer_table::ConsumerTable;
use super::super::meta::StreamDefinition;
use super::super::stream::tests::harness::{Store, Stored};
use super::super::stream::{
    ConsumerChange, Control, Effects, MESSAGE, MessageEntry, Outcome, PublishHeaders, StreamMachine,
};
use super::super::view::View;

pub const IDENTITY: [u8; 16] = *b"of proven stream";

/// A stream as every replica holds it.
pub struct StreamReplica {
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    pub store: Store,
    /// Log time of the last entry.
    pub time: i64,
    pub effects: Effects,
}

/// An entry as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub tag: u8,
    pub time: i64,
    pub sequence: u64,
    pub subject: Bytes,
    pub headers: Bytes,
    pub payload: Bytes,
}

/// What an entry did, for those who check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    /// A message: its id and payload.
    pub message: Option<(Bytes, Bytes)>,
    pub removed: Vec<u64>,
    pub removed_before: Option<u64>,
    /// Acknowledged: number of the consumer, and a range of sequences.
    pub acked: Vec<(u64, u64, u64)>,
    pub consumer_gone: Option<u64>,
}

impl Entry {
    pub fn control(control: &Control, time: i64) -> Self {
        let mut body = Vec::new();
        control.encode(&mut body);
        let (subject, headers) = (Bytes::new(), Bytes::new());
        Self { tag: control.tag(), time, sequence: 0, subject, headers, payload: body.into() }
    }

    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.tag);
        out.put_i64_le(self.time);
        out.put_u64_le(self.sequence);
        for part in [&self.subject, &self.headers, &self.payload] {
            out.put_u32_le(part.len() as u32);
            out.extend_from_slice(part);
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    pub fn decode(bytes: &mut Bytes) -> Self {
        let (tag, time, sequence) = (bytes.get_u8(), bytes.get_i64_le(), bytes.get_u64_le());
        let mut part = || {
            let len = bytes.get_u32_le() as usize;
            bytes.split_to(len)
        };
        Self { tag, time, sequence, subject: part(), headers: part(), payload: part() }
    }
}

impl StreamReplica {
    pub fn new(config: StreamConfig) -> Self {
        Self {
            machine: StreamMachine::new(Arc::new(config), IDENTITY),
            consumers: ConsumerTable::default(),
            store: Store::default(),
            time: 0,
            effects: Effects::default(),
        }
    }

    pub fn view(&self) -> View<'_, Store> {
        View { machine: &self.machine, store: &self.store }
    }

    /// Applies an entry as a node does it, and gives space back at once.
    pub fn apply(&mut self, entry: &Entry) -> Applied {
        let mut applied = Applied::default();
        self.time = self.time.max(entry.time);
        if entry.tag == MESSAGE {
            let Entry { sequence, time, subject, headers, payload, .. } = entry;
            let stored =
                Stored { time: *time, subject: subject.to_vec(), headers: headers.to_vec(), payload: payload.to_vec() };
            self.store.messages.insert(*sequence, Arc::new(stored));
            let message =
                MessageEntry { sequence: *sequence, time: *time, subject, headers, payload_len: payload.len() };
            self.machine.apply_message(&message, &self.store, &self.consumers, &mut self.effects);
            let id = PublishHeaders::parse(headers).message_id.unwrap_or_default();
            applied.message = Some((Bytes::copy_from_slice(id), payload.clone()));
        } else {
            let control = Control::decode(entry.tag, &entry.payload).expect("entries of ours are well formed");
            self.machine.apply_control(&control, entry.time, &self.store, &mut self.consumers, &mut self.effects);
            applied.note(&control);
        }
        applied.outcome = self.effects.outcome;
        applied.removed = self.effects.removed.iter().map(|removed| removed.sequence).collect();
        applied.removed_before = self.effects.removed_before;
        assert!(self.effects.damaged.is_empty(), "nothing is damaged here: {:?}", self.effects.damaged);
        for sequence in &applied.removed {
            self.store.messages.remove(sequence);
        }
        if let Some(before) = applied.removed_before {
            self.store.messages = self.store.messages.split_off(&before);
        }
        applied
    }

    /// Machine and consumers, as replicas compare them.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = Fnv(self.machine.state_hash());
        self.consumers.hash_into(&mut hasher);
        hasher.0
    }

    /// The checkpoint of production, and the messages that a journal would hold beside it.
    pub fn checkpoint(&self) -> Bytes {
        let body = checkpoint::encode(
            &self.machine,
            &self.consumers,
            self.time,
            &SequenceSet::new(),
            StreamDefinition::default(),
        );
        let mut out = BytesMut::new();
        out.put_u32_le(body.len() as u32);
        out.extend_from_slice(&body);
        for (sequence, stored) in &self.store.messages {
            let entry = Entry {
                tag: MESSAGE,
                time: stored.time,
                sequence: *sequence,
                subject: Bytes::copy_from_slice(&stored.subject),
                headers: Bytes::copy_from_slice(&stored.headers),
                payload: Bytes::copy_from_slice(&stored.payload),
            };
            entry.encode(&mut out);
        }
        out.freeze()
    }

    pub fn restore(mut bytes: Bytes) -> Self {
        let len = bytes.get_u32_le() as usize;
        let restored = checkpoint::restore(bytes.split_to(len)).expect("checkpoints of ours are well formed");
        let mut messages = BTreeMap::new();
        while !bytes.is_empty() {
            let Entry { time, sequence, subject, headers, payload, .. } = Entry::decode(&mut bytes);
            let (subject, headers, payload) = (subject.to_vec(), headers.to_vec(), payload.to_vec());
            messages.insert(sequence, Arc::new(Stored { time, subject, headers, payload }));
        }
        Self {
            machine: restored.machine,
            consumers: restored.consumers,
            store: Store { messages, ..Store::default() },
            time: restored.time,
            effects: Effects::default(),
        }
    }
}

impl Applied {
    fn note(&mut self, control: &Control) {
        let Control::Consumer { change, id, body } = control else { return };
        match change {
            ConsumerChange::Delete => self.consumer_gone = Some(*id),
            ConsumerChange::Delta => {
                for delta in delta::decode(body) {
                    match delta.expect("deltas of ours are well formed") {
                        Delta::Acked { stream, count, .. } => {
                            self.acked.push((*id, stream, stream + u64::from(count) - 1));
                        }
                        Delta::AckedThrough { stream, .. } => self.acked.push((*id, 1, stream)),
                        _ => {}
                    }
                }
            }
            ConsumerChange::Create | ConsumerChange::Update => {}
        }
    }
}

/// A hasher whose result is the same in every run.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
