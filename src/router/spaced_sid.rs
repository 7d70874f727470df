//! HOT PATH: what stands behind the subject in each delivery to a subscription.

const INLINE_MAX: usize = 22;

/// ` sid `, where it is read without another look into memory when the sid is no longer than that of ordinary clients.
pub enum SpacedSid {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Boxed(Box<[u8]>),
}

impl SpacedSid {
    pub fn new(sid: &[u8]) -> SpacedSid {
        let spaced = [b" ".as_slice(), sid, b" "].concat();
        if spaced.len() > INLINE_MAX {
            return SpacedSid::Boxed(spaced.into());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..spaced.len()].copy_from_slice(&spaced);
        SpacedSid::Inline { len: spaced.len() as u8, bytes }
    }

    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            SpacedSid::Inline { len, bytes } => {
                // To copy a fixed length is a few moves instead of a call.
                let end = out.len() + usize::from(*len);
                out.extend_from_slice(bytes);
                out.truncate(end);
            }
            SpacedSid::Boxed(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// What it takes elsewhere than in itself.
    pub fn boxed_bytes(&self) -> usize {
        match self {
            SpacedSid::Inline { .. } => 0,
            SpacedSid::Boxed(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_of_any_length_stand_between_spaces() {
        for len in [1, INLINE_MAX - 2, INLINE_MAX - 1, 4000] {
            let sid = vec![b'7'; len];
            let spaced = SpacedSid::new(&sid);
            let mut out = b"a".to_vec();
            spaced.append_to(&mut out);
            assert_eq!(out, [b"a ".as_slice(), &sid, b" "].concat());
            assert_eq!(spaced.boxed_bytes(), if len + 2 > INLINE_MAX { len + 2 } else { 0 });
        }
    }
}
