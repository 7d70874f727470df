//! The checkpoint of a stream's group: machine, consumers and the log's clock, in one body.

use bytes::Bytes;
use prost::Message;

use super::consumer_table::{ConsumerTable, MalformedConsumer};
use super::stream::{MalformedCheckpoint, StreamMachine};

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(bytes = "bytes", tag = "1")]
    machine: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    consumers: Bytes,
    #[prost(int64, tag = "3")]
    time: i64,
}

/// What a checkpoint held.
pub struct Restored {
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    /// Log time of the last entry.
    pub time: i64,
}

/// Why bytes are no checkpoint of a stream.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the checkpoint is malformed")]
    Body(#[from] prost::DecodeError),
    #[error(transparent)]
    Machine(#[from] MalformedCheckpoint),
    #[error(transparent)]
    Consumers(#[from] MalformedConsumer),
}

pub fn encode(machine: &StreamMachine, consumers: &ConsumerTable, time: i64) -> Bytes {
    let mut body = Vec::new();
    machine.encode_checkpoint(&mut body);
    Body { machine: body.into(), consumers: consumers.checkpoint().into(), time }.encode_to_vec().into()
}

/// # Errors
/// When a newer version wrote it, or this one has a defect: storage has verified the bytes.
pub fn restore(bytes: Bytes) -> Result<Restored, RestoreError> {
    let body = Body::decode(bytes)?;
    Ok(Restored {
        machine: StreamMachine::restore(&body.machine)?,
        consumers: ConsumerTable::restore(&body.consumers)?,
        time: body.time,
    })
}
