//! Tests against a running server over real sockets, one module per area of behaviour.

mod batch;
mod circles;
mod clients;
mod consumer;
mod core;
mod crash;
#[cfg(target_os = "linux")]
mod cut_files;
mod descriptors;
mod fast_batch;
mod floods;
mod fuzz;
#[path = "../fuzz/src/bodies/mod.rs"]
mod fuzz_bodies;
mod gone;
mod harness;
mod interest;
mod jetstream;
mod kv;
mod monitor;
mod reload;
mod security;
mod slow_readers;
mod stream;
mod tls;
mod tls_choices;
