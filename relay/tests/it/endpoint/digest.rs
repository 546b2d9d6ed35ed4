//! Hashes made inside the server: records with equal hashes hold equal values, of every listed type
//! and between any two types that are compared by their text; and each record is in one block.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidegate_relay::endpoint::digest::{Blocks, Digest};
use tidegate_relay::endpoint::postgres::PostgresEndpoint;
use tidegate_relay::endpoint::postgres::type_list::ListedType;
use tidegate_relay::endpoint::{Binding, Endpoint, Snapshot, Viewed};
use tidegate_sync::model::{Cell, PairId};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::values::literals::literals;
use super::values::{canonical, database};
use crate::support::postgres::{Database, Server};
use crate::support::side::*;

/// Columns of tables that hold the same texts, cast to each listed type: `texts` as they come, and
/// `others` each record with its neighbour's.
async fn fill(client: &Client, listed: &[ListedType]) {
    let mut texts: Vec<String> = Vec::new();
    for of in listed {
        texts.extend(literals(of.sql).0.iter().map(|text| (*text).to_owned()));
    }
    for text in [
        "1",
        "1.0",
        "01",
        "1.50",
        "1.5",
        "[1.50]",
        "[1.5]",
        "{1.0,NULL}",
        "{1,null}",
    ] {
        texts.push(text.to_owned());
    }
    let listed_texts = "create table raw (id int primary key, txt text)";
    client.batch_execute(listed_texts).await.unwrap();
    for (id, text) in texts.iter().enumerate() {
        let id = id as i32;
        let sql = "insert into raw values ($1, $2)";
        client.execute(sql, &[&id, text]).await.unwrap();
    }
    let columns = (0..listed.len()).map(|number| format!("c{number}"));
    let columns: Vec<String> = columns.collect();
    let casts: Vec<String> = (0..listed.len())
        .map(|n| format!("cast_{n}(txt)"))
        .collect();
    for (number, of) in listed.iter().enumerate() {
        let sql = format!(
            "create function cast_{number}(txt text) returns {0} language plpgsql as $$ begin
                 return txt::{0}; exception when others then return null; end $$",
            of.sql
        );
        client.batch_execute(&sql).await.unwrap();
    }
    let (columns, casts) = (columns.join(", "), casts.join(", "));
    let neighbours = "select id, lead(txt, 1, txt) over (order by id) as txt from raw";
    for (table, from) in [("texts", "select * from raw"), ("others", neighbours)] {
        let sql = format!("insert into {table} (l, {columns}) select id, {casts} from ({from}) r");
        client.batch_execute(&sql).await.unwrap();
    }
}

/// One table pair for each listed type: the record's number, by which it is matched, and the column.
async fn view(database: &Database, table: &str, count: usize) -> Arc<dyn Snapshot> {
    let fields: Vec<[String; 2]> = (0..count).map(|n| ["l".into(), format!("c{n}")]).collect();
    let fields: Vec<Vec<&str>> = fields
        .iter()
        .map(|fields| fields.iter().map(String::as_str).collect())
        .collect();
    let tables: Vec<(&str, &[&str])> = fields.iter().map(|f| (table, f.as_slice())).collect();
    matched_view(database, &tables).await
}

/// A view whose tables are matched by their first field.
async fn matched_view(database: &Database, tables: &[(&str, &[&str])]) -> Arc<dyn Snapshot> {
    let mut binding: Binding = binding(0, tables);
    for table in &mut binding.tables {
        table.match_key = vec![0];
    }
    let endpoint = PostgresEndpoint::new(database.dial());
    let mut side = endpoint.open(binding).await.unwrap();
    side.view().await.unwrap().into()
}

async fn digests(view: &dyn Snapshot, pair: u32, blocks: Blocks) -> HashMap<i32, Digest> {
    let (sink, mut source) = mpsc::channel(2);
    let collect = async {
        let mut digests: HashMap<i32, Digest> = HashMap::new();
        while let Some(part) = source.recv().await {
            for (number, digest) in part {
                digests.entry(number).or_default().add(&digest);
            }
        }
        digests
    };
    let (asked, digests) = tokio::join!(view.digest(PairId(pair), blocks, sink), collect);
    asked.unwrap();
    digests
}

/// The records of these blocks: number and canonical value.
async fn read(
    view: &dyn Snapshot,
    pair: u32,
    blocks: Blocks,
    numbers: &[i32],
) -> Vec<(String, Vec<u8>)> {
    let (sink, mut source) = mpsc::channel::<Vec<Viewed>>(2);
    let collect = async {
        let mut records = Vec::new();
        while let Some(chunk) = source.recv().await {
            let record = |row: &[Cell]| (format!("{:?}", row[0]), canonical(&row[1]));
            records.extend(chunk.iter().map(|viewed| record(&viewed.row)));
        }
        records.sort();
        records
    };
    let pair = PairId(pair);
    let (read, records) = tokio::join!(view.scan_blocks(pair, blocks, numbers, sink), collect);
    read.unwrap();
    records
}

/// One side's columns, hashed and read.
struct Columns {
    digests: Vec<HashMap<i32, Digest>>,
    records: Vec<HashMap<String, Vec<u8>>>,
}

impl Columns {
    async fn of(view: &dyn Snapshot, count: u32, blocks: Blocks, all: &[i32]) -> Columns {
        let mut columns = Columns {
            digests: Vec::new(),
            records: Vec::new(),
        };
        for pair in 0..count {
            columns.digests.push(digests(view, pair, blocks).await);
            let records = read(view, pair, blocks, all).await;
            columns.records.push(records.into_iter().collect());
        }
        columns
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_hashes_are_equal_values_of_every_type_and_between_types() {
    let (database, client, listed) = database(&["texts", "others"]).await;
    fill(&client, &listed).await;
    let count = listed.len() as u32;
    let blocks = Blocks::of(u64::MAX, false);
    let texts = view(&database, "texts", listed.len()).await;
    let others = view(&database, "others", listed.len()).await;
    let numbers: Vec<i32> = digests(&*texts, 0, blocks).await.into_keys().collect();
    let mut members: HashMap<i32, Vec<String>> = HashMap::new();
    for &number in &numbers {
        let records = read(&*texts, 0, blocks, &[number]).await;
        members.insert(number, records.into_iter().map(|(id, _)| id).collect());
    }
    let one = Columns::of(&*texts, count, blocks, &numbers).await;
    let two = Columns::of(&*others, count, blocks, &numbers).await;
    let (mut equal, mut different, mut read_in_vain) = (0, 0, BTreeSet::new());
    for from in 0..count {
        let mine = texts.digestible(PairId(from)).await.unwrap().unwrap();
        assert!(mine.key_is_exact);
        for to in 0..count {
            let theirs = others.digestible(PairId(to)).await.unwrap().unwrap();
            if !mine.agrees_with(&theirs) {
                continue;
            }
            let (from, to) = (from as usize, to as usize);
            for (number, members) in &members {
                let hashed = one.digests[from][number] == two.digests[to][number];
                let value =
                    |of: &Columns, column: usize, id: &String| of.records[column][id].clone();
                let read = members
                    .iter()
                    .all(|id| value(&one, from, id) == value(&two, to, id));
                let names = (listed[from].sql, listed[to].sql);
                assert!(
                    read || !hashed,
                    "{names:?}: {members:?} differ and hash alike"
                );
                match (hashed, read) {
                    (true, _) => equal += 1,
                    (false, false) => different += 1,
                    (false, true) => _ = read_in_vain.insert(names),
                }
            }
        }
    }
    println!("{equal} blocks equal, {different} different; read in vain: {read_in_vain:?}");
    assert!(equal > 1_000 && different > 1_000, "{equal} {different}");
    // Only here do equal values print differently: 1.5 and 1.50.
    let is_inexact = |sql: &str| ["jsonb", "jsonb[]", "numeric(10,2)[]"].contains(&sql);
    let mut in_vain = read_in_vain.iter();
    assert!(in_vain.all(|(from, to)| is_inexact(from) || is_inexact(to)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_encoding_of_a_server_and_its_key_types_do_not_matter() {
    let server = Server::shared();
    let admin = server.database("encodings").await.admin().await;
    let name = format!("latin_{}", std::process::id());
    let sql = format!(
        "create database {name} owner tidegate encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'
             template template0"
    );
    admin.batch_execute(&sql).await.unwrap();
    let latin = Database {
        server: server.clone(),
        name,
    };
    let utf8 = server.database("encodings").await;
    let mut said = Vec::new();
    for (database, types) in [(&latin, ["int", "char(9)"]), (&utf8, ["numeric", "text"])] {
        let client = database.client().await;
        let sql = format!(
            "create table t (id {}, code {}, primary key (id, code));
             insert into t select n, 'é\"(' || n from generate_series(1, 3000) n",
            types[0], types[1]
        );
        client.batch_execute(&sql).await.unwrap();
        let view = matched_view(database, &[("t", &["id", "code"])]).await;
        let digestible = view.digestible(PairId(0)).await.unwrap().unwrap();
        assert!(
            !digestible.key_is_unique,
            "of two columns one is not unique"
        );
        let blocks = Blocks::of(3_000_000, true);
        said.push((digestible, digests(&*view, 0, blocks).await));
    }
    assert!(said[0].0.agrees_with(&said[1].0));
    assert_eq!(said[0].1, said[1].1);
    let records: u64 = said[0].1.values().map(|digest| digest.records).sum();
    let keys: u64 = said[0].1.values().map(|digest| digest.keys).sum();
    assert_eq!((records, keys), (3_000, 3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_key_have_a_block_of_their_own_and_shared_keys_are_counted() {
    let database = Server::shared().database("blocks").await;
    let client = database.client().await;
    client
        .batch_execute(
            "create table t (id int primary key, code text, x text unique);
             insert into t values (1, null), (2, 'a'), (3, 'a'), (4, 'b')",
        )
        .await
        .unwrap();
    let view = matched_view(&database, &[("t", &["code"])]).await;
    let blocks = Blocks::of(1, true);
    let said = digests(&*view, 0, blocks).await;
    assert_eq!(said[&Blocks::WITHOUT_KEY].records, 1);
    let with_key = || said.iter().filter(|(number, _)| **number >= 0);
    assert_eq!(with_key().map(|(_, digest)| digest.records).sum::<u64>(), 3);
    assert_eq!(with_key().map(|(_, digest)| digest.keys).sum::<u64>(), 2);
    assert!(
        !view
            .digestible(PairId(0))
            .await
            .unwrap()
            .unwrap()
            .key_is_unique
    );
    let unique = matched_view(&database, &[("t", &["x", "code"])]).await;
    assert!(
        unique
            .digestible(PairId(0))
            .await
            .unwrap()
            .unwrap()
            .key_is_unique
    );
}
