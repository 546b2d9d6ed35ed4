//! libFuzzer's door to `entry/pgoutput.rs`: messages of the change stream.

#![no_main]

#[path = "../entry/pgoutput.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
