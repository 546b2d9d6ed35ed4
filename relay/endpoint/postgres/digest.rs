//! Hashes a table inside the server: which columns can be compared by their text, and the SQL that
//! adds the hashes of blocks up. Called by [`super::snapshot`]; what it must mean is in
//! [`crate::endpoint::digest`].
//!
//! SHA-256, because it has been built in since PostgreSQL 11, is the same in every version, and is
//! there where a server's policy forbids MD5. 128 bits of each record's hash are added up.

use tidegate_sync::codec::FieldType;
use tokio_postgres::Row;

use super::connect::Connected;
use super::shape::{Column, Shape};
use super::sqlstate::endpoint_error;
use super::statements::{Rows, condition};
use crate::endpoint::EndpointError;
use crate::endpoint::digest::{Blocks, Digest, Digestible, Form};

const DOING: &str = "hash a table";

/// What is hashed of a table.
struct Hashed<'a> {
    /// The columns that the fields are.
    fields: Vec<&'a Column>,
    /// Those of the match key.
    key: Vec<&'a Column>,
}

/// `None` where a field is no column as it is, but what a value map, an expression or a filter makes.
fn hashed(shape: &Shape) -> Option<Hashed<'_>> {
    let columns = shape.lens.plain(shape.fields.len())?.into_iter();
    let fields = columns.map(|column| shape.fields.get(column));
    let fields: Vec<&Column> = fields.collect::<Option<_>>()?;
    let key = shape
        .match_key
        .iter()
        .map(|&field| fields.get(field).copied());
    Some(Hashed {
        key: key.collect::<Option<_>>()?,
        fields,
    })
}

/// [`hashed`] of a table that was said to be.
fn surely_hashed(shape: &Shape) -> Result<Hashed<'_>, EndpointError> {
    let odd = || EndpointError::bug("not-hashed", "this table's fields are not hashed");
    hashed(shape).ok_or_else(odd)
}

/// How the table's records are hashed; `None` when they can't be compared by their text.
pub(super) fn digestible(shape: &Shape) -> Option<Digestible> {
    let hashed = hashed(shape)?;
    let forms = hashed
        .fields
        .iter()
        .map(|column| form(&column.pg_type.field_type, false));
    let mut key = hashed.key.iter();
    Some(Digestible {
        key_is_exact: !hashed.key.is_empty()
            && key.all(|column| prints_exactly(&column.pg_type.field_type, false)),
        key_is_unique: shape.match_is_unique,
        forms: forms.collect::<Option<_>>()?,
    })
}

/// Whether the server's text can be sent as UTF-8: of `SQL_ASCII` nobody knows what it is.
pub(super) async fn is_utf8_known(session: &Connected) -> Result<bool, EndpointError> {
    let sql = "select current_setting('server_encoding') <> 'SQL_ASCII'";
    let row = session
        .bounded(DOING, session.query_typed_one(sql, &[]))
        .await?;
    row.try_get(0).map_err(|error| endpoint_error(DOING, error))
}

fn form(of: &FieldType, is_item: bool) -> Option<Form> {
    Some(match of {
        FieldType::Bool => Form::Bool,
        FieldType::Int { .. } | FieldType::Decimal { .. } => Form::Number,
        FieldType::Float { bits } => Form::Float { bits: *bits },
        // Beside arrays the blanks are cut (see `printed`).
        FieldType::Padded { .. } if is_item => Form::Padded,
        FieldType::Text { .. }
        | FieldType::Short { .. }
        | FieldType::Padded { .. }
        | FieldType::Enum { .. }
        | FieldType::Uuid
        | FieldType::JsonText
        | FieldType::Opaque { .. }
        | FieldType::Bits { .. }
        | FieldType::TimeTz => Form::Text,
        FieldType::Json => Form::Document,
        FieldType::Bytes => Form::Bytes,
        FieldType::Date => Form::Date,
        FieldType::Time => Form::Time,
        FieldType::Timestamp => Form::Timestamp,
        FieldType::TimestampTz => Form::TimestampTz,
        FieldType::Interval => Form::Interval,
        FieldType::Rounded { of, .. } => form(of, is_item)?,
        FieldType::Array { of } => Form::List(Box::new(form(of, true)?)),
        // No column has one of the others, which are apps'.
        _ => return None,
    })
}

/// True when two equal values of the type always print the same.
fn prints_exactly(of: &FieldType, is_item: bool) -> bool {
    match of {
        // 1.5 and 1.50 are the same number: in documents and arrays nothing cuts the zero.
        FieldType::Json => false,
        FieldType::Decimal { .. } => !is_item,
        FieldType::Array { of } => prints_exactly(of, true),
        _ => true,
    }
}

/// SQL for what is hashed of a column. All but these two print the same by their output functions.
fn printed(column: &Column) -> String {
    let name = &column.quoted;
    match column.pg_type.field_type {
        FieldType::Decimal { .. } => format!("trim_scale(t.{name})"),
        FieldType::Padded { .. } => format!("rtrim(t.{name}::text, ' ')"),
        _ => format!("t.{name}"),
    }
}

/// The hash of columns. The text of a row tells null from empty text and one column from the next.
fn hash(columns: &[&Column]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| printed(column)).collect();
    format!(
        "sha256(convert_to(row({})::text, 'UTF8'))",
        columns.join(", ")
    )
}

fn has_null(key: &[&Column]) -> String {
    let columns: Vec<String> = key
        .iter()
        .map(|column| format!("t.{}", column.quoted))
        .collect();
    format!("num_nulls({}) > 0", columns.join(", "))
}

/// The number of the block of a match key with the hash `k`.
fn block(blocks: Blocks) -> String {
    let cut = 16 - blocks.bits();
    format!("(get_byte(k, 0) * 256 + get_byte(k, 1)) >> {cut}")
}

/// Each block's number, records, sums and number of match keys. `offset 0` keeps the planner from
/// repeating the hash wherever it is used.
fn digest_sql(shape: &Shape, blocks: Blocks, rows: &Rows<'_>) -> Result<String, EndpointError> {
    let hashed = surely_hashed(shape)?;
    let keys = match blocks.counts_keys {
        true => "count(distinct k)",
        false => "0::bigint",
    };
    Ok(format!(
        "select b, count(*), sum(h1)::text, sum(h2)::text, {keys} from (
             select case when n then {without_key} else {block} end as b, k,
                 ('x' || substr(d, 1, 16))::bit(64)::bigint as h1,
                 ('x' || substr(d, 17, 16))::bit(64)::bigint as h2
             from (
                 select {is_null} as n, {key} as k, encode({record}, 'hex') as d
                 from {table} as t{condition} offset 0
             ) as hashed
         ) as numbered group by b",
        without_key = Blocks::WITHOUT_KEY,
        block = block(blocks),
        is_null = has_null(&hashed.key),
        key = hash(&hashed.key),
        record = hash(&hashed.fields),
        table = shape.relation,
        condition = condition(rows),
    ))
}

/// A condition on the records of these blocks.
pub(super) fn in_blocks(
    shape: &Shape,
    blocks: Blocks,
    numbers: &[i32],
) -> Result<String, EndpointError> {
    let hashed = surely_hashed(shape)?;
    let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
    Ok(format!(
        "(select case when {is_null} then {without_key} else {block} end
          from (select {key} as k offset 0) as hashed) = any ('{{{numbers}}}'::int[])",
        is_null = has_null(&hashed.key),
        without_key = Blocks::WITHOUT_KEY,
        block = block(blocks),
        key = hash(&hashed.key),
        numbers = numbers.join(","),
    ))
}

/// The blocks of these rows.
pub(super) async fn digest(
    session: &Connected,
    shape: &Shape,
    blocks: Blocks,
    rows: &Rows<'_>,
) -> Result<Vec<(i32, Digest)>, EndpointError> {
    let sql = digest_sql(shape, blocks, rows)?;
    let query = session.query_typed(&sql, &[]);
    let answer = match tokio::time::timeout(limits::HASH_MAX, query).await {
        Ok(answer) => answer.map_err(|error| endpoint_error(DOING, error))?,
        Err(_) => return Err(session.give_up(DOING).await),
    };
    answer.iter().map(read).collect()
}

fn read(row: &Row) -> Result<(i32, Digest), EndpointError> {
    let unreadable = |error| endpoint_error(DOING, error);
    let number: i32 = row.try_get(0).map_err(unreadable)?;
    let count = |at: usize| -> Result<u64, EndpointError> {
        let count: i64 = row.try_get(at).map_err(unreadable)?;
        Ok(count.unsigned_abs())
    };
    let sum = |at: usize| -> Result<i128, EndpointError> {
        let digits: &str = row.try_get(at).map_err(unreadable)?;
        let odd = || EndpointError::bug("odd-sum", "a sum of hashes is no number");
        digits.parse().map_err(|_| odd())
    };
    let digest = Digest {
        records: count(1)?,
        sums: [sum(2)?, sum(3)?],
        keys: count(4)?,
    };
    Ok((number, digest))
}

mod limits {
    use std::time::Duration;

    /// One statement over a part of a table. A partitioned table has one part: at some 300,000
    /// records a second, this is a thousand million records.
    pub(super) const HASH_MAX: Duration = Duration::from_secs(3_600);
}
