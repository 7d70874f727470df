//! Lists the files of a journal and identifies every segment by its header, its name and what the others say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::super::patience::Whole;
use super::super::pool::Spare;
use super::Opening;
use crate::error::OpenError;
use crate::format::checksum_seed;
use crate::format::segment::{DATA_OFFSET, FileName, HEADER_COPY_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader};
use crate::io::{Io, IoFile, OpenMode};
use crate::report::{Damage, DamageKind};

/// Where files go that nobody understands.
const QUARANTINE: &str = "quarantine";

/// A segment file before anybody trusts it.
pub(super) struct Candidate {
    pub(super) header: SegmentHeader,
    pub(super) length: u32,
    pub(super) seal: Option<SealSlot>,
    path: PathBuf,
}

/// What a segment file says of itself.
struct Found {
    number: u32,
    path: PathBuf,
    length: u32,
    pages: Vec<u8>,
    first: Option<SegmentHeader>,
    second: Option<SegmentHeader>,
    /// Part of the pages could not be read.
    refused: bool,
}

impl Candidate {
    /// Open no longer than it is read: there may be more segments than a process may have files.
    pub(super) fn open(&self, io: &dyn Io) -> io::Result<Arc<dyn IoFile>> {
        io.open(&self.path, OpenMode::Journal)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Opening {
    /// Lists the files and identifies every segment.
    pub(crate) fn discover(&mut self) -> Result<(), OpenError> {
        let names = self.io.list(&self.path).map_err(OpenError::io("listing the journal's directory"))?;
        let mut unknown = Vec::new();
        let mut found = Vec::new();
        for name in names.iter().filter_map(|name| FileName::parse(name)) {
            let (FileName::Segment(number) | FileName::Spare(number) | FileName::Filling(number)) = name;
            self.next_number = self.next_number.max(number.saturating_add(1));
            let path = self.path.join(name.to_string());
            let file = self.io.open(&path, OpenMode::Journal).map_err(OpenError::file("opening", &path))?;
            let length = file.length().map_err(OpenError::file("measuring", &path))?;
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            let Whole { bytes: pages, unreadable, refusal } = self.patience.read_whole(&*file, length.min(DATA_OFFSET));
            let first = SegmentHeader::decode(&pages);
            let second = SegmentHeader::decode(pages.get(HEADER_COPY_OFFSET as usize..).unwrap_or(&[]));
            let header = first.or(second);
            if let Some(header) = header {
                self.next_number = self.next_number.max(header.number.saturating_add(1));
            }
            let refused = refusal.is_some();
            if let (Some(error), Some(offset)) = (refusal, unreadable.first()) {
                // One good header is enough, and what a seal slot knows the records know, too.
                if header.is_none() && matches!(name, FileName::Segment(_)) {
                    self.refused(number, &path, *offset, error)?;
                } else {
                    self.report.damages.push(Damage::at(number, *offset, DamageKind::Unreadable));
                }
            }
            if let FileName::Segment(number) = name {
                found.push(Found { number, path, length, pages, first, second, refused });
            } else if !refused {
                // Else it may hold records of a number that nobody knows of.
                self.pool.add(Spare { name, length });
            }
        }
        self.journal = journal_of(found.iter().filter_map(|found| found.first.or(found.second)));
        for Found { number, path, length, pages, first, second, refused } in found {
            let header = first.or(second).filter(|header| header.number == number && header.journal == self.journal);
            if !refused && (header.is_none() || first != second) {
                self.report.damages.push(Damage::at(number, 0, DamageKind::Header));
            }
            // The name says the number, and the other segments say the rest.
            let header = header.or_else(|| self.assumed_header(number, length));
            let Some(header) = header.filter(|_| length > DATA_OFFSET) else {
                unknown.push((number, path));
                continue;
            };
            if length < header.capacity {
                self.report.damages.push(Damage::at(number, length, DamageKind::Truncated));
            }
            let seed = checksum_seed(header.journal, number);
            let slot = SealSlot::decode(&pages[SEAL_OFFSET as usize..], seed);
            if slot == Some(None) && !refused {
                self.report.damages.push(Damage::at(number, SEAL_OFFSET, DamageKind::SealSlot));
            }
            self.candidates.insert(number, Candidate { header, length, seal: slot.flatten(), path });
        }
        for (number, path) in unknown {
            self.report.damages.push(Damage::at(number, 0, DamageKind::Segment));
            self.lost.push(number);
            self.quarantine(&path)?;
        }
        Ok(())
    }

    fn assumed_header(&self, number: u32, length: u32) -> Option<SegmentHeader> {
        (self.journal != 0).then(|| SegmentHeader {
            journal: self.journal,
            number,
            capacity: length,
            created: 0,
            block_bytes: self.io.block_bytes(),
            flags: 0,
        })
    }

    pub(super) fn quarantine(&mut self, path: &Path) -> Result<(), OpenError> {
        if self.read_only {
            return Ok(());
        }
        let target = self.path.join(QUARANTINE);
        self.io.create_dir(&target).map_err(OpenError::io("creating the quarantine"))?;
        let Some(name) = path.file_name() else { return Ok(()) };
        warn!(file = %path.display(), "moved to quarantine");
        self.io.rename(path, &target.join(name)).map_err(OpenError::io("moving a file to quarantine"))?;
        self.io.sync_dir(&target).map_err(OpenError::io("syncing the quarantine"))
    }
}

/// The identity that most headers carry.
fn journal_of(headers: impl Iterator<Item = SegmentHeader>) -> u64 {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for header in headers {
        *votes.entry(header.journal).or_default() += 1;
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map_or(0, |(journal, _)| journal)
}
