//! Bytes that the disk will never give again, and the decision of somebody that they are gone (ADR 0012).
//!
//! ```text
//! read all -> what is refused -> a copy with zeros in its place, synced -> the file's second name, in quarantine
//!          -> the copy takes the file's first name
//! ```
//!
//! Zeros fit no checksum: from then on they are damage, which a start reports and isolates. The file itself is kept, with
//! whatever a better drive or a patient hand may still read of it. Whenever the power goes, the name stands for the one
//! or for the other, whole.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::patience::{Patience, UNREADABLE_BYTES, Whole};
use super::quarantine::keep;
use super::read_only::ReadOnly;
use crate::error::OpenError;
use crate::format::segment::FileName;
use crate::io::{Io, OpenMode};
use crate::options::JournalOptions;
use crate::report::Progress;

/// What a copy is called until it takes its file's place.
const COPY_SUFFIX: &str = ".readable";
/// Bytes written at once.
const WRITE_BYTES: usize = 1024 * 1024;

/// What the disk refuses of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment file.
    pub file: PathBuf,
    /// Its bytes, those that can not be read included.
    pub length: u64,
    /// What can not be read, in multiples of 4096 bytes where the file does not end before.
    pub unreadable: Vec<Range<u64>>,
    /// What the disk said first.
    pub reason: String,
    /// Where the file is now, when a copy took its place.
    pub kept: Option<PathBuf>,
}

impl Loss {
    /// Bytes that can not be read.
    pub fn bytes(&self) -> u64 {
        self.unreadable.iter().map(|range| range.end - range.start).sum()
    }
}

/// Reads all segments of a store that no server uses, again and again where the disk refuses. With `accept` each one that
/// can not be read as a whole is replaced by a copy with zeros in place of what is missing, and put into quarantine;
/// else nothing is changed.
///
/// # Errors
/// When the store is in use, or a copy could not be written: files named before are replaced then, and this one and the
/// others are as they were.
pub fn find(
    io: Arc<dyn Io>,
    directory: &Path,
    options: &JournalOptions,
    accept: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Loss>, OpenError> {
    let io: Arc<dyn Io> = if accept { io } else { Arc::new(ReadOnly(io)) };
    let _lock = io.lock(directory).map_err(OpenError::lock(directory))?;
    let names = io.list(directory).map_err(OpenError::io("listing the journal's directory"))?;
    let segments: Vec<&String> =
        names.iter().filter(|name| matches!(FileName::parse(name), Some(FileName::Segment(_)))).collect();
    let patience = Patience::new(options);
    let mut losses = Vec::new();
    for (done, name) in segments.iter().enumerate() {
        progress(Progress { phase: "read", done: done as u64, total: segments.len() as u64 });
        let path = directory.join(name);
        let Some((mut loss, bytes)) = read(&*io, &path, &patience)? else { continue };
        if accept {
            let copy = directory.join(format!("{name}{COPY_SUFFIX}"));
            if let Err(error) = write(&*io, &copy, &bytes) {
                // What is left of it says nothing to anybody, and the next attempt begins with its removal.
                let _ = io.remove(&copy);
                return Err(OpenError::file("copying what can be read of", &path)(error));
            }
            loss.kept = Some(keep(&*io, directory, &path)?);
            io.rename(&copy, &path).map_err(OpenError::file("putting a copy in the place of", &path))?;
            io.sync_dir(directory).map_err(OpenError::io("syncing the journal's directory"))?;
        }
        losses.push(loss);
    }
    Ok(losses)
}

/// What can not be read of a file, and the rest of it. None when all of it can.
fn read(io: &dyn Io, path: &Path, patience: &Patience) -> Result<Option<(Loss, Vec<u8>)>, OpenError> {
    let file = io.open(path, OpenMode::Journal).map_err(OpenError::file("opening", path))?;
    let length = file.length().map_err(OpenError::file("measuring", path))?;
    let Whole { bytes, unreadable, refusal } = patience.read_whole(&*file, u32::try_from(length).unwrap_or(u32::MAX));
    let Some(refusal) = refusal else { return Ok(None) };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for start in unreadable.into_iter().map(u64::from) {
        let end = (start + UNREADABLE_BYTES as u64).min(length);
        match ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = end,
            None => ranges.push(start..end),
        }
    }
    let reason = refusal.to_string();
    Ok(Some((Loss { file: path.to_owned(), length, unreadable: ranges, reason, kept: None }, bytes)))
}

/// A file with these bytes, durable but for its name. One that an earlier attempt left is begun anew.
fn write(io: &dyn Io, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match io.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    drop(io.open(path, OpenMode::Create)?);
    // By way of the page cache, whatever length it has.
    let file = io.open(path, OpenMode::Patch)?;
    file.allocate(bytes.len() as u64)?;
    for (number, chunk) in bytes.chunks(WRITE_BYTES).enumerate() {
        file.write_at(chunk, (number * WRITE_BYTES) as u64)?;
    }
    file.sync()
}
