//! HOT PATH: no lock, no log above trace.
//!
//! The subjects of one group in one segment, numbered in order of appearance.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// What is known about a subject within a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubjectEntry {
    pub(crate) text_start: u32,
    pub(crate) text_len: u16,
    pub(crate) count: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

#[derive(Default)]
pub(crate) struct SubjectDictionary {
    entries: Vec<SubjectEntry>,
    text: Vec<u8>,
    by_text: HashTable<u32>,
    /// The subject seen last: streams of one subject never hash.
    memo: u32,
    /// Clients choose subjects, so the seed must be random.
    hasher: RandomState,
}

impl SubjectDictionary {
    /// The number of `subject`, which now also has a message at `sequence`.
    pub(crate) fn note(&mut self, subject: &[u8], sequence: u64) -> u32 {
        let id = self.id_of(subject);
        let entry = &mut self.entries[id as usize];
        entry.count += 1;
        entry.first = entry.first.min(sequence);
        entry.last = entry.last.max(sequence);
        id
    }

    fn id_of(&mut self, subject: &[u8]) -> u32 {
        if self.entries.get(self.memo as usize).is_some_and(|entry| text_of(&self.text, entry) == subject) {
            return self.memo;
        }
        let Self { entries, text, by_text, hasher, .. } = self;
        let hashed = hasher.hash_one(subject);
        let found = by_text.find(hashed, |id| text_of(text, &entries[*id as usize]) == subject);
        self.memo = match found {
            Some(id) => *id,
            None => {
                let id = entries.len() as u32;
                let text_start = text.len() as u32;
                text.extend_from_slice(subject);
                let text_len = subject.len() as u16;
                entries.push(SubjectEntry { text_start, text_len, count: 0, first: u64::MAX, last: 0 });
                by_text.insert_unique(hashed, id, |id| hasher.hash_one(text_of(text, &entries[*id as usize])));
                id
            }
        };
        self.memo
    }

    /// The number of a subject that is there.
    pub(crate) fn find(&self, subject: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| text_of(&self.text, &self.entries[*id as usize]) == subject;
        self.by_text.find(self.hasher.hash_one(subject), is_it).copied()
    }

    pub(crate) fn entries(&self) -> &[SubjectEntry] {
        &self.entries
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn subject(&self, id: u32) -> &[u8] {
        text_of(&self.text, &self.entries[id as usize])
    }
}

fn text_of<'a>(text: &'a [u8], entry: &SubjectEntry) -> &'a [u8] {
    &text[entry.text_start as usize..entry.text_start as usize + usize::from(entry.text_len)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_numbered_and_counted() {
        let mut dictionary = SubjectDictionary::default();
        let ids: Vec<u32> = ["a", "b", "a", "", "b"]
            .iter()
            .zip(5..)
            .map(|(subject, at)| dictionary.note(subject.as_bytes(), at))
            .collect();
        assert_eq!(ids, [0, 1, 0, 2, 1]);
        let entry = dictionary.entries()[1];
        assert_eq!((entry.count, entry.first, entry.last), (2, 6, 9));
        assert_eq!(dictionary.subject(1), b"b");
        assert_eq!((dictionary.find(b"b"), dictionary.find(b"c")), (Some(1), None));
    }
}
