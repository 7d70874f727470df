//! Stored messages as the layers above the store see them: one view, whether they lie in the journal or in memory.

use headwater_storage::{MemoryMessage, Record};

/// A message that was read and verified. Cheap: it shares the bytes of the store.
#[derive(Clone)]
pub enum Message {
    File(Record),
    Memory(MemoryMessage),
}

impl Message {
    pub fn sequence(&self) -> u64 {
        match self {
            Self::File(record) => record.header.sequence,
            Self::Memory(message) => message.sequence(),
        }
    }

    /// Nanoseconds since the epoch, log time.
    pub fn time(&self) -> i64 {
        match self {
            Self::File(record) => record.header.time,
            Self::Memory(message) => message.time(),
        }
    }

    pub fn subject(&self) -> &[u8] {
        match self {
            Self::File(record) => record.subject(),
            Self::Memory(message) => message.subject(),
        }
    }

    /// The header block; empty when there is none.
    pub fn headers(&self) -> &[u8] {
        match self {
            Self::File(record) => record.headers(),
            Self::Memory(message) => message.headers(),
        }
    }

    pub fn payload(&self) -> &[u8] {
        match self {
            Self::File(record) => record.payload(),
            Self::Memory(message) => message.payload(),
        }
    }

    /// Bytes of subject, headers and payload.
    pub fn len(&self) -> usize {
        self.subject().len() + self.headers().len() + self.payload().len()
    }
}
