//! The rows of the catalogue and how they lie in the store.
//!
//! ```text
//! key:   table u8 | group u64 big-endian | name
//! value: crc32 of key and body u32 | body          (little-endian)
//! ```
//!
//! The manifest has the key 0, which is no table: rows u64 | sum of the rows' 128-bit hashes, two u64 (each wrapping).

use super::Doubt;
use crate::siphash::siphash128;

/// What a row is about. Names and bodies are opaque here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Table {
    /// A group's name.
    Name = 1,
    /// What the group or a part of it is: definitions.
    Definition = 2,
    /// Where a group's checkpoints lie.
    Checkpoint = 3,
    /// Everything else that its owner can find again.
    Hint = 4,
    /// How far the rows of a group reflect its log. Written by [`Batch::applied`](super::Batch::applied) alone.
    Applied = 5,
}

/// A position in a group's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Applied {
    pub term: u64,
    pub index: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    pub group: u64,
    pub name: Vec<u8>,
    pub body: Vec<u8>,
}

pub(super) const MANIFEST_KEY: &[u8] = &[0];
const KEY_BYTES_MIN: usize = 9;
const CRC_BYTES: usize = 4;

pub(super) const TABLES: [Table; 5] = [Table::Name, Table::Definition, Table::Checkpoint, Table::Hint, Table::Applied];

pub(super) fn key(table: Table, group: u64, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY_BYTES_MIN + name.len());
    key.push(table as u8);
    key.extend_from_slice(&group.to_be_bytes());
    key.extend_from_slice(name);
    key
}

/// The least key above a row's.
pub(super) fn key_after(table: Table, row: &Row) -> Vec<u8> {
    let mut after = key(table, row.group, &row.name);
    after.push(0);
    after
}

/// The value to store; its checksum covers the key too, so that a value can't turn up under another key.
pub(super) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(CRC_BYTES + body.len());
    value.extend_from_slice(&checksum(key, body).to_le_bytes());
    value.extend_from_slice(body);
    value
}

/// The body of a stored value.
pub(super) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Doubt> {
    let (crc, body) = value.split_first_chunk::<CRC_BYTES>().ok_or(Doubt::Damaged)?;
    if u32::from_le_bytes(*crc) == checksum(key, body) { Ok(body) } else { Err(Doubt::Damaged) }
}

pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<Row, Doubt> {
    let body = unseal(key, value)?;
    let (group, name) = key.get(1..).and_then(|rest| rest.split_first_chunk::<8>()).ok_or(Doubt::Damaged)?;
    Ok(Row { group: u64::from_be_bytes(*group), name: name.to_vec(), body: body.to_vec() })
}

pub(super) fn applied_body(applied: Applied) -> Vec<u8> {
    [applied.term.to_le_bytes(), applied.index.to_le_bytes()].concat()
}

pub(super) fn read_applied(row: &Row) -> Result<(u64, Applied), Doubt> {
    match row.body.as_chunks::<8>() {
        ([term, index], []) => {
            Ok((row.group, Applied { term: u64::from_le_bytes(*term), index: u64::from_le_bytes(*index) }))
        }
        _ => Err(Doubt::Damaged),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(key.len() as u32);
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// Vouches for the whole: every row is there, none is a forgotten older one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Manifest {
    pub rows: u64,
    sum: [u64; 2],
}

impl Manifest {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let hash = hash(key, value);
        self.rows = self.rows.wrapping_add(1);
        self.sum = [self.sum[0].wrapping_add(hash[0]), self.sum[1].wrapping_add(hash[1])];
    }

    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        let hash = hash(key, value);
        self.rows = self.rows.wrapping_sub(1);
        self.sum = [self.sum[0].wrapping_sub(hash[0]), self.sum[1].wrapping_sub(hash[1])];
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        seal(MANIFEST_KEY, &[self.rows, self.sum[0], self.sum[1]].map(u64::to_le_bytes).concat())
    }

    pub(super) fn decode(value: &[u8]) -> Result<Manifest, Doubt> {
        match unseal(MANIFEST_KEY, value)?.as_chunks::<8>() {
            ([rows, low, high], []) => Ok(Manifest {
                rows: u64::from_le_bytes(*rows),
                sum: [u64::from_le_bytes(*low), u64::from_le_bytes(*high)],
            }),
            _ => Err(Doubt::Damaged),
        }
    }
}

fn hash(key: &[u8], value: &[u8]) -> [u64; 2] {
    let (key_hash, value_hash) = (siphash128(b"catalogue key...", key), siphash128(b"catalogue value.", value));
    let both = [key_hash[0], key_hash[1], value_hash[0], value_hash[1]].map(u64::to_le_bytes).concat();
    siphash128(b"catalogue row...", &both)
}
