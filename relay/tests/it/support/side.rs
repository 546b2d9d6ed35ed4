//! An opened PostgreSQL side over a throwaway database, with short ways to make steps.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_relay::endpoint::lens::Lens;
use tidegate_relay::endpoint::level::Level;
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::{
    Binding, Dial, Endpoint, EndpointError, OpenSide, Snapshot, TableBinding, Viewed, Writer,
};
use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::model::{
    BatchId, Cell, Key, Outcome, PairId, Row, Side, Step, StepKind, Stored,
};
use tidegate_sync::value::Value;
use tokio::sync::mpsc;

use super::postgres::Database;

/// `("posts", ["id", "title"])`.
pub type Table<'a> = (&'a str, &'a [&'a str]);

pub const SYNC: &str = "blog";

pub async fn open(database: &Database, epoch: u32, tables: &[Table<'_>]) -> Box<dyn OpenSide> {
    open_as(SYNC, database, epoch, tables).await
}

/// For a sync of that name. Slots are named by it, and tests share a server: one that makes a slot takes
/// the database's name, which is unique.
pub async fn open_as(
    sync: &str,
    database: &Database,
    epoch: u32,
    tables: &[Table<'_>],
) -> Box<dyn OpenSide> {
    let mut binding = binding(epoch, tables);
    binding.sync = sync.into();
    // Goes away with the server.
    let staging = format!("staging-{}", database.name);
    binding.staging = database.server.socket_dir().join(staging);
    std::fs::create_dir_all(&binding.staging).unwrap();
    let endpoint = PostgresEndpoint::new(database.dial());
    endpoint.open(binding).await.unwrap()
}

pub async fn open_over(
    dial: Arc<dyn Dial>,
    epoch: u32,
    tables: &[Table<'_>],
) -> Result<Box<dyn OpenSide>, EndpointError> {
    let endpoint = PostgresEndpoint::new(dial);
    endpoint.open(binding(epoch, tables)).await
}

pub fn binding(epoch: u32, tables: &[Table<'_>]) -> Binding {
    let tables = tables.iter().enumerate();
    Binding {
        sync: SYNC.into(),
        side: Side::Left,
        epoch,
        level: Level::Stream,
        tables: tables
            .map(|(pair, (table, fields))| TableBinding {
                pair: PairId(pair as u32),
                table: table.to_string(),
                columns: fields.iter().map(|field| field.to_string()).collect(),
                joins: Vec::new(),
                lens: Lens::default(),
                match_key: Vec::new(),
            })
            .collect(),
        fingerprinter: fingerprinter(),
        staging: PathBuf::new(),
    }
}

pub fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new([7; 32])
}

pub async fn writer(database: &Database, epoch: u32, tables: &[Table<'_>]) -> Box<dyn Writer> {
    open(database, epoch, tables).await.writer().await.unwrap()
}

/// Applies one batch of epoch 1.
pub async fn apply(writer: &mut Box<dyn Writer>, count: u32, steps: &[Step]) -> Vec<Outcome> {
    writer
        .apply(BatchId::of_run(1, count), steps, true)
        .await
        .unwrap()
}

pub fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub fn key(part: impl ToString) -> Key {
    Key::single(part.to_string())
}

pub fn create(set: &[Value]) -> Step {
    create_in(0, set, &[])
}

/// Sets the fields 0, 1, … of a table; `matching` are places of the match key.
pub fn create_in(pair: u32, set: &[Value], matching: &[usize]) -> Step {
    let set: Vec<(usize, Value)> = set.iter().cloned().enumerate().collect();
    let matching = matching.iter().map(|field| set[*field].clone()).collect();
    Step {
        pair: PairId(pair),
        kind: StepKind::Create { set, matching },
    }
}

/// `saw` are the values that the plan saw.
pub fn update(key: Key, set: &[(usize, Value)], saw: &[Value]) -> Step {
    Step {
        pair: PairId(0),
        kind: StepKind::Update {
            key,
            set: set.to_vec(),
            expect: expect(saw),
        },
    }
}

pub fn delete(key: Key, saw: &[Value]) -> Step {
    delete_in(0, key, saw)
}

pub fn delete_in(pair: u32, key: Key, saw: &[Value]) -> Step {
    Step {
        pair: PairId(pair),
        kind: StepKind::Delete {
            key,
            expect: expect(saw),
        },
    }
}

pub fn expect(saw: &[Value]) -> Vec<Fingerprint> {
    let fingerprinter = fingerprinter();
    saw.iter().map(|value| fingerprinter.value(value)).collect()
}

pub fn row(values: &[Value]) -> Row {
    values.iter().cloned().map(Cell::Value).collect()
}

#[track_caller]
pub fn written(outcome: &Outcome) -> &Stored {
    match outcome {
        Outcome::Written(stored, _) => stored,
        other => panic!("not written: {other:?}"),
    }
}

/// Every record of a table, sorted by key.
pub async fn scan(snapshot: &mut Box<dyn Snapshot>, pair: u32) -> Vec<(Key, Row)> {
    let records = scan_with_places(snapshot, pair).await.into_iter();
    records.map(|record| (record.key, record.row)).collect()
}

pub async fn scan_with_places(snapshot: &mut Box<dyn Snapshot>, pair: u32) -> Vec<Viewed> {
    let (sink, mut source) = mpsc::channel(2);
    let collect = async {
        let mut records = Vec::new();
        while let Some(chunk) = source.recv().await {
            records.extend(chunk);
        }
        records
    };
    let (scanned, mut records) = tokio::join!(snapshot.scan(PairId(pair), sink), collect);
    scanned.unwrap();
    records.sort_by(|a, b| a.key.cmp(&b.key));
    records
}
