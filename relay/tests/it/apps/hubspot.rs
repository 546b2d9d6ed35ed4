//! HubSpot's double: the claims that every connector keeps.
//!
//! A change shows in searches seconds later, and a look waits for that. The tests let the double's
//! clock run ahead: the relay goes by the app's clock alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tidegate_apps::{HubSpot as Double, Options, Running};
use tokio::task::JoinHandle;

use super::{App, Row, Rows};

const TABLE: &str = "contacts";

pub struct HubSpot {
    double: Arc<Running>,
    time: JoinHandle<()>,
}

impl Drop for HubSpot {
    fn drop(&mut self) {
        self.time.abort();
    }
}

impl HubSpot {
    pub async fn start() -> HubSpot {
        HubSpot::with(HubSpot::contacts()).await
    }

    fn contacts() -> Options {
        let property = |name: &str, kind: &str, more: Value| {
            let mut property =
                json!({ "table": TABLE, "name": name, "type": kind, "fieldType": "text" });
            let more = more.as_object().unwrap().clone();
            property.as_object_mut().unwrap().extend(more);
            property
        };
        let hint = json!({ "numberDisplayHint": "unformatted" });
        Options::empty()
            .made(
                "create-property",
                property("slug", "string", json!({ "hasUniqueValue": true })),
            )
            .made("create-property", property("title", "string", json!({})))
            .made("create-property", property("qty", "number", hint))
            .made("create-property", property("done", "bool", json!({})))
            .trap("refuses")
    }

    async fn with(options: Options) -> HubSpot {
        let double = Arc::new(Double::start(options).await.unwrap());
        let clock = Arc::clone(&double);
        let time = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                clock.advance(Duration::from_secs(4));
            }
        });
        HubSpot { double, time }
    }

    fn find(&self, slug: &str) -> Option<String> {
        let rows = self.double.rows(TABLE).unwrap();
        let row = rows.into_iter().find(|row| row.fields["slug"] == slug);
        row.map(|row| row.id)
    }

    fn id(&self, slug: &str) -> String {
        self.find(slug).unwrap_or_else(|| panic!("no {slug}"))
    }
}

fn fields(slug: Option<&str>, row: &Row) -> Value {
    let mut fields = Map::new();
    let given = [
        ("slug", slug.map(str::to_owned)),
        ("title", row.title.clone()),
        ("qty", row.qty.map(|qty| qty.to_string())),
        ("done", row.done.map(|done| done.to_string())),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    }
    Value::Object(fields)
}

#[async_trait]
impl App for HubSpot {
    fn kind(&self) -> &'static str {
        "hubspot"
    }

    fn base_url(&self) -> String {
        self.double.address.clone()
    }

    fn token(&self) -> String {
        self.double.token.clone()
    }

    fn table(&self) -> String {
        TABLE.to_owned()
    }

    fn user(&self) -> String {
        "62515".to_owned()
    }

    fn refusal(&self) -> &'static str {
        "value-out-of-range"
    }

    async fn seed(&self, rows: &Rows) {
        for (slug, row) in rows {
            self.double.create(TABLE, fields(Some(slug), row)).unwrap();
        }
    }

    async fn edit(&self, slug: &str, row: &Row) {
        let id = self.id(slug);
        self.double.update(TABLE, &id, fields(None, row)).unwrap();
    }

    async fn delete(&self, slug: &str) {
        self.double.delete(TABLE, &self.id(slug)).unwrap();
    }

    async fn all(&self) -> Rows {
        let mut rows = Rows::new();
        for record in self.double.rows(TABLE).unwrap() {
            let text = |name: &str| record.fields[name].as_str();
            let row = Row {
                title: text("title").map(str::to_owned),
                qty: text("qty").map(|qty| qty.parse().unwrap()),
                done: text("done").map(|done| done == "true"),
            };
            let slug = text("slug").unwrap().to_owned();
            assert_eq!(rows.insert(slug, row), None, "two contacts with one slug");
        }
        rows
    }
}
