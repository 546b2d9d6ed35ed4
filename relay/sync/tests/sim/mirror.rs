//! I16: swapping the sides and mirroring the policy mirrors every plan and every decision.

use tidegate_sync::baseline::{Fingerprint, Fingerprinter};
use tidegate_sync::decide::{Decision, Match, Scanned, decide};
use tidegate_sync::model::{BatchId, BySide, Cell, Conflict, Key, Link, LinkId, PairId, Row, Side};
use tidegate_sync::plan::{Case, Decided, Partners, PlannedStep, Seen, Verdict, plan};
use tidegate_sync::policy::{ConflictPolicy, Existing, PairPolicy};
use tidegate_sync::value::Value;

use crate::rng::Rng;
use crate::scenario;
use crate::world::Troubles;

const CASES: u64 = 20_000;

pub fn swap<T>(both: BySide<T>) -> BySide<T> {
    BySide::new(both.right, both.left)
}

pub fn mirror_policy(policy: &PairPolicy) -> PairPolicy {
    let mut policy = policy.clone();
    for field in &mut policy.fields {
        std::mem::swap(&mut field.left, &mut field.right);
        field.direction = field.direction.mirrored();
    }
    policy.existing = match policy.existing {
        Existing::LeftToRight => Existing::RightToLeft,
        Existing::RightToLeft => Existing::LeftToRight,
        other => other,
    };
    policy.conflict = match policy.conflict {
        ConflictPolicy::Left => ConflictPolicy::Right,
        ConflictPolicy::Right => ConflictPolicy::Left,
        other => other,
    };
    policy.archive = swap(policy.archive);
    for reference in &mut policy.references {
        reference.keys = swap(reference.keys);
        reference.required = swap(reference.required);
    }
    policy
}

fn mirror_existing(existing: Option<Existing>) -> Option<Existing> {
    existing.map(|existing| match existing {
        Existing::LeftToRight => Existing::RightToLeft,
        Existing::RightToLeft => Existing::LeftToRight,
        other => other,
    })
}

fn mirror_link(link: Link) -> Link {
    Link {
        id: link.id,
        keys: swap(link.keys),
        since: swap(link.since),
        gone: swap(link.gone),
        baseline: swap(link.baseline),
        seen: swap(link.seen),
        written: swap(link.written),
    }
}

fn mirror_case(case: &Case) -> Case {
    let case = case.clone();
    Case {
        pair: case.pair,
        link: case.link.map(mirror_link),
        keys: swap(case.keys),
        seen: swap(case.seen),
        since: swap(case.since),
        is_renewed: case.is_renewed,
        existing: mirror_existing(case.existing),
        is_scanned: case.is_scanned,
        echoes: swap(case.echoes),
        masks: swap(case.masks),
    }
}

pub fn mirror_conflict(conflict: Conflict) -> Conflict {
    Conflict {
        pair: conflict.pair,
        keys: swap(conflict.keys),
        field: conflict.field,
        values: swap(conflict.values),
        times: swap(conflict.times),
        winner: conflict.winner.map(Side::other),
    }
}

fn mirror_verdict(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::NeedRead(side) => Verdict::NeedRead(side.other()),
        Verdict::NeedPartners | Verdict::Waits(_) => verdict,
        Verdict::Decided(decided) => {
            let mirror = |step: PlannedStep| PlannedStep {
                side: step.side.other(),
                ..step
            };
            Verdict::Decided(Box::new(Decided {
                steps: decided.steps.into_iter().map(mirror).collect(),
                link: mirror_link(decided.link),
                fate: decided.fate,
                link_changed: decided.link_changed,
                observed: swap(decided.observed),
                conflicts: decided.conflicts.into_iter().map(mirror_conflict).collect(),
                waits: decided.waits,
            }))
        }
    }
}

fn sorted(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Decided(mut decided) => {
            decided.steps.sort_by_key(|step| step.side);
            Verdict::Decided(decided)
        }
        // Where both sides must be read, either may be first.
        Verdict::NeedRead(_) => Verdict::NeedRead(Side::Left),
        Verdict::NeedPartners | Verdict::Waits(_) => verdict,
    }
}

fn value(rng: &mut Rng) -> Value {
    match rng.below(4) {
        0 => Value::Null,
        n => Value::Text(format!("v{n}")),
    }
}

fn row(rng: &mut Rng) -> Row {
    let mut cell = || match rng.below(8) {
        0 => Cell::Unchanged,
        _ => Cell::Value(value(rng)),
    };
    (0..5).map(|_| cell()).collect()
}

/// Times are even on the left and odd on the right: `newest` has no ties to break.
fn seen(rng: &mut Rng, side: Side) -> Seen {
    let time = 2 * rng.below(5) as i64 + i64::from(side == Side::Right);
    match rng.below(5) {
        0 => Seen::Unseen,
        1 => Seen::Gone { time: Some(time) },
        _ => Seen::Present {
            row: row(rng),
            time: Some(time),
        },
    }
}

fn baseline(rng: &mut Rng, prints: &Fingerprinter) -> Vec<Fingerprint> {
    let mut print = || match rng.below(6) {
        0 => Fingerprint::UNKNOWN,
        _ => prints.value(&value(rng)),
    };
    (0..5).map(|_| print()).collect()
}

fn link(rng: &mut Rng, prints: &Fingerprinter) -> Option<Link> {
    let mut keys = BySide::from_fn(|side| Some(Key::single(format!("{}1", side.name()))));
    match rng.below(6) {
        0 | 1 => return None,
        2 => keys.left = None,
        3 => keys.right = None,
        _ => {}
    }
    Some(Link {
        id: LinkId(1),
        keys,
        since: BySide::default(),
        gone: BySide::default(),
        baseline: BySide::from_fn(|_| baseline(rng, prints)),
        seen: BySide::default(),
        written: BySide::new(BatchId::NONE, BatchId::NONE),
    })
}

fn case(rng: &mut Rng, policy: &PairPolicy, prints: &Fingerprinter) -> Case {
    let link = link(rng, prints);
    let seen = BySide::from_fn(|side| seen(rng, side));
    let keys = BySide::from_fn(|side| match (&link, &seen[side]) {
        (Some(link), Seen::Unseen) => link.keys[side].clone(),
        (None, Seen::Unseen) => None,
        _ => Some(Key::single(format!("{}{}", side.name(), 1 + rng.below(2)))),
    });
    let existing = rng.percent(40).then_some(policy.existing);
    Case {
        pair: PairId(0),
        link,
        keys,
        since: BySide::default(),
        seen,
        is_renewed: rng.percent(10),
        existing,
        is_scanned: existing.is_some(),
        echoes: BySide::from_fn(|_| rng.percent(20)),
        masks: BySide::from_fn(|_| rng.percent(50)),
    }
}

/// Plans one drawn case both ways; `mirrored` makes the other side's policy.
fn mirrors(seed: u64, mirrored: fn(&PairPolicy) -> PairPolicy) -> bool {
    let mut rng = Rng::new(seed);
    let scenario = scenario::draw(&mut rng, Troubles::NONE);
    let (policy, prints) = (&scenario.policies[0], &scenario.prints);
    let case = case(&mut rng, policy, prints);
    let direct = plan(&case, policy, prints, &Partners::default());
    let other = plan(
        &mirror_case(&case),
        &mirrored(policy),
        prints,
        &Partners::default(),
    );
    sorted(mirror_verdict(other)) == sorted(direct)
}

#[test]
fn mirrored_case_gives_the_mirrored_plan() {
    for seed in 0..CASES {
        assert!(mirrors(seed, mirror_policy), "seed {seed}");
    }
}

#[test]
fn i16_sees_a_plan_that_prefers_a_side() {
    assert!((0..CASES).any(|seed| !mirrors(seed, PairPolicy::clone)));
}

fn scanned(rng: &mut Rng, prints: &Fingerprinter, key: &str) -> Option<Scanned> {
    let values = (0..5).map(|_| prints.value(&value(rng))).collect();
    rng.percent(70).then(|| Scanned {
        key: Key::single(key),
        fingerprints: values,
    })
}

fn mirror_decision(decision: Decision) -> Decision {
    match decision {
        Decision::Finding(side, code) => Decision::Finding(side.other(), code),
        Decision::Plan { fetch, writes } => Decision::Plan {
            fetch: swap(fetch),
            writes: swap(writes),
        },
        other => other,
    }
}

#[test]
fn mirrored_match_gives_the_mirrored_decision() {
    for seed in 0..CASES {
        let mut rng = Rng::new(seed);
        let scenario = scenario::draw(&mut rng, Troubles::NONE);
        let (policy, prints) = (&scenario.policies[0], &scenario.prints);
        if policy.conflict == ConflictPolicy::Newest {
            // Scans have no times: the left wins, and the preview says so.
            continue;
        }
        let found = Match {
            link: link(&mut rng, prints),
            scanned: BySide::from_fn(|side| scanned(&mut rng, prints, side.name())),
            problem: None,
        };
        let first_run = rng.percent(50);
        let other = Match {
            link: found.link.clone().map(mirror_link),
            scanned: swap(found.scanned.clone()),
            problem: None,
        };
        let direct = decide(&found, policy, prints, first_run);
        let mirrored = decide(&other, &mirror_policy(policy), prints, first_run);
        assert_eq!(mirror_decision(mirrored), direct, "seed {seed}");
    }
}
