//! Opens a journal: finds its files, reads footers, scans what has none, and tells damage from a torn tail.
//!
//! ```text
//! discover -> load (footers, scans) -> settle (serves, spare, quarantine) -> assemble -> recovered groups
//! ```
//!
//! Bytes that are wrong are damage, which is reported and isolated. Bytes that the disk refuses to give may be good: where
//! what they are decides what becomes of others, there is no start.
//!
//! Nothing is deleted here. A file that cannot be understood is moved to `quarantine/`; a file that never got a batch
//! becomes a spare.

mod assemble;
mod discover;
mod groups;
mod load;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Journal;
use super::patience::Patience;
use super::pool::Pool;
use crate::directory::Directory;
use crate::error::OpenError;
use crate::format::footer::FooterControl;
use crate::format::record::GroupId;
use crate::io::Io;
use crate::options::JournalOptions;
use crate::report::{Damage, DamageKind, Progress, RecoveryReport};
use crate::scan::ScanOutcome;
use crate::segment::Segment;
use discover::Candidate;

pub use groups::{RecoveredCheckpoint, RecoveredDefinition, RecoveredGroup};

/// A journal that is open, and what it held.
pub struct Opened {
    /// The journal, not started.
    pub journal: Journal,
    /// Every group that is not removed.
    pub groups: Vec<RecoveredGroup>,
    /// Groups that were removed and of which records may be left: their numbers are used up.
    pub removed: Vec<GroupId>,
    /// What was found.
    pub report: RecoveryReport,
}

impl Journal {
    /// Opens the journal in a directory, or makes one. Takes no longer for more messages.
    pub fn open(
        io: Arc<dyn Io>,
        directory: &Path,
        options: JournalOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Opened, OpenError> {
        io.create_dir(directory).map_err(OpenError::io("creating the journal's directory"))?;
        let lock = io.lock(directory).map_err(OpenError::lock(directory))?;
        let mut opening = Opening::new(io, directory, options);
        opening.discover()?;
        opening.load(progress)?;
        opening.settle()?;
        let opened = opening.assemble()?;
        *opened.journal.shared.directory_lock.lock() = Some(lock);
        Ok(opened)
    }
}

pub(crate) struct Opening {
    io: Arc<dyn Io>,
    path: PathBuf,
    options: JournalOptions,
    pub(crate) report: RecoveryReport,
    pub(crate) journal: u64,
    next_number: u32,
    next_control: u64,
    candidates: BTreeMap<u32, Candidate>,
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    pub(crate) directory: Directory,
    pool: Pool,
    /// Segments without footer, and what their scan found.
    scanned: BTreeMap<u32, ScanOutcome>,
    /// The latest list of segments: its control number, where it lies.
    list: Option<(u64, u32, FooterControl)>,
    retired_notes: Vec<(u32, FooterControl)>,
    /// From a seal slot: a segment, and one after it that had data.
    followers: Vec<(u32, u32)>,
    /// As read before the retired segments themselves were left out.
    retired_before: BTreeSet<u32>,
    lost: Vec<u32>,
    /// Segments whose file does not say what it is: only its name does.
    assumed: BTreeSet<u32>,
    patience: Patience,
    /// Look, but change nothing.
    pub(crate) read_only: bool,
}

impl Opening {
    pub(crate) fn new(io: Arc<dyn Io>, path: &Path, options: JournalOptions) -> Self {
        Self {
            io,
            path: path.to_owned(),
            patience: Patience::new(&options),
            options,
            report: RecoveryReport::default(),
            journal: 0,
            next_number: 1,
            next_control: 1,
            candidates: BTreeMap::new(),
            segments: BTreeMap::new(),
            directory: Directory::default(),
            pool: Pool::default(),
            scanned: BTreeMap::new(),
            list: None,
            retired_notes: Vec::new(),
            followers: Vec::new(),
            retired_before: BTreeSet::new(),
            lost: Vec::new(),
            assumed: BTreeSet::new(),
            read_only: false,
        }
    }

    /// The disk refused what a start depends on, which ends it. A look only reports it.
    fn refused(&mut self, segment: u32, path: &Path, offset: u32, source: std::io::Error) -> Result<(), OpenError> {
        if self.read_only {
            self.report.damages.push(Damage::at(segment, offset, DamageKind::Unreadable));
            return Ok(());
        }
        Err(OpenError::Unreadable { file: path.to_owned(), offset, source })
    }
}
