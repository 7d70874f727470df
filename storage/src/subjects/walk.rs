//! The walk: visits the subjects that match some filters, in sorted order, with an explicit stack. The visitor may skip
//! whole subtrees by their sums, which is what makes counting and paging cheap.

use std::ops::ControlFlow;

use super::SubjectIndex;
use super::arena::BlockId;
use super::filter::{Progress, Want};
use super::node::Node;
use super::state::{SubjectState, Summary};

pub(super) enum Subtree {
    Visit,
    Skip,
}

pub(super) trait Visitor {
    /// A subtree of several subjects is ahead. `whole`: all of them match. The bounds and sums are those of the whole
    /// subtree, whatever part of it matches.
    fn subtree(&mut self, root: BlockId, summary: &Summary, whole: bool) -> Subtree;

    fn subject(&mut self, subject: &[u8], state: &SubjectState) -> ControlFlow<()>;
}

/// A node whose children are being visited.
struct Frame {
    node: BlockId,
    /// The child to visit next, and the slot to stop at.
    next: u16,
    end: u16,
    /// The key's length with this node's prefix.
    key_len: u32,
    /// The filters that are still alive here: a range of `Walk::alive`.
    alive_from: u32,
    alive_to: u32,
}

struct Walk<'a, F, V> {
    index: &'a SubjectIndex,
    filters: &'a [F],
    visitor: &'a mut V,
    key: Vec<u8>,
    alive: Vec<Progress>,
    frames: Vec<Frame>,
}

impl SubjectIndex {
    /// Visits each subject that one of the filters matches, once.
    pub(super) fn walk<F: AsRef<[u8]>>(&self, filters: &[F], visitor: &mut impl Visitor) {
        if self.root.is_none() {
            return;
        }
        let alive = (0..filters.len() as u32).map(Progress::start).collect();
        let mut walk = Walk { index: self, filters, visitor, key: Vec::new(), alive, frames: Vec::new() };
        let mut flow = walk.enter(self.root, 0);
        while flow.is_continue() && !walk.frames.is_empty() {
            flow = walk.advance();
        }
    }
}

impl<F: AsRef<[u8]>, V: Visitor> Walk<'_, F, V> {
    /// Goes on with the innermost frame: into its next child, or out of it.
    fn advance(&mut self) -> ControlFlow<()> {
        let frame = self.frames.last_mut().expect("invariant: advance is called with a frame");
        let (from, to) = (frame.alive_from as usize, frame.alive_to as usize);
        self.alive.truncate(to);
        self.key.truncate(frame.key_len as usize);
        if frame.next == frame.end {
            self.frames.pop();
            return ControlFlow::Continue(());
        }
        let slot = usize::from(frame.next);
        frame.next += 1;
        let node = Node::new(self.index.arena.bytes(frame.node));
        let key = node.keys()[slot];
        for at in from..to {
            let progress = self.alive[at];
            if let Some(progress) = progress.step(self.filters[progress.filter as usize].as_ref(), key) {
                self.alive.push(progress);
            }
        }
        if self.alive.len() == to {
            return ControlFlow::Continue(());
        }
        self.key.push(key);
        self.enter(node.child(slot), to)
    }

    /// Visits a node's own subject and makes a frame for its children. The filters alive before the node's prefix start
    /// at `alive_from`.
    fn enter(&mut self, block: BlockId, alive_from: usize) -> ControlFlow<()> {
        let node = Node::new(self.index.arena.bytes(block));
        self.pass(node.prefix(), alive_from);
        if self.alive.len() == alive_from {
            return ControlFlow::Continue(());
        }
        self.key.extend_from_slice(node.prefix());
        let filters = self.filters;
        let filter_of = |progress: &Progress| filters[progress.filter as usize].as_ref();
        if node.children() > 0 {
            let alive = &self.alive[alive_from..];
            let all = alive.iter().find(|one| one.accepts_all(filter_of(one), node.has_value())).copied();
            if let Subtree::Skip = self.visitor.subtree(block, &node.summary(), all.is_some()) {
                return ControlFlow::Continue(());
            }
            if let Some(all) = all {
                // The other filters can't add anything below.
                self.alive.truncate(alive_from);
                self.alive.push(all);
            }
        }
        if let Some(state) = node.value()
            && self.alive[alive_from..].iter().any(|one| one.accepts(filter_of(one)))
        {
            self.visitor.subject(&self.key, &state)?;
        }
        if node.children() > 0 {
            self.push_frame(block, node, alive_from);
        }
        ControlFlow::Continue(())
    }

    /// Takes the filters along the prefix; those that don't match it drop out.
    fn pass(&mut self, prefix: &[u8], alive_from: usize) {
        let mut kept = alive_from;
        for at in alive_from..self.alive.len() {
            let progress = self.alive[at];
            if let Some(progress) = progress.run(self.filters[progress.filter as usize].as_ref(), prefix) {
                self.alive[kept] = progress;
                kept += 1;
            }
        }
        self.alive.truncate(kept);
    }

    fn push_frame(&mut self, block: BlockId, node: Node<'_>, alive_from: usize) {
        let (mut next, mut end) = (0, node.children());
        // One filter with one byte in mind needs one child.
        if let [only] = self.alive[alive_from..] {
            match only.want(self.filters[only.filter as usize].as_ref()) {
                Want::End => return,
                Want::Byte(byte) => match node.find_key(byte) {
                    Ok(slot) => (next, end) = (slot, slot + 1),
                    Err(_) => return,
                },
                Want::Token | Want::Tail => {}
            }
        }
        self.frames.push(Frame {
            node: block,
            next: next as u16,
            end: end as u16,
            key_len: self.key.len() as u32,
            alive_from: alive_from as u32,
            alive_to: self.alive.len() as u32,
        });
    }
}
