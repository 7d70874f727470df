//! Subjects: dot-separated tokens, `*` for one token, `>` for the rest (C-20, ADR-6).
//!
//! Everything here works on bytes: a subject is any UTF-8 without white space, and the server never
//! needs it as text.

/// Splits a subject into its tokens. An empty subject has one empty token.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|byte| *byte == b'.')
}

/// The number of tokens in a subject.
pub fn token_count(subject: &[u8]) -> usize {
    memchr::memchr_iter(b'.', subject).count() + 1
}

/// Tokens of a valid subject. The interest graph is walked by recursion, so its depth has a bound, wherever a subject comes
/// from. With the default control line no client subscribes to one that comes near it.
pub const TOKENS_MAX: usize = 2048;

/// True for a subject that may be subscribed to: no empty token, no white space, `>` only as the last token, and no more
/// tokens than [`TOKENS_MAX`].
pub fn is_valid(subject: &[u8]) -> bool {
    if subject.is_empty() || subject.iter().any(|byte| is_forbidden(*byte)) {
        return false;
    }
    let mut rest_seen = false;
    for (position, token) in tokens(subject).enumerate() {
        if token.is_empty() || rest_seen || position == TOKENS_MAX {
            return false;
        }
        rest_seen = token == b">";
    }
    true
}

/// True for a valid subject without wildcards, which is what a message may be published to.
pub fn is_valid_literal(subject: &[u8]) -> bool {
    is_valid(subject) && is_literal(subject)
}

/// True when no token is `*` or `>`. A token such as `a*` is literal (appendix D 14).
pub fn is_literal(subject: &[u8]) -> bool {
    if memchr::memchr2(b'*', b'>', subject).is_none() {
        return true;
    }
    !tokens(subject).any(is_wildcard_token)
}

/// True for the tokens `*` and `>`.
pub fn is_wildcard_token(token: &[u8]) -> bool {
    token == b"*" || token == b">"
}

/// True when the literal `subject` is matched by `filter`, which may hold wildcards.
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    is_subset(subject, filter)
}

/// True when every subject that `inner` matches is also matched by `outer`.
pub fn is_subset(inner: &[u8], outer: &[u8]) -> bool {
    let mut inner_tokens = tokens(inner);
    for outer_token in tokens(outer) {
        let Some(inner_token) = inner_tokens.next() else {
            return false;
        };
        if outer_token == b">" {
            return true;
        }
        if inner_token == b">" {
            return false;
        }
        if outer_token != b"*" && outer_token != inner_token {
            return false;
        }
    }
    inner_tokens.next().is_none()
}

/// True when some literal subject is matched by both; wildcards are allowed on both sides.
pub fn overlaps(left: &[u8], right: &[u8]) -> bool {
    let mut left_tokens = tokens(left);
    let mut right_tokens = tokens(right);
    loop {
        match (left_tokens.next(), right_tokens.next()) {
            (None, None) => return true,
            (Some(left_token), Some(right_token)) => {
                if left_token == b">" || right_token == b">" {
                    return true;
                }
                if left_token != b"*" && right_token != b"*" && left_token != right_token {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn is_forbidden(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0c | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_follows_the_grammar() {
        for good in ["a", "a.b", "*", ">", "a.*.c", "a.>", "a*", "$JS.API.INFO", "ü.b"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        let most = vec!["a"; TOKENS_MAX].join(".");
        assert!(is_valid(most.as_bytes()) && !is_valid(format!("{most}.a").as_bytes()));
        for bad in ["", ".", "a.", ".a", "a..b", "a b", ">.a", "a.>.b", "a\tb", "a\r\n"] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn wildcards_match_whole_tokens_only() {
        assert!(matches(b"a.*", b"a.b"));
        assert!(!matches(b"a.*", b"a.b.c"));
        assert!(matches(b"a.>", b"a.b.c"));
        assert!(!matches(b"a.>", b"a"));
        assert!(matches(b">", b"a.b"));
        assert!(!matches(b"a*", b"ab"));
        assert!(is_literal(b"a*.b"));
    }

    #[test]
    fn subset_and_overlap_agree_with_their_definitions() {
        assert!(is_subset(b"a.*", b"a.>"));
        assert!(!is_subset(b"a.>", b"a.*"));
        assert!(is_subset(b"a.b", b"a.b"));
        assert!(overlaps(b"a.*", b"*.b"));
        assert!(overlaps(b"a.>", b"a.*.c"));
        assert!(!overlaps(b"a.b", b"a.c"));
        assert!(!overlaps(b"a", b"a.>"));
    }
}
