//! PostgreSQL's types as data: what a column of each holds, and what of it travels.
//!
//! One of the two halves of the table behind `connection types` and `docs/types.md` (the other is
//! [`tidegate_sync::codec::app`]). Tests create a column of each and compare what the catalog says.

use tidegate_sync::codec::FieldType;

/// A column's type.
#[derive(Clone, Debug)]
pub struct ListedType {
    /// As SQL declares it.
    pub sql: &'static str,
    pub field_type: FieldType,
    /// What survives, and how.
    pub note: &'static str,
}

/// SQL that makes the types in the list that a database does not have by itself.
pub const EXAMPLES: &str = "
    create extension if not exists citext;
    create extension if not exists hstore;
    create type mood as enum ('fine', 'it''s', '');
    create domain price as numeric(8,2) check (value >= -1000000);
    create domain code as varchar(3);
    create type address as (street text, number integer)";

/// All of them. Those with modifiers are shown with an example's.
pub fn listed_types() -> Vec<ListedType> {
    [numbers(), texts(), times(), documents(), made(), carried()].concat()
}

fn of(sql: &'static str, field_type: FieldType, note: &'static str) -> ListedType {
    ListedType {
        sql,
        field_type,
        note,
    }
}

fn decimal(precision: Option<u16>, scale: Option<i16>) -> FieldType {
    FieldType::Decimal { precision, scale }
}

fn numbers() -> Vec<ListedType> {
    let limits = "exact; what it would round is refused";
    vec![
        of("boolean", FieldType::Bool, ""),
        of("smallint", FieldType::Int { bits: 16 }, ""),
        of("integer", FieldType::Int { bits: 32 }, ""),
        of("bigint", FieldType::Int { bits: 64 }, ""),
        of(
            "numeric",
            decimal(None, None),
            "all digits, NaN and infinities; 1.5 and 1.50 are the same number",
        ),
        of("numeric(10,2)", decimal(Some(10), Some(2)), limits),
        of("numeric(3,-2)", decimal(Some(3), Some(-2)), limits),
        of(
            "real",
            FieldType::Float { bits: 32 },
            "the number that it prints (0.1, not 0.10000000149); −0, NaN and infinities",
        ),
        of(
            "double precision",
            FieldType::Float { bits: 64 },
            "every bit but a NaN's; −0 and 0 are two values",
        ),
    ]
}

fn texts() -> Vec<ListedType> {
    let text = |max, ignores_case| FieldType::Text { max, ignores_case };
    let bits = |length, fixed| FieldType::Bits { length, fixed };
    vec![
        of("text", text(None, false), "empty text is not null"),
        of(
            "varchar(10)",
            text(Some(10), false),
            "longer text is refused, also where the server would cut blanks",
        ),
        of("varchar(255)", text(Some(255), false), "as varchar(10)"),
        of(
            "char(8)",
            FieldType::Padded { length: Some(8) },
            "without its padding",
        ),
        of("citext", text(None, true), "letter case is kept"),
        of(
            "name",
            FieldType::Short { bytes: 63 },
            "at most 63 bytes; longer text is refused, not cut",
        ),
        of("uuid", FieldType::Uuid, "as text: lower case with hyphens"),
        of("bytea", FieldType::Bytes, ""),
        of("bit(8)", bits(Some(8), true), "0 and 1 as text"),
        of("varbit(8)", bits(Some(8), false), "0 and 1 as text"),
        of("varbit", bits(None, false), "0 and 1 as text"),
    ]
}

fn times() -> Vec<ListedType> {
    let rounded = |of: FieldType, digits| FieldType::Rounded {
        of: Box::new(of),
        digits,
    };
    let opaque = |name: &str| FieldType::Opaque { name: name.into() };
    let exact = "what it would round is refused";
    vec![
        of("date", FieldType::Date, "4714 BC to 5874897, infinities"),
        of("time", FieldType::Time, "24:00 is not 00:00"),
        of("time(0)", rounded(FieldType::Time, 0), exact),
        of("timetz", FieldType::TimeTz, "the zone is kept"),
        of("timetz(0)", rounded(FieldType::TimeTz, 0), exact),
        of(
            "timestamp",
            FieldType::Timestamp,
            "4714 BC to 294276 in microseconds, infinities",
        ),
        of("timestamp(3)", rounded(FieldType::Timestamp, 3), exact),
        of(
            "timestamptz",
            FieldType::TimestampTz,
            "the instant; sessions run in UTC, so changes of clocks do not matter",
        ),
        of("timestamptz(0)", rounded(FieldType::TimestampTz, 0), exact),
        of(
            "interval",
            FieldType::Interval,
            "months, days and time apart: a day is not 24 hours",
        ),
        of("interval(3)", rounded(FieldType::Interval, 3), exact),
        of(
            "interval year to month",
            opaque("interval year to month"),
            "only with its like",
        ),
    ]
}

fn documents() -> Vec<ListedType> {
    let opaque = |name: &str| FieldType::Opaque { name: name.into() };
    vec![
        of(
            "json",
            FieldType::JsonText,
            "character by character: key order, duplicate keys, big numbers",
        ),
        of(
            "jsonb",
            FieldType::Json,
            "numbers of any size; equal when jsonb's own = says so",
        ),
        of("xml", opaque("xml"), "as printed"),
        of("hstore", opaque("hstore"), "as printed, in any schema"),
        of("tsvector", opaque("tsvector"), "as printed"),
        of("tsquery", opaque("tsquery"), "as printed"),
    ]
}

fn made() -> Vec<ListedType> {
    let array = |of: FieldType| FieldType::Array { of: Box::new(of) };
    let labels = || FieldType::Enum {
        labels: ["fine", "it's", ""].map(String::from).to_vec(),
    };
    let text = |max| FieldType::Text {
        max,
        ignores_case: false,
    };
    let opaque = |name: &str| FieldType::Opaque { name: name.into() };
    vec![
        of(
            "integer[]",
            array(FieldType::Int { bits: 32 }),
            "nulls, dimensions and first indices, in every array",
        ),
        of(
            "text[]",
            array(text(None)),
            "\"\", NULL and \"NULL\" differ",
        ),
        of(
            "numeric(10,2)[]",
            array(decimal(Some(10), Some(2))),
            "the modifier counts for each item",
        ),
        of("timestamptz[]", array(FieldType::TimestampTz), ""),
        of("jsonb[]", array(FieldType::Json), ""),
        of(
            "mood",
            labels(),
            "an enum; labels added meanwhile travel, the other side decides about them",
        ),
        of("mood[]", array(labels()), ""),
        of(
            "price",
            decimal(Some(8), Some(2)),
            "a domain is its base type; its check may refuse a record, which is a finding",
        ),
        of("code", text(Some(3)), "a domain over varchar(3)"),
        of(
            "address",
            opaque("row(street text, number integer)"),
            "a row type; only with one of the same parts, whatever its name",
        ),
    ]
}

/// What only PostgreSQL understands.
fn carried() -> Vec<ListedType> {
    let range = "as printed; half-open where the type rounds";
    let all = [
        ("int4range", range),
        ("int8range", range),
        ("numrange", range),
        ("daterange", range),
        ("tsrange", range),
        ("tstzrange", range),
        ("int4multirange", range),
        ("tstzmultirange", range),
        ("inet", "as printed: 10.0.0.1 without /32"),
        ("cidr", "as printed"),
        ("macaddr", "as printed"),
        ("macaddr8", "as printed"),
        ("money", "as printed with lc_monetary C"),
        ("point", "as printed, every bit of its doubles"),
        ("box[]", "as printed; its items are not separated by commas"),
        ("pg_lsn", "as printed"),
    ];
    let opaque = |name: &str| FieldType::Opaque { name: name.into() };
    all.map(|(sql, note)| of(sql, opaque(sql), note)).to_vec()
}
