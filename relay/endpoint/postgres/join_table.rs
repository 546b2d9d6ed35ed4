//! Join tables: which records a record names, as one more column of its table.
//!
//! A join table's rows are read with the record that their `from` has the key of, as a set of the keys
//! in `to`, and written with it ([`super::linking`]). So a set is locked, guarded and read back like
//! any field. For the change log a join table is a bound table of its own, under a number that no
//! table pair has; what it tells there is told of the records that it belongs to ([`super::touches`]).

use tidegate_sync::model::{Cell, PairId};
use tidegate_sync::reference::{KeyForm, keys, set};
use tidegate_sync::value::Value;
use tokio_postgres::types::{ToSql, Type};

use super::connect::Connected;
use super::shape::{Column, Shape};
use super::sqlstate::endpoint_error;
use crate::endpoint::catalog::Problem;
use crate::endpoint::lens::Lens;
use crate::endpoint::{EndpointError, TableBinding};

/// One join table of a bound table.
#[derive(Clone, Debug)]
pub struct JoinTable {
    /// Its number for the change log.
    pub pair: PairId,
    /// Quoted and qualified, ready for SQL.
    pub relation: String,
    pub from: Column,
    pub to: Column,
    /// Places of `from` and `to` in its primary key.
    pub places: (usize, usize),
    form: KeyForm,
}

/// Numbers of join tables begin here, those of table pairs are far below. Triggers are named by them:
/// their digits count.
const FIRST: u32 = 1_000_000;
/// A table pair has fewer fields than this (`limits` of the sync file).
const PER_TABLE: u32 = 2_000;

/// The bindings under which the change log tells of the tables' join tables.
pub(super) fn bindings(tables: &[TableBinding]) -> Vec<TableBinding> {
    let of_table = |table: &TableBinding| {
        let pair = table.pair;
        let joins = table.joins.clone().into_iter().enumerate();
        joins.map(move |(number, through)| TableBinding {
            pair: number_of(pair, number),
            table: through.table,
            columns: vec![through.from, through.to],
            joins: Vec::new(),
            lens: Lens::default(),
            match_key: Vec::new(),
        })
    };
    tables.iter().flat_map(of_table).collect()
}

/// Stays the same when other tables come or go.
pub(super) fn number_of(owner: PairId, number: usize) -> PairId {
    PairId(FIRST + owner.0 * PER_TABLE + number as u32)
}

impl JoinTable {
    /// Of a shape that was bound as [`bindings`] says.
    pub(super) fn of(shape: &Shape) -> Result<JoinTable, EndpointError> {
        let odd = |what: &str| {
            let message = format!("join table {}: {what}; correct the sync", shape.label());
            EndpointError::operator("join-table", message)
        };
        let [from, to] = shape.fields.as_slice() else {
            return Err(odd("it joins two columns"));
        };
        let place = |column: &Column| {
            let mut key = shape.key.iter();
            key.position(|part| part.number == column.number)
        };
        let (Some(first), Some(second), 2) = (place(from), place(to), shape.key.len()) else {
            return Err(odd("its primary key is not made of the two columns"));
        };
        let form = KeyForm::of(&to.pg_type.field_type);
        Ok(JoinTable {
            pair: shape.pair,
            relation: shape.relation.clone(),
            places: (first, second),
            form: form.ok_or_else(|| odd("its keys are no whole numbers, texts or uuids"))?,
            from: from.clone(),
            to: to.clone(),
        })
    }

    /// SQL for what the record `owner` of this table names, as text that [`JoinTable::cell`] reads.
    pub(super) fn as_text(&self, owner: &str, key: &Column) -> String {
        format!(
            "(select json_agg({})::text from {} as j where j.{} = {owner}.{})",
            self.to.as_text("j"),
            self.relation,
            self.from.quoted,
            key.quoted,
        )
    }

    pub(super) fn cell(&self, text: Option<&str>) -> Result<Cell, EndpointError> {
        let Some(text) = text else {
            return Ok(Cell::Value(Value::Null));
        };
        let unreadable = || {
            let message = format!("the rows of {} are unreadable", self.relation);
            EndpointError::bug("undecodable-value", message)
        };
        let items: Vec<String> = serde_json::from_str(text).map_err(|_| unreadable())?;
        let items = items.into_iter().map(|item| self.value(&item));
        let items: Option<Vec<Value>> = items.collect();
        items.map(set).map(Cell::Value).ok_or_else(unreadable)
    }

    /// A key in `to`.
    pub(super) fn value(&self, text: &str) -> Option<Value> {
        self.form.value(&tidegate_sync::model::Key::single(text))
    }

    /// The keys that a value names, as the statements take them; `None` for one that is no set.
    pub(super) fn encode(&self, value: &Value) -> Option<String> {
        let Value::List(items) = value else {
            return None;
        };
        let keys: Vec<String> = items.iter().flat_map(keys).flat_map(|key| key.0).collect();
        let is_whole = keys.len() == items.len();
        is_whole.then(|| serde_json::Value::from(keys).to_string())
    }

    /// Locks the rows of the records with the keys in `$1`.
    pub(super) fn lock(&self) -> String {
        format!(
            "select 1 from {} as j where j.{} in (select k::{} from unnest($1::text[]) as k) \
             for update",
            self.relation, self.from.quoted, self.from.pg_type.bare_name,
        )
    }

    /// Takes all rows of the records with the keys in `$1` away.
    pub(super) fn clear(&self) -> String {
        format!(
            "delete from {} as j where j.{} in (select k::{} from unnest($1::text[]) as k)",
            self.relation, self.from.quoted, self.from.pg_type.bare_name,
        )
    }

    /// Gives the records with the keys in `$1` the sets in `$2`, and tells for each, by its place, the
    /// set that comes of it. Not of what the table's own triggers do after that: it is news.
    pub(super) fn write(&self) -> String {
        format!(
            "with s as (
                 select s.k::{from_type} as k, s.v::jsonb as v, s.i
                 from unnest($1::text[], $2::text[]) with ordinality as s (k, v, i)
             ), removed as (
                 delete from {table} as j using s
                 where j.{from} = s.k and not exists (
                     select from jsonb_array_elements_text(s.v) as e (id)
                     where e.id::{to_type} = j.{to})
                 returning j.{from}, j.{to}
             ), added as (
                 insert into {table} ({from}, {to})
                 select s.k, e.id::{to_type} from s, jsonb_array_elements_text(s.v) as e (id)
                 where not exists (
                     select from {table} as j where j.{from} = s.k and j.{to} = e.id::{to_type})
                 returning {from}, {to}
             )
             select s.i, (
                 select json_agg({text})::text from (
                     (select j.{to} from {table} as j where j.{from} = s.k
                      except select r.{to} from removed as r where r.{from} = s.k)
                     union select a.{to} from added as a where a.{from} = s.k) as j)
             from s",
            table = self.relation,
            from = self.from.quoted,
            from_type = self.from.pg_type.bare_name,
            to = self.to.quoted,
            to_type = self.to.pg_type.bare_name,
            text = self.to.as_text("j"),
        )
    }
}

/// Join tables in which the rows of one record can only be found by reading all of them.
pub(super) async fn unindexed(
    session: &Connected,
    shapes: &[Shape],
) -> Result<Vec<Problem>, EndpointError> {
    let sql = "
        select exists (
            select from pg_index
            where indrelid = $1::text::regclass and indkey[0] = $2 and indisvalid and indpred is null)";
    let doing = "look for indexes of join tables";
    let mut found = Vec::new();
    for join in shapes.iter().flat_map(|shape| &shape.joins) {
        let asked: [(&(dyn ToSql + Sync), Type); 2] = [
            (&join.relation, Type::TEXT),
            (&join.from.number, Type::INT2),
        ];
        let row = session.query_typed_one(sql, &asked);
        let row = session.bounded(doing, row).await?;
        let is_indexed = row.try_get(0);
        if !is_indexed.map_err(|error| endpoint_error(doing, error))? {
            let (relation, from) = (&join.relation, &join.from);
            found.push(Problem {
                code: "join-table-unindexed".into(),
                message: format!(
                    "{relation} has no index that begins with `{}`: for each record all of its rows are read",
                    from.name
                ),
                remedy: format!("create index on {relation} ({});", from.quoted),
                blocking: false,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tidegate_sync::codec::FieldType;

    use super::*;
    use crate::endpoint::postgres::types::PgType;

    fn column(name: &str, number: i16) -> Column {
        Column {
            name: name.into(),
            quoted: format!("\"{name}\""),
            number,
            pg_type: PgType {
                oid: 23,
                name: "integer".into(),
                bare_name: "integer".into(),
                field_type: FieldType::Int { bits: 32 },
            },
            is_nullable: false,
            is_generated: false,
            is_identity_always: false,
            sequence: None,
        }
    }

    impl JoinTable {
        pub(in super::super) fn sample() -> JoinTable {
            JoinTable {
                pair: number_of(PairId(0), 0),
                relation: "public.book_tags".into(),
                from: column("book_id", 1),
                to: column("tag_id", 2),
                places: (0, 1),
                form: KeyForm::Int,
            }
        }
    }

    #[test]
    fn rows_are_read_as_a_set_and_written_as_a_list_of_keys() {
        let join = JoinTable::sample();
        let cell = |text| join.cell(text).unwrap();
        let set = Value::List(vec![Value::Int(9), Value::Int(10)]);
        assert_eq!(cell(Some(r#"["10", "9"]"#)), Cell::Value(set.clone()));
        assert_eq!(cell(None), Cell::Value(Value::Null));
        assert!(join.cell(Some(r#"["x"]"#)).is_err());
        assert_eq!(join.encode(&set).as_deref(), Some(r#"["9","10"]"#));
        assert_eq!(join.encode(&Value::List(Vec::new())).as_deref(), Some("[]"));
        assert_eq!(join.encode(&Value::List(vec![Value::Null])), None);
        assert_eq!(join.encode(&Value::Int(9)), None);
    }

    #[test]
    fn join_tables_have_numbers_that_no_pair_and_no_other_join_table_has() {
        let numbers = [(0, 0), (0, 1), (1, 0), (499, 1_599)];
        let numbers = numbers.map(|(pair, number)| number_of(PairId(pair), number).0);
        assert!(
            numbers
                .iter()
                .all(|number| *number > 500 && *number < 10_000_000)
        );
        assert!(numbers.windows(2).all(|two| two[0] < two[1]));
    }
}
