//! Edits of the tree's shape: a subject comes or goes, a node splits, grows, joins its only child. All of them work on
//! the path that the descent left behind; nothing here recurses, for a subject may have thousands of tokens.

use super::SubjectIndex;
use super::arena::BlockId;
use super::node::{self, Draft, Node, PREFIX_BYTES_MAX};
use super::state::{SubjectState, Summary};

/// One node of a descent, and the slot of the child that the descent took.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub node: BlockId,
    pub slot: u16,
}

/// Where the descent for a subject ended; the node is the last step of the path.
#[derive(Clone, Copy)]
pub(super) enum Landing {
    Empty,
    /// The subject's node exists; the subject itself perhaps not.
    Exact,
    /// It parts from the node's prefix, which starts at `from` in the subject, after `matched` bytes.
    Split {
        from: usize,
        matched: usize,
    },
    /// The node has no child for the key at `at`; its slot would be `slot`.
    NoChild {
        at: usize,
        slot: usize,
    },
}

impl SubjectIndex {
    /// Walks down as far as the subject goes and leaves the steps in `self.path`.
    pub(super) fn descend(&mut self, subject: &[u8]) -> Landing {
        self.path.clear();
        if self.root.is_none() {
            return Landing::Empty;
        }
        let (mut block, mut from) = (self.root, 0);
        loop {
            let node = Node::new(self.arena.bytes(block));
            let (prefix, rest) = (node.prefix(), &subject[from..]);
            // Most prefixes are empty, below the first few levels.
            if !prefix.is_empty() && !rest.starts_with(prefix) {
                let matched = prefix.iter().zip(rest).take_while(|(left, right)| left == right).count();
                self.path.push(Step { node: block, slot: 0 });
                return Landing::Split { from, matched };
            }
            let at = from + prefix.len();
            if at == subject.len() {
                self.path.push(Step { node: block, slot: 0 });
                return Landing::Exact;
            }
            match node.find_key(subject[at]) {
                Ok(slot) => {
                    self.path.push(Step { node: block, slot: slot as u16 });
                    block = node.child(slot);
                    from = at + 1;
                }
                Err(slot) => {
                    self.path.push(Step { node: block, slot: slot as u16 });
                    return Landing::NoChild { at, slot };
                }
            }
        }
    }

    /// Adds a subject that is not there yet. Keeps the sums of every node on the path.
    pub(super) fn plant(&mut self, subject: &[u8], landing: Landing, state: SubjectState) {
        let added = Summary::of(&state);
        match landing {
            Landing::Empty => self.root = self.store_leaf(subject, state),
            Landing::Exact => self.redraft(|draft| {
                draft.value = Some(state);
                draft.summary = draft.summary.plus(added);
            }),
            Landing::Split { from, matched } => self.split(&subject[from..], matched, state),
            Landing::NoChild { at, slot } => {
                let leaf = self.store_leaf(&subject[at + 1..], state).0.to_le_bytes();
                let key = [subject[at]];
                let block = self.landing_node();
                let node = Node::new(self.arena.bytes(block));
                let mut draft = Draft::of(node).with_child(slot, &key, &leaf);
                draft.summary = draft.summary.plus(added);
                draft.write(&mut self.scratch);
                let size = node.size();
                self.swap_landing_node(size);
            }
        }
        let above = self.path.len().saturating_sub(1);
        self.add_to_path(above, added);
    }

    /// Takes out the subject at the end of the path and tidies up: nodes without purpose go, chains join.
    pub(super) fn uproot(&mut self, messages: u64) {
        self.take_from_path(self.path.len(), 1, messages);
        self.redraft(|draft| draft.value = None);
        while Node::new(self.arena.bytes(self.landing_node())).children() == 0 {
            let block = self.landing_node();
            if Node::new(self.arena.bytes(block)).has_value() {
                return;
            }
            self.path.pop();
            let Some(parent) = self.path.last().copied() else {
                self.root = BlockId::NONE;
                self.arena.reset();
                return;
            };
            let size = Node::new(self.arena.bytes(block)).size();
            self.arena.release(block, size);
            let node = Node::new(self.arena.bytes(parent.node));
            let size = node.size();
            Draft::of(node).without_child(usize::from(parent.slot)).write(&mut self.scratch);
            self.swap_landing_node(size);
        }
        self.join_only_child();
    }

    /// Adds to the sums of the first `steps` nodes of the path.
    pub(super) fn add_to_path(&mut self, steps: usize, added: Summary) {
        for step in &self.path[..steps] {
            let bytes = self.arena.bytes_mut(step.node);
            let summary = Node::new(bytes).summary().plus(added);
            node::set_summary(bytes, summary);
        }
    }

    /// Subtracts from the sums of the first `steps` nodes of the path. The bounds stay as wide as they were.
    pub(super) fn take_from_path(&mut self, steps: usize, subjects: u32, messages: u64) {
        for step in &self.path[..steps] {
            let bytes = self.arena.bytes_mut(step.node);
            let node = Node::new(bytes);
            if node.children() > 0 {
                let mut summary = node.summary();
                summary.subjects -= subjects;
                summary.messages -= messages;
                node::set_summary(bytes, summary);
            }
        }
    }

    /// Writes the value of the node at the end of the path; the node moves when it does not fit.
    pub(super) fn write_value(&mut self, state: SubjectState) {
        let block = self.landing_node();
        if !node::set_value(self.arena.bytes_mut(block), &state) {
            self.redraft(|draft| draft.value = Some(state));
        }
    }

    pub(super) fn landing_node(&self) -> BlockId {
        self.path.last().expect("invariant: a descent into a tree that is not empty ends at a node").node
    }

    /// Lays the node at the end of the path out anew.
    fn redraft(&mut self, change: impl FnOnce(&mut Draft)) {
        let node = Node::new(self.arena.bytes(self.landing_node()));
        let size = node.size();
        let mut draft = Draft::of(node);
        change(&mut draft);
        draft.write(&mut self.scratch);
        self.swap_landing_node(size);
    }

    /// Puts what `scratch` holds in the place of the node at the end of the path.
    fn swap_landing_node(&mut self, old_size: usize) {
        let old = self.landing_node();
        let new = self.arena.replace(old, old_size, &self.scratch);
        self.relink(new);
    }

    /// Makes `new` the node at the end of the path, for its parent too.
    fn relink(&mut self, new: BlockId) {
        let steps = self.path.len();
        if self.path[steps - 1].node == new {
            return;
        }
        self.path[steps - 1].node = new;
        match steps.checked_sub(2).map(|above| self.path[above]) {
            None => self.root = new,
            Some(parent) => node::set_child(self.arena.bytes_mut(parent.node), usize::from(parent.slot), new),
        }
    }

    /// Splits the node at the end of the path where `rest` parts from its prefix.
    fn split(&mut self, rest: &[u8], matched: usize, state: SubjectState) {
        let lower = self.landing_node();
        let mut prefix = [0; PREFIX_BYTES_MAX];
        let node = Node::new(self.arena.bytes(lower));
        prefix[..matched].copy_from_slice(&node.prefix()[..matched]);
        let (lower_key, lower_summary, size) = ([node.prefix()[matched]], node.summary(), node.size());
        Draft::of(node).with_prefix(&node.prefix()[matched + 1..]).write(&mut self.scratch);
        let lower = self.arena.replace(lower, size, &self.scratch).0.to_le_bytes();

        let here = rest.len() == matched;
        let summary = lower_summary.plus(Summary::of(&state));
        let upper = Draft::new(here.then_some(state), summary, &lower_key, &lower);
        upper.with_prefix(&prefix[..matched]).write(&mut self.scratch);
        if !here {
            // Two drafts, for a draft takes one child at a time.
            let first = self.arena.store(&self.scratch);
            let leaf = self.store_leaf(&rest[matched + 1..], state).0.to_le_bytes();
            let key = [rest[matched]];
            let node = Node::new(self.arena.bytes(first));
            let size = node.size();
            Draft::of(node).with_child(usize::from(key > lower_key), &key, &leaf).write(&mut self.scratch);
            let upper = self.arena.replace(first, size, &self.scratch);
            self.relink(upper);
            return;
        }
        let upper = self.arena.store(&self.scratch);
        self.relink(upper);
    }

    /// A leaf for what is left of a subject.
    fn store_leaf(&mut self, rest: &[u8], state: SubjectState) -> BlockId {
        self.store_below(rest, Draft::new(Some(state), Summary::of(&state), &[], &[]))
    }

    /// Stores a node with `rest` as its prefix; above it a chain of nodes when that is longer than a prefix may be.
    pub(super) fn store_below(&mut self, rest: &[u8], draft: Draft<'_>) -> BlockId {
        const LINK_BYTES: usize = PREFIX_BYTES_MAX + 1;
        let links = rest.len() / LINK_BYTES;
        draft.with_prefix(&rest[links * LINK_BYTES..]).write(&mut self.scratch);
        let mut block = self.arena.store(&self.scratch);
        for link in (0..links).rev() {
            let piece = &rest[link * LINK_BYTES..(link + 1) * LINK_BYTES];
            let child = block.0.to_le_bytes();
            let above = Draft::new(None, draft.summary, &piece[PREFIX_BYTES_MAX..], &child);
            above.with_prefix(&piece[..PREFIX_BYTES_MAX]).write(&mut self.scratch);
            block = self.arena.store(&self.scratch);
        }
        block
    }

    /// A node without a subject and with one child is only a detour.
    fn join_only_child(&mut self) {
        let upper_block = self.landing_node();
        let upper = Node::new(self.arena.bytes(upper_block));
        if upper.has_value() || upper.children() != 1 {
            return;
        }
        let lower_block = upper.child(0);
        let lower = Node::new(self.arena.bytes(lower_block));
        if upper.prefix().len() + 1 + lower.prefix().len() > PREFIX_BYTES_MAX {
            return;
        }
        let mut draft = Draft::of(lower);
        draft.prefix = [upper.prefix(), upper.keys(), lower.prefix()];
        draft.write(&mut self.scratch);
        let (upper_size, lower_size) = (upper.size(), lower.size());
        self.arena.release(upper_block, upper_size);
        let joined = self.arena.replace(lower_block, lower_size, &self.scratch);
        // The upper block may be reused for the joined node: then the parent already points at it.
        self.relink(joined);
    }
}
