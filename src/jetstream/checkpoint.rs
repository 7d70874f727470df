//! The checkpoint of a stream's group: machine, consumers, the log's clock and whose it is, in one body.

use bytes::Bytes;
use headwater_storage::SequenceSet;
use prost::Message;

use super::api::json;
use super::consumer_table::{ConsumerTable, MalformedConsumer};
use super::meta::StreamDefinition;
use super::stream::{MalformedCheckpoint, StreamMachine};

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(bytes = "bytes", tag = "1")]
    machine: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    consumers: Bytes,
    #[prost(int64, tag = "3")]
    time: i64,
    #[prost(bytes = "vec", tag = "4")]
    erasures: Vec<u8>,
    /// Without the configuration, which the machine has.
    #[prost(message, optional, tag = "5")]
    definition: Option<StreamDefinition>,
}

/// What a checkpoint held.
pub struct Restored {
    pub machine: StreamMachine,
    pub consumers: ConsumerTable,
    /// Log time of the last entry.
    pub time: i64,
    /// Messages that were removed, and whose bytes were still to be overwritten.
    pub erasures: SequenceSet,
    /// What the stream is. Checkpoints of the first versions do not say it.
    pub definition: Option<StreamDefinition>,
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
    #[error("the checkpoint's list of erasures is malformed")]
    Erasures,
}

/// `erasures` is what was to be overwritten and is not known to have been; `definition` is the stream's, whose configuration
/// is the machine's.
pub fn encode(
    machine: &StreamMachine,
    consumers: &ConsumerTable,
    time: i64,
    erasures: &SequenceSet,
    definition: StreamDefinition,
) -> Bytes {
    let mut body = Vec::new();
    machine.encode_checkpoint(&mut body);
    let mut to_erase = Vec::new();
    if !erasures.is_empty() {
        erasures.encode(&mut to_erase);
    }
    let consumers = consumers.checkpoint().into();
    let definition = Some(StreamDefinition { config: Bytes::new(), ..definition });
    Body { machine: body.into(), consumers, time, erasures: to_erase, definition }.encode_to_vec().into()
}

/// Whether this record's payload is the end of a checkpoint, which comes in parts: `part u32 | parts u32 | bytes`.
pub fn is_last_part(payload: &[u8]) -> bool {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let part = payload.get(..4).and_then(number);
    let parts = payload.get(4..8).and_then(number);
    part.zip(parts).is_some_and(|(part, parts)| part.saturating_add(1) >= parts)
}

/// # Errors
/// When a newer version wrote it, or this one has a defect: storage has verified the bytes.
pub fn restore(bytes: Bytes) -> Result<Restored, RestoreError> {
    let body = Body::decode(bytes)?;
    let machine = StreamMachine::restore(&body.machine)?;
    let config: Bytes = json::write(machine.config().as_ref()).into();
    Ok(Restored {
        definition: body.definition.map(|definition| StreamDefinition { config, ..definition }),
        machine,
        consumers: ConsumerTable::restore(&body.consumers)?,
        time: body.time,
        erasures: match &body.erasures[..] {
            [] => SequenceSet::new(),
            bytes => SequenceSet::decode(bytes).map_err(|_| RestoreError::Erasures)?,
        },
    })
}
