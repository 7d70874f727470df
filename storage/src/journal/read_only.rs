//! A file system on which nothing is changed, also where nothing could be: a medium that is mounted read-only, files that
//! belong to somebody else.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::io::{Io, IoFile, LostPages, OpenMode};

/// Reads what is below, and refuses the rest.
pub(crate) struct ReadOnly(pub(crate) Arc<dyn Io>);

fn refuse<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Io for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        match mode {
            OpenMode::Create | OpenMode::Patch => refuse(),
            OpenMode::Read => self.0.open(path, mode),
            // Around the page cache, which may know what the medium has lost; if that is allowed, for it is for writers.
            OpenMode::Journal => match self.0.open(path, mode) {
                Err(error) if is_forbidden(&error) => self.0.open(path, OpenMode::Read),
                opened => opened,
            },
        }
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn map(&self, path: &Path, lost: &Arc<LostPages>) -> io::Result<Bytes> {
        self.0.map(path, lost)
    }

    fn lost_pages(&self) -> u64 {
        self.0.lost_pages()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        match self.0.lock(path) {
            // No server can use it either.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(Box::new(())),
            locked => locked,
        }
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        self.0.free_bytes(path)
    }

    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}
