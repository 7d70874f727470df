//! JetStream: streams and consumers over the journal.

pub mod api;
