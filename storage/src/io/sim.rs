//! A simulated disk: every file has a durable image and a list of writes that no sync has covered yet.
//!
//! A crash keeps an arbitrary subset of those writes, torn at sectors, and an arbitrary prefix of the renames that
//! no directory sync has covered. Faults are injected by counting operations. The disk lies about nothing else: what
//! was synced stays.

mod faults;

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Io, IoFile, LostPages, OpenMode};

/// What a power cut never tears.
const SECTOR_BYTES: usize = 512;

/// Which operations a fault counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The n-th read fails with EIO.
    Read,
    /// The n-th write fails with EIO.
    Write,
    /// The n-th sync fails with EIO, and what it should have made durable is lost at the next crash.
    Sync,
}

/// The number of mutating operations after which the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint(pub u64);

/// A disk in memory. Clones share it.
#[derive(Clone)]
pub struct SimIo {
    disk: Arc<Mutex<Disk>>,
    block_bytes: u32,
}

#[derive(Default)]
struct Disk {
    /// Names as the running system sees them.
    names: BTreeMap<PathBuf, u64>,
    /// Names as they were at the last directory sync.
    names_durable: BTreeMap<PathBuf, u64>,
    /// Changes of names since, in order.
    renames: Vec<NameChange>,
    files: BTreeMap<u64, Image>,
    next_file: u64,
    locked: HashSet<PathBuf>,
    capacity: Option<u64>,
    faults: Vec<(FaultKind, u64)>,
    counts: [u64; 3],
    mutations: u64,
    bytes_read: u64,
    open_files: usize,
    open_files_max: usize,
    no_descriptors: bool,
    bad_sectors: Vec<(u64, std::ops::Range<u64>)>,
    /// Reads from this one on up to that one fail.
    refusing: std::ops::Range<u64>,
    /// Writes from this one on up to that one find no space.
    cramped: std::ops::Range<u64>,
    maps_refused: bool,
    read_only: bool,
    forbidden: HashSet<PathBuf>,
    crash_at: Option<u64>,
    crashed: bool,
    /// Grows at each crash: handles of an earlier life fail.
    life: u64,
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct Image {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    offset: u64,
    bytes: Vec<u8>,
    /// Durable by itself, but later than an un-synced one that it may overlap: replayed in order at a crash.
    certain: bool,
}

impl SimIo {
    /// An empty disk with 512-byte blocks.
    pub fn new() -> Self {
        Self::with_block_bytes(512)
    }

    /// An empty disk with the given block size.
    pub fn with_block_bytes(block_bytes: u32) -> Self {
        Self { disk: Arc::default(), block_bytes }
    }

    /// Bytes in use by all files.
    pub fn used_bytes(&self) -> u64 {
        self.disk.lock().used()
    }

    /// Mutating operations so far: writes, syncs, renames, allocations.
    pub fn mutations(&self) -> u64 {
        self.disk.lock().mutations
    }

    /// Bytes read so far through file handles; mappings are not counted.
    pub fn bytes_read(&self) -> u64 {
        self.disk.lock().bytes_read
    }

    /// The most files that were open at one time.
    pub fn open_files_max(&self) -> usize {
        self.disk.lock().open_files_max
    }

    /// How many operations of a kind there were so far.
    pub fn count_of(&self, kind: FaultKind) -> u64 {
        self.disk.lock().counts[kind as usize]
    }

    /// True once the power is gone.
    pub fn is_crashed(&self) -> bool {
        self.disk.lock().crashed
    }

    /// Loses power and comes back: un-synced writes survive or not, sector by sector, as `seed` decides.
    pub fn crash(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let mut disk = self.disk.lock();
        let Disk { names, names_durable, renames, .. } = &mut *disk;
        let kept = random.below(renames.len() as u64 + 1) as usize;
        for change in renames.drain(..).take(kept) {
            apply_name(names_durable, change);
        }
        *names = names_durable.clone();
        for image in disk.files.values_mut() {
            image.crash(&mut random);
        }
        disk.locked.clear();
        disk.faults.clear();
        disk.crash_at = None;
        disk.crashed = false;
        disk.life += 1;
    }

    /// The whole content of a file, as the running system sees it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk.lock();
        disk.names.get(path).map(|id| disk.files[id].current.clone())
    }

    /// Replaces the whole content of a file, durably: bit flips, truncation, stale copies.
    pub fn set_content(&self, path: &Path, content: Vec<u8>) {
        let mut disk = self.disk.lock();
        if let Some(id) = disk.names.get(path).copied()
            && let Some(image) = disk.files.get_mut(&id)
        {
            *image = Image { current: content.clone(), durable: content, unsynced: Vec::new() };
        }
    }

    /// Deletes a file durably, as somebody's careless hand would.
    pub fn delete(&self, path: &Path) {
        let mut disk = self.disk.lock();
        disk.names.remove(path);
        disk.names_durable.remove(path);
    }

    /// A second disk with the same durable content and no faults.
    pub fn fork(&self) -> Self {
        let disk = self.disk.lock();
        let mut copy = Disk { next_file: disk.next_file, life: disk.life, ..Disk::default() };
        copy.names = disk.names.clone();
        copy.names_durable = disk.names_durable.clone();
        copy.renames = disk.renames.clone();
        for (id, image) in &disk.files {
            let image = Image {
                current: image.current.clone(),
                durable: image.durable.clone(),
                unsynced: image.unsynced.clone(),
            };
            copy.files.insert(*id, image);
        }
        Self { disk: Arc::new(Mutex::new(copy)), block_bytes: self.block_bytes }
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.disk.lock().names.keys().cloned().collect()
    }
}

impl Default for SimIo {
    fn default() -> Self {
        Self::new()
    }
}

impl Io for SimIo {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.disk.lock().alive()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let mut disk = self.disk.lock();
        disk.alive()?;
        if disk.forbidden.contains(path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if disk.read_only && mode != OpenMode::Read {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if disk.no_descriptors {
            return Err(rustix::io::Errno::MFILE.into());
        }
        let id = match (disk.names.get(path).copied(), mode) {
            (Some(_), OpenMode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) => id,
            (None, OpenMode::Create) => {
                disk.mutate()?;
                let id = disk.next_file;
                disk.next_file += 1;
                disk.files.insert(id, Image::default());
                disk.names.insert(path.to_owned(), id);
                disk.renames.push(NameChange::Create(path.to_owned(), id));
                id
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        disk.open_files += 1;
        disk.open_files_max = disk.open_files_max.max(disk.open_files);
        Ok(Arc::new(SimFile { disk: self.disk.clone(), id, life: disk.life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.mutate()?;
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        apply_name(&mut disk.names, change.clone());
        disk.renames.push(change);
        Ok(())
    }

    fn link(&self, path: &Path, second: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.mutate()?;
        let id = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        if disk.names.contains_key(second) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.names.insert(second.to_owned(), id);
        disk.renames.push(NameChange::Create(second.to_owned(), id));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.mutate()?;
        disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.renames.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.mutate()?;
        disk.count(FaultKind::Sync)?;
        disk.renames.clear();
        disk.names_durable = disk.names.clone();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.alive()?;
        let inside = disk.names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside.filter_map(|name| name.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn map(&self, path: &Path, _: &Arc<LostPages>) -> io::Result<Bytes> {
        let mut disk = self.disk.lock();
        disk.alive()?;
        let id = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        if disk.maps_refused {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        disk.count(FaultKind::Read)?;
        assert!(disk.bad_sectors.iter().all(|(bad, _)| *bad != id), "a mapping of a file with bad sectors");
        Ok(Bytes::from(disk.files[&id].current.clone()))
    }

    fn lost_pages(&self) -> u64 {
        // A mapping is a copy here.
        0
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut disk = self.disk.lock();
        disk.alive()?;
        if disk.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if !disk.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.disk.clone(), path: path.to_owned(), life: disk.life }))
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        let disk = self.disk.lock();
        disk.capacity.map(|capacity| capacity.saturating_sub(disk.used()))
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }
}

struct SimLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.life == self.life {
            disk.locked.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    id: u64,
    life: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().open_files -= 1;
    }
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.life != self.life {
            return Err(power_lost());
        }
        work(&mut disk)
    }

    fn write(&self, bytes: &[u8], offset: u64, durable: bool) -> io::Result<()> {
        self.with(|disk| {
            let survives = disk.mutate();
            disk.count(FaultKind::Write)?;
            let end = offset + bytes.len() as u64;
            let grows = end.saturating_sub(disk.files[&self.id].current.len() as u64);
            disk.reserve(grows)?;
            let Some(image) = disk.files.get_mut(&self.id) else { return Err(power_lost()) };
            put(&mut image.current, offset, bytes);
            let certain = durable && survives.is_ok();
            if certain && image.unsynced.is_empty() {
                put(&mut image.durable, offset, bytes);
            } else {
                image.unsynced.push(Write { offset, bytes: bytes.to_vec(), certain });
            }
            survives
        })
    }
}

impl IoFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.alive()?;
            disk.count(FaultKind::Read)?;
            let content = &disk.files[&self.id].current;
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(content.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
            let read = offset..offset + buffer.len() as u64;
            let is_bad = |(id, bad): &(u64, std::ops::Range<u64>)| {
                *id == self.id && bad.start < read.end && read.start < bad.end
            };
            if disk.bad_sectors.iter().any(is_bad) {
                return Err(io::Error::other("a bad sector"));
            }
            disk.bytes_read += buffer.len() as u64;
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, false)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|disk| disk.count(FaultKind::Sync))?;
        self.write(bytes, offset, true)
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|disk| {
            disk.mutate()?;
            let failed = disk.count(FaultKind::Sync);
            if let Some(image) = disk.files.get_mut(&self.id) {
                // As on Linux: after a failed sync the pages are clean, and nobody will ever write them again.
                image.unsynced.clear();
                if failed.is_ok() {
                    image.durable = image.current.clone();
                }
            }
            failed
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(|disk| {
            disk.mutate()?;
            let have = disk.files[&self.id].current.len() as u64;
            disk.reserve(length.saturating_sub(have))?;
            let length = usize::try_from(length).map_err(|_| io::ErrorKind::StorageFull)?;
            if let Some(image) = disk.files.get_mut(&self.id)
                && image.current.len() < length
            {
                image.current.resize(length, 0);
                image.durable.resize(length, 0);
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|disk| disk.alive().map(|()| disk.files[&self.id].current.len() as u64))
    }
}

impl Disk {
    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[id].current.len() as u64).sum()
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if bytes > 0 && self.used() + bytes > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(power_lost()) } else { Ok(()) }
    }

    fn mutate(&mut self) -> io::Result<()> {
        self.alive()?;
        self.mutations += 1;
        if self.crash_at.is_some_and(|point| self.mutations > point) {
            self.crashed = true;
        }
        self.alive()
    }

    fn count(&mut self, kind: FaultKind) -> io::Result<()> {
        let now = self.counts[kind as usize];
        self.counts[kind as usize] += 1;
        if self.faults.contains(&(kind, now)) || (kind == FaultKind::Read && self.refusing.contains(&now)) {
            return Err(io::Error::other("injected fault"));
        }
        if kind == FaultKind::Write && self.cramped.contains(&now) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Image {
    fn crash(&mut self, random: &mut SplitMix) {
        let mut survivor = std::mem::take(&mut self.durable);
        for Write { offset, bytes, certain } in self.unsynced.drain(..) {
            // Whole, nothing, or each sector on its own.
            let fate = if certain { 0 } else { random.below(3) };
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if fate == 0 || (fate == 1 && random.below(2) == 0) {
                    put(&mut survivor, offset + (number * SECTOR_BYTES) as u64, sector);
                }
            }
        }
        self.current = survivor.clone();
        self.durable = survivor;
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).expect("simulated files fit into memory");
    if content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

fn apply_name(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
    match change {
        NameChange::Create(path, id) => {
            names.insert(path, id);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(&from) {
                names.insert(to, id);
            }
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
    }
}

fn power_lost() -> io::Error {
    io::Error::other("simulated power loss")
}

/// A tiny generator with a good spread; the simulator must not depend on anybody's crate for its seeds.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }
}

#[cfg(test)]
mod tests;
