//! The store in a few words: whether it takes messages, and what is wrong with it. Not a part of the genuine server's
//! pages; shown in `/jsz`, `/healthz` and `/metrics`.

use headwater_storage::Health;
use serde::Serialize;

use crate::jetstream::Node;

/// The states that `/metrics` lists.
pub const STATES: [&str; 4] = ["ok", "full", "failed", "closed"];

#[derive(Serialize)]
pub struct JournalReport {
    /// One of [`STATES`].
    pub state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    pub damaged_records: u64,
    pub batches: u64,
    pub records: u64,
    pub file_bytes: u64,
    pub queued_bytes: u64,
}

impl JournalReport {
    pub fn of(node: &Node) -> JournalReport {
        let (state, error) = state(node);
        let stats = node.stats();
        JournalReport {
            state,
            error,
            damaged_records: stats.damaged_records,
            batches: stats.batches,
            records: stats.records,
            file_bytes: stats.file_bytes,
            queued_bytes: stats.bytes_queued,
        }
    }
}

/// One of [`STATES`], and why.
pub fn state(node: &Node) -> (&'static str, String) {
    if let Some(error) = node.failure() {
        return ("failed", error.to_string());
    }
    let full = || ("full", "the disk is full: streams are read-only until there is space".to_owned());
    match node.health() {
        Health::Poisoned(error) => ("failed", error.to_string()),
        Health::Closed => ("closed", "the store is closed".into()),
        Health::Full => full(),
        Health::Ok if node.is_full() => full(),
        Health::Ok => ("ok", String::new()),
    }
}
