//! Headwater: a durable, NATS-compatible messaging server. The map is in `docs/ARCHITECTURE.md`.

pub mod account;
pub mod auth;
pub mod cli;
pub mod config;
pub mod connection;
pub mod jetstream;
pub mod logging;
pub mod monitor;
pub mod process;
pub mod protocol;
pub mod router;
pub mod server;
pub mod signals;
