//! Secure erase: overwrites a message in place, and stays readable as an erased record throughout.
//!
//! A header never crosses a sector, and the checksum of an erased record covers its header only. So the header goes
//! first, durably; whatever a crash leaves of the content afterwards, the record is erased and valid.

use std::io;
use std::time::Duration;

use super::Journal;
use super::shared::Shared;
use crate::aligned::AlignedBuffer;
use crate::directory::group::Place;
use crate::error::{EraseError, ReadError};
use crate::format::record::{GroupId, RECORD_HEADER_BYTES, encode_erased};
use crate::io::{IoFile, OpenMode};
use crate::location::Location;
use crate::segment::Segment;

/// How often a record is looked for that moves at the same time.
const LOOKUPS_MAX: usize = 16;

impl Journal {
    /// Overwrites subject, headers and payload of a message with zeros, durably, wherever it is stored. Waits for it
    /// to be durable first. Bytes in files that were recycled before, and not overwritten since, are not reached.
    ///
    /// Takes as long as the disk does. Unless the message is known to be durable, the caller may hold no lock that the sink
    /// takes: what the sink is waiting for would never be written. The sink is not called on this thread.
    ///
    /// # Errors
    /// After [`EraseError::Read`] the journal goes on, and the same erase may be tried again.
    pub fn erase_message(&self, group: GroupId, sequence: u64) -> Result<(), EraseError> {
        let shared = &*self.shared;
        for _ in 0..LOOKUPS_MAX {
            let record = self.read_message(group, sequence)?;
            let places = shared.places(group, sequence);
            if places.is_empty() && !record.is_erased() {
                // Still in the queue.
                self.settle();
                continue;
            }
            let mut moved = false;
            for location in places {
                while !shared.is_written(location) {
                    if let Some(error) = shared.poisoned() {
                        return Err(error.into());
                    }
                    self.settle();
                }
                match shared.erase_at(location, group, sequence) {
                    Ok(()) => {}
                    Err(Unerased::Moved) => moved = true,
                    Err(Unerased::Unread(error)) => return Err(error.into()),
                    Err(Unerased::Unwritten(error)) => {
                        return Err(shared.poison("erasing a message", &error, &[]).into());
                    }
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err(ReadError::NotFound.into())
    }

    fn settle(&self) {
        if self.shared.options.manual {
            self.drive();
        } else {
            self.shared.writer_wake.notify_all();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Shared {
    /// Every place that holds the message.
    fn places(&self, group: GroupId, sequence: u64) -> Vec<Location> {
        let mut places = Vec::new();
        for nth in 0.. {
            let place = self.directory.read().group(group).and_then(|group| group.message_place(sequence, nth));
            let Some(place) = place else { break };
            let (segment, offset) = match place {
                Place::Live(segment, offset) => (segment.number, Some(offset)),
                Place::Sealed(span) => (span.segment.number, self.sealed_offset(&span, sequence)),
            };
            places.extend(offset.map(|offset| Location { segment, offset }));
        }
        places
    }

    fn erase_at(&self, location: Location, group: GroupId, sequence: u64) -> Result<(), Unerased> {
        // No compaction may finish with a copy of what is being erased.
        let mut rewriting = self.rewriting.lock();
        if !self.places(group, sequence).contains(&location) {
            // One just did: the copy is what counts now.
            return Err(Unerased::Moved);
        }
        if rewriting.as_ref().is_some_and(|victims| victims.contains(&location.segment)) {
            *rewriting = None;
        }
        let segment = self.segment(location.segment).filter(|segment| !segment.is_retired()).ok_or(Unerased::Moved)?;
        let record = self.read_location(location).map_err(|error| unreadable(location, error))?;
        if record.header.group != group || record.header.sequence != sequence {
            return Err(Unerased::Moved);
        }
        let header = encode_erased(&record.header, segment.seed);
        let content = record.header.record_bytes() - RECORD_HEADER_BYTES;
        drop(record);
        // A sealed file may be mapped: its pages must change. In the file being written, a page would bring back old
        // bytes beside those written directly.
        let file =
            if segment.is_sealed() { self.io.open(&segment.path, OpenMode::Patch) } else { segment.file(&*self.io) };
        let file = file.map_err(|error| unreadable(location, error.into()))?;
        let behind = Location { offset: location.offset + RECORD_HEADER_BYTES as u32, ..location };
        let outcome = self
            .overwrite(&*file, &segment, location, &header)
            .and_then(|()| self.overwrite(&*file, &segment, behind, &vec![0; content]));
        // Whatever was changed is what readers must see.
        self.tail.forget_batch(location);
        segment.unmap();
        outcome
    }

    /// Changes bytes in whole blocks, durably.
    fn overwrite(&self, file: &dyn IoFile, segment: &Segment, at: Location, bytes: &[u8]) -> Result<(), Unerased> {
        if bytes.is_empty() {
            return Ok(());
        }
        let offset = at.offset;
        let block = segment.header.block_bytes.max(self.block_bytes);
        let start = offset / block * block;
        let end = (offset as usize + bytes.len()).next_multiple_of(block as usize);
        let length = end - start as usize;
        let mut buffer = AlignedBuffer::new(length);
        file.read_at(&mut buffer[..length], u64::from(start)).map_err(|error| unreadable(at, error.into()))?;
        let skip = (offset - start) as usize;
        buffer[skip..skip + bytes.len()].copy_from_slice(bytes);
        file.write_durable_at(&buffer[..length], u64::from(start)).map_err(Unerased::Unwritten)
    }
}

/// Why a place was not erased.
#[derive(Debug)]
enum Unerased {
    /// The message is elsewhere by now, or gone.
    Moved,
    /// It could not be read, or its file not be opened.
    Unread(ReadError),
    /// An error of writing is the journal's own, and final.
    Unwritten(io::Error),
}

fn unreadable(location: Location, error: ReadError) -> Unerased {
    match error {
        // Its file was renamed.
        ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound => Unerased::Moved,
        error => {
            tracing::warn!(%location, %error, "a record can not be read to be overwritten");
            Unerased::Unread(error)
        }
    }
}

#[cfg(test)]
mod tests;
