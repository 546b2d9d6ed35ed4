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
pub mod join_table;
mod problems;
mod relations;
pub mod shape;

mod copy_text;
mod copying;
mod digest;
mod reading;
mod statements;

pub mod snapshot;

mod frame;
pub mod replication;

pub mod pgoutput;
pub mod publication;
mod slot_guard;
pub mod slots;

mod staging;

mod mapping;

mod transactions;

mod feedback;
mod queue;

pub mod ask;
pub mod capture;
mod changelog;
mod looks;
mod outbox;
mod peek;
mod shown;
mod side;
mod touches;
mod triggers;

#[doc(hidden)]
pub mod hostile;

pub mod apply;
mod bulk;
mod guard;
mod linking;
pub mod progress;
mod swap;
mod write;

use std::sync::Arc;

pub use mapping::CaptureTable;

use async_trait::async_trait;
use tidegate_sync::model::Side;

use self::connect::SessionLimits;
use self::outbox::OutboxName;
use self::progress::ProgressName;
use self::replication::Connection;
use self::side::PgSide;
use self::slot_guard::SlotGuard;
use self::slots::Names;
use super::catalog::{Catalog, Fix};
use super::level::Level;
use super::log_guard::LogGuard;
use super::{Binding, Class, Dial, Endpoint, EndpointError, OpenSide, StreamLabel};

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
        let outbox = OutboxName::new(sync, side);
        sql.extend(triggers::forget_sql(&outbox));
        sql.push(looks::forget_sql(&outbox));
        sql.push(progress.forget_sql());
        Some(sql)
    }

    /// Does anything between us and the server refuse the replication protocol? The reason why.
    async fn replication_refused(&self) -> Result<Option<String>, EndpointError> {
        let label = StreamLabel {
            run: "inspect".into(),
            ..StreamLabel::default()
        };
        match Connection::open(&*self.dial, &label).await {
            Ok(_) => Ok(None),
            Err(error) if error.class == Class::Operator => Ok(Some(error.message)),
            Err(error) => Err(error),
        }
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
        let mut found = inspect::inspect(&session, self.dial.allows_ddl().await?).await?;
        let is_offered = |level| {
            let mut offers = found.captures.iter();
            offers.any(|offer| offer.level == level && offer.obstacles.is_empty())
        };
        if is_offered(Level::Stream)
            && let Some(reason) = self.replication_refused().await?
        {
            problems::refuse_stream(&mut found, reason);
        }
        Ok(found)
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
        let session = connect::client(&self.dial, &label, SessionLimits::CATALOG).await?;
        let ddl = slots::ddl_of(&*self.dial).await?;
        slots::forget(&mut &session, sync, ddl).await?;
        for side in Side::BOTH {
            let outbox = OutboxName::new(sync, side);
            triggers::forget_side(&session, &outbox, ddl).await?;
            looks::forget_side(&session, &outbox).await?;
            let name = ProgressName::new(sync, side)?;
            session
                .bounded("forget a sync's progress", name.forget(&session))
                .await?;
        }
        Ok(())
    }

    fn guard(&self) -> Box<dyn LogGuard> {
        Box::new(SlotGuard::new(Arc::clone(&self.dial)))
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

fn label(binding: &Binding, run: &str) -> StreamLabel {
    StreamLabel {
        sync: binding.sync.clone(),
        run: run.into(),
        epoch: binding.epoch,
    }
}
