//! The relay's end of the tunnel behind a plain port of loopback: the relay's own rooms for identity,
//! pairing and tunnels, in a process of their own, and for each connection one session that is opened as a
//! sync's are. So clients that know nothing of Tidegate (psql, pgbench) can be measured through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_relay::identity::Custody;
use tidegate_relay::pairing::{Asker, Pairing, PairingConfig};
use tidegate_relay::store::{DEFAULT_WORKSPACE, Store};
use tidegate_relay::tunnel::{Agents, Listener, ListenerConfig, OpenError, system_clock};
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::QuicSettings;
use tidegate_shared::wire::{OpenRequest, Purpose};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The one target of the bench's agents.
pub const TARGET: &str = "main";

/// One read, bytes: as the agent's.
const READ_BYTES: usize = 64 * 1024;

#[derive(clap::Args)]
pub struct FarEnd {
    #[arg(long)]
    data_dir: PathBuf,
    /// Where agents dial
    #[arg(long)]
    listen: SocketAddr,
    /// The name by which they do
    #[arg(long)]
    name: String,
    /// Where clients connect, on loopback
    #[arg(long)]
    port: u16,
    /// Where the pairing token is put
    #[arg(long)]
    token_file: PathBuf,
}

impl FarEnd {
    /// Serves until it is killed.
    pub async fn run(self) -> anyhow::Result<()> {
        let store = Store::open(&self.data_dir)?;
        let agents = Agents::new();
        let custody = Custody::open(
            &self.data_dir,
            std::slice::from_ref(&self.name),
            SystemTime::now(),
        )?;
        let custody = Arc::new(custody);
        let config = PairingConfig {
            relays: vec![RelayAddr {
                host: self.name,
                port: self.listen.port(),
            }],
            agent_life: tidegate_shared::identity::limits::AGENT_LIFE,
        };
        let pairing = Pairing::new(store, custody.clone(), agents.clone(), config);
        let pairing = Arc::new(pairing);
        let listening = ListenerConfig {
            address: self.listen,
            quic: QuicSettings::default(),
        };
        let door = pairing.clone();
        let listener = Listener::bind(&listening, custody, door, agents.clone(), system_clock())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run(CancellationToken::new()));
        let asker = Asker {
            workspace: DEFAULT_WORKSPACE,
            actor: "bench",
        };
        let life = Duration::from_secs(3600);
        let invited = pairing
            .invite(asker, "near", life, SystemTime::now())
            .await?;
        std::fs::write(&self.token_file, invited.token.as_str())?;

        let clients = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        loop {
            tokio::select! {
                client = clients.accept() => {
                    let (agents, id) = (agents.clone(), invited.agent_id.clone());
                    tasks.spawn(serve(client?.0, agents, id));
                }
                // Who has ended needs no more room.
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

async fn serve(client: TcpStream, agents: Agents, agent: String) {
    if let Err(error) = forward(client, agents, agent).await {
        eprintln!("no session: {error}");
    }
}

async fn forward(mut client: TcpStream, agents: Agents, agent: String) -> Result<(), OpenError> {
    let request = OpenRequest {
        target: TARGET.to_owned(),
        sync: "@console".to_owned(),
        run: "bench".to_owned(),
        epoch: 0,
        purpose: Purpose::Session,
    };
    let mut session = agents.open(&agent, request).await?;
    // Small answers must not wait for more; on failure it is only slower.
    let _ = client.set_nodelay(true);
    // Clients leave in the midst of a COPY; what was sent is counted by them.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut session, READ_BYTES, READ_BYTES).await;
    Ok(())
}
