//! The node: how one vertex of the tree lies in its block. A node has a byte prefix, perhaps a subject that ends here,
//! and perhaps children, sorted by their key byte; its size follows its content. Nothing here is written to disk.
//!
//! ```text
//! flags u8 | prefix_len u8 | children u16 | summary (28 bytes, only with children) | value (0, 8 or 24 bytes)
//!          | prefix | one key byte per child | one block name (u32) per child
//! ```
//!
//! HOT PATH: no allocation per message.

use super::arena::{BLOCK_BYTES_MAX, BlockId};
use super::state::{SubjectState, Summary};

/// Longer common parts become chains of nodes with one child.
pub(super) const PREFIX_BYTES_MAX: usize = u8::MAX as usize;

const HEADER_BYTES: usize = 4;
const SUMMARY_BYTES: usize = 28;
const CHILD_BYTES: usize = 4;
const CHILDREN_MAX: usize = 256;
const VALUE_WIDE_BYTES: usize = 24;

const _: () = assert!(
    HEADER_BYTES + SUMMARY_BYTES + VALUE_WIDE_BYTES + PREFIX_BYTES_MAX + CHILDREN_MAX * (1 + CHILD_BYTES)
        <= BLOCK_BYTES_MAX
);

/// No subject ends here.
const VALUE_NONE: u8 = 0;
/// One message: its sequence. Most subjects of most streams.
const VALUE_SINGLE: u8 = 1;
/// messages, first, last.
const VALUE_WIDE: u8 = 2;
const VALUE_MASK: u8 = 3;
const FIRST_STALE: u8 = 4;
const LAST_STALE: u8 = 8;

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline]
fn put_u64(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// Where the parts of a node lie.
#[derive(Clone, Copy)]
struct Layout {
    flags: u8,
    prefix_len: usize,
    children: usize,
}

impl Layout {
    #[inline]
    fn read(bytes: &[u8]) -> Layout {
        let head = u32_at(bytes, 0);
        Layout {
            flags: head as u8,
            prefix_len: (head >> 8) as u8 as usize,
            // 256 does not fit a byte, hence two.
            children: (head >> 16) as usize,
        }
    }

    #[inline]
    fn value_at(self) -> usize {
        if self.children > 0 { HEADER_BYTES + SUMMARY_BYTES } else { HEADER_BYTES }
    }

    #[inline]
    fn prefix_at(self) -> usize {
        self.value_at() + [0, 8, VALUE_WIDE_BYTES, VALUE_WIDE_BYTES][(self.flags & VALUE_MASK) as usize]
    }

    #[inline]
    fn keys_at(self) -> usize {
        self.prefix_at() + self.prefix_len
    }

    #[inline]
    fn children_at(self) -> usize {
        self.keys_at() + self.children
    }

    #[inline]
    fn size(self) -> usize {
        self.children_at() + self.children * CHILD_BYTES
    }
}

/// A node, read.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

impl<'a> Node<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Node<'a> {
        Node { bytes, layout: Layout::read(bytes) }
    }

    #[inline]
    pub(super) fn size(&self) -> usize {
        self.layout.size()
    }

    #[inline]
    pub(super) fn prefix(&self) -> &'a [u8] {
        &self.bytes[self.layout.prefix_at()..self.layout.keys_at()]
    }

    /// The children's key bytes, ascending.
    #[inline]
    pub(super) fn keys(&self) -> &'a [u8] {
        &self.bytes[self.layout.keys_at()..self.layout.children_at()]
    }

    #[inline]
    pub(super) fn children(&self) -> usize {
        self.layout.children
    }

    /// The children's block names as they lie in the node, for copying.
    fn children_bytes(&self) -> &'a [u8] {
        &self.bytes[self.layout.children_at()..self.layout.size()]
    }

    #[inline]
    pub(super) fn child(&self, slot: usize) -> BlockId {
        debug_assert!(slot < self.layout.children);
        BlockId(u32_at(self.bytes, self.layout.children_at() + slot * CHILD_BYTES))
    }

    /// The slot of the child with this key, or where it belongs.
    #[inline]
    pub(super) fn find_key(&self, key: u8) -> Result<usize, usize> {
        let keys = self.keys();
        // Counting has no branch to mispredict and is vectorised; fewer than 256 distinct bytes are less than a byte.
        let slot = usize::from(keys.iter().map(|other| u8::from(*other < key)).sum::<u8>());
        if keys.get(slot) == Some(&key) { Ok(slot) } else { Err(slot) }
    }

    #[inline]
    pub(super) fn has_value(&self) -> bool {
        self.layout.flags & VALUE_MASK != VALUE_NONE
    }

    #[inline]
    pub(super) fn value(&self) -> Option<SubjectState> {
        let at = self.layout.value_at();
        match self.layout.flags & VALUE_MASK {
            VALUE_NONE => None,
            VALUE_SINGLE => Some(SubjectState::single(u64_at(self.bytes, at))),
            _ => Some(SubjectState {
                messages: u64_at(self.bytes, at),
                first: u64_at(self.bytes, at + 8),
                last: u64_at(self.bytes, at + 16),
                first_exact: self.layout.flags & FIRST_STALE == 0,
                last_exact: self.layout.flags & LAST_STALE == 0,
            }),
        }
    }

    #[inline]
    pub(super) fn summary(&self) -> Summary {
        if self.layout.children == 0 {
            return self.value().as_ref().map_or(Summary::EMPTY, Summary::of);
        }
        Summary {
            subjects: u32_at(self.bytes, HEADER_BYTES),
            messages: u64_at(self.bytes, HEADER_BYTES + 4),
            first: u64_at(self.bytes, HEADER_BYTES + 12),
            last: u64_at(self.bytes, HEADER_BYTES + 20),
        }
    }
}

/// Writes the sums of a node that has children.
#[inline]
pub(super) fn set_summary(bytes: &mut [u8], summary: Summary) {
    debug_assert!(Layout::read(bytes).children > 0);
    bytes[HEADER_BYTES..HEADER_BYTES + 4].copy_from_slice(&summary.subjects.to_le_bytes());
    put_u64(bytes, HEADER_BYTES + 4, summary.messages);
    put_u64(bytes, HEADER_BYTES + 12, summary.first);
    put_u64(bytes, HEADER_BYTES + 20, summary.last);
}

#[inline]
pub(super) fn set_child(bytes: &mut [u8], slot: usize, child: BlockId) {
    let layout = Layout::read(bytes);
    debug_assert!(slot < layout.children);
    let at = layout.children_at() + slot * CHILD_BYTES;
    bytes[at..at + CHILD_BYTES].copy_from_slice(&child.0.to_le_bytes());
}

/// Changes the value in place. False when its slot is too narrow: the node must be drafted anew. A wide slot stays wide
/// even for one message, or a key-value bucket would move its node twice per update.
#[inline]
pub(super) fn set_value(bytes: &mut [u8], state: &SubjectState) -> bool {
    let layout = Layout::read(bytes);
    let at = layout.value_at();
    match layout.flags & VALUE_MASK {
        VALUE_WIDE => {
            bytes[0] = VALUE_WIDE | stale_flags(state);
            put_wide(bytes, at, state);
            true
        }
        VALUE_SINGLE if state.is_single() => {
            put_u64(bytes, at, state.first);
            true
        }
        _ => false,
    }
}

fn stale_flags(state: &SubjectState) -> u8 {
    (if state.first_exact { 0 } else { FIRST_STALE }) | (if state.last_exact { 0 } else { LAST_STALE })
}

fn put_wide(bytes: &mut [u8], at: usize, state: &SubjectState) {
    put_u64(bytes, at, state.messages);
    put_u64(bytes, at + 8, state.first);
    put_u64(bytes, at + 16, state.last);
}

/// A node to be written: its prefix, keys and children are given in pieces, so that joining, splitting and inserting
/// need no buffers in between.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub prefix: [&'a [u8]; 3],
    pub value: Option<SubjectState>,
    /// Used only with children.
    pub summary: Summary,
    keys: [&'a [u8]; 3],
    children: [&'a [u8]; 3],
}

impl<'a> Draft<'a> {
    /// A node with no prefix yet. `children`: their block names as they lie in a node.
    pub(super) fn new(value: Option<SubjectState>, summary: Summary, keys: &'a [u8], children: &'a [u8]) -> Draft<'a> {
        Draft { prefix: [&[]; 3], value, summary, keys: [keys, &[], &[]], children: [children, &[], &[]] }
    }

    pub(super) fn with_prefix<'b>(self, prefix: &'b [u8]) -> Draft<'b>
    where
        'a: 'b,
    {
        Draft { prefix: [prefix, &[], &[]], ..self }
    }

    /// The node as it is, to be changed.
    pub(super) fn of(node: Node<'a>) -> Draft<'a> {
        Draft {
            prefix: [node.prefix(), &[], &[]],
            value: node.value(),
            summary: node.summary(),
            keys: [node.keys(), &[], &[]],
            children: [node.children_bytes(), &[], &[]],
        }
    }

    /// Only for a draft whose children are those of a node as it is.
    pub(super) fn with_child(mut self, slot: usize, key: &'a [u8; 1], child: &'a [u8; CHILD_BYTES]) -> Draft<'a> {
        let (keys, children) = (self.keys[0], self.children[0]);
        self.keys = [&keys[..slot], key, &keys[slot..]];
        self.children = [&children[..slot * CHILD_BYTES], child, &children[slot * CHILD_BYTES..]];
        self
    }

    /// Only for a draft whose children are those of a node as it is.
    pub(super) fn without_child(mut self, slot: usize) -> Draft<'a> {
        let (keys, children) = (self.keys[0], self.children[0]);
        self.keys = [&keys[..slot], &[], &keys[slot + 1..]];
        self.children = [&children[..slot * CHILD_BYTES], &[], &children[(slot + 1) * CHILD_BYTES..]];
        self
    }

    /// Lays the node out in `out`, whose content is replaced.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let prefix_len: usize = self.prefix.iter().map(|piece| piece.len()).sum();
        let children: usize = self.keys.iter().map(|piece| piece.len()).sum();
        debug_assert!(prefix_len <= PREFIX_BYTES_MAX && children <= CHILDREN_MAX);
        let kind = match &self.value {
            None => VALUE_NONE,
            Some(state) if state.is_single() => VALUE_SINGLE,
            Some(state) => VALUE_WIDE | stale_flags(state),
        };
        out.clear();
        out.extend_from_slice(&[kind, prefix_len as u8]);
        out.extend_from_slice(&(children as u16).to_le_bytes());
        if children > 0 {
            out.resize(HEADER_BYTES + SUMMARY_BYTES, 0);
            set_summary(out, self.summary);
        }
        if let Some(state) = &self.value {
            let at = out.len();
            if kind == VALUE_SINGLE {
                out.extend_from_slice(&state.first.to_le_bytes());
            } else {
                out.resize(at + VALUE_WIDE_BYTES, 0);
                put_wide(out, at, state);
            }
        }
        for piece in self.prefix.iter().chain(&self.keys).chain(&self.children) {
            out.extend_from_slice(piece);
        }
    }
}
