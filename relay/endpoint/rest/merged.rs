//! Records that an app has merged into one: the survivor names the others, which are no more.
//!
//! Where the app gives the survivor an id of its own, it is told as the one that it continues, under
//! a new key: the one with the same match key. Else its counterpart would be deleted and made anew.

use tidegate_sync::model::PairId;

use super::shape::{Record, Shape};
use super::side::Bound;
use super::sweep::{Sweeper, missing_of};
use crate::endpoint::EndpointError;

/// What a look tells of merged records beside their survivors, whose `former` is set.
pub(super) async fn tell_merged(
    bound: &Bound,
    shape: &Shape,
    records: &mut [Record],
    sweeper: &mut Option<Sweeper>,
) -> Result<Vec<Record>, EndpointError> {
    let mut told = Vec::new();
    for record in records.iter_mut().filter(|of| !of.merged.is_empty()) {
        let pair = shape.pair;
        let ids: Vec<String> = record
            .merged
            .iter()
            .filter(|id| **id != record.id)
            .cloned()
            .collect();
        let known: Vec<String> = ids
            .iter()
            .filter(|id| bound.known.has(pair, id))
            .cloned()
            .collect();
        // A sweep may have missed some before, and has not told them yet.
        let pending = take(sweeper, pair, &ids);
        let missing = missing_of(bound, shape, known).await?;
        let mut gone: Vec<String> = missing.into_iter().map(|(_, record)| record.id).collect();
        for id in &gone {
            bound.known.forget(pair, id);
        }
        gone.extend(pending);
        if !bound.known.has(pair, &record.id) {
            record.former = continued(bound, shape, record, &gone);
        }
        let stamp = record.stamp;
        let others = gone.iter().filter(|id| record.former.as_ref() != Some(id));
        told.extend(others.map(|id| Record {
            stamp,
            ..Record::gone(id)
        }));
    }
    Ok(told)
}

fn take(sweeper: &mut Option<Sweeper>, pair: PairId, ids: &[String]) -> Vec<String> {
    let Some(sweeper) = sweeper else {
        return Vec::new();
    };
    let taken = ids.iter().filter(|id| sweeper.seen(pair, id));
    taken.cloned().collect()
}

/// Which of them had the match key that the survivor has.
fn continued(bound: &Bound, shape: &Shape, record: &Record, gone: &[String]) -> Option<String> {
    let name = shape.match_name(&record.row)?;
    let mut same = gone
        .iter()
        .filter(|id| bound.known.match_name(shape.pair, id) == Some(name));
    let first = same.next()?;
    same.next().is_none().then(|| first.clone())
}
