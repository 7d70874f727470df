//! Fuzzes the header block: see `bodies.rs` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| headwater_fuzz::bodies::header_block(data));
