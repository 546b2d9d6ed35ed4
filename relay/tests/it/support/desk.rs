//! An API over stand-ins for engine and pairing, with a real store and a real socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_relay::api::access::{Access, Caller};
use tidegate_relay::api::agents::{AgentControl, AgentStatus, Invited};
use tidegate_relay::api::authorities::{Authority, AuthorityControl};
use tidegate_relay::api::forward::{Duplex, ForwardPurpose};
use tidegate_relay::api::workspace::Rooms;
use tidegate_relay::api::{self, Api, Readiness};
use tidegate_relay::config::AllowPrivate;
use tidegate_relay::endpoint::catalog::{Catalog, Fix, Problem, Table};
use tidegate_relay::endpoint::level::Level;
use tidegate_relay::engine::handle::{
    AppKind, ConnectionControl, ConnectionInfo, ConnectionProblem, ConnectionTarget,
    ConnectionTest, ControlError, ControlErrorKind, Listed, Part, RowCount, SyncControl, Within,
};
use tidegate_relay::engine::news::{Round, Rounds};
use tidegate_relay::engine::report::{
    ConflictFilter, ConflictReport, FindingFilter, FindingReport, HistoryEntry, LeftBehind,
    PickMany, PickedMany, Preview, Removed, RunReport, SyncStatus, TablePreview, TableRepair,
    TableStatus, UndoPlan, UndoReport, VerifyReport, WriteFilter,
};
use tidegate_relay::engine::suggest::{FieldMap, TableSuggestion};
use tidegate_relay::engine::syncfile::SyncFile;
use tidegate_relay::engine::verify::How;
use tidegate_relay::notify::{Courier, Settings};
use tidegate_relay::store::{Store, tokens};
use tidegate_sync::model::Side;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the stand-ins answer, and what they were asked.
pub struct Script {
    pub undo: UndoPlan,
    pub preview: Preview,
    pub equal: bool,
    /// States that `status` walks through; the last one stays.
    pub states: VecDeque<&'static str>,
    pub plan_changed: bool,
    pub missing: Vec<String>,
    /// What a connection's test finds; `None`: it is not reached.
    pub problems: Option<Vec<ConnectionProblem>>,
    /// One line for each order that changed something.
    pub orders: Vec<String>,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            undo: UndoPlan::default(),
            preview: Preview {
                sync: "blog".into(),
                tables: vec![TablePreview {
                    left: "public.posts".into(),
                    right: "Posts".into(),
                    ..TablePreview::default()
                }],
                ..Preview::default()
            },
            equal: true,
            states: VecDeque::from(["live"]),
            plan_changed: false,
            missing: Vec::new(),
            problems: None,
            orders: Vec::new(),
        }
    }
}

#[derive(Clone)]
struct StandIn {
    script: Arc<Mutex<Script>>,
    rounds: Rounds,
}

impl StandIn {
    fn order(&self, text: String) {
        self.script.lock().unwrap().orders.push(text);
    }
}

/// One workspace is like another here; `e2e::workspaces` crosses real ones.
impl Rooms for StandIn {
    fn syncs(&self, _: &str) -> Arc<dyn SyncControl> {
        Arc::new(self.clone())
    }

    fn connections(&self, _: &str) -> Arc<dyn ConnectionControl> {
        Arc::new(self.clone())
    }

    fn agents(&self, _: &Caller) -> Arc<dyn AgentControl> {
        Arc::new(self.clone())
    }

    fn authorities(&self, _: &Caller) -> Arc<dyn AuthorityControl> {
        Arc::new(self.clone())
    }
}

/// A running API. Stops when dropped.
pub struct Desk {
    pub base: String,
    pub token: String,
    /// Path of the link by which the first administrator comes in.
    pub setup: String,
    pub dir: TempDir,
    pub script: Arc<Mutex<Script>>,
    pub rounds: Rounds,
    pub stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Desk {
    pub async fn start() -> Desk {
        Desk::start_with(|_| Access::default()).await
    }

    /// With what `access` makes for the address of this API.
    pub async fn start_with(access: impl FnOnce(&str) -> Access) -> Desk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let access = Arc::new(access(&base));
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).unwrap();
        tokens::ensure_operator_token(&store, 1).await.unwrap();
        let token = std::fs::read_to_string(dir.path().join("operator.token")).unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (rounds, _) = broadcast::channel(16);
        let stop = CancellationToken::new();
        let stand_in = StandIn {
            script: script.clone(),
            rounds: rounds.clone(),
        };
        let setup = access.setup.path().to_string();
        let courier = Courier::new(store.clone(), Settings::default());
        let router = api::router(Api {
            store,
            courier: Arc::new(courier),
            rooms: Arc::new(stand_in.clone()),
            egress: vec!["203.0.113.7".into()],
            allow_private: AllowPrivate::default(),
            readiness: Arc::new(stand_in),
            access,
            forwards: Arc::default(),
            stop: stop.clone(),
        });
        let server = tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await.unwrap();
        });
        Desk {
            base,
            token: token.trim().to_owned(),
            setup,
            dir,
            script,
            rounds,
            stop,
            server,
        }
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn orders(&self) -> Vec<String> {
        self.script.lock().unwrap().orders.clone()
    }

    /// A sync file that parses, in the desk's directory.
    pub fn sync_file(&self) -> std::path::PathBuf {
        self.file(
            "blog.toml",
            "name = \"blog\"\nleft = \"a\"\nright = \"b\"\n[[table]]\nleft = \"public.posts\"\n\
             right = \"Posts\"\nkey = [[\"id\", \"id\"]]\nfields = []\n",
        )
    }

    pub fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path: &Path = self.dir.path();
        let path = path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn absent(noun: &str, name: &str) -> ControlError {
    ControlError::new(
        ControlErrorKind::NotFound,
        "not-found",
        format!("there is no {noun} {name}"),
    )
}

#[async_trait]
impl SyncControl for StandIn {
    async fn plan(&self, file: &str) -> Result<Preview, ControlError> {
        SyncFile::parse(file).map_err(|error| {
            ControlError::new(ControlErrorKind::Invalid, "sync-file", error.to_string())
        })?;
        Ok(self.script.lock().unwrap().preview.clone())
    }

    async fn apply(
        &self,
        file: &str,
        expected: Option<Preview>,
    ) -> Result<SyncStatus, ControlError> {
        let preview = self.plan(file).await?;
        if self.script.lock().unwrap().plan_changed {
            let text = "the data has changed since the plan: plan again";
            return Err(ControlError::new(
                ControlErrorKind::Conflict,
                "plan-changed",
                text,
            ));
        }
        self.order(format!("apply, as planned: {}", expected == Some(preview)));
        self.status("blog").await
    }

    async fn list(&self) -> Result<Vec<SyncStatus>, ControlError> {
        Ok(vec![self.status("blog").await?])
    }

    async fn status(&self, name: &str) -> Result<SyncStatus, ControlError> {
        if name != "blog" {
            return Err(absent("sync", name));
        }
        let mut script = self.script.lock().unwrap();
        let state = match script.states.len() {
            1 => script.states[0],
            _ => script.states.pop_front().unwrap_or("live"),
        };
        Ok(SyncStatus {
            name: "blog".into(),
            state: state.into(),
            lag_ms: Some(7),
            tables: vec![TableStatus {
                left: "public.posts".into(),
                ..TableStatus::default()
            }],
            last_error: (state == "failed").then(|| "the slot is lost".to_owned()),
            ..SyncStatus::default()
        })
    }

    async fn pause(&self, name: &str) -> Result<SyncStatus, ControlError> {
        self.order(format!("pause {name}"));
        self.status(name).await
    }

    async fn resume(&self, name: &str) -> Result<SyncStatus, ControlError> {
        self.order(format!("resume {name}"));
        self.status(name).await
    }

    async fn approve(&self, name: &str) -> Result<SyncStatus, ControlError> {
        self.status(name).await
    }

    async fn remove(&self, name: &str, force: bool) -> Result<Removed, ControlError> {
        self.status(name).await?;
        self.order(format!("remove {name}, force: {force}"));
        let left = LeftBehind {
            side: "left".into(),
            connection: "office-db".into(),
            reason: "there is no agent".into(),
            sql: vec!["drop publication if exists p".into()],
        };
        Ok(Removed {
            name: name.into(),
            left_behind: if force { vec![left] } else { Vec::new() },
        })
    }

    async fn verify(&self, name: &str, how: How) -> Result<VerifyReport, ControlError> {
        self.status(name).await?;
        let equal = self.script.lock().unwrap().equal;
        let difference_count = u64::from(!equal);
        Ok(VerifyReport {
            equal,
            records: 9,
            difference_count,
            repair: how.repair.then(|| {
                vec![TableRepair {
                    update_right: 1,
                    ..TableRepair::default()
                }]
            }),
            ..VerifyReport::default()
        })
    }

    async fn repair(
        &self,
        name: &str,
        expected: Option<Vec<TableRepair>>,
    ) -> Result<VerifyReport, ControlError> {
        self.order(format!(
            "repair {name}, {} tables",
            expected.unwrap_or_default().len()
        ));
        self.script.lock().unwrap().equal = true;
        self.verify(name, How::default()).await
    }

    async fn findings(
        &self,
        which: &FindingFilter,
        part: Part,
    ) -> Result<Listed<FindingReport>, ControlError> {
        self.status(which.sync.as_deref().unwrap_or("blog")).await?;
        let finding = |id: i64| FindingReport {
            id,
            sync: "blog".into(),
            code: "unique-violation".into(),
            ..FindingReport::default()
        };
        let after = part.after.unwrap_or(0);
        let listed = (after + 1..=3).map(finding).take(part.limit as usize);
        Ok(Listed::up_to(part.limit, listed.collect()))
    }

    async fn conflicts(
        &self,
        which: &ConflictFilter,
        part: Part,
    ) -> Result<Listed<ConflictReport>, ControlError> {
        let (name, waiting) = (which.sync.as_deref().unwrap_or("blog"), which.waiting);
        self.status(name).await?;
        self.order(format!("conflicts of {name}, waiting: {waiting}"));
        Ok(Listed::up_to(part.limit, Vec::new()))
    }

    async fn pick_many(&self, name: &str, which: &PickMany) -> Result<PickedMany, ControlError> {
        self.status(name).await?;
        self.order(format!(
            "pick {} in all up to {} of {name}",
            which.side, which.upto
        ));
        Ok(PickedMany::default())
    }

    async fn pick(&self, name: &str, id: i64, side: Side) -> Result<ConflictReport, ControlError> {
        self.status(name).await?;
        self.order(format!("pick {} in {id} of {name}", side.name()));
        Ok(ConflictReport::default())
    }

    async fn retry(&self, name: &str, finding: Option<i64>) -> Result<(), ControlError> {
        match finding {
            None => self.order(format!("retry {name}")),
            Some(id) => self.order(format!("retry {id} of {name}")),
        }
        Ok(())
    }

    async fn history(
        &self,
        name: &str,
        filter: &WriteFilter,
        part: Part,
    ) -> Result<Listed<HistoryEntry>, ControlError> {
        self.status(name).await?;
        self.order(format!("history {name} {filter:?} {}", part.limit));
        let entry = HistoryEntry {
            left_key: filter.key.clone(),
            ..HistoryEntry::default()
        };
        Ok(Listed::up_to(part.limit, vec![entry]))
    }

    async fn runs(&self, name: &str, part: Part) -> Result<Listed<RunReport>, ControlError> {
        self.status(name).await?;
        Ok(Listed::up_to(part.limit, vec![RunReport::default()]))
    }

    async fn plan_undo(&self, name: &str, filter: &WriteFilter) -> Result<UndoPlan, ControlError> {
        self.status(name).await?;
        self.order(format!(
            "plan undo {name} {:?} {:?}",
            filter.run, filter.side
        ));
        Ok(self.script.lock().unwrap().undo.clone())
    }

    async fn undo(
        &self,
        name: &str,
        _filter: &WriteFilter,
        expected: &UndoPlan,
    ) -> Result<UndoReport, ControlError> {
        self.order(format!("undo {name} up to {}", expected.upto));
        let done = expected.tables[0].puts_back.clone();
        Ok(UndoReport {
            done,
            ..UndoReport::default()
        })
    }

    async fn export(&self, name: &str) -> Result<String, ControlError> {
        self.status(name).await?;
        Ok("name = \"blog\"\n".into())
    }

    fn rounds(&self) -> broadcast::Receiver<Arc<Round>> {
        self.rounds.subscribe()
    }
}

#[async_trait]
impl ConnectionControl for StandIn {
    async fn add(
        &self,
        name: &str,
        kind: &str,
        target: ConnectionTarget,
    ) -> Result<ConnectionInfo, ControlError> {
        self.order(format!("add {name} {kind} {target:?}"));
        let (agent, target) = match target {
            ConnectionTarget::Agent { agent, target } => (Some(agent), Some(target)),
            ConnectionTarget::Direct { .. } | ConnectionTarget::App(_) => (None, None),
        };
        let address = agent.is_none().then(|| "db.example:5432/shop".to_owned());
        Ok(ConnectionInfo {
            name: name.into(),
            kind: kind.into(),
            agent,
            target,
            address,
            capture: "auto".into(),
        })
    }

    async fn list(&self) -> Result<Vec<ConnectionInfo>, ControlError> {
        Ok(Vec::new())
    }

    async fn show(&self, name: &str) -> Result<ConnectionInfo, ControlError> {
        Err(absent("connection", name))
    }

    async fn remove(&self, name: &str) -> Result<(), ControlError> {
        Err(absent("connection", name))
    }

    async fn choose_capture(
        &self,
        name: &str,
        capture: Option<Level>,
    ) -> Result<ConnectionInfo, ControlError> {
        let capture = capture.map_or("auto", Level::name);
        self.order(format!("capture {name} {capture}"));
        Ok(ConnectionInfo {
            name: name.into(),
            kind: "postgres".into(),
            agent: None,
            target: None,
            address: None,
            capture: capture.into(),
        })
    }

    async fn test(&self, name: &str) -> Result<ConnectionTest, ControlError> {
        if let Some(problems) = self.script.lock().unwrap().problems.clone() {
            return Ok(ConnectionTest {
                server: "PostgreSQL 17.1".into(),
                user: "tidegate".into(),
                database: "shop".into(),
                tables: 3,
                writable: 3,
                ok: !problems.iter().any(|problem| problem.blocking),
                problems,
                capture: "stream (the best there is)".into(),
            });
        }
        let text = format!("connection {name}: the agent is not connected");
        Err(ControlError::new(
            ControlErrorKind::Unavailable,
            "agent-offline",
            text,
        ))
    }

    async fn tables(&self, _name: &str) -> Result<Catalog, ControlError> {
        let sql = vec!["alter table public.log add column id bigint".to_owned()];
        let table = Table {
            schema: "public".into(),
            name: "log".into(),
            problems: vec![Problem {
                code: "no-primary-key".into(),
                message: "the table has no primary key".into(),
                remedy: "give it one".into(),
                blocking: true,
            }],
            fixes: vec![
                Fix::IdentityColumn {
                    column: "id".into(),
                    sql: sql.clone(),
                },
                Fix::ExistingColumn {
                    column: "nr".into(),
                    sql,
                },
            ],
            ..Table::default()
        };
        Ok(Catalog {
            tables: vec![table],
            allows_ddl: true,
            ..Catalog::default()
        })
    }

    fn app_kinds(&self) -> Vec<AppKind> {
        Vec::new()
    }

    async fn suggest_tables(
        &self,
        left: Within<'_>,
        _right: Within<'_>,
    ) -> Result<Vec<TableSuggestion>, ControlError> {
        Err(absent("connection", left.connection))
    }

    async fn suggest_fields(
        &self,
        left: (&str, &str),
        _right: (&str, &str),
        _only: Option<&str>,
    ) -> Result<FieldMap, ControlError> {
        Err(absent("connection", left.0))
    }

    async fn count(
        &self,
        name: &str,
        _table: &str,
        _filter: Option<&str>,
    ) -> Result<RowCount, ControlError> {
        Err(absent("connection", name))
    }

    async fn fix_key(
        &self,
        name: &str,
        table: &str,
        column: Option<&str>,
        _expected: Option<&[String]>,
    ) -> Result<Vec<String>, ControlError> {
        self.order(format!("fix {name} {table} {column:?}"));
        Ok(vec!["alter table".into()])
    }
}

#[async_trait]
impl AgentControl for StandIn {
    async fn invite(&self, name: &str, expires_s: Option<u64>) -> Result<Invited, ControlError> {
        self.order(format!("invite {name} {expires_s:?}"));
        let expires_at = "2026-11-22T23:00:00Z".to_owned();
        Ok(Invited {
            name: name.into(),
            token: "tg_pair_1abc".into(),
            expires_at,
        })
    }

    async fn list(&self) -> Result<Vec<AgentStatus>, ControlError> {
        Ok(Vec::new())
    }

    async fn show(&self, name: &str) -> Result<AgentStatus, ControlError> {
        Err(absent("agent", name))
    }

    async fn revoke(&self, name: &str) -> Result<AgentStatus, ControlError> {
        Err(absent("agent", name))
    }

    async fn forward(
        &self,
        name: &str,
        target: &str,
        purpose: ForwardPurpose,
    ) -> Result<Box<dyn Duplex>, ControlError> {
        self.order(format!("forward {name} {target} {purpose:?}"));
        Err(absent("agent", name))
    }
}

#[async_trait]
impl AuthorityControl for StandIn {
    async fn list(&self) -> Result<Vec<Authority>, ControlError> {
        Ok(Vec::new())
    }

    async fn renew(&self, kind: &str) -> Result<Authority, ControlError> {
        Err(absent("authority", kind))
    }

    async fn finish(&self, kind: &str, force: bool) -> Result<Authority, ControlError> {
        self.order(format!("finish {kind} {force}"));
        Err(absent("authority", kind))
    }
}

#[async_trait]
impl Readiness for StandIn {
    async fn missing(&self) -> Vec<String> {
        self.script.lock().unwrap().missing.clone()
    }
}
