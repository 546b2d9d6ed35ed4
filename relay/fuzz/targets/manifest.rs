//! libFuzzer's door to `entry/manifest.rs`: manifests of apps.

#![no_main]

#[path = "../entry/manifest.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::run(bytes));
