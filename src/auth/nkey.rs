//! Proof of an nkey (S-04): an Ed25519 signature over the nonce of INFO.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

const NONCE_RAW_BYTES: usize = 11;
const SIGNATURE_BYTES: usize = 64;

/// A fresh challenge, 15 characters as in nats-server.
pub fn nonce() -> Option<String> {
    let mut raw = [0u8; NONCE_RAW_BYTES];
    SystemRandom::new().fill(&mut raw).ok()?;
    Some(URL_SAFE_NO_PAD.encode(raw))
}

/// Whether `signature` (base64, URL or standard alphabet) over the nonce was made by the owner of the key.
pub fn verify(public_key: &str, nonce: &[u8], signature: &str) -> bool {
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature).or_else(|_| STANDARD.decode(signature)) else {
        return false;
    };
    // The library copies into a fixed array; a wrong length must not get that far.
    if nonce.is_empty() || signature.len() != SIGNATURE_BYTES {
        return false;
    }
    nkeys::KeyPair::from_public_key(public_key).is_ok_and(|key| key.verify(nonce, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_the_key_passes() {
        let user = nkeys::KeyPair::new_user();
        let nonce = nonce().unwrap();
        assert_eq!(nonce.len(), 15);
        let raw = user.sign(nonce.as_bytes()).unwrap();
        let (url, standard) = (URL_SAFE_NO_PAD.encode(&raw), STANDARD.encode(&raw));
        assert!(verify(&user.public_key(), nonce.as_bytes(), &url));
        assert!(verify(&user.public_key(), nonce.as_bytes(), &standard));
        assert!(!verify(&nkeys::KeyPair::new_user().public_key(), nonce.as_bytes(), &url));
        for bad in ["", "AAAA", "!!", &url[..80]] {
            assert!(!verify(&user.public_key(), nonce.as_bytes(), bad));
        }
        assert!(!verify("U", nonce.as_bytes(), &url) && !verify(&user.public_key(), b"", &url));
    }
}
