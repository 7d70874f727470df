//! Builds an index from subjects that come in sorted order: each node is laid out once, when nothing can be added to it
//! any more. Several times as fast as inserting them one by one, and without free room between the nodes.

use super::SubjectIndex;
use super::arena::BlockId;
use super::fold;
use super::node::Draft;
use super::state::{SubjectState, Summary};

/// The nodes on the way to the last subject; they may still grow.
pub(super) struct Builder {
    index: SubjectIndex,
    open: Vec<Open>,
    last: Vec<u8>,
    /// Lists of closed nodes, for reuse.
    spare: Vec<Children>,
}

struct Open {
    /// How much of the last subject leads here, this node's prefix included.
    depth: usize,
    value: Option<SubjectState>,
    summary: Summary,
    children: Children,
}

#[derive(Default)]
struct Children {
    keys: Vec<u8>,
    blocks: Vec<u8>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder { index: SubjectIndex::new(), open: Vec::new(), last: Vec::new(), spare: Vec::new() }
    }

    /// Adds a subject that sorts after the last one, with which it has `shared` bytes in common, and not one more.
    pub(super) fn push(&mut self, subject: &[u8], shared: usize, state: SubjectState) {
        debug_assert!(self.open.is_empty() || (*subject > *self.last && subject[..shared] == self.last[..shared]));
        self.close_below(shared);
        self.last.truncate(shared);
        self.last.extend_from_slice(&subject[shared..]);
        self.open_node(subject.len(), Some(state), Summary::of(&state));
        let hash = fold::hash(subject).wrapping_mul(state.messages);
        self.index.content_hash = self.index.content_hash.wrapping_add(hash);
    }

    pub(super) fn finish(mut self) -> SubjectIndex {
        // The first one is the root; what leads to it is its prefix.
        let depth = self.open.first().map_or(0, |root| root.depth);
        self.close_below(depth);
        if let Some(root) = self.open.pop() {
            self.index.root = self.store(&root, 0);
        }
        self.index
    }

    /// Closes every node deeper than `depth`, and leaves one that ends there, made if need be.
    fn close_below(&mut self, depth: usize) {
        while self.open.last().is_some_and(|node| node.depth > depth) {
            let Some(node) = self.open.pop() else {
                return;
            };
            let above = self.open.last().map(|above| above.depth).filter(|above| *above >= depth);
            if above.is_none() {
                self.open_node(depth, None, Summary::EMPTY);
            }
            let key_at = above.unwrap_or(depth);
            let block = self.store(&node, key_at + 1);
            if let Some(above) = self.open.last_mut() {
                above.children.keys.push(self.last[key_at]);
                above.children.blocks.extend_from_slice(&block.0.to_le_bytes());
                above.summary = above.summary.plus(node.summary);
            }
            let mut children = node.children;
            children.keys.clear();
            children.blocks.clear();
            self.spare.push(children);
        }
    }

    fn open_node(&mut self, depth: usize, value: Option<SubjectState>, summary: Summary) {
        let children = self.spare.pop().unwrap_or_default();
        self.open.push(Open { depth, value, summary, children });
    }

    /// Lays a node out whose prefix begins at `from` of the last subject.
    fn store(&mut self, node: &Open, from: usize) -> BlockId {
        let draft = Draft::new(node.value, node.summary, &node.children.keys, &node.children.blocks);
        self.index.store_below(&self.last[from..node.depth], draft)
    }
}
