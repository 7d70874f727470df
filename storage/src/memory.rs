//! The memory log: the messages of one memory stream, read like those of the journal. Messages lie one after another in
//! chunks; a reader's view shares its chunk, so that a read copies nothing and a release waits for nobody. A chunk is
//! freed when all its messages are released and the last view is gone; one of which little is left is copied together,
//! so that few old messages don't hold much memory.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

/// A stream's first chunk is small, each later one as long as all before it, up to this.
const CHUNK_BYTES_MIN: usize = 4 * 1024;
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// A chunk is copied together when less than one part in so many is still held.
const SPARSE_SHARE: usize = 4;
/// sequence, time, index, term, headers length, payload length, subject length, tag.
const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 4 + 4 + 2 + 1;

/// A message to be stored.
#[derive(Clone, Copy, Debug)]
pub struct MemoryInput<'a> {
    pub sequence: u64,
    /// Log time, ns since the epoch.
    pub time: i64,
    pub index: u64,
    pub term: u64,
    /// Opaque, as in the journal's record header.
    pub tag: u8,
    pub subject: &'a [u8],
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemoryAppendError {
    /// Sequences grow.
    #[error("sequence {sequence} is not above the last one, {last}")]
    OutOfOrder { sequence: u64, last: u64 },
    /// A subject has two bytes for its length, headers and payload four.
    #[error("the message does not fit a record")]
    TooLarge,
}

/// A stored message. Cheap to clone; keeps its chunk in memory.
#[derive(Clone)]
pub struct MemoryMessage {
    record: Bytes,
}

impl MemoryMessage {
    pub fn sequence(&self) -> u64 {
        self.u64_at(0)
    }

    pub fn time(&self) -> i64 {
        self.u64_at(8) as i64
    }

    pub fn index(&self) -> u64 {
        self.u64_at(16)
    }

    pub fn term(&self) -> u64 {
        self.u64_at(24)
    }

    pub fn tag(&self) -> u8 {
        self.record[42]
    }

    pub fn subject(&self) -> &[u8] {
        &self.record[HEADER_BYTES..self.headers_at()]
    }

    pub fn headers(&self) -> &[u8] {
        &self.record[self.headers_at()..self.payload_at()]
    }

    pub fn payload(&self) -> &[u8] {
        &self.record[self.payload_at()..]
    }

    /// The payload on its own, still in the chunk.
    pub fn payload_bytes(&self) -> Bytes {
        self.record.slice(self.payload_at()..)
    }

    fn headers_at(&self) -> usize {
        HEADER_BYTES + usize::from(u16::from_le_bytes([self.record[40], self.record[41]]))
    }

    fn payload_at(&self) -> usize {
        let headers_len = u32::from_le_bytes([self.record[32], self.record[33], self.record[34], self.record[35]]);
        self.headers_at() + headers_len as usize
    }

    fn u64_at(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.record[at..at + 8]);
        u64::from_le_bytes(word)
    }
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

#[derive(Default)]
struct Chunk {
    slots: Vec<Slot>,
    released: usize,
    bytes_live: usize,
    bytes_held: usize,
}

struct Slot {
    sequence: u64,
    /// `None` once released.
    record: Option<Bytes>,
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

impl Chunk {
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        // Without gaps the place is known.
        let guess = self.slots.first().map_or(0, |first| sequence.saturating_sub(first.sequence)) as usize;
        match self.slots.get(guess) {
            Some(slot) if slot.sequence == sequence => Ok(guess),
            _ => self.slots.binary_search_by_key(&sequence, |slot| slot.sequence),
        }
    }

    /// The size of the message that was released.
    fn release(&mut self, sequence: u64) -> Option<usize> {
        let at = self.find(sequence).ok()?;
        let record = self.slots[at].record.take()?;
        self.released += 1;
        self.bytes_live -= record.len();
        Some(record.len())
    }

    fn copy_together(&mut self) {
        let mut room = BytesMut::with_capacity(self.bytes_live);
        self.slots.retain(|slot| slot.record.is_some());
        self.slots.shrink_to_fit();
        for slot in &mut self.slots {
            if let Some(record) = &mut slot.record {
                room.put_slice(record);
                *record = room.split().freeze();
            }
        }
        self.released = 0;
        self.bytes_held = self.bytes_live;
    }
}

fn put_record(room: &mut BytesMut, input: &MemoryInput<'_>, lengths: (u16, u32, u32)) {
    room.put_u64_le(input.sequence);
    room.put_i64_le(input.time);
    room.put_u64_le(input.index);
    room.put_u64_le(input.term);
    room.put_u32_le(lengths.1);
    room.put_u32_le(lengths.2);
    room.put_u16_le(lengths.0);
    room.put_u8(input.tag);
    room.put_slice(input.subject);
    room.put_slice(input.headers);
    room.put_slice(input.payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model;

    #[derive(Clone, Debug)]
    enum Operation {
        /// Gap before it, lengths of its parts.
        Append(u64, usize, usize, usize),
        Release(usize),
        ReleaseBefore(u64),
        Read(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let payload = prop_oneof![5 => 0..200usize, 2 => 1000..3000usize, 1 => Just(70_000usize)];
        prop_oneof![
            8 => (prop_oneof![4 => Just(1u64), 1 => 1..1000u64], 0..20usize, 0..30usize, payload)
                .prop_map(|(gap, subject, headers, payload)| Operation::Append(gap, subject, headers, payload)),
            5 => any::<usize>().prop_map(Operation::Release),
            1 => (0..2000u64).prop_map(Operation::ReleaseBefore),
            2 => (0..2000u64).prop_map(Operation::Read),
        ]
    }

    fn part(sequence: u64, len: usize) -> Vec<u8> {
        (0..len).map(|at| (sequence as usize * 31 + at) as u8).collect()
    }

    fn append(log: &mut MemoryLog, sequence: u64, sizes: (usize, usize, usize)) {
        let input = MemoryInput {
            sequence,
            time: sequence as i64 - 5,
            index: sequence + 1,
            term: sequence + 2,
            tag: sequence as u8,
            subject: &part(sequence, sizes.0),
            headers: &part(sequence + 1, sizes.1),
            payload: &part(sequence + 2, sizes.2),
        };
        log.append(&input).unwrap();
    }

    fn check_message(message: &MemoryMessage, sequence: u64, sizes: (usize, usize, usize)) {
        assert_eq!((message.sequence(), message.time()), (sequence, sequence as i64 - 5));
        assert_eq!((message.index(), message.term(), message.tag()), (sequence + 1, sequence + 2, sequence as u8));
        assert_eq!(message.subject(), part(sequence, sizes.0));
        assert_eq!(message.headers(), part(sequence + 1, sizes.1));
        assert_eq!(message.payload(), part(sequence + 2, sizes.2));
        assert_eq!(message.payload_bytes(), message.payload());
    }

    #[test]
    fn log_agrees_with_the_naive_one() {
        model::check(150, prop::collection::vec(operation(), 0..150), |operations| {
            let (mut log, mut naive, mut views) = (MemoryLog::new(), BTreeMap::new(), Vec::new());
            let mut last = 0;
            for operation in operations {
                match operation {
                    Operation::Append(gap, subject, headers, payload) => {
                        last += gap;
                        append(&mut log, last, (subject, headers, payload));
                        naive.insert(last, (subject, headers, payload));
                    }
                    Operation::Release(at) => {
                        let sequence = naive.keys().nth(at % naive.len().max(1)).copied().unwrap_or(at as u64);
                        assert_eq!(log.release(sequence), naive.remove(&sequence).is_some());
                        assert!(!log.release(sequence));
                    }
                    Operation::ReleaseBefore(first) => {
                        log.release_before(first);
                        naive = naive.split_off(&first);
                    }
                    Operation::Read(from) => {
                        let wanted = naive.range(from..).next();
                        assert_eq!(log.next(from), wanted.map(|(sequence, _)| *sequence));
                        if let Some((&sequence, &sizes)) = wanted {
                            views.push((log.read(sequence).unwrap(), sequence, sizes));
                        }
                        assert_eq!(log.read(from).is_some(), naive.contains_key(&from));
                    }
                }
                let size = |sizes: &(usize, usize, usize)| (HEADER_BYTES + sizes.0 + sizes.1 + sizes.2) as u64;
                assert_eq!(log.bytes_live(), naive.values().map(size).sum::<u64>());
                assert_eq!(log.messages(), naive.len() as u64);
            }
            for (&sequence, &sizes) in &naive {
                check_message(&log.read(sequence).unwrap(), sequence, sizes);
            }
            drop(log);
            for (message, sequence, sizes) in views {
                check_message(&message, sequence, sizes);
            }
        });
    }

    #[test]
    fn few_old_messages_hold_little_memory() {
        let mut log = MemoryLog::new();
        for sequence in 1..=50_000 {
            append(&mut log, sequence, (10, 0, 100));
            if sequence % 1000 != 1 {
                log.release(sequence);
            }
        }
        assert_eq!(log.messages(), 50);
        assert!(log.bytes_held() < 50 * 153 + 2 * CHUNK_BYTES_MAX as u64 + 64 * 1024, "{}", log.bytes_held());
        log.release_before(u64::MAX);
        assert_eq!((log.messages(), log.bytes_live()), (0, 0));
        assert!(log.bytes_held() <= CHUNK_BYTES_MIN as u64);
        assert_eq!(log.last_sequence(), 50_000);
    }

    #[test]
    fn sequences_grow() {
        let mut log = MemoryLog::new();
        append(&mut log, 7, (1, 1, 1));
        log.clear();
        let input =
            MemoryInput { sequence: 7, time: 0, index: 0, term: 0, tag: 0, subject: b"a", headers: b"", payload: b"" };
        assert_eq!(log.append(&input), Err(MemoryAppendError::OutOfOrder { sequence: 7, last: 7 }));
        let subject = vec![b'a'; 70_000];
        let input = MemoryInput { sequence: 8, subject: &subject, ..input };
        assert_eq!(log.append(&input), Err(MemoryAppendError::TooLarge));
        assert!(log.read(8).is_none() && log.next(0).is_none());
    }
}
