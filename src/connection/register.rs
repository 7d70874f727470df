//! The open connections by id, sharded so that accepting and closing don't queue up at one lock.

use super::connection::Connection;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARDS: usize = 16;

#[derive(Default)]
pub struct Register {
    shards: [Mutex<HashMap<u64, Arc<Connection>>>; SHARDS],
    len: AtomicUsize,
}

impl Register {
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a connection in and keeps it, unless there are `limit` already.
    pub fn admit(&self, connection: &Arc<Connection>, limit: usize) -> bool {
        let admitted =
            self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| (len < limit).then_some(len + 1)).is_ok();
        if admitted {
            self.shard(connection.id()).lock().insert(connection.id(), Arc::clone(connection));
        }
        admitted
    }

    pub fn remove(&self, id: u64) {
        let mut shard = self.shard(id).lock();
        if shard.remove(&id).is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        if shard.len() * 8 < shard.capacity() {
            shard.shrink_to_fit();
        }
    }

    pub fn get(&self, id: u64) -> Option<Arc<Connection>> {
        self.shard(id).lock().get(&id).cloned()
    }

    /// All connections by id, oldest first.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let mut all: Vec<_> = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.lock().values().cloned());
        }
        all.sort_unstable_by_key(|connection| connection.id());
        all
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Connection>>> {
        &self.shards[id as usize % SHARDS]
    }
}
