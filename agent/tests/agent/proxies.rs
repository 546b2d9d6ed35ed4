//! Proxies between agent and relay, played by the test: they learn the relay's name, which this host
//! can't resolve, and pass bytes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_agent::config::{Config, TransportChoice};
use tidegate_agent::doctor;
use tidegate_agent::identity::enroll::{self, EnrollError};
use tidegate_agent::identity::keystore::{Identity, Keystore};
use tidegate_agent::route::{Proxies, Proxy, ProxyChoice, Routes};
use tidegate_shared::tunnel::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::relay::{HOUR, Relay, start_with};
use super::server::server;

/// No resolver knows it (RFC 6761 section 6.4).
const NAME: &str = "relay.invalid";

#[derive(Debug, Clone, Copy)]
enum Kind {
    Http,
    Socks5,
}

/// A proxy that lets `ada` in with the password `s:cret`, to the relay alone.
struct Played {
    address: SocketAddr,
    passed: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Played {
    async fn start(kind: Kind, relay_port: u16) -> Played {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tasks.spawn(async move {
                    let Some(mut client) = admit(kind, client, relay_port).await else {
                        return;
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                    let relay = (Ipv4Addr::LOCALHOST, relay_port);
                    let mut relay = TcpStream::connect(relay).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut relay).await;
                });
            }
        });
        Played {
            address,
            passed,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn routes(&self, kind: Kind, password: &str) -> Routes {
        let scheme = match kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
        };
        let url = format!("{scheme}://ada:{password}@{}", self.address);
        let choice = ProxyChoice::Through(Proxy::parse(&url).unwrap());
        Routes::new(TransportChoice::Auto).through(Proxies::new(&choice, |_| None).unwrap())
    }
}

/// `None` for whoever may not pass; it was told.
async fn admit(kind: Kind, mut client: TcpStream, relay_port: u16) -> Option<TcpStream> {
    match kind {
        Kind::Http => {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(client.read_u8().await.ok()?);
            }
            let request = String::from_utf8(request).unwrap();
            let first = format!("CONNECT {NAME}:{relay_port} HTTP/1.1\r\n");
            assert!(request.starts_with(&first), "{request}");
            // ada:s:cret
            let is_known = request.contains("Proxy-Authorization: Basic YWRhOnM6Y3JldA==\r\n");
            let answer = match is_known {
                true => "HTTP/1.1 200 Connection established\r\n\r\n",
                false => "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            };
            client.write_all(answer.as_bytes()).await.ok()?;
            is_known.then_some(client)
        }
        Kind::Socks5 => {
            let mut greeting = [0; 4];
            client.read_exact(&mut greeting).await.ok()?;
            assert_eq!(greeting, [5, 2, 0, 2]);
            client.write_all(&[5, 2]).await.ok()?;
            let mut login = vec![0; 2 + 3 + 1];
            client.read_exact(&mut login).await.ok()?;
            let mut password = vec![0; usize::from(login[5])];
            client.read_exact(&mut password).await.ok()?;
            let is_known = &login[..5] == b"\x01\x03ada" && password == b"s:cret";
            client.write_all(&[1, u8::from(!is_known)]).await.ok()?;
            if !is_known {
                return None;
            }
            let mut request = vec![0; 5 + NAME.len() + 2];
            client.read_exact(&mut request).await.ok()?;
            assert_eq!(&request[..4], [5, 1, 0, 3]);
            assert_eq!(&request[5..5 + NAME.len()], NAME.as_bytes());
            let answer = [5, 0, 0, 1, 127, 0, 0, 1, 0, 0];
            client.write_all(&answer).await.ok()?;
            Some(client)
        }
    }
}

async fn pair(relay: &Relay, store: &Keystore, routes: &Routes) -> Result<Identity, EnrollError> {
    let mut token = relay.token();
    token.relays[0].host = NAME.into();
    tokio::select! {
        paired = enroll::pair(&token, store, routes) => paired,
        () = async {
            relay.answer(|csr| relay.paired(csr, Duration::ZERO, HOUR)).await;
            std::future::pending().await
        } => unreachable!("it waits for ever"),
    }
}

async fn check_passes(kind: Kind) {
    let relay = Relay::named(NAME);
    let proxy = Played::start(kind, relay.address().port).await;
    let state = tempfile::tempdir().unwrap();
    let routes = proxy.routes(kind, "s%3Acret");
    pair(&relay, &Keystore::new(state.path()), &routes)
        .await
        .unwrap();
    let _agent = start_with(state, &[server().target("tidegate", "")], routes);
    let session = relay.session().await;
    assert_eq!(session.tunnel.transport(), Transport::Tcp);
    // Streams go the same way.
    let count = async {
        let client = session.connect().await;
        let sql = "select count(*) from posts";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    tokio::select! {
        count = count => assert_eq!(count, 1000),
        _ = relay.joins() => {}
    }
    assert!(proxy.passed.load(Ordering::Relaxed) >= 3);
}

#[tokio::test]
async fn pairing_and_sessions_pass_an_http_proxy_with_a_password() {
    check_passes(Kind::Http).await;
}

#[tokio::test]
async fn pairing_and_sessions_pass_a_socks_proxy_with_a_password() {
    check_passes(Kind::Socks5).await;
}

#[tokio::test]
async fn check_shows_the_proxy_without_its_password() {
    let relay = Relay::named(NAME);
    let proxy = Played::start(Kind::Http, relay.address().port).await;
    let state = tempfile::tempdir().unwrap();
    let routes = proxy.routes(Kind::Http, "s%3Acret");
    pair(&relay, &Keystore::new(state.path()), &routes)
        .await
        .unwrap();
    let url = format!("http://ada:s%3Acret@{}", proxy.address);
    let config = Config {
        state_dir: state.path().to_owned(),
        transport: TransportChoice::Tcp,
        segmentation_offload: true,
        proxy: ProxyChoice::Through(Proxy::parse(&url).unwrap()),
        targets: Vec::new(),
    };
    let arriving = async {
        let mut tunnels = Vec::new();
        loop {
            tunnels.extend(relay.arrival().await);
        }
    };
    let report = tokio::select! {
        report = doctor::check(&config) => report,
        () = arriving => unreachable!("it goes on for ever"),
    };
    let (text, json) = (report.to_string(), report.to_json());
    let place = format!("http://{} for TCP, signs in", proxy.address);
    assert!(text.contains(&place), "{text}");
    for said in [&text, &json] {
        assert!(!said.contains("cret") && !said.contains("ada"), "{said}");
    }
    assert_eq!(report.first_action(), None, "{text}");
}

#[tokio::test]
async fn a_proxy_that_lets_nobody_pass_is_told_without_the_password() {
    for kind in [Kind::Http, Kind::Socks5] {
        let relay = Relay::named(NAME);
        let proxy = Played::start(kind, relay.address().port).await;
        let state = tempfile::tempdir().unwrap();
        let routes = proxy.routes(kind, "guessed");
        let refused = pair(&relay, &Keystore::new(state.path()), &routes).await;
        let text = refused.unwrap_err().to_string();
        let place = proxy.address.to_string();
        assert!(
            text.contains(&place) && text.contains("does not accept"),
            "{text}"
        );
        assert!(
            !text.contains("guessed") && text.lines().count() == 1,
            "{text}"
        );
        assert_eq!(proxy.passed.load(Ordering::Relaxed), 0);
    }
}
