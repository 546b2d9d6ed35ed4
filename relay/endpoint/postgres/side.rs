//! One opened side of one run: hands out its parts, each for the level at which changes are read.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_sync::model::{PairId, Position};

use super::apply::PgWriter;
use super::capture::{CaptureSource, PgCapture};
use super::changelog::ChangeLog;
use super::connect::{self, Connected, SessionLimits};
use super::looks::Looks;
use super::mapping::CaptureTable;
use super::outbox::OutboxName;
use super::progress::ProgressName;
use super::publication;
use super::replication::Connection;
use super::shape::{Column, Shape};
use super::shown::Shown;
use super::slots::{self, Names};
use super::snapshot::{PgSnapshot, ViewOf};
use super::touches::Touches;
use super::{join_table, label, looks, peek, triggers};
use crate::endpoint::catalog::Problem;
use crate::endpoint::level::Level;
use crate::endpoint::{Binding, Capture, Dial, EndpointError, OpenSide, Snapshot, Writer};

pub(super) struct PgSide {
    pub dial: Arc<dyn Dial>,
    pub binding: Binding,
    pub shapes: Arc<Vec<Shape>>,
    pub progress: ProgressName,
}

impl PgSide {
    fn names(&self) -> Names {
        Names::new(&self.binding.sync, self.binding.side)
    }

    fn outbox(&self) -> OutboxName {
        OutboxName::new(&self.binding.sync, self.binding.side)
    }

    fn looks(&self) -> Looks {
        Looks {
            name: self.outbox(),
            shapes: Arc::clone(&self.shapes),
            progress: self.progress.clone(),
            is_compare: self.binding.level == Level::Compare,
        }
    }

    fn capture_tables(&self) -> Vec<CaptureTable> {
        let named = |column: &Column| (column.name.clone(), column.pg_type.clone());
        self.shapes
            .iter()
            .map(|shape| CaptureTable {
                pair: shape.pair,
                oid: shape.oid,
                schema: shape.schema.clone(),
                name: shape.name.clone(),
                key: shape.key.iter().map(|column| column.name.clone()).collect(),
                fields: shape.fields.iter().map(named).collect(),
                joins: shape.joins.len(),
                lens: shape.lens.clone(),
            })
            .collect()
    }

    async fn session(&self) -> Result<Connected, EndpointError> {
        let label = label(&self.binding, "capture");
        connect::client(&self.dial, &label, SessionLimits::SNAPSHOT).await
    }

    async fn view_of(&self, view: ViewOf) -> Result<PgSnapshot, EndpointError> {
        let label = label(&self.binding, "snapshot");
        let shapes = Arc::clone(&self.shapes);
        PgSnapshot::open(&self.dial, &label, shapes, &self.progress, view).await
    }

    async fn start_stream(&self) -> Result<PgSnapshot, EndpointError> {
        let label = label(&self.binding, "capture");
        let (names, tables) = (self.names(), self.capture_tables());
        let (exported, position) = slots::start_over(&*self.dial, &label, &names, &tables).await?;
        // The export ends with the slot's connection, which must live until it is imported.
        let name = exported.snapshot.clone();
        let view = self.view_of(ViewOf::Exported { name, position }).await;
        drop(exported);
        view
    }

    /// The view is newer than the slot: the position remembers what it shows.
    async fn start_peek(&self) -> Result<PgSnapshot, EndpointError> {
        let session = self.session().await?;
        let (names, tables) = (self.names(), self.capture_tables());
        let ddl = slots::ddl_of(&*self.dial).await?;
        let position = slots::start_over_by_sql(&mut &session, &names, &tables, ddl).await?;
        let mut view = self.view_of(ViewOf::Now).await?;
        let (until, snapshot) = (view.offset(), view.shown().await?);
        let odd = || EndpointError::bug("protocol-violation", "an odd snapshot");
        let shown = Shown::new(until, &snapshot).ok_or_else(odd)?;
        view.anchor(position.offset, shown.join(&position.cursor));
        Ok(view)
    }

    async fn start_triggers(&self) -> Result<PgSnapshot, EndpointError> {
        let session = self.session().await?;
        let name = self.outbox();
        let ddl = slots::ddl_of(&*self.dial).await?;
        triggers::prepare(&session, &name, &self.shapes, ddl).await?;
        let mut view = self.view_of(ViewOf::Now).await?;
        let snapshot = view.shown().await?;
        let position = triggers::anchor(&session, &name, &snapshot).await?;
        view.anchor(position.offset, position.cursor);
        Ok(view)
    }

    async fn start_looks(&self) -> Result<PgSnapshot, EndpointError> {
        let session = self.session().await?;
        let looks = self.looks();
        looks::prepare(&session, &looks.name).await?;
        let mut view = self.view_of(ViewOf::Now).await?;
        let (snapshot, exported) = (view.shown().await?, view.exported().await?);
        looks::fill(&session, &looks, &exported).await?;
        let position = looks::anchor(&session, &looks.name, &snapshot).await?;
        view.anchor(position.offset, position.cursor);
        Ok(view)
    }

    /// What another level left is not read any more and would only grow.
    async fn forget_other_levels(&self) -> Result<(), EndpointError> {
        let session = self.session().await?;
        let ddl = slots::ddl_of(&*self.dial).await?;
        match self.binding.level {
            Level::Stream | Level::Peek => {
                triggers::forget_side(&session, &self.outbox(), ddl).await?;
                looks::forget_side(&session, &self.outbox()).await
            }
            Level::Triggers => {
                slots::forget_side(&mut &session, &self.names(), ddl).await?;
                looks::forget_side(&session, &self.outbox()).await
            }
            // Its own tables are made anew.
            Level::Poll | Level::Compare => {
                slots::forget_side(&mut &session, &self.names(), ddl).await?;
                triggers::forget_side(&session, &self.outbox(), ddl).await
            }
        }
    }
}

#[async_trait]
impl OpenSide for PgSide {
    async fn check_start(&mut self) -> Result<Vec<Problem>, EndpointError> {
        let label = label(&self.binding, "control");
        let session = connect::client(&self.dial, &label, SessionLimits::CATALOG).await?;
        let slow = join_table::unindexed(&session, &self.shapes).await?;
        if !matches!(self.binding.level, Level::Stream | Level::Peek) {
            // The mapping has looked at whose the tables are.
            return Ok(slow);
        }
        let ddl = slots::ddl_of(&*self.dial).await?;
        let (publication, tables) = (self.names().publication, self.capture_tables());
        let obstacle = publication::obstacle(&session, &publication, &tables, ddl).await?;
        Ok(obstacle.into_iter().chain(slow).collect())
    }

    async fn check_position(
        &mut self,
        position: &Position,
    ) -> Result<Result<(), String>, EndpointError> {
        let (names, tables) = (self.names(), self.capture_tables());
        match self.binding.level {
            Level::Stream => {
                let label = label(&self.binding, "capture");
                let mut connection = Connection::open(&*self.dial, &label).await?;
                slots::check(&mut connection, &names, &tables, position).await
            }
            Level::Peek => {
                let session = self.session().await?;
                slots::check(&mut &session, &names, &tables, position).await
            }
            Level::Triggers => {
                let session = self.session().await?;
                triggers::check(&session, &self.outbox(), &self.shapes, position).await
            }
            Level::Poll | Level::Compare => {
                let session = self.session().await?;
                looks::check(&session, &self.looks(), position).await
            }
        }
    }

    async fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        self.forget_other_levels().await?;
        let view = match self.binding.level {
            Level::Stream => self.start_stream().await?,
            Level::Peek => self.start_peek().await?,
            Level::Triggers => self.start_triggers().await?,
            Level::Poll | Level::Compare => self.start_looks().await?,
        };
        Ok(Box::new(view))
    }

    async fn publish(&mut self, due: &[PairId]) -> Result<(), EndpointError> {
        if self.binding.level != Level::Stream {
            return Ok(());
        }
        let label = label(&self.binding, "capture");
        let (names, tables) = (self.names(), self.capture_tables());
        let is_due = |shape: &&Shape| due.contains(&shape.pair);
        let joins = self.shapes.iter().filter(is_due).flat_map(|s| &s.joins);
        let due: Vec<PairId> = joins
            .map(|join| join.pair)
            .chain(due.iter().copied())
            .collect();
        slots::publish_more(&*self.dial, &label, &names, &tables, &due).await
    }

    async fn snapshot_aside(&mut self) -> Result<Option<Box<dyn Snapshot>>, EndpointError> {
        if self.binding.level != Level::Stream {
            return Ok(None);
        }
        let label = label(&self.binding, "capture");
        let (exported, position) = slots::look(&*self.dial, &label, &self.names()).await?;
        let name = exported.snapshot.clone();
        let view = self.view_of(ViewOf::Exported { name, position }).await;
        drop(exported);
        Ok(Some(Box::new(view?)))
    }

    async fn view(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        Ok(Box::new(self.view_of(ViewOf::Now).await?))
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
        let (name, shapes) = (self.outbox(), Arc::clone(&self.shapes));
        let capture = match self.binding.level {
            Level::Stream => PgCapture::start(source, position).await?,
            Level::Peek => peek::start(source, position).await?,
            Level::Triggers => {
                triggers::start(self.session().await?, name, shapes, position).await?
            }
            Level::Poll | Level::Compare => {
                looks::start(self.session().await?, self.looks(), position).await?
            }
        };
        if self.shapes.iter().all(|shape| shape.joins.is_empty()) {
            return Ok(Box::new(capture));
        }
        let (session, shapes) = (self.session().await?, Arc::clone(&self.shapes));
        Ok(Box::new(Touches::of(capture, session, shapes)))
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>, EndpointError> {
        let log = match self.binding.level {
            Level::Stream | Level::Peek => ChangeLog::Wal,
            Level::Triggers => ChangeLog::Outbox(self.outbox()),
            Level::Poll | Level::Compare => ChangeLog::Looks(self.looks()),
        };
        Ok(Box::new(PgWriter::new(
            Arc::clone(&self.dial),
            label(&self.binding, "apply"),
            Arc::clone(&self.shapes),
            (self.progress.clone(), log),
            self.binding.fingerprinter.clone(),
        )))
    }
}
