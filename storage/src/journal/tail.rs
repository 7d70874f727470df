//! Recent batches in memory: direct writes leave nothing in the page cache, and most readers read what was just
//! written.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::location::Location;

type Place = (u32, u32);

/// A larger batch is never copied: that would take longer than it takes to fill a buffer anew.
const COPIED_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Tail {
    state: RwLock<TailState>,
    bytes_max: usize,
}

#[derive(Default)]
struct TailState {
    batches: BTreeMap<Place, Bytes>,
    /// Durable ones, oldest first, with the memory that each holds.
    durable: VecDeque<(Place, usize)>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { state: RwLock::default(), bytes_max }
    }

    /// Adds a batch that is about to be written. It stays at least until it is durable.
    pub(crate) fn insert(&self, segment: u32, base: u32, bytes: Bytes) {
        self.state.write().batches.insert((segment, base), bytes);
    }

    /// From now on the batch may be evicted. `capacity` is the memory behind it.
    pub(crate) fn mark_durable(&self, segment: u32, base: u32, capacity: usize) {
        let mut state = self.state.write();
        let place = (segment, base);
        let mut held = capacity;
        if let Some(bytes) = state.batches.get_mut(&place)
            && bytes.len() <= COPIED_BYTES_MAX
            && bytes.len() * 4 <= capacity
        {
            // A small batch must not hold a large buffer.
            *bytes = Bytes::copy_from_slice(bytes);
            held = bytes.len();
        }
        state.durable.push_back((place, held));
        state.bytes += held;
        while state.bytes > self.bytes_max {
            let Some((oldest, held)) = state.durable.pop_front() else { break };
            state.bytes -= held;
            state.batches.remove(&oldest);
        }
    }

    /// Lets go of a durable batch that holds nothing worth its memory.
    pub(crate) fn remove(&self, segment: u32, base: u32) {
        self.state.write().batches.remove(&(segment, base));
    }

    /// The bytes from a location to the end of its batch.
    pub(crate) fn get(&self, location: Location) -> Option<Bytes> {
        let (start, bytes) = self.batch(location)?;
        Some(bytes.slice((location.offset - start) as usize..))
    }

    /// The batch around a location, and where it starts.
    pub(crate) fn batch(&self, location: Location) -> Option<(u32, Bytes)> {
        let state = self.state.read();
        let (place, bytes) = state.batches.range(..=(location.segment, location.offset)).next_back()?;
        let inside = place.0 == location.segment && ((location.offset - place.1) as usize) < bytes.len();
        inside.then(|| (place.1, bytes.clone()))
    }

    /// Forgets the durable batch around a location, whose bytes have changed on disk.
    pub(crate) fn forget_batch(&self, location: Location) {
        let mut state = self.state.write();
        let before = state.batches.range(..=(location.segment, location.offset)).next_back().map(|(place, _)| *place);
        let TailState { batches, durable, bytes } = &mut *state;
        durable.retain(|(place, held)| {
            let changed = Some(*place) == before && place.0 == location.segment;
            if changed {
                batches.remove(place);
                *bytes -= held;
            }
            !changed
        });
    }

    /// Forgets durable batches of a segment, which is dead.
    pub(crate) fn forget(&self, segment: u32) {
        let mut state = self.state.write();
        let TailState { batches, durable, bytes } = &mut *state;
        durable.retain(|(place, held)| {
            if place.0 == segment {
                batches.remove(place);
                *bytes -= held;
            }
            place.0 != segment
        });
    }
}
