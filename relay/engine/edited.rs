//! Takes over a mapping that was edited, before a run begins: the stored links get its layout, the
//! change logs report its tables.
//!
//! A round of the former mapping must be settled first: its outcomes speak of fields by their former
//! places. That needs nothing of the mapping but the sides' progress rows.

use tidegate_sync::model::{BySide, PairId, Position, Side};
use tidegate_sync::session::{Command, Config, Event, Resume, Session};

use super::driver::recover;
use super::layout::Layout;
use super::limits::{COPY_ROUND_RECORDS_MAX, ROUND_RECORDS_MAX};
use super::mapping::Mapping;
use super::run::{RunError, RunParts, SideRun, now_ms, open_sides};
use crate::store::layouts::LayoutChange;
use crate::store::syncs::{self, SyncId, SyncRecord};
use crate::store::{Ledger, Store};

pub(super) async fn record(store: &Store, sync: SyncId) -> Result<SyncRecord, RunError> {
    Ok(store.view(move |conn| syncs::by_id(conn, sync)).await?)
}

/// Gives the stored links the layout of the run's mapping, if they have another one.
pub(super) async fn lay_out(
    parts: &RunParts,
    mapping: &Mapping,
    ledger: &Ledger,
    record: &SyncRecord,
) -> Result<(), RunError> {
    let (before, now) = (Layout::of_record(record), Layout::of(&parts.file, mapping));
    if before == now && record.layout.is_some() {
        return Ok(());
    }
    let remap = before.change_to(&now);
    settle_open_round(parts, mapping, ledger).await?;
    if record.layout.is_some() && !remap.is_empty(before.pairs.len()) {
        tracing::info!(sync = mapping.name, "The mapping was edited.");
    }
    let change = LayoutChange {
        remap,
        layout: now.text(),
        definition: record.definition.clone(),
    };
    Ok(ledger.lay_out(change, now_ms()).await?)
}

async fn settle_open_round(
    parts: &RunParts,
    mapping: &Mapping,
    ledger: &Ledger,
) -> Result<(), RunError> {
    let round = ledger.resume().await?.round;
    if round.is_none() {
        return Ok(());
    }
    let bare = Mapping {
        pairs: Vec::new(),
        ranks: Vec::new(),
        ..mapping.clone()
    };
    let mut sides = open_sides(parts, &bare, ledger.epoch()).await?;
    let config = Config {
        policies: Vec::new(),
        ranks: Vec::new(),
        prints: parts.prints.clone(),
        epoch: ledger.epoch(),
        round_max: ROUND_RECORDS_MAX,
        copy_round_max: COPY_ROUND_RECORDS_MAX,
    };
    let resume = Resume {
        round,
        ..Resume::default()
    };
    let mut session = Session::new(config, resume);
    while let Some(command) = session.poll_command() {
        let event = match command {
            Command::Recover { batches, steps } => Event::Recovered {
                outcomes: recover(&mut sides, batches, steps).await?,
            },
            Command::Settle(settlement) => Event::Settled {
                links: ledger.settle(*settlement, now_ms()).await?,
            },
            // What comes next is the business of the run.
            _ => break,
        };
        session.handle(event);
    }
    Ok(())
}

/// Lets the change logs report the pairs that are due, before the positions are checked.
pub(super) async fn publish(sides: &mut BySide<SideRun>, resume: &Resume) -> Result<(), RunError> {
    let due: Vec<PairId> = resume.pairs_due().collect();
    for side in Side::BOTH {
        let published = sides[side].open.publish(&due).await;
        published.map_err(|source| RunError::Side { side, source })?;
    }
    Ok(())
}

/// Can the streams go on from the settled positions? `Err` tells the side and why not.
pub(super) async fn check_positions(
    sides: &mut BySide<SideRun>,
    positions: &BySide<Position>,
) -> Result<Result<(), (Side, String)>, RunError> {
    for side in Side::BOTH {
        let checked = sides[side].open.check_position(&positions[side]).await;
        if let Err(reason) = checked.map_err(|source| RunError::Side { side, source })? {
            return Ok(Err((side, reason)));
        }
    }
    Ok(Ok(()))
}
