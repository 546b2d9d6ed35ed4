//! Wires the rooms: the only place that knows every one of them, and nobody imports it.
//!
//! Built in the order in which data flows (store, identity, tunnel, engine, API) and drained in
//! reverse: API intake, then syncs at their next settle, then a goodbye to the agents.

mod agents;
mod authorities;
mod lookout;
mod reach;
mod rooms;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::serve::ListenerExt;
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::service_manager::ServiceManager;
use tidegate_shared::tunnel::QuicSettings;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::lookout::WholeHouse;
use self::reach::Reach;
use self::rooms::House;
use crate::api::access::Access;
use crate::api::access::oidc::Provider;
use crate::api::forward::Forwards;
use crate::api::{self, Api, Readiness};
use crate::config::{Config, RelayName};
use crate::engine::Engine;
use crate::identity::Custody;
use crate::notify::{self, Courier};
use crate::pairing::{Pairing, PairingConfig};
use crate::store::{Store, tokens, users};
use crate::tunnel::{Agents, Listener, ListenerConfig, system_clock};

/// How long agents wait at least before they come back after a goodbye.
const GOODBYE_DELAY: Duration = Duration::from_millis(500);

/// Requests under way get this long to end after the stop.
const API_DRAIN: Duration = Duration::from_secs(2);

/// Serves until SIGTERM (drains) or SIGINT (leaves at once). Blocks the calling thread's runtime.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let app = App::start(&config, stop.clone()).await?;
    tracing::info!(
        tunnel = %app.tunnel,
        http = %app.http,
        data_dir = %config.data_dir.display(),
        "The relay is ready."
    );
    let manager = ServiceManager::from_env();
    let signals = Signals::listen()?;
    manager.tell_ready();
    tokio::select! {
        () = app.drained(stop.clone()) => {}
        () = signals.until_leave(stop, &manager) => tracing::warn!("Left without draining."),
        () = manager.tell_alive() => {}
    }
    Ok(())
}

/// A running relay.
struct App {
    tunnel: SocketAddr,
    http: SocketAddr,
    engine: Arc<Engine>,
    agents: Agents,
    listener: JoinHandle<()>,
    server: JoinHandle<()>,
    stop_listener: CancellationToken,
    retention: JoinHandle<()>,
    guardian: JoinHandle<()>,
    /// What finds out what is to be told, and what tells it.
    notifications: [JoinHandle<()>; 2],
    /// Where `/metrics` is served, if it is.
    metrics: Option<JoinHandle<()>>,
    forwards: Arc<Forwards>,
}

impl App {
    async fn start(config: &Config, stop: CancellationToken) -> anyhow::Result<App> {
        let store = Store::open(&config.data_dir).context("open the store")?;
        let now = jiff::Timestamp::now().as_millisecond();
        tokens::ensure_operator_token(&store, now)
            .await
            .context("write the operator token")?;
        let agents = Agents::new();
        let (pairing, listener) = listen(config, &store, &agents)?;
        let tunnel = listener.local()?;
        let stop_listener = CancellationToken::new();
        let listener = tokio::spawn(listener.run(stop_listener.clone()));

        let reach = Reach::new(store.clone(), agents.clone(), &config.egress);
        let engine = Arc::new(Engine::new(store.clone(), Arc::new(reach)));
        engine.start().await.context("start the syncs")?;

        let retention = tokio::spawn(retention(engine.clone(), stop.clone()));
        let bound_bytes = config.sync.slot_wal_max;
        let guardian = tokio::spawn(engine.clone().guard(bound_bytes, stop.clone()));
        let forwards = Arc::<Forwards>::default();
        let rooms = Arc::new(House {
            store: store.clone(),
            pairing,
            agents: agents.clone(),
            engine: engine.clone(),
            forwards: forwards.clone(),
        });
        let (courier, notifications) = notify(config, &store, rooms.clone(), &stop);
        let api = Api {
            rooms,
            courier,
            egress: visible(config),
            allow_private: config.egress.allow_private,
            readiness: Arc::new(EngineReadiness(engine.clone())),
            access: Arc::new(Access::new(provider(config)?)),
            forwards: forwards.clone(),
            stop: stop.clone(),
            store,
        };
        let metrics = match config.metrics.listen {
            Some(listen) => {
                let listener = bind(listen, "metrics").await?;
                let router = api::metrics::router(api.clone());
                Some(tokio::spawn(serve(listener, router, stop.clone())))
            }
            None => None,
        };
        let http_listener = bind(config.http.listen, "HTTP").await?;
        let http = http_listener.local_addr()?;
        tell_setup(&api, http).await?;
        let server = tokio::spawn(serve(http_listener, api::router(api), stop));
        Ok(App {
            tunnel,
            http,
            engine,
            agents,
            listener,
            server,
            stop_listener,
            retention,
            guardian,
            notifications,
            metrics,
            forwards,
        })
    }

    /// Waits for the stop and drains.
    async fn drained(self, stop: CancellationToken) {
        stop.cancelled().await;
        tracing::info!("Draining: no new requests, syncs stop at their next settle.");
        let abort = self.server.abort_handle();
        if tokio::time::timeout(API_DRAIN, self.server).await.is_err() {
            abort.abort();
        }
        self.forwards.drained().await;
        self.retention.abort();
        self.guardian.abort();
        self.notifications.iter().for_each(JoinHandle::abort);
        if let Some(metrics) = &self.metrics {
            metrics.abort();
        }
        self.engine.stop().await;
        self.agents.goodbye_all(GOODBYE_DELAY).await;
        self.stop_listener.cancel();
        if self.listener.await.is_err() {
            tracing::error!("The tunnel's listener had failed.");
        }
        tracing::info!("Drained.");
    }
}

/// Addresses that apps and firewalls will see.
fn visible(config: &Config) -> Vec<String> {
    let addresses = config.egress.visible();
    addresses.iter().map(ToString::to_string).collect()
}

/// Who signs people in beside the relay's own passwords.
fn provider(config: &Config) -> anyhow::Result<Option<Provider>> {
    let (Some(oidc), Some(public_url)) = (&config.oidc, &config.http.public_url) else {
        return Ok(None);
    };
    let provider = Provider::new(oidc.clone(), public_url, config.egress.bind);
    provider.map(Some).map_err(anyhow::Error::msg)
}

/// Looks what is to be told, and tells it.
fn notify(
    config: &Config,
    store: &Store,
    rooms: Arc<House>,
    stop: &CancellationToken,
) -> (Arc<Courier>, [JoinHandle<()>; 2]) {
    let settings = notify::Settings {
        egress: config.egress.bind,
        allow_private: config.egress.allow_private,
        console_url: config.notifications.console_url.clone(),
        delay_max: config.notifications.delay_max,
    };
    let courier = Arc::new(Courier::new(store.clone(), settings));
    let whole_house = Arc::new(WholeHouse(rooms));
    let tasks = [
        tokio::spawn(notify::run(courier.clone(), whole_house, stop.clone())),
        tokio::spawn(courier.clone().run(stop.clone())),
    ];
    (courier, tasks)
}

/// While nobody can sign in: says where the first administrator comes in. Not as an event of the log:
/// whoever starts the relay by hand should see it whatever the log's level and form are.
async fn tell_setup(api: &Api, http: SocketAddr) -> anyhow::Result<()> {
    if !api.store.view(users::any).await? {
        let path = api.access.setup.path();
        eprintln!("Set up the console, once: http://{http}{}", *path);
    }
    Ok(())
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} for {what}"))
}

async fn serve(listener: TcpListener, router: axum::Router, stop: CancellationToken) {
    // Small answers of forwarded sessions wait for nothing.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "A connection collects small packets.");
        }
    });
    // The address of whoever signs in is counted.
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "An HTTP listener failed.");
    }
}

/// Removes what has been kept for its time, every hour.
async fn retention(engine: Arc<Engine>, stop: CancellationToken) {
    let mut hourly = tokio::time::interval(Duration::from_secs(3600));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = hourly.tick() => {}
        }
        if let Err(error) = engine.forget_old().await {
            tracing::warn!(%error, "Old conflicts and history could not be removed.");
        }
    }
}

/// Opens the relay's identity and binds the tunnel's port.
fn listen(
    config: &Config,
    store: &Store,
    agents: &Agents,
) -> anyhow::Result<(Arc<Pairing>, Listener<Pairing>)> {
    let relay = |name: &RelayName| RelayAddr {
        host: name.host.clone(),
        port: name.port,
    };
    let relays: Vec<RelayAddr> = config.tunnel.names.iter().map(relay).collect();
    let names: Vec<String> = relays.iter().map(|relay| relay.host.clone()).collect();
    let custody = Custody::open(&config.data_dir, &names, SystemTime::now())
        .context("open the relay's identity")?;
    let custody = Arc::new(custody);
    let pairing_config = PairingConfig {
        relays,
        agent_life: tidegate_shared::identity::limits::AGENT_LIFE,
    };
    let pairing = Pairing::new(
        store.clone(),
        custody.clone(),
        agents.clone(),
        pairing_config,
    );
    let pairing = Arc::new(pairing);
    let address = ListenerConfig {
        address: config.tunnel.listen,
        quic: QuicSettings::default(),
    };
    let door = pairing.clone();
    let listener = Listener::bind(&address, custody, door, agents.clone(), system_clock())?;
    Ok((pairing, listener))
}

struct EngineReadiness(Arc<Engine>);

#[async_trait::async_trait]
impl Readiness for EngineReadiness {
    /// No names: whoever asks need not be signed in.
    async fn missing(&self) -> Vec<String> {
        match self.0.unreached().await.len() {
            0 => Vec::new(),
            count => vec![format!("running syncs with a side not reached: {count}")],
        }
    }
}

/// The first SIGTERM drains; SIGINT or a second SIGTERM leaves now.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancels `stop` at the first SIGTERM; resolves when the process should leave at once.
    async fn until_leave(mut self, stop: CancellationToken, manager: &ServiceManager) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => {
                    if stop.is_cancelled() {
                        return;
                    }
                    manager.tell_stopping();
                    stop.cancel();
                }
            }
        }
    }
}
