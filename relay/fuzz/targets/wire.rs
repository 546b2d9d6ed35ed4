//! libFuzzer's door to `entry/wire.rs`: messages between agent and relay.

#![no_main]

#[path = "../entry/wire.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
