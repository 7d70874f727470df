//! Spare segment files. A file is created once, filled with zeros, and then recycled by rename for ever: removing
//! one would stall the writer, and a file that grows makes every sync slower.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shared::{Shared, wall_clock};
use crate::aligned::AlignedBuffer;
use crate::format::PAGE_BYTES;
use crate::format::segment::{DATA_OFFSET, FileName, HEADER_COPY_OFFSET, SegmentHeader};
use crate::io::{Io, IoFile, OpenMode, as_final};
use crate::options::SEGMENT_BYTES_MAX;
use crate::segment::Segment;

#[derive(Default)]
pub(crate) struct Pool {
    spares: Vec<Spare>,
    filling: Option<Filling>,
}

/// A file without live records.
pub(crate) struct Spare {
    pub(crate) name: FileName,
    pub(crate) length: u32,
}

impl Spare {
    /// Bytes of the segment that is made of it, of which `wanted` are needed: nothing else ever uses the rest of the file.
    fn capacity(&self, wanted: u32) -> u32 {
        wanted.max(self.length.min(SEGMENT_BYTES_MAX) / PAGE_BYTES * PAGE_BYTES)
    }
}

struct Filling {
    name: FileName,
    file: Arc<dyn IoFile>,
    filled: u32,
    length: u32,
    /// Never written to. One for the whole file: giving it back after each piece would interrupt every other thread.
    zeros: AlignedBuffer,
}

impl Pool {
    pub(crate) fn add(&mut self, spare: Spare) {
        self.spares.push(spare);
    }

    /// Spare files, the one being filled included.
    pub(crate) fn count(&self) -> usize {
        self.spares.len() + usize::from(self.filling.is_some())
    }

    pub(crate) fn bytes(&self) -> u64 {
        let filling = self.filling.as_ref().map_or(0, |filling| u64::from(filling.length));
        self.spares.iter().map(|spare| u64::from(spare.length)).sum::<u64>() + filling
    }

    /// Bytes of each spare file that is ready.
    pub(crate) fn lengths(&self) -> impl Iterator<Item = u32> {
        self.spares.iter().map(|spare| spare.length)
    }

    fn take(&mut self, capacity: u32) -> Option<Spare> {
        let fits = |spare: &Spare| (spare.length < capacity, spare.length);
        if let Some(at) = (0..self.spares.len()).min_by_key(|at| fits(&self.spares[*at])) {
            return Some(self.spares.swap_remove(at));
        }
        // Space is reserved from the start: a file may be used before it is full of zeros, only a little slower.
        self.filling.take().map(|filling| Spare { name: filling.name, length: filling.length })
    }

    /// Writes the next piece of a new file. False when no file is being filled.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let Some(filling) = &mut self.filling else { return Ok(false) };
        let left = (filling.length - filling.filled) as usize;
        let bytes = filling.zeros.len().min(left);
        filling.file.write_at(&filling.zeros[..bytes], u64::from(filling.filled))?;
        filling.filled += bytes as u32;
        if filling.filled >= filling.length {
            filling.file.sync()?;
            self.spares.extend(self.filling.take().map(|filling| Spare { name: filling.name, length: filling.length }));
        }
        Ok(true)
    }

    pub(crate) fn is_filling(&self) -> bool {
        self.filling.is_some()
    }
}

/// Starts a new spare file, its space reserved. "No space left" is an ordinary outcome.
pub(crate) fn begin_spare(shared: &Shared, length: u32) -> io::Result<()> {
    let name = FileName::Filling(take_number(shared));
    let file = create(&*shared.io, &shared.path.join(name.to_string()), length)?;
    let zeros = AlignedBuffer::new(shared.options.fill_chunk_bytes.min(length as usize));
    shared.pool.lock().filling = Some(Filling { name, file, filled: 0, length, zeros });
    Ok(())
}

fn take_number(shared: &Shared) -> u32 {
    let mut queue = shared.queue.lock();
    let number = queue.next_number;
    queue.next_number += 1;
    number
}

fn create(io: &dyn Io, path: &Path, length: u32) -> io::Result<Arc<dyn IoFile>> {
    let file = match io.open(path, OpenMode::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by an attempt with the same number that found no room, not even for its removal.
            io.remove(path)?;
            io.open(path, OpenMode::Create)?
        }
        opened => opened?,
    };
    if let Err(error) = file.allocate(u64::from(length)) {
        drop(file);
        // It never held anything.
        io.remove(path)?;
        return Err(error);
    }
    Ok(file)
}

/// Makes an empty segment with this number, durable under its name: from a spare file if it may and there is one. It may
/// take more than `capacity`; its header says what.
pub(crate) fn prepare(shared: &Shared, number: u32, capacity: u32, spare: bool) -> io::Result<Arc<Segment>> {
    let built = build_numbered(shared, number, capacity, 0, spare)?;
    let segment = Segment::new(&shared.path, built.header, built.length);
    if let Err(error) = shared.io.rename(&built.path, &segment.path) {
        built.discard(shared);
        return Err(error);
    }
    // The name first: a batch in a file that nobody finds would be lost.
    shared.io.sync_dir(&shared.path).map_err(as_final)?;
    Ok(Arc::new(segment))
}

/// A segment file that still bears the name of a spare: if it is never finished, it is one again.
pub(crate) struct Built {
    pub(crate) name: FileName,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn IoFile>,
    pub(crate) header: SegmentHeader,
    pub(crate) length: u32,
}

impl Built {
    /// Back to the spares.
    pub(crate) fn discard(self, shared: &Shared) {
        let length = self.file.length().map_or(self.length, |length| length as u32);
        shared.pool.lock().add(Spare { name: self.name, length });
    }
}

/// Makes a segment file with a number of its own.
pub(crate) fn build(shared: &Shared, capacity: u32, flags: u32) -> io::Result<Built> {
    let number = take_number(shared);
    // Compaction gives back more than it takes, so on a full disk it may borrow the reserve.
    let spare = shared.pool.lock().count() >= 2 || shared.queue.lock().full;
    build_numbered(shared, number, capacity, flags, spare)
}

fn build_numbered(shared: &Shared, number: u32, capacity: u32, flags: u32, spare: bool) -> io::Result<Built> {
    let taken = if spare { shared.pool.lock().take(capacity) } else { None };
    let name = taken.as_ref().map_or(FileName::Filling(number), |spare| spare.name);
    let capacity = taken.as_ref().map_or(capacity, |spare| spare.capacity(capacity));
    let path = shared.path.join(name.to_string());
    let (journal, created, block_bytes) = (shared.journal, wall_clock(), shared.block_bytes);
    let header = SegmentHeader { journal, number, capacity, created, block_bytes, flags };
    match begin(&*shared.io, &path, &header, taken.is_some()) {
        Ok((file, length)) => Ok(Built { name, path, file, header, length }),
        Err(error) => {
            match taken {
                Some(spare) => shared.pool.lock().add(spare),
                // It never held anything. What stays of it is in nobody's way.
                None => drop(shared.io.remove(&path)),
            }
            Err(error)
        }
    }
}

/// A file with space for a segment and its header, and its length.
fn begin(io: &dyn Io, path: &Path, header: &SegmentHeader, is_spare: bool) -> io::Result<(Arc<dyn IoFile>, u32)> {
    let file = if is_spare {
        let file = io.open(path, OpenMode::Journal)?;
        file.allocate(u64::from(header.capacity))?;
        file
    } else {
        create(io, path, header.capacity)?
    };
    let length = u32::try_from(file.length()?).unwrap_or(u32::MAX);
    write_header(&*file, header)?;
    Ok((file, length))
}

/// Header, its copy, and an empty seal slot.
pub(crate) fn write_header(file: &dyn IoFile, header: &SegmentHeader) -> io::Result<()> {
    let mut pages = AlignedBuffer::new(DATA_OFFSET as usize);
    let page = PAGE_BYTES as usize;
    header.encode(&mut pages[..page]);
    header.encode(&mut pages[HEADER_COPY_OFFSET as usize..HEADER_COPY_OFFSET as usize + page]);
    file.write_durable_at(&pages[..DATA_OFFSET as usize], 0)
}
