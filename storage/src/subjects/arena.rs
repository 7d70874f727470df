//! The arena: blocks of a few size classes in large chunks, named by a `u32`. It owns the bytes of every node of one
//! index and knows nothing of what they mean. Blocks that are given back are kept for their class and never returned to
//! the allocator before the whole arena is dropped; `SubjectIndex::compact` exists for that.
//!
//! HOT PATH: no allocation per message.

/// Blocks start at multiples of this, so that a `u32` names 32 GiB.
const UNIT_BYTES: usize = 8;
const CHUNK_BYTES: usize = 256 * 1024;
const CHUNK_UNITS: u32 = (CHUNK_BYTES / UNIT_BYTES) as u32;
/// The longest block: more than the longest node.
pub(super) const BLOCK_BYTES_MAX: usize = 2048;
const CLASSES: usize = 40;

/// Names a block. Zero names none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockId(pub(super) u32);

impl BlockId {
    pub(super) const NONE: BlockId = BlockId(0);

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

pub(super) struct Arena {
    /// The first chunk grows (most streams have few subjects), the later ones have their full size at once.
    chunks: Vec<Vec<u8>>,
    /// Per class the first free block; a free block holds the next one's name.
    free: [u32; CLASSES],
    free_bytes: u64,
}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena { chunks: Vec::new(), free: [0; CLASSES], free_bytes: 0 }
    }

    /// The block's bytes and whatever follows them in its chunk: the node's own header says where it ends.
    #[inline]
    pub(super) fn bytes(&self, block: BlockId) -> &[u8] {
        let (chunk, offset) = place(block);
        &self.chunks[chunk][offset..]
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self, block: BlockId) -> &mut [u8] {
        let (chunk, offset) = place(block);
        &mut self.chunks[chunk][offset..]
    }

    /// Stores `content` in a block of its own.
    pub(super) fn store(&mut self, content: &[u8]) -> BlockId {
        let (class, class_bytes) = class_of(content.len());
        let block = self.take(class, class_bytes);
        self.bytes_mut(block)[..content.len()].copy_from_slice(content);
        block
    }

    /// Stores `content` instead of a block that held `old_bytes`: in place when the class is the same.
    pub(super) fn replace(&mut self, block: BlockId, old_bytes: usize, content: &[u8]) -> BlockId {
        if class_of(old_bytes).0 == class_of(content.len()).0 {
            self.bytes_mut(block)[..content.len()].copy_from_slice(content);
            return block;
        }
        self.release(block, old_bytes);
        self.store(content)
    }

    pub(super) fn release(&mut self, block: BlockId, bytes: usize) {
        let (class, class_bytes) = class_of(bytes);
        let next = self.free[class];
        self.bytes_mut(block)[..4].copy_from_slice(&next.to_le_bytes());
        self.free[class] = block.0;
        self.free_bytes += class_bytes as u64;
    }

    /// Forgets every block. The first chunk is kept: a work queue's index is empty all the time.
    pub(super) fn reset(&mut self) {
        self.chunks.truncate(1);
        if let Some(chunk) = self.chunks.first_mut() {
            chunk.truncate(UNIT_BYTES);
        }
        self.free = [0; CLASSES];
        self.free_bytes = 0;
    }

    /// Bytes held from the allocator.
    pub(super) fn bytes_held(&self) -> u64 {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        (chunks + self.chunks.capacity() * size_of::<Vec<u8>>()) as u64
    }

    /// Bytes of blocks that were given back and wait for reuse.
    pub(super) fn bytes_free(&self) -> u64 {
        self.free_bytes
    }

    fn take(&mut self, class: usize, class_bytes: usize) -> BlockId {
        let head = BlockId(self.free[class]);
        if !head.is_none() {
            let next = super::node::u32_at(self.bytes(head), 0);
            self.free[class] = next;
            self.free_bytes -= class_bytes as u64;
            return head;
        }
        if self.chunks.last().is_none_or(|last| last.len() + class_bytes > CHUNK_BYTES) {
            self.add_chunk();
        }
        let chunk = self.chunks.len() - 1;
        let offset = self.chunks[chunk].len();
        self.chunks[chunk].resize(offset + class_bytes, 0);
        BlockId(chunk as u32 * CHUNK_UNITS + (offset / UNIT_BYTES) as u32)
    }

    fn add_chunk(&mut self) {
        assert!(self.chunks.len() < (u32::MAX / CHUNK_UNITS) as usize, "an index larger than 32 GiB");
        if self.chunks.is_empty() {
            // The first unit stays unused, so that no block is named zero.
            self.chunks.push(vec![0; UNIT_BYTES]);
        } else {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES));
        }
    }
}

#[inline]
fn place(block: BlockId) -> (usize, usize) {
    ((block.0 / CHUNK_UNITS) as usize, (block.0 % CHUNK_UNITS) as usize * UNIT_BYTES)
}

/// The class that holds `bytes`, and the size of its blocks: steps of 8 up to 128, of 32 up to 512, of 128 above.
#[inline]
fn class_of(bytes: usize) -> (usize, usize) {
    debug_assert!(bytes > 0 && bytes <= BLOCK_BYTES_MAX);
    match bytes {
        0..=128 => {
            let step = bytes.max(1).div_ceil(8);
            (step - 1, step * 8)
        }
        129..=512 => {
            let step = (bytes - 128).div_ceil(32);
            (15 + step, 128 + step * 32)
        }
        _ => {
            let step = (bytes - 512).div_ceil(128);
            (27 + step, 512 + step * 128)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_class_that_holds_it() {
        let mut last = 0;
        for bytes in 1..=BLOCK_BYTES_MAX {
            let (class, class_bytes) = class_of(bytes);
            assert!(class_bytes >= bytes && class_bytes % UNIT_BYTES == 0);
            assert!(class == last || class == last + 1, "classes grow one by one");
            last = class;
        }
        assert_eq!(last, CLASSES - 1);
    }

    #[test]
    fn a_released_block_is_used_again() {
        let mut arena = Arena::new();
        let first = arena.store(&[1; 30]);
        let second = arena.store(&[2; 30]);
        arena.release(first, 30);
        assert_eq!(arena.bytes_free(), 32);
        assert_eq!(arena.store(&[3; 25]), first);
        assert_eq!(arena.bytes_free(), 0);
        assert_eq!(&arena.bytes(second)[..30], &[2; 30]);
    }

    #[test]
    fn blocks_do_not_cross_chunks() {
        let mut arena = Arena::new();
        let blocks: Vec<BlockId> = (0..300u32).map(|n| arena.store(&[n as u8; 2000])).collect();
        for (n, block) in blocks.iter().enumerate() {
            assert_eq!(&arena.bytes(*block)[..2000], &[n as u8; 2000]);
        }
        assert!(arena.chunks.len() > 1);
    }
}
