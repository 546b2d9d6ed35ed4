//! The `tidegate-relay` binary.

use std::process::ExitCode;

use tidegate_relay::{app, cli};

fn main() -> ExitCode {
    // Before anything can ask for TLS. Nothing ran before it, so it cannot have been installed.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(
        installed.is_ok(),
        "the crypto provider is installed once, here"
    );
    cli::start(|config| tokio::runtime::Runtime::new()?.block_on(app::run(config)))
}
