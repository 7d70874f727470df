//! Pages of mapped files that the disk does not give: the file was cut meanwhile, or a sector failed. Whoever touches
//! one gets a SIGBUS, which ends a process that knows no better. Here it costs the page: zeros take its place, which no
//! checksum fits, and the file is marked, so that it is not mapped again.
//!
//! ```text
//! page touched -> SIGBUS -> among the watched mappings -> file marked -> zeros mapped over the page -> read on
//!                                    |-> not among them: whoever had the signal before
//! ```
//!
//! Must never take anybody else's fault for its own: a bug that touches what it should not ends the process as before.

#[cfg(target_os = "linux")]
mod handler;
#[cfg(any(target_os = "linux", test))]
mod registry;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// No page is lost.
const NONE: u64 = u64::MAX;

/// Pages noticed in all mappings of this process.
static NOTICED: AtomicU64 = AtomicU64::new(0);

/// Whether a page of a file was missing when somebody touched it in a mapping. From then on bytes of that mapping may be
/// zeros that are on no disk.
#[derive(Debug)]
pub struct LostPages {
    /// Offset of the page that was missed first.
    first: AtomicU64,
}

impl Default for LostPages {
    fn default() -> Self {
        Self { first: AtomicU64::new(NONE) }
    }
}

impl LostPages {
    /// True once a page was missed. To be asked after the bytes were read, not before.
    pub fn any(&self) -> bool {
        self.first.load(Ordering::Relaxed) != NONE
    }

    /// Where in the file the page lies that was missed first.
    pub fn first(&self) -> Option<u64> {
        Some(self.first.load(Ordering::Relaxed)).filter(|offset| *offset != NONE)
    }

    /// Runs inside of a signal handler.
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn note(&self, offset: u64) {
        // Only the first counts. The system call that follows lets nobody see the zeros before the mark.
        let _ = self.first.compare_exchange(NONE, offset, Ordering::Release, Ordering::Relaxed);
        NOTICED.fetch_add(1, Ordering::Release);
    }
}

/// How many missing pages this process has noticed so far, in whatever file.
pub(super) fn noticed() -> u64 {
    NOTICED.load(Ordering::Relaxed)
}

/// As long as it lives, a missing page of a mapping is noticed and made up for. To be dropped before the mapping is.
pub(super) struct Watch {
    #[cfg(target_os = "linux")]
    slot: &'static registry::Slot,
    /// The slot points to it.
    _lost: Arc<LostPages>,
}

impl Watch {
    /// Watches the mapping of a file that begins at `start`. Other systems than Linux end the process as they always did.
    pub(super) fn new(start: *const u8, length: usize, lost: &Arc<LostPages>) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let slot = {
            handler::install()?;
            handler::MAPPINGS.add(start.addr(), length, lost)
        };
        #[cfg(not(target_os = "linux"))]
        let _ = (start, length);
        Ok(Self {
            #[cfg(target_os = "linux")]
            slot,
            _lost: lost.clone(),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        handler::MAPPINGS.remove(self.slot);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
