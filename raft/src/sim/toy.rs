//! A toy machine to try groups with: counters by key, and a rolling hash of everything applied.

use super::rng::Rng;
use super::world::Workload;
use crate::election::mix;
use crate::ids::GroupId;
use crate::machine::{EntryRef, Machine, RestoreError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toy {
    applied: u64,
    hash: u64,
    counters: BTreeMap<u8, u64>,
}

impl Machine for Toy {
    /// The counter after it was increased.
    type Effect = u64;
    type Source = Bytes;
    type Sink = Vec<u8>;

    fn apply(&mut self, entry: EntryRef<'_>) -> u64 {
        assert!(entry.index > self.applied, "entry {} applied after {}", entry.index, self.applied);
        self.applied = entry.index;
        let payload = entry.payload.iter().fold(entry.term, |hash, byte| mix(hash ^ u64::from(*byte)));
        self.hash = mix(self.hash ^ payload);
        let counter = self.counters.entry(entry.payload[0]).or_default();
        *counter += 1;
        *counter
    }

    fn checkpoint(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.applied);
        out.put_u64_le(self.hash);
        for (key, count) in &self.counters {
            out.put_u8(*key);
            out.put_u64_le(*count);
        }
        out.freeze()
    }

    fn restore(&mut self, mut checkpoint: &[u8]) -> Result<(), RestoreError> {
        let mut restored = Toy {
            applied: checkpoint.try_get_u64_le().map_err(|_| RestoreError)?,
            hash: checkpoint.try_get_u64_le().map_err(|_| RestoreError)?,
            ..Default::default()
        };
        while !checkpoint.is_empty() {
            let key = checkpoint.get_u8();
            restored.counters.insert(key, checkpoint.try_get_u64_le().map_err(|_| RestoreError)?);
        }
        *self = restored;
        Ok(())
    }

    fn snapshot(&self) -> Bytes {
        self.checkpoint()
    }

    fn install(&mut self, content: Vec<u8>) -> Result<(), RestoreError> {
        self.restore(&content)
    }

    fn state_hash(&self) -> u64 {
        let counters =
            self.counters.iter().fold(self.hash, |hash, (key, count)| mix(hash ^ mix(*count ^ u64::from(*key))));
        mix(counters ^ self.applied)
    }
}

/// Increases counters, each time with different bytes.
#[derive(Clone, Debug, Default)]
pub struct ToyWorkload {
    proposals: u64,
}

impl Workload for ToyWorkload {
    type Machine = Toy;

    fn machine(&mut self, _group: GroupId) -> Toy {
        Toy::default()
    }

    fn payload(&mut self, _group: GroupId, _leader: &Toy, rng: &mut Rng) -> Option<Bytes> {
        self.proposals += 1;
        let mut payload = BytesMut::new();
        payload.put_u8(rng.below(8) as u8);
        payload.put_u64_le(self.proposals);
        payload.put_bytes(7, rng.below(60) as usize);
        Some(payload.freeze())
    }
}
