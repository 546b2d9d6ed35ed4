//! The way to a relay: its name's addresses, QUIC and TCP raced, and what worked remembered.
//!
//! QUIC is better where UDP passes: streams don't wait for each other's lost packets, and a changed
//! address costs nothing. So it gets a head start, and an agent that had to use TCP looks again
//! from time to time. The addresses of a name race, too, since the first may be of a family that leads
//! nowhere; and a name is asked for at each dial, since it may have moved. A proxy carries TCP alone: QUIC
//! goes by it, where that passes. Called by pairing (`identity::enroll`), by the session (`tunnel`) and by
//! the doctor.

mod error;
mod proxy;
mod through;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::{
    CloseCode, Connect, QuicSettings, QuicSockets, TcpTunnelDialer, Transport, Tunnel,
    TunnelDialer, TunnelError,
};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;
use zeroize::Zeroizing;

pub use error::RouteError;
pub use proxy::{Proxies, Proxy, ProxyChoice, ProxyKind, ProxyPassword};

use crate::config::{Config, TransportChoice};
use through::Through;

mod limits {
    use super::Duration;

    /// DNS answers within this or not at all.
    pub(super) const RESOLVE: Duration = Duration::from_secs(10);
    /// A handshake takes two round trips; lost packets are sent again meanwhile.
    pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
    /// Addresses tried of one relay name.
    pub(super) const ADDRESSES_MAX: usize = 8;
    /// Each further address is tried this much after the one before (RFC 8305 section 5), or at once
    /// when that has failed.
    pub(super) const ADDRESS_PACE: Duration = Duration::from_millis(250);
    /// What worked last time goes ahead of the other by this: enough for a handshake over a
    /// satellite (600 ms), little to wait where UDP is swallowed.
    pub(super) const HEAD_START: Duration = Duration::from_secs(1);
    /// How often an agent that uses TCP looks whether QUIC passes again.
    pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(300);
}

/// A tunnel and what made it. Fields drop in order: the socket last.
pub struct Route {
    pub tunnel: Tunnel,
    pub dialer: TunnelDialer,
}

impl Route {
    /// Closes it, for whoever only wanted to know whether it is there.
    pub async fn leave(self) {
        self.tunnel.close(CloseCode::DONE);
        // Lets the relay see the close instead of waiting for its timeout; best effort.
        let mut idle = pin!(self.dialer.wait_idle());
        let _ = timeout(Duration::from_secs(1), &mut idle).await;
    }
}

/// Makes addresses of a relay's name.
pub type Resolver = Arc<dyn Fn(&RelayAddr) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What the agent may use, and what it knows of the ways.
pub struct Routes {
    choice: TransportChoice,
    quic: QuicSettings,
    sockets: QuicSockets,
    proxies: Proxies,
    /// The system's unless there is one.
    resolver: Option<Resolver>,
    /// What worked last, by relay.
    worked: Mutex<HashMap<String, Transport>>,
    look_again: Duration,
}

impl Routes {
    pub fn new(choice: TransportChoice) -> Self {
        Self::looking_again(choice, limits::LOOK_AGAIN)
    }

    /// As this host is configured, its environment included.
    pub fn of(config: &Config) -> Result<Self, String> {
        let proxies = Proxies::new(&config.proxy, |name| std::env::var(name).ok())?;
        let mut routes = Self::new(config.transport).through(proxies);
        routes.quic.segmentation_offload = config.segmentation_offload;
        Ok(routes)
    }

    /// With another pause between two looks for QUIC.
    pub fn looking_again(choice: TransportChoice, every: Duration) -> Self {
        Self {
            choice,
            quic: QuicSettings::default(),
            sockets: QuicSockets::default(),
            proxies: Proxies::default(),
            resolver: None,
            worked: Mutex::default(),
            look_again: every,
        }
    }

    /// With these proxies in between.
    pub fn through(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// With names resolved by this and not by the system.
    pub fn resolving(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Resolves the relay's name and shakes hands over what is allowed and passes first.
    pub async fn connect(
        &self,
        relay: &RelayAddr,
        tls: &rustls::ClientConfig,
    ) -> Result<Route, RouteError> {
        let way = self.way(relay, tls);
        match self.choice {
            TransportChoice::Auto => self.race(&way).await,
            TransportChoice::Quic => way.over(Transport::Quic).await,
            TransportChoice::Tcp => way.over(Transport::Tcp).await,
        }
    }

    /// What TCP to this relay goes through.
    pub fn proxy(&self, relay: &RelayAddr) -> Option<&Proxy> {
        self.proxies.towards(relay)
    }

    /// What must not be shown of the proxy.
    pub fn proxy_password(&self) -> Option<Zeroizing<String>> {
        self.proxies.password()
    }

    fn way<'a>(&'a self, relay: &'a RelayAddr, tls: &'a rustls::ClientConfig) -> Way<'a> {
        Way {
            relay,
            quic: self.quic,
            sockets: &self.sockets,
            proxy: self.proxy(relay),
            resolver: self.resolver.as_ref(),
            tls,
        }
    }

    async fn race(&self, way: &Way<'_>) -> Result<Route, RouteError> {
        let (first, second) = match self.worked(way.relay) {
            Transport::Quic => (Transport::Quic, Transport::Tcp),
            Transport::Tcp => (Transport::Tcp, Transport::Quic),
        };
        let mut ahead = Box::pin(way.over(first));
        let mut failed_ahead = match timeout(limits::HEAD_START, &mut ahead).await {
            Ok(Ok(route)) => return Ok(route),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let mut behind = Box::pin(way.over(second));
        let mut failed_behind = None;
        loop {
            tokio::select! {
                biased;
                done = &mut ahead, if failed_ahead.is_none() => match done {
                    Ok(route) => return Ok(self.note(way.relay, route)),
                    Err(error) => failed_ahead = Some(error),
                },
                done = &mut behind, if failed_behind.is_none() => match done {
                    Ok(route) => return Ok(self.note(way.relay, route)),
                    Err(error) => failed_behind = Some(error),
                },
                else => break,
            }
        }
        // Both are there: the loop ends in no other way.
        let silent = RouteError::silent(way.relay, "UDP or TCP");
        match (failed_ahead, failed_behind) {
            (Some(ahead), Some(behind)) => Err(RouteError::of_both(ahead, behind, silent)),
            _ => Err(silent),
        }
    }

    /// Shakes hands over one transport and says nothing.
    pub async fn reach(
        &self,
        relay: &RelayAddr,
        transport: Transport,
        tls: &rustls::ClientConfig,
    ) -> Result<Route, RouteError> {
        Box::pin(self.way(relay, tls).over(transport)).await
    }

    fn note(&self, relay: &RelayAddr, route: Route) -> Route {
        self.remember(relay, route.tunnel.transport());
        route
    }

    fn remember(&self, relay: &RelayAddr, transport: Transport) {
        self.worked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(relay.to_string(), transport);
    }

    fn worked(&self, relay: &RelayAddr) -> Transport {
        let worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = worked.get(&relay.to_string()).copied();
        known.unwrap_or(Transport::Quic)
    }

    /// Returns when QUIC is to be preferred to what is used now: never, unless that is TCP for want
    /// of UDP. `tls` is for the pairing conversation, in which nothing is said. Cancel safe.
    pub async fn quic_is_back(
        &self,
        relay: &RelayAddr,
        used: Transport,
        tls: &rustls::ClientConfig,
    ) {
        if self.choice != TransportChoice::Auto || used == Transport::Quic {
            return std::future::pending().await;
        }
        loop {
            sleep(self.look_again).await;
            match self.reach(relay, Transport::Quic, tls).await {
                Ok(route) => {
                    route.leave().await;
                    return self.remember(relay, Transport::Quic);
                }
                Err(error) => debug!(%error, "QUIC does not pass yet"),
            }
        }
    }
}

/// One relay, and what it is dialled with.
struct Way<'a> {
    relay: &'a RelayAddr,
    quic: QuicSettings,
    sockets: &'a QuicSockets,
    proxy: Option<&'a Proxy>,
    resolver: Option<&'a Resolver>,
    tls: &'a rustls::ClientConfig,
}

impl Way<'_> {
    async fn over(&self, transport: Transport) -> Result<Route, RouteError> {
        match (transport, self.proxy) {
            (Transport::Quic, _) => self.directly(transport, "UDP").await,
            (Transport::Tcp, None) => self.directly(transport, "TCP").await,
            (Transport::Tcp, Some(proxy)) => self.through(proxy).await,
        }
    }

    /// The first address that answers.
    async fn directly(
        &self,
        transport: Transport,
        over: &'static str,
    ) -> Result<Route, RouteError> {
        let mut addresses = self.resolve().await?.into_iter();
        let mut last = RouteError::silent(self.relay, over);
        // Owned here: those that are left when one has answered are given up.
        let mut dials = JoinSet::new();
        loop {
            if let Some(address) = addresses.next() {
                let dial = Dial {
                    relay: self.relay.clone(),
                    quic: self.quic,
                    sockets: self.sockets.clone(),
                    tls: self.tls.clone(),
                };
                dials.spawn(dial.at(address, transport, over));
            }
            tokio::select! {
                biased;
                Some(done) = dials.join_next() => match done {
                    Ok(Ok(route)) => return Ok(route),
                    Ok(Err(error)) => last = error,
                    Err(error) => debug!(%error, "a dial ended by itself"),
                },
                () = sleep(limits::ADDRESS_PACE), if addresses.len() > 0 => {}
                else => return Err(last),
            }
        }
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, RouteError> {
        let relay = self.relay;
        let unresolved = |text: String| RouteError::Unresolved {
            relay: relay.clone(),
            text,
        };
        let found = match self.resolver {
            Some(resolver) => resolver(relay),
            None => {
                let lookup = tokio::net::lookup_host((relay.host.as_str(), relay.port));
                let found = timeout(limits::RESOLVE, lookup).await;
                let found = found.map_err(|_| unresolved("no answer within 10 s".into()))?;
                found.map(Iterator::collect)
            }
        };
        let mut addresses: Vec<_> = found.map_err(|error| unresolved(error.to_string()))?;
        addresses.truncate(limits::ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(unresolved("no address".into()));
        }
        Ok(addresses)
    }

    async fn through(&self, proxy: &Proxy) -> Result<Route, RouteError> {
        let relay = self.relay.clone();
        let connect = Through {
            proxy: proxy.clone(),
            relay: relay.clone(),
        };
        let refused = |text: String| RouteError::Proxy {
            relay: self.relay.clone(),
            proxy: proxy.to_string(),
            text,
        };
        match timeout(limits::HANDSHAKE, self.tcp(Arc::new(connect))).await {
            Ok(Ok(route)) => Ok(route),
            Err(_) | Ok(Err(TunnelError::TimedOut)) => Err(refused(
                "no answer within 10 s: check the address".to_owned(),
            )),
            Ok(Err(TunnelError::Unreachable(text))) => Err(refused(text)),
            Ok(Err(source)) => Err(RouteError::Unreachable { relay, source }),
        }
    }

    async fn tcp(&self, connect: Arc<dyn Connect>) -> Result<Route, TunnelError> {
        over_tcp(connect, &self.relay.host, self.tls.clone()).await
    }
}

/// One relay at one of its addresses.
struct Dial {
    relay: RelayAddr,
    quic: QuicSettings,
    sockets: QuicSockets,
    tls: rustls::ClientConfig,
}

impl Dial {
    async fn at(
        self,
        address: SocketAddr,
        transport: Transport,
        over: &'static str,
    ) -> Result<Route, RouteError> {
        let relay = self.relay.clone();
        let dialled = async {
            match transport {
                Transport::Quic => self.quic(address).await,
                Transport::Tcp => over_tcp(Arc::new(address), &self.relay.host, self.tls).await,
            }
        };
        match timeout(limits::HANDSHAKE, dialled).await {
            Ok(Ok(route)) => Ok(route),
            Err(_) | Ok(Err(TunnelError::TimedOut)) => Err(RouteError::silent(&relay, over)),
            Ok(Err(source)) => Err(RouteError::Unreachable { relay, source }),
        }
    }

    async fn quic(self, address: SocketAddr) -> Result<Route, TunnelError> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let dialer = self.sockets.bind(any, self.quic)?;
        let tunnel = dialer.dial(address, &self.relay.host, self.tls).await?;
        let dialer = TunnelDialer::Quic(dialer);
        Ok(Route { tunnel, dialer })
    }
}

async fn over_tcp(
    connect: Arc<dyn Connect>,
    host: &str,
    tls: rustls::ClientConfig,
) -> Result<Route, TunnelError> {
    let dialer = TcpTunnelDialer::new(connect);
    let tunnel = dialer.dial(host, tls).await?;
    let dialer = TunnelDialer::Tcp(dialer);
    Ok(Route { tunnel, dialer })
}
