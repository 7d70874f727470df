//! Names that the server makes: ids of advisories and pins, names of ephemeral consumers.

use rand::Rng;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const UNIQUE_LEN: usize = 22;
const CONSUMER_LEN: usize = 8;

/// 22 random letters: never made twice.
pub fn unique_id() -> String {
    text(&unique_letters())
}

/// As [`unique_id`], as letters.
pub fn unique_letters() -> [u8; UNIQUE_LEN] {
    random()
}

/// A name for a consumer that came without one; the caller checks that it is free.
pub fn consumer() -> String {
    text(&random::<CONSUMER_LEN>())
}

fn random<const LEN: usize>() -> [u8; LEN] {
    let mut source = rand::rng();
    std::array::from_fn(|_| LETTERS[source.random_range(0..LETTERS.len())])
}

fn text(letters: &[u8]) -> String {
    letters.iter().map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_length_and_no_forbidden_letter() {
        assert_eq!(unique_id().len(), 22);
        assert!(consumer().len() == 8 && consumer().bytes().all(|letter| letter.is_ascii_alphanumeric()));
        assert_ne!(unique_id(), unique_id());
    }
}
