//! libFuzzer's door to `entry/startup.rs`: the first bytes of a stream to the agent.

#![no_main]

#[path = "../entry/startup.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
