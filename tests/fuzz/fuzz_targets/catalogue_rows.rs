//! Fuzzes the catalogue rows: see `bodies/disk.rs` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::run("catalogue_rows", data));
