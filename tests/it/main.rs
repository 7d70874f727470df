//! Tests against a running server over real sockets, one module per area of behaviour.

mod core;
mod harness;
mod monitor;
mod security;
mod tls;
