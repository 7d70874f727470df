//! Names of streams, consumers and priority groups.

/// What may not stand in the name of a stream or consumer.
const FORBIDDEN: &[char] = &[' ', '\t', '\r', '\n', '\u{0c}', '.', '*', '>', '\\', '/'];

const GROUP_NAME_BYTES_MAX: usize = 16;

pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(FORBIDDEN)
}

pub fn has_path_separator(name: &str) -> bool {
    name.contains(['\\', '/'])
}

pub fn is_valid_group_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'=' | b'-');
    (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["A", "a-b_c", "ü", "A\"<"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", "a b", "a.b", "a*", ">", "a/b", "a\\b", "a\tb"] {
            assert!(!is_valid_name(bad), "{bad}");
        }
        assert!(is_valid_group_name("a/b_c=d-e"));
        assert!(!is_valid_group_name("seventeen-letters"));
        assert!(!is_valid_group_name(""));
        assert!(!is_valid_group_name("a b"));
    }
}
