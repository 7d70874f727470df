//! Messages that lie one after another, and share their memory with the views that readers hold.

use bytes::{BufMut, Bytes, BytesMut};

#[derive(Default)]
pub(super) struct Chunk {
    pub(super) slots: Vec<Slot>,
    pub(super) released: usize,
    pub(super) bytes_live: usize,
    pub(super) bytes_held: usize,
}

pub(super) struct Slot {
    pub(super) sequence: u64,
    /// `None` once released.
    pub(super) record: Option<Bytes>,
}

impl Chunk {
    pub(super) fn find(&self, sequence: u64) -> Result<usize, usize> {
        // Without gaps the place is known.
        let guess = self.slots.first().map_or(0, |first| sequence.saturating_sub(first.sequence)) as usize;
        match self.slots.get(guess) {
            Some(slot) if slot.sequence == sequence => Ok(guess),
            _ => self.slots.binary_search_by_key(&sequence, |slot| slot.sequence),
        }
    }

    /// The size of the message that was released.
    pub(super) fn release(&mut self, sequence: u64) -> Option<usize> {
        let at = self.find(sequence).ok()?;
        let record = self.slots[at].record.take()?;
        self.released += 1;
        self.bytes_live -= record.len();
        Some(record.len())
    }

    pub(super) fn copy_together(&mut self) {
        let mut room = BytesMut::with_capacity(self.bytes_live);
        self.slots.retain(|slot| slot.record.is_some());
        self.slots.shrink_to_fit();
        for slot in &mut self.slots {
            if let Some(record) = &mut slot.record {
                room.put_slice(record);
                *record = room.split().freeze();
            }
        }
        self.released = 0;
        self.bytes_held = self.bytes_live;
    }
}
