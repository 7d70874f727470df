//! Which subjects of its stream a consumer wants (U-09, U-10): all, those of one filter, or those of several.

use crate::protocol::subject;

/// The filter of a consumer. None of its subjects is within another one, but two may have some in common: what matches
/// several counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty for all subjects.
    subjects: Box<[Box<[u8]>]>,
}

impl Filter {
    /// Matches every subject.
    pub fn all() -> Self {
        Self::default()
    }

    /// Matches what any of the given filters matches; without any, and with `>` among them, everything.
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a str>) -> Self {
        let subjects: Vec<Box<[u8]>> = filters.into_iter().map(|filter| filter.as_bytes().into()).collect();
        if subjects.iter().any(|filter| **filter == *b">") {
            return Self::all();
        }
        Self { subjects: subjects.into() }
    }

    pub fn is_all(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The filter subjects; none when everything matches.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.subjects.iter().map(AsRef::as_ref)
    }

    /// As [`subjects`](Self::subjects), for those who want them in one piece.
    pub fn as_slice(&self) -> &[Box<[u8]>] {
        &self.subjects
    }

    pub fn matches(&self, literal: &[u8]) -> bool {
        self.is_all() || self.subjects.iter().any(|filter| subject::matches(filter, literal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_one_and_several_filters() {
        assert!(Filter::new([]).matches(b"a.b"));
        assert!(Filter::new(["a", ">"]).is_all());
        let one = Filter::new(["a.*"]);
        assert!(one.matches(b"a.b") && !one.matches(b"b.a"));
        let several = Filter::new(["a.*", "b"]);
        assert!(several.matches(b"a.b") && several.matches(b"b") && !several.matches(b"c"));
        assert_eq!(several.subjects().count(), 2);
    }

    #[test]
    fn a_star_inside_a_token_is_literal() {
        assert!(!Filter::new(["a*"]).matches(b"ab"));
        assert!(Filter::new(["a*"]).matches(b"a*"));
    }
}
