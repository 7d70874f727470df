//! HOT PATH: no allocation per message, no lock but the queue's own, no log above trace.
//!
//! What waits to be written. Appenders encode straight into the gathering batch, whose place on disk is already known;
//! the writer takes whole batches.
//!
//! ```text
//! | segment n: batch (in flight) | batch (closed) | batch (gathering) |        free        |
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::feed::Unfed;
use super::records::Records;
use super::writer::Writer;
use crate::aligned::{AlignedBuffer, BufferPool};
use crate::error::JournalError;
use crate::format::batch::BATCH_HEADER_BYTES;
use crate::format::checksum_seed;
use crate::format::record::{GroupId, RecordHeader, RecordKind, RecordRef, encode, record_position};
use crate::format::segment::DATA_OFFSET;
use crate::location::Location;

/// First size of a batch buffer.
const BUFFER_BYTES: usize = 64 * 1024;

/// A batch that takes no more records.
pub(crate) struct ClosedBatch {
    pub(crate) buffer: AlignedBuffer,
    /// Header and records.
    pub(crate) length: usize,
    pub(crate) record_count: u32,
    pub(crate) segment: u32,
    pub(crate) capacity: u32,
    pub(crate) base: u32,
    pub(crate) number: u64,
    pub(crate) flags: u32,
    /// It holds parts of a checkpoint that is fed.
    pub(crate) is_fed: bool,
    /// For a segment's first batch: the segment before and where its data ends.
    pub(crate) previous: (u32, u32),
}

/// Where the next batch goes.
pub(crate) struct Placement {
    pub(crate) segment: u32,
    pub(crate) capacity: u32,
    pub(crate) position: u32,
    pub(crate) seed: u32,
    /// Number of the last batch placed.
    pub(crate) batch_number: u64,
    /// Where the data ends.
    pub(crate) data_end: u32,
    /// The segment before and where its data ends, for the first batch.
    pub(crate) previous: (u32, u32),
}

/// Whether records are taken.
#[derive(Clone, Debug)]
pub(crate) enum QueueState {
    Running,
    Poisoned(JournalError),
    Closed,
}

pub(crate) struct Queue {
    pub(crate) journal: u64,
    pub(crate) block_bytes: u32,
    pub(crate) batch_bytes_max: usize,
    /// Capacity of a new segment.
    pub(crate) segment_bytes: u32,
    pub(crate) state: QueueState,
    pub(crate) placement: Placement,
    pub(crate) closed: VecDeque<ClosedBatch>,
    buffer: Option<AlignedBuffer>,
    pool: Arc<BufferPool>,
    length: usize,
    limit: usize,
    record_count: u32,
    /// Bytes closed or in flight, but for those that are fed.
    bytes_waiting: usize,
    /// Checkpoints with parts that are not queued yet; those of the first one come next.
    pub(crate) unfed: VecDeque<Unfed>,
    /// Bytes of such parts, closed or in flight.
    bytes_fed: usize,
    /// What is being encoded is fed.
    feeds: bool,
    /// A segment prepared in advance: its number and capacity.
    pub(crate) next: Option<(u32, u32)>,
    pub(crate) next_number: u32,
    /// Segments that batches were placed in, but that were not prepared yet.
    pub(crate) requested: Vec<(u32, u32)>,
    /// Segments with data, for the list at the start of each new one.
    pub(crate) with_data: Vec<u32>,
    pub(crate) next_control: u64,
    /// Something waits that is not lazy.
    pub(crate) has_urgent: bool,
    /// Since when a lazy record waits.
    pub(crate) lazy_since: Option<Instant>,
    /// The right to write, unless somebody is writing.
    pub(crate) writer: Option<Writer>,
    /// The writer's thread waits to be notified.
    pub(crate) writer_sleeps: bool,
    /// It wakes by itself soon, if it sleeps.
    pub(crate) writer_has_alarm: bool,
    pub(crate) closing: bool,
    /// The disk is full: see `Journal::append`.
    pub(crate) full: bool,
    /// The first segment that was begun on the full disk; this one and all after it are of the reserve.
    pub(crate) reserve_from: Option<u32>,
    /// It had no room for the last write.
    pub(crate) write_refused: bool,
    pub(crate) now: i64,
}

impl Queue {
    pub(crate) fn new(journal: u64, block_bytes: u32, placement: Placement, pool: Arc<BufferPool>) -> Self {
        Self {
            journal,
            block_bytes,
            batch_bytes_max: 4 * 1024 * 1024,
            segment_bytes: placement.capacity,
            state: QueueState::Running,
            placement,
            closed: VecDeque::new(),
            buffer: None,
            pool,
            length: 0,
            limit: 0,
            record_count: 0,
            bytes_waiting: 0,
            unfed: VecDeque::new(),
            bytes_fed: 0,
            feeds: false,
            next: None,
            next_number: 1,
            requested: Vec::new(),
            with_data: Vec::new(),
            next_control: 1,
            has_urgent: false,
            lazy_since: None,
            writer: Some(Writer::default()),
            writer_sleeps: false,
            writer_has_alarm: false,
            closing: false,
            full: false,
            reserve_from: None,
            write_refused: false,
            now: 0,
        }
    }

    /// Bytes that wait to become durable, but for those that are fed.
    pub(crate) fn bytes_queued(&self) -> usize {
        self.bytes_waiting + if self.record_count > 0 { self.length } else { 0 }
    }

    /// Bytes of gathered records.
    pub(crate) fn bytes_gathered(&self) -> usize {
        if self.record_count > 0 { self.length } else { 0 }
    }

    /// True when only one batch waits, no checkpoint does, and the batch is this small.
    pub(crate) fn gathers_at_most(&self, records: u32, bytes: usize) -> bool {
        let is_alone = self.closed.is_empty() && self.unfed.is_empty();
        is_alone && self.record_count <= records && self.bytes_gathered() <= bytes
    }

    /// True when nobody writes, and the writer's thread waits to be notified.
    pub(crate) fn writer_rests(&self) -> bool {
        self.writer_sleeps && self.writer.is_some()
    }

    /// True when nothing waits to be taken or fed.
    pub(crate) fn is_empty(&self) -> bool {
        self.record_count == 0 && self.closed.is_empty() && self.unfed.is_empty()
    }

    /// True when parts wait for the writer already.
    pub(crate) fn is_fed(&self) -> bool {
        self.bytes_fed > 0
    }

    /// Queues parts of the first checkpoint that waits for that, with as many bytes if there are so many, and one part at
    /// least. They get batches of their own.
    pub(crate) fn feed(&mut self, bytes: usize) {
        self.close_gathering(0);
        self.feeds = true;
        while let Some((header, head, part)) = self.unfed.front_mut().and_then(Unfed::next) {
            self.record(&header, &[&head, &part]);
            if self.bytes_fed + self.bytes_gathered() >= bytes {
                break;
            }
        }
        self.close_gathering(0);
        self.feeds = false;
        if self.unfed.front().is_some_and(|unfed| unfed.parts.is_done()) {
            self.unfed.pop_front();
        }
    }

    /// A batch that was taken is durable.
    pub(crate) fn batch_done(&mut self, bytes: usize, is_fed: bool) {
        if is_fed {
            self.bytes_fed -= bytes;
        } else {
            self.bytes_waiting -= bytes;
        }
    }

    /// Bytes that the current segment still takes.
    pub(crate) fn segment_remaining(&self) -> u32 {
        let used = self.placement.position as usize + if self.record_count > 0 { self.length } else { 0 };
        (self.placement.capacity as usize).saturating_sub(used) as u32
    }

    /// True when the segment after the current one is needed before long.
    pub(crate) fn is_half_way(&self) -> bool {
        self.segment_remaining() < self.placement.capacity / 2
    }

    /// True when the current segment is of the reserve.
    pub(crate) fn is_in_reserve(&self) -> bool {
        self.reserve_from.is_some_and(|from| from <= self.placement.segment)
    }

    /// Encodes one record into the gathering batch.
    #[inline]
    pub(crate) fn record(&mut self, header: &RecordHeader, parts: &[&[u8]]) -> Location {
        let bytes = header.record_bytes();
        let mut at = record_position(self.length);
        if self.record_count == 0 || at + bytes > self.limit {
            self.make_room(bytes);
            at = record_position(self.length);
        }
        let end = at + bytes;
        let buffer = self.buffer.get_or_insert_with(|| AlignedBuffer::new(BUFFER_BYTES));
        if end > buffer.len() {
            buffer.grow(self.length, end);
        }
        // Buffers are reused: what lies between records must not be old.
        buffer[self.length..at].fill(0);
        encode(header, parts, self.placement.seed, &mut buffer[at..end]);
        self.length = end;
        self.record_count += 1;
        Location { segment: self.placement.segment, offset: self.placement.position + at as u32 }
    }

    /// Starts a batch that `bytes` fit into, closing the present one and changing the segment if need be.
    #[cold]
    fn make_room(&mut self, bytes: usize) {
        self.close_gathering(0);
        let needed = BATCH_HEADER_BYTES + bytes;
        // The last block is for the closing marker.
        let usable = |placement: &Placement, block: u32| {
            (placement.capacity as usize).saturating_sub(placement.position as usize + block as usize)
        };
        if usable(&self.placement, self.block_bytes) < needed {
            self.rotate(needed);
            if self.record_count > 0 && record_position(self.length) + bytes <= self.limit {
                return;
            }
            self.close_gathering(0);
        }
        let usable = usable(&self.placement, self.block_bytes);
        self.begin_batch(usable.min(self.batch_bytes_max.max(needed)));
    }

    fn begin_batch(&mut self, limit: usize) {
        if self.buffer.is_none() {
            self.buffer = Some(self.pool.take(BUFFER_BYTES));
        }
        self.length = BATCH_HEADER_BYTES;
        self.limit = limit;
        self.record_count = 0;
    }

    /// Goes on in the next segment, which begins with the list of segments that hold data.
    fn rotate(&mut self, needed: usize) {
        let list: Vec<u8> = self.with_data.iter().flat_map(|number| number.to_le_bytes()).collect();
        let list_bytes = BATCH_HEADER_BYTES + 64 + list.len();
        let overhead = DATA_OFFSET as usize + list_bytes + 3 * self.block_bytes as usize;
        let required = (overhead + needed).next_multiple_of(4096) as u32;
        let (number, capacity) = self.next.take().unwrap_or_else(|| {
            let number = self.next_number;
            self.next_number += 1;
            self.requested.push((number, self.segment_bytes.max(required)));
            (number, self.segment_bytes)
        });
        self.reserve_from = self.reserve_from.or(Some(number)).filter(|_| self.full);
        self.placement = Placement {
            segment: number,
            capacity: capacity.max(required),
            position: DATA_OFFSET,
            seed: checksum_seed(self.journal, number),
            batch_number: 0,
            data_end: DATA_OFFSET,
            previous: (self.placement.segment, self.placement.data_end),
        };
        let header = RecordHeader {
            sequence: self.next_control,
            time: self.now,
            ..RecordHeader::of_payload(GroupId::JOURNAL, RecordKind::Segments, list.len())
        };
        self.next_control += 1;
        self.with_data.push(number);
        let usable = (self.placement.capacity - self.placement.position - self.block_bytes) as usize;
        self.begin_batch(usable.min(self.batch_bytes_max.max(list_bytes)));
        // Recursion of one level: a fresh batch has room for the list.
        self.record_count = 1;
        self.record(&header, &[&list]);
        self.record_count = 1;
    }

    /// Closes the gathering batch, if it holds records.
    pub(crate) fn close_gathering(&mut self, flags: u32) {
        if self.record_count == 0 {
            return;
        }
        let Some(buffer) = self.buffer.take() else { return };
        let (length, record_count) = (self.length, self.record_count);
        self.length = 0;
        self.limit = 0;
        self.record_count = 0;
        self.close(buffer, length, record_count, flags);
    }

    /// Closes a batch without records. False when the segment has no room for it.
    pub(crate) fn close_marker(&mut self, flags: u32) -> bool {
        self.close_gathering(0);
        if self.placement.position + self.block_bytes > self.placement.capacity || self.placement.batch_number == 0 {
            return false;
        }
        let buffer = self.pool.take(BUFFER_BYTES);
        self.close(buffer, BATCH_HEADER_BYTES, 0, flags);
        true
    }

    fn close(&mut self, mut buffer: AlignedBuffer, length: usize, record_count: u32, flags: u32) {
        let block = self.block_bytes as usize;
        let padded = length.next_multiple_of(block);
        if padded > buffer.len() {
            buffer.grow(length, padded);
        }
        buffer[length..padded].fill(0);
        let placement = &mut self.placement;
        placement.batch_number += 1;
        self.closed.push_back(ClosedBatch {
            buffer,
            length,
            record_count,
            segment: placement.segment,
            capacity: placement.capacity,
            base: placement.position,
            number: placement.batch_number,
            flags,
            is_fed: self.feeds,
            previous: if placement.batch_number == 1 { placement.previous } else { (0, 0) },
        });
        placement.data_end = placement.position + length as u32;
        placement.position += padded as u32;
        if self.feeds {
            self.bytes_fed += padded;
        } else {
            self.bytes_waiting += padded;
        }
    }

    /// The next batch to write, if there is any; `all` takes what is still gathering too.
    pub(crate) fn take(&mut self, all: bool) -> Option<ClosedBatch> {
        if self.closed.is_empty() && all {
            self.close_gathering(0);
        }
        if self.closed.len() <= 1 && self.record_count == 0 {
            self.has_urgent = false;
            self.lazy_since = None;
        }
        self.closed.pop_front()
    }

    /// The records that no writer has taken yet, newest batch last.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Location, RecordRef<'_>)> {
        let closed =
            self.closed.iter().flat_map(|batch| Records::new(&batch.buffer[..batch.length], batch.segment, batch.base));
        let gathering = self.buffer.as_ref().filter(|_| self.record_count > 0);
        let placement = &self.placement;
        closed.chain(
            gathering
                .into_iter()
                .flat_map(|buffer| Records::new(&buffer[..self.length], placement.segment, placement.position)),
        )
    }
}
