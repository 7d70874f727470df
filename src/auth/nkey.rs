//! Proof of an nkey (S-04): an Ed25519 signature over the nonce of INFO.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

const NONCE_RAW_BYTES: usize = 11;
const SIGNATURE_BYTES: usize = 64;
/// Makes the text begin with an X.
const CURVE_PREFIX: u8 = 23 << 3;
const BASE_32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

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

/// The text of a public curve key, `X...`: a prefix, the key and a checksum in base 32.
pub fn encode_curve(key: &[u8]) -> String {
    let mut raw = vec![CURVE_PREFIX];
    raw.extend_from_slice(key);
    raw.extend_from_slice(&checksum(&raw).to_le_bytes());
    let mut text = String::with_capacity(raw.len() * 8 / 5 + 1);
    for group in raw.chunks(5) {
        let mut bits = [0u8; 8];
        bits[3..3 + group.len()].copy_from_slice(group);
        let bits = u64::from_be_bytes(bits);
        let characters = (group.len() * 8).div_ceil(5);
        let character = |at: usize| BASE_32[(bits >> (35 - 5 * at) & 31) as usize];
        text.extend((0..characters).map(|at| char::from(character(at))));
    }
    text
}

/// CRC-16 (XMODEM), the checksum of all nkeys.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| sum << 1 ^ if sum & 0x8000 == 0 { 0 } else { 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_the_library_writes_them() {
        // The library writes no curve keys, so a user's key is taken apart and written again under the other prefix.
        let user = nkeys::KeyPair::new_user().public_key();
        let values = user.bytes().map(|byte| BASE_32.iter().position(|other| *other == byte).unwrap() as u128);
        let bits: Vec<bool> = values.flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1 == 1)).collect();
        let raw: Vec<u8> =
            bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect();
        assert_eq!(checksum(&raw[..33]).to_le_bytes(), raw[33..35]);
        let curve = encode_curve(&raw[1..33]);
        assert_eq!((curve.len(), curve.as_bytes()[0]), (56, b'X'));
        assert_eq!(curve[3..50], user[3..50]);
    }

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
