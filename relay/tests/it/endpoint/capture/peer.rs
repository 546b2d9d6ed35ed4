//! The whole capture against PostgreSQL's own receiver, `pg_recvlogical`, with the `test_decoding`
//! plugin: another client, another plugin, another format, and the same changes.

mod printed;
mod work;

use std::pin::pin;
use std::time::Duration;

use tidegate_relay::endpoint::postgres::capture::PgCapture;
use tidegate_relay::endpoint::postgres::replication::parse_lsn;
use tidegate_sync::model::{Cell, Change, ChangeKind};
use tidegate_sync::value::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::postgres::{ROLE, Server};
use crate::support::stream::{Stream, next};

const DDL: &str = "create table posts (id int primary key, title text, body text, n int); \
    alter table posts alter body set storage external; \
    create table files (part int, name text, note text, body text, primary key (part, name)); \
    alter table files alter body set storage external; \
    alter table files replica identity full; \
    create table unbound (id int primary key);";
const TABLES: &[(&str, &[&str])] = &[
    ("posts", &["title", "body", "n"]),
    ("files", &["note", "body"]),
];

const SEED: u64 = 20;
const WRITERS: u64 = 3;
const TRANSACTIONS_PER_WRITER: usize = 60;
const RECEIVED_MAX: Duration = Duration::from_secs(60);

/// One transaction's changes, in [`line`]'s form.
type Transaction = Vec<String>;

#[tokio::test(flavor = "multi_thread")]
async fn a_random_workload_reads_as_postgresqls_own_receiver_reads_it() {
    // So little that bigger transactions are streamed to us while they run.
    let server = Server::start_with(&["logical_decoding_work_mem = '64kB'"]);
    let stream = Stream::on(server.database("peer").await, DDL, TABLES).await;
    let (snapshot, position) = stream.start_over().await;
    drop(snapshot);
    let copy = format!(
        "select pg_copy_logical_replication_slot('{}', 'receiver', false, 'test_decoding')",
        stream.names.slot
    );
    stream.execute(&copy).await;
    let mut capture = stream.resume(&position).await.unwrap();
    let (ours, end) = read_live(&stream, &mut capture).await;
    let text = received(&stream, &end).await;
    let theirs = printed::transactions(&text, &stream.tables);
    assert!(theirs.len() > 100, "{} transactions", theirs.len());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "transaction {number}, seed {SEED}");
    }
    assert_eq!(ours.len(), theirs.len(), "seed {SEED}");
    assert_covered(&theirs);
}

/// Runs the workload and reads it at the same time. Returns the transactions, and where they end.
async fn read_live(stream: &Stream, capture: &mut PgCapture) -> (Vec<Transaction>, String) {
    let mut writing = pin!(write(stream));
    let mut end: Option<String> = None;
    let (mut read, mut transactions, mut last) = (0, Vec::new(), 0);
    while end
        .as_deref()
        .and_then(parse_lsn)
        .is_none_or(|end| read < end)
    {
        tokio::select! {
            written = &mut writing, if end.is_none() => end = Some(written),
            captured = next(capture) => {
                let captured = captured.unwrap();
                assert!(captured.reconcile.is_empty(), "{:?}", captured.reconcile);
                read = captured.end.map_or(read, |end| end.offset);
                for change in &captured.changes {
                    // A commit has an end of its own.
                    if last != change.offset {
                        last = change.offset;
                        transactions.push(Transaction::new());
                    }
                    transactions.last_mut().unwrap().push(line(change, stream));
                }
            }
        }
    }
    (transactions, end.unwrap())
}

/// Several writers at once, so that their transactions interleave; returns the position after them.
async fn write(stream: &Stream) -> String {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = stream.database.client().await;
        writers.spawn(async move {
            let mut work = work::Work::of(writer, SEED);
            for _ in 0..TRANSACTIONS_PER_WRITER {
                let sql = work.transaction();
                let done = client.batch_execute(&sql).await;
                done.unwrap_or_else(|error| panic!("seed {SEED}: {error:?}: {sql}"));
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let end = stream.ask("select pg_current_wal_insert_lsn()::text").await;
    // Both readers learn from a message behind the end that they are past it.
    stream
        .execute("select pg_logical_emit_message(true, 'tidegate.fence', '')")
        .await;
    end
}

/// What `pg_recvlogical` prints from the copied slot up to `end`.
async fn received(stream: &Stream, end: &str) -> String {
    let server = &stream.database.server;
    let mut command = server.program("pg_recvlogical", ROLE, &stream.database.name);
    command
        .args([
            "-S",
            "receiver",
            "--start",
            "--no-loop",
            "-f",
            "-",
            "-E",
            end,
        ])
        .args(["-o", "include-xids=0", "-o", "skip-empty-xacts=1"]);
    let mut command = tokio::process::Command::from(command);
    let done = timeout(RECEIVED_MAX, command.kill_on_drop(true).output())
        .await
        .expect("the receiver ends at its end position")
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    String::from_utf8(done.stdout).unwrap()
}

/// `+posts ["1"] [..]` inserted, `~` present, `~posts ["1"] was ["2"] [..]` with a new key, `-`
/// gone.
fn line(change: &Change, stream: &Stream) -> String {
    let (sign, fields) = match &change.kind {
        ChangeKind::Present { row, inserted } => {
            let fields: Vec<String> = row.iter().map(field).collect();
            (if *inserted { '+' } else { '~' }, Some(fields))
        }
        ChangeKind::Gone => ('-', None),
    };
    let table = &stream.tables[change.pair.0 as usize].name;
    let old_key = change.old_key.as_ref().map(|key| key.0.as_slice());
    written(sign, table, &change.key.0, old_key, fields.as_deref())
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Unchanged => "unchanged".into(),
        Cell::Value(Value::Null) => "null".into(),
        Cell::Value(Value::Text(text)) => format!("={text}"),
        Cell::Value(Value::Int(number)) => format!("={number}"),
        other => panic!("no column is of this type: {other:?}"),
    }
}

/// The form in which both readings are compared.
fn written(
    sign: char,
    table: &str,
    key: &[String],
    old_key: Option<&[String]>,
    fields: Option<&[String]>,
) -> String {
    let old = old_key.map(|old| format!(" was {old:?}"));
    let fields = fields.map(|fields| format!(" {fields:?}"));
    format!(
        "{sign}{table} {key:?}{}{}",
        old.unwrap_or_default(),
        fields.unwrap_or_default()
    )
}

/// A workload that lost one of its kinds would compare little.
fn assert_covered(transactions: &[Transaction]) {
    let any = |is: &dyn Fn(&str) -> bool| transactions.iter().flatten().any(|line| is(line));
    for table in TABLES.iter().map(|(table, _)| table) {
        for sign in ['+', '~', '-'] {
            assert!(any(&|line| line.starts_with(&format!("{sign}{table}"))));
        }
        let moved = format!("~{table}");
        assert!(any(
            &|line| line.starts_with(&moved) && line.contains(" was ")
        ));
    }
    assert!(any(&|line| line.contains("\"unchanged\"")), "TOAST");
    assert!(any(&|line| line.len() > work::LONG), "out of line");
    assert!(transactions.iter().any(|lines| lines.len() > work::MANY));
}
