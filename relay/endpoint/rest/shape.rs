//! A mapped table: how its records become rows, and rows the fields of a request.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value as Json};
use tidegate_sync::codec::FieldType;
use tidegate_sync::model::{Cell, FindingCode, Key, PairId, Row, Stored};
use tidegate_sync::value::Value;

use super::clock::Micros;
use super::fields::Field;
use super::manifest::{Ids, Manifest, Moment, RecordShape};
use super::publish::Copies;
use super::template::Variables;
use super::values::{Unfit, decode, encode, instant};
use super::{EPOCH_2000_MICROS, path};
use crate::endpoint::EndpointError;
use crate::endpoint::lens::Lens;

/// A table as discovery found it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Id and name; empty where the app has no containers.
    pub container: (String, String),
    pub table: (String, String),
    /// The field that tells when a record was modified, where requests name it.
    pub modified: Option<String>,
}

impl Place {
    pub(super) fn variables(&self) -> Variables {
        let mut variables = Variables::default()
            .with("container", self.container.0.as_str())
            .with("container_name", self.container.1.as_str())
            .with("table", self.table.0.as_str())
            .with("table_name", self.table.1.as_str());
        if let Some(modified) = &self.modified {
            variables.set("modified", modified.as_str());
        }
        variables
    }

    /// What shares bounds per container.
    pub(super) fn container(&self) -> Option<&str> {
        Some(self.container.0.as_str())
    }
}

/// One mapped table of a side.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub pair: PairId,
    pub place: Place,
    /// As the sync file calls it.
    pub label: String,
    /// The mapped columns, in the order of the side's rows.
    pub columns: Vec<Field>,
    pub lens: Lens,
    /// Numbers of the fields that make the match key.
    pub match_key: Vec<usize>,
    /// Fields that are asked for beside the columns.
    pub also: Vec<String>,
}

/// One record as the app told it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub id: String,
    /// When it was last modified; 0 where the app doesn't tell.
    pub stamp: Micros,
    /// For preconditions.
    pub version: Option<String>,
    pub is_deleted: bool,
    pub copies: Copies,
    /// Ids of records that were merged into it.
    pub merged: Vec<String>,
    /// Where it is told in the app's history, if later than at its stamp: it was shown late.
    pub told_at: Micros,
    /// The id that it had before.
    pub former: Option<String>,
    /// The pair's fields.
    pub row: Row,
}

impl Record {
    /// One that is no longer there.
    pub(super) fn gone(id: &str) -> Record {
        Record {
            id: id.to_owned(),
            stamp: 0,
            version: None,
            is_deleted: true,
            copies: Copies::default(),
            merged: Vec::new(),
            told_at: 0,
            former: None,
            row: Row::new(),
        }
    }

    pub(super) fn key(&self) -> Key {
        Key::single(self.id.clone())
    }

    pub(super) fn stored(self) -> Stored {
        Stored::whole(self.key(), self.row)
    }

    /// When it was modified, as changes tell it.
    pub(super) fn time(&self) -> Option<i64> {
        (self.stamp > 0).then(|| self.stamp as i64 - EPOCH_2000_MICROS)
    }
}

impl Shape {
    /// What requests for its records can name.
    pub(super) fn variables(&self) -> Variables {
        let columns = self.columns.iter().filter(|column| !is_id(column));
        let columns = columns.map(|column| &column.key);
        let columns = columns.chain(&self.place.modified).chain(&self.also);
        let columns: Json = columns.map(|key| Json::from(key.as_str())).collect();
        self.place.variables().with("columns", columns)
    }

    /// A record's id, and what stands for its match key.
    pub(super) fn named<'a>(&self, record: &'a Record) -> (&'a str, Option<u64>) {
        (&record.id, self.match_name(&record.row))
    }

    /// A number that stands for a record's match key; `None` where a part of it is null.
    pub(super) fn match_name(&self, row: &Row) -> Option<u64> {
        let mut bytes = Vec::new();
        for field in &self.match_key {
            let value = row.get(*field).and_then(Cell::value)?;
            if value.is_null() {
                return None;
            }
            value.canonical(&mut bytes);
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Some(hasher.finish())
    }

    /// Names of the fields that make the match key, as records call them.
    pub(super) fn match_keys(&self) -> Vec<&str> {
        let columns = self.match_key.iter().filter_map(|field| {
            let column = self.lens.column(*field)?;
            self.columns.get(column)
        });
        columns.map(|column| column.key.as_str()).collect()
    }

    /// Reads a record.
    pub(super) fn record(&self, manifest: &Manifest, json: &Json) -> Result<Record, EndpointError> {
        let of = &manifest.record;
        let id = path::text(json, &of.id).ok_or_else(|| {
            let text = format!(
                "{} answers with a record of {} without id",
                manifest.title, self.label
            );
            EndpointError::bug("record-unreadable", text)
        })?;
        let fields = path::find(json, &of.fields).unwrap_or(&Json::Null);
        let mut cells = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            cells.push(Cell::Value(match is_id(column) {
                true => Value::Text(id.clone()),
                false => self.value(manifest, column, fields)?,
            }));
        }
        let table = of.table.as_ref().and_then(|at| path::text(json, at));
        let is_elsewhere = table.is_some_and(|table| table != self.place.table.0);
        Ok(Record {
            row: self.lens.row(cells),
            stamp: stamp(of, json).unwrap_or(0),
            version: of.version.as_ref().and_then(|at| path::text(json, at)),
            copies: Copies::of(manifest.publish.as_ref(), json),
            merged: merged(of, json),
            told_at: 0,
            former: None,
            is_deleted: is_elsewhere
                || of
                    .deleted
                    .as_ref()
                    .is_some_and(|at| is_true(path::find(json, at))),
            id,
        })
    }

    /// Reads a part of a record: cells that it does not tell are unchanged.
    pub(super) fn part(&self, manifest: &Manifest, json: &Json) -> Result<Row, EndpointError> {
        let fields = path::find(json, &manifest.record.fields).unwrap_or(&Json::Null);
        let mut cells = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            cells.push(match cell_of(manifest, column, fields) {
                Some(_) if !is_id(column) => Cell::Value(self.value(manifest, column, fields)?),
                _ => Cell::Unchanged,
            });
        }
        Ok(self.lens.row(cells))
    }

    /// That a mapped field is not there any more.
    pub(super) fn no_field(&self, column: &Field) -> EndpointError {
        let text = format!("{} has no field `{}` any more", self.label, column.name);
        EndpointError::operator(NO_FIELD, text)
    }

    /// The columns whose fields have these values as a record has them that does not show the column.
    pub(super) fn read_as_absent(
        &self,
        manifest: &Manifest,
        set: &[(usize, &Value)],
    ) -> Result<Vec<&Field>, EndpointError> {
        let absent = |column| self.value(manifest, column, &Json::Null).map(Cell::Value);
        let absent = self.columns.iter().map(absent);
        let absent = self.lens.row(absent.collect::<Result<_, _>>()?);
        let mut columns = BTreeSet::new();
        for (field, value) in set {
            if absent.get(*field).and_then(Cell::value) == Some(*value) {
                columns.extend(self.lens.column(*field));
            }
        }
        let columns = columns.into_iter().filter_map(|at| self.columns.get(at));
        Ok(columns.filter(|column| !is_id(column)).collect())
    }

    /// What a record's fields have of one of them.
    fn value(
        &self,
        manifest: &Manifest,
        column: &Field,
        fields: &Json,
    ) -> Result<Value, EndpointError> {
        let found = cell_of(manifest, column, fields);
        let of = &manifest.record;
        if found.is_none() && (of.all_fields || of.cell_id.is_some()) {
            // It would look as if somebody had emptied it everywhere.
            return Err(self.no_field(column));
        }
        let named = match (&column.choices, found) {
            (Some(choices), Some(cell)) => Some(choices.read(cell)),
            _ => None,
        };
        let found = named.as_ref().or(found);
        let is_empty = |cell: &&Json| cell.is_null() || column.empty.as_ref() == Some(*cell);
        let cell = found.filter(|cell| !is_empty(cell));
        let cell = cell.or(column.blank.as_ref());
        Ok(match (&column.cell, &column.text, cell) {
            (Some(form), _, Some(cell)) => form.read(&column.field_type, cell),
            (None, Some(form), Some(cell)) => form.read(&column.field_type, cell),
            _ => decode(&column.field_type, cell),
        })
    }

    /// The fields of a request that sets these, and the record's id where it is among them.
    pub(super) fn fields(&self, set: &[(usize, Value)]) -> Result<(Json, Option<String>), Unfit> {
        let mut fields = Map::new();
        let mut id = None;
        for (field, value) in set {
            let column = self
                .lens
                .column(*field)
                .and_then(|column| self.columns.get(column));
            let Some(column) = column else {
                return Err(Unfit {
                    code: FindingCode::RejectedBySide,
                    detail: format!("{} has no mapped field number {field}", self.label),
                });
            };
            let native = self.lens.native(*field, value);
            let is_word = |value: &Cow<'_, Value>| !matches!(**value, Value::Unmapped(_));
            let Some(value) = native.filter(is_word) else {
                let why = self.lens.misfit(*field, value);
                return Err(Unfit {
                    code: FindingCode::NoCounterpart,
                    detail: format!("{} {why}", column.name),
                });
            };
            let json = encode(&column.field_type, &value).map_err(|unfit| Unfit {
                detail: format!("{}: {}", column.name, unfit.detail),
                ..unfit
            })?;
            match (&json, is_id(column)) {
                (Json::String(text), true) => id = Some(text.clone()),
                (_, true) => {
                    return Err(Unfit {
                        code: FindingCode::NotNullViolation,
                        detail: format!("{}: a record has an id", column.name),
                    });
                }
                _ => {
                    fields.insert(column.key.clone(), cell(column, json));
                }
            }
        }
        Ok((Json::Object(fields), id))
    }

    /// The app's name of a field and what it must hold to be `value`, for a search.
    pub(super) fn sought(&self, field: usize, value: &Value) -> Option<(&Field, Json)> {
        let column = self.columns.get(self.lens.column(field)?)?;
        let native = self.lens.native(field, value)?;
        let json = encode(&column.field_type, &native).ok()?;
        Some(match &column.text {
            Some(form) => (column, form.write(&json)),
            None => (column, chosen(column, json)),
        })
    }
}

/// The value with ids in place of choices, where records hold these.
fn chosen(column: &Field, value: Json) -> Json {
    match &column.choices {
        Some(choices) => choices.write(&value),
        None => value,
    }
}

/// The cell that holds a value.
fn cell(column: &Field, value: Json) -> Json {
    let value = chosen(column, value);
    match (&column.cell, &column.text) {
        (Some(form), _) => form.write(value),
        (None, Some(form)) => form.write(&value),
        (None, None) => value,
    }
}

/// The column that is the record's id.
pub(super) fn id_column(ids: Ids) -> Field {
    Field {
        name: ID.to_owned(),
        key: ID.to_owned(),
        search_id: None,
        type_name: ID_TYPE.to_owned(),
        field_type: FieldType::Text {
            max: None,
            ignores_case: false,
        },
        read_only: ids == Ids::App,
        required: true,
        is_unique: true,
        blank: None,
        empty: None,
        cell: None,
        choices: None,
        names: None,
        text: None,
    }
}

/// The cell of a record's fields that is this one's.
fn cell_of<'a>(manifest: &Manifest, column: &Field, fields: &'a Json) -> Option<&'a Json> {
    match &manifest.record.cell_id {
        None => fields.get(&column.key),
        Some(at) => {
            let is_it = |cell: &&Json| path::text(cell, at).as_ref() == Some(&column.key);
            path::members(fields, "").into_iter().find(is_it)
        }
    }
}

fn is_id(column: &Field) -> bool {
    column.name == ID && column.type_name == ID_TYPE
}

/// The code of a mapped field that is not there any more.
pub(super) const NO_FIELD: &str = "no-field";

const ID: &str = "id";
const ID_TYPE: &str = "record id";

fn merged(of: &RecordShape, json: &Json) -> Vec<String> {
    let Some(merged) = &of.merged else {
        return Vec::new();
    };
    let ids = path::text(json, &merged.at).unwrap_or_default();
    let ids = ids.split(merged.split.as_str()).map(str::trim);
    ids.filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// When a record, or a part of one, was modified.
pub(super) fn stamp(of: &RecordShape, json: &Json) -> Option<Micros> {
    let mut places = of.modified.iter();
    let text = places.find_map(|at| path::text(json, at).filter(|text| !text.is_empty()))?;
    moment(of.modified_as, &text)
}

/// A moment as the app writes it.
pub(super) fn moment(form: Moment, text: &str) -> Option<Micros> {
    match form {
        Moment::Milliseconds => text.parse::<u64>().ok()?.checked_mul(1_000),
        Moment::Seconds => text.parse::<u64>().ok()?.checked_mul(1_000_000),
        Moment::Text => u64::try_from(instant(text)?.checked_add(EPOCH_2000_MICROS)?).ok(),
    }
}

/// A moment in the app's form, rounded down.
pub(super) fn moment_text(form: Moment, at: Micros) -> String {
    match form {
        Moment::Milliseconds => (at / 1_000).to_string(),
        Moment::Seconds => (at / 1_000_000).to_string(),
        Moment::Text => {
            let micros = i64::try_from(at).unwrap_or(i64::MAX);
            let at = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
            format!("{at:.3}")
        }
    }
}

fn is_true(json: Option<&Json>) -> bool {
    !matches!(json, None | Some(Json::Null | Json::Bool(false)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpoint::rest::connectors::built_in;

    /// A table whose one field is a multi select of NocoDB's.
    fn colors() -> (Manifest, Shape) {
        let mut colors = id_column(Ids::App);
        colors.name = "colors".to_owned();
        colors.key.clone_from(&colors.name);
        colors.type_name = "MultiSelect".to_owned();
        colors.empty = Some(json!(""));
        let shape = Shape {
            pair: PairId(1),
            place: Place {
                container: Default::default(),
                table: Default::default(),
                modified: None,
            },
            label: "things".to_owned(),
            columns: vec![colors],
            lens: Lens::default(),
            match_key: Vec::new(),
            also: Vec::new(),
        };
        let manifest = built_in("nocodb").unwrap();
        (Manifest::clone(&manifest), shape)
    }

    #[test]
    fn a_record_without_a_field_is_an_error_where_records_have_all() {
        let (mut manifest, shape) = colors();
        let record = json!({"id": 7, "fields": {"shades": null}});
        let error = shape.record(&manifest, &record).unwrap_err();
        assert_eq!(error.code, NO_FIELD);
        manifest.record.all_fields = false;
        let row = shape.record(&manifest, &record).unwrap().row;
        assert_eq!(row, [Cell::Value(Value::Null)]);
    }

    #[test]
    fn an_empty_cell_may_hold_something_beside_null() {
        let (manifest, shape) = colors();
        for cell in [json!(null), json!("")] {
            let record = json!({"id": 7, "fields": {"colors": cell}});
            let row = shape.record(&manifest, &record).unwrap().row;
            assert_eq!(row, [Cell::Value(Value::Null)]);
        }
    }

    #[test]
    fn moments_are_read_and_written_in_every_form() {
        let at = 1_795_650_376_037_000;
        for (form, text) in [
            (Moment::Milliseconds, "1795650376037"),
            (Moment::Text, "2026-11-25T23:46:16.037Z"),
        ] {
            assert_eq!(moment(form, text), Some(at));
            assert_eq!(moment_text(form, at), text);
        }
        assert_eq!(moment(Moment::Seconds, "7"), Some(7_000_000));
        assert_eq!(
            moment(Moment::Text, "2026-11-25T23:46:16+00:00"),
            Some(1_795_650_376_000_000)
        );
    }
}
