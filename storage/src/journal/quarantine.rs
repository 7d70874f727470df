//! The directory for files that nobody understood or that could not be read as a whole. It owns the names there: nothing in
//! it is ever replaced or removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::io::Io;

/// Its name in the journal's directory.
pub(crate) const QUARANTINE: &str = "quarantine";

/// More names for one file than anybody needs.
const NAMES_MAX: u32 = 100;

/// Moves a file there.
pub(crate) fn put(io: &dyn Io, directory: &Path, path: &Path) -> Result<PathBuf, OpenError> {
    let kept = free_name(io, directory, path)?;
    io.rename(path, &kept).map_err(OpenError::file("moving to quarantine", path))?;
    sync(io, directory)?;
    Ok(kept)
}

/// Gives a file a second name there.
pub(crate) fn keep(io: &dyn Io, directory: &Path, path: &Path) -> Result<PathBuf, OpenError> {
    let kept = free_name(io, directory, path)?;
    io.link(path, &kept).map_err(OpenError::file("keeping in quarantine", path))?;
    sync(io, directory)?;
    Ok(kept)
}

/// A name that no file there has. Whoever holds the lock of the journal's directory is the only one who gives any.
fn free_name(io: &dyn Io, directory: &Path, path: &Path) -> Result<PathBuf, OpenError> {
    let quarantine = directory.join(QUARANTINE);
    io.create_dir(&quarantine).map_err(OpenError::io("creating the quarantine"))?;
    let taken = io.list(&quarantine).map_err(OpenError::io("listing the quarantine"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut names = std::iter::once(name.to_string()).chain((1..NAMES_MAX).map(|nth| format!("{name}.{nth}")));
    let free = names.find(|name| !taken.contains(name));
    let free = free.ok_or_else(|| {
        OpenError::file("finding a name in quarantine for", path)(io::ErrorKind::AlreadyExists.into())
    })?;
    Ok(quarantine.join(free))
}

fn sync(io: &dyn Io, directory: &Path) -> Result<(), OpenError> {
    io.sync_dir(&directory.join(QUARANTINE)).map_err(OpenError::io("syncing the quarantine"))?;
    // The quarantine itself may be new.
    io.sync_dir(directory).map_err(OpenError::io("syncing the journal's directory"))
}
