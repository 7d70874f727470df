//! Reads a segment that has no valid footer: finds its records, and tells a torn tail from damage. Pure.
//!
//! ```text
//! batch k bad, nothing after it vouches for it   -> torn tail: data ends at the first bad record
//! batch k bad, a later batch says k was durable  -> damage: the bad record is lost, the rest serves
//! batch k bad, the next segment says where this one ended -> damage
//! ```

use crate::format::batch::{BATCH_HEADER_BYTES, BatchHeader, FLAG_CLOSED};
use crate::format::record::{RECORD_HEADER_BYTES, RecordHeader, RecordRef, decode_header, record_position, verify};
use crate::format::segment::DATA_OFFSET;

/// The content of one segment file and what others know about it.
#[derive(Clone, Copy)]
pub(crate) struct ScanInput<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) segment: u32,
    pub(crate) seed: u32,
    pub(crate) block_bytes: u32,
    /// Where the data ends, when the seal slot or the next segment says so.
    pub(crate) known_end: Option<u32>,
}

/// A record, or what is left of one.
pub(crate) enum Found<'a> {
    Record(RecordRef<'a>),
    /// The checksum is wrong, but the header fits its surroundings.
    Damaged(RecordHeader),
}

/// What kind of bytes are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBytes {
    Batch,
    Record(Option<RecordHeader>),
    Truncated,
}

#[derive(Debug, Default)]
pub(crate) struct ScanOutcome {
    /// Where the data ends.
    pub(crate) end: u32,
    /// The number of the last batch, 0 when there is none.
    pub(crate) last_batch: u64,
    pub(crate) record_count: u32,
    /// The last batch is the closing one of a clean shutdown.
    pub(crate) closed: bool,
    /// The tail was cut inside a batch.
    pub(crate) torn: bool,
    /// What the first batch says about the segment before: number and end of data.
    pub(crate) previous: Option<(u32, u32)>,
    pub(crate) bad: Vec<(u32, BadBytes)>,
}

/// Visits every record in order.
pub(crate) fn scan(input: ScanInput<'_>, visit: &mut dyn FnMut(u32, Found<'_>)) -> ScanOutcome {
    let mut scanner = Scanner { input, visit, outcome: ScanOutcome::default() };
    scanner.run();
    scanner.outcome
}

/// The header of a segment's first batch, which knows where the segment before ended.
pub(crate) fn first_batch(page: &[u8], segment: u32, seed: u32) -> Option<BatchHeader> {
    BatchHeader::decode(page, segment, seed).filter(|header| header.number == 1)
}

struct Scanner<'a, 'v> {
    input: ScanInput<'a>,
    visit: &'v mut dyn FnMut(u32, Found<'_>),
    outcome: ScanOutcome,
}

/// The tail was cut here.
struct Torn(usize);

/// Whether bytes that are bad now were good once. Asked only when some are.
#[derive(Clone, Copy)]
enum Vouched {
    Yes,
    By { batch: u64, after: usize },
}

impl<'a> Scanner<'a, '_> {
    fn run(&mut self) {
        let mut at = DATA_OFFSET as usize;
        let mut end = at;
        let known_end = self.input.known_end.map(|end| end as usize);
        while known_end.is_none_or(|known| at < known) {
            let expected = self.outcome.last_batch + 1;
            match self.header_at(at).filter(|header| header.number >= expected) {
                Some(header) => match self.batch(at, &header) {
                    Ok(batch_end) => {
                        end = batch_end;
                        at = self.next_block(batch_end);
                    }
                    Err(Torn(cut)) => {
                        self.outcome.torn = true;
                        end = cut;
                        break;
                    }
                },
                None => match self.hole(at, expected) {
                    Some(after) => {
                        at = after;
                        end = after;
                    }
                    None => break,
                },
            }
        }
        self.outcome.end = known_end.unwrap_or(end) as u32;
    }

    fn batch(&mut self, at: usize, header: &BatchHeader) -> Result<usize, Torn> {
        if self.outcome.previous.is_none() && header.previous_segment != 0 {
            self.outcome.previous = Some((header.previous_segment, header.previous_end));
        }
        let whole = at + header.length as usize;
        let clip = self.input.known_end.map_or(self.input.bytes.len(), |end| self.input.bytes.len().min(end as usize));
        let vouched = Vouched::By { batch: header.number, after: self.next_block(whole) };
        self.records(at + BATCH_HEADER_BYTES, whole.min(clip), vouched, true)?;
        if whole > self.input.bytes.len() {
            if self.input.known_end.is_none() {
                return Err(Torn(clip));
            }
            self.bad(self.input.bytes.len(), BadBytes::Truncated);
        }
        self.outcome.last_batch = header.number;
        self.outcome.closed = header.flags & FLAG_CLOSED != 0;
        Ok(whole)
    }

    /// No valid batch at `at`. Returns where reading goes on, or `None` when the data ends here.
    fn hole(&mut self, at: usize, expected: u64) -> Option<usize> {
        let behind = at + self.block();
        let next = match (self.next_header(behind, expected), self.input.known_end) {
            // The next one may have been written before this one was synced: any later one may be the one that knows.
            (Some((next, header)), known) if known.is_some() || self.vouches(behind, expected) => {
                // The batches between are lost as batches; their records may be whole.
                self.outcome.last_batch = header.number - 1;
                next
            }
            (None, Some(known)) => known as usize,
            _ => return None,
        };
        self.outcome.closed = false;
        if at >= self.input.bytes.len() {
            self.bad(at, BadBytes::Truncated);
            return Some(next);
        }
        self.bad(at, BadBytes::Batch);
        let end = next.min(self.input.bytes.len());
        // Vouched for, so this cannot be torn.
        let _ = self.records(at + BATCH_HEADER_BYTES, end, Vouched::Yes, false);
        Some(next)
    }

    fn records(&mut self, start: usize, end: usize, vouched: Vouched, report: bool) -> Result<(), Torn> {
        let mut at = record_position(start);
        while at + RECORD_HEADER_BYTES <= end {
            if let Some(record) = self.verify_at(at, end) {
                self.outcome.record_count += 1;
                (self.visit)(at as u32, Found::Record(record));
                at = record_position(at + record.bytes().len());
                continue;
            }
            if !self.is_vouched(vouched) {
                return Err(Torn(at));
            }
            let believable = self.believable(at, end);
            if report || believable.is_some() {
                self.bad(at, BadBytes::Record(believable));
            }
            match believable {
                Some(header) => {
                    self.outcome.record_count += 1;
                    (self.visit)(at as u32, Found::Damaged(header));
                    at = record_position(at + header.record_bytes());
                }
                None => match self.resync(at, end) {
                    Some(next) => at = next,
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// The header of a bad record, if the record that should follow it is there.
    fn believable(&self, at: usize, end: usize) -> Option<RecordHeader> {
        let header = decode_header(&self.input.bytes[at..end]).ok()?.header;
        let after = at + header.record_bytes();
        let next = record_position(after);
        let fits = after == end || (next < end && self.verify_at(next, end).is_some());
        fits.then_some(header)
    }

    /// The next whole record after a bad one. Payloads cannot pose as records: the seed is secret.
    fn resync(&self, at: usize, end: usize) -> Option<usize> {
        let mut at = record_position(at + 1);
        while at + RECORD_HEADER_BYTES <= end {
            if self.verify_at(at, end).is_some() {
                return Some(at);
            }
            at = record_position(at + 1);
        }
        None
    }

    fn verify_at(&self, at: usize, end: usize) -> Option<RecordRef<'a>> {
        verify(self.input.bytes.get(at..end)?, self.input.seed).ok()
    }

    fn header_at(&self, at: usize) -> Option<BatchHeader> {
        BatchHeader::decode(self.input.bytes.get(at..)?, self.input.segment, self.input.seed)
    }

    /// The first valid header at or after `at` with a number of at least `number`.
    fn next_header(&self, at: usize, number: u64) -> Option<(usize, BatchHeader)> {
        let limit = self.input.known_end.map_or(self.input.bytes.len(), |end| end as usize);
        let blocks = (at..limit.min(self.input.bytes.len())).step_by(self.block());
        blocks.filter_map(|at| Some((at, self.header_at(at)?))).find(|(_, header)| header.number >= number)
    }

    fn is_vouched(&self, vouched: Vouched) -> bool {
        match vouched {
            Vouched::Yes => true,
            Vouched::By { batch, after } => self.input.known_end.is_some() || self.vouches(after, batch),
        }
    }

    /// True when some later batch says that batch `number` was durable.
    fn vouches(&self, at: usize, number: u64) -> bool {
        if self.header_at(at).is_some_and(|header| header.durable >= number) {
            return true;
        }
        let mut from = at;
        while let Some((found, header)) = self.next_header(from, number + 1) {
            if header.durable >= number {
                return true;
            }
            from = found + self.block();
        }
        false
    }

    fn bad(&mut self, at: usize, what: BadBytes) {
        self.outcome.bad.push((at as u32, what));
    }

    fn block(&self) -> usize {
        self.input.block_bytes as usize
    }

    fn next_block(&self, at: usize) -> usize {
        at.next_multiple_of(self.block())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::record::{GroupId, RecordKind, encode};

    const SEED: u32 = 11;

    /// Batches of two records each; every batch vouches for the one before.
    fn segment(batches: u64) -> Vec<u8> {
        segment_synced_late(batches, 1)
    }

    /// Every batch vouches only for those that lie so many before it.
    fn segment_synced_late(batches: u64, delay: u64) -> Vec<u8> {
        let mut bytes = vec![0; DATA_OFFSET as usize];
        for number in 1..=batches {
            let start = bytes.len();
            let mut batch = vec![0; 1024];
            let mut at = record_position(BATCH_HEADER_BYTES);
            let mut end = at;
            for index in [number * 2 - 1, number * 2] {
                let header =
                    RecordHeader { index, term: 1, ..RecordHeader::of_payload(GroupId(3), RecordKind::Entry, 40) };
                end = at + header.record_bytes();
                encode(&header, &[&[index as u8; 40]], SEED, &mut batch[at..end]);
                at = record_position(end);
            }
            let header = BatchHeader {
                segment: 7,
                number,
                durable: number.saturating_sub(delay),
                length: end as u32,
                record_count: 2,
                flags: 0,
                previous_segment: 0,
                previous_end: 0,
            };
            header.encode(SEED, &mut batch);
            bytes.extend(&batch[..end.next_multiple_of(512)]);
            assert!(start.is_multiple_of(512));
        }
        bytes
    }

    fn indexes(bytes: &[u8], known_end: Option<u32>) -> (Vec<u64>, ScanOutcome) {
        let input = ScanInput { bytes, segment: 7, seed: SEED, block_bytes: 512, known_end };
        let mut found = Vec::new();
        let outcome = scan(input, &mut |_, what| {
            if let Found::Record(record) = what {
                found.push(record.header.index);
            }
        });
        (found, outcome)
    }

    #[test]
    fn a_bad_last_batch_is_a_torn_tail_and_any_other_is_damage() {
        let whole = segment(4);
        assert_eq!(indexes(&whole, None).0, (1..=8).collect::<Vec<_>>());
        let mut torn = whole.clone();
        let last = whole.len() - 512;
        torn[last + 200] ^= 1;
        let (found, outcome) = indexes(&torn, None);
        assert_eq!((found, outcome.bad.len(), outcome.torn), ((1..=7).collect(), 0, true));
        // The next segment knows where this one ended.
        let (found, outcome) = indexes(&torn, Some(whole.len() as u32));
        assert_eq!((found, outcome.bad.len()), ((1..=7).collect(), 1));
        let mut damaged = whole.clone();
        damaged[last - 512 + 100] ^= 1;
        let (found, outcome) = indexes(&damaged, None);
        assert_eq!((found, outcome.bad.len(), outcome.torn), (vec![1, 2, 3, 4, 6, 7, 8], 1, false));
        // Without the batch header its records are still found.
        damaged.clone_from(&whole);
        damaged[last - 512] ^= 1;
        let (found, outcome) = indexes(&damaged, None);
        assert_eq!((found, outcome.bad), ((1..=8).collect(), vec![((last - 512) as u32, BadBytes::Batch)]));
    }

    /// The batch after the bad one did not know whether that was durable, and that of later ones it was ended the data there.
    #[test]
    fn a_bad_header_of_a_batch_that_only_a_later_one_vouches_for_is_damage() {
        let whole = segment_synced_late(8, 3);
        let third = DATA_OFFSET as usize + 2 * 512;
        let mut damaged = whole.clone();
        damaged[third] ^= 1;
        let (found, outcome) = indexes(&damaged, None);
        assert_eq!((found, outcome.last_batch), ((1..=16).collect(), 8));
        assert_eq!((outcome.bad, outcome.torn), (vec![(third as u32, BadBytes::Batch)], false));
        // Of the sixth batch nobody knows that it was durable, though something follows it.
        damaged.clone_from(&whole);
        damaged[third + 3 * 512] ^= 1;
        let (found, outcome) = indexes(&damaged, None);
        assert_eq!((found, outcome.last_batch, outcome.bad), ((1..=10).collect(), 5, vec![]));
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic_or_invent_records(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..20),
            cut in 0usize..20_000,
            known_end in proptest::option::of(0u32..20_000),
        ) {
            let mut bytes = segment(6);
            let length = bytes.len();
            for (at, value) in changes {
                bytes[at % length] = value;
            }
            bytes.truncate(cut);
            let (found, _) = indexes(&bytes, known_end);
            prop_assert!(found.iter().all(|index| (1..=12).contains(index)));
        }
    }
}
