//! One opened side of one run: hands out its parts, which share what is known of the app.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BatchId, PairId, Position};

use super::apply::RestWriter;
use super::batches::Batches;
use super::capture::RestCapture;
use super::client::Client;
use super::clock::{Micros, last_complete};
use super::discover::who;
use super::log;
use super::publish::publish;
use super::shape::Shape;
use super::snapshot::RestSnapshot;
use super::sweep::Known;
use crate::endpoint::catalog::Problem;
use crate::endpoint::{Capture, EndpointError, OpenSide, Snapshot, Writer};

/// What all parts of an opened side share.
pub(super) struct Bound {
    pub client: Arc<Client>,
    pub shapes: Vec<Shape>,
    pub prints: Fingerprinter,
    pub batches: Batches,
    /// Calls of former runs may have been sent until then.
    pub started: Option<Instant>,
    pub epoch: u32,
    pub known: Known,
}

impl Bound {
    pub(super) fn shape(&self, pair: PairId) -> Result<&Shape, EndpointError> {
        let mut shapes = self.shapes.iter();
        shapes
            .find(|shape| shape.pair == pair)
            .ok_or_else(|| EndpointError::bug("unknown-pair", "table pair is not bound"))
    }

    /// What the app's stamps are rounded down to.
    pub(super) fn unit(&self) -> Micros {
        self.client.manifest.record.rounded_ms.max(1) * 1_000
    }

    /// Up to here lists show everything for certain, if they are asked for from now on.
    pub(super) fn shown(&self) -> Micros {
        let lag = self.client.manifest.changes.lag_ms * 1_000;
        last_complete(self.client.clock.low().saturating_sub(lag), self.unit())
    }

    /// A position at or after whatever a read that has just been answered could see.
    pub(super) fn fence(&self) -> Micros {
        let high = self.client.clock.high();
        high - high % self.unit()
    }
}

pub(super) struct RestSide {
    bound: Arc<Bound>,
}

impl RestSide {
    pub(super) fn new(bound: Arc<Bound>) -> RestSide {
        RestSide { bound }
    }

    /// Reads the app's clock, so that a position can be told.
    async fn position(&self, cursor: String) -> Result<Position, EndpointError> {
        who(&self.bound.client).await?;
        Ok(Position {
            offset: self.bound.shown(),
            passed: BatchId::of_run(self.bound.epoch, 0),
            cursor,
        })
    }

    fn look_from(&self, position: Position) -> Box<dyn Snapshot> {
        Box::new(RestSnapshot::new(Arc::clone(&self.bound), position))
    }
}

#[async_trait]
impl OpenSide for RestSide {
    async fn check_start(&mut self) -> Result<Vec<Problem>, EndpointError> {
        Ok(Vec::new())
    }

    async fn check_position(
        &mut self,
        position: &Position,
    ) -> Result<Result<(), String>, EndpointError> {
        who(&self.bound.client).await?;
        if position.offset > self.bound.client.clock.high() {
            return Ok(Err("the app's clock was set back".to_owned()));
        }
        let is_known = |shape: &Shape| self.bound.known.is_whole(shape.pair);
        let changes = &self.bound.client.manifest.changes;
        if !changes.tells_deletions && !self.bound.shapes.iter().all(is_known) {
            return Ok(Err("the app tells no deletions".to_owned()));
        }
        match &self.bound.client.manifest.log {
            Some(log) => log::check(&self.bound, log, &position.cursor, position.offset).await,
            None => Ok(Ok(())),
        }
    }

    async fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        let cursor = match &self.bound.client.manifest.log {
            Some(log) => {
                let spots = log::open(&self.bound, log).await?;
                // What was changed before the log began is shown by now.
                let lag = Duration::from_millis(self.bound.client.manifest.changes.lag_ms);
                tokio::time::sleep(lag).await;
                spots.text()
            }
            None => String::new(),
        };
        let position = self.position(cursor).await?;
        Ok(self.look_from(position))
    }

    async fn view(&mut self) -> Result<Box<dyn Snapshot>, EndpointError> {
        // Nobody goes on from it, so no log is asked for.
        let position = self.position(String::new()).await?;
        Ok(self.look_from(position))
    }

    async fn capture(&mut self, position: &Position) -> Result<Box<dyn Capture>, EndpointError> {
        who(&self.bound.client).await?;
        Ok(Box::new(RestCapture::new(
            Arc::clone(&self.bound),
            position,
        )))
    }

    async fn writer(&mut self) -> Result<Box<dyn Writer>, EndpointError> {
        // Of a run before this one that failed.
        publish(&self.bound.client).await?;
        Ok(Box::new(RestWriter::new(Arc::clone(&self.bound))))
    }
}
