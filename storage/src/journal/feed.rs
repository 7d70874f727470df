//! Large checkpoints on their way into the queue: a few parts at a time, behind what others have queued meanwhile.
//!
//! ```text
//! queue: | messages | part 0 | messages | parts 1, 2 |   unfed: parts 3 to 99
//! ```
//!
//! All at once they would keep everybody who appends waiting for the disk to write them, and the queue above its bound. Parts
//! follow only when none wait for the writer, and have as many bytes as others have waiting, one part at least: whoever
//! appends waits for one part at most that he would not have waited for, and a checkpoint gets on however much is appended.

use bytes::Bytes;

use super::AppendClass;
use super::checkpoint::Parts;
use super::queue::Queue;
use super::shared::Shared;
use crate::directory::PART_HEAD_BYTES;
use crate::format::record::{GroupId, RecordHeader, RecordKind};

/// A checkpoint with parts that are not queued yet.
pub(crate) struct Unfed {
    pub(crate) group: GroupId,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) number: u64,
    pub(crate) parts: Parts,
}

impl Unfed {
    /// The next part: its record's header, and the two pieces of its payload.
    pub(crate) fn next(&mut self) -> Option<(RecordHeader, [u8; PART_HEAD_BYTES], Bytes)> {
        let (head, part) = self.parts.next()?;
        let header = RecordHeader {
            index: self.index,
            term: self.term,
            sequence: self.number,
            ..RecordHeader::of_payload(self.group, RecordKind::Checkpoint, head.len() + part.len())
        };
        Some((header, head, part))
    }
}

impl Shared {
    /// Takes a checkpoint in. A small one is queued; a large one waits to be fed. The group's one before does no more.
    pub(crate) fn take_in(&self, queue: &mut Queue, mut checkpoint: Unfed) {
        if let Some(at) = queue.unfed.iter().position(|unfed| unfed.group == checkpoint.group) {
            queue.unfed.remove(at).iter().for_each(|before| self.drop_checkpoint(before));
        }
        if checkpoint.parts.total() > 1 {
            queue.unfed.push_back(checkpoint);
        } else if let Some((header, head, part)) = checkpoint.next() {
            queue.record(&header, &[&head, &part]);
        }
    }

    /// Queues the next parts, unless some wait there already.
    pub(crate) fn feed(&self, queue: &mut Queue) {
        while let Some(first) = queue.unfed.front().filter(|_| !queue.is_fed()) {
            if self.directory.read().is_removed(first.group) {
                queue.unfed.pop_front();
            } else if !self.lacks_room(queue, AppendClass::Control, first.parts.bytes_left()) {
                // No more than one write.
                queue.feed(queue.bytes_queued().min(queue.batch_bytes_max));
            } else if queue.full || queue.closing {
                tracing::warn!(group = first.group.0, "a checkpoint found no room: it is dropped");
                queue.unfed.pop_front().iter().for_each(|first| self.drop_checkpoint(first));
            } else {
                // Maintenance is about to find out whether the disk is full.
                return;
            }
        }
    }

    fn drop_checkpoint(&self, checkpoint: &Unfed) {
        if let Some(group) = self.directory.write().group_mut(checkpoint.group) {
            group.drop_checkpoint(checkpoint.number);
        }
    }
}
