//! The running agent: wires identity, origin and tunnel, listens to signals, leaves in order.
//! The only file that knows every room. Called by `cli` for `run`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tidegate_shared::service_manager::ServiceManager;
use tidegate_shared::tunnel::Backoff;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::identity::keystore::Keystore;
use crate::origin::Origin;
use crate::origin::password::Places;
use crate::route::Routes;
use crate::slot_guard;
use crate::tunnel::causes::Causes;
use crate::tunnel::status::{self, Board};
use crate::tunnel::supervise::Supervisor;

/// Serves until SIGTERM (drains) or SIGINT (leaves now). `file` is read again on SIGHUP.
pub async fn run(config: Config, file: &Path) -> anyhow::Result<()> {
    let store = Keystore::new(&config.state_dir);
    // Before anything is bound: an agent without an identity has nothing to wait for.
    store.current()?;
    if config.targets.is_empty() {
        warn!("no [[target]] is configured: the relay can reach nothing through this agent");
    }
    let origin = Origin::open(&config.targets, &config.state_dir, Places::from_env())
        .map_err(|error| anyhow::anyhow!("read the state directory: {error}"))?;
    let routes = Routes::of(&config).map_err(anyhow::Error::msg)?;
    let listener = status::bind(&config.state_dir)
        .await
        .map_err(|error| anyhow::anyhow!("bind the status socket: {error}"))?;
    let board = Board::default();
    board.update(|status| {
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.process_id = std::process::id();
    });
    let shutdown = CancellationToken::new();
    let reloaded = Arc::new(Notify::new());
    let supervisor = Supervisor {
        store,
        origin: origin.clone(),
        routes: Arc::new(routes),
        board: board.clone(),
        backoff: Backoff::seeded(rand::random()),
        jitter: rand::random(),
        shutdown: shutdown.clone(),
        reloaded: reloaded.clone(),
        causes: Causes::default(),
    };
    let manager = ServiceManager::from_env();
    let signals = Signals::new(manager.clone())?;
    manager.tell_ready();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        targets = config.targets.len(),
        "agent started"
    );
    let result = tokio::select! {
        biased;
        () = signals.handle(&shutdown, &origin, &reloaded, file) => {
            info!("leaving now");
            Ok(())
        }
        result = supervisor.run() => result.map_err(anyhow::Error::from),
        () = status::answer(listener, board.clone(), origin.clone()) => Ok(()),
        () = slot_guard::run(origin.clone(), board) => Ok(()),
        () = manager.tell_alive() => Ok(()),
    };
    // Best effort: a left-over socket is replaced at the next start.
    let _ = std::fs::remove_file(status::socket_path(&config.state_dir));
    result
}

struct Signals {
    manager: ServiceManager,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new(manager: ServiceManager) -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Signals {
            manager,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Returns when the process shall leave at once. The first SIGTERM only cancels `shutdown`,
    /// whose owner then returns by itself.
    async fn handle(
        mut self,
        shutdown: &CancellationToken,
        origin: &Origin,
        reloaded: &Notify,
        file: &Path,
    ) {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => {
                    if shutdown.is_cancelled() {
                        return;
                    }
                    info!("draining; a second SIGTERM or SIGINT leaves now");
                    self.manager.tell_stopping();
                    shutdown.cancel();
                }
                _ = self.hangup.recv() => reload(origin, reloaded, file),
            }
        }
    }
}

/// A wrong file changes nothing.
fn reload(origin: &Origin, reloaded: &Notify, file: &Path) {
    match Config::load(file) {
        Ok(config) => {
            origin.reload(&config.targets);
            reloaded.notify_one();
            info!(targets = config.targets.len(), "targets reloaded");
        }
        Err(error) => error!(%error, "the configuration was not reloaded"),
    }
}
