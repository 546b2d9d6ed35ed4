//! What the doubles of closed apps have in common: one table, edited by the fields' names, and a clock that
//! runs ahead.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegate_apps::Running;
use tokio::task::JoinHandle;

use super::{Row, Rows};

/// The table of the app, unless it has tables of its own.
pub const TABLE: &str = "things";
/// Its records are known by this field.
pub const THINGS: Table = Table {
    name: TABLE,
    slug: "slug",
};

/// A table, and the field that records are known by.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub name: &'static str,
    pub slug: &'static str,
}

impl Table {
    /// As the double takes them: what is `None` is left out.
    fn fields(self, slug: Option<&str>, row: &Row) -> Value {
        let given = [
            (self.slug, slug.map(Value::from)),
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

    pub fn find(self, double: &Running, slug: &str) -> Option<tidegate_apps::Row> {
        let rows = double.rows(self.name).unwrap();
        rows.into_iter().find(|row| row.fields[self.slug] == slug)
    }

    /// The id of the record with this slug.
    pub fn id(self, double: &Running, slug: &str) -> String {
        let found = self.find(double, slug);
        found.unwrap_or_else(|| panic!("no {slug}")).id
    }

    pub fn seed(self, double: &Running, rows: &Rows) {
        for (slug, row) in rows {
            let fields = self.fields(Some(slug), row);
            double.create(self.name, fields).unwrap();
        }
    }

    pub fn edit(self, double: &Running, slug: &str, row: &Row) {
        let id = self.id(double, slug);
        let fields = self.fields(None, row);
        double.update(self.name, &id, fields).unwrap();
    }

    pub fn delete(self, double: &Running, slug: &str) {
        double.delete(self.name, &self.id(double, slug)).unwrap();
    }

    /// Everything that is there; `row` says what its cells, except for the slug, are.
    pub fn all(self, double: &Running, row: impl Fn(&Value) -> Row) -> Rows {
        let mut rows = Rows::new();
        for record in double.rows(self.name).unwrap() {
            let slug = record.fields[self.slug].as_str().unwrap().to_owned();
            let twice = rows.insert(slug, row(&record.fields));
            assert_eq!(twice, None, "two records with one slug");
        }
        rows
    }
}

/// Of an app that has numbers, and boxes that are never null.
pub fn typed(cells: &Value) -> Row {
    Row {
        title: cells["title"].as_str().map(str::to_owned),
        qty: cells["qty"].as_i64().map(|qty| qty as i32),
        done: Some(cells["done"] == true),
    }
}

/// Lets a double's clock run ahead, for as long as it lives: five steps a second.
pub struct Clock(JoinHandle<()>);

impl Clock {
    pub fn run(double: &Arc<Running>, step: Duration) -> Clock {
        let double = Arc::clone(double);
        Clock(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                double.advance(step);
            }
        }))
    }

    pub fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop();
    }
}
