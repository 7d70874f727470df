//! Headwater: a durable, NATS-compatible messaging server. The map is in `docs/ARCHITECTURE.md`.

pub mod cli;
pub mod config;
pub mod jetstream;
pub mod logging;
pub mod process;
pub mod protocol;
pub mod signals;
