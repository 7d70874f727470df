//! Checkpoints at a clean stop, so that the next start has little to apply.

use std::time::{Duration, Instant};

use headwater_storage::{GroupId, Unsaved};

use super::Node;
use crate::jetstream::meta::META_GROUP;
use crate::jetstream::shared::QUEUE_BYTES_LOW;

/// Nobody should have to wait for a stop: what is not saved by then is applied by the start.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Less is applied as quickly as a checkpoint is read.
const SAVED_BYTES_MIN: u64 = 1024 * 1024;
/// Between two looks at a full queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

impl Node {
    /// Writes checkpoints of the list, of groups that have written much since their last one, those with the most first, and
    /// of groups that never had one: until then only one record says which stream they are.
    pub(super) fn save(&self) {
        let deadline = Instant::now() + STOP_TIME_MAX;
        let wants = |unsaved: &Unsaved| match unsaved.group {
            META_GROUP => self.meta.lock().uncovered() > 1,
            _ => unsaved.bytes >= SAVED_BYTES_MIN || !unsaved.has_checkpoint,
        };
        // What is being written need not be written again.
        self.wait_for_room(deadline);
        let unsaved: Vec<Unsaved> = self.shared.journal.unsaved().into_iter().filter(wants).collect();
        let left = unsaved.iter().position(|unsaved| !self.save_group(unsaved.group, deadline));
        if let Some(saved) = left {
            tracing::info!(saved, of = unsaved.len(), "not all streams have a checkpoint: the next start applies more");
        }
    }

    /// False when there is no time or no room for more.
    fn save_group(&self, group: GroupId, deadline: Instant) -> bool {
        self.wait_for_room(deadline);
        Instant::now() < deadline && self.checkpoint(group)
    }

    /// Until nearly nothing is left in the journal's queue and of the checkpoints beside it, or it is too late.
    fn wait_for_room(&self, deadline: Instant) {
        let journal = &self.shared.journal;
        let bytes = || journal.queued_bytes() + journal.unfed_bytes();
        while bytes() > QUEUE_BYTES_LOW && Instant::now() < deadline {
            journal.wake();
            std::thread::sleep(QUEUE_PAUSE);
        }
    }
}
