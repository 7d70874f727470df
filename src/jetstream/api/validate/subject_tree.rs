//! Many subjects with wildcards, so that another one need not be compared with each of them.

use std::collections::HashMap;

use crate::protocol::subject;

/// So often a look-up may have to try more than one branch, all look-ups of a tree together. Only wildcards that cross each
/// other by the thousand come near.
const BRANCHES_MAX: usize = 1 << 20;

/// The branches are used up: what was asked is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooEntangled;

/// What a look-up looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// Some literal subject is matched by both.
    Overlap,
    /// Everything that the one asked for matches is matched by the one in the tree.
    Superset,
}

/// A tree of tokens. Positions are those of the subjects it was made of.
pub struct SubjectTree<'a> {
    nodes: Vec<Node>,
    children: HashMap<(usize, &'a [u8]), usize>,
    branches: usize,
}

#[derive(Default)]
struct Node {
    /// The first subject that ends here.
    end: Option<usize>,
    /// Another one does, too.
    is_repeated: bool,
    /// Children other than that of `>`.
    others: Vec<usize>,
}

impl<'a> SubjectTree<'a> {
    /// A subject counts up to its first `>`.
    pub fn new(subjects: impl IntoIterator<Item = &'a str>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()], children: HashMap::new(), branches: 0 };
        for (position, name) in subjects.into_iter().enumerate() {
            tree.insert(name.as_bytes(), position);
        }
        tree
    }

    fn insert(&mut self, name: &'a [u8], position: usize) {
        let mut at = 0;
        for token in subject::tokens(name) {
            let new = self.nodes.len();
            let child = *self.children.entry((at, token)).or_insert(new);
            if child == new {
                self.nodes.push(Node::default());
                if token != b">" {
                    self.nodes[at].others.push(new);
                }
            }
            at = child;
            if token == b">" {
                break;
            }
        }
        let node = &mut self.nodes[at];
        node.is_repeated = node.end.is_some();
        node.end = node.end.or(Some(position));
    }

    /// True when a subject of the tree, other than that at `own`, matches something that `name` matches too.
    ///
    /// # Errors
    /// When that would take too long to find out.
    pub fn overlaps(&mut self, name: &str, own: Option<usize>) -> Result<bool, TooEntangled> {
        self.find(name.as_bytes(), own, Relation::Overlap)
    }

    /// True when a subject of the tree, other than that at `own`, matches everything that `name` matches.
    ///
    /// # Errors
    /// When that would take too long to find out.
    pub fn covers(&mut self, name: &str, own: Option<usize>) -> Result<bool, TooEntangled> {
        self.find(name.as_bytes(), own, Relation::Superset)
    }

    fn find(&mut self, name: &[u8], own: Option<usize>, relation: Relation) -> Result<bool, TooEntangled> {
        let is_other = |node: &Node| node.end.is_some() && (node.end != own || node.is_repeated);
        // Nodes that the tokens so far lead to, with the tokens that follow.
        let mut open = vec![(0, Some(name))];
        while let Some((at, rest)) = open.pop() {
            let node = &self.nodes[at];
            let Some(rest) = rest else {
                if is_other(node) {
                    return Ok(true);
                }
                continue;
            };
            let child = |token: &'static [u8]| self.children.get(&(at, token)).copied();
            if child(b">").is_some_and(|rest| is_other(&self.nodes[rest])) {
                return Ok(true);
            }
            let (token, tail) = match memchr::memchr(b'.', rest) {
                Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
                None => (rest, None),
            };
            let before = open.len();
            match token {
                b">" if relation == Relation::Overlap && !node.others.is_empty() => return Ok(true),
                b">" => {}
                b"*" if relation == Relation::Overlap => open.extend(node.others.iter().map(|next| (*next, tail))),
                _ => {
                    open.extend(self.literal(at, token).map(|next| (next, tail)));
                    open.extend(child(b"*").filter(|_| token != b"*").map(|next| (next, tail)));
                }
            }
            self.branches += (open.len() - before).saturating_sub(1);
            if self.branches > BRANCHES_MAX {
                return Err(TooEntangled);
            }
        }
        Ok(false)
    }

    fn literal(&self, at: usize, token: &[u8]) -> Option<usize> {
        self.children.get(&(at, token)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subjects() -> impl Strategy<Value = Vec<String>> {
        let token = prop_oneof![3 => "[abc]", 1 => Just("*".to_owned()), 1 => Just(">".to_owned())];
        let name = proptest::collection::vec(token, 1..5).prop_map(|tokens| tokens.join("."));
        proptest::collection::vec(name, 1..12)
    }

    proptest! {
        #[test]
        fn answers_as_a_comparison_with_each(subjects in subjects()) {
            let mut tree = SubjectTree::new(subjects.iter().map(String::as_str));
            for (position, name) in subjects.iter().enumerate() {
                let others = || subjects.iter().enumerate().filter(|(at, _)| *at != position).map(|(_, other)| other);
                let overlaps = others().any(|other| subject::overlaps(name.as_bytes(), other.as_bytes()));
                prop_assert_eq!(tree.overlaps(name, Some(position)), Ok(overlaps));
                if subject::is_valid(name.as_bytes()) {
                    let covered = others().any(|other| subject::is_subset(name.as_bytes(), other.as_bytes()));
                    prop_assert_eq!(tree.covers(name, Some(position)), Ok(covered));
                    prop_assert_eq!(tree.covers(name, None), Ok(true));
                }
            }
        }
    }

    #[test]
    fn a_tangle_of_wildcards_is_given_up() {
        let names: Vec<String> =
            (0..40_000).map(|n| if n % 2 == 0 { format!("*.a{n}") } else { format!("b{n}.c") }).collect();
        let mut tree = SubjectTree::new(names.iter().map(String::as_str));
        let given_up = names.iter().enumerate().find_map(|(own, name)| tree.overlaps(name, Some(own)).err());
        assert_eq!(given_up, Some(TooEntangled));
    }

    #[test]
    fn a_subject_of_very_many_tokens_takes_no_stack() {
        let long = vec!["a"; 500_000].join(".");
        let mut tree = SubjectTree::new([long.as_str()]);
        assert_eq!((tree.overlaps(&long, None), tree.overlaps(&long, Some(0))), (Ok(true), Ok(false)));
    }
}
