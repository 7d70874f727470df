//! Where a stream's messages are read: the node's journal, or memory.

use headwater_storage::{GroupId, Journal, MemoryInput, MemoryLog, ReadError};

use super::messages::Message;
use super::stream::{MessageSource, MessageView, Unreadable};

/// The messages of one stream.
pub enum Store {
    File { journal: Journal, group: GroupId },
    Memory(MemoryLog),
}

impl Store {
    pub fn message(&self, sequence: u64) -> Result<Message, Unreadable> {
        match self {
            Self::File { journal, group } => {
                journal.read_message(*group, sequence).map(Message::File).map_err(|error| match error {
                    ReadError::NotFound => Unreadable::Missing,
                    _ => Unreadable::Damaged,
                })
            }
            Self::Memory(log) => log.read(sequence).map(Message::Memory).ok_or(Unreadable::Missing),
        }
    }

    /// Keeps a message of a memory stream; one of a file stream is in the journal already.
    pub fn remember(&mut self, input: &MemoryInput<'_>) {
        if let Self::Memory(log) = self
            && let Err(problem) = log.append(input)
        {
            // Sequences are given without gaps and sizes are checked, so this cannot happen; losing it silently must not.
            tracing::error!(%problem, sequence = input.sequence, "a message could not be kept in memory");
        }
    }

    /// The message has left the stream: its space may be used again.
    pub fn release(&mut self, sequence: u64) {
        match self {
            Self::File { journal, group } => journal.release_message(*group, sequence),
            Self::Memory(log) => drop(log.release(sequence)),
        }
    }

    pub fn release_before(&mut self, sequence: u64) {
        match self {
            Self::File { journal, group } => journal.release_messages_before(*group, sequence),
            Self::Memory(log) => log.release_before(sequence),
        }
    }

    /// Overwrites the bytes of a message that has left the stream.
    pub fn erase(&mut self, sequence: u64) {
        if let Self::File { journal, group } = self
            && let Err(problem) = journal.erase_message(*group, sequence)
        {
            tracing::error!(%problem, group = group.0, sequence, "a deleted message could not be overwritten");
        }
    }
}

impl MessageSource for Store {
    type Message = Message;

    fn read(&self, sequence: u64) -> Result<Message, Unreadable> {
        self.message(sequence)
    }
}

impl MessageView for Message {
    fn subject(&self) -> &[u8] {
        Message::subject(self)
    }

    fn headers(&self) -> &[u8] {
        Message::headers(self)
    }

    fn payload(&self) -> &[u8] {
        Message::payload(self)
    }

    fn time(&self) -> i64 {
        Message::time(self)
    }
}
