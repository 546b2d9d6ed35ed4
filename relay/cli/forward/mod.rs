//! `agent forward`: a database behind an agent as if it were on this machine, for psql, pg_dump and
//! any other tool.
//!
//! It listens here and carries each local connection through the relay's API. Nobody else on this
//! machine comes in: a socket has its mode, a port asks for a password that is made for this run.

mod backend;
mod listen;
mod local;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::listen::Listener;
use self::session::Way;
use super::agent::seconds;
use super::client::Client;
use super::{CliError, Exit, output};
use crate::api::agents::{AgentStatus, AgentTarget};
use crate::api::forward::LIFE_MAX_S;

/// Local connections at the same time; the relay's own bound is smaller for all of a workspace.
const CONNECTIONS_MAX: usize = 64;
/// Sessions get this long to hear why they end.
const DRAIN: Duration = Duration::from_secs(5);
/// Bits that can't be guessed within a day: 144.
const PASSWORD_BYTES: usize = 18;

#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    /// The agent.
    name: String,
    /// A database that it offers, with `forward = "yes"` in its agent.toml.
    target: String,
    /// Loopback address to listen on; asks for a password that is printed once.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15432")]
    listen: SocketAddr,
    /// Listen on a socket in this directory instead, which only you may enter; asks for no password.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "listen")]
    socket: Option<PathBuf>,
    /// Ends after this time, a day at most.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = seconds)]
    life_s: u64,
}

/// Where to connect.
#[derive(Serialize)]
struct Ready<'a> {
    agent: &'a str,
    target: &'a str,
    database: &'a str,
    /// Address or socket directory.
    host: String,
    port: u16,
    /// Absent where the socket's mode says who may come.
    password: Option<&'a str>,
    /// RFC 3339.
    until: String,
}

pub(super) async fn run(api: &Client, json: bool, args: ForwardArgs) -> Result<Exit, CliError> {
    if args.life_s > LIFE_MAX_S {
        return Err(CliError::Usage("--for takes a day at most: 24h".into()));
    }
    let agent: AgentStatus = api.get(&["agents", &args.name]).await?;
    let target = offered(&agent, &args)?;
    let life = Duration::from_secs(args.life_s);
    let password = args.socket.is_none().then(new_password);
    let way = Way {
        api: api.clone(),
        agent: args.name.clone(),
        target: args.target.clone(),
        database: target.database.clone(),
        password,
        until: Instant::now() + life,
        stop: CancellationToken::new(),
        keys: Mutex::default(),
    };
    let listener = match &args.socket {
        Some(directory) => Listener::socket(directory).await?,
        None => Listener::loopback(args.listen).await?,
    };
    way.check(target.passthrough).await?;
    let (host, port) = listener.place()?;
    let until = jiff::Timestamp::now().checked_add(life);
    let ready = Ready {
        agent: &args.name,
        target: &args.target,
        database: &target.database,
        host,
        port,
        password: way.password.as_ref().map(|password| password.as_str()),
        until: until
            .map(|at| at.strftime("%FT%TZ").to_string())
            .unwrap_or_default(),
    };
    if json {
        output::json(&ready)?;
    } else {
        say(&ready);
    }
    serve(listener, Arc::new(way)).await?;
    Ok(Exit::Done)
}

/// The target, if there is a way to it now.
fn offered<'a>(agent: &'a AgentStatus, args: &ForwardArgs) -> Result<&'a AgentTarget, CliError> {
    let name = output::plain(&args.name);
    if agent.state != "online" {
        let state = output::plain(&agent.state);
        let text = format!(
            "agent {name} is {state}, not online: start `tidegate-agent run` on its host, or look at \
             `tidegate-agent check` there"
        );
        return Err(CliError::Failed(text));
    }
    let mut targets = agent.targets.iter();
    let target = targets.find(|target| target.name == args.target);
    let target = target.ok_or_else(|| {
        let known: Vec<_> = agent
            .targets
            .iter()
            .map(|t| output::plain(&t.name))
            .collect();
        let text = format!(
            "agent {name} offers no target {:?}, only {}: name one of these",
            args.target,
            known.join(", ")
        );
        CliError::Failed(text)
    })?;
    if target.forward == Some(false) {
        let text = format!(
            "target {} of agent {name} is not open to people's tools: on its host, `forward = \"yes\"` \
             in agent.toml and `systemctl reload tidegate-agent` open it",
            output::plain(&target.name)
        );
        return Err(CliError::Failed(text));
    }
    if target.passthrough && args.socket.is_none() {
        let text = "this target passes logins on, so the password that is asked for is the \
                    database's own: keep others out with --socket DIRECTORY";
        return Err(CliError::Usage(text.into()));
    }
    Ok(target)
}

/// The password alone is data: whoever runs this in a script reads it there.
fn say(ready: &Ready<'_>) {
    let quoted = |text: &str| format!("'{}'", output::plain(text).replace('\'', "'\\''"));
    output::note(&format!(
        "Until {} (Ctrl-C ends it):\n  psql -h {} -p {} -d {}",
        ready.until,
        quoted(&ready.host),
        ready.port,
        quoted(ready.database)
    ));
    match ready.password {
        Some(password) => {
            output::note("It asks for this password, which is good for this run alone:");
            output::say(password);
        }
        None => output::note("Only you may use the socket; it asks for no password."),
    }
}

/// Until the time is over or somebody ends it.
async fn serve(listener: Listener, way: Arc<Way>) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut sessions = JoinSet::new();
    let mut number = 0;
    let until = way.until;
    loop {
        tokio::select! {
            () = sleep_until(until) => {
                output::note("The time is over: start `agent forward` again.");
                break;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            Some(_) = sessions.join_next() => {}
            local = listener.accept(), if sessions.len() < CONNECTIONS_MAX => match local {
                Ok(local) => {
                    number += 1;
                    sessions.spawn(way.clone().serve(number, local));
                }
                // Out of file descriptors, for example: it passes when a session ends.
                Err(error) => {
                    output::note(&format!("a connection was not taken: {error}"));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
        }
    }
    drop(listener);
    way.stop.cancel();
    let ended = async { while sessions.join_next().await.is_some() {} };
    // What does not end is cut with the process.
    let _ = timeout(DRAIN, ended).await;
    Ok(())
}

fn new_password() -> Zeroizing<String> {
    let bytes = Zeroizing::new(rand::random::<[u8; PASSWORD_BYTES]>());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
}
