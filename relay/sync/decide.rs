//! What a reconcile does with each record, decided on fingerprints before any value is read.
//!
//! A reconcile is the one path for the first run, an interrupted copy, a lost position and a
//! repair: both sides are scanned at known positions, the scans are joined with the links and by
//! match key, and every [`Match`] is decided here. The preview counts the same decisions, which is
//! why its counts equal what start then does.

use serde::{Deserialize, Serialize};

use crate::baseline::{Fingerprint, Fingerprinter};
use crate::merge::{FieldState, FieldVerdict, merge};
use crate::model::{BySide, FindingCode, Key, Link, Side};
use crate::plan::{new_field, rule};
use crate::policy::{DeleteConflict, DeletePolicy, Direction, Drift, Existing, PairPolicy};
use crate::scope::Scope;
use crate::value::Value;

/// One scanned record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    pub key: Key,
    /// One per field pair.
    pub fingerprints: Vec<Fingerprint>,
}

/// One record as a reconcile finds it: linked before, matched by key, or alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub link: Option<Link>,
    /// `None`: the complete scan of that side does not have it.
    pub scanned: BySide<Option<Scanned>>,
    /// Why it cannot be matched, if so; then only one side is set.
    pub problem: Option<FindingCode>,
}

impl Match {
    /// The side on which a record came to take the empty place in a link.
    pub(crate) fn newcomer(&self) -> Option<Side> {
        let link = self.link.as_ref()?;
        let is_taken = |side: &Side| link.keys[*side].is_none() && self.scanned[*side].is_some();
        Side::BOTH.into_iter().find(is_taken)
    }
}

/// What is to be done about one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Linked and equal to the baseline, or nothing that flows.
    Nothing,
    /// Its side's filter leaves it out.
    Outside,
    /// Write nothing, remember the two as linked with these baselines.
    Link,
    /// Remember that the record stays alone.
    Detach,
    /// A person must look at it.
    Finding(Side, FindingCode),
    /// Both records of a link are gone.
    Unlink,
    /// Read these sides' values and plan it. `writes` tells which steps the plan will have.
    Plan {
        fetch: BySide<bool>,
        writes: BySide<Option<Write>>,
    },
}

/// The kind of a planned write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    Create,
    Update,
    Delete,
}

/// Decides one record. `first_run` is true until the pair was live once: then `existing` rules.
pub fn decide(
    found: &Match,
    policy: &PairPolicy,
    prints: &Fingerprinter,
    first_run: bool,
) -> Decision {
    if policy.once && !first_run {
        return Decision::Nothing;
    }
    let outside = Scope::of(policy, prints).and_then(|scope| outside(found, scope));
    outside.unwrap_or_else(|| decide_inside(found, policy, prints, first_run))
}

/// The decision on a record that its side's filter leaves out.
fn outside(found: &Match, scope: Scope) -> Option<Decision> {
    let is_outside = |side: Side| {
        let scanned = found.scanned[side].as_ref();
        scanned.is_some_and(|scanned| !scope.scanned_is_inside(&scanned.fingerprints))
    };
    let any_outside = is_outside(Side::Left) || is_outside(Side::Right);
    let was_outside = |side| {
        let link = found.link.as_ref();
        link.is_some_and(|link| scope.was_inside(link, side) == Some(false))
    };
    let rests = |fetch| {
        let writes = BySide::default();
        Some(Decision::Plan { fetch, writes })
    };
    match (&found.link, &found.scanned.left, &found.scanned.right) {
        _ if found.problem.is_some() => any_outside.then_some(Decision::Outside),
        // A newcomer, which rests with the one that was alone.
        (Some(link), Some(_), Some(_)) if link.is_detached() && any_outside => {
            rests(BySide::new(true, true))
        }
        (Some(link), _, _) if link.is_detached() => any_outside.then_some(Decision::Outside),
        (_, Some(_), Some(_)) if any_outside => match &found.link {
            Some(link) if found.newcomer().is_none() && is_looked_at(link, found, scope) => {
                Some(Decision::Outside)
            }
            None if is_outside(Side::Left) && is_outside(Side::Right) => Some(Decision::Outside),
            _ => rests(BySide::new(true, true)),
        },
        (Some(_), Some(_), None) if any_outside || was_outside(Side::Right) => {
            rests(BySide::new(true, false))
        }
        (Some(_), None, Some(_)) if any_outside || was_outside(Side::Left) => {
            rests(BySide::new(false, true))
        }
        (None, _, _) if any_outside => Some(Decision::Outside),
        _ => None,
    }
}

/// True when the link knows where its records are already.
fn is_looked_at(link: &Link, found: &Match, scope: Scope) -> bool {
    Side::BOTH.into_iter().all(|side| {
        let scanned = found.scanned[side].as_ref();
        scanned.is_some_and(|scanned| {
            let is_inside = scope.scanned_is_inside(&scanned.fingerprints);
            scope.was_inside(link, side) == Some(is_inside) && link.key(side) == Some(&scanned.key)
        })
    })
}

fn decide_inside(
    found: &Match,
    policy: &PairPolicy,
    prints: &Fingerprinter,
    first_run: bool,
) -> Decision {
    if let Some(code) = found.problem {
        let side = if found.scanned.left.is_some() {
            Side::Left
        } else {
            Side::Right
        };
        return Decision::Finding(side, code);
    }
    match (&found.link, &found.scanned.left, &found.scanned.right) {
        (Some(link), _, _) if link.is_detached() || found.newcomer().is_some() => {
            detached(link, found, (policy, prints), first_run)
        }
        (Some(link), Some(left), Some(right)) => {
            both(Some(link), BySide::new(left, right), (policy, prints), None)
        }
        (Some(link), None, Some(right)) => gone(Side::Left, link, right, policy),
        (Some(link), Some(left), None) => gone(Side::Right, link, left, policy),
        (Some(_), None, None) => Decision::Unlink,
        (None, Some(left), Some(right)) => {
            let existing = if first_run {
                policy.existing
            } else {
                Existing::Merge
            };
            both(
                None,
                BySide::new(left, right),
                (policy, prints),
                Some(existing),
            )
        }
        (None, Some(_), None) => alone(Side::Left, policy, first_run),
        (None, None, Some(_)) => alone(Side::Right, policy, first_run),
        (None, None, None) => Decision::Nothing,
    }
}

/// A link whose record is alone on purpose. Another one may have come to take the empty place.
fn detached(
    link: &Link,
    found: &Match,
    (policy, prints): (&PairPolicy, &Fingerprinter),
    first_run: bool,
) -> Decision {
    let side = if link.keys.left.is_some() {
        Side::Left
    } else {
        Side::Right
    };
    match (&found.scanned[side], &found.scanned[side.other()]) {
        (Some(_), None) => Decision::Nothing,
        (None, None) => Decision::Unlink,
        (None, Some(_)) => match alone(side.other(), policy, first_run) {
            Decision::Nothing => Decision::Unlink,
            decision => decision,
        },
        (Some(_), Some(_)) => {
            let met = Match {
                link: None,
                ..found.clone()
            };
            decide_inside(&met, policy, prints, first_run)
        }
    }
}

fn both(
    link: Option<&Link>,
    scanned: BySide<&Scanned>,
    (policy, prints): (&PairPolicy, &Fingerprinter),
    existing: Option<Existing>,
) -> Decision {
    if existing == Some(Existing::LinkOnly) {
        return Decision::Link;
    }
    let mut writes = BySide::default();
    // A record that was re-keyed must be remembered under its new key.
    let mut settles = link.is_none_or(|link| {
        let is_moved = |side: &Side| link.key(*side) != Some(&scanned[*side].key);
        Side::BOTH.iter().any(is_moved)
    });
    let (mut asks, mut looks) = (false, false);
    let null = prints.value(&Value::Null);
    for field in 0..policy.fields.len() {
        let now = BySide::from_fn(|side| scanned[side].fingerprints[field]);
        let state = FieldState {
            baseline: BySide::from_fn(|side| {
                link.map_or(Fingerprint::UNKNOWN, |link| link.baseline[side][field])
            }),
            observed: BySide::new(Some(now.left), Some(now.right)),
        };
        let state = match policy.reference(field) {
            Some(_) => state,
            None => state.unless_met(),
        };
        let first = existing.or_else(|| new_field(policy, &state.baseline));
        let verdict = match merge(&state, &rule(policy, field, first, BySide::default())) {
            // Both keep what they have.
            FieldVerdict::Conflict { .. } | FieldVerdict::Ask
                if first == Some(Existing::LinkOnly) =>
            {
                FieldVerdict::Settle
            }
            verdict => verdict,
        };
        settles |= verdict == FieldVerdict::Settle;
        settles |= policy.fields[field].direction == Direction::Neither && state.is_news();
        asks |= verdict == FieldVerdict::Ask;
        // Whether two references name the same record, only their partners tell.
        let is_named = policy.reference(field).is_some() && now != BySide::new(null, null);
        looks |= is_named && state.is_news();
        if let Some(to) = verdict.target() {
            writes[to] = Some(Write::Update);
        }
    }
    match (writes.left, writes.right, settles) {
        (None, None, false) if !asks && !looks => Decision::Nothing,
        (None, None, true) if !asks && !looks => Decision::Link,
        _ => Decision::Plan {
            fetch: BySide::new(true, true),
            writes,
        },
    }
}

/// The link's record is missing on `side`, in a complete scan.
fn gone(side: Side, link: &Link, other: &Scanned, policy: &PairPolicy) -> Decision {
    let rest = side.other();
    let edited = (0..policy.fields.len()).any(|field| {
        other.fingerprints[field] != link.baseline[rest][field]
            && policy.fields[field].direction.flows_to(side)
    });
    // What the plan decides with the values in hand, see `Planner::deleted_on`.
    let restores = if policy.records_flow_to(rest) {
        edited && policy.conflict_delete == DeleteConflict::Keep
    } else {
        policy.drift == Drift::Overwrite
    };
    let marks = policy.deletes == DeletePolicy::Archive && policy.archive[rest].is_some();
    let deletes = marks || policy.deletes == DeletePolicy::Propagate;
    let asks = edited && policy.conflict_delete == DeleteConflict::Ask;
    let mut writes = BySide::default();
    if policy.records_flow_to(rest) && (!deletes || asks) {
        // It is detached, or a person is asked.
    } else if restores {
        writes[side] = policy.records_flow_to(side).then_some(Write::Create);
    } else if policy.records_flow_to(rest) {
        writes[rest] = Some(if marks { Write::Update } else { Write::Delete });
    }
    let mut fetch = BySide::new(false, false);
    fetch[rest] = true;
    Decision::Plan { fetch, writes }
}

/// An unlinked record that only `side` has.
fn alone(side: Side, policy: &PairPolicy, first_run: bool) -> Decision {
    let to = side.other();
    let wanted = match (first_run, policy.existing) {
        (false, _) | (true, Existing::Merge) => true,
        (true, Existing::LeftToRight) => to == Side::Right,
        (true, Existing::RightToLeft) => to == Side::Left,
        (true, Existing::LinkOnly) => false,
    };
    if !wanted || !policy.records_flow_to(to) {
        return if first_run {
            Decision::Detach
        } else {
            Decision::Nothing
        };
    }
    let mut fetch = BySide::new(false, false);
    fetch[side] = true;
    let mut writes = BySide::default();
    writes[to] = Some(Write::Create);
    Decision::Plan { fetch, writes }
}

/// Counts of decisions: the preview's figures, and the expectation that start checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub records: BySide<u64>,
    pub creates: BySide<u64>,
    pub updates: BySide<u64>,
    pub deletes: BySide<u64>,
    /// Linked without a write.
    pub links: u64,
    /// Both records of a link are gone.
    pub unlinks: u64,
    /// Stays alone on its side.
    pub detached: u64,
    /// Equal already.
    pub unchanged: u64,
    /// Left out by a filter.
    #[serde(default)]
    pub outside: u64,
    pub findings: u64,
}

impl Tally {
    pub fn add(&mut self, found: &Match, decision: &Decision) {
        for side in Side::BOTH {
            self.records[side] += u64::from(found.scanned[side].is_some());
        }
        match decision {
            Decision::Nothing => self.unchanged += 1,
            Decision::Outside => self.outside += 1,
            Decision::Link => self.links += 1,
            Decision::Detach => self.detached += 1,
            Decision::Unlink => self.unlinks += 1,
            Decision::Finding(..) => self.findings += 1,
            Decision::Plan { writes, .. } => {
                for side in Side::BOTH {
                    match writes[side] {
                        Some(Write::Create) => self.creates[side] += 1,
                        Some(Write::Update) => self.updates[side] += 1,
                        Some(Write::Delete) => self.deletes[side] += 1,
                        None => {}
                    }
                }
            }
        }
    }

    /// True when a start would write nothing.
    pub fn is_quiet(&self) -> bool {
        let writes = [&self.creates, &self.updates, &self.deletes];
        writes
            .iter()
            .all(|count| count.left == 0 && count.right == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BatchId, LinkId};
    use crate::policy::{ConflictPolicy, Direction, FieldPair};

    fn policy(direction: Direction) -> PairPolicy {
        let field = |name: &str, direction| FieldPair {
            left: name.into(),
            right: name.into(),
            direction,
        };
        PairPolicy {
            fields: vec![field("slug", direction), field("title", Direction::Both)],
            match_key: vec![0],
            existing: Existing::Merge,
            deletes: DeletePolicy::Propagate,
            conflict: ConflictPolicy::Newest,
            conflict_delete: DeleteConflict::Keep,
            drift: Drift::Overwrite,
            once: false,
            scope: None,
            archive: BySide::default(),
            references: Vec::new(),
        }
    }

    fn prints() -> Fingerprinter {
        Fingerprinter::new([1; 32])
    }

    fn scanned(title: u64) -> Option<Scanned> {
        Some(Scanned {
            key: Key::single("k"),
            fingerprints: vec![Fingerprint(1), Fingerprint(title)],
        })
    }

    fn link(right: Option<Key>) -> Link {
        Link {
            id: LinkId(1),
            keys: BySide::new(Some(Key::single("k")), right),
            since: BySide::default(),
            gone: BySide::default(),
            baseline: BySide::from_fn(|_| vec![Fingerprint(1), Fingerprint(2)]),
            seen: BySide::default(),
            written: BySide::new(BatchId::NONE, BatchId::NONE),
        }
    }

    fn check(
        found: (Option<Link>, Option<Scanned>, Option<Scanned>),
        expected: BySide<Option<Write>>,
    ) {
        let (link, left, right) = found;
        let found = Match {
            link,
            scanned: BySide::new(left, right),
            problem: None,
        };
        match decide(&found, &policy(Direction::Both), &prints(), false) {
            Decision::Plan { writes, .. } => assert_eq!(writes, expected),
            other => assert_eq!(expected, BySide::default(), "{other:?}"),
        }
    }

    #[test]
    fn missing_counterpart_is_deleted_unless_the_record_was_edited() {
        let linked = || Some(link(Some(Key::single("k"))));
        let on_left = |write| BySide::new(Some(write), None);
        let on_right = |write| BySide::new(None, Some(write));
        check((linked(), None, scanned(2)), on_right(Write::Delete));
        check((linked(), None, scanned(9)), on_left(Write::Create));
        check((linked(), scanned(2), None), on_left(Write::Delete));
    }

    #[test]
    fn edited_record_is_not_made_where_its_match_key_does_not_flow() {
        let found = Match {
            link: Some(link(Some(Key::single("k")))),
            scanned: BySide::new(None, scanned(9)),
            problem: None,
        };
        let policy = policy(Direction::LeftToRight);
        let Decision::Plan { writes, .. } = decide(&found, &policy, &prints(), false) else {
            panic!("an edited record needs a plan");
        };
        assert_eq!(writes, BySide::default());
    }

    #[test]
    fn newcomer_takes_the_place_of_a_record_that_was_alone() {
        check(
            (Some(link(None)), None, scanned(2)),
            BySide::new(Some(Write::Create), None),
        );
        check((Some(link(None)), scanned(2), None), BySide::default());
        check(
            (Some(link(None)), scanned(2), scanned(2)),
            BySide::default(),
        );
    }
}
