//! What a reload does to a stream: limits, and what becomes of it when its account loses JetStream. It then keeps what it
//! holds and what its consumers know, and nobody is served until the account has JetStream again.

use super::Core;
use crate::jetstream::consumer::End;
use crate::jetstream::stream::{BatchLimits, FastLimits};
use crate::jetstream::workers::Job;
use crate::router::Publisher;

impl Core {
    /// Consumers rest; whoever waits for messages is told.
    pub fn suspend(&mut self, publisher: &mut Publisher) {
        self.suspended = true;
        let ids: Vec<u64> = self.live.keys().copied().collect();
        for id in ids {
            self.with_consumer(id, publisher, |live, _, outputs| live.consumer.end(End::ServerStops, outputs));
        }
    }

    /// Consumers go on where they were. Nobody could use them meanwhile, so none of them counts as unused.
    pub fn resume(&mut self) {
        if !std::mem::take(&mut self.suspended) {
            return;
        }
        let now = self.shared.now();
        for (id, live) in &mut self.live {
            live.consumer.watch_inactivity(now);
            // Their first look at who listens is a new one.
            live.interest_seen = 0;
            self.shared.queue(Job::deliver(self.log.id(), *id));
        }
        self.set_timer(now);
    }

    /// Of batches that begin from now on.
    pub fn set_batch_limits(&mut self, batches: BatchLimits, fast: FastLimits) {
        self.batches.set_limits(batches);
        if let Some(open) = &mut self.fast {
            open.batches.set_limits(fast);
        }
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended
    }
}
