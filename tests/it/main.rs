//! Tests against a running server over real sockets, one module per area of behaviour.

mod core;
mod harness;
mod security;
mod tls;
