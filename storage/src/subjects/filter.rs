//! Filters, matched byte by byte, so that a filter can be followed down the tree. A `*` that is a whole token matches
//! one token, a `>` that is the last token matches one or more; anywhere else both are ordinary bytes (`a*` is a name).

/// How far one filter has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    pub filter: u32,
    at: u32,
    /// Inside a wildcard: it has taken a byte already. No wildcard matches nothing.
    taken: bool,
}

/// What a filter wants next.
pub(super) enum Want {
    End,
    Byte(u8),
    Token,
    Tail,
}

impl Progress {
    pub(super) fn start(filter: u32) -> Progress {
        Progress { filter, at: 0, taken: false }
    }

    #[inline]
    pub(super) fn want(&self, filter: &[u8]) -> Want {
        let at = self.at as usize;
        let Some(byte) = filter.get(at) else {
            return Want::End;
        };
        let token_start = || at == 0 || filter[at - 1] == b'.';
        match byte {
            b'*' if token_start() && filter.get(at + 1).is_none_or(|next| *next == b'.') => Want::Token,
            b'>' if token_start() && at + 1 == filter.len() => Want::Tail,
            byte => Want::Byte(*byte),
        }
    }

    /// The progress after one more byte of the subject, if the filter allows it.
    #[inline]
    pub(super) fn step(self, filter: &[u8], byte: u8) -> Option<Progress> {
        match self.want(filter) {
            Want::End => None,
            Want::Byte(wanted) => (wanted == byte).then_some(Progress { at: self.at + 1, ..self }),
            Want::Tail => Some(Progress { taken: true, ..self }),
            Want::Token if byte != b'.' => Some(Progress { taken: true, ..self }),
            // Past the `*` and its dot; a `*` at the filter's end has no dot.
            Want::Token => (self.taken && self.at as usize + 1 < filter.len()).then_some(Progress {
                at: self.at + 2,
                taken: false,
                ..self
            }),
        }
    }

    #[inline]
    pub(super) fn run(mut self, filter: &[u8], bytes: &[u8]) -> Option<Progress> {
        for byte in bytes {
            if matches!(self.want(filter), Want::Tail) {
                self.taken = true;
                break;
            }
            self = self.step(filter, *byte)?;
        }
        Some(self)
    }

    /// Does the filter match when the subject ends here?
    #[inline]
    pub(super) fn accepts(&self, filter: &[u8]) -> bool {
        match self.want(filter) {
            Want::End => true,
            Want::Byte(_) => false,
            Want::Tail => self.taken,
            Want::Token => self.taken && self.at as usize + 1 == filter.len(),
        }
    }

    /// Does the filter match every subject of a subtree? Its root's own subject ends here, when there is one.
    #[inline]
    pub(super) fn accepts_all(&self, filter: &[u8], root_has_subject: bool) -> bool {
        matches!(self.want(filter), Want::Tail) && (self.taken || !root_has_subject)
    }
}

/// Does the filter match the subject?
pub fn filter_matches(filter: &[u8], subject: &[u8]) -> bool {
    Progress::start(0).run(filter, subject).is_some_and(|end| end.accepts(filter))
}

#[cfg(test)]
mod tests {
    use super::filter_matches;

    fn check(filter: &str, yes: &[&str], no: &[&str]) {
        for subject in yes {
            assert!(filter_matches(filter.as_bytes(), subject.as_bytes()), "{filter} should match {subject}");
        }
        for subject in no {
            assert!(!filter_matches(filter.as_bytes(), subject.as_bytes()), "{filter} should not match {subject}");
        }
    }

    #[test]
    fn wildcards_are_whole_tokens() {
        check("a.b", &["a.b"], &["a", "a.b.c", "a.bc", "a.", ""]);
        check("*", &["a", "abc", "*"], &["a.b", ""]);
        check("a.*", &["a.b", "a.*"], &["a", "a.", "a.b.c"]);
        check("a.*.c", &["a.b.c", "a.bb.c"], &["a..c", "a.c", "a.b.c.d", "a.b"]);
        check(">", &["a", "a.b.c"], &[""]);
        check("a.>", &["a.b", "a.b.c"], &["a", "a.", "b.a"]);
        check("*.>", &["a.b", "a.b.c"], &["a"]);
        check("*.*", &["a.b"], &["a", "a.b.c"]);
    }

    #[test]
    fn wildcards_elsewhere_are_ordinary_bytes() {
        check("a*", &["a*"], &["a", "ab"]);
        check("*a.b", &["*a.b"], &["xa.b"]);
        check("a>", &["a>"], &["a.b", "ab"]);
        check("a.>.c", &["a.>.c"], &["a.b.c"]);
    }
}
