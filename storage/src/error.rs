//! What can go wrong, one enum per operation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::segment::FORMAT_VERSION;
use crate::io::IoError;
use crate::location::Location;

/// A write or a sync failed. Final: the journal takes no more records until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("journal failed while {during}: {reason}")]
pub struct JournalError {
    /// What was being done.
    pub during: &'static str,
    /// What the operating system said.
    pub reason: Arc<str>,
}

/// Why a journal could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{directory} is in use by another process")]
    Locked {
        /// The journal's directory.
        directory: PathBuf,
    },
    /// The operating system refused.
    #[error("{during}: {source}")]
    Io {
        /// What was being done.
        during: &'static str,
        /// What the operating system said.
        source: IoError,
    },
    /// The operating system refused one file.
    #[error("{during} {}: {source}", file.display())]
    File {
        /// What was being done.
        during: &'static str,
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: IoError,
    },
    /// The disk does not give bytes that a start depends on. That says nothing about what they are: to go on without them
    /// would replace what is stored there.
    #[error("{} can not be read at offset {offset}, nothing was changed: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u32,
        /// What the operating system said.
        source: IoError,
    },
    /// A segment was written by a program with another format. To go on without it would put aside all that is stored.
    #[error("{} is of format version {version}, and this program knows version {FORMAT_VERSION} alone; nothing was changed",
        file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version that it says.
        version: u32,
    },
    /// There are segments, and not one of them can be identified. A journal that begins anew would look as if nothing had
    /// ever been stored.
    #[error("none of the segment files in {} says what it is ({files} of them); nothing was changed", directory.display())]
    Unidentified {
        /// The journal's directory.
        directory: PathBuf,
        /// How many files there are.
        files: usize,
    },
}

impl OpenError {
    pub(crate) fn file<'p>(during: &'static str, path: &'p Path) -> impl Fn(IoError) -> Self + 'p {
        move |source| Self::File { during, file: path.to_owned(), source }
    }

    /// Why the directory could not be locked.
    pub(crate) fn lock(directory: &Path) -> impl Fn(IoError) -> Self + '_ {
        |source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Self::Locked { directory: directory.to_owned() },
            _ => Self::Io { during: "locking the journal's directory", source },
        }
    }

    pub(crate) fn io(during: &'static str) -> impl Fn(IoError) -> Self {
        move |source| Self::Io { during, source }
    }
}

/// Why records are not taken. Nothing was appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Too many bytes wait to be written: come back when some are durable.
    #[error("the journal is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// A write or sync failed.
    #[error(transparent)]
    Poisoned(#[from] JournalError),
    /// The journal is closing.
    #[error("the journal is closed")]
    Closed,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// The record is there and its checksum is wrong.
    #[error("record at {0} is damaged")]
    Damaged(Location),
    /// The operating system refused.
    #[error("reading a record: {0}")]
    Io(#[from] IoError),
}

/// Why a message could not be erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// It could not be read first, or its file not be opened. Nothing is wrong with the journal: it may be tried again.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed; the journal is poisoned.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
