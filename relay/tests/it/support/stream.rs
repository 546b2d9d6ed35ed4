//! One side whose changes a test reads: a database with tables, a slot, a running capture.

use std::time::Duration;

use tempfile::TempDir;
use tidegate_relay::endpoint::postgres::CaptureTable;
use tidegate_relay::endpoint::postgres::capture::{CaptureSource, PgCapture};
use tidegate_relay::endpoint::postgres::replication::SlotSnapshot;
use tidegate_relay::endpoint::postgres::slots::{self, Names};
use tidegate_relay::endpoint::postgres::types::{BaseType, PgType};
use tidegate_relay::endpoint::{Capture, Captured, EndpointError, StreamLabel};
use tidegate_sync::model::{Cell, Change, ChangeKind, Key, PairId, Position, Side};
use tidegate_sync::value::Value;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::postgres::{Database, Server};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stream {
    pub database: Database,
    pub client: Client,
    pub sync: String,
    pub names: Names,
    pub tables: Vec<CaptureTable>,
    pub staging: TempDir,
}

impl Stream {
    /// A database of the shared server, with `ddl` run and `tables` (name and fields) bound.
    pub async fn new(sync: &str, ddl: &str, tables: &[(&str, &[&str])]) -> Stream {
        Stream::on(Server::shared().database(sync).await, ddl, tables).await
    }

    pub async fn on(database: Database, ddl: &str, tables: &[(&str, &[&str])]) -> Stream {
        let client = database.client().await;
        client.batch_execute(ddl).await.unwrap();
        // Slots are named by sync, and tests share a server: the database's name is unique.
        let sync = database.name.clone();
        let mut bound = Vec::new();
        for (pair, (name, fields)) in tables.iter().enumerate() {
            bound.push(table(&client, PairId(pair as u32), name, fields).await);
        }
        Stream {
            names: Names::new(&sync, Side::Left),
            tables: bound,
            staging: tempfile::tempdir().unwrap(),
            database,
            client,
            sync,
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// One text value.
    pub async fn ask(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub async fn start_over(&self) -> (SlotSnapshot, Position) {
        let dial = self.database.dial();
        slots::start_over(&*dial, &label(), &self.names, &self.tables)
            .await
            .unwrap()
    }

    /// A new slot, and a capture from its position.
    pub async fn start(&self) -> (PgCapture, Position) {
        let (snapshot, position) = self.start_over().await;
        drop(snapshot);
        (self.resume(&position).await.unwrap(), position)
    }

    pub async fn resume(&self, position: &Position) -> Result<PgCapture, EndpointError> {
        let source = CaptureSource {
            dial: self.database.dial(),
            label: label(),
            sync: self.sync.clone(),
            side: Side::Left,
            tables: self.tables.clone(),
            staging: self.staging.path().to_owned(),
        };
        PgCapture::start(source, position).await
    }

    /// Everything up to now, joined.
    pub async fn read(&self, capture: &mut PgCapture) -> Read {
        let fence = self.ask("select pg_current_wal_insert_lsn()::text").await;
        self.execute("select pg_logical_emit_message(true, 'tidegate.fence', '')")
            .await;
        let fence = tidegate_relay::endpoint::postgres::replication::parse_lsn(&fence).unwrap();
        read_to(capture, fence).await
    }
}

/// What was captured, joined.
#[derive(Default)]
pub struct Read {
    pub changes: Vec<Change>,
    pub position: Position,
    pub reconcile: Vec<(PairId, String)>,
    /// How many changes came in each batch.
    pub sizes: Vec<usize>,
}

/// Everything up to `fence`, joined.
pub async fn read_to(capture: &mut PgCapture, fence: u64) -> Read {
    let mut all = Read::default();
    while all.position.offset < fence {
        let next = next(capture).await.unwrap();
        all.sizes.push(next.changes.len());
        all.changes.extend(next.changes);
        all.reconcile.extend(next.reconcile);
        if let Some(end) = next.end {
            assert!(end.offset > all.position.offset, "positions grow");
            all.position = end;
        }
    }
    let places = all.changes.iter().map(Change::place);
    assert!(places.is_sorted(), "places never fall");
    all
}

pub async fn next(capture: &mut PgCapture) -> Result<Captured, EndpointError> {
    timeout(PATIENCE, capture.next())
        .await
        .expect("the stream says something")
}

pub fn label() -> StreamLabel {
    StreamLabel {
        sync: "test".into(),
        run: "capture".into(),
        epoch: 1,
    }
}

/// Short form of a change: `+1 a,b` inserted, `~1 a,?` present, `~1>2 a,b` with a new key,
/// `-1` gone. `?` is unchanged and `0` null.
pub fn brief(change: &Change) -> String {
    let key = |key: &Key| key.to_string();
    let (sign, row) = match &change.kind {
        ChangeKind::Present { row, inserted } => {
            (if *inserted { '+' } else { '~' }, row.as_slice())
        }
        ChangeKind::Gone => ('-', &[][..]),
    };
    let old = change
        .old_key
        .as_ref()
        .map(|old| format!("{}>", key(old)))
        .unwrap_or_default();
    let cells: Vec<String> = row.iter().map(brief_cell).collect();
    format!("{sign}{old}{} {}", key(&change.key), cells.join(","))
        .trim_end()
        .to_owned()
}

fn brief_cell(cell: &Cell) -> String {
    match cell {
        Cell::Unchanged => "?".into(),
        Cell::Value(Value::Null) => "0".into(),
        Cell::Value(Value::Text(text)) if text.len() > 20 => format!("text[{}]", text.len()),
        Cell::Value(Value::Text(text)) => text.clone(),
        Cell::Value(Value::Int(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

pub fn briefs(read: &Read) -> Vec<String> {
    read.changes.iter().map(brief).collect()
}

async fn table(client: &Client, pair: PairId, name: &str, fields: &[&str]) -> CaptureTable {
    let keys = "select a.attname::text from pg_index i \
                join unnest(i.indkey) with ordinality k (attnum, place) on true \
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
                where i.indrelid = $1::text::regclass and i.indisprimary order by k.place";
    let key = client.query(keys, &[&name]).await.unwrap();
    let mut bound = Vec::new();
    for field in fields {
        let column = "select t.oid, format_type(t.oid, a.atttypmod), format_type(t.oid, null), \
                      t.typname::text, a.atttypmod \
                      from pg_attribute a join pg_type t on t.oid = a.atttypid \
                      where a.attrelid = $1::text::regclass and a.attname = $2::text";
        let row = client.query_one(column, &[&name, field]).await.unwrap();
        let base = BaseType {
            oid: row.get(0),
            name: row.get(3),
            modifier: row.get(4),
            enum_labels: Vec::new(),
        };
        let pg_type = PgType::new(row.get(0), row.get(1), row.get(2), base);
        bound.push(((*field).to_owned(), pg_type));
    }
    let oid = "select $1::text::regclass::oid";
    CaptureTable {
        pair,
        oid: client.query_one(oid, &[&name]).await.unwrap().get(0),
        schema: "public".into(),
        name: name.to_owned(),
        key: key.iter().map(|row| row.get(0)).collect(),
        fields: bound,
        joins: 0,
        lens: Default::default(),
    }
}
