//! What the doubles of closed apps have in common: one table, edited by the fields' names.

use serde_json::{Map, Value};
use tidegate_apps::Running;

use super::{Row, Rows};

/// The table of the app.
pub const TABLE: &str = "things";

/// As the double takes them: what is `None` is left out.
pub fn fields(slug: Option<&str>, row: &Row) -> Value {
    let given = [
        ("slug", slug.map(Value::from)),
        ("title", row.title.clone().map(Value::from)),
        ("qty", row.qty.map(Value::from)),
        ("done", row.done.map(Value::from)),
    ];
    let mut fields = Map::new();
    for (name, value) in given {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    }
    Value::Object(fields)
}

/// The id of the record with this slug.
pub fn id(double: &Running, slug: &str) -> String {
    let rows = double.rows(TABLE).unwrap();
    let row = rows.into_iter().find(|row| row.fields["slug"] == slug);
    row.unwrap_or_else(|| panic!("no {slug}")).id
}

pub fn seed(double: &Running, rows: &Rows) {
    for (slug, row) in rows {
        double.create(TABLE, fields(Some(slug), row)).unwrap();
    }
}

pub fn edit(double: &Running, slug: &str, row: &Row) {
    let id = id(double, slug);
    double.update(TABLE, &id, fields(None, row)).unwrap();
}

pub fn delete(double: &Running, slug: &str) {
    double.delete(TABLE, &id(double, slug)).unwrap();
}

/// Everything that is there.
pub fn all(double: &Running) -> Rows {
    let mut rows = Rows::new();
    for record in double.rows(TABLE).unwrap() {
        let of = &record.fields;
        let row = Row {
            title: of["title"].as_str().map(str::to_owned),
            qty: of["qty"].as_i64().map(|qty| qty as i32),
            done: Some(of["done"] == true),
        };
        let slug = of["slug"].as_str().unwrap().to_owned();
        assert_eq!(rows.insert(slug, row), None, "two records with one slug");
    }
    rows
}
