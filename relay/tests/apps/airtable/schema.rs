//! Tables and fields: what there is, and making more.

use serde_json::{Map, Value, json};

use super::transaction::Record;
use super::{Airtable, Base, bad_request, body, error, not_found};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::ids::Ids;
use crate::host::past::Past;

#[derive(Debug)]
pub(super) struct Table {
    pub id: String,
    pub name: String,
    pub fields: Vec<Field>,
    pub records: Past<Record>,
    /// The last `autoNumber` given out.
    pub numbers: u64,
    view: String,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub id: String,
    pub name: String,
    /// As in the field model: `singleLineText`, …
    pub kind: String,
    pub options: Value,
}

/// Types that take no value.
const COMPUTED: [&str; 9] = [
    "formula",
    "count",
    "multipleLookupValues",
    "autoNumber",
    "createdTime",
    "lastModifiedTime",
    "createdBy",
    "lastModifiedBy",
    "button",
];

const WRITABLE: [&str; 18] = [
    "singleLineText",
    "multilineText",
    "richText",
    "email",
    "url",
    "phoneNumber",
    "number",
    "currency",
    "percent",
    "rating",
    "duration",
    "checkbox",
    "date",
    "dateTime",
    "singleSelect",
    "multipleSelects",
    "multipleRecordLinks",
    "multipleAttachments",
];

const OTHERS: [&str; 2] = ["singleCollaborator", "barcode"];

impl Field {
    pub fn is_computed(&self) -> bool {
        COMPUTED.contains(&self.kind.as_str())
    }

    pub fn is_link(&self) -> bool {
        self.kind == "multipleRecordLinks"
    }

    pub fn choice(&self, name: &str) -> Option<&Value> {
        let choices = self.options["choices"].as_array()?;
        choices.iter().find(|choice| choice["name"] == name)
    }

    pub fn add_choice(&mut self, name: &str, ids: &mut Ids) {
        let id = ids.letters("sel", 14);
        let choice = json!({ "id": id, "name": name, "color": "blueLight2" });
        match self.options["choices"].as_array_mut() {
            Some(choices) => choices.push(choice),
            None => self.options = json!({ "choices": [choice] }),
        }
    }

    fn shown(&self) -> Value {
        let mut shown = json!({ "id": self.id, "name": self.name, "type": self.kind });
        if !self.options.is_null() {
            shown["options"] = self.options.clone();
        }
        if self.is_computed() && self.options.is_object() {
            shown["options"]["isValid"] = true.into();
        }
        shown
    }
}

impl Table {
    pub fn field(&self, id_or_name: &str) -> Option<&Field> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.id == id_or_name || field.name == id_or_name)
    }

    pub fn field_mut(&mut self, id_or_name: &str) -> Option<&mut Field> {
        let mut fields = self.fields.iter_mut();
        fields.find(|field| field.id == id_or_name || field.name == id_or_name)
    }

    pub fn shown(&self) -> Value {
        let fields: Vec<Value> = self.fields.iter().map(Field::shown).collect();
        json!({
            "id": self.id,
            "name": self.name,
            "primaryFieldId": self.fields.first().map(|field| &field.id),
            "fields": fields,
            "views": [{ "id": self.view, "name": "Grid view", "type": "grid" }],
        })
    }
}

impl Base {
    /// `{"name", "fields": [{"name", "type", "options"}]}`. A link makes its other end in the table
    /// that it names.
    pub fn add_table(&mut self, spec: &Value, ids: &mut Ids) -> Result<usize, Answer> {
        let name = spec["name"].as_str().ok_or_else(bad_request)?;
        if self.tables.iter().any(|table| table.name == name) {
            return Err(error(
                422,
                "DUPLICATE_TABLE_NAME",
                "a table of this name exists",
            ));
        }
        let fields = spec["fields"].as_array().ok_or_else(bad_request)?;
        if fields.is_empty() {
            return Err(bad_request());
        }
        self.tables.push(Table {
            id: ids.letters("tbl", 14),
            name: name.to_owned(),
            fields: Vec::new(),
            records: Past::default(),
            numbers: 0,
            view: ids.letters("viw", 14),
        });
        let at = self.tables.len() - 1;
        for field in fields {
            if let Err(refused) = self.add_field(at, field, ids) {
                self.tables.truncate(at);
                return Err(refused);
            }
        }
        Ok(at)
    }

    pub fn add_field(
        &mut self,
        table: usize,
        spec: &Value,
        ids: &mut Ids,
    ) -> Result<Field, Answer> {
        let name = spec["name"].as_str().ok_or_else(bad_request)?;
        let kind = spec["type"].as_str().ok_or_else(bad_request)?;
        if self.tables[table].field(name).is_some() {
            let message = format!("Field name \"{name}\" is not unique");
            return Err(error(422, "DUPLICATE_OR_EMPTY_FIELD_NAME", message));
        }
        let mut known = COMPUTED.iter().chain(&WRITABLE).chain(&OTHERS);
        if !known.any(|known| *known == kind) {
            let message = format!("Invalid options for {name}: unknown field type {kind}");
            return Err(error(422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE", message));
        }
        let mut field = Field {
            id: ids.letters("fld", 14),
            name: name.to_owned(),
            kind: kind.to_owned(),
            options: Value::Null,
        };
        let choices = spec["options"]["choices"].as_array();
        for choice in choices.into_iter().flatten() {
            field.add_choice(choice["name"].as_str().ok_or_else(bad_request)?, ids);
        }
        if choices.is_none() {
            field.options = spec["options"].clone();
        }
        if field.is_link() {
            self.link(table, &mut field, ids)?;
        }
        self.tables[table].fields.push(field.clone());
        Ok(field)
    }

    fn link(&mut self, table: usize, field: &mut Field, ids: &mut Ids) -> Result<(), Answer> {
        let (own_id, own_name) = (
            self.tables[table].id.clone(),
            self.tables[table].name.clone(),
        );
        let linked = field.options["linkedTableId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let other = self.find_table(&linked)?;
        let options = |table: &str, inverse: &str| {
            json!({
                "linkedTableId": table,
                "isReversed": false,
                "prefersSingleRecordLink": false,
                "inverseLinkFieldId": inverse,
            })
        };
        let inverse = ids.letters("fld", 14);
        let mut name = own_name;
        while other.field(&name).is_some() {
            name.push_str(" 2");
        }
        other.fields.push(Field {
            id: inverse.clone(),
            name,
            kind: field.kind.clone(),
            options: options(&own_id, &field.id),
        });
        field.options = options(&other.id, &inverse);
        Ok(())
    }
}

/// Bases in one answer.
const BASES_PAGE: usize = 1_000;

impl Airtable {
    pub(super) fn list_bases(&mut self, _call: &Call, _world: &mut World) -> Outcome {
        let shown =
            |base: &Base| json!({ "id": base.id, "name": base.name, "permissionLevel": "create" });
        let bases: Vec<Value> = self.bases.iter().take(BASES_PAGE).map(shown).collect();
        Ok(Answer::ok(&json!({ "bases": bases })))
    }

    pub(super) fn list_tables(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let base = self.find_base(call.param(0))?;
        let tables: Vec<Value> = base.tables.iter().map(Table::shown).collect();
        Ok(Answer::ok(&json!({ "tables": tables })))
    }

    pub(super) fn create_table(&mut self, call: &Call, world: &mut World) -> Outcome {
        let spec = body(call)?;
        let base = self.find_base(call.param(0))?;
        let at = base.add_table(&spec, &mut world.ids)?;
        Ok(Answer::ok(&base.tables[at].shown()))
    }

    pub(super) fn update_table(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let spec = body(call)?;
        let table = self.find_base(call.param(0))?.find_table(call.param(1))?;
        if let Some(name) = spec["name"].as_str() {
            name.clone_into(&mut table.name);
        }
        Ok(Answer::ok(&table.shown()))
    }

    pub(super) fn create_field(&mut self, call: &Call, world: &mut World) -> Outcome {
        let spec = body(call)?;
        let base = self.find_base(call.param(0))?;
        let id = base.find_table(call.param(1))?.id.clone();
        let at = base
            .tables
            .iter()
            .position(|table| table.id == id)
            .ok_or_else(not_found)?;
        let field = base.add_field(at, &spec, &mut world.ids)?;
        Ok(Answer::ok(&field.shown()))
    }

    pub(super) fn update_field(&mut self, call: &Call, _world: &mut World) -> Outcome {
        let spec = body(call)?;
        let table = self.find_base(call.param(0))?.find_table(call.param(1))?;
        let field = table.field_mut(call.param(2)).ok_or_else(super::no_model)?;
        if let Some(name) = spec["name"].as_str() {
            name.clone_into(&mut field.name);
        }
        Ok(Answer::ok(&field.shown()))
    }
}

/// An object of the given pairs, without those whose value is null.
pub(super) fn object(pairs: impl IntoIterator<Item = (String, Value)>) -> Value {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(pairs.collect::<Map<_, _>>())
}
