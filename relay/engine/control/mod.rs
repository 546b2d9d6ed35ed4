//! The engine as API and CLI see it: connections and syncs by name.
//!
//! `removal` takes a sync away with what it left on its sides, `drafts` keeps what was planned,
//! `sync_control` and `connection_control` implement the traits of `engine::handle`, `status` tells
//! how a sync goes, `inbox` what waits for a person, `look_in` what could be mapped, and `writes` what it wrote, which `undo` puts back, `retention` forgets, `errors`
//! turns what rooms below say into answers,
//! `workspaces` keeps what each workspace has of its own.

mod conflict_control;
mod connection_control;
mod deletion_pick;
mod drafts;
mod errors;
mod inbox;
mod look_in;
mod removal;
mod retention;
mod status;
mod sync_control;
mod undo;
mod workspaces;
mod writes;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Side};
use tokio::sync::Mutex;

use self::drafts::{Drafts, Key};
pub(super) use self::errors::failed;
use self::errors::{internal, invalid, named, unreachable};
use self::workspaces::Channels;
use super::guardian;
use super::handle::{AppKind, ControlError, ControlErrorKind};
use super::layout::Layout;
use super::news::Rounds;
use super::run::{RunParts, now_ms};
use super::supervisor::{Phase, Progress, Requests, Supervised};
use super::syncfile::SyncFile;
use crate::endpoint::level::{Asked, Level};
use crate::endpoint::{Account, Endpoint, EndpointError};
use crate::store::connections::{self, ConnectionRecord, Via};
use crate::store::syncs::{self, NewSync, SyncId, SyncRecord, Wanted};
use crate::store::{DEFAULT_WORKSPACE, Store};

/// Makes the endpoint of a connection; `app` knows tunnels and sockets.
#[async_trait]
pub trait EndpointSource: Send + Sync + 'static {
    /// Agents and their names belong to a workspace.
    fn through_agent(&self, workspace: &str, agent: &str, target: &str) -> Arc<dyn Endpoint>;
    /// Refuses a URL that can't be used, with what to write instead; so where it leads to where this
    /// workspace may not go.
    fn direct(
        &self,
        workspace: &str,
        url: &SecretString,
    ) -> Result<Arc<dyn Endpoint>, EndpointError>;
    /// An app of this kind. Refuses an account that can't be used, as above.
    fn app(
        &self,
        workspace: &str,
        kind: &str,
        account: &Account,
    ) -> Result<Arc<dyn Endpoint>, EndpointError>;
    /// The apps that it knows, by name.
    fn app_kinds(&self) -> Vec<AppKind>;
    /// The SQL that drops what a sync left on a side, for a person who runs it by hand.
    fn leftovers(&self, sync: &str, side: Side) -> Vec<String>;
    /// True when there is an agent of that name.
    async fn knows_agent(&self, workspace: &str, agent: &str) -> bool;
}

/// The kind of connection that is no app.
const POSTGRES: &str = "postgres";

/// The syncs of one workspace. All views share what runs.
#[derive(Clone)]
pub struct Engine {
    workspace: Arc<str>,
    store: Store,
    sources: Arc<dyn EndpointSource>,
    running: Arc<Mutex<HashMap<SyncId, Supervised>>>,
    drafts: Arc<Drafts>,
    channels: Arc<Channels>,
    rounds: Rounds,
    /// What the guardian saw last.
    pub(in crate::engine) slots: Arc<guardian::Views>,
}

/// Both sides of a sync, and how their changes are to be read.
type Ends = (BySide<Arc<dyn Endpoint>>, BySide<Option<Asked>>);

/// What the connection asks for.
fn asked(connection: &ConnectionRecord) -> Option<Asked> {
    let level = Level::of_name(connection.capture.as_deref()?)?;
    let by = "the connection";
    Some(Asked { level, by })
}

impl Engine {
    /// An engine, seen from the default workspace.
    pub fn new(store: Store, sources: Arc<dyn EndpointSource>) -> Engine {
        let channels = Arc::new(Channels::default());
        Engine {
            workspace: DEFAULT_WORKSPACE.into(),
            store,
            sources,
            running: Arc::default(),
            drafts: Arc::default(),
            rounds: channels.of(DEFAULT_WORKSPACE),
            channels,
            slots: Arc::default(),
        }
    }

    /// The same engine, seen from another workspace.
    pub fn of(&self, workspace: &str) -> Engine {
        Engine {
            workspace: workspace.into(),
            rounds: self.channels.of(workspace),
            ..self.clone()
        }
    }

    /// Starts every sync that should run.
    pub async fn start(&self) -> Result<(), ControlError> {
        let wanted = self
            .store
            .view(syncs::list_wanted)
            .await
            .map_err(internal)?;
        for record in wanted {
            self.of(&record.workspace).start_sync(&record).await?;
        }
        Ok(())
    }

    /// Stops all syncs, each after the round under way is settled.
    pub async fn stop(&self) {
        let running: Vec<Supervised> = self.running.lock().await.drain().map(|(_, s)| s).collect();
        for sync in &running {
            sync.stop.cancel();
        }
        for sync in running {
            sync.stop().await;
        }
    }

    /// For readiness: names of running syncs whose sides were not reached by their last run.
    pub async fn unreached(&self) -> Vec<String> {
        let running = self.running.lock().await;
        let waits = |sync: &Supervised| sync.progress().view().phase == Phase::Waiting;
        running
            .values()
            .filter(|sync| waits(sync))
            .map(|sync| sync.parts.file.name.clone())
            .collect()
    }

    async fn start_sync(&self, record: &SyncRecord) -> Result<(), ControlError> {
        let parts = self.parts(record).await?;
        let mut running = self.running.lock().await;
        running
            .entry(record.id)
            .or_insert_with(|| Supervised::start(parts));
        Ok(())
    }

    async fn stop_sync(&self, sync: SyncId) {
        let found = self.running.lock().await.remove(&sync);
        if let Some(sync) = found {
            sync.stop().await;
        }
    }

    async fn parts(&self, record: &SyncRecord) -> Result<RunParts, ControlError> {
        self.parts_with(record, file_of(record)?).await
    }

    /// The sync's parts with another file.
    async fn parts_with(
        &self,
        record: &SyncRecord,
        file: SyncFile,
    ) -> Result<RunParts, ControlError> {
        let key = self.key_of(record).await?;
        let (endpoints, captures) = self.endpoints(&file).await?;
        let slug = slug(&record.name, &key);
        let progress = Arc::new(Progress::new(
            &file.name,
            file.tables.len(),
            self.rounds.clone(),
        ));
        Ok(RunParts {
            slug,
            sync: Some(record.id),
            store: self.store.clone(),
            endpoints,
            captures,
            prints: Fingerprinter::new(*key),
            progress,
            requests: Arc::new(Requests::default()),
            file: Arc::new(file),
        })
    }

    async fn key_of(&self, record: &SyncRecord) -> Result<Key, ControlError> {
        let (sync, sealer) = (record.id, self.store.sealer().clone());
        self.store
            .view(move |conn| syncs::fingerprint_key(conn, &sealer, sync))
            .await
            .map_err(internal)
    }

    /// For the preview of a sync that does not exist yet.
    async fn draft_parts(&self, file: SyncFile) -> Result<RunParts, ControlError> {
        let key = self.drafts.key(&self.workspace, &file.name);
        let (endpoints, captures) = self.endpoints(&file).await?;
        let progress = Arc::new(Progress::new(
            &file.name,
            file.tables.len(),
            self.rounds.clone(),
        ));
        Ok(RunParts {
            slug: slug(&file.name, &key),
            sync: None,
            store: self.store.clone(),
            endpoints,
            captures,
            prints: Fingerprinter::new(*key),
            progress,
            requests: Arc::new(Requests::default()),
            file: Arc::new(file),
        })
    }

    async fn endpoints(&self, file: &SyncFile) -> Result<Ends, ControlError> {
        let left = self.connection(&file.left).await?;
        let right = self.connection(&file.right).await?;
        let endpoints = BySide::new(self.endpoint(&left).await?, self.endpoint(&right).await?);
        let connections = BySide::new(left, right);
        let asked = |side: Side| match file.captures[side] {
            Some(level) => Some(Asked {
                level,
                by: "the sync file",
            }),
            None => asked(&connections[side]),
        };
        Ok((endpoints, BySide::from_fn(asked)))
    }

    async fn connection(&self, name: &str) -> Result<ConnectionRecord, ControlError> {
        let (workspace, wanted) = (self.workspace.clone(), name.to_owned());
        let found = self
            .store
            .view(move |conn| connections::by_name(conn, &workspace, &wanted))
            .await;
        found.map_err(|error| named(error, "connection", name))
    }

    pub(in crate::engine) async fn endpoint(
        &self,
        record: &ConnectionRecord,
    ) -> Result<Arc<dyn Endpoint>, ControlError> {
        match &record.via {
            Via::Agent { agent, target } => {
                let workspace = &record.workspace;
                Ok(self.sources.through_agent(workspace, agent, target))
            }
            Via::Direct => {
                let (id, sealer) = (record.id, self.store.sealer().clone());
                let url = self
                    .store
                    .view(move |conn| connections::url(conn, &sealer, id))
                    .await
                    .map_err(internal)?;
                let url = url.unwrap_or_else(|| SecretString::from(""));
                if record.kind == POSTGRES {
                    let endpoint = self.sources.direct(&record.workspace, &url);
                    return endpoint.map_err(unreachable);
                }
                let account = Account::from_document(&url).ok_or_else(|| {
                    let text = format!("connection `{}` is unreadable: add it anew", record.name);
                    ControlError::new(ControlErrorKind::Internal, "store", text)
                })?;
                self.sources
                    .app(&record.workspace, &record.kind, &account)
                    .map_err(unreachable)
            }
        }
    }

    pub(in crate::engine) async fn all_connections(
        &self,
    ) -> Result<Vec<ConnectionRecord>, ControlError> {
        let workspace = self.workspace.clone();
        let list = move |conn: &_| connections::list(conn, &workspace);
        self.store.view(list).await.map_err(internal)
    }

    pub(in crate::engine) async fn all_records(&self) -> Result<Vec<SyncRecord>, ControlError> {
        let workspace = self.workspace.clone();
        let list = move |conn: &_| syncs::list(conn, &workspace);
        self.store.view(list).await.map_err(internal)
    }

    pub(in crate::engine) async fn records_everywhere(
        &self,
    ) -> Result<Vec<SyncRecord>, ControlError> {
        let listed = self.store.view(syncs::list_everywhere).await;
        listed.map_err(internal)
    }

    pub(in crate::engine) async fn connections_everywhere(
        &self,
    ) -> Result<Vec<ConnectionRecord>, ControlError> {
        let listed = self.store.view(connections::list_everywhere).await;
        listed.map_err(internal)
    }

    /// What the sync's slots, publications and progress rows are named after.
    pub(in crate::engine) async fn slug_of(
        &self,
        record: &SyncRecord,
    ) -> Result<String, ControlError> {
        Ok(slug(&record.name, &*self.key_of(record).await?))
    }

    async fn record(&self, name: &str) -> Result<SyncRecord, ControlError> {
        let (workspace, wanted) = (self.workspace.clone(), name.to_owned());
        let found = self
            .store
            .view(move |conn| syncs::by_name(conn, &workspace, &wanted))
            .await;
        found.map_err(|error| named(error, "sync", name))
    }

    async fn set_wanted(&self, id: SyncId, wanted: Wanted) -> Result<(), ControlError> {
        let now = now_ms();
        self.store
            .transact(move |tx| syncs::set_wanted(tx, id, wanted, now))
            .await
            .map_err(internal)
    }

    async fn add_sync(&self, file: &SyncFile, text: &str) -> Result<SyncRecord, ControlError> {
        let left = self.connection(&file.left).await?.id;
        let right = self.connection(&file.right).await?.id;
        let (name, text) = (file.name.clone(), text.to_owned());
        let workspace = self.workspace.clone();
        let (sealer, key) = (
            self.store.sealer().clone(),
            self.drafts.key(&self.workspace, &file.name),
        );
        self.store
            .transact(move |tx| {
                let new = NewSync {
                    workspace: &workspace,
                    name: &name,
                    left_conn: left,
                    right_conn: right,
                    definition: &text,
                    key: &key,
                };
                syncs::add(tx, &sealer, &new, now_ms())
            })
            .await
            .map_err(|error| named(error, "sync", &file.name))?;
        self.drafts.forget(&self.workspace, &file.name);
        self.record(&file.name).await
    }

    async fn running_parts(&self, name: &str) -> Result<(SyncRecord, RunParts), ControlError> {
        let record = self.record(name).await?;
        let running = self.running.lock().await;
        if let Some(sync) = running.get(&record.id) {
            let file = Arc::new(file_of(&record)?);
            let parts = sync.parts.clone();
            return Ok((record, RunParts { file, ..parts }));
        }
        drop(running);
        let parts = self.parts(&record).await?;
        parts.progress.set_phase(Phase::Stopped);
        Ok((record, parts))
    }
}

fn parse(text: &str) -> Result<SyncFile, ControlError> {
    SyncFile::parse(text).map_err(|error| invalid("sync-file", error.to_string()))
}

/// The sync's file as its links are laid out: without the field pairs that are paused.
fn file_of(record: &SyncRecord) -> Result<SyncFile, ControlError> {
    Ok(parse(&record.definition)?.laid_out(&Layout::of_record(record)))
}

/// What the sync's slots are named after: its name, and a few digits of its own so that two relays
/// can sync the same database.
fn slug(name: &str, key: &[u8; 32]) -> String {
    const NAME_CHARS: usize = 33;
    let name: String = name
        .chars()
        .take(NAME_CHARS)
        .map(|c| if c == '-' { '_' } else { c })
        .collect();
    let digest = blake3::hash(key);
    let bytes = digest.as_bytes();
    format!("{name}_{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2])
}
