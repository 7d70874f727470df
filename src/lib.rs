//! Headwater: a durable, NATS-compatible messaging server. The map is in `docs/ARCHITECTURE.md`.

pub mod account;
pub mod auth;
pub mod config;
pub mod connection;
pub mod jetstream;
pub mod protocol;
pub mod router;
pub mod server;
