//! JetStream: streams and consumers over the journal.
//!
//! `api`, `stream` and `consumer` are pure; everything else is the shell that runs them (docs/ARCHITECTURE.md).

mod account;
mod advisory;
pub mod api;
pub mod stream;
