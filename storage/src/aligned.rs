//! Memory aligned for direct I/O, and the pool that recycles it.
//!
//! One of the three places with `unsafe` in this crate. A buffer is zeroed when it is allocated, so all of its
//! capacity is always initialised memory.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::MmapMut;
use parking_lot::Mutex;

/// Alignment of every buffer: the largest block size in use.
pub(crate) const ALIGNMENT: usize = 4096;

/// From this size on a buffer is a mapping of its own, which the system gets back at once when it is let go. An
/// allocator would keep it, and after a burst there may be many megabytes of them.
const MAPPED_BYTES_MIN: usize = 64 * 1024;

/// A block of initialised memory at a multiple of [`ALIGNMENT`].
pub(crate) struct AlignedBuffer {
    memory: NonNull<u8>,
    capacity: usize,
    /// Owns the memory, unless the allocator does.
    mapping: Option<MmapMut>,
}

// SAFETY: the buffer owns its memory exclusively; `&` only reads and `&mut` only writes.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above, there is no interior mutability.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Allocates at least `capacity` zeroed bytes, rounded up to the alignment.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1).next_multiple_of(ALIGNMENT);
        if capacity >= MAPPED_BYTES_MIN
            && let Ok(mut mapping) = MmapMut::map_anon(capacity)
            && let Some(memory) =
                NonNull::new(mapping.as_mut_ptr()).filter(|memory| memory.addr().get() % ALIGNMENT == 0)
        {
            return Self { memory, capacity, mapping: Some(mapping) };
        }
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a non-zero size.
        let memory = unsafe { alloc_zeroed(layout) };
        match NonNull::new(memory) {
            Some(memory) => Self { memory, capacity, mapping: None },
            None => handle_alloc_error(layout),
        }
    }

    /// Doubles until `capacity` fits, keeping the first `used` bytes.
    pub(crate) fn grow(&mut self, used: usize, capacity: usize) {
        if capacity <= self.capacity {
            return;
        }
        let mut larger = Self::new(capacity.max(self.capacity * 2));
        larger[..used].copy_from_slice(&self[..used]);
        *self = larger;
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, ALIGNMENT).expect("buffers are far smaller than the address space")
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.mapping.is_none() {
            // SAFETY: `memory` came from `alloc_zeroed` with this very layout and is freed once.
            unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.capacity)) }
        }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` is valid for `capacity` bytes, all initialised at allocation.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.capacity) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.capacity) }
    }
}

/// Free buffers, bounded in number and bytes; what does not fit is freed.
pub(crate) struct BufferPool {
    free: Mutex<Vec<AlignedBuffer>>,
    bytes_max: usize,
}

impl BufferPool {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(Vec::new()), bytes_max })
    }

    /// The largest free buffer, else a new one of `capacity`: large ones keep a busy writer from growing anew.
    pub(crate) fn take(&self, capacity: usize) -> AlignedBuffer {
        let mut free = self.free.lock();
        let best = free.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()).map(|(at, _)| at);
        match best {
            Some(at) => free.swap_remove(at),
            None => AlignedBuffer::new(capacity),
        }
    }

    /// Lets go of all free buffers: nothing is written any more.
    pub(crate) fn trim(&self) {
        *self.free.lock() = Vec::new();
    }

    pub(crate) fn give(&self, buffer: AlignedBuffer) {
        let mut free = self.free.lock();
        let held: usize = free.iter().map(|buffer| buffer.len()).sum();
        if free.len() < 8 && held + buffer.len() <= self.bytes_max {
            free.push(buffer);
        }
    }
}

/// A filled buffer that is shared; it returns to its pool, or is freed, when the last reader lets go.
struct PooledBytes {
    buffer: Option<AlignedBuffer>,
    length: usize,
    pool: Option<Arc<BufferPool>>,
}

impl AsRef<[u8]> for PooledBytes {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.length])
    }
}

impl Drop for PooledBytes {
    fn drop(&mut self) {
        if let Some((pool, buffer)) = self.pool.as_ref().zip(self.buffer.take()) {
            pool.give(buffer);
        }
    }
}

/// Shares the first `length` bytes of a buffer without copying them. The pool is the one that it came from, if any.
pub(crate) fn share(buffer: AlignedBuffer, length: usize, pool: Option<&Arc<BufferPool>>) -> Bytes {
    Bytes::from_owner(PooledBytes { buffer: Some(buffer), length, pool: pool.cloned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_what_was_written() {
        let mut buffer = AlignedBuffer::new(10);
        buffer[..3].copy_from_slice(b"abc");
        buffer.grow(3, 10_000);
        assert_eq!(&buffer[..4], b"abc\0");
        assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT), 0);
    }

    #[test]
    fn a_shared_buffer_returns_to_its_pool() {
        let pool = BufferPool::new(1 << 20);
        let bytes = share(pool.take(4096), 8, Some(&pool));
        let slice = bytes.slice(2..4);
        drop(bytes);
        assert_eq!(pool.free.lock().len(), 0);
        drop(slice);
        assert_eq!(pool.free.lock().len(), 1);
    }
}
