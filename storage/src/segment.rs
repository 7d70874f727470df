//! One segment file while the journal runs: its handle, its mapping, and whether it still serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::format::checksum_seed;
use crate::format::segment::{FileName, SegmentHeader};
use crate::io::{Io, IoFile, LostPages, OpenMode};
use crate::scan::ScanInput;

pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) seed: u32,
    pub(crate) header: SegmentHeader,
    pub(crate) path: PathBuf,
    /// Bytes of the file.
    pub(crate) length: AtomicU32,
    /// Where the data ends; grows while the segment is written.
    pub(crate) data_end: AtomicU32,
    pub(crate) record_count: AtomicU32,
    pub(crate) last_batch: AtomicU64,
    /// The footer is durable, nothing changes any more: it may be mapped.
    sealed: AtomicBool,
    /// Its records are dead and it is about to become a spare.
    retired: AtomicBool,
    /// It holds a damaged record that somebody may repair: it stays where it is.
    unmovable: AtomicBool,
    /// Part of the file can not be read, or it is shorter than it was: a mapping would have zeros there, where a read says
    /// what is wrong.
    unmappable: AtomicBool,
    /// The disk refused to give some of it, which says nothing about what is there.
    refused: AtomicBool,
    /// What its mappings, the present and former ones, were found to lack.
    lost_pages: Arc<LostPages>,
    /// Somebody was told of them.
    lost_pages_noted: AtomicBool,
    /// When the scrubber last checked all of it, in nanoseconds since the epoch; 0 when it never did.
    checked_at: AtomicI64,
    file: Mutex<Option<Arc<dyn IoFile>>>,
    mapping: Mutex<Option<Bytes>>,
    /// One clone per mapping in use, so that the file is not recycled under a reader.
    readers: Arc<()>,
}

struct Mapping {
    bytes: Bytes,
    _reader: Arc<()>,
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Segment {
    pub(crate) fn new(directory: &Path, header: SegmentHeader, length: u32) -> Self {
        Self::at(directory.join(FileName::Segment(header.number).to_string()), header, length)
    }

    /// One whose file may have another name than it should.
    pub(crate) fn at(path: PathBuf, header: SegmentHeader, length: u32) -> Self {
        Self {
            number: header.number,
            seed: checksum_seed(header.journal, header.number),
            header,
            path,
            length: AtomicU32::new(length),
            data_end: AtomicU32::new(crate::format::segment::DATA_OFFSET),
            record_count: AtomicU32::new(0),
            last_batch: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            unmovable: AtomicBool::new(false),
            unmappable: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            lost_pages: Arc::default(),
            lost_pages_noted: AtomicBool::new(false),
            checked_at: AtomicI64::new(0),
            file: Mutex::new(None),
            mapping: Mutex::new(None),
            readers: Arc::new(()),
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn set_sealed(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// True when the file is shorter than it was made.
    pub(crate) fn is_cut(&self) -> bool {
        self.length.load(Ordering::Acquire) < self.header.capacity
    }

    /// No new readers from now on.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        *self.mapping.lock() = None;
    }

    pub(crate) fn is_movable(&self) -> bool {
        !self.unmovable.load(Ordering::Acquire)
    }

    pub(crate) fn set_unmovable(&self) {
        self.unmovable.store(true, Ordering::Release);
    }

    /// True when it may be read by way of a mapping.
    pub(crate) fn is_mappable(&self) -> bool {
        self.is_sealed() && !self.unmappable.load(Ordering::Acquire)
    }

    /// From now on it is read by system calls.
    pub(crate) fn set_unmappable(&self) {
        self.unmappable.store(true, Ordering::Release);
        self.unmap();
    }

    /// True when the disk refused to give some of it.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// The disk refused to give some of it: it is read by system calls from now on, and stays where it is.
    pub(crate) fn set_refused(&self) {
        self.refused.store(true, Ordering::Release);
        self.set_unmovable();
        self.set_unmappable();
    }

    /// True when bytes of a mapping may be zeros that are not in the file. To be asked after they were read.
    pub(crate) fn has_lost_pages(&self) -> bool {
        self.lost_pages.any()
    }

    /// As if somebody had missed a page.
    #[cfg(test)]
    pub(crate) fn lose_page(&self, offset: u64) {
        self.lost_pages.note(offset);
    }

    /// Where the page lies that was first missed in a mapping. Says so once.
    pub(crate) fn take_lost_page(&self) -> Option<u64> {
        let offset = self.lost_pages.first()?;
        (!self.lost_pages_noted.swap(true, Ordering::AcqRel)).then_some(offset)
    }

    /// True when the scrubber has checked it since somebody last found it damaged.
    pub(crate) fn was_checked(&self) -> bool {
        self.checked_at.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_checked(&self, at: i64) {
        self.checked_at.store(at, Ordering::Release);
    }

    /// It is to be checked as if it never had been.
    pub(crate) fn forget_check(&self) {
        self.set_checked(0);
    }

    /// When it was last checked or, before its first check, made.
    pub(crate) fn sound_since(&self) -> i64 {
        match self.checked_at.load(Ordering::Acquire) {
            0 => self.header.created,
            at => at,
        }
    }

    /// What a scan of the file's bytes wants to know, once all its data was written.
    pub(crate) fn scan_input<'a>(&self, bytes: &'a [u8]) -> ScanInput<'a> {
        ScanInput {
            bytes,
            segment: self.number,
            seed: self.seed,
            block_bytes: self.header.block_bytes,
            known_end: Some(self.data_end()),
        }
    }

    /// True when no reader holds bytes of the mapping.
    pub(crate) fn is_unread(&self) -> bool {
        Arc::strong_count(&self.readers) == 1
    }

    pub(crate) fn data_end(&self) -> u32 {
        self.data_end.load(Ordering::Acquire)
    }

    pub(crate) fn set_file(&self, file: Arc<dyn IoFile>) {
        *self.file.lock() = Some(file);
    }

    /// The handle for direct access; opened when needed.
    pub(crate) fn file(&self, io: &dyn Io) -> io::Result<Arc<dyn IoFile>> {
        let mut slot = self.file.lock();
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let file = io.open(&self.path, OpenMode::Journal)?;
        *slot = Some(file.clone());
        Ok(file)
    }

    pub(crate) fn close_file(&self) {
        *self.file.lock() = None;
    }

    /// The whole file. Only when sealed.
    pub(crate) fn map(&self, io: &dyn Io) -> io::Result<Bytes> {
        let mut slot = self.mapping.lock();
        if self.is_retired() || !self.is_sealed() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(bytes) = &*slot {
            return Ok(bytes.clone());
        }
        let mapping = Mapping { bytes: io.map(&self.path, &self.lost_pages)?, _reader: self.readers.clone() };
        let bytes = Bytes::from_owner(mapping);
        *slot = Some(bytes.clone());
        Ok(bytes)
    }

    /// Forgets the mapping after the file was changed in place.
    pub(crate) fn unmap(&self) {
        *self.mapping.lock() = None;
    }
}
