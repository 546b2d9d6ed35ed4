//! Draws what a world is made of: mapping, policies, and how its sides behave.

use tidegate_sync::baseline::Fingerprinter;
use tidegate_sync::model::{BySide, PairId, Side};
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair, PairPolicy,
};

use crate::app::App;
use crate::choices;
use crate::database::{Quirks, REJECT_EVERY};
use crate::links;
use crate::rng::Rng;
use crate::values::Kind;
use crate::world::{Scenario, Troubles};

const FIELDS: usize = 5;

pub fn draw(rng: &mut Rng, troubles: Troubles) -> Scenario {
    let mut scenario = plain(rng, troubles);
    if troubles.shapes {
        shape(rng, &mut scenario);
    }
    if troubles.links {
        links::draw(rng, &mut scenario);
    }
    if troubles.apps {
        appify(rng, &mut scenario);
    }
    if troubles.questions {
        choices::draw_questions(rng, &mut scenario);
    }
    if troubles.marks {
        choices::draw_marks(rng, &mut scenario);
    }
    if troubles.filters {
        choices::draw_filters(&mut scenario);
    }
    if troubles.broken {
        let pair = rng.below(scenario.policies.len());
        let side = *rng.pick(&Side::BOTH);
        scenario.quirks[side][pair].refuses = true;
    }
    scenario
}

/// Apps number their records, send them whole, and have no triggers that act later.
fn appify(rng: &mut Rng, scenario: &mut Scenario) {
    let apps = match rng.below(4) {
        0 => BySide::new(true, false),
        1 => BySide::new(true, true),
        _ => BySide::new(false, true),
    };
    for side in Side::BOTH {
        if apps[side] {
            scenario.apps[side] = Some(App::new(rng));
            for quirks in &mut scenario.quirks[side] {
                quirks.generated = true;
                quirks.toast = false;
                quirks.after_trigger = false;
            }
        }
    }
}

/// Match keys of two fields, and a table that refers to another one.
fn shape(rng: &mut Rng, scenario: &mut Scenario) {
    for pair in 0..scenario.policies.len() {
        if rng.percent(60) {
            scenario.policies[pair].match_key = vec![0, 4];
            scenario.kinds[pair][4] = Kind::Word;
            for side in Side::BOTH {
                scenario.quirks[side][pair].match_key = vec![0, 4];
            }
        }
    }
    if scenario.policies.len() > 1 && scenario.policies[1].match_key.len() == 1 && rng.percent(70) {
        scenario.kinds[1][4] = Kind::Reference;
        for side in Side::BOTH {
            let refers = rng.percent(70).then_some((4, PairId(0)));
            scenario.quirks[side][1].refers = refers;
        }
    }
}

fn plain(rng: &mut Rng, troubles: Troubles) -> Scenario {
    let pairs = 1 + rng.below(2);
    let policies: Vec<PairPolicy> = (0..pairs).map(|_| policy(rng)).collect();
    let quirks = BySide::from_fn(|side| {
        policies
            .iter()
            .map(|policy| quirks(rng, side, policy, troubles))
            .collect()
    });
    Scenario {
        kinds: vec![
            vec![
                Kind::Text,
                Kind::Text,
                Kind::Text,
                Kind::Decimal,
                Kind::Text
            ];
            pairs
        ],
        policies,
        quirks,
        prints: Fingerprinter::new([7; 32]),
        round_max: *rng.pick(&[1, 3, 100]),
        copy_round_max: *rng.pick(&[1, 3, 100]),
        steps: 60 + rng.below(300),
        rows: BySide::new(rng.below(7), rng.below(7)),
        crash_rate: if troubles.crashes {
            *rng.pick(&[0, 10, 40])
        } else {
            0
        },
        loss_rate: if troubles.lost_positions {
            *rng.pick(&[0, 0, 5])
        } else {
            0
        },
        busy: *rng.pick(&[5, 15, 40]),
        replays: rng.percent(30),
        parts: *rng.pick(&[0, 0, 30, 70]),
        troubles,
        apps: BySide::default(),
        is_mirrored: false,
    }
}

fn policy(rng: &mut Rng) -> PairPolicy {
    let fields = (0..FIELDS)
        .map(|field| FieldPair {
            left: format!("l{field}"),
            right: format!("r{field}"),
            direction: direction(rng),
        })
        .collect();
    PairPolicy {
        fields,
        match_key: vec![0],
        existing: *rng.pick(&[
            Existing::Merge,
            Existing::Merge,
            Existing::LeftToRight,
            Existing::RightToLeft,
            Existing::LinkOnly,
        ]),
        deletes: *rng.pick(&[
            DeletePolicy::Propagate,
            DeletePolicy::Propagate,
            DeletePolicy::Ignore,
        ]),
        conflict: *rng.pick(&[
            ConflictPolicy::Newest,
            ConflictPolicy::Left,
            ConflictPolicy::Right,
        ]),
        conflict_delete: *rng.pick(&[DeleteConflict::Keep, DeleteConflict::Delete]),
        drift: *rng.pick(&[Drift::Overwrite, Drift::Ignore]),
        once: false,
        scope: None,
        archive: BySide::default(),
        references: Vec::new(),
    }
}

fn direction(rng: &mut Rng) -> Direction {
    match rng.below(10) {
        0 => Direction::LeftToRight,
        1 => Direction::RightToLeft,
        _ => Direction::Both,
    }
}

fn quirks(rng: &mut Rng, side: Side, policy: &PairPolicy, troubles: Troubles) -> Quirks {
    let mut some = |chance: u32| troubles.quirks && rng.percent(chance);
    let generated = some(60);
    let trigger = some(30);
    let before = some(50);
    Quirks {
        generated,
        trims: some(40),
        lowers: some(40),
        rounds: some(40),
        before_trigger: trigger && before,
        after_trigger: trigger && !before,
        unique: some(40),
        rejects: some(30).then(|| rng.below(REJECT_EVERY as usize) as u64),
        toast: troubles.quirks && rng.percent(50),
        flows_out: policy
            .fields
            .iter()
            .map(|field| field.direction.flows_to(side.other()))
            .collect(),
        match_key: policy.match_key.clone(),
        refers: None,
        links: Vec::new(),
        filtered: None,
        refuses: false,
    }
}

/// A policy in one line.
pub fn brief(policy: &PairPolicy) -> String {
    let arrows = policy.fields.iter().map(|field| match field.direction {
        Direction::Both => '=',
        Direction::Neither => '-',
        Direction::LeftToRight => '>',
        Direction::RightToLeft => '<',
    });
    let arrows: String = arrows.collect();
    format!(
        "{arrows} existing {:?}, deletes {:?}, conflict {:?}, conflict_delete {:?}, drift {:?}",
        policy.existing, policy.deletes, policy.conflict, policy.conflict_delete, policy.drift
    )
}
