//! What a side consists of: tables, fields, keys, rights, and what stands in a sync's way.

use serde::{Deserialize, Serialize};
use tidegate_sync::codec::FieldType;
use utoipa::ToSchema;

use super::level::Offer;

/// Everything `inspect` found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Catalog {
    /// `PostgreSQL 15.18`.
    pub server: String,
    /// Who one is signed in as.
    pub user: String,
    pub database: String,
    pub tables: Vec<Table>,
    /// Numbers of tables in schemas that are closed to the role: nothing else is known of them.
    #[serde(skip)]
    pub hidden: Vec<u32>,
    /// Whether the relay may run a [`Fix`] and make publications. When false they are SQL to copy.
    #[serde(default)]
    pub allows_ddl: bool,
    /// What stands in the way of a sync of any table, each with its remedy.
    pub problems: Vec<Problem>,
    /// The ways to read its changes, the best first.
    #[serde(default)]
    pub captures: Vec<Offer>,
}

impl Catalog {
    /// Finds `schema.table`, or `table` in schema `public`; quoted names as PostgreSQL reads them.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.is_named(name))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogTable)]
pub struct Table {
    /// `pg_class.oid`; 0 where tables have no such number. Not told outside, like the columns'.
    #[serde(skip)]
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// `table`, `partitioned`, `view`.
    pub kind: String,
    pub columns: Vec<Column>,
    /// Column names in key order; empty when there is none.
    pub primary_key: Vec<String>,
    pub unique_keys: Vec<Vec<String>>,
    pub foreign_keys: Vec<ForeignKey>,
    pub triggers: Vec<String>,
    /// `default`, `nothing`, `full`, `index`.
    pub replica_identity: String,
    pub row_estimate: u64,
    pub can_read: bool,
    pub can_write: bool,
    pub is_owner: bool,
    pub problems: Vec<Problem>,
    /// Ready-made ways to give the table a primary key, when it has none.
    pub fixes: Vec<Fix>,
}

impl Table {
    pub fn is_named(&self, name: &str) -> bool {
        name == format!("{}.{}", self.schema, self.name)
            || (self.schema == "public" && name == self.name)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogColumn)]
pub struct Column {
    /// `pg_attribute.attnum`, which no other column of the table will ever have; 0 where columns have
    /// no such number.
    #[serde(skip)]
    pub number: i16,
    pub name: String,
    /// As the side names it: `character varying(80)`.
    pub type_name: String,
    /// What it can hold, as the sync model has it.
    #[schema(value_type = serde_json::Value)]
    pub field_type: FieldType,
    pub nullable: bool,
    pub has_default: bool,
    /// `generated always as (…) stored`: can be read and not written.
    pub generated: bool,
    /// `always`, `by-default`, or empty.
    pub identity: String,
    pub enum_labels: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ForeignKey {
    pub columns: Vec<String>,
    /// `schema.table`.
    pub table: String,
    pub references: Vec<String>,
}

/// Something that prevents a sync, or makes it worse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CatalogProblem)]
pub struct Problem {
    /// Stable code: `no-primary-key`, `wal-level`, `no-replication-right` …
    pub code: String,
    pub message: String,
    /// One sentence: what to do. May hold SQL to copy.
    pub remedy: String,
    /// True when a sync can't run at all.
    pub blocking: bool,
}

/// A way to give a table a primary key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fix {
    /// Add an identity column and make it the key.
    IdentityColumn { column: String, sql: Vec<String> },
    /// Make an existing column the key, after it was checked to be unique and not null.
    ExistingColumn { column: String, sql: Vec<String> },
}
