//! Tests against a running server over real sockets, one module per area of behaviour.

mod clients;
mod core;
mod fuzz;
#[path = "../fuzz/src/bodies.rs"]
mod fuzz_bodies;
mod harness;
mod monitor;
mod security;
mod tls;
