//! The SQL of looks. Pure text.

use super::super::join_table::JoinTable;
use super::super::shape::{Column, Shape, texts};
use super::Looks;

/// Row security must not make records seem gone: the statement fails where it would hide any. With
/// the tables locked before the snapshot is taken, nobody truncates or replaces one in between
/// (both take effect in older snapshots, too). It gives up before whoever it waits for is taken
/// for the one to blame in a deadlock.
pub(super) fn locks(looks: &Looks) -> String {
    let tables: Vec<&str> = looks
        .shapes
        .iter()
        .map(|shape| shape.relation.as_str())
        .collect();
    format!(
        "set local row_security = off;
         set local lock_timeout = '500ms';
         lock table {} in access share mode;
         set local lock_timeout = 0;",
        tables.join(", ")
    )
}

/// What the columns are: what is remembered of others can't be compared.
pub(super) fn columns(shape: &Shape) -> String {
    let named = |columns: &[Column]| {
        let columns = columns
            .iter()
            .map(|c| format!("{} {}", c.quoted, c.pg_type.oid));
        columns.collect::<Vec<_>>().join(", ")
    };
    format!(
        "{} ({}) ({})",
        shape.oid,
        named(&shape.key),
        named(&shape.fields)
    )
}

/// The table and all that inherits from it, with their files: other ones after a truncate, a
/// rewrite, or with another partition.
pub(super) fn files(shape: &Shape) -> String {
    // Partitions that are being detached have left for the former as for whoever reads the table.
    format!(
        "with recursive parts as (
             select relid::oid as oid from pg_partition_tree({oid})
         ), tree as (
             select {oid}::oid as oid
             union
             select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.oid
             where not exists (select from parts)
         )
         select string_agg(format('%s:%s', oid, pg_relation_filenode(oid)), ',' order by oid)
         from (select oid from tree union select oid from parts) f",
        oid = shape.oid
    )
}

/// What is to be known of each table before it is looked at, one row each, by their places.
pub(super) fn states(looks: &Looks) -> String {
    let tables: Vec<String> = looks
        .shapes
        .iter()
        .enumerate()
        .map(|(place, shape)| {
            let (pair, is_known, files) = (shape.pair.0, shape.is_unchanged(), files(shape));
            format!("select {place}, {pair}, {is_known}, ({files})")
        })
        .collect();
    format!(
        "select t.is_known, t.files, l.is_lost, l.files <> t.files,
                a.age > {AGE_MAX} or l.complete_at < now() - interval '1 day',
                a.age > {AGE_WORTH_WRITING}, l.passed
         from ({}) as t (place, pair, is_known, files)
         join {} l on l.pair = t.pair
         cross join lateral (
             select pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                    - l.horizon::text::bigint as age) a
         order by t.place",
        tables.join(" union all "),
        looks.looks()
    )
}

/// Of what we wrote or read beside looks, nothing is taken as told.
pub(super) fn unsettle(looks: &Looks) -> String {
    let (seen, touched) = (looks.seen(), looks.touched());
    format!(
        "with touched as (delete from {touched} returning pair, key)
         insert into {seen} (pair, key, hash) select distinct pair, key, null::bigint from touched
         on conflict (pair, key) do update set hash = null"
    )
}

/// Touches the rows of a join table that belong to the records with the keys in `$1`: those that there
/// are, and those that are remembered.
pub(super) fn touch_rows(looks: &Looks, join: &JoinTable, joined: &Shape) -> String {
    format!(
        "insert into {touched} (pair, key)
         select {pair}, s.key from {seen} s where s.pair = {pair} and s.key[{place}] = any($1::text[])
         union
         select {pair}, {key} from {table} t
         where t.{from} in (select k::{from_type} from unnest($1::text[]) as k)",
        touched = looks.touched(),
        pair = join.pair.0,
        seen = looks.seen(),
        place = join.places.0 + 1,
        key = texts(&joined.key, "t"),
        table = join.relation,
        from = join.from.quoted,
        from_type = join.from.pg_type.bare_name,
    )
}

/// Remembers all records of a table.
pub(super) fn remember(looks: &Looks, shape: &Shape) -> String {
    format!(
        "insert into {} (pair, key, hash) select {}, r.key, {HASH} from ({}) r",
        looks.seen(),
        shape.pair.0,
        records(shape)
    )
}

/// Puts the records that differ into the outbox. Of those that the last look has shown, only a
/// complete look reads more than the number of their transaction.
pub(super) fn tell(looks: &Looks, shape: &Shape, is_complete: bool) -> String {
    let (seen, outbox, pair) = (looks.seen(), looks.name.outbox(), shape.pair.0);
    let mut records = records(shape);
    if !is_complete {
        // Numbers of 32 bits, compared by their distance from now, as the server does it. One of
        // an old, frozen record may seem new, which only costs a comparison.
        let horizon = format!(
            "select age(l.horizon::xid) from {} l where l.pair = {pair}",
            looks.looks()
        );
        records = format!("{records} where age(t.xmin) <= ({horizon})");
    }
    format!(
        "with changed as materialized (
             select r.key, r.fields, {HASH} as hash, s.key is null as is_new
             from ({records}) r left join {seen} s on s.pair = {pair} and s.key = r.key
             where s.hash is null or s.hash <> {HASH}
         ), remembered as (
             insert into {seen} (pair, key, hash) select {pair}, key, hash from changed
             on conflict (pair, key) do update set hash = excluded.hash
         )
         insert into {outbox} (pair, op, key, fields)
         select {pair}, case when is_new then 'n' else 'u' end, key, fields from changed"
    )
}

/// How many records are remembered more than there are. After [`tell`], whatever is there is
/// remembered: so these are gone.
pub(super) fn count_gone(looks: &Looks, shape: &Shape) -> String {
    format!(
        "select (select count(*) from {} s where s.pair = {})
              - (select count(*) from {} t)",
        looks.seen(),
        shape.pair.0,
        shape.relation
    )
}

/// Forgets the records that are gone; their keys.
pub(super) fn forget_gone(looks: &Looks, shape: &Shape) -> String {
    format!(
        "delete from {} s where s.pair = {} and not exists (
             select from {} t where {} = s.key)
         returning s.key",
        looks.seen(),
        shape.pair.0,
        shape.relation,
        texts(&shape.key, "t")
    )
}

/// The same, and puts them into the outbox before what else the look has found: a key or a
/// unique value is given up before somebody else has it.
pub(super) fn tell_gone(looks: &Looks, shape: &Shape) -> String {
    let outbox = looks.name.outbox();
    format!(
        "with gone as ({})
         insert into {outbox} (seq, pair, op, key) overriding system value
         select -nextval(pg_get_serial_sequence('{outbox}', 'seq')), {}, 'd', key from gone",
        forget_gone(looks, shape),
        shape.pair.0
    )
}

/// `key` and `fields` of each record, as `r`.
fn records(shape: &Shape) -> String {
    format!(
        "select {} as key, {} as fields from {} t",
        texts(&shape.key, "t"),
        texts(&shape.fields, "t"),
        shape.relation
    )
}

/// Of 64 bits, by a function that each server has (md5 fails where it is forbidden). Compared only
/// with what the same server has made of the same record.
const HASH: &str = r#"hashtextextended(r.fields::text collate "C", 0)"#;

/// Transactions, of about two thousand million until numbers of 32 bits mean something else.
const AGE_MAX: u64 = 1_000_000_000;
/// Transactions since a horizon until it is worth a write to move it.
const AGE_WORTH_WRITING: u64 = 100_000;
