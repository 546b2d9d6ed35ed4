//! Oracles that look at one batch of ours as it lands.

use std::collections::{BTreeSet, HashSet};

use tidegate_sync::model::{BySide, Key, Outcome, PairId, Row, Side, Step, StepKind};
use tidegate_sync::policy::{DeleteConflict, DeletePolicy, Drift, PairPolicy};
use tidegate_sync::value::Value;

use crate::database::Database;
use crate::ledger::{Departed, Parted, Repeated};
use crate::oracle::{Check, Violation};
use crate::store::Store;
use crate::values::{is_derived, normal, token};
use crate::world::Scenario;

/// A batch that was written.
pub struct Landed<'a> {
    pub scenario: &'a Scenario,
    pub sides: &'a BySide<Database>,
    pub store: &'a Store,
    pub side: Side,
    pub steps: &'a [Step],
    pub outcomes: &'a [Outcome],
    /// What the updated and deleted records looked like before.
    pub before: &'a [Option<Row>],
    /// Records are looked for by their match keys before they are created.
    pub is_live: bool,
    /// A record that took another key while nobody followed counts as a new one; so does every record
    /// of a pair that is new in the mapping.
    pub is_followed: bool,
    /// Tokens of calls to an app whose answers were lost: what it carried out looks like an edit.
    pub unsure: &'a HashSet<u64>,
}

/// I8: what was overwritten or deleted is what the plan saw, every field of it.
pub fn guarded(landed: &Landed<'_>) -> Check {
    let prints = &landed.scenario.prints;
    for ((step, outcome), before) in landed.steps.iter().zip(landed.outcomes).zip(landed.before) {
        let (StepKind::Update { key, expect, .. } | StepKind::Delete { key, expect }) = &step.kind
        else {
            continue;
        };
        let is_done = matches!(outcome, Outcome::Written(..) | Outcome::Deleted(_));
        let seen = before.as_ref().map(|row| prints.row(row));
        if is_done && seen.as_ref() != Some(expect) {
            let text = format!("{} {key} was written unseen", landed.side.name());
            return Violation::check("I8", text);
        }
    }
    Ok(())
}

/// I3: a value is not written to a record again unless somebody else changed it there. One that took another
/// key while nobody followed is linked anew, maybe with another record, which may say the same.
pub fn not_repeated(landed: &Landed<'_>) -> Check {
    let repeated = landed.sides[landed.side].ledger.repeated.as_ref();
    let is_one_record = |repeated: &&Repeated| landed.is_followed || !repeated.has_moved;
    match repeated.filter(is_one_record) {
        Some(repeated) if !landed.unsure.contains(&repeated.token) => {
            let text = format!("{} again: {}", landed.side.name(), repeated.what);
            Violation::check("I3", text)
        }
        _ => Ok(()),
    }
}

/// I5: nothing is deleted where deletions stay at home or records do not flow to.
pub fn deletes_allowed(landed: &Landed<'_>) -> Check {
    for (step, outcome) in landed.steps.iter().zip(landed.outcomes) {
        let policy = &landed.scenario.policies[step.pair.0 as usize];
        let allowed =
            policy.deletes == DeletePolicy::Propagate && policy.records_flow_to(landed.side);
        if matches!(outcome, Outcome::Deleted(_)) && !allowed {
            let text = format!(
                "{} deletion in {:?} by policy",
                landed.side.name(),
                step.pair
            );
            return Violation::check("I5", text);
        }
    }
    Ok(())
}

/// I6: a live create makes no second record with a match key that its side had before the batch.
pub fn no_second_match(landed: &Landed<'_>) -> Check {
    if !landed.is_live {
        return Ok(());
    }
    for (step, outcome) in landed.steps.iter().zip(landed.outcomes) {
        let (StepKind::Create { set, .. }, Outcome::Written(stored, _)) = (&step.kind, outcome)
        else {
            continue;
        };
        let policy = &landed.scenario.policies[step.pair.0 as usize];
        let value = |field: usize| set.iter().find(|(f, _)| *f == field).map(|(_, v)| v);
        let wanted: Vec<&Value> = policy.match_key.iter().filter_map(|&f| value(f)).collect();
        let rows = &landed.sides[landed.side].table(step.pair).rows;
        let is_ours = |key: &Key| {
            let mut written = landed.outcomes.iter();
            written
                .any(|outcome| matches!(outcome, Outcome::Written(stored, _) if stored.key == *key))
        };
        let same = rows.iter().find(|(key, record)| {
            let mut fields = policy.match_key.iter().zip(&wanted);
            !is_ours(key) && fields.all(|(&f, v)| !v.is_null() && record.cells[f] == **v)
        });
        if let Some((key, _)) = same
            && wanted.len() == policy.match_key.len()
        {
            let text = format!(
                "{} {} has the match key of {key}",
                landed.side.name(),
                stored.key
            );
            return Violation::check("I6", text);
        }
    }
    Ok(())
}

/// I1: a deletion travels: the record is made anew only where the other side edited it and the
/// policy keeps edits, or where the side had no right to delete it. Returns how many edits came
/// before deletions.
pub fn deletions_travel(landed: &Landed<'_>) -> Result<Vec<PairId>, Violation> {
    let mut kept = Vec::new();
    for (step, outcome) in landed.steps.iter().zip(landed.outcomes) {
        let (StepKind::Create { set, .. }, Outcome::Written(..)) = (&step.kind, outcome) else {
            continue;
        };
        let departed = landed.sides[landed.side].ledger.departed.iter().rev();
        let mut departed = departed.filter(|departed| departed.pair == step.pair);
        let is_it =
            |departed: &&Departed| is_again(departed, set) && may_be_of(landed, departed, set);
        let Some(departed) = departed.find(is_it) else {
            continue;
        };
        let is_unsure = departed.had.iter().any(|(_, t)| landed.unsure.contains(t));
        let Some(parted) = &departed.parted else {
            continue;
        };
        if !landed.is_followed || is_unsure {
            continue;
        }
        let policy = &landed.scenario.policies[step.pair.0 as usize];
        let rest = rest_of(landed, departed);
        let may_return = match policy.records_flow_to(landed.side.other()) {
            false => policy.drift == Drift::Overwrite,
            true => {
                policy.deletes != DeletePolicy::Ignore
                    && policy.conflict_delete == DeleteConflict::Keep
                    && (set
                        .iter()
                        .any(|(f, value)| is_edit(departed, rest, *f, value))
                        || set.iter().any(|(f, value)| has_not_met(parted, *f, value))
                        || has_other_references(policy, departed, set))
            }
        };
        if !may_return {
            let text = format!(
                "{} {} of {:?} was deleted and is back: {set:?}",
                landed.side.name(),
                departed.key,
                step.pair
            );
            return Err(Violation {
                invariant: "I1",
                what: text,
            });
        }
        kept.push(step.pair);
    }
    Ok(kept)
}

fn is_again(departed: &Departed, set: &[(usize, Value)]) -> bool {
    set.iter().any(|(field, value)| {
        let token = token(value);
        token.is_some_and(|token| departed.had.contains(&(*field, token)))
    })
}

/// A record that is made anew is its counterpart's image: each value is one that the counterpart had. One
/// that it never had comes from another record, which a copy that was interrupted before its links were
/// settled left behind. And a counterpart that has been linked with another record since is that one's.
/// "A deletion travels" is said of records that are linked: docs/sync-model.md, Words.
fn may_be_of(landed: &Landed<'_>, departed: &Departed, set: &[(usize, Value)]) -> bool {
    let counterpart = departed
        .parted
        .as_ref()
        .and_then(|parted| parted.counterpart);
    let (side, other) = (landed.side, landed.side.other());
    let rows = &landed.sides[other].table(departed.pair).rows;
    if let Some((key, record)) = rows.iter().find(|(_, r)| Some(r.number) == counterpart) {
        let links = landed.store.lookup(other, departed.pair, key).links;
        let mut partners = links.iter().filter_map(|link| link.key(side));
        return had_all(&record.had, set) && partners.all(|partner| *partner == departed.key);
    }
    // One that nobody deleted is gone by a deletion of ours, and nothing is made of it.
    let mut gone = landed.sides[other].ledger.departed.iter();
    let is_of = |number| gone.any(|gone| gone.number == number && had_all(&gone.had, set));
    counterpart.is_none_or(is_of)
}

fn had_all(had: &[(usize, u64)], set: &[(usize, Value)]) -> bool {
    let mut tokens = set
        .iter()
        .filter_map(|(field, value)| Some((*field, token(value)?)));
    tokens.all(|token| had.contains(&token))
}

/// A value in a field that the two records had never agreed on: whoever deleted the one was not shown it
/// as the other's. "A value that never got there is an edit": docs/sync-model.md, Deletions.
fn has_not_met(parted: &Parted, field: usize, value: &Value) -> bool {
    parted.unmet.contains(&field) && !value.is_null()
}

/// True where a reference may be the edit: its own keys tell nothing of the other side's, and one
/// that waits is not in the create.
fn has_other_references(policy: &PairPolicy, departed: &Departed, set: &[(usize, Value)]) -> bool {
    policy.references.iter().any(|reference| {
        let created = set.iter().find(|(field, _)| *field == reference.field);
        created.is_none_or(|(field, value)| departed.cells[*field] != *value)
    })
}

/// Every value that a record's fields ever had, in its normal form.
type Forms = BTreeSet<(usize, String)>;

/// What the deleted record's counterpart ever had.
fn rest_of<'a>(landed: &Landed<'a>, departed: &Departed) -> Option<&'a Forms> {
    let number = departed.parted.as_ref()?.counterpart?;
    let side = &landed.sides[landed.side.other()];
    let mut rows = side.table(departed.pair).rows.values();
    let mut gone = side.ledger.departed.iter();
    match rows.find(|record| record.number == number) {
        Some(record) => Some(&record.forms),
        None => gone
            .find(|gone| gone.number == number)
            .map(|gone| &gone.forms),
    }
}

/// A value that the deleted record never had. One without a token names nobody: where the record had
/// another one before, either side, or both, may have made it what it is. And where its counterpart had
/// one that a trigger had made there, somebody has taken that away.
fn is_edit(departed: &Departed, rest: Option<&Forms>, field: usize, value: &Value) -> bool {
    let forms = departed.forms.iter().filter(|(of, _)| *of == field);
    let mut rest = rest.into_iter().flatten();
    let was_derived =
        rest.any(|form| form.0 == field && is_derived(&form.1) && !departed.forms.contains(form));
    match token(value) {
        Some(token) => !departed.had.contains(&(field, token)),
        None if is_derived(&normal(value)) => true,
        None => was_derived || forms.count() > 1 || departed.cells[field] != *value,
    }
}
