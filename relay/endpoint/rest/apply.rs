//! Writes batches to an app: judged, sent, and read back from the answers.
//!
//! Each step is a call, or part of one, with the app's precondition. A batch is not a transaction: a
//! failure leaves it half done and ends the run, and the next one waits until nothing of it can be
//! carried out any more. What became of it nobody can tell then; the session plans it again.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tidegate_sync::model::{BatchId, FindingCode, Key, Outcome, PairId, Recovered, Row, Step};

use super::altered::kept;
use super::as_written::as_written;
use super::clock::Micros;
use super::emptied::check_emptied;
use super::guard::{Act, Planned, Verdict, exact, judge, waves};
use super::manifest::Meaning;
use super::path;
use super::publish::publish;
use super::reading::by_ids;
use super::shape::{Record, Shape};
use super::side::Bound;
use super::snapshot::id;
use super::write::{Said, send};
use crate::endpoint::{EndpointError, Writer};

pub(super) struct RestWriter {
    bound: Arc<Bound>,
}

/// What a batch did to the app's history.
#[derive(Default)]
struct Stamps {
    first: Option<Micros>,
    last: Option<Micros>,
    /// Some write's stamp is not known.
    unknown: bool,
}

impl Stamps {
    fn note(&mut self, stamp: Micros) {
        if stamp == 0 {
            self.unknown = true;
            return;
        }
        self.first = Some(self.first.map_or(stamp, |first| first.min(stamp)));
        self.last = self.last.max(Some(stamp));
    }
}

impl RestWriter {
    pub(super) fn new(bound: Arc<Bound>) -> RestWriter {
        RestWriter { bound }
    }

    async fn write(
        &self,
        steps: &[Step],
        stamps: &mut Stamps,
    ) -> Result<Vec<Outcome>, EndpointError> {
        let mut outcomes: Vec<Option<Outcome>> = steps.iter().map(|_| None).collect();
        for wave in waves(steps) {
            let mut writes = Vec::new();
            for (index, verdict) in judge(&self.bound, steps, &wave).await? {
                match verdict {
                    Verdict::Write(planned) => writes.push(planned),
                    Verdict::Settled(outcome) => outcomes[index] = Some(outcome),
                }
            }
            if writes.is_empty() {
                continue;
            }
            let said = send(&self.bound, writes).await?;
            for (index, outcome) in self.outcomes(said, stamps).await? {
                outcomes[index] = Some(outcome);
            }
        }
        let lost = || EndpointError::bug("step-lost", "a step of a batch has no outcome");
        outcomes
            .into_iter()
            .map(|outcome| outcome.ok_or_else(lost))
            .collect()
    }

    /// What the answers mean. What they leave open is read.
    async fn outcomes(
        &self,
        said: Vec<Said>,
        stamps: &mut Stamps,
    ) -> Result<Vec<(usize, Outcome)>, EndpointError> {
        let mut outcomes = Vec::with_capacity(said.len());
        let mut open: HashMap<PairId, Vec<Said>> = HashMap::new();
        for said in said {
            match self.outcome(&said, stamps)? {
                Some(outcome) => outcomes.push((said.write.step, outcome)),
                None => open.entry(said.write.pair).or_default().push(said),
            }
        }
        for (pair, said) in open {
            let shape = self.bound.shape(pair)?;
            let ids: Vec<&str> = said
                .iter()
                .filter_map(|said| said.write.id.as_deref())
                .collect();
            let mut found = by_ids(&self.bound.client, shape, &ids).await?;
            let fence = self.bound.fence();
            for said in said {
                let record = said.write.id.as_ref().and_then(|id| found.remove(id));
                let step = said.write.step;
                let outcome = self.after_reading(shape, said, record, fence, stamps)?;
                outcomes.push((step, outcome));
            }
        }
        Ok(outcomes)
    }

    /// `None` where the record must be read.
    fn outcome(&self, said: &Said, stamps: &mut Stamps) -> Result<Option<Outcome>, EndpointError> {
        let client = &self.bound.client;
        let shape = self.bound.shape(said.write.pair)?;
        if said.is_success() {
            let stored = said
                .record
                .as_ref()
                .and_then(|at| path::find(&said.body, at));
            let stored = stored
                .map(|json| shape.record(&client.manifest, json))
                .transpose()?;
            let before = said.write.before.clone();
            return Ok(match (said.write.act, stored) {
                (Act::Delete, stored) => {
                    if let Some(id) = &said.write.id {
                        self.bound.known.forget(said.write.pair, id);
                    }
                    stamps.note(stored.map_or(0, |record| record.stamp));
                    Some(Outcome::Deleted(before))
                }
                (_, Some(record)) => {
                    stamps.note(record.stamp);
                    self.note(&said.write, &record);
                    Some(Outcome::Written(kept(shape, &said.write, record), before))
                }
                (Act::Update, None) => None,
                (Act::Create, None) if said.write.id.is_some() => None,
                (Act::Create, None) => {
                    let text = format!("{} does not tell a new record's id", client.manifest.title);
                    return Err(EndpointError::bug("no-record-id", text));
                }
            });
        }
        let meaning = client.meaning(said.status, &said.body);
        Ok(match (meaning, said.write.act) {
            (Meaning::Missing, Act::Update | Act::Delete) => Some(Outcome::Missing {
                fence: self.bound.fence(),
            }),
            (Meaning::Stale | Meaning::Exists, _) if said.write.id.is_some() => None,
            _ => Some(self.rejected(said, meaning)),
        })
    }

    /// What a record that was read says of a write.
    fn after_reading(
        &self,
        shape: &Shape,
        said: Said,
        record: Option<Record>,
        fence: u64,
        stamps: &mut Stamps,
    ) -> Result<Outcome, EndpointError> {
        let Said { write, .. } = &said;
        Ok(match (record, write.act) {
            (Some(record), _) if said.is_success() => {
                let manifest = &self.bound.client.manifest;
                let record = as_written(manifest, shape, &said, record)?;
                stamps.note(record.stamp);
                self.note(write, &record);
                Outcome::Written(kept(shape, write, record), write.before.clone())
            }
            (None, Act::Create) if said.is_success() => self.rejected(&said, Meaning::Refused),
            (Some(_), Act::Create) => self.rejected(&said, Meaning::Unique),
            (None, Act::Create) => self.rejected(&said, Meaning::Refused),
            (Some(record), _) => Outcome::Stale {
                fence: exact(&self.bound, &record, fence),
                row: record.row,
            },
            (None, _) => Outcome::Missing { fence },
        })
    }

    /// It is there now: were it deleted before anybody looked, that must be found out.
    fn note(&self, write: &Planned, record: &Record) {
        if let Ok(shape) = self.bound.shape(write.pair) {
            let named = std::iter::once(shape.named(record));
            self.bound.known.note(write.pair, named);
            let unpublished = &self.bound.client.unpublished;
            unpublished.note(shape, write.act, record);
        }
    }

    fn rejected(&self, said: &Said, meaning: Meaning) -> Outcome {
        let code = match meaning {
            Meaning::Unique | Meaning::Exists => FindingCode::UniqueViolation,
            Meaning::Required => FindingCode::NotNullViolation,
            Meaning::Value => FindingCode::ValueOutOfRange,
            Meaning::Forbidden => FindingCode::PermissionDenied,
            _ => FindingCode::RejectedBySide,
        };
        let manifest = &self.bound.client.manifest;
        let reason = manifest
            .http
            .error_text
            .as_ref()
            .and_then(|at| path::text(&said.body, at));
        let field = manifest.http.error_field.as_ref();
        let field = field.and_then(|at| path::text(&said.body, at));
        let reason = match (reason, field) {
            (Some(reason), Some(field)) => Some(format!("{reason} ({field})")),
            (reason, field) => reason.or(field),
        };
        let reason: Option<String> =
            reason.map(|text| text.chars().take(limits::REASON_CHARS).collect());
        let title = &manifest.title;
        let is_hidden = said.is_refusal && (200..300).contains(&said.status);
        let detail = match reason {
            None if is_hidden => format!("{title} answers that it was written, and it was not"),
            Some(reason) => format!("{title} answers HTTP {}: {reason}", said.status),
            None => format!("{title} answers HTTP {}", said.status),
        };
        Outcome::Rejected { code, detail }
    }
}

#[async_trait]
impl Writer for RestWriter {
    async fn apply(
        &mut self,
        batch: BatchId,
        steps: &[Step],
        _recorded: bool,
    ) -> Result<Vec<Outcome>, EndpointError> {
        let bound = &self.bound;
        let start = bound.shown();
        bound.batches.begin(batch, start);
        let mut stamps = Stamps::default();
        // After a failure the run ends, and with it what is known of its batches.
        let outcomes = self.write(steps, &mut stamps).await?;
        publish(&bound.client).await?;
        let is_exact = bound.client.manifest.changes.table_stamp.is_some() && !stamps.unknown;
        let (start, end) = match (is_exact, stamps.first, stamps.last) {
            (true, Some(first), Some(last)) => (first - 1, last),
            // Nothing was written.
            (true, ..) => (start, start),
            (false, ..) => (start, bound.fence()),
        };
        bound.batches.end(batch, start, end);
        Ok(outcomes)
    }

    async fn recover(
        &mut self,
        _batch: BatchId,
        steps: usize,
    ) -> Result<Option<Vec<Recovered>>, EndpointError> {
        self.bound.client.calls_are_over(self.bound.started).await;
        Ok(Some(vec![Recovered::Unknown; steps]))
    }

    async fn read(
        &mut self,
        pair: PairId,
        keys: &[Key],
    ) -> Result<(Vec<Option<Row>>, u64), EndpointError> {
        let shape = self.bound.shape(pair)?;
        let ids: Vec<&str> = keys.iter().filter_map(id).collect();
        let mut found = by_ids(&self.bound.client, shape, &ids).await?;
        let high = self.bound.fence();
        let mut fence = 0;
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let record = id(key).and_then(|id| found.remove(id));
            fence = fence.max(
                record
                    .as_ref()
                    .map_or(high, |r| exact(&self.bound, r, high)),
            );
            rows.push(record.map(|record| record.row));
        }
        Ok((rows, fence))
    }

    async fn check_emptied(&mut self, steps: &[Step]) -> Result<(), EndpointError> {
        check_emptied(&self.bound, steps).await
    }
}

mod limits {
    /// Of what an app says of a refusal: it is text of somebody else's.
    pub(super) const REASON_CHARS: usize = 200;
}
