//! A checkpoint's body in parts, each its own record: `part u32 | parts u32 | bytes`.

use bytes::{Bytes, BytesMut};

use crate::directory::PART_HEAD_BYTES;

/// Receives a part's head and its pieces.
pub(crate) type EmitPart<'e> = &'e mut dyn FnMut(&[u8], &[&[u8]]);

/// Splits a body into parts and hands each one's head and pieces to `emit`. An empty body is one empty part.
pub(crate) fn encode_parts(body: &[&[u8]], part_bytes: usize, emit: EmitPart<'_>) {
    let total: usize = body.iter().map(|piece| piece.len()).sum();
    let parts = total.div_ceil(part_bytes).max(1);
    let mut pieces = body.iter();
    let mut rest: &[u8] = &[];
    for part in 0..parts {
        let mut wanted = part_bytes.min(total - part * part_bytes);
        let mut taken = Vec::new();
        while wanted > 0 {
            if rest.is_empty() {
                match pieces.next() {
                    Some(piece) => rest = piece,
                    None => break,
                }
            }
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            taken.push(now);
            wanted -= now.len();
            rest = later;
        }
        let mut head = [0; PART_HEAD_BYTES];
        head[..4].copy_from_slice(&(part as u32).to_le_bytes());
        head[4..].copy_from_slice(&(parts as u32).to_le_bytes());
        emit(&head, &taken);
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
            let (left, right) = body.split_at(body.len() / 3);
            let mut parts = Vec::new();
            encode_parts(&[left, right], 10, &mut |head, pieces| {
                parts.push(Bytes::from([&[head], pieces].concat().concat()));
            });
            assert_eq!(parts.len(), usize::from(length).div_ceil(10).max(1));
            assert_eq!(join_parts(&parts).unwrap(), body);
        }
    }
}
