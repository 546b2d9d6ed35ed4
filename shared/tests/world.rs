//! Two authorities, a relay's listener and agents' dialers on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_shared::identity::{
    AgentIdentity, AgentKey, AuthorityKind, CertificateAuthority, Validity, tls,
};
use tidegate_shared::tunnel::{
    QuicDialer, QuicListener, QuicSettings, QuicSockets, StableKeys, TcpTunnelDialer,
    TcpTunnelListener, Transport, Tunnel, TunnelDialer, TunnelListener,
};

pub(crate) const RELAY_NAME: &str = "relay.test";

pub(crate) struct World {
    pub(crate) agents: CertificateAuthority,
    pub(crate) relays: CertificateAuthority,
    pub(crate) now: SystemTime,
}

pub(crate) struct Credentials {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Credentials {
    pub(crate) fn copy(&self) -> Credentials {
        Credentials {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now();
        World {
            agents: CertificateAuthority::generate(AuthorityKind::Agents, now).unwrap(),
            relays: CertificateAuthority::generate(AuthorityKind::Relays, now).unwrap(),
            now,
        }
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity {
            now: self.now,
            life: Duration::from_secs(3600),
        }
    }

    pub(crate) fn agent(&self, id: &str) -> Credentials {
        self.agent_valid(id, self.validity())
    }

    pub(crate) fn agent_valid(&self, id: &str, validity: Validity) -> Credentials {
        let key = AgentKey::generate().unwrap();
        let identity = AgentIdentity::new("default", id).unwrap();
        let issued = self
            .agents
            .issue_agent(&key.csr_der().unwrap(), &identity, validity)
            .unwrap();
        Credentials {
            chain: issued.chain,
            key: key.to_der(),
        }
    }

    pub(crate) fn relay(&self) -> Credentials {
        let names = [RELAY_NAME.to_owned(), "127.0.0.1".to_owned()];
        let (issued, key) = self.relays.issue_relay(&names, self.validity()).unwrap();
        Credentials {
            chain: issued.chain,
            key,
        }
    }

    pub(crate) fn listen_as(&self, relay: Credentials) -> (QuicListener, SocketAddr) {
        let (tls, keys) = (self.relay_tls(relay), stable_keys());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = QuicListener::bind(loopback, tls, &keys, QuicSettings::default()).unwrap();
        let address = listener.local().unwrap();
        (listener, address)
    }

    pub(crate) fn relay_tls(&self, relay: Credentials) -> rustls::ServerConfig {
        let authorities = [self.agents.certificate().clone()];
        tls::relay_server(&authorities, relay.chain, relay.key).unwrap()
    }

    /// Only TCP, so that a test can be the other end itself.
    pub(crate) fn listen_tcp(&self) -> (TcpTunnelListener, SocketAddr) {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpTunnelListener::bind(loopback, self.relay_tls(self.relay())).unwrap();
        let address = listener.local().unwrap();
        (listener, address)
    }

    pub(crate) fn agent_tls(&self, agent: Credentials) -> rustls::ClientConfig {
        let authorities = [self.relays.certificate().clone()];
        tls::agent_client(&authorities, agent.chain, agent.key).unwrap()
    }

    pub(crate) fn pairing_tls(&self) -> rustls::ClientConfig {
        tls::pairing_client(&[self.relays.spki_pin().unwrap()]).unwrap()
    }

    /// Both transports at one port.
    pub(crate) fn listen_both(&self) -> Arc<TunnelListener> {
        let (loopback, keys) = (SocketAddr::from(([127, 0, 0, 1], 0)), stable_keys());
        let (tls, settings) = (self.relay_tls(self.relay()), QuicSettings::default());
        Arc::new(TunnelListener::bind(loopback, &tls, &keys, settings).unwrap())
    }

    /// A connected pair over one of them.
    pub(crate) async fn connected_over(&self, transport: Transport) -> Pair {
        let listener = self.listen_both();
        let address = listener.local().unwrap();
        let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
        let accepting = Arc::clone(&listener);
        // Over TCP every stream comes as an arrival of its own.
        let accepting = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(arriving) = accepting.accept().await {
                if let Ok(Some(tunnel)) = arriving.handshake().await {
                    arrived.send(tunnel).await.unwrap();
                }
            }
        }));
        let tls = self.agent_tls(self.agent("a1"));
        let (agent, dialer) = match transport {
            Transport::Quic => {
                let dialer = dialer();
                let agent = dialer.dial(address, RELAY_NAME, tls).await.unwrap();
                (agent, TunnelDialer::Quic(dialer))
            }
            Transport::Tcp => {
                let dialer = TcpTunnelDialer::new(Arc::new(address));
                let agent = dialer.dial(RELAY_NAME, tls).await.unwrap();
                (agent, TunnelDialer::Tcp(dialer))
            }
        };
        Pair {
            relay: arrivals.recv().await.unwrap(),
            agent,
            listener,
            dialer,
            _accepting: accepting,
        }
    }
}

/// Both ends of a tunnel, and what keeps them alive.
pub(crate) struct Pair {
    pub(crate) relay: Tunnel,
    pub(crate) agent: Tunnel,
    pub(crate) listener: Arc<TunnelListener>,
    pub(crate) dialer: TunnelDialer,
    _accepting: tokio_util::task::AbortOnDropHandle<()>,
}

fn stable_keys() -> StableKeys {
    StableKeys {
        reset: [3; 64],
        connection_id: 7,
    }
}

pub(crate) fn dialer() -> QuicDialer {
    QuicSockets::default()
        .bind(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            QuicSettings::default(),
        )
        .unwrap()
}
