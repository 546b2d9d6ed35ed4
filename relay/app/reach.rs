//! How connections are reached: through an agent's tunnel or directly. The rest of the relay sees
//! only `Dial` and `Endpoint`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tidegate_shared::wire;
use tidegate_sync::model::Side;

use crate::config::{AllowPrivate, Egress};
use crate::endpoint::postgres::PostgresEndpoint;
use crate::endpoint::postgres::direct::DirectDial;
use crate::endpoint::rest::manifest::{self, Manifest};
use crate::endpoint::rest::{RestEndpoint, connectors};
use crate::endpoint::{
    Account, ByteStream, Class, Dial, Endpoint, EndpointError, Login, Purpose, StreamLabel,
};
use crate::engine::EndpointSource;
use crate::engine::handle::{AppKind, SignIn};
use crate::store::{Store, agents};
use crate::tunnel::{Agents, OpenError};

/// Makes endpoints of connections.
pub(super) struct Reach {
    store: Store,
    agents: Agents,
    egress: Option<IpAddr>,
    /// Whose connections may lead into the relay's own network.
    allow_private: AllowPrivate,
    started: Instant,
    /// Apps by a hash of their accounts: all who use one share its bounds on calls.
    apps: Mutex<HashMap<[u8; 32], Arc<RestEndpoint>>>,
}

impl Reach {
    pub(super) fn new(store: Store, agents: Agents, egress: &Egress) -> Reach {
        Reach {
            store,
            agents,
            egress: egress.bind,
            allow_private: egress.allow_private,
            started: Instant::now(),
            apps: Mutex::default(),
        }
    }

    /// Names of the operator's own manifests.
    fn own_kinds(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.store.data_dir().join("connectors"));
        let names = files.into_iter().flatten().filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".toml")?.to_owned())
        });
        names.collect()
    }

    /// One of the built-in ones, or the operator's own in the data directory.
    fn manifest(&self, kind: &str) -> Result<Arc<Manifest>, EndpointError> {
        if let Some(manifest) = connectors::built_in(kind) {
            return Ok(manifest);
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let file = self
            .store
            .data_dir()
            .join("connectors")
            .join(format!("{kind}.toml"));
        if !kind.chars().all(is_name) || !file.exists() {
            let known = connectors::names().join(", ");
            let text = format!(
                "there is no connector `{kind}`: use postgres, {known}, or put a manifest into {}",
                file.display()
            );
            return Err(EndpointError::operator("unknown-kind", text));
        }
        let bad = |text: String| {
            let text = format!("{}: {text}", file.display());
            EndpointError::operator("bad-manifest", text)
        };
        let text = std::fs::read_to_string(&file).map_err(|error| bad(error.to_string()))?;
        Ok(Arc::new(
            manifest::load(&text).map_err(|error| bad(error.to_string()))?,
        ))
    }
}

#[async_trait]
impl EndpointSource for Reach {
    fn through_agent(&self, workspace: &str, agent: &str, target: &str) -> Arc<dyn Endpoint> {
        let dial = TunnelDial {
            store: self.store.clone(),
            agents: self.agents.clone(),
            workspace: workspace.to_owned(),
            agent: agent.to_owned(),
            target: target.to_owned(),
        };
        Arc::new(PostgresEndpoint::new(Arc::new(dial)))
    }

    fn direct(
        &self,
        workspace: &str,
        url: &SecretString,
    ) -> Result<Arc<dyn Endpoint>, EndpointError> {
        let dial = DirectDial::new(url, self.egress, self.allow_private.holds_for(workspace))?;
        Ok(Arc::new(PostgresEndpoint::new(Arc::new(dial))))
    }

    fn app(
        &self,
        workspace: &str,
        kind: &str,
        account: &Account,
    ) -> Result<Arc<dyn Endpoint>, EndpointError> {
        if account.allow_private && !self.allow_private.holds_for(workspace) {
            let text = "this workspace may not reach private addresses, nor apps without TLS: ask \
                        who runs the relay (allow_private of [egress])";
            return Err(EndpointError::operator("private-address", text));
        }
        let manifest = self.manifest(kind)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{manifest:?}").as_bytes());
        hasher.update(account.to_document().expose_secret().as_bytes());
        let hash = *hasher.finalize().as_bytes();
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = apps.get(&hash) {
            return Ok(Arc::clone(endpoint) as Arc<dyn Endpoint>);
        }
        let endpoint = RestEndpoint::new(manifest, account, self.egress, self.started)?;
        let endpoint = Arc::new(endpoint);
        apps.insert(hash, Arc::clone(&endpoint));
        Ok(endpoint)
    }

    fn app_kinds(&self) -> Vec<AppKind> {
        let built_in = connectors::names().into_iter().map(str::to_owned);
        let mut kinds: Vec<String> = built_in.chain(self.own_kinds()).collect();
        kinds.sort();
        kinds.dedup();
        // What can't be read is told when somebody connects to it.
        let kind = |name: String| {
            let manifest = self.manifest(&name).ok()?;
            Some(kind_of(&manifest, name))
        };
        kinds.into_iter().filter_map(kind).collect()
    }

    fn leftovers(&self, sync: &str, side: Side) -> Vec<String> {
        PostgresEndpoint::forget_sql(sync, side).unwrap_or_default()
    }

    async fn knows_agent(&self, workspace: &str, agent: &str) -> bool {
        let (workspace, name) = (workspace.to_owned(), agent.to_owned());
        let found = self
            .store
            .view(move |conn| agents::find_by_name(conn, &workspace, &name))
            .await;
        matches!(found, Ok(Some(_)))
    }
}

fn kind_of(manifest: &Manifest, kind: String) -> AppKind {
    AppKind {
        kind,
        title: manifest.title.clone(),
        base_url: manifest.http.base_url.clone(),
        sign_in: match manifest.auth {
            manifest::Auth::Basic => SignIn::UserAndPassword,
            manifest::Auth::Bearer | manifest::Auth::Header { .. } => SignIn::Token,
        },
    }
}

/// A PostgreSQL behind an agent: each stream is a session that the agent logged in.
struct TunnelDial {
    store: Store,
    agents: Agents,
    workspace: String,
    agent: String,
    target: String,
}

impl TunnelDial {
    async fn agent_id(&self) -> Result<String, EndpointError> {
        let (workspace, name) = (self.workspace.clone(), self.agent.clone());
        let found = self
            .store
            .view(move |conn| agents::find_by_name(conn, &workspace, &name))
            .await
            .map_err(|error| EndpointError::bug("store", error.to_string()))?;
        let name = &self.agent;
        found.map(|agent| agent.id).ok_or_else(|| {
            let text = format!("there is no agent `{name}`: invite and pair it again");
            EndpointError::operator("no-agent", text)
        })
    }

    fn failed(&self, error: OpenError) -> EndpointError {
        not_opened(&self.agent, error)
    }
}

/// Why there is no stream through an agent, and what to do.
pub(super) fn not_opened(agent: &str, error: OpenError) -> EndpointError {
    match &error {
        OpenError::Offline => {
            let text = format!(
                "agent `{agent}` is not connected: start `tidegate-agent run` on its host, or \
                     look at `tidegate-agent check` there"
            );
            EndpointError::retry("agent-offline", text)
        }
        // The agent's text says what to do.
        OpenError::Denied {
            code: wire::OpenDenial::UnknownTarget,
            text,
        } => {
            let text = format!("agent `{agent}` refused: {text}");
            EndpointError::operator("agent-refused", text)
        }
        OpenError::Denied {
            code: wire::OpenDenial::Paused,
            text,
        } => {
            let text = format!("agent `{agent}`: {text}");
            EndpointError::retry("agent-paused", text)
        }
        OpenError::Denied { code, text } => match error.class() {
            tidegate_shared::Class::Operator(advice) => {
                let text = format!("agent `{agent}` refused: {text}: {advice}");
                // The agent is there, and what it stands beside is not.
                let is_login = *code == wire::OpenDenial::LoginFailed;
                let code = if is_login {
                    "database-login"
                } else {
                    "agent-refused"
                };
                EndpointError::operator(code, text)
            }
            tidegate_shared::Class::Bug => {
                EndpointError::bug("agent-refused", format!("agent `{agent}`: {text}"))
            }
            tidegate_shared::Class::Retry => {
                let is_away = *code == wire::OpenDenial::Unreachable;
                let code = if is_away {
                    "database-unreachable"
                } else {
                    "agent-busy"
                };
                EndpointError::retry(code, format!("agent `{agent}`: {text}"))
            }
        },
        _ => {
            let mut failed = EndpointError::retry(
                "tunnel",
                format!("the tunnel to agent `{agent}` failed: {error}"),
            );
            failed.class = Class::Retry(TUNNEL_RETRY);
            failed
        }
    }
}

/// A broken tunnel is back within this order of time.
const TUNNEL_RETRY: Duration = Duration::from_millis(300);

/// The label of streams that belong to no run: previews, tests, verifies. No sync can have that name,
/// so no gate compares their epoch, which is 0.
const NO_RUN: &str = "@console";

#[async_trait]
impl Dial for TunnelDial {
    async fn dial(
        &self,
        purpose: Purpose,
        label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        let id = self.agent_id().await?;
        let is_run = label.epoch > 0 && !label.sync.is_empty();
        let request = wire::OpenRequest {
            target: self.target.clone(),
            sync: if is_run {
                label.sync.clone()
            } else {
                NO_RUN.to_owned()
            },
            run: label.run.clone(),
            epoch: if is_run { u64::from(label.epoch) } else { 0 },
            purpose: match purpose {
                Purpose::Session => wire::Purpose::Session,
                Purpose::Replication => wire::Purpose::Replication,
                Purpose::Cancel => wire::Purpose::Cancel,
            },
        };
        let stream = self
            .agents
            .open(&id, request)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(Box::new(stream))
    }

    fn login(&self) -> Login {
        Login::ByAgent
    }

    async fn allows_ddl(&self) -> Result<bool, EndpointError> {
        let id = self.agent_id().await?;
        let live = self.agents.live(&id);
        let live = live.ok_or_else(|| self.failed(OpenError::Offline))?;
        Ok(live.allows_ddl(&self.target))
    }

    async fn slot_bound(&self) -> Result<Option<u64>, EndpointError> {
        let live = self.agents.live(&self.agent_id().await?);
        let live = live.ok_or_else(|| self.failed(OpenError::Offline))?;
        Ok(live.slot_bound(&self.target))
    }
}
