//! What goes wrong with a simulated disk, and when.

use std::ops::Range;
use std::path::Path;

use super::{CrashPoint, FaultKind, SimIo};

impl SimIo {
    /// Limits the sum of all file lengths; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes;
    }

    /// Fails the `nth` operation of a kind from now on (0 = the next one).
    pub fn fail(&self, kind: FaultKind, nth: u64) {
        let mut disk = self.disk.lock();
        let at = disk.counts[kind as usize] + nth;
        disk.faults.push((kind, at));
    }

    /// From now on these bytes of a file can not be read. Mapping the file panics: a mapping is a copy here, and can not
    /// lose a page later as a real one does.
    pub fn break_sectors(&self, path: &Path, range: Range<u64>) {
        let mut disk = self.disk.lock();
        if let Some(id) = disk.names.get(path).copied() {
            disk.bad_sectors.push((id, range));
        }
    }

    /// From the `nth` read on (0 = the next one) `count` reads fail with EIO.
    pub fn refuse_reads(&self, nth: u64, count: u64) {
        let mut disk = self.disk.lock();
        let from = disk.counts[FaultKind::Read as usize] + nth;
        disk.refusing = from..from.saturating_add(count);
    }

    /// From the `nth` write on (0 = the next one) `count` writes find no space, although that was reserved.
    pub fn cramp_writes(&self, nth: u64, count: u64) {
        let mut disk = self.disk.lock();
        let from = disk.counts[FaultKind::Write as usize] + nth;
        disk.cramped = from..from.saturating_add(count);
    }

    /// The medium is mounted read-only from now on.
    pub fn set_read_only(&self) {
        self.disk.lock().read_only = true;
    }

    /// A file that may not be opened.
    pub fn forbid(&self, path: &Path) {
        self.disk.lock().forbidden.insert(path.to_owned());
    }

    /// From now on no file can be opened, as when the process has as many open as it may have; or one can again.
    pub fn set_no_descriptors(&self, none: bool) {
        self.disk.lock().no_descriptors = none;
    }

    /// The disk is well again: no sector is bad, nothing is going to fail or forbidden.
    pub fn mend(&self) {
        let mut disk = self.disk.lock();
        disk.read_only = false;
        disk.forbidden.clear();
        disk.bad_sectors.clear();
        disk.faults.clear();
        disk.refusing = 0..0;
        disk.cramped = 0..0;
    }

    /// No file is mapped any more, as when the system has no room for another mapping.
    pub fn refuse_maps(&self) {
        self.disk.lock().maps_refused = true;
    }

    /// Cuts the power at the given mutation: it and all later operations fail.
    pub fn crash_at(&self, point: CrashPoint) {
        self.disk.lock().crash_at = Some(point.0);
    }
}
