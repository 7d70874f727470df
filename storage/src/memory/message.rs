//! One message in memory: how its bytes lie in a chunk, and the view that readers hold.

use bytes::{BufMut, Bytes, BytesMut};

pub(super) const HEADER_BYTES: usize = 8 + 8 + 8 + 8 + 4 + 4 + 2 + 1;

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

/// A stored message. Cheap to clone; keeps its chunk in memory.
#[derive(Clone)]
pub struct MemoryMessage {
    pub(super) record: Bytes,
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
        subject_of(&self.record)
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
        HEADER_BYTES + self.subject().len()
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

pub(super) fn subject_of(record: &[u8]) -> &[u8] {
    &record[HEADER_BYTES..HEADER_BYTES + usize::from(u16::from_le_bytes([record[40], record[41]]))]
}

pub(super) fn put_record(room: &mut BytesMut, input: &MemoryInput<'_>, lengths: (u16, u32, u32)) {
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
