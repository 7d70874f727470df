//! Headwater: a durable, NATS-compatible messaging server. The map is in `docs/ARCHITECTURE.md`.

pub mod config;
pub mod jetstream;
pub mod protocol;
