//! A start on a log that is not whole any more: what the lost entries said about limits must not cost messages, and messages
//! are stored though nothing is left that counted them.

use std::sync::Arc;

use super::Core;
use crate::jetstream::api::StreamConfig;
use crate::jetstream::stream::MessageEntry;

impl Core {
    /// Entries are lost. Until [`resume_limits`](Self::resume_limits) no message leaves because of a limit.
    pub fn suspend_limits(&mut self) {
        self.machine.suspend_limits();
    }

    /// Everything that can be read is applied: what the limits ask for is done now. `config` is the stream's when the log
    /// does not have the latest one.
    pub fn resume_limits(&mut self, config: Option<Arc<StreamConfig>>) {
        self.machine.resume_limits(config, &self.store, &mut self.effects);
        self.release_effects();
    }

    /// Nothing is left of what the stream was but its messages: it begins with the first of them.
    pub fn begin_with_first_stored(&mut self) {
        if let Some(first) = self.store.next_stored(self.machine.last_sequence() + 1) {
            self.machine.jump_to(first);
        }
    }

    /// So many entries can not be read, and the next message has this sequence. Messages among them may be there all the
    /// same: an entry may be missing since a checkpoint held it that is damaged.
    pub fn lose(&mut self, sequence: u64, entries: u64) {
        let from = self.machine.last_sequence() + 1;
        let mut lost = 0;
        loop {
            let next = self.machine.last_sequence() + 1;
            if next >= sequence {
                break;
            }
            let stored = self.store.next_stored(next).filter(|stored| *stored < sequence);
            let missing = stored.unwrap_or(sequence) - next;
            if missing > entries {
                self.machine.jump_to(next + missing);
            } else {
                (0..missing).for_each(|_| self.machine.lose_next());
                lost += missing;
            }
            if let Some(stored) = stored
                && !self.take_in_stored(stored)
            {
                self.machine.lose_next();
                lost += 1;
            }
        }
        if lost > 0 {
            tracing::error!(stream = %self.name, lost, from, below = sequence, "messages are damaged and lost");
        }
    }

    /// False when the message can not be read.
    fn take_in_stored(&mut self, sequence: u64) -> bool {
        let Ok(message) = self.store.message(sequence) else { return false };
        let entry = MessageEntry {
            sequence,
            time: message.time(),
            subject: message.subject(),
            headers: message.headers(),
            payload_len: message.payload().len(),
        };
        self.machine.apply_message(&entry, &self.store, &self.consumers, &mut self.effects);
        self.release_effects();
        true
    }
}
