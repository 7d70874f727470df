//! Lists the files of a journal and identifies every segment by its header, its name and what the others say.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use super::super::patience::Whole;
use super::super::pool::Spare;
use super::super::quarantine;
use super::Opening;
use crate::error::OpenError;
use crate::format::checksum_seed;
use crate::format::segment::{
    DATA_OFFSET, FORMAT_VERSION, FileName, HEADER_COPY_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader,
};
use crate::io::{Io, IoFile, OpenMode};
use crate::report::{Damage, DamageKind};
use crate::segment::Segment;

/// Above this a file's name alone does not count.
const NAME_NUMBER_MAX: u32 = u32::MAX / 2;

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

    pub(super) fn segment(&self) -> Segment {
        Segment::at(self.path.clone(), self.header, self.length)
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
            let path = self.path.join(name.to_string());
            let file = match self.io.open(&path, OpenMode::Journal) {
                Ok(file) => file,
                Err(error) if self.read_only => {
                    warn!(file = %path.display(), %error, "can not be opened");
                    self.report.damages.push(Damage::at(number, 0, DamageKind::Unreadable));
                    self.lost.push(number);
                    continue;
                }
                Err(error) => return Err(OpenError::file("opening", &path)(error)),
            };
            let length = file.length().map_err(OpenError::file("measuring", &path))?;
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            let Whole { bytes: pages, unreadable, refusal } = self.patience.read_whole(&*file, length.min(DATA_OFFSET));
            let copy = pages.get(HEADER_COPY_OFFSET as usize..).unwrap_or(&[]);
            if matches!(name, FileName::Segment(_)) {
                let versions = [&pages[..], copy].into_iter().filter_map(SegmentHeader::version);
                if let Some(version) = versions.into_iter().find(|version| *version != FORMAT_VERSION) {
                    return Err(OpenError::Version { file: path, version });
                }
            }
            let (first, second) = (SegmentHeader::decode(&pages), SegmentHeader::decode(copy));
            let header = first.or(second);
            let said = header.map(|header| header.number);
            // After a high number that somebody gave a file there would soon be none left that was never used.
            let named = (number <= NAME_NUMBER_MAX).then_some(number);
            for used in said.into_iter().chain(named) {
                self.next_number = self.next_number.max(used.saturating_add(1));
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
        let mut misnamed = Vec::new();
        for mut found in found {
            let ours = |header: &SegmentHeader| header.journal == self.journal;
            let says = found.first.filter(ours).or(found.second.filter(ours));
            if let Some(header) = says.filter(|header| header.number != found.number) {
                misnamed.push((header, found));
                continue;
            }
            if !found.refused && (says.is_none() || found.first != found.second) {
                self.report.damages.push(Damage::at(found.number, 0, DamageKind::Header));
            }
            // The name says the number, and the other segments say the rest.
            let header = says.or_else(|| self.assumed_header(found.number, found.length));
            let Some(header) = header.filter(|_| found.length > DATA_OFFSET) else {
                unknown.push((found.number, std::mem::take(&mut found.path)));
                continue;
            };
            if says.is_none() {
                self.assumed.insert(found.number);
            }
            self.accept(header, found);
        }
        for (header, found) in misnamed {
            if self.candidates.contains_key(&header.number) || found.length <= DATA_OFFSET {
                // A copy of one that is there.
                unknown.push((found.number, found.path));
            } else {
                self.report.damages.push(Damage::at(header.number, 0, DamageKind::Misnamed));
                self.accept(header, found);
            }
        }
        if self.candidates.is_empty() && !unknown.is_empty() && !self.read_only {
            return Err(OpenError::Unidentified { directory: self.path.clone(), files: unknown.len() });
        }
        for (number, path) in unknown {
            self.report.damages.push(Damage::at(number, 0, DamageKind::Segment));
            self.lost.push(number);
            self.quarantine(&path)?;
        }
        Ok(())
    }

    /// A file that is the segment that the header says.
    fn accept(&mut self, header: SegmentHeader, found: Found) {
        let Found { path, length, pages, refused, .. } = found;
        let number = header.number;
        if length < header.capacity {
            self.report.damages.push(Damage::at(number, length, DamageKind::Truncated));
        }
        let slot = SealSlot::decode(&pages[SEAL_OFFSET as usize..], checksum_seed(header.journal, number));
        if slot == Some(None) && !refused {
            self.report.damages.push(Damage::at(number, SEAL_OFFSET, DamageKind::SealSlot));
        }
        self.candidates.insert(number, Candidate { header, length, seal: slot.flatten(), path });
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
        let kept = quarantine::put(&*self.io, &self.path, path)?;
        warn!(file = %path.display(), kept = %kept.display(), "moved to quarantine");
        Ok(())
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
