//! Tests against a running server over real sockets, one module per area of behaviour.

mod clients;
mod core;
mod harness;
mod security;
mod tls;
