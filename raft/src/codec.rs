//! Batches of envelopes as bytes.
//!
//! ```text
//!   frame     length u32 | envelopes ...                    length counts what follows it; little-endian throughout
//!   envelope  head_length u32 | head (prost) | entries | data
//!   entry     kind u8 | term u64 | length u32 | payload     `head.entries` of them, indexes continue from `head.index`
//! ```
//!
//! Heads are prost so that fields can be added; entries are laid out by hand so that each costs its bytes on the wire and payloads
//! share the receive buffer. Arbitrary bytes never panic: every count is bounded by bytes that are there, and envelopes are
//! decoded one at a time, so memory stays within a small multiple of the frame.

use crate::ids::{GroupId, PeerId};
use crate::snapshot::{Chunk, ChunkAck};
use crate::transport::{Body, Envelope};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;
use raft::eraftpb::{Entry, Message, MessageType, Snapshot, SnapshotMetadata};

/// A batch longer than this is cut by the sender and refused by the receiver.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
/// Heads hold numbers and lists of members; payloads are outside.
const HEAD_BYTES_MAX: usize = 64 << 10;
const ENTRY_HEAD_BYTES: usize = 1 + 8 + 4;

const BODY_RAFT: u32 = 1;
const BODY_SLEEP: u32 = 2;
const BODY_CHUNK: u32 = 3;
const BODY_CHUNK_ACK: u32 = 4;

#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(uint64, tag = "1")]
    group: u64,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(uint64, tag = "3")]
    to: u64,
    #[prost(uint32, tag = "4")]
    body: u32,
    #[prost(int32, tag = "5")]
    msg_type: i32,
    #[prost(uint64, tag = "6")]
    term: u64,
    #[prost(uint64, tag = "7")]
    log_term: u64,
    #[prost(uint64, tag = "8")]
    index: u64,
    #[prost(uint64, tag = "9")]
    commit: u64,
    #[prost(uint64, tag = "10")]
    commit_term: u64,
    #[prost(bool, tag = "11")]
    reject: bool,
    #[prost(uint64, tag = "12")]
    reject_hint: u64,
    #[prost(bytes = "bytes", tag = "13")]
    context: Bytes,
    #[prost(uint64, tag = "14")]
    request_snapshot: u64,
    #[prost(int64, tag = "15")]
    priority: i64,
    #[prost(message, optional, tag = "16")]
    snapshot: Option<SnapshotMetadata>,
    #[prost(uint32, tag = "17")]
    entries: u32,
    #[prost(uint64, tag = "18")]
    transfer: u64,
    #[prost(uint64, tag = "19")]
    offset: u64,
    #[prost(uint64, tag = "20")]
    total: u64,
    #[prost(uint32, tag = "21")]
    data_len: u32,
    #[prost(bool, tag = "22")]
    complete: bool,
    #[prost(fixed64, tag = "23")]
    state_hash: u64,
    /// A chunk that carries its raft message.
    #[prost(bool, tag = "24")]
    with_message: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("frame ends early")]
    Truncated,
    #[error("not an envelope")]
    Malformed,
}

/// Appends one frame with all of `batch` to `out`, or several where one would be too long.
pub fn encode_batch(batch: &[Envelope], out: &mut BytesMut) {
    let mut start = open_frame(out);
    for envelope in batch {
        let before = out.len();
        encode_envelope(envelope, out);
        if out.len() - start > FRAME_BYTES_MAX && before > start + LENGTH_BYTES {
            let envelope = out.split_off(before);
            close_frame(start, out);
            start = open_frame(out);
            out.unsplit(envelope);
        }
    }
    close_frame(start, out);
}

fn open_frame(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_u32_le(0);
    start
}

fn close_frame(start: usize, out: &mut BytesMut) {
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).expect("a frame is shorter than 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// The length of the first frame in `bytes`, its own four included; `None`: more bytes are needed to tell.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX { Err(DecodeError::TooLong(length)) } else { Ok(Some(length + LENGTH_BYTES)) }
}

/// The envelopes of one whole frame, decoded one at a time. Stops after the first error.
pub fn decode_batch(frame: Bytes) -> BatchReader {
    let exact = frame_length(&frame) == Ok(Some(frame.len()));
    let rest = if exact { frame.slice(LENGTH_BYTES..) } else { Bytes::new() };
    BatchReader { rest, broken: !exact }
}

pub struct BatchReader {
    rest: Bytes,
    broken: bool,
}

impl Iterator for BatchReader {
    type Item = Result<Envelope, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.broken) {
            self.rest.clear();
            return Some(Err(DecodeError::Truncated));
        }
        if self.rest.is_empty() {
            return None;
        }
        let envelope = decode_envelope(&mut self.rest);
        if envelope.is_err() {
            self.rest.clear();
        }
        Some(envelope)
    }
}

fn encode_envelope(envelope: &Envelope, out: &mut BytesMut) {
    let Envelope { group, from, to, body } = envelope;
    let mut head = Head { group: group.0, from: from.get(), to: to.get(), ..Default::default() };
    let (mut entries, mut data): (&[Entry], &[u8]) = (&[], &[]);
    match body {
        Body::Raft(message) => {
            head.body = BODY_RAFT;
            put_message(&mut head, message);
            entries = &message.entries;
        }
        Body::Sleep { term, commit, state_hash } => {
            (head.body, head.term, head.commit, head.state_hash) = (BODY_SLEEP, *term, *commit, *state_hash);
        }
        Body::Chunk(chunk) => {
            head.body = BODY_CHUNK;
            (head.transfer, head.offset, head.total) = (chunk.transfer, chunk.offset, chunk.total);
            if let Some(message) = &chunk.message {
                head.with_message = true;
                put_message(&mut head, message);
            }
            data = &chunk.data;
        }
        Body::ChunkAck(ack) => {
            head.body = BODY_CHUNK_ACK;
            (head.transfer, head.offset, head.complete) = (ack.transfer, ack.next, ack.complete);
        }
    }
    head.entries = u32::try_from(entries.len()).expect("messages are bounded in entries");
    head.data_len = u32::try_from(data.len()).expect("chunks are bounded in bytes");
    out.put_u32_le(u32::try_from(head.encoded_len()).expect("heads are small"));
    head.encode(out).expect("a BytesMut grows");
    for entry in entries {
        out.put_u8(u8::try_from(entry.entry_type).expect("entry types are small"));
        out.put_u64_le(entry.term);
        out.put_u32_le(u32::try_from(entry.data.len()).expect("payloads are bounded"));
        out.put_slice(&entry.data);
    }
    out.put_slice(data);
}

fn put_message(head: &mut Head, message: &Message) {
    head.msg_type = message.msg_type;
    (head.term, head.log_term, head.index) = (message.term, message.log_term, message.index);
    (head.commit, head.commit_term) = (message.commit, message.commit_term);
    (head.reject, head.reject_hint) = (message.reject, message.reject_hint);
    (head.request_snapshot, head.priority) = (message.request_snapshot, message.priority);
    head.context = message.context.clone();
    head.snapshot = message.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.clone());
}

fn take_message(head: &mut Head) -> Message {
    let snapshot = head.snapshot.take();
    Message {
        msg_type: head.msg_type,
        from: head.from,
        to: head.to,
        term: head.term,
        log_term: head.log_term,
        index: head.index,
        commit: head.commit,
        commit_term: head.commit_term,
        reject: head.reject,
        reject_hint: head.reject_hint,
        request_snapshot: head.request_snapshot,
        priority: head.priority,
        context: std::mem::take(&mut head.context),
        snapshot: snapshot.map(|metadata| Snapshot { data: Bytes::new(), metadata: Some(metadata) }),
        ..Default::default()
    }
}

fn decode_envelope(rest: &mut Bytes) -> Result<Envelope, DecodeError> {
    let head_len = rest.try_get_u32_le().map_err(|_| DecodeError::Truncated)? as usize;
    if head_len > HEAD_BYTES_MAX {
        return Err(DecodeError::Malformed);
    }
    let mut head = Head::decode(take(rest, head_len)?).map_err(|_| DecodeError::Malformed)?;
    let from = PeerId::from_raw(head.from).ok_or(DecodeError::Malformed)?;
    let to = PeerId::from_raw(head.to).ok_or(DecodeError::Malformed)?;
    let body = match head.body {
        BODY_RAFT => {
            let mut message = take_message(&mut head);
            message.entries = decode_entries(&head, rest)?;
            Body::Raft(Box::new(message))
        }
        BODY_SLEEP => Body::Sleep { term: head.term, commit: head.commit, state_hash: head.state_hash },
        BODY_CHUNK => {
            let message = head.with_message.then(|| Box::new(take_message(&mut head)));
            let data = take(rest, head.data_len as usize)?;
            Body::Chunk(Chunk { transfer: head.transfer, offset: head.offset, total: head.total, data, message })
        }
        BODY_CHUNK_ACK => {
            Body::ChunkAck(ChunkAck { transfer: head.transfer, next: head.offset, complete: head.complete })
        }
        _ => return Err(DecodeError::Malformed),
    };
    Ok(Envelope { group: GroupId(head.group), from, to, body })
}

fn decode_entries(head: &Head, rest: &mut Bytes) -> Result<Vec<Entry>, DecodeError> {
    let count = head.entries as usize;
    if count.checked_mul(ENTRY_HEAD_BYTES).is_none_or(|bytes| bytes > rest.len()) {
        return Err(DecodeError::Truncated);
    }
    // A question for a read, and its answer, carry the request in an entry that is none of the log's.
    let numbered = head.msg_type == MessageType::MsgAppend as i32;
    let mut entries = Vec::with_capacity(count);
    for at in 1..=count as u64 {
        let fixed = take(rest, ENTRY_HEAD_BYTES)?;
        let mut fields = fixed.as_ref();
        let (entry_type, term, len) = (fields.get_u8(), fields.get_u64_le(), fields.get_u32_le());
        let index = if numbered { head.index.wrapping_add(at) } else { 0 };
        let data = take(rest, len as usize)?;
        entries.push(Entry { entry_type: entry_type.into(), term, index, data, ..Default::default() });
    }
    Ok(entries)
}

fn take(rest: &mut Bytes, len: usize) -> Result<Bytes, DecodeError> {
    if len > rest.len() { Err(DecodeError::Truncated) } else { Ok(rest.split_to(len)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use proptest::prelude::*;
    use raft::eraftpb::ConfState;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    prop_compose! {
        fn message()(
            msg_type in 0i32..19,
            numbers in prop::array::uniform7(0u64..1 << 40),
            reject in any::<bool>(),
            priority in any::<i64>(),
            context in bytes(),
            voters in prop::option::of(prop::collection::vec(any::<u64>(), 0..4)),
            payloads in prop::collection::vec((0i32..3, 0u64..9, bytes()), 0..5),
        ) -> Message {
            let [term, log_term, index, commit, commit_term, reject_hint, request_snapshot] = numbers;
            let numbered = msg_type == MessageType::MsgAppend as i32;
            let entry = |(at, (entry_type, term, data)): (usize, (i32, u64, Bytes))| {
                let index = if numbered { index + 1 + at as u64 } else { 0 };
                Entry { entry_type, term, index, data, ..Default::default() }
            };
            let conf = |voters| SnapshotMetadata { conf_state: Some(ConfState { voters, ..Default::default() }), index, term };
            Message {
                msg_type, term, log_term, index, commit, commit_term, reject, reject_hint, request_snapshot, priority, context,
                from: sender().get(),
                to: receiver().get(),
                entries: payloads.into_iter().enumerate().map(entry).collect(),
                snapshot: voters.map(|voters| Snapshot { data: Bytes::new(), metadata: Some(conf(voters)) }),
                ..Default::default()
            }
        }
    }

    fn sender() -> PeerId {
        PeerId::new(NodeId(1), 1)
    }

    fn receiver() -> PeerId {
        PeerId::new(NodeId(2), 8)
    }

    fn body() -> impl Strategy<Value = Body> {
        let without_entries = message().prop_map(|message| Box::new(Message { entries: Vec::new(), ..message }));
        let chunk = (any::<[u64; 3]>(), bytes(), prop::option::of(without_entries));
        prop_oneof![
            message().prop_map(|message| Body::Raft(Box::new(message))),
            any::<[u64; 3]>().prop_map(|[term, commit, state_hash]| Body::Sleep { term, commit, state_hash }),
            chunk.prop_map(|([transfer, offset, total], data, message)| {
                Body::Chunk(Chunk { transfer, offset, total, data, message })
            }),
            (any::<[u64; 2]>(), any::<bool>()).prop_map(|([transfer, next], complete)| Body::ChunkAck(ChunkAck {
                transfer,
                next,
                complete
            })),
        ]
    }

    fn batch() -> impl Strategy<Value = Vec<Envelope>> {
        let envelope = |(group, body)| Envelope { group: GroupId(group), from: sender(), to: receiver(), body };
        prop::collection::vec((any::<u64>(), body()).prop_map(envelope), 0..6)
    }

    fn encode(batch: &[Envelope]) -> Bytes {
        let mut out = BytesMut::new();
        encode_batch(batch, &mut out);
        out.freeze()
    }

    /// Bytes held by what was decoded, payloads aside: those share the frame.
    fn memory(envelope: &Envelope) -> usize {
        let Body::Raft(message) = &envelope.body else { return size_of::<Envelope>() };
        let members = message.get_snapshot().get_metadata().get_conf_state();
        let lists = [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next];
        let members: usize = lists.iter().map(|list| list.capacity() * 8).sum();
        size_of::<Envelope>() + size_of::<Message>() + message.entries.capacity() * size_of::<Entry>() + members
    }

    proptest! {
        #[test]
        fn batches_round_trip(batch in batch()) {
            let frame = encode(&batch);
            prop_assert_eq!(frame_length(&frame), Ok(Some(frame.len())));
            let decoded: Result<Vec<Envelope>, _> = decode_batch(frame).collect();
            prop_assert_eq!(decoded, Ok(batch));
        }

        #[test]
        fn damaged_frames_neither_panic_nor_grow(
            batch in batch(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut frame = encode(&batch).to_vec();
            for (at, byte) in damage {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            let whole = Bytes::from(frame.clone());
            frame.truncate(cut.index(frame.len()));
            for frame in [whole, Bytes::from(frame)] {
                let len = frame.len();
                for envelope in decode_batch(frame).flatten() {
                    let held = memory(&envelope);
                    prop_assert!(held <= 2048 + 16 * len, "{held} bytes from {len}");
                }
            }
        }

        #[test]
        fn noise_neither_panics_nor_grows(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = BytesMut::new();
            frame.put_u32_le(noise.len() as u32);
            frame.put_slice(&noise);
            for envelope in decode_batch(frame.freeze()).flatten() {
                prop_assert!(memory(&envelope) <= 2048 + 16 * noise.len());
            }
        }
    }

    #[test]
    fn counts_are_bounded_by_the_bytes_that_are_there() {
        let head = Head {
            body: BODY_RAFT,
            from: sender().get(),
            to: receiver().get(),
            entries: u32::MAX,
            ..Default::default()
        };
        let mut out = BytesMut::new();
        let start = open_frame(&mut out);
        out.put_u32_le(head.encoded_len() as u32);
        head.encode(&mut out).unwrap();
        close_frame(start, &mut out);
        let decoded: Vec<_> = decode_batch(out.freeze()).collect();
        assert_eq!(decoded, [Err(DecodeError::Truncated)]);
        assert_eq!(frame_length(&u32::MAX.to_le_bytes()), Err(DecodeError::TooLong(u32::MAX as usize)));
        assert_eq!(frame_length(&[1, 2, 3]), Ok(None));
    }

    #[test]
    fn a_batch_too_long_for_one_frame_becomes_several() {
        let chunk = |offset| Chunk {
            transfer: 1,
            offset,
            total: 1,
            data: Bytes::from(vec![0; FRAME_BYTES_MAX / 3]),
            message: None,
        };
        let envelope =
            |offset| Envelope { group: GroupId(1), from: sender(), to: receiver(), body: Body::Chunk(chunk(offset)) };
        let mut bytes = encode(&(0..7).map(envelope).collect::<Vec<_>>());
        let mut seen = Vec::new();
        while let Some(len) = frame_length(&bytes).unwrap() {
            let frame = bytes.split_to(len);
            seen.extend(decode_batch(frame).map(|envelope| match envelope.unwrap().body {
                Body::Chunk(chunk) => chunk.offset,
                other => panic!("{other:?}"),
            }));
        }
        assert_eq!(seen, (0..7).collect::<Vec<u64>>());
    }
}
