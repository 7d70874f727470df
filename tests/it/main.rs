//! Tests against a running server over real sockets, one module per area of behaviour.

mod consumer;
mod core;
mod crash;
mod harness;
mod jetstream;
mod kv;
mod security;
mod stream;
mod tls;
