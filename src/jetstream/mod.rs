//! JetStream: streams and consumers over the journal.

pub mod api;
pub mod consumer;
pub mod stream;
