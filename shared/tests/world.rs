//! Two authorities, a relay's listener and agents' dialers on loopback.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_shared::identity::{
    AgentIdentity, AgentKey, AuthorityKind, CertificateAuthority, Validity, tls,
};
use tidegate_shared::tunnel::{QuicDialer, QuicListener, QuicSettings, StableKeys, Tunnel};

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

    pub(crate) fn listen(&self) -> (QuicListener, SocketAddr) {
        self.listen_as(self.relay())
    }

    pub(crate) fn listen_as(&self, relay: Credentials) -> (QuicListener, SocketAddr) {
        let authorities = [self.agents.certificate().clone()];
        let tls = tls::relay_server(&authorities, relay.chain, relay.key).unwrap();
        let keys = StableKeys {
            reset: [3; 64],
            connection_id: 7,
        };
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = QuicListener::bind(loopback, tls, &keys, QuicSettings::default()).unwrap();
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

    /// A connected pair: the relay's end, the agent's end, and what keeps them alive.
    pub(crate) async fn connected(&self) -> (Tunnel, Tunnel, QuicListener, QuicDialer) {
        let (listener, address) = self.listen();
        let dialer = dialer();
        let tls = self.agent_tls(self.agent("a1"));
        let (relay, agent) = tokio::join!(
            async { listener.accept().await.unwrap().handshake().await.unwrap() },
            async { dialer.dial(address, RELAY_NAME, tls).await.unwrap() },
        );
        (relay, agent, listener, dialer)
    }
}

pub(crate) fn dialer() -> QuicDialer {
    QuicDialer::bind(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        QuicSettings::default(),
    )
    .unwrap()
}
