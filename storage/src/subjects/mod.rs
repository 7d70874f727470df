//! The subject index of one stream: which subjects it holds and, per subject, how many messages, the first and the last
//! sequence. An adaptive radix tree over the subjects' bytes, a few dozen bytes per subject, in sorted order. It answers
//! limits per subject, last-by-subject, filters with wildcards, and pages of subjects.
//!
//! It owns no message and does no I/O. When the first message of a subject goes, only its caller can know which one
//! comes next; see [`SubjectIndex::remove`].
//!
//! HOT PATH: no allocation per message, no lock, no log.

mod arena;
mod build;
mod codec;
mod edit;
mod filter;
mod fold;
mod node;
mod query;
mod state;
#[cfg(test)]
mod tests;
mod walk;

pub use codec::SubjectsDecodeError;
pub use filter::filter_matches;
pub use query::Bound;
pub use state::SubjectState;

use arena::{Arena, BlockId};
use build::Builder;
use edit::{Landing, Step};
use node::Node;
use state::Summary;

/// The longest subject, as in the journal's record header.
pub const SUBJECT_BYTES_MAX: usize = u16::MAX as usize;

/// A stream's subjects.
pub struct SubjectIndex {
    arena: Arena,
    root: BlockId,
    /// The steps of the last descent, kept to spare an allocation.
    path: Vec<Step>,
    /// The node being laid out.
    scratch: Vec<u8>,
    /// Over every message the hash of its subject, added up.
    content_hash: u64,
}

impl Default for SubjectIndex {
    fn default() -> Self {
        SubjectIndex::new()
    }
}

impl SubjectIndex {
    pub fn new() -> SubjectIndex {
        SubjectIndex {
            arena: Arena::new(),
            root: BlockId::NONE,
            path: Vec::new(),
            scratch: Vec::new(),
            content_hash: 0,
        }
    }

    /// Number of subjects.
    pub fn len(&self) -> u64 {
        u64::from(self.totals().subjects)
    }

    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Number of messages over all subjects.
    pub fn total(&self) -> u64 {
        self.totals().messages
    }

    pub fn get(&self, subject: &[u8]) -> Option<SubjectState> {
        if self.root.is_none() {
            return None;
        }
        let (mut block, mut rest) = (self.root, subject);
        loop {
            let node = Node::new(self.arena.bytes(block));
            rest = rest.strip_prefix(node.prefix())?;
            let Some((key, below)) = rest.split_first() else {
                return node.value();
            };
            block = node.child(node.find_key(*key).ok()?);
            rest = below;
        }
    }

    /// Counts a message in and says how the subject stands now. Sequences usually grow; any order is right.
    ///
    /// The subject must not be longer than [`SUBJECT_BYTES_MAX`], nor the message counted in already.
    pub fn insert(&mut self, subject: &[u8], sequence: u64) -> SubjectState {
        let added = SubjectState::single(sequence);
        let state = match self.edit_existing(subject, |state| state.add(sequence)) {
            Ok(state) => {
                self.add_to_existing(Summary { subjects: 0, ..Summary::of(&added) });
                state
            }
            Err(landing) => {
                self.plant(subject, landing, added);
                added
            }
        };
        self.content_hash = self.content_hash.wrapping_add(fold::hash(subject));
        state
    }

    /// Counts a message out and says how many of its subject remain: `None` when the index can tell that the message
    /// was not counted in (unknown subject, or a sequence outside its bounds). It can't tell in every case: counting a
    /// message out twice, or one that never was, is the caller's error and makes the counts wrong.
    ///
    /// When the message was its subject's first and others remain, the index needs the next one. It asks `next` for the
    /// subject's first stored message at or above a sequence. `next` may answer `None` for "too costly to find out now":
    /// then the subject's `first` turns into a lower bound (`first_exact == false`), and whoever needs the exact one
    /// calls [`settle_first`](Self::settle_first). `next` is not asked when the answer follows from what is known: with
    /// one message left that is the other bound, so a subject limited to one message never asks. When the last message
    /// goes (a single delete, rare), `last` turns into an upper bound without asking; see
    /// [`settle_last`](Self::settle_last).
    ///
    /// A stream that drops its oldest messages in order passes `|_| None`: the bound is then never above the truth, and
    /// the greater of it and the stream's own first sequence is where a reader should begin to look.
    pub fn remove(&mut self, subject: &[u8], sequence: u64, mut next: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        let mut found = self.landed_state(subject).filter(|state| state.may_hold(sequence))?;
        let remaining = found.messages - 1;
        if remaining == 0 {
            self.uproot(1);
        } else {
            found.take(sequence, &mut next);
            self.write_value(found);
            self.take_from_path(self.path.len(), 0, 1);
        }
        self.content_hash = self.content_hash.wrapping_sub(fold::hash(subject));
        Some(remaining)
    }

    /// Forgets a subject and says what it was.
    pub fn purge_subject(&mut self, subject: &[u8]) -> Option<SubjectState> {
        let state = self.landed_state(subject)?;
        self.uproot(state.messages);
        self.content_hash = self.content_hash.wrapping_sub(fold::hash(subject).wrapping_mul(state.messages));
        Some(state)
    }

    /// The subject's first sequence, looked up with `next` (the subject's first stored message at or above a sequence)
    /// when only a bound is known. `None` for an unknown subject or when the lookup finds nothing.
    pub fn settle_first(&mut self, subject: &[u8], mut next: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        let mut state = self.landed_state(subject)?;
        if !state.first_exact {
            let found = next(state.first);
            state.set_first(state.first, found);
            self.write_value(state);
        }
        state.first_exact.then_some(state.first)
    }

    /// The subject's last sequence, looked up with `previous` (the subject's last stored message at or below a sequence)
    /// when only a bound is known. `None` for an unknown subject or when the lookup finds nothing.
    pub fn settle_last(&mut self, subject: &[u8], mut previous: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        let mut state = self.landed_state(subject)?;
        if !state.last_exact {
            let found = previous(state.last);
            state.set_last(state.last, found);
            self.write_value(state);
        }
        state.last_exact.then_some(state.last)
    }

    pub fn clear(&mut self) {
        *self = SubjectIndex::new();
    }

    /// Rebuilds the tree without the room that removed subjects left behind. Takes as long as encoding and decoding it;
    /// worth it when [`bytes_free`](Self::bytes_free) is a good part of [`bytes_held`](Self::bytes_held).
    pub fn compact(&mut self) {
        let (mut builder, mut before) = (Builder::new(), Vec::new());
        self.for_each(|subject, state| {
            let shared = common_len(&before, subject);
            builder.push(subject, shared, *state);
            before.truncate(shared);
            before.extend_from_slice(&subject[shared..]);
            std::ops::ControlFlow::Continue(())
        });
        *self = builder.finish();
    }

    /// Memory held, and of it what removed subjects left for reuse.
    pub fn bytes_held(&self) -> u64 {
        self.arena.bytes_held() + (size_of::<Self>() + self.path.capacity() * size_of::<Step>()) as u64
    }

    pub fn bytes_free(&self) -> u64 {
        self.arena.bytes_free()
    }

    /// Adds this index's part to a state hash: the same for the same subjects and message counts, in whatever order they
    /// came, on every machine and version. Sequences have no part in it: their bounds depend on who looked what up.
    pub fn hash_into(&self, sum: &mut u64) {
        *sum = sum.wrapping_add(self.content_hash);
    }

    fn totals(&self) -> Summary {
        if self.root.is_none() { Summary::EMPTY } else { Node::new(self.arena.bytes(self.root)).summary() }
    }

    /// Descends and changes the subject's state, or says where the subject would have to be planted.
    fn edit_existing(&mut self, subject: &[u8], edit: impl FnOnce(&mut SubjectState)) -> Result<SubjectState, Landing> {
        assert!(subject.len() <= SUBJECT_BYTES_MAX, "a subject longer than a record can hold");
        let landing = self.descend(subject);
        if !matches!(landing, Landing::Exact) {
            return Err(landing);
        }
        let mut state = Node::new(self.arena.bytes(self.landing_node())).value().ok_or(landing)?;
        edit(&mut state);
        self.write_value(state);
        Ok(state)
    }

    /// Descends to a subject that is there.
    fn landed_state(&mut self, subject: &[u8]) -> Option<SubjectState> {
        let landing = self.descend(subject);
        let state = matches!(landing, Landing::Exact).then(|| Node::new(self.arena.bytes(self.landing_node())).value());
        state.flatten()
    }

    /// Adds to the sums of the whole path; its last node has sums only when it has children.
    fn add_to_existing(&mut self, added: Summary) {
        let leaf = Node::new(self.arena.bytes(self.landing_node())).children() == 0;
        self.add_to_path(self.path.len() - usize::from(leaf), added);
    }
}

fn common_len(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}
