//! Files of the operating system: direct, synchronous writes where the file system allows them, else buffered
//! writes and `fdatasync`.

use std::any::Any;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lost_pages::{self, Watch};
use super::{Io, IoFile, LostPages, OpenMode, is_no_descriptor};
use crate::aligned::{ALIGNMENT, AlignedBuffer};

/// The block size when the device tells nothing better.
const BLOCK_BYTES_DEFAULT: u32 = 4096;
const BLOCK_BYTES_MIN: u32 = 512;
/// What is stored is nobody else's to read, whatever the umask is.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// How long a directory that is to be synced may find no descriptor: its names have changed by then, which can not be taken
/// back, and an error is final.
const DESCRIPTOR_WAIT: Duration = Duration::from_secs(10);
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(5);

/// The real file system, probed once for what a directory supports.
#[derive(Clone, Copy, Debug)]
pub struct RealIo {
    direct: bool,
    block_bytes: u32,
}

impl RealIo {
    /// Finds out how files in `directory` are best written. Leaves nothing behind.
    pub fn probe(directory: &Path) -> io::Result<Self> {
        create_dir(directory)?;
        let path = directory.join(format!("probe-{}", std::process::id()));
        let found = Self::probe_file(&path);
        let removed = fs::remove_file(&path);
        let io = found.unwrap_or_else(|_| Self::buffered());
        // Nothing was made where nothing can be: whoever only reads is content with that.
        let was_none =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem);
        removed.or_else(|error| if was_none(&error) { Ok(()) } else { Err(error) })?;
        Ok(io)
    }

    /// Page cache and `fdatasync`, on any file system.
    pub fn buffered() -> Self {
        Self { direct: false, block_bytes: BLOCK_BYTES_DEFAULT }
    }

    /// True when writes bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    fn probe_file(path: &Path) -> io::Result<Self> {
        let file = direct_options().read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
        let page = AlignedBuffer::new(ALIGNMENT);
        write_synchronous(&file, &page[..ALIGNMENT], 0)?;
        let block_bytes = direct_alignment(&file).unwrap_or(BLOCK_BYTES_DEFAULT);
        let block = usize::try_from(block_bytes).unwrap_or(ALIGNMENT);
        let offset = u64::from(block_bytes);
        let block_bytes = match write_synchronous(&file, &page[..block], offset) {
            Ok(()) => block_bytes,
            Err(_) => BLOCK_BYTES_DEFAULT,
        };
        Ok(Self { direct: true, block_bytes })
    }
}

impl Io for RealIo {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn IoFile>> {
        let direct = self.direct && matches!(mode, OpenMode::Journal | OpenMode::Create);
        let mut options = if direct { direct_options() } else { OpenOptions::new() };
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::Create).mode(FILE_MODE);
        Ok(Arc::new(RealFile { file: options.open(path)?, direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, path: &Path, second: &Path) -> io::Result<()> {
        fs::hard_link(path, second)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let deadline = Instant::now() + DESCRIPTOR_WAIT;
        let directory = loop {
            match File::open(path) {
                Err(error) if is_no_descriptor(&error) && Instant::now() < deadline => {
                    std::thread::sleep(DESCRIPTOR_PAUSE);
                }
                opened => break opened?,
            }
        };
        directory.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn map(&self, path: &Path, lost: &Arc<LostPages>) -> io::Result<Bytes> {
        let file = File::open(path)?;
        // SAFETY: the journal maps only sealed segments. It never truncates a file, and recycles one only after
        // the last `Bytes` of its mapping is gone (segment.rs keeps the count). The directory lock keeps other Headwater
        // processes out. Against anyone else who cuts the file, and a disk that fails, there is the watch.
        let mapping = unsafe { memmap2::Mmap::map(&file)? };
        let watch = Watch::new(mapping.as_ptr(), mapping.len(), lost)?;
        Ok(Bytes::from_owner(Mapped { _watch: watch, mapping }))
    }

    fn lost_pages(&self) -> u64 {
        lost_pages::noticed()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(FILE_MODE);
        let file = options.open(path.join("LOCK"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(path).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }
}

/// Makes a directory and those above it for this user alone; existing ones stay as they are.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// The watch ends before the mapping does: fields are dropped in this order.
struct Mapped {
    _watch: Watch,
    mapping: memmap2::Mmap,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.mapping
    }
}

struct RealFile {
    file: File,
    direct: bool,
}

impl IoFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if !self.direct {
            return self.file.read_exact_at(buffer, offset);
        }
        let alignment = ALIGNMENT as u64;
        let start = offset / alignment * alignment;
        let end = (offset + buffer.len() as u64).next_multiple_of(alignment);
        if start == offset && end == offset + buffer.len() as u64 && is_aligned(buffer) {
            return read_full(&self.file, buffer, offset, buffer.len());
        }
        let mut bounce = AlignedBuffer::new((end - start) as usize);
        let skip = (offset - start) as usize;
        read_full(&self.file, &mut bounce, start, skip + buffer.len())?;
        buffer.copy_from_slice(&bounce[skip..skip + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        with_alignment(self.direct, bytes, |bytes| self.file.write_all_at(bytes, offset))
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.direct {
            return with_alignment(true, bytes, |bytes| write_synchronous(&self.file, bytes, offset));
        }
        self.file.write_all_at(bytes, offset)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(final_error)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if length <= self.length()? {
            return Ok(());
        }
        match allocate_blocks(&self.file, length) {
            Ok(()) => Ok(()),
            Err(error) if super::is_no_space(&error) => Err(error),
            // Not supported here: a sparse file still works, it only reports a full disk later.
            Err(_) => self.file.set_len(length),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// What a failed sync should have made durable may be gone, whatever failed it. Where space is allocated late it can be the
/// lack of it, for which a write would be tried again.
fn final_error(error: io::Error) -> io::Error {
    if super::is_no_space(&error) { io::Error::other(format!("syncing: {error}")) } else { error }
}

/// Reads `needed` bytes or more into an aligned buffer: the last block of a file may be short.
fn read_full(file: &File, buffer: &mut [u8], offset: u64, needed: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < needed {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

fn with_alignment(direct: bool, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    if !direct || is_aligned(bytes) {
        return write(bytes);
    }
    let mut bounce = AlignedBuffer::new(bytes.len());
    bounce[..bytes.len()].copy_from_slice(bytes);
    write(&bounce[..bytes.len()])
}

#[cfg(target_os = "linux")]
fn direct_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
    options
}

#[cfg(target_os = "linux")]
fn write_synchronous(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let rest = [io::IoSlice::new(&bytes[written..])];
        match rustix::io::pwritev2(file, &rest, offset + written as u64, rustix::io::ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The device's smallest direct write, bounded to what the format knows.
#[cfg(target_os = "linux")]
fn direct_alignment(file: &File) -> Option<u32> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let alignment = stat.stx_dio_offset_align;
    (StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN) && alignment > 0)
        .then(|| alignment.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_DEFAULT))
}

#[cfg(target_os = "linux")]
fn allocate_blocks(file: &File, length: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length)?)
}

#[cfg(not(target_os = "linux"))]
fn direct_options() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(not(target_os = "linux"))]
fn write_synchronous(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    // Makes the probe choose buffered writes.
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn direct_alignment(_: &File) -> Option<u32> {
    None
}

#[cfg(not(target_os = "linux"))]
fn allocate_blocks(_: &File, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// The writer took it for a full disk and wrote the batch again, which says nothing of the batches before it.
    #[test]
    fn a_sync_that_fails_for_want_of_space_is_as_final_as_any() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(!crate::io::is_no_space(&final_error(kind.into())), "{kind}");
        }
        assert_eq!(final_error(io::ErrorKind::PermissionDenied.into()).kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn unaligned_reads_of_a_direct_file_bounce() {
        let directory = tempfile::tempdir().unwrap();
        let io = RealIo::probe(directory.path()).unwrap();
        let path = directory.path().join("file");
        let file = io.open(&path, OpenMode::Create).unwrap();
        file.allocate(16384).unwrap();
        let mut page = vec![7u8; 4096];
        page[4095] = 9;
        file.write_durable_at(&page, 4096).unwrap();
        let mut read = [0u8; 3];
        file.read_at(&mut read, 8190).unwrap();
        assert_eq!(read, [7, 9, 0]);
        assert!(file.read_at(&mut read, 16383).is_err());
        assert_eq!(io.map(&path, &Arc::default()).unwrap()[8191], 9);
    }

    #[test]
    fn nobody_else_can_read_what_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("store").join("journal");
        let io = RealIo::probe(&journal).unwrap();
        io.create_dir(&journal.join("quarantine")).unwrap();
        io.open(&journal.join("segment"), OpenMode::Create).unwrap();
        let _lock = io.lock(&journal).unwrap();
        let others = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
        for name in ["", "journal", "journal/quarantine", "journal/segment", "journal/LOCK"] {
            assert_eq!(others(&directory.path().join("store").join(name)), 0, "{name:?}");
        }
    }

    #[test]
    fn a_directory_is_locked_once() {
        let directory = tempfile::tempdir().unwrap();
        let io = RealIo::buffered();
        let held = io.lock(directory.path()).unwrap();
        assert!(io.lock(directory.path()).is_err());
        drop(held);
        assert!(io.lock(directory.path()).is_ok());
    }
}
