//! The fuzzers' entries on the stable toolchain; that of the agent's start-up parser is run by the
//! agent's tests.

#[path = "../../../fuzz/entry/backend_frame.rs"]
mod backend_frame;
#[path = "../../../fuzz/entry/manifest.rs"]
mod manifest;
#[path = "../../../fuzz/entry/pairing_token.rs"]
mod pairing_token;
#[path = "../../../fuzz/entry/pgoutput.rs"]
mod pgoutput;
#[path = "../../../fuzz/entry/wire.rs"]
mod wire;

mod mutation;

use self::mutation::check;
use crate::support::chance::Chance;

#[test]
fn hostile_backend_frames_never_panic() {
    check("backend_frame", backend_frame::run);
}

#[test]
fn hostile_changes_never_panic() {
    check("pgoutput", pgoutput::run);
}

#[test]
fn hostile_manifests_never_panic() {
    check("manifest", manifest::run);
}

#[test]
fn hostile_messages_never_panic() {
    check("wire", wire::run);
}

#[test]
fn hostile_pairing_tokens_never_panic() {
    check("pairing_token", pairing_token::run);
}
