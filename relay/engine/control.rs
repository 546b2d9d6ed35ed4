//! The engine as API and CLI see it: connections and syncs by name.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, PairId, Side};
use tokio::sync::{Mutex, broadcast};

use super::handle::{
    ConnectionControl, ConnectionInfo, ConnectionTarget, ConnectionTest, ControlError,
    ControlErrorKind, SyncControl,
};
use super::preview;
use super::report::{
    FindingReport, HistoryEntry, LiveEvent, Preview, SyncStatus, TableStatus, VerifyReport,
};
use super::run::{RunError, RunParts, now_ms};
use super::supervisor::{Phase, Progress, Requests, Supervised, write_name};
use super::syncfile::SyncFile;
use super::verify;
use crate::endpoint::catalog::{Catalog, Fix};
use crate::endpoint::{Class, Endpoint, EndpointError};
use crate::store::connections::{self, ConnectionRecord, Route, Via};
use crate::store::syncs::{self, NewSync, SyncId, SyncRecord, Wanted};
use crate::store::{
    DEFAULT_WORKSPACE, RecordKeys, Store, StoreError, conflicts, findings, history, pairs,
};

/// Makes the endpoint of a connection; `app` knows tunnels and sockets.
#[async_trait]
pub trait EndpointSource: Send + Sync + 'static {
    fn through_agent(&self, agent: &str, target: &str) -> Arc<dyn Endpoint>;
    /// Refuses a URL that can't be used, with what to write instead.
    fn direct(&self, url: &SecretString) -> Result<Arc<dyn Endpoint>, EndpointError>;
    /// True when there is an agent of that name.
    async fn knows_agent(&self, agent: &str) -> bool;
}

/// Live events that a slow receiver may lag behind before it loses the oldest.
const EVENTS_MAX: usize = 1024;

/// Findings and history entries listed at once.
const LIST_MAX: u32 = 1000;

/// All syncs of this relay.
pub struct Engine {
    store: Store,
    sources: Arc<dyn EndpointSource>,
    running: Mutex<HashMap<String, Supervised>>,
    events: broadcast::Sender<LiveEvent>,
}

impl Engine {
    pub fn new(store: Store, sources: Arc<dyn EndpointSource>) -> Engine {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Engine {
            store,
            sources,
            running: Mutex::new(HashMap::new()),
            events,
        }
    }

    /// Starts every sync that should run.
    pub async fn start(&self) -> Result<(), ControlError> {
        let wanted = self
            .store
            .view(|conn| syncs::list_wanted(conn))
            .await
            .map_err(internal)?;
        for record in wanted {
            self.start_sync(&record).await?;
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
            .iter()
            .filter(|(_, sync)| waits(sync))
            .map(|(name, _)| name.clone())
            .collect()
    }

    async fn start_sync(&self, record: &SyncRecord) -> Result<(), ControlError> {
        let parts = self.parts(record).await?;
        let mut running = self.running.lock().await;
        if !running.contains_key(&record.name) {
            running.insert(record.name.clone(), Supervised::start(parts));
        }
        Ok(())
    }

    async fn stop_sync(&self, name: &str) {
        let found = self.running.lock().await.remove(name);
        if let Some(sync) = found {
            sync.stop().await;
        }
    }

    async fn parts(&self, record: &SyncRecord) -> Result<RunParts, ControlError> {
        let file = parse(&record.definition)?;
        let (sync, sealer) = (record.id, self.store.sealer().clone());
        let key = self
            .store
            .view(move |conn| syncs::fingerprint_key(conn, &sealer, sync))
            .await
            .map_err(internal)?;
        let endpoints = self.endpoints(&file).await?;
        let slug = slug(&record.name, &key);
        let progress = Arc::new(Progress::new(
            &file.name,
            file.tables.len(),
            self.events.clone(),
        ));
        Ok(RunParts {
            slug,
            sync: Some(sync),
            store: self.store.clone(),
            endpoints,
            prints: Fingerprinter::new(*key),
            progress,
            requests: Arc::new(Requests::default()),
            file: Arc::new(file),
        })
    }

    /// For the preview of a sync that does not exist yet.
    async fn draft_parts(&self, file: SyncFile) -> Result<RunParts, ControlError> {
        let endpoints = self.endpoints(&file).await?;
        let progress = Arc::new(Progress::new(
            &file.name,
            file.tables.len(),
            self.events.clone(),
        ));
        Ok(RunParts {
            slug: "preview".to_owned(),
            sync: None,
            store: self.store.clone(),
            endpoints,
            prints: Fingerprinter::new(rand::random()),
            progress,
            requests: Arc::new(Requests::default()),
            file: Arc::new(file),
        })
    }

    async fn endpoints(&self, file: &SyncFile) -> Result<BySide<Arc<dyn Endpoint>>, ControlError> {
        let left = self.endpoint(&self.connection(&file.left).await?).await?;
        let right = self.endpoint(&self.connection(&file.right).await?).await?;
        Ok(BySide::new(left, right))
    }

    async fn connection(&self, name: &str) -> Result<ConnectionRecord, ControlError> {
        let wanted = name.to_owned();
        let found = self
            .store
            .view(move |conn| connections::by_name(conn, DEFAULT_WORKSPACE, &wanted))
            .await;
        found.map_err(|error| named(error, "connection", name))
    }

    async fn endpoint(&self, record: &ConnectionRecord) -> Result<Arc<dyn Endpoint>, ControlError> {
        match &record.via {
            Via::Agent { agent, target } => Ok(self.sources.through_agent(agent, target)),
            Via::Direct => {
                let (id, sealer) = (record.id, self.store.sealer().clone());
                let url = self
                    .store
                    .view(move |conn| connections::url(conn, &sealer, id))
                    .await
                    .map_err(internal)?;
                let url = url.unwrap_or_else(|| SecretString::from(""));
                self.sources.direct(&url).map_err(unreachable)
            }
        }
    }

    async fn record(&self, name: &str) -> Result<SyncRecord, ControlError> {
        let wanted = name.to_owned();
        let found = self
            .store
            .view(move |conn| syncs::by_name(conn, DEFAULT_WORKSPACE, &wanted))
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
        let sealer = self.store.sealer().clone();
        self.store
            .transact(move |tx| {
                let new = NewSync {
                    workspace: DEFAULT_WORKSPACE,
                    name: &name,
                    left_conn: left,
                    right_conn: right,
                    definition: &text,
                };
                syncs::add(tx, &sealer, &new, now_ms())
            })
            .await
            .map_err(|error| named(error, "sync", &file.name))?;
        self.record(&file.name).await
    }

    async fn status_of(&self, record: &SyncRecord) -> Result<SyncStatus, ControlError> {
        let file = parse(&record.definition)?;
        let (id, count) = (record.id, file.tables.len());
        let counts = self
            .store
            .view(move |conn| {
                let pairs = pairs::list(conn, id)?;
                let mut rows = Vec::new();
                for number in 0..count {
                    let pair = PairId(number as u32);
                    let linked = pairs
                        .iter()
                        .find(|p| p.pair == pair)
                        .map_or(0, |p| p.linked);
                    let findings = findings::count(conn, id, pair)?;
                    let conflicts = conflicts::count(conn, id, pair)?;
                    rows.push((linked.max(0) as u64, findings as u64, conflicts as u64));
                }
                Ok(rows)
            })
            .await
            .map_err(internal)?;
        let running = self.running.lock().await;
        let view = running.get(&record.name).map(|sync| sync.progress().view());
        drop(running);
        let paused = record.wanted == Wanted::Paused;
        let mut status = SyncStatus {
            name: record.name.clone(),
            left: file.left.clone(),
            right: file.right.clone(),
            state: if paused {
                "paused".to_owned()
            } else {
                "planning".to_owned()
            },
            ..SyncStatus::default()
        };
        for (number, (table, (linked, findings, conflicts))) in
            file.tables.iter().zip(counts).enumerate()
        {
            let at = |list: &[u64]| list.get(number).copied().unwrap_or(0);
            let (copied, total) = view
                .as_ref()
                .map_or((0, 0), |view| (at(&view.copied), at(&view.totals)));
            let records = view
                .as_ref()
                .and_then(|view| view.records.get(number).copied());
            let records = records.unwrap_or_default();
            status.findings += findings;
            status.conflicts += conflicts;
            status.tables.push(TableStatus {
                left: table.left.clone(),
                right: table.right.clone(),
                left_count: records.left,
                right_count: records.right,
                linked,
                findings,
                conflicts,
                copied,
                total,
            });
        }
        if let Some(view) = view {
            status.state = state_name(view.phase, paused).to_owned();
            status.pending = view.pending;
            status.quiet = view.is_quiet;
            status.lag_ms = view.lag_ms;
            status.writes = view.writes;
            status.last_error = view.last_error;
        }
        Ok(status)
    }

    async fn running_parts(&self, name: &str) -> Result<(SyncRecord, RunParts), ControlError> {
        let record = self.record(name).await?;
        let running = self.running.lock().await;
        if let Some(sync) = running.get(name) {
            return Ok((record, sync.parts.clone()));
        }
        drop(running);
        let parts = self.parts(&record).await?;
        Ok((record, parts))
    }
}

#[async_trait]
impl SyncControl for Engine {
    async fn plan(&self, text: &str) -> Result<Preview, ControlError> {
        let file = parse(text)?;
        if let Ok(record) = self.record(&file.name).await {
            check_unchanged(&record, &file)?;
            let parts = self.parts(&record).await?;
            return preview::preview(&parts).await.map_err(failed);
        }
        let parts = self.draft_parts(file).await?;
        preview::preview(&parts).await.map_err(failed)
    }

    async fn apply(
        &self,
        text: &str,
        expected: Option<Preview>,
    ) -> Result<SyncStatus, ControlError> {
        let file = parse(text)?;
        let record = match self.record(&file.name).await {
            Ok(record) => {
                check_unchanged(&record, &file)?;
                // The same file again: whoever applies it confirms what stands in the way.
                self.stop_sync(&file.name).await;
                record
            }
            Err(error) if error.kind == ControlErrorKind::NotFound => {
                let preview = self.plan(text).await?;
                if !preview.problems.is_empty() {
                    return Err(invalid("sync-refused", preview.problems.join("\n")));
                }
                self.add_sync(&file, text).await?
            }
            Err(error) => return Err(error),
        };
        let parts = self.parts(&record).await?;
        parts.requests.approve_deletes();
        if let Some(expected) = &expected {
            parts.requests.expect(preview::tallies_of(expected));
        }
        self.set_wanted(record.id, Wanted::Running).await?;
        self.running
            .lock()
            .await
            .insert(file.name.clone(), Supervised::start(parts));
        self.status(&file.name).await
    }

    async fn list(&self) -> Result<Vec<SyncStatus>, ControlError> {
        let records = self
            .store
            .view(|conn| syncs::list(conn, DEFAULT_WORKSPACE))
            .await
            .map_err(internal)?;
        let mut list = Vec::new();
        for record in &records {
            list.push(self.status_of(record).await?);
        }
        Ok(list)
    }

    async fn status(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.status_of(&record).await
    }

    async fn pause(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.set_wanted(record.id, Wanted::Paused).await?;
        self.stop_sync(name).await;
        self.status(name).await
    }

    async fn resume(&self, name: &str) -> Result<SyncStatus, ControlError> {
        let record = self.record(name).await?;
        self.set_wanted(record.id, Wanted::Running).await?;
        self.stop_sync(name).await;
        self.start_sync(&record).await?;
        self.status(name).await
    }

    async fn remove(&self, name: &str) -> Result<(), ControlError> {
        let (record, parts) = self.running_parts(name).await?;
        self.stop_sync(name).await;
        for side in Side::BOTH {
            let forgotten = parts.endpoints[side].forget(&parts.slug).await;
            forgotten.map_err(|error| {
                let text = format!(
                    "the {} side still holds what the sync left there (slot, publication): {error}; \
                     run `sync remove {name}` again when it can be reached",
                    side.name()
                );
                ControlError::new(ControlErrorKind::Unavailable, error.code, text)
            })?;
        }
        let id = record.id;
        self.store
            .transact(move |tx| syncs::remove(tx, id))
            .await
            .map_err(internal)
    }

    async fn verify(&self, name: &str) -> Result<VerifyReport, ControlError> {
        let (_, parts) = self.running_parts(name).await?;
        verify::verify(&parts).await.map_err(failed)
    }

    async fn findings(&self, name: &str) -> Result<Vec<FindingReport>, ControlError> {
        let record = self.record(name).await?;
        let file = parse(&record.definition)?;
        let (id, keys) = (record.id, RecordKeys::new(self.store.sealer(), record.id));
        let found = self
            .store
            .view(move |conn| findings::list(conn, &keys, id, 0, LIST_MAX))
            .await
            .map_err(internal)?;
        let report = |found: findings::FindingRecord| FindingReport {
            table: table_name(&file, found.finding.pair, found.finding.side),
            side: found.finding.side.name().to_owned(),
            key: found.finding.key.to_string(),
            code: found.finding.code.name().to_owned(),
            detail: found.finding.detail,
            advice: found.finding.code.advice().to_owned(),
            since: rfc3339(found.first_at_ms),
        };
        Ok(found.into_iter().map(report).collect())
    }

    async fn retry(&self, name: &str) -> Result<(), ControlError> {
        let id = self.record(name).await?.id;
        self.store
            .transact(move |tx| findings::retry_now(tx, id, now_ms()))
            .await
            .map_err(internal)?;
        if let Some(sync) = self.running.lock().await.get(name) {
            sync.parts.requests.retry();
        }
        Ok(())
    }

    async fn history(
        &self,
        name: &str,
        key: Option<&str>,
    ) -> Result<Vec<HistoryEntry>, ControlError> {
        let record = self.record(name).await?;
        let file = parse(&record.definition)?;
        let (id, keys) = (record.id, RecordKeys::new(self.store.sealer(), record.id));
        let key =
            key.map(|text| tidegate_sync::model::Key(text.split(',').map(str::to_owned).collect()));
        let found = self
            .store
            .view(move |conn| match &key {
                Some(key) => history::of_record(conn, &keys, id, key, LIST_MAX),
                None => history::list(conn, &keys, id, None, LIST_MAX),
            })
            .await
            .map_err(internal)?;
        let entry = |found: history::HistoryRecord| {
            let applied = found.applied;
            let policy = &file.tables[applied.pair.0 as usize].policy;
            let name = |&field: &usize| match applied.side {
                Side::Left => policy.fields[field].left.clone(),
                Side::Right => policy.fields[field].right.clone(),
            };
            HistoryEntry {
                at: rfc3339(found.at_ms),
                table: table_name(&file, applied.pair, applied.side),
                side: applied.side.name().to_owned(),
                kind: write_name(applied.write).to_owned(),
                left_key: applied.keys.left.as_ref().map(ToString::to_string),
                right_key: applied.keys.right.as_ref().map(ToString::to_string),
                fields: applied.fields.iter().map(name).collect(),
                run: found.epoch,
            }
        };
        Ok(found.into_iter().map(entry).collect())
    }

    async fn export(&self, name: &str) -> Result<String, ControlError> {
        Ok(self.record(name).await?.definition)
    }

    fn events(&self) -> broadcast::Receiver<LiveEvent> {
        self.events.subscribe()
    }
}

#[async_trait]
impl ConnectionControl for Engine {
    async fn add(
        &self,
        name: &str,
        kind: &str,
        target: ConnectionTarget,
    ) -> Result<ConnectionInfo, ControlError> {
        check_connection_name(name)?;
        if kind != "postgres" {
            let text = format!("this version has no connections of kind `{kind}`: use postgres");
            return Err(invalid("unknown-kind", text));
        }
        let route = match target {
            ConnectionTarget::Agent { agent, target } => {
                if !self.sources.knows_agent(&agent).await {
                    let text = format!(
                        "there is no agent `{agent}`: make one with `agent invite {agent}` and pair it"
                    );
                    return Err(ControlError::new(
                        ControlErrorKind::NotFound,
                        "no-agent",
                        text,
                    ));
                }
                Route::Agent { agent, target }
            }
            ConnectionTarget::Direct { url } => {
                let url = SecretString::from(url.expose_secret().trim().to_owned());
                self.sources
                    .direct(&url)
                    .map_err(|error| invalid("bad-url", error.message))?;
                Route::Direct { url }
            }
        };
        let (owned, kind, sealer) = (
            name.to_owned(),
            kind.to_owned(),
            self.store.sealer().clone(),
        );
        self.store
            .transact(move |tx| {
                let called = (owned.as_str(), kind.as_str());
                connections::add(tx, &sealer, DEFAULT_WORKSPACE, called, &route, now_ms())
            })
            .await
            .map_err(|error| named(error, "connection", name))?;
        ConnectionControl::show(self, name).await
    }

    async fn list(&self) -> Result<Vec<ConnectionInfo>, ControlError> {
        let records = self
            .store
            .view(|conn| connections::list(conn, DEFAULT_WORKSPACE))
            .await
            .map_err(internal)?;
        Ok(records.into_iter().map(info).collect())
    }

    async fn show(&self, name: &str) -> Result<ConnectionInfo, ControlError> {
        Ok(info(self.connection(name).await?))
    }

    async fn remove(&self, name: &str) -> Result<(), ControlError> {
        let owned = name.to_owned();
        self.store
            .transact(move |tx| connections::remove(tx, DEFAULT_WORKSPACE, &owned))
            .await
            .map_err(|error| named(error, "connection", name))
    }

    async fn test(&self, name: &str) -> Result<ConnectionTest, ControlError> {
        let catalog = self.tables(name).await?;
        let problem =
            |p: &crate::endpoint::catalog::Problem| format!("{}: {}", p.message, p.remedy);
        Ok(ConnectionTest {
            server: catalog.server,
            user: catalog.user,
            database: catalog.database,
            tables: catalog.tables.len(),
            problems: catalog.problems.iter().map(problem).collect(),
        })
    }

    async fn tables(&self, name: &str) -> Result<Catalog, ControlError> {
        let endpoint = self.endpoint(&self.connection(name).await?).await?;
        endpoint.inspect().await.map_err(unreachable)
    }

    async fn fix_key(
        &self,
        name: &str,
        table: &str,
        column: Option<&str>,
    ) -> Result<Vec<String>, ControlError> {
        let endpoint = self.endpoint(&self.connection(name).await?).await?;
        let catalog = endpoint.inspect().await.map_err(unreachable)?;
        let Some(found) = catalog.table(table) else {
            let text = format!("`{name}` has no table `{table}`: see `connection tables {name}`");
            return Err(ControlError::new(
                ControlErrorKind::NotFound,
                "no-table",
                text,
            ));
        };
        let wanted = found.fixes.iter().find(|fix| match (fix, column) {
            (Fix::IdentityColumn { .. }, None) => true,
            (Fix::ExistingColumn { column: known, .. }, Some(column)) => known == column,
            _ => false,
        });
        let Some(fix) = wanted else {
            let text = if found.primary_key.is_empty() {
                format!("this is no fix for `{table}`: see `connection tables {name}`")
            } else {
                format!("`{table}` has a primary key already: nothing to fix")
            };
            return Err(invalid("no-such-fix", text));
        };
        endpoint.fix_key(table, fix).await.map_err(unreachable)?;
        let (Fix::IdentityColumn { sql, .. } | Fix::ExistingColumn { sql, .. }) = fix;
        Ok(sql.clone())
    }
}

fn parse(text: &str) -> Result<SyncFile, ControlError> {
    SyncFile::parse(text).map_err(|error| invalid("sync-file", error.to_string()))
}

/// Changing a running sync is planned for a later version.
fn check_unchanged(record: &SyncRecord, file: &SyncFile) -> Result<(), ControlError> {
    if parse(&record.definition)? == *file {
        return Ok(());
    }
    let text = format!(
        "sync `{0}` exists with another mapping, and this version can't change a sync: run `sync \
         remove {0}` and apply the new file; records that exist on both sides are matched again",
        file.name
    );
    Err(ControlError::new(
        ControlErrorKind::Conflict,
        "sync-exists",
        text,
    ))
}

fn check_connection_name(name: &str) -> Result<(), ControlError> {
    let fits = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        return Ok(());
    }
    let text = format!("`{name}` can't be a connection's name: use 1 to 63 of a-z, 0-9, - and _");
    Err(invalid("bad-name", text))
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

fn state_name(phase: Phase, paused: bool) -> &'static str {
    match phase {
        _ if paused => "paused",
        Phase::Opening | Phase::Scanning => "planning",
        Phase::Copying => "copying",
        Phase::Live => "live",
        Phase::Waiting => "waiting",
        Phase::Refused => "failed",
        Phase::Stopped => "paused",
    }
}

fn info(record: ConnectionRecord) -> ConnectionInfo {
    let (agent, target) = match record.via {
        Via::Agent { agent, target } => (Some(agent), Some(target)),
        Via::Direct => (None, None),
    };
    ConnectionInfo {
        name: record.name,
        kind: record.kind,
        agent,
        target,
        address: None,
    }
}

fn table_name(file: &SyncFile, pair: PairId, side: Side) -> String {
    file.tables
        .get(pair.0 as usize)
        .map_or_else(String::new, |table| match side {
            Side::Left => table.left.clone(),
            Side::Right => table.right.clone(),
        })
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

fn invalid(code: &'static str, message: String) -> ControlError {
    ControlError::new(ControlErrorKind::Invalid, code, message)
}

fn internal(error: StoreError) -> ControlError {
    ControlError::new(ControlErrorKind::Internal, "store", error.to_string())
}

fn named(error: StoreError, noun: &str, name: &str) -> ControlError {
    match &error {
        StoreError::NotFound { .. } => {
            let text = format!("there is no {noun} `{name}`: see `{noun} list`");
            ControlError::new(ControlErrorKind::NotFound, "not-found", text)
        }
        StoreError::Taken { .. } | StoreError::InUseBy { .. } => {
            ControlError::new(ControlErrorKind::Conflict, "conflict", error.to_string())
        }
        _ => internal(error),
    }
}

fn unreachable(error: EndpointError) -> ControlError {
    let kind = match error.class {
        Class::Retry(_) | Class::Operator => ControlErrorKind::Unavailable,
        Class::Bug => ControlErrorKind::Internal,
    };
    ControlError::new(kind, error.code, error.message)
}

fn failed(error: RunError) -> ControlError {
    match error {
        RunError::Side { side, source } => {
            let text = format!("{}: {}", side.name(), source.message);
            ControlError {
                message: text,
                ..unreachable(source)
            }
        }
        RunError::Mapping(problems) => invalid("sync-refused", problems.join("\n")),
        RunError::Refused(message) | RunError::Gap(message) => invalid("sync-refused", message),
        RunError::Store(error) => internal(error),
    }
}
