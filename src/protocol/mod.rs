//! Pure parsing and encoding of the NATS protocol: no sockets, no clock, no state of the server.

pub mod headers;
pub mod subject;
pub mod transform;
