//! The whole durable state of a consumer as bytes, for checkpoints, and as a hash, for comparing replicas.
//!
//! | field | encoding |
//! |---|---|
//! | version | 1 byte: 2 with a held floor, else 1 |
//! | ack policy | 1 byte: 0 none, 1 all, 2 explicit, 3 flow control |
//! | ack floor: stream, consumer; delivered: stream, consumer as distances from it | varint |
//! | times of the last delivery, ack and of the end of the pause | signed varint |
//! | next | varint |
//! | pending: count, then stream distance, consumer, time, deliveries of each | varint, signed distances |
//! | exhausted: count, then stream distance and deliveries of each | varint |
//! | last per subject: 0, or 1, resume, count, distances | varint |
//! | held floor, in version 2: how far it is below the ack floor: stream, consumer | varint |
//!
//! Reading never panics and never allocates more than a small multiple of the input.

use std::hash::Hasher;

use super::last_per_subject::LastPerSubject;
use super::pending::Pending;
use super::state::{ConsumerState, SequencePair};
use super::varint::{self, Reader};
use crate::jetstream::api::consumer_config::AckPolicy;

const VERSION: u8 = 1;
const VERSION_WITH_HELD_FLOOR: u8 = 2;

/// Bytes that are no consumer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed consumer state")]
pub struct MalformedState;

impl ConsumerState {
    /// Appends the whole state.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.held_floor.is_some() { VERSION_WITH_HELD_FLOOR } else { VERSION });
        out.push(policy_code(self.ack_policy));
        varint::put(out, self.ack_floor.stream);
        varint::put(out, self.ack_floor.consumer);
        varint::put_signed(out, self.delivered.stream.wrapping_sub(self.ack_floor.stream) as i64);
        varint::put_signed(out, self.delivered.consumer.wrapping_sub(self.ack_floor.consumer) as i64);
        varint::put_signed(out, self.delivered_time);
        varint::put_signed(out, self.acked_time.wrapping_sub(self.delivered_time));
        varint::put_signed(out, self.pause_until);
        varint::put(out, self.next);
        self.encode_pending(out);
        varint::put(out, self.exhausted.len() as u64);
        let mut previous = 0;
        for (sequence, deliveries) in &self.exhausted {
            varint::put(out, sequence - previous);
            varint::put(out, u64::from(*deliveries));
            previous = *sequence;
        }
        match &self.last_per_subject {
            None => out.push(0),
            Some(list) => {
                out.push(1);
                varint::put(out, list.resume());
                // All of it, also what was delivered: a reset may go back into it, on every replica alike.
                varint::put(out, list.sequences().len() as u64);
                let mut previous = 0;
                for sequence in list.sequences() {
                    varint::put(out, sequence - previous);
                    previous = *sequence;
                }
            }
        }
        if let Some(held) = self.held_floor {
            varint::put(out, self.ack_floor.stream.wrapping_sub(held.stream));
            varint::put(out, self.ack_floor.consumer.wrapping_sub(held.consumer));
        }
    }

    fn encode_pending(&self, out: &mut Vec<u8>) {
        varint::put(out, self.pending.len() as u64);
        let mut previous = (0, Pending { consumer_sequence: 0, time: self.delivered_time, deliveries: 0 });
        for (sequence, pending) in self.pending.iter() {
            varint::put(out, sequence - previous.0);
            varint::put_signed(out, pending.consumer_sequence.wrapping_sub(previous.1.consumer_sequence) as i64);
            varint::put_signed(out, pending.time.wrapping_sub(previous.1.time));
            varint::put(out, u64::from(pending.deliveries));
            previous = (sequence, pending);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedState> {
        let mut reader = Reader::new(bytes);
        let state = read(&mut reader).ok_or(MalformedState)?;
        if reader.is_empty() { Ok(state) } else { Err(MalformedState) }
    }

    /// Feeds everything that must be the same on all replicas.
    pub fn hash_into(&self, hasher: &mut impl Hasher) {
        let pairs = [self.delivered.consumer, self.delivered.stream, self.ack_floor.consumer, self.ack_floor.stream];
        pairs.into_iter().chain([self.next]).for_each(|value| hasher.write_u64(value));
        [self.delivered_time, self.acked_time, self.pause_until].into_iter().for_each(|time| hasher.write_i64(time));
        hasher.write_u8(policy_code(self.ack_policy));
        hasher.write_u64(self.pending.len() as u64);
        for (sequence, pending) in self.pending.iter() {
            hasher.write_u64(sequence);
            hasher.write_u64(pending.consumer_sequence);
            hasher.write_i64(pending.time);
            hasher.write_u32(pending.deliveries);
        }
        hasher.write_u64(self.exhausted.len() as u64);
        for (sequence, deliveries) in &self.exhausted {
            hasher.write_u64(*sequence);
            hasher.write_u32(*deliveries);
        }
        if let Some(held) = self.held_floor {
            hasher.write_u64(held.stream);
            hasher.write_u64(held.consumer);
        }
        if let Some(list) = &self.last_per_subject {
            hasher.write_u64(list.resume());
            list.sequences().iter().for_each(|sequence| hasher.write_u64(*sequence));
        }
    }
}

fn policy_code(policy: AckPolicy) -> u8 {
    match policy {
        AckPolicy::None => 0,
        AckPolicy::All => 1,
        AckPolicy::Explicit => 2,
        AckPolicy::FlowControl => 3,
    }
}

fn read(reader: &mut Reader<'_>) -> Option<ConsumerState> {
    let version = reader.byte()?;
    if !matches!(version, VERSION | VERSION_WITH_HELD_FLOOR) {
        return None;
    }
    let ack_policy = match reader.byte()? {
        0 => AckPolicy::None,
        1 => AckPolicy::All,
        2 => AckPolicy::Explicit,
        3 => AckPolicy::FlowControl,
        _ => return None,
    };
    let ack_floor = SequencePair { stream: reader.unsigned()?, consumer: reader.unsigned()? };
    let delivered = SequencePair {
        stream: ack_floor.stream.checked_add_signed(reader.signed()?)?,
        consumer: ack_floor.consumer.checked_add_signed(reader.signed()?)?,
    };
    let mut state = ConsumerState::new(ack_policy, 1);
    state.ack_floor = ack_floor;
    state.delivered = delivered;
    state.delivered_time = reader.signed()?;
    state.acked_time = state.delivered_time.wrapping_add(reader.signed()?);
    state.pause_until = reader.signed()?;
    state.next = reader.unsigned()?.max(1);
    read_pending(reader, &mut state)?;
    let mut sequence = 0u64;
    for _ in 0..reader.count(2)? {
        sequence = sequence.checked_add(reader.unsigned()?)?;
        state.exhausted.insert(sequence, u32::try_from(reader.unsigned()?).ok()?);
    }
    state.last_per_subject = match reader.byte()? {
        0 => None,
        1 => Some(Box::new(read_list(reader)?)),
        _ => return None,
    };
    if version == VERSION_WITH_HELD_FLOOR {
        let stream = ack_floor.stream.checked_sub(reader.unsigned()?)?;
        let consumer = ack_floor.consumer.checked_sub(reader.unsigned()?)?;
        let held = SequencePair { consumer, stream };
        // A floor that is not held back has the first version.
        state.held_floor = (held != ack_floor).then_some(Some(held))?;
    }
    Some(state)
}

fn read_pending(reader: &mut Reader<'_>, state: &mut ConsumerState) -> Option<()> {
    let count = reader.count(4)?;
    let (mut sequence, mut consumer_sequence, mut time) = (0u64, 0u64, state.delivered_time);
    for _ in 0..count {
        let distance = reader.unsigned()?.max(1);
        sequence = sequence.checked_add(distance)?;
        consumer_sequence = consumer_sequence.checked_add_signed(reader.signed()?)?;
        time = time.wrapping_add(reader.signed()?);
        let deliveries = u32::try_from(reader.unsigned()?).ok()?;
        state.pending.insert(sequence, Pending { consumer_sequence, time, deliveries });
    }
    Some(())
}

fn read_list(reader: &mut Reader<'_>) -> Option<LastPerSubject> {
    let resume = reader.unsigned()?;
    let mut sequences = Vec::new();
    let mut sequence = 0u64;
    for _ in 0..reader.count(1)? {
        sequence = sequence.checked_add(reader.unsigned()?)?;
        sequences.push(sequence);
    }
    Some(LastPerSubject::new(sequences, resume))
}
