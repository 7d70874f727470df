//! Questions about the subjects that match filters. Each is a visitor of the walk. Where several filters are taken, a
//! subject is seen once even if more than one of them matches it.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use super::SubjectIndex;
use super::arena::BlockId;
use super::node::Node;
use super::state::{SubjectState, Summary};
use super::walk::{Subtree, Visitor};

/// A sequence, or a bound for it when a subject's `first` or `last` is not known exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    pub sequence: u64,
    pub exact: bool,
}

impl SubjectIndex {
    /// Visits every subject in sorted order, until the visitor breaks.
    pub fn for_each(&self, visit: impl FnMut(&[u8], &SubjectState) -> ControlFlow<()>) {
        // `>` does not match the empty subject.
        self.walk(&[&b">"[..], b""], &mut Each { skip: 0, visit });
    }

    /// Visits the matching subjects in sorted order, until the visitor breaks.
    pub fn for_each_match(&self, filter: &[u8], visit: impl FnMut(&[u8], &SubjectState) -> ControlFlow<()>) {
        self.walk(&[filter], &mut Each { skip: 0, visit });
    }

    /// The same for several filters, in one sorted order, from the `offset`-th match on. Skipping costs little below a
    /// `>`, where whole subtrees are counted off.
    pub fn for_each_match_of<F: AsRef<[u8]>>(
        &self,
        filters: &[F],
        offset: u64,
        visit: impl FnMut(&[u8], &SubjectState) -> ControlFlow<()>,
    ) {
        self.walk(filters, &mut Each { skip: offset, visit });
    }

    /// Matching subjects and their messages. A `>` costs one descent, however much lies below it.
    pub fn count_matching(&self, filter: &[u8]) -> (u64, u64) {
        self.count_matching_of(&[filter])
    }

    pub fn count_matching_of<F: AsRef<[u8]>>(&self, filters: &[F]) -> (u64, u64) {
        let mut count = Count { subjects: 0, messages: 0 };
        self.walk(filters, &mut count);
        (count.subjects, count.messages)
    }

    /// Where to look for the first message at or above `from` that one of the filters matches: no such message lies
    /// below the bound, and when it is exact, one lies at it. `None`: there is none at all.
    pub fn first_matching<F: AsRef<[u8]>>(&self, filters: &[F], from: u64) -> Option<Bound> {
        let mut first = First { from, best: None };
        self.walk(filters, &mut first);
        first.best
    }

    /// Where to look, downwards, for the last message that one of the filters matches: no such message lies above the
    /// bound, and when it is exact, one lies at it.
    pub fn last_matching<F: AsRef<[u8]>>(&self, filters: &[F]) -> Option<Bound> {
        let mut last = Last { index: self, best: None };
        self.walk(filters, &mut last);
        last.best
    }
}

struct Each<F> {
    skip: u64,
    visit: F,
}

impl<F: FnMut(&[u8], &SubjectState) -> ControlFlow<()>> Visitor for Each<F> {
    fn subtree(&mut self, _: BlockId, summary: &Summary, whole: bool) -> Subtree {
        let subjects = u64::from(summary.subjects);
        if whole && subjects <= self.skip {
            self.skip -= subjects;
            return Subtree::Skip;
        }
        Subtree::Visit
    }

    fn subject(&mut self, subject: &[u8], state: &SubjectState) -> ControlFlow<()> {
        if self.skip > 0 {
            self.skip -= 1;
            return ControlFlow::Continue(());
        }
        (self.visit)(subject, state)
    }
}

struct Count {
    subjects: u64,
    messages: u64,
}

impl Visitor for Count {
    fn subtree(&mut self, _: BlockId, summary: &Summary, whole: bool) -> Subtree {
        if !whole {
            return Subtree::Visit;
        }
        self.subjects += u64::from(summary.subjects);
        self.messages += summary.messages;
        Subtree::Skip
    }

    fn subject(&mut self, _: &[u8], state: &SubjectState) -> ControlFlow<()> {
        self.subjects += 1;
        self.messages += state.messages;
        ControlFlow::Continue(())
    }
}

struct First {
    from: u64,
    best: Option<Bound>,
}

impl Visitor for First {
    fn subtree(&mut self, _: BlockId, summary: &Summary, _: bool) -> Subtree {
        let hopeless = summary.last < self.from
            || self.best.is_some_and(|best| {
                let least = summary.first.max(self.from);
                least > best.sequence || (least == best.sequence && best.exact)
            });
        if hopeless { Subtree::Skip } else { Subtree::Visit }
    }

    fn subject(&mut self, _: &[u8], state: &SubjectState) -> ControlFlow<()> {
        let Some(bound) = first_at_or_above(state, self.from) else {
            return ControlFlow::Continue(());
        };
        self.best = Some(match self.best {
            Some(best) if best.sequence < bound.sequence => best,
            Some(best) if best.sequence == bound.sequence => Bound { exact: best.exact || bound.exact, ..best },
            _ => bound,
        });
        // Nothing can be nearer than the start itself.
        if self.best == Some(Bound { sequence: self.from, exact: true }) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What the state tells of the subject's first message at or above `from`.
fn first_at_or_above(state: &SubjectState, from: u64) -> Option<Bound> {
    if state.last < from {
        return None;
    }
    if state.first >= from {
        return Some(Bound { sequence: state.first, exact: state.first_exact });
    }
    // The first one lies below `from`: of two messages that leaves the last.
    if state.last_exact && (state.last == from || (state.messages == 2 && state.first_exact)) {
        return Some(Bound { sequence: state.last, exact: true });
    }
    Some(Bound { sequence: from, exact: false })
}

struct Last<'a> {
    index: &'a SubjectIndex,
    best: Option<Bound>,
}

impl Visitor for Last<'_> {
    fn subtree(&mut self, root: BlockId, summary: &Summary, whole: bool) -> Subtree {
        let hopeless =
            self.best.is_some_and(|best| summary.last < best.sequence || (summary.last == best.sequence && best.exact));
        if hopeless {
            return Subtree::Skip;
        }
        if !whole {
            return Subtree::Visit;
        }
        self.consider(last_below(self.index, root));
        Subtree::Skip
    }

    fn subject(&mut self, _: &[u8], state: &SubjectState) -> ControlFlow<()> {
        self.consider(Some(last_of(state)));
        ControlFlow::Continue(())
    }
}

impl Last<'_> {
    fn consider(&mut self, bound: Option<Bound>) {
        let key = |bound: &Bound| (bound.sequence, bound.exact);
        self.best = self.best.into_iter().chain(bound).max_by_key(key);
    }
}

fn last_of(state: &SubjectState) -> Bound {
    Bound { sequence: state.last, exact: state.last_exact }
}

/// What promises the most is looked at first: a sequence that is known, then a subtree that may hold it, then a bound.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    Bound,
    Subtree(u32),
    Exact,
}

/// The last sequence of a whole subtree. The first subject that comes up promises no less than anything left.
fn last_below(index: &SubjectIndex, root: BlockId) -> Option<Bound> {
    let mut promises = BinaryHeap::from([(u64::MAX, Promise::Subtree(root.0))]);
    while let Some((sequence, promise)) = promises.pop() {
        let Promise::Subtree(block) = promise else {
            return Some(Bound { sequence, exact: promise == Promise::Exact });
        };
        let node = Node::new(index.arena.bytes(BlockId(block)));
        if let Some(bound) = node.value().as_ref().map(last_of) {
            promises.push((bound.sequence, if bound.exact { Promise::Exact } else { Promise::Bound }));
        }
        for slot in 0..node.children() {
            let child = node.child(slot);
            promises.push((Node::new(index.arena.bytes(child)).summary().last, Promise::Subtree(child.0)));
        }
    }
    None
}
