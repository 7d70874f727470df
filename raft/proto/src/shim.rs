//! [`protobuf::Message`] for the prost structs. `raft` 0.7 uses four of its methods: `compute_size`, `write_to_bytes`,
//! `merge_from_bytes` and (through our accessors) `default_instance`. Whatever would lead into protobuf 2's own parser or its
//! reflection is a programming error here and says so.

use crate::eraftpb::*;
use prost::Message as Prost;
use protobuf::reflect::MessageDescriptor;
use protobuf::{Clear, CodedInputStream, CodedOutputStream, ProtobufError, ProtobufResult, UnknownFields};
use std::any::Any;
use std::sync::LazyLock;

fn decode_error(error: prost::DecodeError) -> ProtobufError {
    ProtobufError::IoError(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

fn unsupported() -> ProtobufError {
    ProtobufError::IoError(std::io::Error::new(std::io::ErrorKind::Unsupported, "protobuf 2 streams are not used"))
}

/// A macro because the traits and the type are both foreign to each other: no blanket implementation is allowed.
macro_rules! protobuf_message {
    ($($message:ident)*) => { $(
        impl Clear for $message {
            fn clear(&mut self) { *self = Self::default(); }
        }

        impl protobuf::Message for $message {
            fn new() -> Self { Self::default() }

            fn default_instance() -> &'static Self {
                static DEFAULT: LazyLock<$message> = LazyLock::new(Default::default);
                &DEFAULT
            }

            #[inline]
            fn compute_size(&self) -> u32 { u32::try_from(self.encoded_len()).unwrap_or(u32::MAX) }

            fn get_cached_size(&self) -> u32 { self.compute_size() }

            fn write_to_bytes(&self) -> ProtobufResult<Vec<u8>> { Ok(self.encode_to_vec()) }

            fn merge_from_bytes(&mut self, bytes: &[u8]) -> ProtobufResult<()> { self.merge(bytes).map_err(decode_error) }

            fn parse_from_bytes(bytes: &[u8]) -> ProtobufResult<Self> { Self::decode(bytes).map_err(decode_error) }

            fn write_to_with_cached_sizes(&self, stream: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
                stream.write_raw_bytes(&self.encode_to_vec())
            }

            fn merge_from(&mut self, _: &mut CodedInputStream<'_>) -> ProtobufResult<()> { Err(unsupported()) }

            /// proto3 has no required fields.
            fn is_initialized(&self) -> bool { true }

            fn as_any(&self) -> &dyn Any { self }

            fn descriptor(&self) -> &'static MessageDescriptor { unimplemented!("no reflection over prost messages") }

            fn get_unknown_fields(&self) -> &UnknownFields { unimplemented!("prost drops unknown fields") }

            fn mut_unknown_fields(&mut self) -> &mut UnknownFields { unimplemented!("prost drops unknown fields") }
        }
    )* };
}

protobuf_message! {
    Entry SnapshotMetadata Snapshot Message HardState ConfState ConfChange ConfChangeSingle ConfChangeV2
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protobuf::Message as _;

    fn message() -> Message {
        let entry = Entry { index: 300, term: 2, data: Bytes::from_static(b"payload"), ..Default::default() };
        let mut message = Message { from: 1, to: 2, term: 3, reject: true, priority: -1, ..Default::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.mut_entries().push(entry);
        message.mut_snapshot().mut_metadata().index = 9;
        message
    }

    #[test]
    fn the_shim_round_trips_and_measures() {
        let bytes = message().write_to_bytes().unwrap();
        assert_eq!(bytes.len(), message().compute_size() as usize);
        assert_eq!(Message::parse_from_bytes(&bytes).unwrap(), message());
        let mut merged = Message::default();
        merged.merge_from_bytes(&bytes).unwrap();
        assert_eq!(merged, message());
        assert!(Message::parse_from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn decoding_shares_the_buffer() {
        let buffer = Bytes::from(message().encode_to_vec());
        let decoded = <Message as Prost>::decode(buffer.clone()).unwrap();
        let data = decoded.entries[0].data.as_ptr() as usize;
        let start = buffer.as_ptr() as usize;
        assert!((start..start + buffer.len()).contains(&data));
    }

    #[test]
    fn an_absent_message_reads_as_its_default() {
        assert!(!Message::default().has_snapshot());
        assert!(Message::default().get_snapshot().is_empty());
        assert!(!message().get_snapshot().is_empty());
    }
}
