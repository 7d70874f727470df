//! What stands in the log of a stream beside its messages, and how it is encoded: a byte that says which kind, kept in
//! the record's tag, and a body.

use prost::Message as _;

use super::super::api::{StreamConfig, json};

/// Tags of control entries; a message has [`MESSAGE`]. Never used for anything else, even when one becomes obsolete.
pub const MESSAGE: u8 = 0;
const PURGE: u8 = 1;
const DELETE: u8 = 2;
const EXPIRE: u8 = 3;
const UPDATE: u8 = 4;
const CONSUMER_CREATE: u8 = 5;
const CONSUMER_UPDATE: u8 = 6;
const CONSUMER_DELETE: u8 = 7;
const CONSUMER_DELTA: u8 = 8;
/// A message of a batch that is not its last one: it counts only together with all that follow, up to and with the next
/// [`MESSAGE`]. Any entry of another kind in between says that the end of the batch was never written.
pub const MESSAGE_OF_BATCH: u8 = 9;

/// An entry that is not a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// Removes messages that match `filter` (empty: all) below `up_to` (0: no bound), except for the last `keep`.
    Purge { filter: String, up_to: u64, keep: u64 },
    /// Removes one message; `erase` overwrites its bytes.
    Delete { sequence: u64, erase: bool },
    /// Removes what the log time of the entry makes too old, `at_most` so many messages (0: no bound). The bound stands
    /// in the entry, so that another one may be chosen some day and old logs still mean the same.
    Expire { at_most: u64 },
    /// Gives the stream another configuration, whose legality was checked before. Sealing is done this way.
    Update { config: Box<StreamConfig> },
    /// What concerns a consumer: `id` is its number in this stream, never used twice; `body` is for the consumers alone.
    Consumer { change: ConsumerChange, id: u64, body: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerChange {
    Create,
    Update,
    Delete,
    /// Deliveries, acknowledgements and the like: what does not change the configuration.
    Delta,
}

/// Bytes that are no control entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedControl {
    #[error("control entry of unknown kind {0}")]
    UnknownTag(u8),
    #[error("control entry is damaged")]
    Body,
}

impl Control {
    /// True for what purges, deletes and expires, or ends something: it must find room on a full disk. What consumers do
    /// beside that comes without end.
    pub fn frees_space(&self) -> bool {
        !matches!(self, Self::Consumer { change, .. } if *change != ConsumerChange::Delete)
    }

    /// The tag of the record that holds this entry.
    pub fn tag(&self) -> u8 {
        match self {
            Self::Purge { .. } => PURGE,
            Self::Delete { .. } => DELETE,
            Self::Expire { .. } => EXPIRE,
            Self::Update { .. } => UPDATE,
            Self::Consumer { change: ConsumerChange::Create, .. } => CONSUMER_CREATE,
            Self::Consumer { change: ConsumerChange::Update, .. } => CONSUMER_UPDATE,
            Self::Consumer { change: ConsumerChange::Delete, .. } => CONSUMER_DELETE,
            Self::Consumer { change: ConsumerChange::Delta, .. } => CONSUMER_DELTA,
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = match self {
            Self::Purge { filter, up_to, keep } => {
                PurgeBody { filter: filter.clone(), up_to: *up_to, keep: *keep }.encode_to_vec()
            }
            Self::Delete { sequence, erase } => DeleteBody { sequence: *sequence, erase: *erase }.encode_to_vec(),
            Self::Expire { at_most } => ExpireBody { at_most: *at_most }.encode_to_vec(),
            Self::Update { config } => json::write(&**config),
            Self::Consumer { id, body, .. } => {
                // By hand, since deltas are many: the id, then the rest.
                prost::encoding::encode_varint(*id, out);
                out.extend_from_slice(body);
                return;
            }
        };
        out.extend_from_slice(&body);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(tag: u8, body: &[u8]) -> Result<Self, MalformedControl> {
        let change = match tag {
            PURGE => {
                let PurgeBody { filter, up_to, keep } = PurgeBody::decode(body).map_err(|_| MalformedControl::Body)?;
                return Ok(Self::Purge { filter, up_to, keep });
            }
            DELETE => {
                let DeleteBody { sequence, erase } = DeleteBody::decode(body).map_err(|_| MalformedControl::Body)?;
                return Ok(Self::Delete { sequence, erase });
            }
            EXPIRE => {
                let ExpireBody { at_most } = ExpireBody::decode(body).map_err(|_| MalformedControl::Body)?;
                return Ok(Self::Expire { at_most });
            }
            UPDATE => {
                let config = decode_config(body).ok_or(MalformedControl::Body)?;
                return Ok(Self::Update { config: Box::new(config) });
            }
            CONSUMER_CREATE => ConsumerChange::Create,
            CONSUMER_UPDATE => ConsumerChange::Update,
            CONSUMER_DELETE => ConsumerChange::Delete,
            CONSUMER_DELTA => ConsumerChange::Delta,
            other => return Err(MalformedControl::UnknownTag(other)),
        };
        let mut rest = body;
        let id = prost::encoding::decode_varint(&mut rest).map_err(|_| MalformedControl::Body)?;
        Ok(Self::Consumer { change, id, body: rest.to_vec() })
    }
}

/// A configuration as entries and checkpoints hold it. Fields that a later version added are ignored.
pub(super) fn decode_config(body: &[u8]) -> Option<StreamConfig> {
    if body.is_empty() {
        return None;
    }
    json::read(body, false).ok()
}

#[derive(Clone, PartialEq, prost::Message)]
struct PurgeBody {
    #[prost(string, tag = "1")]
    filter: String,
    #[prost(uint64, tag = "2")]
    up_to: u64,
    #[prost(uint64, tag = "3")]
    keep: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteBody {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(bool, tag = "2")]
    erase: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExpireBody {
    #[prost(uint64, tag = "1")]
    at_most: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(control: &Control) {
        let mut body = Vec::new();
        control.encode(&mut body);
        assert_eq!(Control::decode(control.tag(), &body).as_ref(), Ok(control));
    }

    #[test]
    fn entries_are_read_back() {
        round_trip(&Control::Purge { filter: "a.*".to_owned(), up_to: 7, keep: 0 });
        round_trip(&Control::Delete { sequence: u64::MAX, erase: true });
        round_trip(&Control::Expire { at_most: 0 });
        round_trip(&Control::Expire { at_most: 10_000 });
        let config = StreamConfig { name: "S".to_owned(), max_msgs: -1, ..StreamConfig::default() };
        round_trip(&Control::Update { config: Box::new(config) });
        for change in [ConsumerChange::Create, ConsumerChange::Update, ConsumerChange::Delete, ConsumerChange::Delta] {
            round_trip(&Control::Consumer { change, id: 300, body: vec![0, 1, 2] });
        }
    }

    #[test]
    fn layouts_are_fixed() {
        let mut body = Vec::new();
        Control::Purge { filter: "a".to_owned(), up_to: 300, keep: 1 }.encode(&mut body);
        assert_eq!(body, [0x0a, 1, b'a', 0x10, 0xac, 2, 0x18, 1]);
        body.clear();
        // As it was before there was a bound.
        Control::Expire { at_most: 0 }.encode(&mut body);
        assert_eq!(body, [0_u8; 0]);
        Control::Expire { at_most: 300 }.encode(&mut body);
        assert_eq!(body, [0x08, 0xac, 2]);
        body.clear();
        Control::Consumer { change: ConsumerChange::Delta, id: 300, body: vec![9] }.encode(&mut body);
        assert_eq!(body, [0xac, 2, 9]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(tag: u8, body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Control::decode(tag, &body);
        }
    }
}
