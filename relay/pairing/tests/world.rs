//! A relay in a temporary directory with a clock that can be moved, and agents that talk to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_shared::identity::{AgentKey, AgentLeaf, tls};
use tidegate_shared::pairing::{PairingToken, RelayAddr};
use tidegate_shared::tunnel::{
    QuicSettings, QuicSockets, TcpTunnelDialer, Transport, Tunnel, TunnelDialer, TunnelError,
    TunnelReader, TunnelWriter,
};
use tidegate_shared::wire::{
    self, AgentMessage, FrameReader, Hello, HelloAck, PairAnswer, PairAsk, PairRequest, Paired,
    RelayMessage, TargetInfo,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::identity::Custody;
use crate::pairing::{Asker, Pairing, PairingConfig};
use crate::store::{Store, audit};
use crate::tunnel::{Agents, Clock, Doorkeeper, Listener, ListenerConfig};

pub(super) const RELAY: &str = "relay.test";
pub(super) const ASKER: Asker<'static> = Asker {
    workspace: "default",
    actor: "operator",
};
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const SOON: Duration = Duration::from_secs(5);

pub(super) async fn timeout_soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .expect("it must happen within five seconds")
}

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) custody: Arc<Custody>,
    pub(super) agents: Agents,
    pub(super) pairing: Arc<Pairing>,
    now: Arc<Mutex<SystemTime>>,
    transport: Transport,
}

impl World {
    pub(super) fn new() -> Self {
        World::over(Transport::Quic)
    }

    /// Whose agents use this transport.
    pub(super) fn over(transport: Transport) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let now = SystemTime::now();
        let names = [RELAY.to_owned()];
        let custody = Arc::new(Custody::open(dir.path(), &names, now).unwrap());
        let agents = Agents::new();
        let config = PairingConfig {
            relays: vec![RelayAddr {
                host: RELAY.into(),
                port: 443,
            }],
            agent_life: 72 * HOUR,
        };
        let pairing = Arc::new(Pairing::new(
            store.clone(),
            custody.clone(),
            agents.clone(),
            config,
        ));
        World {
            dir,
            store,
            custody,
            agents,
            pairing,
            now: Arc::new(Mutex::new(now)),
            transport,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        *self.now.lock().unwrap()
    }

    pub(super) fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    pub(super) fn clock(&self) -> Clock {
        let now = self.now.clone();
        Arc::new(move || *now.lock().unwrap())
    }

    pub(super) async fn invite(&self, name: &str) -> PairingToken {
        let invitation = self.pairing.invite(
            ASKER,
            name,
            super::super::limits::EXPIRES_DEFAULT,
            self.now(),
        );
        PairingToken::parse(&invitation.await.unwrap().token).unwrap()
    }

    /// Asks as a stranger from its own address.
    pub(super) async fn redeem_from(
        &self,
        token: &PairingToken,
        key: &AgentKey,
        address: u32,
    ) -> PairAnswer {
        let ask = PairAsk::Redeem(request(token, key));
        self.pairing
            .pair(ask, IpAddr::from(address.to_be_bytes()), self.now())
            .await
    }

    pub(super) async fn redeem(&self, token: &PairingToken, key: &AgentKey) -> PairAnswer {
        self.redeem_from(token, key, 0x7f00_0001).await
    }

    /// A paired agent, without any connection.
    pub(super) async fn paired(&self, name: &str) -> Credentials {
        let token = self.invite(name).await;
        let key = AgentKey::generate().unwrap();
        match self.redeem(&token, &key).await {
            PairAnswer::Paired(paired) => Credentials::new(&paired, &key),
            refused => panic!("{refused:?}"),
        }
    }

    /// The actions in the audit log, the newest first.
    pub(super) async fn audit(&self) -> Vec<String> {
        let events = self
            .store
            .view(|conn| audit::list(conn, "default", None, 10));
        let events = events.await.unwrap().into_iter();
        events.map(|record| record.event.action).collect()
    }

    /// Starts listening on loopback with `door` deciding.
    pub(super) fn listen_with<D: Doorkeeper>(&self, door: Arc<D>) -> Running {
        let config = ListenerConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            quic: QuicSettings::default(),
        };
        let listener = Listener::bind(
            &config,
            self.custody.clone(),
            door,
            self.agents.clone(),
            self.clock(),
        )
        .unwrap();
        let address = At {
            address: listener.local().unwrap(),
            transport: self.transport,
        };
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(listener.run(stop.clone())));
        Running {
            address,
            stop,
            task,
        }
    }

    pub(super) fn listen(&self) -> Running {
        self.listen_with(self.pairing.clone())
    }
}

pub(super) fn request(token: &PairingToken, key: &AgentKey) -> PairRequest {
    PairRequest {
        token_id: token.id,
        secret: token.secret.clone(),
        csr_der: key.csr_der().unwrap(),
        host: "db1".into(),
        agent_version: "0.1.0".into(),
    }
}

/// Where a relay listens, and how it is dialled.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
}

pub(super) struct Running {
    pub(super) address: At,
    pub(super) stop: CancellationToken,
    pub(super) task: AbortOnDropHandle<()>,
}

/// What an agent keeps after pairing.
pub(super) struct Credentials {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) relay_authorities: Vec<CertificateDer<'static>>,
    pub(super) key: AgentKey,
}

impl Credentials {
    pub(super) fn new(paired: &Paired, key: &AgentKey) -> Self {
        let der = |list: &[Vec<u8>]| list.iter().cloned().map(CertificateDer::from).collect();
        Credentials {
            chain: der(&paired.chain_der),
            relay_authorities: der(&paired.relay_ca_der),
            key: AgentKey::from_pem(&key.to_pem()).unwrap(),
        }
    }

    pub(super) fn leaf(&self) -> AgentLeaf {
        AgentLeaf::from_verified(&self.chain[0]).unwrap()
    }

    pub(super) fn id(&self) -> String {
        self.leaf().identity.agent().to_owned()
    }

    pub(super) fn tls(&self) -> rustls::ClientConfig {
        let key: PrivateKeyDer = self.key.to_der();
        tls::agent_client(&self.relay_authorities, self.chain.clone(), key).unwrap()
    }
}

/// A tunnel to a relay, and what must outlive it.
pub(super) async fn dial(
    at: At,
    tls: rustls::ClientConfig,
) -> Result<(Tunnel, TunnelDialer), TunnelError> {
    match at.transport {
        Transport::Quic => {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let dialer = QuicSockets::default()
                .bind(any, QuicSettings::default())
                .unwrap();
            let tunnel = dialer.dial(at.address, RELAY, tls).await?;
            Ok((tunnel, TunnelDialer::Quic(dialer)))
        }
        Transport::Tcp => {
            let dialer = TcpTunnelDialer::new(Arc::new(at.address));
            let tunnel = dialer.dial(RELAY, tls).await?;
            Ok((tunnel, TunnelDialer::Tcp(dialer)))
        }
    }
}

/// An agent's end of a session.
pub(super) struct Session {
    pub(super) tunnel: Tunnel,
    pub(super) reader: FrameReader<TunnelReader>,
    pub(super) writer: TunnelWriter,
    pub(super) ack: HelloAck,
    _dialer: TunnelDialer,
}

pub(super) fn hello() -> Hello {
    Hello {
        protocol_min: wire::PROTOCOL_MIN,
        protocol_max: wire::PROTOCOL_MAX,
        agent_version: "0.1.0".into(),
        host: "db1".into(),
        targets: vec![TargetInfo {
            name: "main".into(),
            database: "shop".into(),
            read_only: false,
        }],
        epoch_counter: 41,
        ddl_targets: wire::Grown::default(),
        slot_bounds: wire::Grown::default(),
        holding: wire::Grown::default(),
        passthrough_targets: wire::Grown::default(),
        forward_targets: wire::Grown::default(),
        knows: wire::Grown(RelayMessage::KINDS),
        instance: wire::Grown::default(),
        trust_generation: wire::Grown::default(),
    }
}

/// Dials and says hello. What the relay answers instead of an acknowledgement is the error.
pub(super) async fn connect(
    at: At,
    tls: rustls::ClientConfig,
    hello: Hello,
) -> Result<Session, (TunnelError, Option<RelayMessage>)> {
    let (tunnel, dialer) = dial(at, tls).await.map_err(|error| (error, None))?;
    let stream = tunnel.open().await.map_err(|error| (error, None))?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = FrameReader::new(reader);
    let _ = wire::write_message(&mut writer, &AgentMessage::Hello(hello)).await;
    match reader.next().await {
        Ok(RelayMessage::HelloAck(ack)) => Ok(Session {
            tunnel,
            reader,
            writer,
            ack,
            _dialer: dialer,
        }),
        Ok(other) => Err((tunnel.closed().await, Some(other))),
        Err(_) => Err((tunnel.closed().await, None)),
    }
}

impl Session {
    pub(super) async fn say(&mut self, message: AgentMessage) {
        wire::write_message(&mut self.writer, &message)
            .await
            .unwrap();
    }

    pub(super) async fn hear(&mut self) -> RelayMessage {
        self.reader.next().await.unwrap()
    }
}
