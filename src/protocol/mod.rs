//! Pure parsing and encoding of the NATS protocol: no sockets, no clock, no state of the server.

pub mod client;
pub mod connect;
pub mod decimal;
pub mod error;
pub mod headers;
pub mod info;
pub mod subject;
pub mod transform;
