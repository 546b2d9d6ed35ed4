//! The `tidegate-relay` binary.

fn main() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    tidegate_relay::observe::start()?;
    let file = std::env::args().nth(3).map(std::path::PathBuf::from);
    let config = tidegate_relay::config::Config::load(file.as_deref())?;
    tokio::runtime::Runtime::new()?.block_on(tidegate_relay::app::run(config))
}
