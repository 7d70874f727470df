//! `headwater store verify|inspect DIR`: what a store holds and what is damaged, with no server running.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::{OpenError, Progress, RealIo, verify};

/// Why a store could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{} holds no store", .0.display())]
    NoStore(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Writes what is there; with `every_record` all of it is read and checked. True when no damage was found. Nothing is
/// changed, and a store that a server uses is refused.
///
/// # Errors
/// When there is no store, it is in use, or the disk refuses.
pub fn report(directory: &Path, every_record: bool, out: &mut impl Write) -> Result<bool, InspectError> {
    let journal = journal_directory(directory).ok_or_else(|| InspectError::NoStore(directory.to_owned()))?;
    let io = Arc::new(RealIo::probe(&journal)?);
    let mut last = "";
    let mut progress = |progress: Progress| {
        if progress.phase != last {
            last = progress.phase;
            eprintln!("{}: {} segments", progress.phase, progress.total);
        }
    };
    let report = verify::verify(io, &journal, every_record, &mut progress)?;
    writeln!(out, "store {}", journal.display())?;
    write!(out, "{report}")?;
    Ok(report.damages.is_empty())
}

/// The journal below a store directory, a `jetstream` directory, or the directory itself.
fn journal_directory(directory: &Path) -> Option<PathBuf> {
    let candidates = [directory.join("jetstream").join("journal"), directory.join("journal"), directory.to_owned()];
    candidates.into_iter().find(|candidate| holds_segments(candidate))
}

fn holds_segments(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "segment"))
}
