//! Opens a journal: finds its files, reads footers, scans what has none, and tells damage from a torn tail.
//!
//! Nothing is deleted here. A file that cannot be understood is moved to `quarantine/`; a file that never got a batch
//! becomes a spare.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use tracing::{info, warn};

use super::Journal;
use super::checkpoint::join_parts;
use super::completion::Completion;
use super::maintenance::Maintenance;
use super::pool::{Pool, Spare, prepare};
use super::queue::{Placement, Queue};
use super::shared::{Errands, Shared, Written};
use super::tail::Tail;
use crate::aligned::BufferPool;
use crate::directory::Directory;
use crate::directory::group::{CheckpointRef, ControlRef};
use crate::directory::sealed::SealedSpan;
use crate::error::OpenError;
use crate::format::checksum_seed;
use crate::format::footer::{FooterControl, FooterDirectory};
use crate::format::read_u32;
use crate::format::record::{GroupId, RecordKind};
use crate::format::segment::{DATA_OFFSET, FileName, HEADER_COPY_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader};
use crate::io::{Io, IoFile, OpenMode};
use crate::options::JournalOptions;
use crate::report::{Damage, DamageKind, Progress, RecoveryReport};
use crate::scan::{Found, ScanInput, ScanOutcome, first_batch, scan};
use crate::segment::Segment;
use crate::stats::Counters;

/// Where files go that nobody understands.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Bytes read at once when a whole file is read.
const READ_BYTES: usize = 1024 * 1024;
/// The unit that an unreadable stretch is narrowed down to.
const READ_BYTES_MIN: usize = 4096;

/// A journal that is open, and what it held.
pub struct Opened {
    /// The journal, not started.
    pub journal: Journal,
    /// Every group that is not removed.
    pub groups: Vec<RecoveredGroup>,
    /// What was found.
    pub report: RecoveryReport,
}

/// What the journal holds of a group.
#[derive(Clone, Debug)]
pub struct RecoveredGroup {
    /// The group.
    pub group: GroupId,
    /// Payload of the latest `State` record.
    pub state: Option<Bytes>,
    /// The latest complete checkpoint.
    pub checkpoint: Option<RecoveredCheckpoint>,
    /// The lowest index of the unbroken log that ends at the last index; above the last one when there is none.
    pub first_index: u64,
    /// The last index, of the log or of the checkpoint.
    pub last_index: u64,
    /// Its term.
    pub last_term: u64,
}

/// A checkpoint as it was written.
#[derive(Clone, Debug)]
pub struct RecoveredCheckpoint {
    /// The last index it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// What the layer above wrote.
    pub body: Bytes,
}

/// A segment file before anybody trusts it.
struct Candidate {
    header: SegmentHeader,
    length: u32,
    seal: Option<SealSlot>,
    file: Arc<dyn IoFile>,
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
        let lock = match io.lock(directory) {
            Ok(lock) => lock,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(OpenError::Locked { directory: directory.to_owned() });
            }
            Err(source) => return Err(OpenError::Io { during: "locking the journal's directory", source }),
        };
        let mut opening = Opening::new(io, directory, options);
        opening.discover()?;
        opening.load(progress)?;
        opening.settle()?;
        let opened = opening.finish()?;
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
    /// Look, but change nothing.
    pub(crate) read_only: bool,
}

impl Opening {
    pub(crate) fn new(io: Arc<dyn Io>, path: &Path, options: JournalOptions) -> Self {
        Self {
            io,
            path: path.to_owned(),
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
            read_only: false,
        }
    }

    /// Lists the files and identifies every segment.
    pub(crate) fn discover(&mut self) -> Result<(), OpenError> {
        let names = self.io.list(&self.path).map_err(OpenError::io("listing the journal's directory"))?;
        let mut unknown = Vec::new();
        let mut found = Vec::new();
        for name in names.iter().filter_map(|name| FileName::parse(name)) {
            let (FileName::Segment(number) | FileName::Spare(number) | FileName::Filling(number)) = name;
            self.next_number = self.next_number.max(number.saturating_add(1));
            let path = self.path.join(name.to_string());
            let file = self.io.open(&path, OpenMode::Journal).map_err(OpenError::io("opening a segment"))?;
            let length = file.length().map_err(OpenError::io("measuring a segment"))?;
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            let pages = read_all(&*file, length.min(DATA_OFFSET)).0;
            let first = SegmentHeader::decode(&pages);
            let second = SegmentHeader::decode(pages.get(HEADER_COPY_OFFSET as usize..).unwrap_or(&[]));
            let header = first.or(second);
            if let Some(header) = header {
                self.next_number = self.next_number.max(header.number.saturating_add(1));
            }
            if let FileName::Segment(number) = name {
                found.push((number, path, file, length, pages, first, second));
            } else {
                self.pool.add(Spare { name, length });
            }
        }
        self.journal = journal_of(found.iter().filter_map(|found| found.5.or(found.6)));
        for (number, path, file, length, pages, first, second) in found {
            let header = first.or(second).filter(|header| header.number == number && header.journal == self.journal);
            if header.is_none() || first != second {
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
            if slot == Some(None) {
                self.report.damages.push(Damage::at(number, SEAL_OFFSET, DamageKind::SealSlot));
            }
            self.candidates.insert(number, Candidate { header, length, seal: slot.flatten(), file });
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

    fn quarantine(&mut self, path: &Path) -> Result<(), OpenError> {
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

    /// Reads footers, scans what has none, and fills the directory in journal order.
    pub(crate) fn load(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), OpenError> {
        let candidates = std::mem::take(&mut self.candidates);
        let known = self.report.damages.len();
        self.load_all(&candidates, &BTreeSet::new(), progress);
        let retired = self.retired();
        let back: BTreeSet<u32> = candidates.keys().copied().filter(|number| retired.contains(number)).collect();
        if back.is_empty() {
            return Ok(());
        }
        // That they are dead is on record, only the rename was lost. What they hold must not count: a group may have
        // been removed and its removal forgotten since.
        self.report.damages.truncate(known);
        self.report.segments = 0;
        self.report.segments_scanned = 0;
        self.report.records_scanned = 0;
        self.directory = Directory::default();
        self.scanned.clear();
        self.list = None;
        self.retired_notes.clear();
        self.followers.clear();
        self.segments.clear();
        self.load_all(&candidates, &back, progress);
        self.retired_before = retired;
        for number in back {
            let segment = Segment::new(&self.path, candidates[&number].header, candidates[&number].length);
            self.segments.insert(number, Arc::new(segment));
            self.make_spare(number)?;
        }
        Ok(())
    }

    fn load_all(
        &mut self,
        candidates: &BTreeMap<u32, Candidate>,
        without: &BTreeSet<u32>,
        progress: &mut dyn FnMut(Progress),
    ) {
        let ends = known_ends(candidates);
        let total = candidates.len() as u64;
        let wanted = candidates.iter().filter(|(number, _)| !without.contains(number));
        for (done, (number, candidate)) in wanted.enumerate() {
            let number = *number;
            progress(Progress { phase: "open", done: done as u64, total });
            let segment = Arc::new(Segment::new(&self.path, candidate.header, candidate.length));
            segment.set_file(candidate.file.clone());
            let footer = candidate.seal.and_then(|slot| self.footer(&segment, candidate, slot));
            match (footer, candidate.seal) {
                (Some(footer), Some(slot)) => self.load_footer(&segment, slot, footer),
                (_, None) if self.is_beyond_close(&segment, candidate) => {
                    self.scanned.insert(number, ScanOutcome::default());
                }
                (_, slot) => {
                    let end = slot.map(|slot| slot.data_end).or_else(|| ends.get(&number).copied());
                    self.load_scan(&segment, candidate, end);
                }
            }
            self.segments.insert(number, segment);
        }
    }

    /// True for a segment that was prepared before a clean close and never used.
    fn is_beyond_close(&self, segment: &Segment, candidate: &Candidate) -> bool {
        let closed = self.scanned.values().next_back().is_some_and(|outcome| outcome.closed && !outcome.torn);
        let newest = self.segments.values().rev().find(|segment| !segment.header.is_compacted());
        let is_newest = newest.is_some_and(|newest| self.scanned.contains_key(&newest.number));
        let mut head = [0; 64];
        closed
            && is_newest
            && candidate.file.read_at(&mut head, u64::from(DATA_OFFSET)).is_ok()
            && first_batch(&head, segment.number, segment.seed).is_none()
    }

    fn footer(&mut self, segment: &Segment, candidate: &Candidate, slot: SealSlot) -> Option<FooterDirectory> {
        let end = slot.footer_offset.checked_add(slot.directory_length);
        let mut directory = None;
        if end.is_some_and(|end| end <= candidate.length) {
            let mut bytes = vec![0; slot.directory_length as usize];
            if candidate.file.read_at(&mut bytes, u64::from(slot.footer_offset)).is_ok()
                && crate::format::checksum(segment.seed, &bytes) == slot.directory_checksum
            {
                directory = FooterDirectory::decode(&bytes).filter(|directory| directory.segment == segment.number);
            }
        }
        if directory.is_none() {
            self.report.damages.push(Damage::at(segment.number, slot.footer_offset, DamageKind::Footer));
        }
        directory
    }

    fn load_footer(&mut self, segment: &Arc<Segment>, slot: SealSlot, footer: FooterDirectory) {
        segment.data_end.store(slot.data_end, Ordering::Release);
        segment.record_count.store(slot.record_count, Ordering::Release);
        segment.last_batch.store(slot.last_batch, Ordering::Release);
        let end = slot.footer_offset.saturating_add(slot.footer_length);
        if end > segment.length.load(Ordering::Acquire) && !segment.is_cut() {
            self.report.damages.push(Damage::at(segment.number, slot.footer_offset, DamageKind::Truncated));
        }
        if slot.followed_by > 0 && !segment.header.is_compacted() {
            self.followers.push((segment.number, slot.followed_by));
        }
        segment.set_sealed();
        segment.close_file();
        self.report.segments += 1;
        let residents = footer.groups.iter().map(|numbers| numbers.group).collect();
        self.directory.note_sealed(segment.number, residents, footer.controls.clone());
        for numbers in footer.groups {
            // Compaction may give a later number to what was stored before the group was removed.
            if self.directory.is_removed(numbers.group) {
                continue;
            }
            let span = SealedSpan::new(segment.clone(), numbers, slot.footer_offset);
            let group = self.directory.group_or_new(numbers.group);
            if span.has_entries() {
                if numbers.first_index <= group.last_index {
                    group.truncate(numbers.first_index);
                }
                (group.last_index, group.last_term) = (numbers.last_index, numbers.last_term);
            }
            group.last_sequence = group.last_sequence.max(numbers.last_sequence);
            if !segment.header.is_compacted() {
                group.bytes_since_checkpoint += numbers.record_bytes;
            }
            if span.has_entries() || span.has_messages() {
                group.add_sealed(Arc::new(span));
            }
        }
        for control in footer.controls {
            self.note_control(segment.number, control);
        }
    }

    fn load_scan(&mut self, segment: &Arc<Segment>, candidate: &Candidate, known_end: Option<u32>) {
        let (bytes, unreadable) = read_all(&*candidate.file, candidate.length);
        for offset in unreadable {
            self.report.damages.push(Damage::at(segment.number, offset, DamageKind::Unreadable));
        }
        let input = ScanInput {
            bytes: &bytes,
            segment: segment.number,
            seed: segment.seed,
            block_bytes: segment.header.block_bytes,
            known_end,
        };
        let mut summary = self.directory.begin_batch();
        let directory = &mut self.directory;
        let outcome = scan(input, &mut |offset, found| match found {
            Found::Record(record) => directory.push_scanned(segment, &record, offset, &mut summary),
            Found::Damaged(header) => directory.push_damaged(segment, &header, offset),
        });
        for control in summary.controls {
            self.note_control(segment.number, control);
        }
        for (offset, what) in &outcome.bad {
            self.report.damages.push(Damage::of(segment.number, *offset, what));
        }
        segment.data_end.store(outcome.end, Ordering::Release);
        segment.record_count.store(outcome.record_count, Ordering::Release);
        segment.last_batch.store(outcome.last_batch, Ordering::Release);
        self.report.segments_scanned += usize::from(outcome.last_batch > 0 || !outcome.bad.is_empty());
        self.report.records_scanned += u64::from(outcome.record_count);
        self.scanned.insert(segment.number, outcome);
    }

    fn note_control(&mut self, segment: u32, control: FooterControl) {
        self.next_control = self.next_control.max(control.number.saturating_add(1));
        match control.kind {
            RecordKind::Segments => {
                if self.list.is_none_or(|(number, ..)| number < control.number) {
                    self.list = Some((control.number, segment, control));
                }
            }
            RecordKind::Retired => self.retired_notes.push((segment, control)),
            _ => self.directory.commit(segment, control, true),
        }
    }

    /// Decides what becomes of every file: serves, spare, quarantine.
    pub(crate) fn settle(&mut self) -> Result<(), OpenError> {
        let mut retired = self.retired();
        retired.append(&mut self.retired_before);
        let newest = self.newest_with_data();
        for number in self.scanned.keys().copied().collect::<Vec<_>>() {
            let outcome = &self.scanned[&number];
            let is_empty = outcome.record_count == 0 && outcome.last_batch == 0 && outcome.bad.is_empty();
            if !is_empty {
                self.report.segments += 1;
                continue;
            }
            self.scanned.remove(&number);
            let listed = self.listed().contains(&number);
            let cut = self.segments.get(&number).is_some_and(|segment| segment.is_cut());
            if newest.is_none_or(|newest| number > newest) && !listed && !cut {
                self.make_spare(number)?;
            } else if let Some(segment) = self.segments.remove(&number) {
                self.report.damages.push(Damage::at(number, 0, DamageKind::Segment));
                self.lost.push(number);
                self.quarantine(&segment.path)?;
            }
        }
        for number in self.listed() {
            let known = self.segments.contains_key(&number) || self.lost.contains(&number);
            if !known && !retired.contains(&number) {
                self.report.damages.push(Damage::at(number, 0, DamageKind::Missing));
            }
        }
        if let Some(outcome) = newest.and_then(|newest| self.scanned.get(&newest)) {
            self.report.torn_tail = outcome.torn;
            self.report.clean = outcome.closed && !outcome.torn;
        } else {
            self.report.clean = newest.is_none() && self.report.damages.is_empty();
        }
        Ok(())
    }

    fn newest_with_data(&self) -> Option<u32> {
        let has_data = |segment: &&Arc<Segment>| {
            !segment.header.is_compacted()
                && self
                    .scanned
                    .get(&segment.number)
                    .is_none_or(|outcome| outcome.last_batch > 0 || !outcome.bad.is_empty())
        };
        self.segments.values().rev().find(has_data).map(|segment| segment.number)
    }

    /// Segments that must have data: those of the latest list, and the one that came after the newest sealed one, which
    /// cannot be dead because nothing newer is left to say so.
    fn listed(&self) -> Vec<u32> {
        let mut listed = self.list.map_or(Vec::new(), |(_, segment, control)| self.numbers_in(segment, &control));
        let newest = self.newest_with_data();
        let after = self.followers.iter().filter(|(number, _)| Some(*number) == newest).map(|(_, after)| *after);
        listed.extend(after);
        listed
    }

    fn retired(&self) -> BTreeSet<u32> {
        self.retired_notes.iter().flat_map(|(segment, control)| self.numbers_in(*segment, control)).collect()
    }

    /// The segment numbers in one of the journal's own records.
    fn numbers_in(&self, segment: u32, control: &FooterControl) -> Vec<u32> {
        let read = || {
            let segment = self.segments.get(&segment)?;
            let mut bytes = vec![0; control.length as usize];
            segment.file(&*self.io).ok()?.read_at(&mut bytes, u64::from(control.offset)).ok()?;
            let record = crate::format::record::verify(&bytes, segment.seed).ok()?;
            Some(record.payload().chunks_exact(4).map(|raw| read_u32(raw, 0)).collect())
        };
        read().unwrap_or_default()
    }

    fn make_spare(&mut self, number: u32) -> Result<(), OpenError> {
        let Some(segment) = self.segments.remove(&number) else { return Ok(()) };
        if self.read_only {
            return Ok(());
        }
        let name = FileName::Spare(number);
        let target = self.path.join(name.to_string());
        self.io.rename(&segment.path, &target).map_err(OpenError::io("recycling an empty segment"))?;
        self.pool.add(Spare { name, length: segment.length.load(Ordering::Acquire) });
        Ok(())
    }

    fn finish(mut self) -> Result<Opened, OpenError> {
        self.io.sync_dir(&self.path).map_err(OpenError::io("syncing the journal's directory"))?;
        if self.journal == 0 {
            self.journal = random_identity();
        }
        let capacity = self.options.capacity(self.io.free_bytes(&self.path));
        let first_start = self.segments.is_empty() && self.pool.count() == 0;
        let newest = self.newest_with_data().filter(|_| self.report.clean);
        let block_bytes = self.io.block_bytes();
        let buffers = BufferPool::new(8 * 1024 * 1024);
        let placement = newest.and_then(|newest| {
            let segment = self.segments.get(&newest).filter(|segment| segment.header.block_bytes == block_bytes)?;
            let outcome = self.scanned.get(&newest)?;
            let length = segment.length.load(Ordering::Acquire).min(segment.header.capacity);
            let position = outcome.end.next_multiple_of(block_bytes);
            (position + 4 * block_bytes <= length).then_some(Placement {
                segment: newest,
                capacity: length,
                position,
                seed: segment.seed,
                batch_number: outcome.last_batch,
                data_end: outcome.end,
                previous: (0, 0),
            })
        });
        let active = placement.as_ref().map(|placement| placement.segment);
        let previous = self.newest_with_data().and_then(|newest| self.segments.get(&newest)).cloned();
        let placement = placement.unwrap_or(Placement {
            segment: 0,
            capacity: 0,
            position: 0,
            seed: 0,
            batch_number: 0,
            data_end: previous.as_ref().map_or(0, |segment| segment.data_end()),
            previous: (0, 0),
        });
        let mut queue = Queue::new(self.journal, block_bytes, placement, buffers.clone());
        queue.segment_bytes = capacity;
        queue.batch_bytes_max = self.options.batch_bytes_max.min(capacity as usize / 2);
        queue.next_number = self.next_number;
        queue.next_control = self.next_control;
        queue.with_data = self.segments.keys().copied().collect();
        queue.placement.segment = active.or(previous.as_ref().map(|segment| segment.number)).unwrap_or(0);
        let to_seal = self.segments.values().filter(|segment| !segment.is_sealed() && Some(segment.number) != active);
        let errands = Errands { to_seal: to_seal.cloned().collect(), ..Errands::default() };
        let active = active.and_then(|active| self.segments.get(&active)).cloned();
        let last_batch = active.as_ref().map_or(0, |segment| segment.last_batch.load(Ordering::Acquire));
        let written = Written { segment: active.clone(), written: last_batch, durable: last_batch };
        let damages = self.report.damages.clone();
        let shared = Shared {
            io: self.io,
            path: self.path,
            journal: self.journal,
            block_bytes,
            segment_bytes: capacity,
            queue: Mutex::new(queue),
            writer_wake: Condvar::new(),
            directory: RwLock::new(self.directory),
            segments: RwLock::new(self.segments),
            tail: Tail::new(self.options.tail_bytes_max),
            buffers,
            pool: Mutex::new(self.pool),
            sink: std::sync::OnceLock::new(),
            completion: Completion::default(),
            maintenance: Mutex::new(Maintenance::default()),
            errands: Mutex::new(errands),
            errands_wake: Condvar::new(),
            written: Mutex::new(written),
            counters: Counters::default(),
            damage_count: AtomicU64::new(damages.len() as u64),
            damages: Mutex::new(damages),
            threads: Mutex::default(),
            rewriting: Mutex::new(None),
            aborted: AtomicBool::new(false),
            directory_lock: Mutex::new(None),
            options: self.options,
        };
        if active.is_none() {
            let first_bytes = if first_start { shared.options.first_segment_bytes.min(capacity) } else { capacity };
            begin_segment(&shared, first_bytes)?;
        }
        let mut report = self.report;
        let groups = shared.recovered_groups(&mut report);
        for damage in &report.damages {
            warn!(%damage, "found at the start");
        }
        info!(segments = report.segments, scanned = report.segments_scanned, groups = groups.len(), "journal is open");
        let journal = Journal { shared: Arc::new(shared) };
        Ok(Opened { journal, groups, report })
    }
}

/// Prepares the segment that the first batch goes to.
fn begin_segment(shared: &Shared, capacity: u32) -> Result<(), OpenError> {
    let number = {
        let mut queue = shared.queue.lock();
        let number = queue.next_number;
        queue.next_number += 1;
        number
    };
    match prepare(shared, number, capacity) {
        Ok(segment) => {
            shared.segments.write().insert(number, segment);
            shared.queue.lock().next = Some((number, capacity));
            Ok(())
        }
        // What is stored can still be read.
        Err(error) if crate::io::is_no_space(&error) => {
            shared.queue.lock().full = true;
            Ok(())
        }
        Err(source) => Err(OpenError::Io { during: "preparing the first segment", source }),
    }
}

impl Shared {
    fn recovered_groups(&self, report: &mut RecoveryReport) -> Vec<RecoveredGroup> {
        let ids: BTreeSet<GroupId> = {
            let directory = self.directory.read();
            let groups = directory.groups().filter(|(_, group)| !group.is_empty());
            groups.map(|(id, _)| id).collect()
        };
        let mut recovered = Vec::with_capacity(ids.len());
        for id in ids {
            let state = self.directory.read().group(id).and_then(|group| group.state);
            let checkpoint = self.best_checkpoint(id, report);
            let last_part = self.directory.read().group(id).and_then(|group| *group.checkpoint()?.parts.last()?);
            let diverging = last_part.map_or(Vec::new(), |part| self.diverging(&[part.control]));
            let mut directory = self.directory.write();
            let Some(group) = directory.group_mut(id) else { continue };
            group.drop_older_checkpoints();
            for (_, index) in diverging {
                group.truncate(index);
            }
            let (first_index, last_index, last_term) = (group.first_index(), group.last_index, group.last_term);
            let wanted = checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.index + 1);
            if last_index >= wanted && first_index > wanted {
                let mut damage = Damage::at(0, 0, DamageKind::Gap);
                (damage.group, damage.index) = (Some(id), Some(wanted));
                report.damages.push(damage);
            }
            drop(directory);
            let state = state.and_then(|state| match self.read_location(state.location()) {
                // A copy: a share of a mapping would keep the segment from being recycled.
                Ok(record) => Some(Bytes::copy_from_slice(record.payload())),
                Err(_) => {
                    report.damages.push(control_damage(&state, DamageKind::Record));
                    None
                }
            });
            recovered.push(RecoveredGroup { group: id, state, checkpoint, first_index, last_index, last_term });
        }
        recovered
    }

    /// The latest checkpoint that is complete and readable.
    fn best_checkpoint(&self, group: GroupId, report: &mut RecoveryReport) -> Option<RecoveredCheckpoint> {
        loop {
            let latest: CheckpointRef = self.directory.read().group(group)?.checkpoint()?.clone();
            if let Some(body) = self.checkpoint_body(&latest) {
                return Some(RecoveredCheckpoint { index: latest.index, term: latest.term, body });
            }
            if let Some(part) = latest.parts.iter().flatten().next() {
                report.damages.push(control_damage(part, DamageKind::Checkpoint));
            }
            let mut directory = self.directory.write();
            directory.group_mut(group)?.checkpoints.retain(|checkpoint| checkpoint.number != latest.number);
        }
    }

    fn checkpoint_body(&self, checkpoint: &CheckpointRef) -> Option<Bytes> {
        let read = |part: &Option<ControlRef>| {
            let record = self.read_location(part.as_ref()?.location()).ok()?;
            Some(Bytes::copy_from_slice(record.payload()))
        };
        let parts: Option<Vec<Bytes>> = checkpoint.parts.iter().map(read).collect();
        join_parts(&parts?)
    }
}

fn control_damage(control: &ControlRef, kind: DamageKind) -> Damage {
    let mut damage = Damage::at(control.segment, control.control.offset, kind);
    damage.group = Some(control.control.group);
    damage
}

/// Where the data of each unsealed segment ends, as the first batch of the next one says.
fn known_ends(candidates: &BTreeMap<u32, Candidate>) -> BTreeMap<u32, u32> {
    let mut ends = BTreeMap::new();
    let logs: Vec<(&u32, &Candidate)> =
        candidates.iter().filter(|(_, candidate)| !candidate.header.is_compacted()).collect();
    for (at, (number, candidate)) in logs.iter().enumerate() {
        if candidate.seal.is_some() {
            continue;
        }
        for (next_number, next) in &logs[at + 1..] {
            let mut page = [0; 64];
            if next.file.read_at(&mut page, u64::from(DATA_OFFSET)).is_err() {
                continue;
            }
            let seed = checksum_seed(next.header.journal, **next_number);
            let first = first_batch(&page, **next_number, seed);
            if let Some(first) = first.filter(|first| first.previous_segment == **number) {
                ends.insert(**number, first.previous_end);
                break;
            }
        }
    }
    ends
}

/// The identity that most headers carry.
fn journal_of(headers: impl Iterator<Item = SegmentHeader>) -> u64 {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for header in headers {
        *votes.entry(header.journal).or_default() += 1;
    }
    votes.into_iter().max_by_key(|(_, votes)| *votes).map_or(0, |(journal, _)| journal)
}

fn random_identity() -> u64 {
    // The standard library's hasher is seeded by the operating system.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    random.max(1)
}

/// A whole file, with the offsets of stretches that cannot be read; they are zero in the result.
pub(crate) fn read_all(file: &dyn IoFile, length: u32) -> (Vec<u8>, Vec<u32>) {
    let mut bytes = vec![0; length as usize];
    let mut unreadable = Vec::new();
    for (number, chunk) in bytes.chunks_mut(READ_BYTES).enumerate() {
        let start = (number * READ_BYTES) as u64;
        if file.read_at(chunk, start).is_ok() {
            continue;
        }
        for (number, piece) in chunk.chunks_mut(READ_BYTES_MIN).enumerate() {
            let start = start + (number * READ_BYTES_MIN) as u64;
            if file.read_at(piece, start).is_err() {
                piece.fill(0);
                unreadable.push(start as u32);
            }
        }
    }
    (bytes, unreadable)
}
