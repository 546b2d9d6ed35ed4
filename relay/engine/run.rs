//! One run of a sync: from opening both sides to the first failure or the stop.
//!
//! A run holds a lease epoch. Any failure ends it; the supervisor starts the next one from what is
//! settled, which is the path that a crash takes too.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, Side};
use tidegate_sync::session::{Config, Session};
use tokio_util::sync::CancellationToken;

use super::capture::CaptureTask;
use super::drift::{Known, Named, told_once};
use super::driver::Driver;
use super::edited;
use super::layout::Layout;
use super::limits::{COPY_ROUND_RECORDS_MAX, ROUND_RECORDS_MAX};
use super::mapping::{Checks, Mapping, PairMapping};
use super::paused;
use super::supervisor::{Phase, Progress, Requests};
use super::syncfile::SyncFile;
use crate::endpoint::catalog::Catalog;
use crate::endpoint::level::Asked;
use crate::endpoint::{Class, Endpoint, EndpointError, OpenSide, Writer};
use crate::store::history::Keeping;
use crate::store::syncs::{SyncId, SyncRecord};
use crate::store::{Ledger, Store, StoreError};

/// Why a run ended before it was told to.
#[derive(Debug, Error)]
pub(super) enum RunError {
    #[error("{}: {source}", side.name())]
    Side {
        side: Side,
        #[source]
        source: EndpointError,
    },
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A person must confirm, or change the sync file.
    #[error("{0}")]
    Refused(String),
    /// Many records would be deleted: a person must approve that.
    #[error("{0}")]
    Unapproved(String),
    /// The sync file does not fit what the sides have.
    #[error("{}", .0.join("; "))]
    Mapping(Vec<String>),
    /// The change log has a hole: the next run reconciles.
    #[error("{0}")]
    Gap(String),
}

impl RunError {
    /// How long to wait at least before the next run; `None` to go on at once.
    pub(super) fn wait_min(&self) -> Option<Duration> {
        match self {
            RunError::Gap(_) => None,
            RunError::Side { source, .. } => match source.class {
                Class::Retry(after) => Some(after),
                Class::Operator | Class::Bug => Some(OPERATOR_WAIT),
            },
            RunError::Store(_) => Some(Duration::from_secs(1)),
            RunError::Mapping(_) => Some(OPERATOR_WAIT),
            RunError::Refused(_) | RunError::Unapproved(_) => Some(Duration::MAX),
        }
    }

    /// True when it does not pass by itself.
    pub(super) fn needs_person(&self) -> bool {
        match self {
            RunError::Side { source, .. } => matches!(source.class, Class::Operator | Class::Bug),
            RunError::Refused(_) | RunError::Unapproved(_) | RunError::Mapping(_) => true,
            RunError::Store(_) | RunError::Gap(_) => false,
        }
    }
}

/// A cause that a person removes is looked at again this often, so that the sync goes on by itself.
const OPERATOR_WAIT: Duration = Duration::from_secs(5);

/// What a run needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct RunParts {
    pub file: Arc<SyncFile>,
    /// `[a-z0-9_]`: names slots, publications and progress rows.
    pub slug: String,
    /// `None` for a preview of a sync that does not exist yet.
    pub sync: Option<SyncId>,
    pub store: Store,
    pub endpoints: BySide<Arc<dyn Endpoint>>,
    /// How each side's changes are to be read, where the file or the connection says.
    pub captures: BySide<Option<Asked>>,
    pub prints: Fingerprinter,
    pub progress: Arc<Progress>,
    pub requests: Arc<Requests>,
}

/// One opened side of a run.
pub(super) struct SideRun {
    pub open: Box<dyn OpenSide>,
    pub writer: Box<dyn Writer>,
    pub capture: Option<CaptureTask>,
}

/// Runs until stopped (`Ok`) or failed.
pub(super) async fn run(parts: RunParts, stop: CancellationToken) -> Result<(), RunError> {
    parts.progress.set_phase(Phase::Opening);
    let Some(sync) = parts.sync else {
        return Err(RunError::Refused("a preview can't be run".to_owned()));
    };
    let record = edited::record(&parts.store, sync).await?;
    let (file, mapping) = take_up(&parts, &record).await?;
    let (parts, mapping) = (RunParts { file, ..parts }, Arc::new(mapping));
    parts.progress.set_captures(mapping.capture_reports());
    let (tables, fields) = (
        paused::tables_told(&parts.file),
        paused::fields_told(&parts.file),
    );
    parts.progress.set_paused(tables, fields);
    for side in Side::BOTH {
        parts.progress.set_drift(side, mapping.drift(side));
    }
    let ledger = Ledger::begin(&parts.store, sync, 0, now_ms()).await?;
    let ledger = ledger.keeping(history_of(&parts.file, &mapping)).await?;
    tracing::debug!(sync = mapping.name, epoch = ledger.epoch(), "Run started.");
    edited::lay_out(&parts, &mapping, &ledger, &record).await?;
    let mut sides = open_sides(&parts, &mapping, ledger.epoch()).await?;
    let mut resume = ledger.resume().await?;
    if let Some(positions) = resume.positions.clone() {
        edited::publish(&mut sides, &resume).await?;
        if let Err((side, reason)) = edited::check_positions(&mut sides, &positions).await? {
            let sync = &mapping.name;
            tracing::warn!(
                sync,
                side = side.name(),
                reason,
                "Position lost: reconciling."
            );
            ledger.forget_positions().await?;
            resume.positions = None;
        }
    }
    let config = Config {
        policies: mapping
            .pairs
            .iter()
            .map(|pair| pair.policy.clone())
            .collect(),
        ranks: mapping.ranks.clone(),
        prints: parts.prints.clone(),
        epoch: ledger.epoch(),
        round_max: ROUND_RECORDS_MAX,
        copy_round_max: COPY_ROUND_RECORDS_MAX,
    };
    let first_run = resume.first_run.clone();
    let session = Session::new(config, resume);
    let run = Run {
        parts,
        mapping,
        ledger,
        first_run,
    };
    Driver::new(run, session, sides).drive(stop).await
}

/// How history is kept.
fn history_of(file: &SyncFile, mapping: &Mapping) -> Keeping {
    Keeping {
        no_values: !file.history.keeps_values(),
        tables: mapping.pairs.iter().map(PairMapping::names).collect(),
    }
}

/// A run with everything that was checked.
pub(super) struct Run {
    pub parts: RunParts,
    pub mapping: Arc<Mapping>,
    pub ledger: Ledger,
    /// By table pair: true until it was live once.
    pub first_run: Vec<bool>,
}

/// Checks the sync file against both sides as they are now.
pub(super) async fn check_mapping(parts: &RunParts) -> Result<Mapping, RunError> {
    let checks = checks(parts, known(parts).await?).await?;
    Mapping::check(&parts.file, &checks).map_err(RunError::Mapping)
}

/// The same for a run: pairs of tables and fields that were synced and can't be any more are left out
/// of the file.
async fn take_up(
    parts: &RunParts,
    record: &SyncRecord,
) -> Result<(Arc<SyncFile>, Mapping), RunError> {
    let layout = Layout::of_record(record);
    let file = SyncFile::clone(&parts.file).laid_out(&layout);
    let checks = checks(parts, Known::of(&layout)).await?;
    let checked = paused::check(&file, &layout, &checks);
    let (kept, mapping) = checked.map_err(RunError::Mapping)?;
    if kept != file {
        let tables = paused::tables_told(&kept).into_iter();
        for sentence in tables.chain(paused::fields_told(&kept)) {
            tracing::warn!(sync = kept.name, "{sentence}");
        }
    }
    Ok((Arc::new(kept), mapping))
}

/// The parts with the file as the sync's last run took it up.
pub(super) async fn as_laid_out(parts: &RunParts) -> Result<RunParts, RunError> {
    let mut file = SyncFile::clone(&parts.file);
    if let Some(sync) = parts.sync {
        let record = edited::record(&parts.store, sync).await?;
        file = file.laid_out(&Layout::of_record(&record));
    }
    Ok(RunParts {
        file: Arc::new(file),
        ..parts.clone()
    })
}

async fn checks(parts: &RunParts, known: Known) -> Result<Checks<'_>, RunError> {
    let (left, right) = tokio::try_join!(inspect(parts, Side::Left), inspect(parts, Side::Right))?;
    let mut catalogs = BySide::new(left, right);
    for side in Side::BOTH {
        known.add_former_names(side, &mut catalogs[side]);
    }
    Ok(Checks {
        slug: &parts.slug,
        catalogs,
        known,
        asked: &parts.captures,
    })
}

/// Looks whether the side's tables and columns are still those that were synced; its catalog alone is
/// read. Gives what it has other than the sync file says.
pub(super) async fn check_described(
    parts: &RunParts,
    mapping: &Mapping,
    side: Side,
) -> Result<Vec<String>, RunError> {
    let mut catalog = inspect(parts, side).await?;
    let known = known(parts).await?;
    known.add_former_names(side, &mut catalog);
    let (mut news, mut problems) = (Vec::new(), Vec::new());
    for pair in &mapping.pairs {
        let named = Named {
            table: &pair.tables[side],
            columns: &pair.columns[side],
            joins: &pair.joins[side],
        };
        match known.find(side, &catalog, named) {
            Ok(found) => news.extend(found.news),
            Err(refused) => problems.extend(refused),
        }
    }
    if !problems.is_empty() {
        return Err(RunError::Mapping(problems));
    }
    Ok(told_once(news))
}

async fn known(parts: &RunParts) -> Result<Known, RunError> {
    let Some(sync) = parts.sync else {
        return Ok(Known::default());
    };
    let record = edited::record(&parts.store, sync).await?;
    Ok(Known::of(&Layout::of_record(&record)))
}

async fn inspect(parts: &RunParts, side: Side) -> Result<Catalog, RunError> {
    let catalog = parts.endpoints[side].inspect().await;
    catalog.map_err(|source| RunError::Side { side, source })
}

pub(super) async fn open_sides(
    parts: &RunParts,
    mapping: &Mapping,
    epoch: u32,
) -> Result<BySide<SideRun>, RunError> {
    let (left, right) = tokio::try_join!(
        open_side(parts, mapping, Side::Left, epoch),
        open_side(parts, mapping, Side::Right, epoch),
    )?;
    Ok(BySide::new(left, right))
}

async fn open_side(
    parts: &RunParts,
    mapping: &Mapping,
    side: Side,
    epoch: u32,
) -> Result<SideRun, RunError> {
    let failed = |source| RunError::Side { side, source };
    let staging = parts
        .store
        .data_dir()
        .join("staging")
        .join(&parts.slug)
        .join(side.name());
    let binding = mapping.binding(side, epoch, &parts.prints, staging);
    let mut open = parts.endpoints[side].open(binding).await.map_err(failed)?;
    let writer = open.writer().await.map_err(failed)?;
    Ok(SideRun {
        open,
        writer,
        capture: None,
    })
}

/// Milliseconds since 1970 UTC, the store's unit of time.
pub(super) fn now_ms() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_millis() as i64)
}
