//! A manifest as somebody wrote it. Called by the fuzz target and by the relay's integration tests.

use tidegate_relay::endpoint::rest::manifest::load;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(error) = load(text) {
        // It says where, in one line.
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
