//! `headwater store verify|inspect|accept-loss DIR`: what a store holds, what is damaged, and what its disk does not give,
//! with no server running.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_storage::loss::{self, Loss};
use headwater_storage::verify::{self, GroupSummary};
use headwater_storage::{JournalOptions, OpenError, Progress, RealIo};
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

/// Writes what is there; with `every_record` all of it is read and checked. True when no damage was found, and no start has
/// put anything into quarantine. Nothing is changed, and a store that a server uses is refused.
///
/// # Errors
/// When there is no store, it is in use, or the disk refuses.
pub fn report(directory: &Path, every_record: bool, out: &mut impl Write) -> Result<bool, InspectError> {
    let journal = journal_directory(directory).ok_or_else(|| InspectError::NoStore(directory.to_owned()))?;
    let io = Arc::new(RealIo::probe(&journal)?);
    let mut report = verify::verify(io, &journal, every_record, &mut phases())?;
    report.groups.iter_mut().for_each(|group| group.label = label(group));
    writeln!(out, "store {}", journal.display())?;
    write!(out, "{report}")?;
    Ok(report.is_well())
}

/// Writes what the disk refuses to give, also when it is asked again. With `accept` the store goes on without it from then
/// on: what was there becomes damage. True when there is nothing of the kind, or no longer.
///
/// # Errors
/// When there is no store, it is in use, or what can be read could not be copied.
pub fn losses(directory: &Path, accept: bool, out: &mut impl Write) -> Result<bool, InspectError> {
    let journal = journal_directory(directory).ok_or_else(|| InspectError::NoStore(directory.to_owned()))?;
    let io = Arc::new(RealIo::probe(&journal)?);
    let losses = loss::find(io, &journal, &JournalOptions::default(), accept, &mut phases())?;
    writeln!(out, "store {}", journal.display())?;
    for loss in &losses {
        let Loss { file, length, unreadable, reason, kept } = loss;
        writeln!(out, "{}: {} of {length} bytes can not be read: {reason}", file.display(), loss.bytes())?;
        for range in unreadable {
            writeln!(out, "  bytes {} to {}", range.start, range.end - 1)?;
        }
        if let Some(kept) = kept {
            writeln!(out, "  replaced by a copy with zeros there; the file itself is {}", kept.display())?;
        }
    }
    match (losses.is_empty(), accept) {
        (true, _) => writeln!(out, "everything can be read")?,
        (false, true) => writeln!(out, "`headwater store verify {}` says what that costs", directory.display())?,
        (false, false) => writeln!(
            out,
            "nothing was changed. It may come back: another attempt, another cable, a copy of the disk. If it is gone, \
             --write lets the server start without it"
        )?,
    }
    Ok(losses.is_empty() || accept)
}

/// Tells each phase once.
fn phases() -> impl FnMut(Progress) {
    let mut last = "";
    move |progress| {
        if progress.phase != last {
            last = progress.phase;
            eprintln!("{}: {} segments", progress.phase, progress.total);
        }
    }
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
