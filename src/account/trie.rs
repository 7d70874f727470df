//! HOT PATH (on a match-cache miss).
//!
//! Subjects with wildcards to values: a tree of tokens where each level has literal children, one `*` and one `>`.
//! The tree knows nothing of who subscribes; the caller locks it.

use crate::protocol::subject;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// What is kept at a subject; the key finds it again for removal.
pub trait Keyed {
    fn key(&self) -> u64;
}

pub struct Trie<T> {
    root: Level<T>,
    len: usize,
}

struct Level<T> {
    literals: HashMap<Box<[u8]>, Node<T>, RandomState>,
    star: Option<Box<Node<T>>>,
    rest: Option<Box<Node<T>>>,
}

struct Node<T> {
    values: Values<T>,
    next: Option<Box<Level<T>>>,
}

impl<T> Default for Trie<T> {
    fn default() -> Trie<T> {
        Trie { root: Level::default(), len: 0 }
    }
}

impl<T> Default for Level<T> {
    fn default() -> Level<T> {
        Level { literals: HashMap::with_hasher(RandomState::default()), star: None, rest: None }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Node<T> {
        Node { values: Values::default(), next: None }
    }
}

impl<T: Keyed> Trie<T> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a value at a valid subject.
    pub fn insert(&mut self, subject: &[u8], value: T) {
        debug_assert!(subject::is_valid(subject), "only valid subjects may be inserted");
        self.root.insert(subject, value);
        self.len += 1;
    }

    /// Removes the value with this key from exactly this subject.
    pub fn remove(&mut self, subject: &[u8], key: u64) -> Option<T> {
        let removed = self.root.remove(subject, key)?;
        self.len -= 1;
        Some(removed)
    }

    /// Visits every value whose subject matches; a subject with an empty token matches nothing.
    pub fn for_each_match<'a>(&'a self, subject: &[u8], mut visit: impl FnMut(&'a T)) {
        if !has_empty_token(subject) {
            self.root.visit(Some(subject), &mut |values| {
                values.items.iter().for_each(&mut visit);
                false
            });
        }
    }

    /// True when some matching value satisfies the predicate.
    pub fn any_match(&self, subject: &[u8], mut accept: impl FnMut(&T) -> bool) -> bool {
        !has_empty_token(subject) && self.root.visit(Some(subject), &mut |values| values.items.iter().any(&mut accept))
    }

    /// Visits all values in no particular order.
    pub fn for_each<'a>(&'a self, mut visit: impl FnMut(&'a T)) {
        self.root.all(&mut visit);
    }
}

fn has_empty_token(subject: &[u8]) -> bool {
    subject::tokens(subject).any(<[u8]>::is_empty)
}

/// The first token and what follows its dot.
fn split_token(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'.', subject) {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

impl<T: Keyed> Level<T> {
    fn insert(&mut self, subject: &[u8], value: T) {
        let (token, tail) = split_token(subject);
        let node = match token {
            b"*" => self.star.get_or_insert_default(),
            b">" => self.rest.get_or_insert_default(),
            literal => {
                if !self.literals.contains_key(literal) {
                    self.literals.insert(literal.into(), Node::default());
                }
                self.literals.get_mut(literal).expect("it was there or has just been inserted")
            }
        };
        match tail {
            None => node.values.push(value),
            Some(tail) => node.next.get_or_insert_default().insert(tail, value),
        }
    }

    fn remove(&mut self, subject: &[u8], key: u64) -> Option<T> {
        let (token, tail) = split_token(subject);
        let node = match token {
            b"*" => self.star.as_deref_mut()?,
            b">" => self.rest.as_deref_mut()?,
            literal => self.literals.get_mut(literal)?,
        };
        let removed = node.remove(tail, key)?;
        if node.is_empty() {
            match token {
                b"*" => self.star = None,
                b">" => self.rest = None,
                literal => {
                    self.literals.remove(literal);
                    // A level that once held many children must not keep their table for ever.
                    if self.literals.len() * 8 < self.literals.capacity() {
                        self.literals.shrink_to_fit();
                    }
                }
            }
        }
        Some(removed)
    }

    /// Calls `visit` for each matching set until it says true.
    fn visit<'a>(&'a self, subject: Option<&[u8]>, visit: &mut impl FnMut(&'a Values<T>) -> bool) -> bool {
        let Some(subject) = subject else {
            return false;
        };
        if self.rest.as_deref().is_some_and(|node| visit(&node.values)) {
            return true;
        }
        let (token, tail) = split_token(subject);
        let literal = if self.literals.is_empty() { None } else { self.literals.get(token) };
        for node in self.star.as_deref().into_iter().chain(literal) {
            let done = match (tail, &node.next) {
                (None, _) => visit(&node.values),
                (Some(_), Some(next)) => next.visit(tail, visit),
                (Some(_), None) => false,
            };
            if done {
                return true;
            }
        }
        false
    }

    fn all<'a>(&'a self, visit: &mut impl FnMut(&'a T)) {
        let wild = self.star.as_deref().into_iter().chain(self.rest.as_deref());
        for node in self.literals.values().chain(wild) {
            node.values.items.iter().for_each(&mut *visit);
            if let Some(next) = &node.next {
                next.all(visit);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.star.is_none() && self.rest.is_none()
    }
}

impl<T: Keyed> Node<T> {
    fn remove(&mut self, tail: Option<&[u8]>, key: u64) -> Option<T> {
        let Some(tail) = tail else {
            return self.values.remove(key);
        };
        let next = self.next.as_deref_mut()?;
        let removed = next.remove(tail, key)?;
        if next.is_empty() {
            self.next = None;
        }
        Some(removed)
    }

    fn is_empty(&self) -> bool {
        self.values.items.is_empty() && self.next.is_none()
    }
}

/// The values of one subject. Above a few dozen an index of positions keeps removal from scanning, or the
/// end of a hundred thousand subscribers of one subject would take a hundred thousand scans.
struct Values<T> {
    items: Vec<T>,
    positions: Option<Box<HashMap<u64, usize, RandomState>>>,
}

const INDEXED_FROM: usize = 64;

impl<T> Default for Values<T> {
    fn default() -> Values<T> {
        Values { items: Vec::new(), positions: None }
    }
}

impl<T: Keyed> Values<T> {
    fn push(&mut self, value: T) {
        if let Some(positions) = &mut self.positions {
            positions.insert(value.key(), self.items.len());
        }
        self.items.push(value);
        if self.items.len() == INDEXED_FROM && self.positions.is_none() {
            let positions = self.items.iter().enumerate().map(|(position, item)| (item.key(), position));
            self.positions = Some(Box::new(positions.collect()));
        }
    }

    fn remove(&mut self, key: u64) -> Option<T> {
        let position = match &mut self.positions {
            Some(positions) => positions.remove(&key)?,
            None => self.items.iter().position(|item| item.key() == key)?,
        };
        let removed = self.items.swap_remove(position);
        if let (Some(positions), Some(moved)) = (&mut self.positions, self.items.get(position)) {
            positions.insert(moved.key(), position);
        }
        if self.items.len() * 4 < self.items.capacity() {
            self.items.shrink_to_fit();
        }
        if self.items.len() < INDEXED_FROM / 2 {
            self.positions = None;
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Item(u64);

    impl Keyed for Item {
        fn key(&self) -> u64 {
            self.0
        }
    }

    fn matches(trie: &Trie<Item>, subject: &[u8]) -> Vec<u64> {
        let mut keys = Vec::new();
        trie.for_each_match(subject, |item| keys.push(item.0));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_wildcard_in_a_published_subject_is_an_ordinary_token() {
        let mut trie = Trie::default();
        for (key, subject) in ["foo.*", "foo.>", "foo.x"].iter().enumerate() {
            trie.insert(subject.as_bytes(), Item(key as u64));
        }
        assert_eq!(matches(&trie, b"foo.*"), [0, 1]);
        assert_eq!(matches(&trie, b"foo.>"), [0, 1]);
        assert_eq!(matches(&trie, b"foo.x"), [0, 1, 2]);
        assert!(matches(&trie, b"foo..x").is_empty());
        assert!(matches(&trie, b"foo").is_empty());
    }

    #[test]
    fn many_values_at_one_subject_are_removed_one_by_one() {
        let mut trie = Trie::default();
        for key in 0..500 {
            trie.insert(b"a.b", Item(key));
        }
        for key in (0..500).step_by(2).chain((1..500).step_by(2)) {
            assert!(trie.remove(b"a.b", key).is_some());
            assert!(trie.remove(b"a.b", key).is_none());
        }
        assert!(trie.is_empty() && trie.root.is_empty());
    }

    #[test]
    fn deep_subjects_fit_a_worker_stack() {
        let deep = vec!["a"; subject::TOKENS_MAX].join(".");
        let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let mut trie = Trie::default();
            trie.insert(deep.as_bytes(), Item(1));
            trie.insert(deep.replace('a', "*").as_bytes(), Item(2));
            assert_eq!(matches(&trie, deep.as_bytes()), [1, 2]);
            assert!(trie.remove(deep.as_bytes(), 1).is_some());
            let mut all = 0;
            trie.for_each(|_| all += 1);
            assert_eq!(all, 1);
        });
        worker.unwrap().join().unwrap();
    }

    fn subject_strategy() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof![4 => "[abc]", 2 => Just("*".to_string())], 1..5).prop_flat_map(|tokens| {
            any::<bool>().prop_map(move |rest| {
                let mut tokens = tokens.clone();
                if rest {
                    tokens.push(">".into());
                }
                tokens.join(".")
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn agrees_with_the_naive_matcher(
            steps in proptest::collection::vec((subject_strategy(), any::<bool>()), 1..60),
            probes in proptest::collection::vec("[abc](\\.[abc]){0,4}", 1..10),
        ) {
            let mut trie = Trie::default();
            let mut model: Vec<(u64, String)> = Vec::new();
            for (key, (subject, add)) in steps.into_iter().enumerate() {
                if add || model.is_empty() {
                    trie.insert(subject.as_bytes(), Item(key as u64));
                    model.push((key as u64, subject));
                } else {
                    let (key, subject) = model.swap_remove(key % model.len());
                    prop_assert!(trie.remove(subject.as_bytes(), key).is_some());
                }
                prop_assert_eq!(trie.len(), model.len());
            }
            for probe in probes {
                let mut expected: Vec<u64> = model
                    .iter()
                    .filter(|(_, filter)| subject::matches(filter.as_bytes(), probe.as_bytes()))
                    .map(|(key, _)| *key)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(trie.any_match(probe.as_bytes(), |_| true), !expected.is_empty());
                prop_assert_eq!(matches(&trie, probe.as_bytes()), expected);
            }
            for (key, subject) in model {
                prop_assert!(trie.remove(subject.as_bytes(), key).is_some());
            }
            prop_assert!(trie.root.is_empty());
        }
    }
}
