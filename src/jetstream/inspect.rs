//! `headwater store verify|inspect DIR`: what a store holds and what is damaged, with no server running.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::verify::{self, GroupSummary};
use headwater_storage::{OpenError, Progress, RealIo};
use prost::Message;

use super::meta::{META_GROUP, StreamDefinition};

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
    let mut report = verify::verify(io, &journal, every_record, &mut progress)?;
    report.groups.iter_mut().for_each(|group| group.label = label(group));
    writeln!(out, "store {}", journal.display())?;
    write!(out, "{report}")?;
    Ok(report.damages.is_empty())
}

/// What a group is, in a line.
fn label(group: &GroupSummary) -> String {
    if group.group == META_GROUP {
        return "the list of streams".to_owned();
    }
    let Some(definition) = group.definition.clone().and_then(|body| StreamDefinition::decode(body).ok()) else {
        return "a stream that does not say its name".to_owned();
    };
    let StreamDefinition { account, name, config, .. } = definition;
    format!("stream {name} of account {account}: {}", String::from_utf8_lossy(&config))
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
