//! Apps that are reached by HTTP: one endpoint for all of them, driven by a manifest.
//!
//! An app has no log, no transactions and no progress row. What a session asks of a side is made
//! here of what apps have; docs/sync-model.md, "Sides that are apps", says what that must be and why.
//!
//! * [`manifest`] is the data that describes an app, [`connectors`] those that come with the program;
//!   [`template`] and [`path`] are all of its language.
//! * [`client`] calls: [`account`] and [`address`](super::address) say where to and as whom, [`limiter`] when,
//!   [`clock`] what time it is there. [`pages`] reads lists, [`whole`] all of a table. [`cost`] tells
//!   before how many calls work takes.
//! * [`discover`] finds tables, [`fields`] and their types; [`shape`], [`cells`], [`choices`],
//!   [`texts`] and [`values`] turn records into rows and back.
//! * [`side`] is one opened side: [`snapshot`] scans, [`capture`] polls lists ([`modified`]) or the
//!   app's [`log`], [`sweep`] finds deletions that neither tells, [`merged`] what became one, [`apply`]
//!   writes what [`guard`] lets, by [`write`], and [`publish`]es it; [`as_written`] is what came of it
//!   where the answer does not tell all, [`altered`] what the app did not keep.
//!   [`batches`] is where in the app's history our batches are.

mod account;
mod altered;
mod apply;
mod as_written;
mod batches;
mod capture;
mod cells;
mod choices;
mod client;
mod clock;
pub mod connectors;
mod cost;
mod discover;
mod emptied;
mod fields;
mod guard;
mod limiter;
mod log;
pub mod manifest;
mod merged;
mod modified;
mod pages;
mod path;
mod publish;
mod reading;
mod searching;
mod shape;
mod side;
mod snapshot;
mod sweep;
mod template;
mod texts;
mod values;
mod whole;
mod write;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tidegate_sync::model::Side;
use tokio::sync::Mutex;

use self::batches::Batches;
use self::client::Client;
use self::discover::Found;
use self::manifest::Manifest;
use self::shape::Shape;
use self::side::{Bound, RestSide};
use self::sweep::Known;
use super::catalog::{Catalog, Fix};
use super::log_guard::{LogGuard, LogState};
use super::{Account, Binding, Cost, Endpoint, EndpointError, OpenSide, TableBinding, Work};

/// Microseconds from 1970 to 2000: the app's clock counts from the one, values from the other.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;

/// One connection to an app. Its bounds on calls hold for all syncs that use it, so there must be
/// one for each account.
pub struct RestEndpoint {
    client: Arc<Client>,
    /// What the last look found.
    found: Mutex<Option<Arc<Found>>>,
    /// When this process began: calls of one before may still be carried out.
    started: Instant,
}

impl RestEndpoint {
    /// Calls nobody yet.
    ///
    /// # Errors
    /// What is wrong with the account, and what to write instead.
    pub fn new(
        manifest: Arc<Manifest>,
        account: &Account,
        egress: Option<IpAddr>,
        started: Instant,
    ) -> Result<RestEndpoint, EndpointError> {
        Ok(RestEndpoint {
            client: Arc::new(Client::new(manifest, account, egress)?),
            found: Mutex::default(),
            started,
        })
    }

    async fn look(&self) -> Result<Arc<Found>, EndpointError> {
        let found = Arc::new(discover::discover(&self.client).await?);
        *self.found.lock().await = Some(Arc::clone(&found));
        Ok(found)
    }

    fn shape(&self, found: &Found, binding: &TableBinding) -> Result<Shape, EndpointError> {
        let name = &binding.table;
        let gone =
            |what: String| EndpointError::operator("no-table", format!("there is no {what}"));
        let table = found.tables.iter().find(|table| table.is_named(name));
        let table = table.ok_or_else(|| gone(format!("table `{name}` any more")))?;
        let column = |name: &String| {
            let field = table.fields.iter().find(|field| field.name == *name);
            field
                .cloned()
                .ok_or_else(|| gone(format!("field `{name}` any more")))
        };
        Ok(Shape {
            pair: binding.pair,
            place: table.place.clone(),
            label: name.clone(),
            columns: binding
                .columns
                .iter()
                .map(column)
                .collect::<Result<_, _>>()?,
            lens: binding.lens.clone(),
            match_key: binding.match_key.clone(),
            also: self.client.manifest.record.also.clone(),
        })
    }
}

#[async_trait]
impl Endpoint for RestEndpoint {
    async fn inspect(&self) -> Result<Catalog, EndpointError> {
        let found = self.look().await?;
        Ok(discover::catalog(&self.client, &found))
    }

    async fn open(&self, binding: Binding) -> Result<Box<dyn OpenSide>, EndpointError> {
        let known = self.found.lock().await.clone();
        let found = match known {
            Some(found) => found,
            None => self.look().await?,
        };
        let shapes = binding.tables.iter().map(|table| self.shape(&found, table));
        let bound = Bound {
            client: Arc::clone(&self.client),
            shapes: shapes.collect::<Result<_, _>>()?,
            prints: binding.fingerprinter,
            batches: Batches::of_run(binding.epoch),
            // Before a sync's first run there was none whose calls could linger.
            started: (binding.epoch > 1).then_some(self.started),
            epoch: binding.epoch,
            known: Known::default(),
        };
        Ok(Box::new(RestSide::new(Arc::new(bound))))
    }

    async fn forget(&self, _sync: &str) -> Result<(), EndpointError> {
        // Nothing of a sync is kept in an app.
        Ok(())
    }

    fn cost(&self, work: &[Work]) -> Option<Cost> {
        Some(cost::cost(&self.client.manifest, work))
    }

    fn guard(&self) -> Box<dyn LogGuard> {
        Box::new(KeepsNothing)
    }

    async fn fix_key(&self, _table: &str, _fix: &Fix) -> Result<(), EndpointError> {
        let text = "every record of an app has an id: there is nothing to fix";
        Err(EndpointError::operator("no-such-fix", text))
    }
}

/// An app keeps no log for a sync.
struct KeepsNothing;

#[async_trait]
impl LogGuard for KeepsNothing {
    async fn look(&mut self, _: &str, _: Side) -> Result<Option<LogState>, EndpointError> {
        Ok(None)
    }

    async fn beat(&mut self) -> Result<bool, EndpointError> {
        Ok(false)
    }

    async fn give_up(&mut self, _: &str, _: Side, _: u64) -> Result<bool, EndpointError> {
        Ok(false)
    }
}
