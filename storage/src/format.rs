//! The bytes on disk, as pure functions: nothing here does I/O, and no input can make it panic.
//!
//! `docs/formats.md` draws every layout; the offsets there are the constants here. All numbers are little endian,
//! but for the keys of the catalogue.

pub mod batch;
pub mod catalogue_row;
#[cfg(test)]
pub(crate) mod document;
pub mod footer;
pub mod record;
pub mod segment;

/// Header block, its copy, the seal slot: each alone in 4096 bytes, whatever the device's block size.
pub const PAGE_BYTES: u32 = 4096;

/// What a power cut is assumed never to tear.
pub const SECTOR_BYTES: usize = 512;

/// The seed of every checksum in a segment: stale bytes of an earlier life of the file, or of another journal, never
/// validate, and nobody who can only choose payloads can forge a record.
pub fn checksum_seed(journal: u64, segment: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&journal.to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

/// The checksum of `parts` under a seed.
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

pub(crate) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    let mut raw = [0; 2];
    raw.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(raw)
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

pub(crate) fn write_at(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}
