//! One side whose changes a test reads at any level, and a copy that it keeps by them.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_relay::endpoint::level::Level;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{Binding, Capture, Captured, Endpoint, OpenSide, Writer};
use tidegate_sync::model::{Cell, Change, ChangeKind, Key, PairId, Position, Row};
use tokio_postgres::Client;

use super::postgres::{Database, Server};
use super::side::{Table, binding, scan};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    pub database: Database,
    pub client: Client,
    pub side: Box<dyn OpenSide>,
    pub writer: Box<dyn Writer>,
    pub sync: String,
    level: Level,
    tables: Vec<(String, Vec<String>)>,
    pub epoch: u32,
}

/// A side's records as its view and its changes tell them.
pub struct Copy {
    pub records: BTreeMap<(PairId, Key), Row>,
    pub position: Position,
}

impl Bench {
    pub async fn new(level: Level, ddl: &str, tables: &[Table<'_>]) -> Bench {
        let database = Server::shared().database("bench").await;
        Bench::on(database, level, ddl, tables).await
    }

    pub async fn on(database: Database, level: Level, ddl: &str, tables: &[Table<'_>]) -> Bench {
        let client = database.client().await;
        client.batch_execute(ddl).await.unwrap();
        let owned = |(table, fields): &Table<'_>| {
            let fields = fields.iter().map(|field| field.to_string()).collect();
            (table.to_string(), fields)
        };
        let tables: Vec<(String, Vec<String>)> = tables.iter().map(owned).collect();
        // Slots are named by sync, and tests share a server: the database's name is unique.
        let sync = database.name.clone();
        let mut side = open(&database, &sync, (level, 1), &tables).await;
        let writer = side.writer().await.unwrap();
        Bench {
            database,
            client,
            side,
            writer,
            sync,
            level,
            tables,
            epoch: 1,
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Opens it anew as a later run does, perhaps at another level or with other tables.
    pub async fn reopen(&mut self, level: Level) {
        self.epoch += 1;
        self.level = level;
        self.side = open(
            &self.database,
            &self.sync,
            (level, self.epoch),
            &self.tables,
        )
        .await;
        self.writer = self.side.writer().await.unwrap();
    }

    /// A view, and a capture from its position on.
    pub async fn start(&mut self) -> (Copy, Box<dyn Capture>) {
        let mut view = self.side.snapshot().await.unwrap();
        let mut records = BTreeMap::new();
        for pair in 0..self.tables.len() as u32 {
            for (key, row) in scan(&mut view, pair).await {
                assert_eq!(records.insert((PairId(pair), key), row), None);
            }
        }
        let position = view.position();
        drop(view);
        let capture = self.resume(&position).await;
        (Copy { records, position }, capture)
    }

    pub async fn resume(&mut self, position: &Position) -> Box<dyn Capture> {
        let checked = self.side.check_position(position).await.unwrap();
        assert_eq!(checked, Ok(()));
        self.side.capture(position).await.unwrap()
    }

    /// Everything up to now, joined.
    pub async fn read(&mut self, capture: &mut Box<dyn Capture>) -> Captured {
        let (_, fence) = self.writer.read(PairId(0), &[]).await.unwrap();
        let mut all = Captured::default();
        let mut passed = 0;
        while passed < fence {
            let next = next(capture).await;
            let places = next.changes.iter().map(Change::place);
            let last = all.changes.last().map(Change::place);
            assert!(last.into_iter().chain(places).is_sorted());
            if let Some(end) = next.end {
                let is_before = |change: &Change| change.offset <= end.offset;
                assert!(end.offset >= passed && next.changes.iter().all(is_before));
                passed = end.offset;
                all.end = Some(end);
            }
            all.changes.extend(next.changes);
            all.reconcile.extend(next.reconcile);
        }
        all
    }

    /// Reads everything into the copy, which must then be what the tables are.
    pub async fn catch_up(&mut self, copy: &mut Copy, capture: &mut Box<dyn Capture>) -> Captured {
        let captured = self.read(capture).await;
        assert_eq!(captured.reconcile, Vec::new());
        copy.take_in(&captured);
        let mut view = self.side.view().await.unwrap();
        for pair in 0..self.tables.len() as u32 {
            let is_of = |entry: &(&(PairId, Key), &Row)| entry.0.0 == PairId(pair);
            let held: Vec<(Key, Row)> = copy
                .records
                .iter()
                .filter(is_of)
                .map(|((_, key), row)| (key.clone(), row.clone()))
                .collect();
            assert_eq!(held, scan(&mut view, pair).await, "pair {pair}");
        }
        captured
    }

    pub fn binding(&self) -> Binding {
        bound(
            &self.database,
            &self.sync,
            (self.level, self.epoch),
            &self.tables,
        )
    }

    pub async fn forget(&self) {
        let endpoint = PostgresEndpoint::new(self.database.dial());
        endpoint.forget(&self.sync).await.unwrap();
    }
}

impl Copy {
    /// A record that is said to be new must be, and a change must tell the whole record.
    pub fn take_in(&mut self, captured: &Captured) {
        for change in &captured.changes {
            let former = change.old_key.as_ref().unwrap_or(&change.key);
            let before = self.records.remove(&(change.pair, former.clone()));
            let ChangeKind::Present { row, inserted } = &change.kind else {
                continue;
            };
            assert!(!(*inserted && before.is_some()), "told twice: {change:?}");
            let cells = row.iter().enumerate().map(|(field, cell)| match cell {
                Cell::Unchanged => before.as_ref().unwrap()[field].clone(),
                told => told.clone(),
            });
            let key = (change.pair, change.key.clone());
            self.records.insert(key, cells.collect());
        }
        if let Some(end) = &captured.end {
            self.position = end.clone();
        }
    }
}

pub async fn next(capture: &mut Box<dyn Capture>) -> Captured {
    let next = tokio::time::timeout(PATIENCE, capture.next()).await;
    next.expect("the capture stands still").unwrap()
}

async fn open(
    database: &Database,
    sync: &str,
    run: (Level, u32),
    tables: &[(String, Vec<String>)],
) -> Box<dyn OpenSide> {
    let endpoint = PostgresEndpoint::new(database.dial());
    let binding = bound(database, sync, run, tables);
    endpoint.open(binding).await.unwrap()
}

fn bound(
    database: &Database,
    sync: &str,
    (level, epoch): (Level, u32),
    tables: &[(String, Vec<String>)],
) -> Binding {
    let fields: Vec<Vec<&str>> = tables
        .iter()
        .map(|(_, fields)| fields.iter().map(String::as_str).collect())
        .collect();
    let tables: Vec<Table<'_>> = tables
        .iter()
        .zip(&fields)
        .map(|((table, _), fields)| (table.as_str(), fields.as_slice()))
        .collect();
    let mut binding = binding(epoch, &tables);
    binding.sync = sync.to_owned();
    binding.level = level;
    // Goes away with the server.
    binding.staging = database.server.socket_dir().join(format!("staging-{sync}"));
    std::fs::create_dir_all(&binding.staging).unwrap();
    binding
}
