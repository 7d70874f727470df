//! The only door to the file system: everything in this crate reads and writes through [`Io`].
//!
//! Two implementers: [`RealIo`] (direct writes where the file system allows them) and [`SimIo`] (memory, with
//! crashes and faults). Nothing above this file may call `std::fs`.

mod lost_pages;
mod real;
mod sim;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub use lost_pages::LostPages;
pub use real::RealIo;
pub(crate) use real::create_dir;
pub use sim::{CrashPoint, FaultKind, SimIo};

/// An I/O failure as the operating system told it.
pub type IoError = io::Error;

/// How a file is going to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// A journal file that must exist: writes bypass the page cache when the file system allows it.
    Journal,
    /// Like `Journal`, but the file is created and must not exist.
    Create,
    /// Read only, through the page cache.
    Read,
    /// Read and write through the page cache, so that a mapping of the same file sees the change.
    Patch,
}

/// A directory tree on some medium.
pub trait Io: Send + Sync + 'static {
    /// Makes a directory and its parents; an existing one is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>>;
    /// Renames a file. Durable only after [`Io::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, which must not exist. Durable only after [`Io::sync_dir`].
    fn link(&self, path: &Path, second: &Path) -> io::Result<()>;
    /// Removes a file. Only for files that never held a record, or nothing but copies.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// The whole file as immutable bytes. Only for sealed files: nobody may change it while the bytes live. What the
    /// medium does not give when it is touched reads as zero, and `lost` says so from then on.
    fn map(&self, path: &Path, lost: &Arc<LostPages>) -> io::Result<Bytes>;
    /// Rises whenever bytes of any mapping were found to be lost.
    fn lost_pages(&self) -> u64;
    /// Takes the exclusive lock of a directory; held until the value is dropped.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
    /// Free bytes on the medium of this directory, when known.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
    /// The unit that one write never tears a neighbour of: batches start on multiples of it (512 or 4096).
    fn block_bytes(&self) -> u32;
}

/// An open file. Offsets and lengths of writes to a journal file are multiples of [`Io::block_bytes`].
pub trait IoFile: Send + Sync {
    /// Fills `buffer` from `offset`; `UnexpectedEof` when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes`; durable only after [`IoFile::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` and makes them durable.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes every earlier write durable. An error is final: never retry.
    fn sync(&self) -> io::Result<()>;
    /// Reserves space up to `length` and makes the file at least that long. New bytes read as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// The length of the file.
    fn length(&self) -> io::Result<u64>;
}

/// Of an error that must not be taken for a want of space, to be tried again: a sync that failed.
pub(crate) fn as_final(error: io::Error) -> io::Error {
    io::Error::other(error)
}

/// True for "no space left" in its variants (ENOSPC, EDQUOT), and where a file could not be opened because too many are
/// open: nothing was written, and the same may be tried again later.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) || is_no_descriptor(error)
}

/// True when the process or the system has no descriptor left for another open file (EMFILE, ENFILE).
pub(crate) fn is_no_descriptor(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
