//! HOT PATH: no allocation per message in the long run, no lock, no log.
//! Messages that were accepted but not yet applied: what a decision must see beside the applied state, so that many
//! publishes can be on their way at once.
//!
//! Entries leave in the order in which they came. Subjects and message ids are looked up only by streams whose
//! publishers ask for it, so the table of subjects is built when the first one does.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::publish_headers::Rollup;
use crate::protocol::subject;

/// More than this may not be on the way at once; publishes beyond are refused (P-18).
pub const IN_FLIGHT_MAX: usize = 100_000;

/// Text of applied entries is given back when it is more than this, and more than what is still needed.
const TEXT_SLACK: usize = 64 * 1024;

/// The messages on their way.
pub struct InFlight {
    entries: VecDeque<Entry>,
    /// How many entries have left so far: the number of the front entry.
    left: u64,
    /// Subjects and ids, one after another.
    text: Vec<u8>,
    /// The position of `text[0]` since the beginning.
    text_start: u64,
    /// The latest entry of each subject; only while `tracks_subjects`.
    subjects: HashTable<BySubject>,
    tracks_subjects: bool,
    /// Entries with a message id.
    ids: HashTable<u64>,
    hasher: foldhash::fast::RandomState,
    /// What applying all of them will add.
    messages: i64,
    bytes: i64,
    /// The latest entry that replaces everything before it.
    replacement: Option<Replacement>,
}

#[derive(Clone, Copy)]
struct Entry {
    sequence: u64,
    text_at: u64,
    subject_len: u32,
    id_len: u32,
    messages: i32,
    rollup: Option<Rollup>,
    bytes: i64,
}

/// What the stream will hold once a roll-up of everything, and what came after it, is applied.
#[derive(Clone, Copy)]
struct Replacement {
    /// The number of the roll-up.
    number: u64,
    messages: i64,
    bytes: i64,
}

#[derive(Clone, Copy)]
struct BySubject {
    /// The number of the latest entry.
    latest: u64,
    /// The number of the latest entry that replaces all of the subject before it.
    replaced_by: Option<u64>,
    /// How many there are from that one on.
    count: u32,
}

/// A message that was accepted.
pub struct Accepted<'a> {
    pub sequence: u64,
    pub subject: &'a [u8],
    /// Empty when there is none.
    pub id: &'a [u8],
    /// What it will add to the number of messages and bytes, less what it will push out. Of a roll-up of everything: what
    /// there will be.
    pub messages: i32,
    pub bytes: i64,
    pub rollup: Option<Rollup>,
}

/// What is on the way for one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfSubject {
    pub messages: u64,
    pub last: u64,
    /// What is stored of the subject now will be gone.
    pub replaces_stored: bool,
}

impl InFlight {
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            left: 0,
            text: Vec::new(),
            text_start: 0,
            subjects: HashTable::new(),
            tracks_subjects: false,
            ids: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            messages: 0,
            bytes: 0,
            replacement: None,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn has_room_for(&self, count: usize) -> bool {
        self.entries.len() + count <= IN_FLIGHT_MAX
    }

    /// How many messages and bytes there will be, of so many, once everything is applied.
    pub fn totals(&self, messages: u64, bytes: u64) -> (u64, u64) {
        let clamp = |number: i64| u64::try_from(number).unwrap_or(0);
        match self.replacement {
            Some(replacement) => (clamp(replacement.messages), clamp(replacement.bytes)),
            None => (messages.saturating_add_signed(self.messages), bytes.saturating_add_signed(self.bytes)),
        }
    }

    /// What is stored now will be gone.
    pub fn replaces_all(&self) -> bool {
        self.replacement.is_some()
    }

    /// What the entries of a subject will add to its bytes; of those that replace everything before them, what they hold.
    /// Looks at every entry: rare.
    pub fn bytes_of_subject(&self, subject: &[u8]) -> i64 {
        let from = self.replacement.map_or(self.left, |replacement| replacement.number) - self.left;
        let entries = self.entries.range(from as usize..);
        entries.filter(|entry| self.subject_text(entry) == subject).map(|entry| entry.bytes).sum()
    }

    pub fn push(&mut self, accepted: &Accepted<'_>) {
        let entry = Entry {
            sequence: accepted.sequence,
            text_at: self.text_start + self.text.len() as u64,
            subject_len: accepted.subject.len() as u32,
            id_len: accepted.id.len() as u32,
            messages: accepted.messages,
            rollup: accepted.rollup,
            bytes: accepted.bytes,
        };
        self.text.extend_from_slice(accepted.subject);
        self.text.extend_from_slice(accepted.id);
        self.messages += i64::from(accepted.messages);
        self.bytes += accepted.bytes;
        self.entries.push_back(entry);
        let number = self.left + self.entries.len() as u64 - 1;
        self.add_to_replacement(number);
        if self.tracks_subjects {
            self.track_subject(number);
        }
        if !accepted.id.is_empty() {
            self.track_id(number);
        }
    }

    /// The front entry was applied. Entries of another term, which never will be, are dropped on the way.
    pub fn applied(&mut self, sequence: u64) {
        while self.entries.front().is_some_and(|entry| entry.sequence <= sequence) {
            self.pop();
        }
    }

    /// Forgets what has this sequence or a higher one: it is not appended after all. Rare.
    pub fn take_back(&mut self, sequence: u64) {
        let len = self.entries.partition_point(|entry| entry.sequence < sequence);
        let Some(first) = self.entries.get(len) else { return };
        let text_len = (first.text_at - self.text_start) as usize;
        for number in self.left + len as u64..self.left + self.entries.len() as u64 {
            self.untrack_id(number);
        }
        for entry in self.entries.drain(len..) {
            self.messages -= i64::from(entry.messages);
            self.bytes -= entry.bytes;
        }
        self.text.truncate(text_len);
        self.replacement = None;
        (self.left..self.left + len as u64).for_each(|number| self.add_to_replacement(number));
        // What was the latest entry of a subject before is not known any more.
        self.subjects.clear();
        self.tracks_subjects = false;
    }

    /// Forgets everything: this replica leads no more.
    pub fn clear(&mut self) {
        let hasher = std::mem::take(&mut self.hasher);
        *self = Self { hasher, ..Self::new() };
    }

    /// What is on the way for exactly this subject.
    pub fn of_subject(&mut self, subject: &[u8]) -> OfSubject {
        if self.entries.is_empty() {
            return OfSubject::default();
        }
        if !self.tracks_subjects {
            self.tracks_subjects = true;
            (self.left..self.left + self.entries.len() as u64).for_each(|number| self.track_subject(number));
        }
        let hash = self.hasher.hash_one(subject);
        let found = self.subjects.find(hash, |by_subject| self.subject_of(by_subject.latest) == subject);
        let all_replaced = self.replacement.is_some();
        let Some(by_subject) = found else {
            return OfSubject { replaces_stored: all_replaced, ..OfSubject::default() };
        };
        OfSubject {
            messages: u64::from(by_subject.count),
            last: if by_subject.count == 0 { 0 } else { self.entry(by_subject.latest).sequence },
            replaces_stored: all_replaced || by_subject.replaced_by.is_some_and(|number| number >= self.left),
        }
    }

    /// The latest sequence on the way whose subject matches a filter with wildcards. Looks at every entry: rare.
    pub fn last_matching(&self, filter: &[u8]) -> Option<u64> {
        let matching = |entry: &&Entry| subject::matches(filter, self.subject_text(entry));
        self.entries.iter().rev().find(matching).map(|entry| entry.sequence)
    }

    /// The sequence of the message on the way with this id.
    pub fn find_id(&self, id: &[u8]) -> Option<u64> {
        if self.ids.is_empty() {
            return None;
        }
        let found = self.ids.find(self.hasher.hash_one(id), |number| self.id_of(*number) == id);
        found.map(|number| self.entry(*number).sequence)
    }

    /// The id of the latest message; `None` when nothing is on the way, empty when the message has none.
    pub fn last_id(&self) -> Option<&[u8]> {
        self.entries.back().map(|entry| self.id_text(entry))
    }

    fn add_to_replacement(&mut self, number: u64) {
        let Entry { messages, bytes, rollup, .. } = *self.entry(number);
        let messages = i64::from(messages);
        if rollup == Some(Rollup::All) {
            self.replacement = Some(Replacement { number, messages, bytes });
        } else if let Some(replacement) = &mut self.replacement {
            replacement.messages += messages;
            replacement.bytes += bytes;
        }
    }

    fn pop(&mut self) {
        let number = self.left;
        if self.replacement.is_some_and(|replacement| replacement.number == number) {
            self.replacement = None;
        }
        let entry = self.entries[0];
        if self.tracks_subjects {
            self.untrack_subject(number);
        }
        self.untrack_id(number);
        self.messages -= i64::from(entry.messages);
        self.bytes -= entry.bytes;
        self.entries.pop_front();
        self.left += 1;
        self.give_back_text();
    }

    fn give_back_text(&mut self) {
        let Some(front) = self.entries.front() else {
            self.text_start += self.text.len() as u64;
            self.text.clear();
            // Looking subjects up may have been a passing need.
            self.tracks_subjects = false;
            debug_assert!(self.subjects.is_empty() && self.ids.is_empty() && self.messages == 0 && self.bytes == 0);
            return;
        };
        let unneeded = (front.text_at - self.text_start) as usize;
        if unneeded > TEXT_SLACK && unneeded > self.text.len() / 2 {
            self.text.drain(..unneeded);
            self.text_start += unneeded as u64;
        }
    }

    fn track_subject(&mut self, number: u64) {
        let hash = self.hasher.hash_one(self.subject_of(number));
        // The table is taken out so that the entries can be looked at meanwhile.
        let mut subjects = std::mem::take(&mut self.subjects);
        let subject = self.subject_of(number);
        let rollup = self.entry(number).rollup;
        if rollup == Some(Rollup::All) {
            for by_subject in subjects.iter_mut() {
                (by_subject.replaced_by, by_subject.count) = (Some(number), 0);
            }
        }
        let mut by_subject = BySubject { latest: number, replaced_by: rollup.map(|_| number), count: 1 };
        match subjects.find_mut(hash, |by_subject| self.subject_of(by_subject.latest) == subject) {
            Some(before) => {
                if rollup.is_none() {
                    (by_subject.replaced_by, by_subject.count) = (before.replaced_by, before.count + 1);
                }
                *before = by_subject;
            }
            None => {
                let rehash = |by_subject: &BySubject| self.hasher.hash_one(self.subject_of(by_subject.latest));
                subjects.insert_unique(hash, by_subject, rehash);
            }
        }
        self.subjects = subjects;
    }

    fn untrack_subject(&mut self, number: u64) {
        let hash = self.hasher.hash_one(self.subject_of(number));
        let mut subjects = std::mem::take(&mut self.subjects);
        let subject = self.subject_of(number);
        if let Ok(mut found) = subjects.find_entry(hash, |other| self.subject_of(other.latest) == subject) {
            let by_subject = found.get_mut();
            if by_subject.latest == number {
                found.remove();
            } else if by_subject.replaced_by.is_none_or(|replaced_by| number >= replaced_by) {
                by_subject.count -= 1;
            }
        }
        self.subjects = subjects;
    }

    fn track_id(&mut self, number: u64) {
        let hash = self.hasher.hash_one(self.id_of(number));
        let mut ids = std::mem::take(&mut self.ids);
        ids.insert_unique(hash, number, |other| self.hasher.hash_one(self.id_of(*other)));
        self.ids = ids;
    }

    fn untrack_id(&mut self, number: u64) {
        if self.entry(number).id_len > 0 {
            let hash = self.hasher.hash_one(self.id_of(number));
            if let Ok(found) = self.ids.find_entry(hash, |other| *other == number) {
                found.remove();
            }
        }
    }

    fn entry(&self, number: u64) -> &Entry {
        &self.entries[(number - self.left) as usize]
    }

    fn subject_of(&self, number: u64) -> &[u8] {
        self.subject_text(self.entry(number))
    }

    fn id_of(&self, number: u64) -> &[u8] {
        self.id_text(self.entry(number))
    }

    fn subject_text(&self, entry: &Entry) -> &[u8] {
        let start = (entry.text_at - self.text_start) as usize;
        &self.text[start..start + entry.subject_len as usize]
    }

    fn id_text(&self, entry: &Entry) -> &[u8] {
        let start = (entry.text_at - self.text_start) as usize + entry.subject_len as usize;
        &self.text[start..start + entry.id_len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(in_flight: &mut InFlight, sequence: u64, subject: &str, id: &str) {
        let (subject, id) = (subject.as_bytes(), id.as_bytes());
        in_flight.push(&Accepted { sequence, subject, id, messages: 1, bytes: 10, rollup: None });
    }

    fn of_subject(messages: u64, last: u64) -> OfSubject {
        OfSubject { messages, last, replaces_stored: false }
    }

    #[test]
    fn what_a_roll_up_replaces_does_not_count() {
        let mut in_flight = InFlight::new();
        push(&mut in_flight, 5, "a", "");
        push(&mut in_flight, 6, "b", "");
        assert_eq!(in_flight.of_subject(b"a").messages, 1);
        let rollup =
            Accepted { sequence: 7, subject: b"a", id: b"", messages: 0, bytes: 0, rollup: Some(Rollup::Subject) };
        in_flight.push(&rollup);
        push(&mut in_flight, 8, "a", "");
        assert_eq!(in_flight.of_subject(b"a"), OfSubject { messages: 2, last: 8, replaces_stored: true });
        assert_eq!(in_flight.of_subject(b"b"), of_subject(1, 6));
        assert_eq!(in_flight.totals(100, 1000), (103, 1030));
        in_flight.push(&Accepted { sequence: 9, messages: 1, bytes: 10, rollup: Some(Rollup::All), ..rollup });
        push(&mut in_flight, 10, "c", "");
        assert_eq!(in_flight.totals(100, 1000), (2, 20));
        assert_eq!(in_flight.bytes_of_subject(b"a"), 10);
        assert_eq!(in_flight.of_subject(b"a"), OfSubject { messages: 1, last: 9, replaces_stored: true });
        assert_eq!(in_flight.of_subject(b"b"), OfSubject { messages: 0, last: 0, replaces_stored: true });
        assert_eq!(in_flight.of_subject(b"d"), OfSubject { messages: 0, last: 0, replaces_stored: true });
        in_flight.take_back(10);
        assert_eq!(in_flight.totals(100, 1000), (1, 10));
        assert_eq!(in_flight.of_subject(b"a"), OfSubject { messages: 1, last: 9, replaces_stored: true });
        in_flight.take_back(9);
        assert_eq!(in_flight.of_subject(b"b"), of_subject(1, 6));
        in_flight.applied(7);
        assert_eq!(in_flight.of_subject(b"a"), of_subject(1, 8));
        assert_eq!(in_flight.totals(100, 1000), (101, 1010));
        in_flight.applied(8);
        assert_eq!(in_flight.of_subject(b"a"), OfSubject::default());
    }

    #[test]
    fn subjects_and_ids_are_found_until_applied() {
        let mut in_flight = InFlight::new();
        push(&mut in_flight, 5, "a.b", "x");
        push(&mut in_flight, 6, "a.c", "");
        assert_eq!(in_flight.of_subject(b"a.b"), of_subject(1, 5));
        push(&mut in_flight, 7, "a.b", "y");
        assert_eq!(in_flight.of_subject(b"a.b"), of_subject(2, 7));
        assert_eq!(in_flight.of_subject(b"a"), OfSubject::default());
        assert_eq!(in_flight.last_matching(b"a.*"), Some(7));
        assert_eq!(in_flight.last_matching(b"*.c"), Some(6));
        assert_eq!(in_flight.last_matching(b"b.>"), None);
        assert_eq!((in_flight.find_id(b"x"), in_flight.find_id(b"z")), (Some(5), None));
        assert_eq!(in_flight.last_id(), Some(&b"y"[..]));
        assert_eq!((in_flight.messages, in_flight.bytes), (3, 30));
        in_flight.applied(5);
        assert_eq!(in_flight.of_subject(b"a.b"), of_subject(1, 7));
        assert_eq!(in_flight.find_id(b"x"), None);
        in_flight.applied(7);
        assert_eq!(in_flight.len(), 0);
        assert_eq!(in_flight.of_subject(b"a.b"), OfSubject::default());
        assert_eq!(in_flight.last_id(), None);
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut in_flight = InFlight::new();
        push(&mut in_flight, 5, "a", "x");
        assert_eq!(in_flight.of_subject(b"a").last, 5);
        push(&mut in_flight, 6, "a", "y");
        push(&mut in_flight, 7, "b", "");
        in_flight.take_back(6);
        in_flight.take_back(8);
        assert_eq!(in_flight.of_subject(b"a"), of_subject(1, 5));
        assert_eq!(in_flight.of_subject(b"b"), OfSubject::default());
        assert_eq!((in_flight.find_id(b"y"), in_flight.last_id()), (None, Some(&b"x"[..])));
        assert_eq!((in_flight.len(), in_flight.messages, in_flight.bytes), (1, 1, 10));
        push(&mut in_flight, 6, "b", "y");
        assert_eq!((in_flight.find_id(b"y"), in_flight.of_subject(b"b").last), (Some(6), 6));
        in_flight.applied(6);
        assert_eq!(in_flight.len(), 0);
    }

    #[test]
    fn text_does_not_pile_up_while_some_are_always_on_the_way() {
        let mut in_flight = InFlight::new();
        let subject = "s".repeat(1000);
        for sequence in 1..=5000 {
            push(&mut in_flight, sequence, &subject, "");
            if sequence > 10 {
                in_flight.applied(sequence - 10);
            }
        }
        assert_eq!(in_flight.len(), 10);
        assert!(in_flight.text.len() < 3 * TEXT_SLACK);
        assert_eq!(in_flight.of_subject(subject.as_bytes()), of_subject(10, 5000));
        in_flight.clear();
        assert!(in_flight.len() == 0 && in_flight.messages == 0);
    }
}
