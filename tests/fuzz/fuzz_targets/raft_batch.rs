//! Fuzzes the raft batch: see `bodies/disk.rs` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::run("raft_batch", data));
