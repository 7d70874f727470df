//! What one durable write costs on the disk under test, measured beside the servers.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::statistics::Latencies;

const PAGE: usize = 4096;
const FILE_PAGES: u64 = 4096;

#[repr(align(4096))]
struct Page([u8; PAGE]);

/// Median microseconds of a 4 KiB synchronous write into a file that is fully written already.
pub fn durable_write_micros(folder: &Path, time: Duration) -> Result<f64> {
    let path = folder.join("disk-probe");
    std::fs::write(&path, vec![1; PAGE * FILE_PAGES as usize])?;
    File::open(&path)?.sync_all()?;
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits() | rustix::fs::OFlags::DSYNC.bits())?;
    let buffered = i32::try_from(rustix::fs::OFlags::DSYNC.bits())?;
    // Not every file system takes direct writes; those that do are faster with them.
    let file = File::options()
        .write(true)
        .custom_flags(direct)
        .open(&path)
        .or_else(|_| File::options().write(true).custom_flags(buffered).open(&path))?;
    let page = Page([2; PAGE]);
    let (mut latencies, end) = (Latencies::default(), Instant::now() + time);
    let mut number = 0;
    while Instant::now() < end {
        let begin = Instant::now();
        file.write_all_at(&page.0, number % FILE_PAGES * PAGE as u64)?;
        latencies.add(begin.elapsed());
        number += 1;
    }
    std::fs::remove_file(&path)?;
    Ok(latencies.microseconds([50.0])[0])
}
