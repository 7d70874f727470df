//! A checkpoint's body in parts, each its own record: `part u32 | parts u32 | bytes`.

use bytes::{Bytes, BytesMut};

use crate::directory::PART_HEAD_BYTES;

/// Splits a body into parts: gives each one's head and bytes. An empty body is one empty part.
pub(crate) struct Parts {
    body: Bytes,
    part_bytes: usize,
    next: usize,
    total: usize,
}

impl Parts {
    pub(crate) fn new(body: Bytes, part_bytes: usize) -> Self {
        let total = body.len().div_ceil(part_bytes).max(1);
        Self { body, part_bytes, next: 0, total }
    }

    /// How many parts the body has.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next == self.total
    }

    /// Bytes of the body that no part has had yet.
    pub(crate) fn bytes_left(&self) -> usize {
        self.body.len()
    }
}

impl Iterator for Parts {
    type Item = ([u8; PART_HEAD_BYTES], Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done() {
            return None;
        }
        let mut head = [0; PART_HEAD_BYTES];
        head[..4].copy_from_slice(&(self.next as u32).to_le_bytes());
        head[4..].copy_from_slice(&(self.total as u32).to_le_bytes());
        self.next += 1;
        Some((head, self.body.split_to(self.part_bytes.min(self.body.len()))))
    }
}

/// Puts the parts' payloads together again.
pub(crate) fn join_parts(parts: &[Bytes]) -> Option<Bytes> {
    if let [only] = parts {
        return (only.len() >= PART_HEAD_BYTES).then(|| only.slice(PART_HEAD_BYTES..));
    }
    let mut body = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        body.extend_from_slice(part.get(PART_HEAD_BYTES..)?);
    }
    Some(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_together_again() {
        for length in [0, 1, 9, 10, 11, 35] {
            let body: Vec<u8> = (0..length).collect();
            let parts = Parts::new(Bytes::from(body.clone()), 10);
            assert_eq!(parts.total(), usize::from(length).div_ceil(10).max(1));
            let parts: Vec<Bytes> = parts.map(|(head, part)| Bytes::from([&head, &part[..]].concat())).collect();
            assert_eq!(parts.len(), usize::from(length).div_ceil(10).max(1));
            assert_eq!(join_parts(&parts).unwrap(), body);
        }
    }
}
