//! Reads sealed segments again and again, slowly, so that damage is found while a replica can still repair it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Journal;
use super::shared::Shared;
use crate::format::batch::{BATCH_HEADER_BYTES, BatchHeader};
use crate::format::record::{record_position, verify};
use crate::format::segment::{DATA_OFFSET, HEADER_COPY_OFFSET, SEAL_OFFSET, SealSlot, SegmentHeader};
use crate::report::{Damage, DamageKind};
use crate::scan::{ScanInput, scan};
use crate::segment::Segment;
use crate::stats::add;

#[derive(Default)]
pub(crate) struct Scrub {
    last: Option<Instant>,
    /// Bytes that may be read by now. Below zero after a batch that was larger than what was left: it is paid back.
    allowance: i64,
    segment: Option<Arc<Segment>>,
    /// The segment done last.
    done: u32,
    offset: u32,
}

/// The allowance never grows beyond this: after a pause there is no burst.
const ALLOWANCE_MAX: i64 = 4 * 1024 * 1024;
/// So much is waited for before the next batch.
const ALLOWANCE_MIN: i64 = 64 * 1024;

impl Journal {
    /// Checks every sealed segment now, and returns all damages known.
    pub fn scrub_now(&self) -> io::Result<Vec<Damage>> {
        let segments: Vec<Arc<Segment>> = self.shared.segments.read().values().cloned().collect();
        for segment in segments.iter().filter(|segment| segment.is_sealed() && !segment.is_retired()) {
            check_fixed(&self.shared, segment)?;
            let mut offset = DATA_OFFSET;
            while offset < segment.data_end() && !segment.is_retired() {
                offset = check_batch(&self.shared, segment, offset)?;
            }
        }
        Ok(self.shared.damages.lock().clone())
    }
}

impl Scrub {
    /// Checks one batch, if the rate allows it.
    pub(crate) fn step(&mut self, shared: &Shared) -> io::Result<bool> {
        let rate = shared.options.scrub_bytes_per_second;
        if rate == 0 || shared.options.manual {
            return Ok(false);
        }
        let elapsed = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        self.last = Some(Instant::now());
        self.advance(shared, rate, elapsed)
    }

    /// Checks one batch, if what the time since the last call allows is enough for it.
    fn advance(&mut self, shared: &Shared, rate: u64, elapsed: Duration) -> io::Result<bool> {
        let gained = elapsed.as_secs_f64() * rate as f64;
        self.allowance = self.allowance.saturating_add(gained as i64).min(ALLOWANCE_MAX);
        if self.allowance < ALLOWANCE_MIN {
            return Ok(false);
        }
        let Some(segment) = self.current(shared) else { return Ok(false) };
        if self.offset == 0 {
            check_fixed(shared, &segment)?;
            self.offset = DATA_OFFSET;
        }
        if self.offset < segment.data_end() {
            let next = check_batch(shared, &segment, self.offset)?;
            self.allowance -= i64::from(next - self.offset);
            self.offset = next;
        } else {
            segment.close_file();
            self.done = segment.number;
            self.segment = None;
        }
        Ok(true)
    }

    fn current(&mut self, shared: &Shared) -> Option<Arc<Segment>> {
        if let Some(segment) = self.segment.as_ref().filter(|segment| !segment.is_retired()) {
            return Some(segment.clone());
        }
        let segments = shared.segments.read();
        let sealed = |(_, segment): &(&u32, &Arc<Segment>)| segment.is_sealed() && !segment.is_retired();
        let next = segments.range(self.done.saturating_add(1)..).find(sealed);
        if next.is_none() {
            self.done = 0;
        }
        self.segment = next.map(|(_, segment)| segment.clone());
        self.offset = 0;
        self.segment.clone()
    }
}

/// Headers, seal slot and footer.
fn check_fixed(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let Some(pages) = read(shared, segment, 0, DATA_OFFSET as usize)? else { return Ok(()) };
    let first = SegmentHeader::decode(&pages);
    let second = SegmentHeader::decode(&pages[HEADER_COPY_OFFSET as usize..]);
    if first != Some(segment.header) || second != Some(segment.header) {
        note(shared, segment, Damage::at(segment.number, 0, DamageKind::Header));
    }
    match SealSlot::decode(&pages[SEAL_OFFSET as usize..], segment.seed).flatten() {
        Some(slot) => {
            let Some(directory) = read(shared, segment, slot.footer_offset, slot.directory_length as usize)? else {
                return Ok(());
            };
            if crate::format::checksum(segment.seed, &directory) != slot.directory_checksum {
                note(shared, segment, Damage::at(segment.number, slot.footer_offset, DamageKind::Footer));
            }
        }
        None => note(shared, segment, Damage::at(segment.number, SEAL_OFFSET, DamageKind::SealSlot)),
    }
    Ok(())
}

/// Checks the batch at an offset and returns where the next one starts.
fn check_batch(shared: &Shared, segment: &Segment, offset: u32) -> io::Result<u32> {
    let end = segment.data_end();
    let checked = match read(shared, segment, offset, BATCH_HEADER_BYTES)? {
        Some(head) => BatchHeader::decode(&head, segment.number, segment.seed),
        None => return Ok(end),
    };
    let Some(header) = checked else {
        check_whole(shared, segment)?;
        return Ok(end);
    };
    // A torn tail was cut inside its last batch.
    let length = header.length.min(end.saturating_sub(offset)) as usize;
    let Some(bytes) = read(shared, segment, offset, length)? else { return Ok(end) };
    add(&shared.counters.scrubbed_bytes, bytes.len());
    let mut at = record_position(BATCH_HEADER_BYTES);
    while at < bytes.len() {
        match verify(&bytes[at..], segment.seed) {
            Ok(record) => at = record_position(at + record.bytes().len()),
            Err(_) => {
                check_whole(shared, segment)?;
                return Ok(end);
            }
        }
    }
    Ok((offset + length as u32).next_multiple_of(segment.header.block_bytes))
}

/// Something is bad: reads the segment as a start would, to say exactly what.
fn check_whole(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let length = segment.length.load(Ordering::Acquire) as usize;
    let Some(bytes) = read(shared, segment, 0, length)? else { return Ok(()) };
    let input = ScanInput {
        bytes: &bytes,
        segment: segment.number,
        seed: segment.seed,
        block_bytes: segment.header.block_bytes,
        known_end: Some(segment.data_end()),
    };
    let outcome = scan(input, &mut |_, _| {});
    for (offset, what) in outcome.bad {
        note(shared, segment, Damage::of(segment.number, offset, &what));
    }
    Ok(())
}

/// Bytes of the file, around the page cache where that is possible. `None` when the segment is gone or unreadable.
fn read(shared: &Shared, segment: &Segment, offset: u32, length: usize) -> io::Result<Option<bytes::Bytes>> {
    match shared.read_range(segment, offset, length) {
        Ok(bytes) if bytes.len() == length => Ok(Some(bytes)),
        Ok(_) => {
            segment.set_unmappable();
            note(shared, segment, Damage::at(segment.number, offset, DamageKind::Truncated));
            Ok(None)
        }
        Err(_) if segment.is_retired() => Ok(None),
        Err(_) => {
            segment.set_unmappable();
            note(shared, segment, Damage::at(segment.number, offset, DamageKind::Unreadable));
            Ok(None)
        }
    }
}

fn note(shared: &Shared, segment: &Segment, damage: Damage) {
    if !segment.is_retired() {
        shared.note_damage(damage);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::record::{GroupId, RecordHeader, RecordKind};
    use crate::io::SimIo;
    use crate::journal::{AppendClass, Urgency};
    use crate::options::JournalOptions;

    const BATCH_BYTES: usize = 1024 * 1024;

    /// A batch that was larger than what the rate had allowed was read all the same and the rest forgotten: with large
    /// batches the scrubber read without a pause.
    #[test]
    fn the_scrubber_keeps_to_its_rate_whatever_the_size_of_batches() {
        let options = JournalOptions {
            segment_bytes: Some(4 * 1024 * 1024),
            first_segment_bytes: 4 * 1024 * 1024,
            manual: true,
            ..JournalOptions::default()
        };
        let io = Arc::new(SimIo::new());
        let journal = Journal::open(io, Path::new("journal"), options, &mut |_| {}).unwrap().journal;
        for index in 1..=20 {
            let blank = RecordHeader::of_payload(GroupId(5), RecordKind::Entry, BATCH_BYTES);
            let header = RecordHeader { index, term: 1, ..blank };
            let mut appender = journal.append(AppendClass::Message).unwrap();
            appender.record(&header, &[&vec![7; BATCH_BYTES]]);
            appender.finish(Urgency::Wake);
            journal.drive();
        }
        let (mut scrub, rate) = (Scrub::default(), 256 * 1024);
        let seconds = 60;
        for _ in 0..seconds * 100 {
            scrub.advance(&journal.shared, rate, Duration::from_millis(10)).unwrap();
        }
        let allowed = rate * seconds + BATCH_BYTES as u64 + 4096;
        let read = journal.stats().scrubbed_bytes;
        assert!(read <= allowed, "{read} bytes read in {seconds} s at {rate} a second");
        assert!(read >= allowed / 2, "{read} bytes are too few: it goes on");
    }
}
