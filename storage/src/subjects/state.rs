//! What the index knows of one subject, and how messages that come and go change it. Pure arithmetic, no tree.

/// The messages of one subject.
///
/// `messages` is always exact. `first` and `last` are exact unless their flag says otherwise; then they are bounds:
/// the real first sequence is at or above `first`, the real last one at or below `last`. That happens when the first
/// (or last) message goes and the caller does not know the neighbour that takes its place. See
/// [`SubjectIndex::remove`](super::SubjectIndex::remove).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubjectState {
    pub messages: u64,
    pub first: u64,
    pub last: u64,
    pub first_exact: bool,
    pub last_exact: bool,
}

impl SubjectState {
    pub(super) fn single(sequence: u64) -> SubjectState {
        SubjectState { messages: 1, first: sequence, last: sequence, first_exact: true, last_exact: true }
    }

    pub(super) fn is_single(&self) -> bool {
        self.messages == 1 && self.first_exact && self.last_exact
    }

    pub(super) fn add(&mut self, sequence: u64) {
        self.messages += 1;
        // At the bound itself the message proves the bound: nothing of this subject lies beyond it.
        if sequence <= self.first {
            self.first = sequence;
            self.first_exact = true;
        }
        if sequence >= self.last {
            self.last = sequence;
            self.last_exact = true;
        }
    }

    pub(super) fn may_hold(&self, sequence: u64) -> bool {
        self.first <= sequence && sequence <= self.last
    }

    /// Takes away one of several messages. `next` finds the subject's first message at or above a sequence.
    pub(super) fn take(&mut self, sequence: u64, next: &mut dyn FnMut(u64) -> Option<u64>) {
        debug_assert!(self.messages > 1 && self.may_hold(sequence));
        self.messages -= 1;
        if self.messages == 1 && self.last_exact && sequence != self.last {
            (self.first, self.first_exact) = (self.last, true);
            return;
        }
        if self.messages == 1 && self.first_exact && sequence != self.first {
            (self.last, self.last_exact) = (self.first, true);
            return;
        }
        if sequence == self.first {
            let bound = sequence.saturating_add(1);
            self.set_first(bound, next(bound));
        }
        if sequence == self.last {
            self.last = sequence.saturating_sub(1).max(self.first);
            self.last_exact = false;
        }
    }

    /// Makes `first` exact with what the lookup found, or a better bound when it found nothing.
    pub(super) fn set_first(&mut self, bound: u64, found: Option<u64>) {
        self.first = found.unwrap_or(bound).max(bound).min(self.last);
        self.first_exact = found.is_some();
        self.single_out();
    }

    pub(super) fn set_last(&mut self, bound: u64, found: Option<u64>) {
        self.last = found.unwrap_or(bound).min(bound).max(self.first);
        self.last_exact = found.is_some();
        self.single_out();
    }

    /// One message is first and last at once: knowing either is knowing both.
    fn single_out(&mut self) {
        if self.messages != 1 || self.first_exact == self.last_exact {
            return;
        }
        if self.first_exact {
            self.last = self.first;
        } else {
            self.first = self.last;
        }
        (self.first_exact, self.last_exact) = (true, true);
    }
}

/// A subtree's sums, and bounds over it: no message lies below `first` or above `last`. The bounds only ever widen,
/// they serve for skipping subtrees, never as answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub subjects: u32,
    pub messages: u64,
    pub first: u64,
    pub last: u64,
}

impl Summary {
    pub(super) const EMPTY: Summary = Summary { subjects: 0, messages: 0, first: u64::MAX, last: 0 };

    pub(super) fn of(state: &SubjectState) -> Summary {
        Summary { subjects: 1, messages: state.messages, first: state.first, last: state.last }
    }

    pub(super) fn plus(self, other: Summary) -> Summary {
        Summary {
            subjects: self.subjects + other.subjects,
            messages: self.messages + other.messages,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}
