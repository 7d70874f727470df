//! JetStream: streams and consumers over the journal.
//!
//! `api`, `stream` and `consumer` are pure; everything else is the shell that runs them (docs/ARCHITECTURE.md).

mod account;
mod advisory;
pub mod api;
pub mod checkpoint;
mod completion;
pub mod consumer;
mod consumer_advisory;
pub mod consumer_table;
mod core;
mod gates;
mod group_log;
mod held_back;
mod ingest;
pub mod inspect;
mod live;
mod messages;
pub mod meta;
mod meta_group;
mod names;
mod no_responders;
mod node;
#[cfg(test)]
mod proofs;
mod replica;
mod selection;
mod service;
mod shared;
mod store;
pub mod stream;
mod timers;
mod usage;
mod view;
mod workers;

pub use account::JetStreamAccount;
pub use core::Core;
pub use node::{Limits, Node, NodeOptions, StartError};
pub use replica::Replica;
