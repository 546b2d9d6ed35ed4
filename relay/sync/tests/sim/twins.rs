//! Worlds that are run twice: with a clock that is wrong (I15), and with the sides changed (I16).

use tidegate_sync::model::{BySide, Conflict, Side};
use tidegate_sync::policy::ConflictPolicy;

use crate::mirror::{mirror_conflict, mirror_policy, swap};
use crate::oracle::Violation;
use crate::rng::Rng;
use crate::scenario;
use crate::world::{Plant, Scenario, Troubles, World};

/// A day, in microseconds.
const DAY: i64 = 86_400_000_000;

/// Worlds tried for each claim.
const WORLDS: u64 = 400;

fn scenario_of(seed: u64, troubles: Troubles, newest: bool) -> (Scenario, Rng) {
    let mut rng = Rng::new(seed);
    let mut scenario = scenario::draw(&mut rng, troubles);
    for policy in &mut scenario.policies {
        if policy.conflict == ConflictPolicy::Newest && !newest {
            policy.conflict = ConflictPolicy::Left;
        }
    }
    (scenario, rng)
}

/// What happens, line by line, where `side`'s clock is off by `shift`.
fn log_of(seed: u64, newest: bool, side: Side, shift: i64) -> Vec<String> {
    let (scenario, rng) = scenario_of(seed, Troubles::ALL, newest);
    let mut world = World::of(scenario, rng, Plant::None, true);
    world.sides[side].clock += shift;
    match world.run() {
        Ok(summary) => summary.log,
        Err(Violation { invariant, what }) => panic!("seed {seed} breaks {invariant}: {what}"),
    }
}

fn clock_matters(seed: u64, newest: bool, side: Side) -> bool {
    let right = log_of(seed, newest, side, 0);
    [DAY, -DAY]
        .into_iter()
        .any(|shift| log_of(seed, newest, side, shift) != right)
}

/// I15.
#[test]
fn a_clock_that_is_a_day_off_changes_nothing_but_who_is_newest() {
    for seed in 0..WORLDS {
        let side = Side::BOTH[(seed % 2) as usize];
        assert!(!clock_matters(seed, false, side), "seed {seed}");
    }
}

#[test]
fn i15_sees_a_decision_by_clocks() {
    assert!((0..WORLDS).any(|seed| clock_matters(seed, true, Side::Left)));
}

fn mirror_scenario(scenario: &Scenario, mirrors_policy: bool) -> Scenario {
    let mut scenario = scenario.clone();
    if mirrors_policy {
        scenario.policies = scenario.policies.iter().map(mirror_policy).collect();
    }
    scenario.quirks = swap(scenario.quirks);
    scenario.rows = swap(scenario.rows);
    scenario.is_mirrored = true;
    scenario
}

/// What a world comes to.
#[derive(Debug, PartialEq)]
struct End {
    tables: BySide<Vec<String>>,
    conflicts: Vec<String>,
    findings: Vec<String>,
}

/// Lives a world by stages: people on both sides, then rest. So it does not matter which side is
/// read first.
fn end_of(seed: u64, scenario: Scenario) -> Result<End, Violation> {
    let is_mirrored = scenario.is_mirrored;
    let mut world = World::of(scenario, Rng::new(seed), Plant::None, false);
    world.populate();
    for stage in 0..12 {
        world.rng = Rng::new(seed ^ (stage << 32));
        world.calm()?;
        // Chance that went into the stage before must not show in the next one.
        world.rng = Rng::new(seed ^ (stage << 40));
        for _ in 0..world.rng.below(4) {
            world.people();
        }
    }
    world.settle_down()?;
    world.check_end()?;
    let place = |side: Side| if is_mirrored { side.other() } else { side };
    let tables = BySide::from_fn(|side| {
        let tables = world.sides[place(side)].tables.iter();
        let rows = tables.map(|table| {
            let rows = table.rows.iter();
            let rows: Vec<String> = rows
                .map(|(key, r)| format!("{key} {:?}", r.cells))
                .collect();
            rows.join("; ")
        });
        rows.collect()
    });
    let conflicts = world.store.conflicts.iter();
    let mut conflicts: Vec<String> = conflicts
        .map(|conflict| brief(conflict.clone(), is_mirrored))
        .collect();
    conflicts.sort();
    let findings = world.store.findings.iter();
    let mut findings: Vec<String> = findings
        .map(|((pair, side, key), f)| format!("{pair:?} {:?} {key} {:?}", place(*side), f.code))
        .collect();
    findings.sort();
    Ok(End {
        tables,
        conflicts,
        findings,
    })
}

/// Without times: a side's clock goes on with every batch, and how many there are may depend on which side
/// is read first.
fn brief(conflict: Conflict, is_mirrored: bool) -> String {
    let mut conflict = match is_mirrored {
        true => mirror_conflict(conflict),
        false => conflict,
    };
    conflict.times = BySide::default();
    format!("{conflict:?}")
}

/// How a world and its mirror image differ.
fn difference(seed: u64, mirrors_policy: bool) -> Option<String> {
    let troubles = Troubles {
        quirks: true,
        ..Troubles::NONE
    };
    let (mut scenario, _) = scenario_of(seed, troubles, false);
    // What comes in parts comes at moments that chance decides.
    scenario.parts = 0;
    let mirrored = mirror_scenario(&scenario, mirrors_policy);
    let ends = [end_of(seed, scenario), end_of(seed, mirrored)];
    match ends {
        [Ok(one), Ok(other)] if one == other => None,
        [one, other] => Some(format!("{one:#?}\n{other:#?}")),
    }
}

/// I16, whole runs.
#[test]
fn a_world_with_its_sides_changed_comes_to_the_mirrored_end() {
    for seed in 0..WORLDS {
        if let Some(difference) = difference(seed, true) {
            panic!("seed {seed}: {difference}");
        }
    }
}

#[test]
fn i16_sees_a_side_that_is_preferred() {
    assert!((0..WORLDS).any(|seed| difference(seed, false).is_some()));
}
