//! Fuzzes the configuration: see `bodies/operator.rs` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::run("configuration", data));
