//! PostgreSQL as a side of a sync.
//!
//! The same for a tunnelled and a direct server: it is handed a [`Dial`]. Reading order: `types`
//! and `shape` (what a table is), `connect` (a session), `snapshot`, `guard` and `write` under
//! `apply`. Capture has a client of its own, because tokio-postgres has no replication mode.

mod array_text;
mod temporal;
mod type_graph;
pub mod type_list;
pub mod types;

mod sqlstate;

pub mod connect;
pub mod direct;

mod fix_key;
mod inspect;
mod problems;
mod relations;
pub mod shape;

mod copy_text;
mod copying;
mod reading;
mod statements;

pub mod snapshot;

mod frame;
pub mod replication;

pub mod pgoutput;
pub mod publication;
pub mod slots;

mod staging;

mod mapping;

mod transactions;

mod feedback;
mod queue;

pub mod capture;

#[doc(hidden)]
pub mod hostile;

pub mod apply;
mod bulk;
mod guard;
pub mod progress;
mod swap;
mod write;

use std::sync::Arc;

pub use mapping::CaptureTable;

use async_trait::async_trait;
use tidegate_sync::model::{Position, Side};

use self::apply::PgWriter;
use self::capture::{CaptureSource, PgCapture};
use self::connect::SessionLimits;
use self::progress::ProgressName;
use self::replication::Connection;
use self::shape::Shape;
use self::slots::Names;
use self::snapshot::{PgSnapshot, ViewOf};
use super::catalog::{Catalog, Fix, Problem};
use super::{
    Binding, Capture, Dial, Endpoint, EndpointError, OpenSide, Snapshot, StreamLabel, Writer,
};

/// A PostgreSQL database.
pub struct PostgresEndpoint {
    dial: Arc<dyn Dial>,
}

impl PostgresEndpoint {
    pub fn new(dial: Arc<dyn Dial>) -> PostgresEndpoint {
        PostgresEndpoint { dial }
    }

    /// The SQL of [`Endpoint::forget`] for one side, for a person who runs it by hand. `None` for
    /// what is no sync's identifier.
    pub fn forget_sql(sync: &str, side: Side) -> Option<Vec<String>> {
        let progress = ProgressName::new(sync, side).ok()?;
        let mut sql = slots::forget_sql(&Names::new(sync, side));
        sql.push(progress.forget_sql());
        Some(sql)
    }

    /// A session for the catalog, outside any sync run.
    async fn catalog(&self, run: &str) -> Result<connect::Connected, EndpointError> {
        let label = StreamLabel {
            run: run.into(),
            ..StreamLabel::default()
        };
        connect::client(&self.dial, &label, SessionLimits::CATALOG).await
    }
}

#[async_trait]
impl Endpoint for PostgresEndpoint {
    async fn inspect(&self) -> Result<Catalog, EndpointError> {
        let session = self.catalog("inspect").await?;
        inspect::inspect(&session, self.dial.allows_ddl().await?).await
    }

    async fn open(&self, binding: Binding) -> Result<Box<dyn OpenSide>, EndpointError> {
        let progress = ProgressName::new(&binding.sync, binding.side)?;
        let label = label(&binding, "control");
        let session = connect::client(&self.dial, &label, SessionLimits::CATALOG).await?;
        let shapes = Arc::new(shape::load(&session, &binding.tables).await?);
        // A preview or a verify (epoch 0) leaves nothing behind.
        if binding.epoch > 0 {
            progress.prepare(&session).await?;
        }
        Ok(Box::new(PgSide {
            dial: Arc::clone(&self.dial),
            binding,
            shapes,
            progress,
        }))
    }

    async fn forget(&self, sync: &str) -> Result<(), EndpointError> {
        let label = StreamLabel {
            sync: sync.into(),
            run: "forget".into(),
            epoch: 0,
        };
        slots::forget(&*self.dial, &label, sync).await?;
        let session = self.catalog("forget").await?;
        for side in Side::BOTH {
            let name = ProgressName::new(sync, side)?;
            session
                .bounded("forget a sync's progress", name.forget(&session))
                .await?;
        }
        Ok(())
    }

    async fn fix_key(&self, table: &str, fix: &Fix) -> Result<(), EndpointError> {
        if !self.dial.allows_ddl().await? {
            let (Fix::IdentityColumn { sql, .. } | Fix::ExistingColumn { sql, .. }) = fix;
            let by_hand = publication::BY_HAND;
            let message = format!("{by_hand}: let the table's owner run `{}`", sql.join("; "));
            return Err(EndpointError::operator("ddl-not-allowed", message));
        }
        let session = self.catalog("fix-key").await?;
        let found = relations::read(&session, Some(&[table.to_owned()])).await?;
        let Some(relation) = found.relations.first() else {
            let message = format!("table {table} does not exist; list the connection's tables");
            return Err(EndpointError::operator("table-missing", message));
        };
        fix_key::run(&session, &relation.schema, &relation.name, fix).await
    }
}

/// One side of one run.
struct PgSide {
    dial: Arc<dyn Dial>,
    binding: Binding,
    shapes: Arc<Vec<Shape>>,
    progress: ProgressName,
}

impl PgSide {
    fn names(&self) -> Names {
        Names::new(&self.binding.sync, self.binding.side)
    }

    fn capture_tables(&self) -> Vec<CaptureTable> {
        let named = |column: &shape::Column| (column.name.clone(), column.pg_type.clone());
        self.shapes
            .iter()
            .map(|shape| CaptureTable {
                pair: shape.pair,
                schema: shape.schema.clone(),
                name: shape.name.clone(),
                key: shape.key.iter().map(|column| column.name.clone()).collect(),
                fields: shape.fields.iter().map(named).collect(),
            })
            .collect()
    }

    async fn view_of(&self, view: ViewOf) -> Result<Box<dyn Snapshot>, EndpointError> {
        let label = label(&self.binding, "snapshot");
        let shapes = Arc::clone(&self.shapes);
        let snapshot = PgSnapshot::open(&self.dial, &label, shapes, &self.progress, view).await?;
        Ok(Box::new(snapshot))
    }
}

#[async_trait]
impl OpenSide for PgSide {
    async fn check_start(&mut self) -> Result<Vec<Problem>, EndpointError> {
        let ddl = slots::ddl_of(&*self.dial).await?;
        let label = label(&self.binding, "control");
        let session = connect::client(&self.dial, &label, SessionLimits::CATALOG).await?;
        let (publication, tables) = (self.names().publication, self.capture_tables());
        let obstacle = publication::obstacle(&session, &publication, &tables, ddl).await?;
        Ok(obstacle.into_iter().collect())
    }

    async fn check_position(
        &mut self,
        position: &Position,
    ) -> Result<Result<(), String>, EndpointError> {
        let label = label(&self.binding, "capture");
        let mut connection = Connection::open(&*self.dial, &label).await?;
        slots::check(
            &mut connection,
            &self.names(),
            &self.capture_tables(),
            position,
        )
        .await
    }

    async fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        let label = label(&self.binding, "capture");
        let (names, tables) = (self.names(), self.capture_tables());
        let (exported, position) = slots::start_over(&*self.dial, &label, &names, &tables).await?;
        // The export ends with the slot's connection, which must live until it is imported.
        let name = exported.snapshot.clone();
        let view = self.view_of(ViewOf::Exported { name, position }).await;
        drop(exported);
        view
    }

    async fn view(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        self.view_of(ViewOf::Now).await
    }

    async fn capture(&mut self, position: &Position) -> Result<Box<dyn Capture>, EndpointError> {
        let source = CaptureSource {
            dial: Arc::clone(&self.dial),
            label: label(&self.binding, "capture"),
            sync: self.binding.sync.clone(),
            side: self.binding.side,
            tables: self.capture_tables(),
            staging: self.binding.staging.clone(),
        };
        Ok(Box::new(PgCapture::start(source, position).await?))
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>, EndpointError> {
        Ok(Box::new(PgWriter::new(
            Arc::clone(&self.dial),
            label(&self.binding, "apply"),
            Arc::clone(&self.shapes),
            self.progress.clone(),
            self.binding.fingerprinter.clone(),
        )))
    }
}

fn label(binding: &Binding, run: &str) -> StreamLabel {
    StreamLabel {
        sync: binding.sync.clone(),
        run: run.into(),
        epoch: binding.epoch,
    }
}
