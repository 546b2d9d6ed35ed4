//! libFuzzer's door to `entry/backend_frame.rs`: the frames of the PostgreSQL protocol.

#![no_main]

#[path = "../entry/backend_frame.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
