//! How many bytes the streams of an account, or of the whole server, hold, and how many they may (S-48). Counted, never
//! summed up on demand.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::api::account_info::AccountLimits;
use super::api::stream_config::StorageType;

/// Counters of one account, or of all. Changed by each stream as its own content changes; exact at rest.
#[derive(Default)]
pub struct Usage {
    memory: Counter,
    file: Counter,
}

struct Counter {
    bytes: AtomicU64,
    /// -1 is without limit.
    bytes_max: AtomicI64,
}

impl Default for Counter {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max: AtomicI64::new(-1) }
    }
}

impl Usage {
    pub fn set_limits(&self, limits: Option<&AccountLimits>) {
        self.set_bytes_max(
            limits.map_or(-1, |limits| limits.max_memory),
            limits.map_or(-1, |limits| limits.max_storage),
        );
    }

    /// -1 is without limit.
    pub fn set_bytes_max(&self, memory: i64, file: i64) {
        self.memory.bytes_max.store(memory, Ordering::Relaxed);
        self.file.bytes_max.store(file, Ordering::Relaxed);
    }

    /// A stream that held `before` bytes holds `after` now.
    pub fn change(&self, storage: StorageType, before: u64, after: u64) {
        // Wrapping: the sum of all changes is what counts.
        self.counter(storage).bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    pub fn bytes(&self, storage: StorageType) -> u64 {
        self.counter(storage).bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may still be stored.
    pub fn room(&self, storage: StorageType) -> u64 {
        let counter = self.counter(storage);
        match u64::try_from(counter.bytes_max.load(Ordering::Relaxed)) {
            Ok(max) => max.saturating_sub(counter.bytes.load(Ordering::Relaxed)),
            Err(_) => u64::MAX,
        }
    }

    /// True when more is stored than may be.
    pub fn is_exceeded(&self, storage: StorageType) -> bool {
        let counter = self.counter(storage);
        let max = u64::try_from(counter.bytes_max.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        counter.bytes.load(Ordering::Relaxed) > max
    }

    fn counter(&self, storage: StorageType) -> &Counter {
        match storage {
            StorageType::Memory => &self.memory,
            StorageType::File => &self.file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_limit_leaves() {
        let usage = Usage::default();
        assert_eq!(usage.room(StorageType::File), u64::MAX);
        usage.set_limits(Some(&AccountLimits { max_storage: 100, ..AccountLimits::UNLIMITED }));
        usage.change(StorageType::File, 0, 70);
        usage.change(StorageType::File, 70, 30);
        assert_eq!((usage.room(StorageType::File), usage.room(StorageType::Memory)), (70, u64::MAX));
        usage.change(StorageType::File, 30, 100);
        assert!(usage.room(StorageType::File) == 0 && !usage.is_exceeded(StorageType::File));
        usage.change(StorageType::File, 100, 500);
        assert!(usage.room(StorageType::File) == 0 && usage.is_exceeded(StorageType::File));
        assert!(!usage.is_exceeded(StorageType::Memory));
    }
}
