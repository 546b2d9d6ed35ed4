//! A relay that a test plays, and agents that are paired with it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tidegate_agent::config::{Target, TransportChoice};
use tidegate_agent::identity::enroll::{self, EnrollError};
use tidegate_agent::identity::keystore::{Identity, Keystore, KeystoreError};
use tidegate_agent::origin::Origin;
use tidegate_agent::origin::password::Places;
use tidegate_agent::route::Routes;
use tidegate_agent::tunnel::causes::Causes;
use tidegate_agent::tunnel::status::Board;
use tidegate_agent::tunnel::supervise::Supervisor;
use tidegate_shared::identity::{
    AgentIdentity, AuthorityKind, CertificateAuthority, Validity, tls,
};
use tidegate_shared::pairing::{PairingToken, RelayAddr, TokenSecret};
use tidegate_shared::tunnel::{
    Arriving, Backoff, Protocol, QuicListener, QuicSettings, StableKeys, TcpTunnelListener, Tunnel,
    TunnelError, TunnelReader, TunnelStream, TunnelWriter,
};
use tidegate_shared::wire::{
    self, AgentMessage, FrameReader, Hello, HelloAck, OpenAnswer, OpenRequest, PairAnswer, PairAsk,
    Paired, Purpose, RelayMessage, read_message, write_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{Config, NoTls};
use tokio_util::sync::CancellationToken;

use super::middlebox::Middlebox;
use super::server::server;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A relay's authorities and its sockets.
pub(crate) struct Relay {
    agents: CertificateAuthority,
    pub(crate) relays: CertificateAuthority,
    tls: rustls::ServerConfig,
    tcp: TcpTunnelListener,
    udp: Udp,
}

/// What becomes of UDP on the relay's port.
enum Udp {
    Passes(QuicListener),
    /// As a firewall does it: without an answer.
    Swallowed(UdpSocket),
    /// To this socket, by way of what is between.
    Forwarded(QuicListener, Middlebox),
}

impl Relay {
    pub(crate) fn start() -> Relay {
        let mut relay = Relay::without_udp();
        relay.let_udp_pass();
        relay
    }

    /// UDP to its port is swallowed.
    pub(crate) fn without_udp() -> Relay {
        Relay::named("127.0.0.1")
    }

    /// The same, with another name in its certificate.
    pub(crate) fn named(name: &str) -> Relay {
        let now = SystemTime::now();
        let agents = CertificateAuthority::generate(AuthorityKind::Agents, now).unwrap();
        let relays = CertificateAuthority::generate(AuthorityKind::Relays, now).unwrap();
        Relay::of(agents, relays, name)
    }

    /// Another relay, which knows the same agents: at another port, with a certificate by `relays`.
    pub(crate) fn twin(&self, relays: &CertificateAuthority, name: &str) -> Relay {
        let copy =
            |of: &CertificateAuthority| CertificateAuthority::from_pem(&of.to_pem()).unwrap();
        let mut twin = Relay::of(copy(&self.agents), copy(relays), name);
        twin.let_udp_pass();
        twin
    }

    fn of(agents: CertificateAuthority, relays: CertificateAuthority, name: &str) -> Relay {
        let now = SystemTime::now();
        let names = [name.to_owned()];
        let (issued, key) = relays
            .issue_relay(&names, Validity { now, life: HOUR })
            .unwrap();
        let tls = tls::relay_server(&[agents.certificate().clone()], issued.chain, key).unwrap();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        // A port that is free for both.
        let (tcp, udp) = (0..16)
            .find_map(|_| {
                let tcp = TcpTunnelListener::bind(any, tls.clone()).unwrap();
                let udp = UdpSocket::bind(tcp.local().unwrap()).ok()?;
                Some((tcp, udp))
            })
            .unwrap();
        udp.set_nonblocking(true).unwrap();
        Relay {
            agents,
            relays,
            tls,
            tcp,
            udp: Udp::Swallowed(udp),
        }
    }

    pub(crate) fn let_udp_pass(&mut self) {
        let local = self.tcp.local().unwrap();
        // The socket that swallowed it must be gone first.
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        self.udp = Udp::Swallowed(UdpSocket::bind(any).unwrap());
        self.udp = Udp::Passes(self.quic(local));
    }

    /// UDP goes through something that can be told to change or to stop it.
    pub(crate) fn behind_a_middlebox() -> Relay {
        let mut relay = Relay::without_udp();
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let quic = relay.quic(any);
        let Udp::Swallowed(front) = relay.udp else {
            unreachable!("nothing passes yet")
        };
        let middlebox = Middlebox::start(front, quic.local().unwrap());
        relay.udp = Udp::Forwarded(quic, middlebox);
        relay
    }

    pub(crate) fn middlebox(&self) -> &Middlebox {
        match &self.udp {
            Udp::Forwarded(_, middlebox) => middlebox,
            _ => panic!("there is none"),
        }
    }

    fn quic(&self, local: SocketAddr) -> QuicListener {
        let keys = StableKeys {
            reset: [7; 64],
            connection_id: 7,
        };
        QuicListener::bind(local, self.tls.clone(), &keys, QuicSettings::default()).unwrap()
    }

    /// Whether anything came over UDP while it was swallowed.
    pub(crate) fn swallowed_anything(&self) -> bool {
        match &self.udp {
            Udp::Passes(_) | Udp::Forwarded(..) => false,
            Udp::Swallowed(socket) => socket.recv(&mut [0; 2048]).is_ok(),
        }
    }

    async fn arriving(&self) -> Arriving {
        match &self.udp {
            Udp::Swallowed(_) => self.tcp.accept().await,
            Udp::Passes(quic) | Udp::Forwarded(quic, _) => tokio::select! {
                arriving = quic.accept() => arriving.unwrap(),
                arriving = self.tcp.accept() => arriving,
            },
        }
    }

    /// Takes the connections that join a session, and nothing else. For ever.
    pub(crate) async fn joins(&self) -> ! {
        loop {
            let joined = self.arriving().await.handshake().await;
            assert!(joined.unwrap().is_none(), "a session came instead");
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.tcp.local().unwrap()
    }

    pub(crate) fn address(&self) -> RelayAddr {
        let port = self.local().port();
        RelayAddr {
            host: "127.0.0.1".into(),
            port,
        }
    }

    pub(crate) fn token(&self) -> PairingToken {
        PairingToken {
            relays: vec![self.address()],
            ca_pins: vec![self.relays.spki_pin().unwrap()],
            id: [1; 16],
            secret: TokenSecret::new([2; 32]),
        }
    }

    pub(crate) fn issue(&self, csr_der: &[u8], started: Duration, life: Duration) -> Vec<Vec<u8>> {
        let id = AgentIdentity::new("default", "a1").unwrap();
        let validity = Validity {
            now: SystemTime::now() - started,
            life,
        };
        let issued = self.agents.issue_agent(csr_der, &id, validity).unwrap();
        issued.chain.iter().map(|der| der.to_vec()).collect()
    }

    pub(crate) fn paired(&self, csr_der: &[u8], started: Duration, life: Duration) -> PairAnswer {
        PairAnswer::Paired(Paired {
            agent_name: "office-db".into(),
            workspace: "default".into(),
            chain_der: self.issue(csr_der, started, life),
            relay_ca_der: vec![self.relays.certificate().to_vec()],
            trust_generation: wire::Grown(0),
        })
    }

    /// The next that is no connection of a session that is here.
    pub(crate) async fn arrival(&self) -> Result<Tunnel, TunnelError> {
        loop {
            if let Some(tunnel) = self.arriving().await.handshake().await? {
                return Ok(tunnel);
            }
        }
    }

    /// Takes one pairing question.
    pub(crate) async fn question(&self) -> (Tunnel, TunnelStream, PairAsk) {
        let tunnel = self.arrival().await.unwrap();
        assert_eq!(tunnel.protocol(), Protocol::Pairing);
        let mut stream = tunnel.accept().await.unwrap();
        let ask = read_message(&mut stream).await.unwrap();
        (tunnel, stream, ask)
    }

    /// Answers one pairing question with `answer` of its CSR.
    pub(crate) async fn answer(&self, answer: impl FnOnce(&[u8]) -> PairAnswer) {
        let (tunnel, mut stream, ask) = self.question().await;
        let csr_der = match &ask {
            PairAsk::Redeem(request) => &request.csr_der,
            PairAsk::Reissue(request) => &request.csr_der,
        };
        write_message(&mut stream, &answer(csr_der)).await.unwrap();
        stream.shutdown().await.unwrap();
        tunnel.closed().await;
    }

    /// Takes one session and acknowledges its hello.
    pub(crate) async fn session(&self) -> Session {
        let tunnel = loop {
            match self.arrival().await {
                Ok(tunnel) => break tunnel,
                // A spare connection of the session before, given up in mid-handshake.
                Err(TunnelError::Transport(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        self.acknowledge(tunnel, AgentMessage::KINDS).await
    }

    /// Acknowledges the hello that comes through this tunnel, as a relay that knows so many kinds.
    pub(crate) async fn acknowledge(&self, tunnel: Tunnel, kinds: u32) -> Session {
        assert_eq!(tunnel.protocol(), Protocol::Agent);
        let (reader, mut writer) = tunnel.accept().await.unwrap().into_split();
        let mut reader = FrameReader::new(reader);
        let AgentMessage::Hello(hello) = reader.next().await.unwrap() else {
            panic!("the first message is a hello")
        };
        let relay_time_ms = tidegate_agent::origin::unix_ms(SystemTime::now());
        let ack = HelloAck {
            protocol: 1,
            session: 1,
            relay_time_ms,
            relay_version: wire::Grown("0.1.0".into()),
            knows: wire::Grown(kinds),
        };
        write_message(&mut writer, &RelayMessage::HelloAck(ack))
            .await
            .unwrap();
        Session {
            tunnel,
            reader,
            writer,
            hello,
        }
    }
}

/// The relay's side of a session.
pub(crate) struct Session {
    pub(crate) tunnel: Tunnel,
    pub(crate) reader: FrameReader<TunnelReader>,
    pub(crate) writer: TunnelWriter,
    pub(crate) hello: Hello,
}

impl Session {
    pub(crate) async fn open(&self, target: &str, purpose: Purpose) -> (TunnelStream, OpenAnswer) {
        let mut stream = self.tunnel.open().await.unwrap();
        let request = OpenRequest {
            target: target.into(),
            sync: "blog".into(),
            run: "r1".into(),
            epoch: 3,
            purpose,
        };
        write_message(&mut stream, &request).await.unwrap();
        let answer = wire::read_message(&mut stream).await.unwrap();
        (stream, answer)
    }

    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let (stream, answer) = self.open("main", Purpose::Session).await;
        assert_eq!(answer, OpenAnswer::Opened);
        let (client, connection) = Config::new()
            .user("any")
            .connect_raw(stream, NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Session {
    pub(crate) async fn hear(&mut self) -> AgentMessage {
        self.reader.next().await.unwrap()
    }
}

/// A paired agent that runs.
pub(crate) struct Agent {
    pub(crate) state: TempDir,
    pub(crate) store: Keystore,
    pub(crate) board: Board,
    pub(crate) shutdown: CancellationToken,
    pub(crate) reloaded: Arc<Notify>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) task: JoinHandle<Result<(), KeystoreError>>,
}

pub(crate) fn routes() -> Routes {
    Routes::new(TransportChoice::Auto)
}

pub(crate) async fn redeem(
    token: &PairingToken,
    store: &Keystore,
) -> Result<Identity, EnrollError> {
    enroll::pair(token, store, &routes()).await
}

/// Pairs with a certificate that started `started` ago and lives for `life`.
pub(crate) async fn pair(
    relay: &Relay,
    store: &Keystore,
    started: Duration,
    life: Duration,
) -> Identity {
    let token = relay.token();
    let (identity, ()) = tokio::join!(
        redeem(&token, store),
        relay.answer(|csr| relay.paired(csr, started, life)),
    );
    identity.unwrap()
}

pub(crate) async fn run_agent(relay: &Relay, targets: &[Target]) -> Agent {
    let state = tempfile::tempdir().unwrap();
    pair(relay, &Keystore::new(state.path()), Duration::ZERO, HOUR).await;
    start(state, targets)
}

pub(crate) fn start(state: TempDir, targets: &[Target]) -> Agent {
    start_with(state, targets, routes())
}

pub(crate) fn start_with(state: TempDir, targets: &[Target], routes: Routes) -> Agent {
    let store = Keystore::new(state.path());
    let origin = Origin::open(targets, state.path(), Places::default()).unwrap();
    let (board, shutdown, reloaded) = (
        Board::default(),
        CancellationToken::new(),
        Arc::new(Notify::new()),
    );
    let supervisor = Supervisor {
        store: store.clone(),
        origin: origin.clone(),
        routes: Arc::new(routes),
        board: board.clone(),
        backoff: Backoff::seeded(1),
        jitter: 0.0,
        shutdown: shutdown.clone(),
        reloaded: reloaded.clone(),
        causes: Causes::default(),
    };
    let task = tokio::spawn(supervisor.run());
    Agent {
        state,
        store,
        board,
        shutdown,
        reloaded,
        origin,
        task,
    }
}

async fn read_backend(stream: &mut TunnelStream) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let mut body = vec![0; stream.read_u32().await? as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// Begins to copy so many rows of 1,000 characters and the server's process id.
async fn begin_copy(session: &Session, rows: u64) -> TunnelStream {
    let (mut stream, _) = session.open("main", Purpose::Session).await;
    stream
        .write_all(b"\0\0\0\x10\0\x03\0\0user\0x\0\0")
        .await
        .unwrap();
    let sql = format!(
        "copy (select pg_backend_pid(), repeat('x', 1000) from generate_series(1, {rows})) \
         to stdout\0"
    );
    let length = u32::try_from(sql.len() + 4).unwrap().to_be_bytes();
    stream
        .write_all(&[&b"Q"[..], &length, sql.as_bytes()].concat())
        .await
        .unwrap();
    stream
}

/// Copies so many rows to their end and does something in the middle.
pub(crate) async fn check_whole_copy(session: &Session, rows: u64, in_the_middle: impl FnOnce()) {
    let mut stream = begin_copy(session, rows).await;
    let (mut seen, mut in_the_middle) = (0, Some(in_the_middle));
    loop {
        match read_backend(&mut stream).await.unwrap() {
            (b'd', _) => seen += 1,
            (b'C', _) => break,
            _ => {}
        }
        if seen == rows / 2
            && let Some(act) = in_the_middle.take()
        {
            act();
        }
    }
    assert_eq!(seen, rows);
}

/// Ends the server's process in the middle of a COPY.
pub(crate) async fn check_cut_copy(session: &Session) {
    let mut stream = begin_copy(session, 10_000_000).await;
    let mut pid = None;
    let ended = loop {
        match read_backend(&mut stream).await {
            Ok((b'c' | b'C', _)) => panic!("the cut copy looks complete"),
            Ok((b'd', row)) if pid.is_none() => {
                let text = String::from_utf8_lossy(&row).into_owned();
                pid = text
                    .split('\t')
                    .next()
                    .and_then(|pid| pid.parse::<i32>().ok());
                let admin = server().superuser().await;
                admin
                    .execute("select pg_terminate_backend($1)", &[&pid])
                    .await
                    .unwrap();
            }
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    // A clean end inside or between messages would be `UnexpectedEof`.
    assert_eq!(ended, std::io::ErrorKind::ConnectionReset);
}
