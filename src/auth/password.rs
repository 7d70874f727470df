//! Comparing secrets: in constant time, and bcrypt hashes by their prefix (S-01).

use crate::protocol::connect::Secret;
use ring::digest;

/// Whether a configured password is a bcrypt hash, `$2a$10$...`.
pub fn is_bcrypt(configured: &Secret) -> bool {
    match configured.expose().as_bytes() {
        [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', tens, ones, b'$', ..] => {
            tens.is_ascii_digit() && ones.is_ascii_digit()
        }
        _ => false,
    }
}

/// Compares plain secrets. Digests are compared, so neither content nor length shows in the time taken.
pub fn equal(configured: &Secret, given: &Secret) -> bool {
    let configured = digest::digest(&digest::SHA256, configured.expose().as_bytes());
    let given = digest::digest(&digest::SHA256, given.expose().as_bytes());
    let difference = configured.as_ref().iter().zip(given.as_ref()).fold(0, |sum, (left, right)| sum | (left ^ right));
    difference == 0
}

/// Checks a password against a bcrypt hash. Takes many milliseconds of CPU on purpose: never call it on a
/// thread that serves connections.
pub fn verify_bcrypt(hash: &Secret, given: &Secret) -> bool {
    bcrypt::verify(given.expose(), hash.expose()).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bcrypt_is_known_by_its_prefix() {
        let hash = Secret::new("$2a$04$P/.bd.7unw9Ew7yWJqXsl.f4oNRLQGvadEL2YnqQXbbb.IVQajRdK");
        assert!(is_bcrypt(&hash));
        assert!(!is_bcrypt(&Secret::new("$2c$04$x")) && !is_bcrypt(&Secret::new("$ecret")));
        let hash = Secret::new(bcrypt::hash("s3cret", 4).unwrap());
        assert!(verify_bcrypt(&hash, &Secret::new("s3cret")) && !verify_bcrypt(&hash, &Secret::new("x")));
        assert!(!verify_bcrypt(&Secret::new("$2a$04$broken"), &Secret::new("x")));
    }

    #[test]
    fn plain_secrets() {
        assert!(equal(&Secret::new("a"), &Secret::new("a")));
        assert!(!equal(&Secret::new("a"), &Secret::new("ab")) && !equal(&Secret::new(""), &Secret::new("a")));
    }
}
