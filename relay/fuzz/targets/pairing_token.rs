//! libFuzzer's door to `entry/pairing_token.rs`: pairing tokens.

#![no_main]

#[path = "../entry/pairing_token.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
