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

#[cfg(test)]
mod tests {
    use tidegate_sync::decide::Scanned;
    use tidegate_sync::model::{BatchId, Link, LinkId, Place, Since};
    use tidegate_sync::policy::{Direction, FieldPair};
    use tidegate_sync::reference::KeyForm;

    use super::*;

    fn prints() -> Fingerprinter {
        Fingerprinter::new([7; 32])
    }

    fn number(number: i64) -> Fingerprint {
        prints().value(&Value::Int(number))
    }

    /// A match key, and a field that names records.
    fn policy() -> PairPolicy {
        let field = |name: &str| FieldPair {
            left: name.into(),
            right: name.into(),
            direction: Direction::Both,
        };
        PairPolicy {
            fields: vec![field("slug"), field("boss")],
            match_key: vec![0],
            existing: Default::default(),
            deletes: Default::default(),
            conflict: Default::default(),
            conflict_delete: Default::default(),
            drift: Default::default(),
            once: false,
            scope: None,
            archive: BySide::default(),
            references: vec![Reference {
                field: 1,
                to: PairId(0),
                keys: BySide::new(KeyForm::Int, KeyForm::Int),
                required: BySide::default(),
            }],
        }
    }

    /// Both records' reference, and what was agreed of it.
    fn found(seen: (i64, i64), agreed: Option<(i64, i64)>) -> Match {
        let scanned = |boss: i64| {
            Some(Scanned {
                key: Key::single("k"),
                fingerprints: vec![number(0), number(boss)],
            })
        };
        let link = agreed.map(|(left, right)| Link {
            id: LinkId(1),
            keys: BySide::from_fn(|_| Some(Key::single("k"))),
            since: BySide::from_fn(|_| Since::written(BatchId::NONE)),
            gone: BySide::default(),
            baseline: BySide::new(
                vec![number(0), number(left)],
                vec![number(0), number(right)],
            ),
            seen: BySide::from_fn(|_| Place::default()),
            written: BySide::from_fn(|_| BatchId::NONE),
        });
        Match {
            link,
            scanned: BySide::new(scanned(seen.0), scanned(seen.1)),
            problem: None,
        }
    }

    fn reads(found: &Match) -> (Fingerprint, Fingerprint) {
        let print = |side| print(found, side, &policy().references[0]).unwrap();
        (print(Side::Left), print(Side::Right))
    }

    #[test]
    fn what_names_the_same_is_equal_whatever_it_reads() {
        let mut found = found((7, 1012), Some((7, 1012)));
        told_apart(&mut found, &[1], &policy());
        let (left, right) = reads(&found);
        assert_eq!(left, right);
        let link = found.link.unwrap();
        assert_eq!(link.baseline.left[1], left);
        assert_eq!(link.baseline.right[1], left);
    }

    #[test]
    fn what_reads_the_same_and_names_others_differs() {
        let mut found = found((7, 7), None);
        told_apart(&mut found, &[], &policy());
        let (left, right) = reads(&found);
        assert_ne!(left, right);
        assert_eq!((left, right), (number(7), number(7).told_apart()));
    }

    #[test]
    fn what_has_not_changed_since_it_was_agreed_on_still_has_not() {
        let mut unchanged = found((8, 8), Some((7, 8)));
        told_apart(&mut unchanged, &[], &policy());
        let link = unchanged.link.as_ref().unwrap();
        assert_eq!(link.baseline.right[1], reads(&unchanged).1);
        assert_eq!(link.baseline.left[1], number(7));
        let mut changed = found((8, 8), Some((7, 9)));
        told_apart(&mut changed, &[], &policy());
        assert_eq!(changed.link.unwrap().baseline.right[1], number(9));
    }

    #[test]
    fn other_fields_and_lone_records_stay_as_they_are() {
        let mut lone = found((7, 7), None);
        lone.scanned.right = None;
        let before = lone.clone();
        told_apart(&mut lone, &[1], &policy());
        assert_eq!(lone, before);
        let mut met = found((7, 8), None);
        told_apart(&mut met, &[], &policy());
        let slug = |side: Side| met.scanned[side].as_ref().unwrap().fingerprints[0];
        assert_eq!(
            (slug(Side::Left), slug(Side::Right)),
            (number(0), number(0))
        );
        assert_eq!(reads(&met), (number(7), number(8)));
    }
}
