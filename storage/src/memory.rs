//! The memory log: the messages of one memory stream, read like those of the journal. Messages lie one after another in
//! chunks; a reader's view shares its chunk, so that a read copies nothing and a release waits for nobody. A chunk is
//! freed when all its messages are released and the last view is gone; one of which little is left is copied together,
//! so that few old messages don't hold much memory.

mod chunk;
mod message;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::BytesMut;

use chunk::{Chunk, Slot};
use message::{HEADER_BYTES, put_record};
pub use message::{MemoryInput, MemoryMessage};

/// A stream's first chunk is small, each later one as long as all before it, up to this.
const CHUNK_BYTES_MIN: usize = 4 * 1024;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// A chunk is copied together when less than one part in so many is still held.
const SPARSE_SHARE: usize = 4;
/// sequence, time, index, term, headers length, payload length, subject length, tag.

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemoryAppendError {
    /// Sequences grow.
    #[error("sequence {sequence} is not above the last one, {last}")]
    OutOfOrder { sequence: u64, last: u64 },
    /// A subject has two bytes for its length, headers and payload four.
    #[error("the message does not fit a record")]
    TooLarge,
}

/// The messages of one memory stream. Its owner guards it; views need no guard.
#[derive(Default)]
pub struct MemoryLog {
    /// By the first sequence each may hold. Only the last one grows.
    chunks: BTreeMap<u64, Chunk>,
    /// What is left of the last chunk's room.
    room: BytesMut,
    last: u64,
    messages: u64,
    /// Bytes of held messages, and of the chunks that hold them.
    bytes_live: usize,
    bytes_held: usize,
}

impl MemoryLog {
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// Sequences grow; gaps are allowed.
    pub fn append(&mut self, input: &MemoryInput<'_>) -> Result<(), MemoryAppendError> {
        if input.sequence <= self.last {
            return Err(MemoryAppendError::OutOfOrder { sequence: input.sequence, last: self.last });
        }
        let lengths = (
            u16::try_from(input.subject.len()).map_err(|_| MemoryAppendError::TooLarge)?,
            u32::try_from(input.headers.len()).map_err(|_| MemoryAppendError::TooLarge)?,
            u32::try_from(input.payload.len()).map_err(|_| MemoryAppendError::TooLarge)?,
        );
        let size = HEADER_BYTES + input.subject.len() + input.headers.len() + input.payload.len();
        if self.room.capacity() < size {
            self.add_chunk(input.sequence, size);
        }
        put_record(&mut self.room, input, lengths);
        let record = self.room.split().freeze();
        let mut chunk = self.chunks.last_entry().expect("invariant: the room is that of the last chunk");
        chunk.get_mut().slots.push(Slot { sequence: input.sequence, record: Some(record) });
        chunk.get_mut().bytes_live += size;
        self.bytes_live += size;
        self.messages += 1;
        self.last = input.sequence;
        Ok(())
    }

    pub fn read(&self, sequence: u64) -> Option<MemoryMessage> {
        let (_, chunk) = self.chunks.range(..=sequence).next_back()?;
        let slot = &chunk.slots[chunk.find(sequence).ok()?];
        slot.record.clone().map(|record| MemoryMessage { record })
    }

    /// The lowest stored sequence at or above `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        let below = self.chunks.range(..=from).next_back();
        let above = self.chunks.range(from.checked_add(1)?..);
        below.into_iter().chain(above).find_map(|(_, chunk)| {
            let (Ok(start) | Err(start)) = chunk.find(from);
            chunk.slots[start..].iter().find(|slot| slot.record.is_some()).map(|slot| slot.sequence)
        })
    }

    /// The lowest stored sequence at or above `from` of a message on exactly this subject. Looks at each message.
    pub fn next_of_subject(&self, from: u64, subject: &[u8]) -> Option<u64> {
        let start = self.chunks.range(..=from).next_back().map_or(from, |(first, _)| *first);
        self.chunks.range(start..).find_map(|(_, chunk)| {
            let (Ok(start) | Err(start)) = chunk.find(from);
            let mut held = chunk.slots[start..].iter().filter_map(|slot| Some((slot.sequence, slot.record.as_ref()?)));
            held.find(|(_, record)| message::subject_of(record) == subject).map(|(sequence, _)| sequence)
        })
    }

    /// The highest sequence at or below `to` of a message on exactly this subject.
    pub fn previous_of_subject(&self, to: u64, subject: &[u8]) -> Option<u64> {
        self.chunks.range(..=to).rev().find_map(|(_, chunk)| {
            let held = chunk.slots.iter().rev().skip_while(|slot| slot.sequence > to);
            let mut held = held.filter_map(|slot| Some((slot.sequence, slot.record.as_ref()?)));
            held.find(|(_, record)| message::subject_of(record) == subject).map(|(sequence, _)| sequence)
        })
    }

    /// False when the message is not there.
    pub fn release(&mut self, sequence: u64) -> bool {
        let Some((&key, chunk)) = self.chunks.range_mut(..=sequence).next_back() else {
            return false;
        };
        let Some(size) = chunk.release(sequence) else {
            return false;
        };
        self.messages -= 1;
        self.bytes_live -= size;
        if chunk.released == chunk.slots.len() {
            self.drop_chunk(key);
        } else {
            self.tidy_chunk(key);
        }
        true
    }

    /// Releases every message below `first`.
    pub fn release_before(&mut self, first: u64) {
        while let Some((&key, chunk)) = self.chunks.first_key_value() {
            // Only the last chunk is ever empty.
            if key >= first || chunk.slots.is_empty() {
                return;
            }
            if chunk.slots.last().is_some_and(|slot| slot.sequence >= first) {
                break;
            }
            self.messages -= (chunk.slots.len() - chunk.released) as u64;
            self.bytes_live -= chunk.bytes_live;
            self.drop_chunk(key);
        }
        let Some((_, chunk)) = self.chunks.first_key_value() else {
            return;
        };
        // At most a chunk's messages.
        let below: Vec<u64> =
            chunk.slots.iter().map(|slot| slot.sequence).take_while(|sequence| *sequence < first).collect();
        for sequence in below {
            self.release(sequence);
        }
    }

    pub fn clear(&mut self) {
        *self = MemoryLog { last: self.last, ..MemoryLog::default() };
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The last sequence ever appended.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Bytes of the messages that are stored.
    pub fn bytes_live(&self) -> u64 {
        self.bytes_live as u64
    }

    /// Bytes of memory held, not counting chunks that only views still hold.
    pub fn bytes_held(&self) -> u64 {
        let slots: usize = self.chunks.values().map(|chunk| chunk.slots.capacity()).sum();
        (self.bytes_held + slots * size_of::<Slot>()) as u64
    }

    fn add_chunk(&mut self, sequence: u64, size: usize) {
        let before = self.chunks.last_key_value().map(|(key, _)| *key);
        let capacity = self.bytes_held.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).max(size);
        self.room = BytesMut::with_capacity(capacity);
        self.bytes_held += capacity;
        self.chunks.insert(sequence, Chunk { bytes_held: capacity, ..Chunk::default() });
        // The chunk before does not grow any more; it may have become sparse or empty while it was the last.
        if let Some(before) = before {
            if self.chunks.get(&before).is_some_and(|chunk| chunk.slots.is_empty()) {
                self.drop_chunk(before);
            } else {
                self.tidy_chunk(before);
            }
        }
    }

    /// Frees a chunk whose messages are all released.
    fn drop_chunk(&mut self, key: u64) {
        let is_last = self.is_last(key);
        if let Some(chunk) = self.chunks.get_mut(&key)
            && is_last
            && chunk.bytes_held <= CHUNK_BYTES_MIN
        {
            // A work queue that is empty all the time uses its small chunk up before it takes another one.
            *chunk = Chunk { bytes_held: chunk.bytes_held, ..Chunk::default() };
            return;
        }
        if let Some(chunk) = self.chunks.remove(&key) {
            self.bytes_held -= chunk.bytes_held;
        }
        if is_last {
            self.room = BytesMut::new();
        }
    }

    fn is_last(&self, key: u64) -> bool {
        self.chunks.last_key_value().is_some_and(|(last, _)| *last == key)
    }

    /// Copies what is left of a chunk together when that is little. The last chunk still grows.
    fn tidy_chunk(&mut self, key: u64) {
        if self.is_last(key) {
            return;
        }
        if let Some(chunk) = self.chunks.get_mut(&key)
            && chunk.bytes_live < chunk.bytes_held / SPARSE_SHARE
        {
            self.bytes_held -= chunk.bytes_held;
            chunk.copy_together();
            self.bytes_held += chunk.bytes_held;
        }
    }
}
