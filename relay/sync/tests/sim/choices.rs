//! What a person may choose beside the plain rules: to be asked, marks instead of deletions, and filters. How
//! they are drawn, and what they leave as it is.

use tidegate_sync::model::{BySide, Key, Link, LinkId, PairId, Side};
use tidegate_sync::policy::{ConflictPolicy, DeleteConflict, DeletePolicy, Direction, PairPolicy};
use tidegate_sync::value::Value;

use crate::database::Record;
use crate::oracle::{Check, Facts, Violation};
use crate::rng::Rng;
use crate::values::{Kind, normal};
use crate::world::Scenario;

/// The field that holds a mark, or says whether the record is inside its side's filter.
const LOOKED_AT: usize = 3;

const MARK: &str = "archived";

/// Conflicts and deletions of edited records wait for a person, who does not come.
pub fn draw_questions(rng: &mut Rng, scenario: &mut Scenario) {
    for policy in &mut scenario.policies {
        if rng.percent(70) {
            policy.conflict = ConflictPolicy::Ask;
        }
        if rng.percent(70) {
            policy.conflict_delete = DeleteConflict::Ask;
        }
    }
}

/// The counterpart of a deleted record is marked.
pub fn draw_marks(rng: &mut Rng, scenario: &mut Scenario) {
    for pair in 0..scenario.policies.len() {
        look_at(scenario, pair, Kind::Word);
        let policy = &mut scenario.policies[pair];
        policy.deletes = DeletePolicy::Archive;
        let mut mark = || {
            rng.percent(80)
                .then(|| (LOOKED_AT, Value::Text(MARK.into())))
        };
        policy.archive = BySide::from_fn(|_| mark());
        if rng.percent(30) {
            policy.conflict_delete = DeleteConflict::Ask;
        }
    }
}

/// Records are inside their side's filter, or are not.
pub fn draw_filters(scenario: &mut Scenario) {
    for pair in 0..scenario.policies.len() {
        look_at(scenario, pair, Kind::Inside);
        scenario.policies[pair].scope = Some(LOOKED_AT);
    }
}

fn look_at(scenario: &mut Scenario, pair: usize, kind: Kind) {
    scenario.kinds[pair][LOOKED_AT] = kind;
    scenario.policies[pair].fields[LOOKED_AT].direction = Direction::Neither;
    for side in Side::BOTH {
        let quirks = &mut scenario.quirks[side][pair];
        quirks.flows_out[LOOKED_AT] = false;
        quirks.filtered = (kind == Kind::Inside).then_some(LOOKED_AT);
    }
}

/// True for a record that its side's filter leaves out.
pub fn is_outside(policy: &PairPolicy, record: &Record) -> bool {
    let mut scope = policy.scope.iter();
    scope.any(|&field| record.cells[field] != Value::Bool(true))
}

/// True for a link that waits for a person: its one record was edited before the other one was deleted.
pub fn asks_of(facts: &Facts<'_>, pair: PairId, link: &Link) -> bool {
    let was_asked = was_asked(facts, (pair, link.id), None);
    was_asked && (link.gone.left || link.gone.right)
}

/// True for a field that waits for a person: neither side has what the two have agreed on, if anything.
pub fn asks_of_field(
    facts: &Facts<'_>,
    (pair, field): (PairId, usize),
    link: &Link,
    cells: BySide<&Value>,
) -> bool {
    let has_changed = |side: Side| {
        let print = facts.sides[side].prints.value(cells[side]);
        print != link.baseline[side][field]
    };
    let was_asked = was_asked(facts, (pair, link.id), Some(field));
    let is_unmet = |side: Side| !link.baseline[side][field].is_known();
    let sides = Side::BOTH.into_iter();
    was_asked && (sides.clone().any(is_unmet) || sides.clone().all(has_changed))
}

fn was_asked(facts: &Facts<'_>, (pair, link): (PairId, LinkId), field: Option<usize>) -> bool {
    facts.store.asked.contains(&(pair, link, field))
}

/// I1: the counterpart of a deleted record has got its mark. A link that was agreed on and lacks a key is
/// one of which a person has deleted a record.
pub fn marked(facts: &Facts<'_>) -> Check {
    for ((pair, _), link) in &facts.store.links {
        let policy = &facts.scenario.policies[pair.0 as usize];
        let is_parted = |side: &Side| link.keys[*side].is_none() && !link.gone[*side];
        let Some(side) = Side::BOTH.into_iter().find(is_parted) else {
            continue;
        };
        let rest = side.other();
        let flows = policy.records_flow_to(rest) && policy.records_flow_to(side);
        let was_linked = link.baseline[side][policy.match_key[0]].is_known();
        let Some((field, mark)) = policy.archive[rest]
            .as_ref()
            .filter(|_| flows && was_linked)
        else {
            continue;
        };
        let record = |key: &Key| facts.sides[rest].table(*pair).rows.get(key);
        let Some(record) = link.keys[rest].as_ref().and_then(record) else {
            continue;
        };
        if !record.forms.contains(&(*field, normal(mark))) {
            let text = format!("{} {:?} of {pair:?} has no mark", rest.name(), link.keys);
            return Violation::check("I1", text);
        }
    }
    Ok(())
}
