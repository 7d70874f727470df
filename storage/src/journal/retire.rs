//! Takes dead segments out of service: on record first, then renamed, never removed.
//!
//! ```text
//! dead -> note `Retired` appended -> note durable -> last reader gone -> renamed to a spare -> reused
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pool::Spare;
use super::queue::{Queue, QueueState};
use super::shared::Shared;
use crate::format::record::{GroupId, RecordHeader, RecordKind};
use crate::format::segment::FileName;
use crate::io::as_final;
use crate::location::Location;
use crate::segment::Segment;
use crate::stats::add;

/// Segments whose note is appended.
pub(crate) struct Retiring {
    segments: Vec<Arc<Segment>>,
    note: Location,
}

impl Retiring {
    /// Where the note lies.
    pub(crate) fn note_segment(&self) -> u32 {
        self.note.segment
    }
}

/// Forgets dead segments and appends the note. `added` are segments that took over what lived in them.
///
/// Without room for the note nothing happens.
pub(crate) fn retire(shared: &Shared, segments: Vec<Arc<Segment>>, added: &[u32]) -> Option<Retiring> {
    let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
    let note = {
        let mut queue = shared.queue.lock();
        if !matches!(queue.state, QueueState::Running) || queue.closing {
            return None;
        }
        queue.with_data.retain(|number| !numbers.contains(number));
        queue.with_data.extend(added);
        queue.with_data.sort_unstable();
        if !added.is_empty() {
            let list = queue.with_data.clone();
            append(&mut queue, RecordKind::Segments, &list);
        }
        let note = append(&mut queue, RecordKind::Retired, &numbers);
        queue.has_urgent = true;
        shared.wake_writer(&queue);
        note
    };
    {
        let mut directory = shared.directory.write();
        for number in &numbers {
            directory.forget_segment(*number);
        }
        directory.forget_removed();
    }
    for segment in &segments {
        segment.retire();
        shared.tail.forget(segment.number);
    }
    Some(Retiring { segments, note })
}

fn append(queue: &mut Queue, kind: RecordKind, numbers: &[u32]) -> Location {
    let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let header =
        RecordHeader { sequence: queue.next_control, ..RecordHeader::of_payload(GroupId::JOURNAL, kind, body.len()) };
    queue.next_control += 1;
    queue.record(&header, &[&body])
}

/// Renames what may be renamed by now. True when anything was.
pub(crate) fn finish(shared: &Shared, waiting: &mut Vec<Retiring>) -> io::Result<bool> {
    if !waiting.iter().any(|retiring| shared.is_written(retiring.note)) {
        return Ok(false);
    }
    shared.sync_written()?;
    let mut spares = Vec::new();
    let mut failed = None;
    for retiring in waiting.iter_mut().filter(|retiring| shared.is_written(retiring.note)) {
        let (ready, later) = retiring.segments.drain(..).partition(|segment| segment.is_unread());
        retiring.segments = later;
        let ready: Vec<Arc<Segment>> = ready;
        for segment in ready {
            match recycle(shared, &segment) {
                Ok(spare) => spares.push(spare),
                Err(error) => {
                    failed = failed.or(Some(error));
                    retiring.segments.push(segment);
                }
            }
        }
    }
    waiting.retain(|retiring| !retiring.segments.is_empty());
    let recycled = spares.len();
    if recycled > 0 {
        // A spare gets a new header: its old name must not come back then.
        shared.io.sync_dir(&shared.path).map_err(as_final)?;
        let mut pool = shared.pool.lock();
        spares.into_iter().for_each(|spare| pool.add(spare));
        add(&shared.counters.segments_recycled, recycled);
    }
    failed.map_or(Ok(recycled > 0), Err)
}

fn recycle(shared: &Shared, segment: &Segment) -> io::Result<Spare> {
    segment.close_file();
    let name = FileName::Spare(segment.number);
    shared.io.rename(&segment.path, &shared.path.join(name.to_string()))?;
    shared.segments.write().remove(&segment.number);
    Ok(Spare { name, length: segment.length.load(Ordering::Acquire) })
}

impl Shared {
    /// True when the record at a location was written: durable, or at the next sync where that comes later.
    pub(crate) fn is_written(&self, location: Location) -> bool {
        match self.segment(location.segment) {
            Some(segment) => segment.data_end() > location.offset,
            // Not prepared yet, or retired already.
            None => location.segment < self.written.lock().segment.as_ref().map_or(0, |segment| segment.number),
        }
    }
}
