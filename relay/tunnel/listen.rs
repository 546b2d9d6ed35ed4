//! The listener: one port, UDP and TCP, for agents and pairing. Accepting only accepts; every
//! handshake and every session runs in its own task, and a panic in one ends that one.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tidegate_shared::Class;
use tidegate_shared::tunnel::{
    Arriving, CloseCode, Protocol, QuicSettings, TunnelError, TunnelListener, UdpBuffers,
    limits as tunnel_limits,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::{Agents, Doorkeeper, enrol, limits, session};
use crate::identity::{Custody, CustodyError};

/// The wall clock, passed in so that tests can move it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The real one.
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}

/// Why the listener can't start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("listen on UDP and TCP: {source}; stop what uses it, or change tunnel.listen")]
    Bind {
        address: SocketAddr,
        source: TunnelError,
    },
    #[error(transparent)]
    Custody(#[from] CustodyError),
}

impl ListenError {
    pub fn class(&self) -> Class {
        match self {
            ListenError::Bind { .. } => Class::Operator(
                "check [tunnel] listen: the port may be taken, or need CAP_NET_BIND_SERVICE",
            ),
            ListenError::Custody(error) => error.class(),
        }
    }
}

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    pub address: SocketAddr,
    pub quic: QuicSettings,
}

/// Bound, and accepting as soon as `run` is polled.
pub struct Listener<D> {
    sockets: TunnelListener,
    custody: Arc<Custody>,
    served: Arc<Served<D>>,
}

/// What every connection's task needs.
struct Served<D> {
    door: Arc<D>,
    agents: Agents,
    clock: Clock,
    handshakes: Handshakes,
    pairings: Semaphore,
}

impl<D: Doorkeeper> Listener<D> {
    /// Binds the port; must be called inside a tokio runtime.
    pub fn bind(
        config: &ListenerConfig,
        custody: Arc<Custody>,
        door: Arc<D>,
        agents: Agents,
        clock: Clock,
    ) -> Result<Self, ListenError> {
        let tls = custody.server_tls(clock())?;
        let (address, keys) = (config.address, custody.stable_keys());
        let sockets = TunnelListener::bind(address, &tls, keys, config.quic)
            .map_err(|source| ListenError::Bind { address, source })?;
        let served = Served {
            door,
            agents,
            clock,
            handshakes: Handshakes::default(),
            pairings: Semaphore::new(limits::PAIRINGS_MAX),
        };
        say_buffers(UdpBuffers::granted().ok());
        Ok(Self {
            sockets,
            custody,
            served: Arc::new(served),
        })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn local(&self) -> Result<SocketAddr, TunnelError> {
        self.sockets.local()
    }

    /// Accepts until told to stop; then closes what is left (`Agents::goodbye_all` comes before),
    /// and returns when every task has ended.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let every = limits::CERTIFICATE_CHECK;
        let mut authorities = self.custody.changes();
        let mut certificate_check = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next() => note_end(ended),
                _ = certificate_check.tick() => self.renew_certificate(),
                // The sender lives in the custody.
                Ok(()) = authorities.changed() => self.renew_certificate(),
                arriving = self.sockets.accept() => match arriving {
                    Some(arriving) => self.take(arriving, &mut tasks),
                    None => break,
                },
            }
        }
        self.sockets.close(CloseCode::GOODBYE);
        let drained = async {
            while let Some(ended) = tasks.join_next().await {
                note_end(ended);
            }
            self.sockets.wait_idle().await;
        };
        if timeout(limits::GOODBYE, drained).await.is_err() {
            tasks.shutdown().await;
        }
    }

    /// Decides about an arrival without waiting for anything.
    fn take(&self, arriving: Arriving, tasks: &mut JoinSet<()>) {
        let under_way = self.served.handshakes.count();
        if under_way >= limits::HANDSHAKES_MAX {
            arriving.refuse();
            return;
        }
        if under_way >= limits::HANDSHAKES_BEFORE_RETRY && !arriving.validated() {
            arriving.retry();
            return;
        }
        let Some(place) = Handshakes::enter(&self.served, arriving.remote().ip()) else {
            arriving.refuse();
            return;
        };
        tasks.spawn(connection(arriving, place, self.served.clone()));
    }

    fn renew_certificate(&self) {
        let renewed = self
            .custody
            .server_tls((self.served.clock)())
            .map_err(|error| error.to_string())
            .and_then(|tls| {
                self.sockets
                    .set_tls(&tls)
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = renewed {
            tracing::error!(
                error,
                "The relay's certificate can't be renewed; it still works."
            );
        }
    }
}

/// Once at start, and no warning: fast transfers lose packets, which are sent again.
fn say_buffers(granted: Option<UdpBuffers>) {
    let Some(buffers) = granted.filter(|buffers| buffers.are_small()) else {
        return;
    };
    let wanted = tunnel_limits::SOCKET_BUFFER_BYTES;
    tracing::info!(
        receive_bytes = buffers.receive_bytes,
        send_bytes = buffers.send_bytes,
        "The kernel gives small UDP buffers. Nothing is wrong; for fast transfers run `sysctl -w \
         net.core.rmem_max={wanted} net.core.wmem_max={wanted}` (on the host, if this is a container)."
    );
}

async fn connection<D: Doorkeeper>(arriving: Arriving, place: Place<D>, served: Arc<Served<D>>) {
    let remote = arriving.remote();
    let tunnel = match timeout(limits::HANDSHAKE, arriving.handshake()).await {
        Ok(Ok(Some(tunnel))) => tunnel,
        // It is its session's now.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "A handshake failed.");
            return;
        }
        Err(_) => {
            tracing::debug!(%remote, "A handshake took too long.");
            return;
        }
    };
    drop(place);
    match tunnel.protocol() {
        Protocol::Agent => {
            let (door, agents) = (served.door.clone(), served.agents.clone());
            session::serve(tunnel, door, agents, served.clock.clone()).await;
        }
        Protocol::Pairing => match served.pairings.try_acquire() {
            Ok(_permit) => enrol::serve(tunnel, served.door.clone(), (served.clock)()).await,
            Err(_) => tunnel.close(CloseCode::BUSY),
        },
    }
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "A connection's task panicked; the others go on. Report this.");
    }
}

/// Handshakes under way, in all and per address.
#[derive(Default)]
struct Handshakes {
    per_address: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

impl Handshakes {
    fn count(&self) -> usize {
        self.per_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn enter<D>(served: &Arc<Served<D>>, address: IpAddr) -> Option<Place<D>> {
        let mut counts = served
            .handshakes
            .per_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.1.entry(address).or_insert(0);
        if *of_address >= limits::HANDSHAKES_PER_ADDRESS_MAX {
            return None;
        }
        *of_address += 1;
        counts.0 += 1;
        drop(counts);
        Some(Place {
            served: served.clone(),
            address,
        })
    }

    fn leave(&self, address: IpAddr) {
        let mut counts = self
            .per_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.0 = counts.0.saturating_sub(1);
        if let Some(of_address) = counts.1.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.1.remove(&address);
            }
        }
    }
}

/// One handshake's place; dropping it gives the place back.
struct Place<D> {
    served: Arc<Served<D>>,
    address: IpAddr,
}

impl<D> Drop for Place<D> {
    fn drop(&mut self) {
        self.served.handshakes.leave(self.address);
    }
}
