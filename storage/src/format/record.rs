//! HOT PATH: no allocation per message, no lock, no log above trace.
//!
//! One record: a Raft entry, a stored message, or a note of the journal to itself. Encoded once; the same bytes go
//! to disk, to followers and to consumers.

use super::{SECTOR_BYTES, checksum, read_u16, read_u32, read_u64, write_at};

/// A Raft group, that is a stream with all its consumers. 0 belongs to the journal itself, 1 to the node's meta group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The journal's own records.
    pub const JOURNAL: Self = Self(0);
}

/// What a record is to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A Raft entry without a stream sequence.
    Entry = 1,
    /// A Raft entry that is also a stored message.
    Message = 2,
    /// The group's hard state: the latest wins.
    State = 3,
    /// A part of the group's checkpoint: the latest complete one wins.
    Checkpoint = 4,
    /// The group is gone and never comes back.
    GroupRemoved = 5,
    /// A message that came with a snapshot or a repair: it has a stream sequence, but no place in the Raft log.
    Copied = 6,
    /// The journal's own list of segments that hold data.
    Segments = 7,
    /// The journal's own note that segments hold nothing any more.
    Retired = 8,
    /// What the group is, in the words of the layer above, as of its index: the latest wins.
    Definition = 9,
}

impl RecordKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Entry,
            2 => Self::Message,
            3 => Self::State,
            4 => Self::Checkpoint,
            5 => Self::GroupRemoved,
            6 => Self::Copied,
            7 => Self::Segments,
            8 => Self::Retired,
            9 => Self::Definition,
            _ => return None,
        })
    }

    /// True for what Raft numbers.
    pub fn is_log_entry(self) -> bool {
        matches!(self, Self::Entry | Self::Message)
    }

    /// True for what a stream numbers.
    pub fn is_message(self) -> bool {
        matches!(self, Self::Message | Self::Copied)
    }

    /// True for entries and messages, false for the control records beside them.
    pub fn is_numbered(self) -> bool {
        self.is_log_entry() || self.is_message()
    }
}

/// Everything about a record but its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The group the record belongs to.
    pub group: GroupId,
    /// Raft index; for a `Checkpoint` the last index that it covers.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// What it is to the journal.
    pub kind: RecordKind,
    /// Opaque to storage: the entry type of the layer above.
    pub tag: u8,
    /// Stream sequence of a `Message` or `Copied`. For other kinds but `Entry` the journal puts its control number.
    pub sequence: u64,
    /// Nanoseconds since the epoch, log time.
    pub time: i64,
    /// Length of the subject.
    pub subject_len: u16,
    /// Length of the headers.
    pub headers_len: u32,
    /// Length of the payload.
    pub payload_len: u32,
}

const LENGTH_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = LENGTH_OFFSET + 4;
const GROUP_OFFSET: usize = CHECKSUM_OFFSET + 4;
const INDEX_OFFSET: usize = GROUP_OFFSET + 8;
const TERM_OFFSET: usize = INDEX_OFFSET + 8;
const SEQUENCE_OFFSET: usize = TERM_OFFSET + 8;
const TIME_OFFSET: usize = SEQUENCE_OFFSET + 8;
const HEADERS_LEN_OFFSET: usize = TIME_OFFSET + 8;
const PAYLOAD_LEN_OFFSET: usize = HEADERS_LEN_OFFSET + 4;
const SUBJECT_LEN_OFFSET: usize = PAYLOAD_LEN_OFFSET + 4;
const KIND_OFFSET: usize = SUBJECT_LEN_OFFSET + 2;
const TAG_OFFSET: usize = KIND_OFFSET + 1;
const FLAGS_OFFSET: usize = TAG_OFFSET + 1;
const RESERVED_OFFSET: usize = FLAGS_OFFSET + 1;

/// Bytes before the subject.
pub const RECORD_HEADER_BYTES: usize = RESERVED_OFFSET + 3;
const _: () = assert!(RECORD_HEADER_BYTES == 64);

/// The largest record that the journal takes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024 + 128 * 1024;

/// Every record starts on a multiple of this.
pub const RECORD_ALIGNMENT: usize = 8;

/// The content was erased: the checksum covers the header only.
const FLAG_ERASED: u8 = 1;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end inside.
    #[error("ends too early")]
    Short,
    /// The lengths contradict each other.
    #[error("lengths contradict each other")]
    Length,
    /// No such kind.
    #[error("unknown kind or flag")]
    Kind,
    /// The checksum is wrong.
    #[error("checksum mismatch")]
    Checksum,
}

impl RecordHeader {
    /// A record with nothing but a payload; what else a header says is zero.
    pub fn of_payload(group: GroupId, kind: RecordKind, payload_bytes: usize) -> Self {
        Self {
            group,
            index: 0,
            term: 0,
            kind,
            tag: 0,
            sequence: 0,
            time: 0,
            subject_len: 0,
            headers_len: 0,
            payload_len: u32::try_from(payload_bytes).expect("a payload is smaller than a segment"),
        }
    }

    /// The length on disk, without padding.
    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + usize::from(self.subject_len) + self.headers_len as usize + self.payload_len as usize
    }
}

/// The first place at or after `position` where a record may start. A header never crosses a sector, so that it is
/// never torn: that is what makes a secure erase safe.
pub fn record_position(position: usize) -> usize {
    let aligned = position.next_multiple_of(RECORD_ALIGNMENT);
    let in_sector = aligned % SECTOR_BYTES;
    if in_sector + RECORD_HEADER_BYTES > SECTOR_BYTES { aligned - in_sector + SECTOR_BYTES } else { aligned }
}

/// Writes header, parts and checksum to the start of `target`, which must be exactly the record's length.
pub fn encode(header: &RecordHeader, parts: &[&[u8]], seed: u32, target: &mut [u8]) {
    let length = header.record_bytes();
    assert!(target.len() == length && length <= RECORD_BYTES_MAX, "record of {length} bytes");
    encode_header(header, 0, target);
    let mut at = RECORD_HEADER_BYTES;
    for part in parts {
        target[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert!(at == length, "parts of {at} bytes for a record of {length}");
    seal(target, seed);
}

/// Copies a record under the seed of another segment. What is checked, with the seed that it had, is the copy: its new
/// checksum must not vouch for what became of the bytes after they were checked in their place.
pub fn encode_copy(record: &[u8], seeds: (u32, u32), target: &mut [u8]) -> Result<(), Malformed> {
    target.copy_from_slice(record);
    if verify(target, seeds.0)?.bytes.len() != target.len() {
        return Err(Malformed::Length);
    }
    seal(target, seeds.1);
    Ok(())
}

/// The header of an erased record, which replaces the old one in place.
pub fn encode_erased(header: &RecordHeader, seed: u32) -> [u8; RECORD_HEADER_BYTES] {
    let mut target = [0; RECORD_HEADER_BYTES];
    encode_header(header, FLAG_ERASED, &mut target);
    seal(&mut target, seed);
    target
}

fn encode_header(header: &RecordHeader, flags: u8, target: &mut [u8]) {
    let target = &mut target[..RECORD_HEADER_BYTES];
    // Bounded by RECORD_BYTES_MAX, asserted by the caller.
    write_at(target, LENGTH_OFFSET, &(header.record_bytes() as u32).to_le_bytes());
    write_at(target, GROUP_OFFSET, &header.group.0.to_le_bytes());
    write_at(target, INDEX_OFFSET, &header.index.to_le_bytes());
    write_at(target, TERM_OFFSET, &header.term.to_le_bytes());
    write_at(target, SEQUENCE_OFFSET, &header.sequence.to_le_bytes());
    write_at(target, TIME_OFFSET, &header.time.to_le_bytes());
    write_at(target, HEADERS_LEN_OFFSET, &header.headers_len.to_le_bytes());
    write_at(target, PAYLOAD_LEN_OFFSET, &header.payload_len.to_le_bytes());
    write_at(target, SUBJECT_LEN_OFFSET, &header.subject_len.to_le_bytes());
    target[KIND_OFFSET] = header.kind as u8;
    target[TAG_OFFSET] = header.tag;
    target[FLAGS_OFFSET] = flags;
    target[RESERVED_OFFSET..].fill(0);
}

fn seal(record: &mut [u8], seed: u32) {
    let covered = covered_bytes(record);
    let sum = checksum(seed, &record[GROUP_OFFSET..covered]);
    write_at(record, CHECKSUM_OFFSET, &sum.to_le_bytes());
}

fn covered_bytes(record: &[u8]) -> usize {
    if record[FLAGS_OFFSET] & FLAG_ERASED != 0 { RECORD_HEADER_BYTES } else { record.len() }
}

/// A header that nothing vouches for yet.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedHeader {
    /// The fields, which may be anything.
    pub header: RecordHeader,
    /// The flag says erased.
    pub erased: bool,
}

/// Reads a header without trusting it. Its lengths are consistent and at most [`RECORD_BYTES_MAX`].
pub fn decode_header(bytes: &[u8]) -> Result<UnverifiedHeader, Malformed> {
    let bytes = bytes.get(..RECORD_HEADER_BYTES).ok_or(Malformed::Short)?;
    let kind = RecordKind::from_number(bytes[KIND_OFFSET]).ok_or(Malformed::Kind)?;
    let flags = bytes[FLAGS_OFFSET];
    if flags & !FLAG_ERASED != 0 {
        return Err(Malformed::Kind);
    }
    let header = RecordHeader {
        group: GroupId(read_u64(bytes, GROUP_OFFSET)),
        index: read_u64(bytes, INDEX_OFFSET),
        term: read_u64(bytes, TERM_OFFSET),
        kind,
        tag: bytes[TAG_OFFSET],
        sequence: read_u64(bytes, SEQUENCE_OFFSET),
        time: i64::from_le_bytes(read_u64(bytes, TIME_OFFSET).to_le_bytes()),
        subject_len: read_u16(bytes, SUBJECT_LEN_OFFSET),
        headers_len: read_u32(bytes, HEADERS_LEN_OFFSET),
        payload_len: read_u32(bytes, PAYLOAD_LEN_OFFSET),
    };
    let sum = RECORD_HEADER_BYTES as u64
        + u64::from(header.subject_len)
        + u64::from(header.headers_len)
        + u64::from(header.payload_len);
    if sum != u64::from(read_u32(bytes, LENGTH_OFFSET)) || sum > RECORD_BYTES_MAX as u64 {
        return Err(Malformed::Length);
    }
    Ok(UnverifiedHeader { header, erased: flags & FLAG_ERASED != 0 })
}

/// A record whose checksum was right, borrowed from where it lies.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// The header.
    pub header: RecordHeader,
    erased: bool,
    bytes: &'a [u8],
}

/// Reads the record at the start of `bytes` and checks it.
pub fn verify(bytes: &[u8], seed: u32) -> Result<RecordRef<'_>, Malformed> {
    let record = parse(bytes)?;
    let covered = covered_bytes(record.bytes);
    if checksum(seed, &record.bytes[GROUP_OFFSET..covered]) != read_u32(record.bytes, CHECKSUM_OFFSET) {
        return Err(Malformed::Checksum);
    }
    Ok(record)
}

/// Reads the record at the start of `bytes` without its checksum: only for memory that was verified before.
pub(crate) fn parse(bytes: &[u8]) -> Result<RecordRef<'_>, Malformed> {
    let UnverifiedHeader { header, erased } = decode_header(bytes)?;
    let bytes = bytes.get(..header.record_bytes()).ok_or(Malformed::Short)?;
    Ok(RecordRef { header, erased, bytes })
}

impl<'a> RecordRef<'a> {
    /// A record that was taken apart before.
    pub(crate) fn of(header: RecordHeader, erased: bool, bytes: &'a [u8]) -> Self {
        Self { header, erased, bytes }
    }

    /// The record as it lies on disk.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// True when the content was erased: subject, headers and payload are empty.
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// The subject.
    pub fn subject(&self) -> &'a [u8] {
        self.part(0, usize::from(self.header.subject_len))
    }

    /// The headers.
    pub fn headers(&self) -> &'a [u8] {
        self.part(usize::from(self.header.subject_len), self.header.headers_len as usize)
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        let before = usize::from(self.header.subject_len) + self.header.headers_len as usize;
        self.part(before, self.header.payload_len as usize)
    }

    fn part(&self, before: usize, length: usize) -> &'a [u8] {
        if self.erased {
            return &[];
        }
        &self.bytes[RECORD_HEADER_BYTES + before..RECORD_HEADER_BYTES + before + length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::document::{check_layout, rows_under};

    fn header() -> RecordHeader {
        RecordHeader {
            group: GroupId(0x0807_0605_0403_0201),
            index: 0x18,
            term: 0x20,
            kind: RecordKind::Message,
            tag: 9,
            sequence: 0x28,
            time: -2,
            subject_len: 3,
            headers_len: 2,
            payload_len: 4,
        }
    }

    fn encoded(seed: u32) -> Vec<u8> {
        let mut bytes = vec![0; header().record_bytes()];
        encode(&header(), &[b"a.b", b"hh", b"load"], seed, &mut bytes);
        bytes
    }

    #[test]
    fn the_document_has_these_offsets_and_kinds() {
        let numbers = [LENGTH_OFFSET, CHECKSUM_OFFSET, GROUP_OFFSET, INDEX_OFFSET, TERM_OFFSET, SEQUENCE_OFFSET];
        let lengths = [TIME_OFFSET, HEADERS_LEN_OFFSET, PAYLOAD_LEN_OFFSET, SUBJECT_LEN_OFFSET];
        let bytes = [KIND_OFFSET, TAG_OFFSET, FLAGS_OFFSET, RESERVED_OFFSET, RECORD_HEADER_BYTES];
        check_layout("Record", &[&numbers[..], &lengths, &bytes].concat());
        let kinds = (0..=u8::MAX).filter_map(|number| Some((number, RecordKind::from_number(number)?)));
        let kinds: Vec<(String, String)> =
            kinds.map(|(number, kind)| (number.to_string(), format!("{kind:?}"))).collect();
        let told = rows_under("| kind | name | what |");
        assert_eq!(told.into_iter().map(|(number, name)| (number.into(), name.into())).collect::<Vec<_>>(), kinds);
    }

    #[test]
    fn golden_bytes() {
        let expected = [
            0x49, 0, 0, 0, 0xbb, 0xcc, 0xd6, 0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 0x18, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0,
            0, 0, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0xfe, 255, 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 4, 0, 0, 0, 3, 0,
            2, 9, 0, 0, 0, 0, b'a', b'.', b'b', b'h', b'h', b'l', b'o', b'a', b'd',
        ];
        assert_eq!(encoded(7), expected);
    }

    #[test]
    fn a_record_is_read_back() {
        let bytes = encoded(7);
        let record = verify(&bytes, 7).unwrap();
        assert_eq!(record.header, header());
        assert_eq!((record.subject(), record.headers(), record.payload()), (&b"a.b"[..], &b"hh"[..], &b"load"[..]));
    }

    #[test]
    fn another_segment_or_any_flipped_bit_is_refused() {
        let bytes = encoded(7);
        assert_eq!(verify(&bytes, 8).unwrap_err(), Malformed::Checksum);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&flipped, 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_erased_header_needs_no_content() {
        let mut bytes = encoded(7);
        bytes[..RECORD_HEADER_BYTES].copy_from_slice(&encode_erased(&header(), 7));
        let record = verify(&bytes, 7).unwrap();
        assert!(record.is_erased() && record.payload().is_empty() && record.subject().is_empty());
        bytes[RECORD_HEADER_BYTES..].fill(0);
        assert!(verify(&bytes, 7).unwrap().is_erased());
    }

    #[test]
    fn headers_never_cross_a_sector() {
        assert_eq!(record_position(0), 0);
        assert_eq!(record_position(1), 8);
        assert_eq!(record_position(448), 448);
        assert_eq!(record_position(449), 512);
        assert_eq!(record_position(512), 512);
    }

    /// The bytes turned into zeros between the check and the copy, and the copy's checksum made them a message.
    #[test]
    fn a_copy_is_checked_before_it_gets_a_checksum_of_its_own() {
        let header = RecordHeader::of_payload(GroupId(5), RecordKind::Entry, 100);
        let mut record = vec![0; header.record_bytes()];
        encode(&header, &[&[7; 100]], 1, &mut record);
        let mut copy = vec![0; record.len()];
        encode_copy(&record, (1, 2), &mut copy).unwrap();
        assert_eq!(verify(&copy, 2).unwrap().payload(), [7; 100]);
        for zeros in [record.len() - 50, 0] {
            record[zeros..].fill(0);
            assert!(encode_copy(&record, (1, 2), &mut copy).is_err());
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), seed: u32) {
            let _ = verify(&bytes, seed);
        }
    }
}
