//! Whom linked fields name, while scanned records are compared and counted: two are equal if they
//! name partners, whatever they read.
//!
//! The fingerprints of a scan are of each side's own keys. So the left side's values are read again,
//! and what they say in the right side's keys is compared. Whose partner a record is, the matches of
//! the scan tell, or else the links. A verify, a preview and the count of a start ask.

use std::collections::{BTreeSet, HashMap};

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::decide::Match;
use tidegate_sync::model::{BySide, Cell, Key, PairId, Row, Side};
use tidegate_sync::plan::Partners;
use tidegate_sync::policy::{PairPolicy, Reference};
use tidegate_sync::reference::keys;
use tidegate_sync::value::Value;

use super::run::RunError;
use crate::endpoint::{Place, Snapshot, Wanted};
use crate::store::scans::{Page, Scan};

/// What linked fields are compared with.
pub(super) struct Linked<'a> {
    pub scan: &'a Scan,
    pub left: &'a dyn Snapshot,
    pub prints: &'a Fingerprinter,
}

impl Linked<'_> {
    /// Tells apart what the linked fields of the page's matches name.
    pub(super) async fn tell_apart(
        &self,
        (pair, policy): (PairId, &PairPolicy),
        page: &mut Page,
    ) -> Result<(), RunError> {
        let same = self.same((pair, policy), page).await?;
        for (found, same) in page.found.iter_mut().zip(&same) {
            told_apart(found, same, policy);
        }
        Ok(())
    }

    /// For each match of the page, the linked fields that name the same record on both sides, or none.
    pub(super) async fn same(
        &self,
        (pair, policy): (PairId, &PairPolicy),
        page: &Page,
    ) -> Result<Vec<Vec<usize>>, RunError> {
        let mut same = vec![Vec::new(); page.found.len()];
        if policy.references.is_empty() {
            return Ok(same);
        }
        let rows = self.rows((pair, policy), page).await?;
        let partners = self.partners(policy, &rows).await?;
        let null = self.prints.value(&Value::Null);
        for (at, found) in page.found.iter().enumerate() {
            for reference in &policy.references {
                let there = match (print(found, Side::Left, reference), rows.get(&at)) {
                    (Some(print), _) if print == null => Some(null),
                    (Some(_), Some(row)) => value(row, reference)
                        .and_then(|value| partners.said_there(Side::Left, reference, value))
                        .map(|there| self.prints.value(&there)),
                    _ => None,
                };
                if there.is_some() && there == print(found, Side::Right, reference) {
                    same[at].push(reference.field);
                }
            }
        }
        Ok(same)
    }

    /// The left side's records of the matches where both sides name somebody.
    async fn rows(
        &self,
        (pair, policy): (PairId, &PairPolicy),
        page: &Page,
    ) -> Result<HashMap<usize, Row>, RunError> {
        let null = self.prints.value(&Value::Null);
        let mut wanted = Vec::new();
        for (at, (found, places)) in page.found.iter().zip(&page.places).enumerate() {
            let is_named = |reference: &Reference| {
                let names = |side| print(found, side, reference).is_some_and(|print| print != null);
                Side::BOTH.into_iter().all(names)
            };
            if let Some(left) = &found.scanned.left
                && policy.references.iter().any(is_named)
            {
                let (key, place) = (left.key.clone(), places.left.map(Place));
                wanted.push((at, Wanted { key, place }));
            }
        }
        let (ats, wanted): (Vec<usize>, Vec<Wanted>) = wanted.into_iter().unzip();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.left.fetch(pair, &wanted).await;
        let rows = rows.map_err(|source| RunError::Side {
            side: Side::Left,
            source,
        })?;
        let rows = ats.into_iter().zip(rows);
        Ok(rows.filter_map(|(at, row)| Some((at, row?))).collect())
    }

    async fn partners(
        &self,
        policy: &PairPolicy,
        rows: &HashMap<usize, Row>,
    ) -> Result<Partners, RunError> {
        let mut named: BTreeSet<(PairId, Key)> = BTreeSet::new();
        for reference in &policy.references {
            let values = rows.values().filter_map(|row| value(row, reference));
            let all = values.flat_map(keys);
            named.extend(all.map(|key| (reference.to, key)));
        }
        let named: Vec<_> = named.into_iter().collect();
        let partners = self.scan.partners(named.clone()).await?;
        let named = named.into_iter().map(|(pair, key)| (Side::Left, pair, key));
        Ok(Partners {
            known: named.zip(partners).collect(),
            ..Partners::default()
        })
    }
}

fn print(found: &Match, side: Side, reference: &Reference) -> Option<Fingerprint> {
    let scanned = found.scanned[side].as_ref()?;
    scanned.fingerprints.get(reference.field).copied()
}

fn value<'a>(row: &'a Row, reference: &Reference) -> Option<&'a Value> {
    row.get(reference.field).and_then(Cell::value)
}

/// Gives two records fingerprints that are equal where their links name the same record, and differ
/// where they don't.
pub(super) fn told_apart(found: &mut Match, same: &[usize], policy: &PairPolicy) {
    let BySide {
        left: Some(left),
        right: Some(right),
    } = &mut found.scanned
    else {
        return;
    };
    for field in policy.references.iter().map(|reference| reference.field) {
        let own = BySide::new(left.fingerprints[field], right.fingerprints[field]);
        let is_same = same.contains(&field);
        let print = match is_same {
            true => own.left,
            false if own.left == own.right => own.right.told_apart(),
            false => continue,
        };
        right.fingerprints[field] = print;
        if let Some(link) = &mut found.link {
            if is_same {
                link.baseline.left[field] = print;
            }
            // What did not change has not changed.
            if is_same || link.baseline.right[field] == own.right {
                link.baseline.right[field] = print;
            }
        }
    }
}
