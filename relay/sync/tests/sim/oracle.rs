//! One function per invariant, over the whole world. A broken one names itself and says what broke.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{BySide, FindingCode, Key, Link, LinkId, PairId, Position, Side};
use tidegate_sync::policy::{Direction, Drift, Existing, PairPolicy};
use tidegate_sync::session::Settlement;
use tidegate_sync::value::Value;

use crate::choices;
use crate::database::{Database, Record};
use crate::links;
use crate::store::Store;
use crate::values::{is_derived, normal, token};
use crate::world::{Scenario, Token};

/// Steps within which a quiet world must come to rest, and more for each change that it has seen.
const CALM_STEPS: usize = 300;
const CALM_STEPS_PER_WORK: usize = 20;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

pub type Check = Result<(), Violation>;

impl Violation {
    pub fn check(invariant: &'static str, what: String) -> Check {
        Err(Violation { invariant, what })
    }
}

/// What every oracle looks at.
pub struct Facts<'a> {
    pub scenario: &'a Scenario,
    pub sides: &'a BySide<Database>,
    pub store: &'a Store,
    pub tokens: &'a [Token],
    /// Tokens of calls to an app whose answers were lost: it may have carried them out twice.
    pub unsure: &'a HashSet<u64>,
}

/// I1: mapped projections are equal, or an open finding says why not.
pub fn converges(facts: &Facts<'_>) -> Check {
    for (pair, policy) in facts.scenario.pairs() {
        let mut linked: BySide<HashSet<Key>> = BySide::default();
        for ((of, _), link) in &facts.store.links {
            if *of != pair {
                continue;
            }
            for side in Side::BOTH {
                linked[side].extend(link.keys[side].clone());
            }
            converged_link(facts, pair, link)?;
        }
        for side in Side::BOTH {
            for (key, record) in &facts.sides[side].table(pair).rows {
                let explained = linked[side].contains(key)
                    || choices::is_outside(policy, record)
                    || !policy.records_flow_to(side.other())
                    || has_finding(facts, pair, side, key);
                if !explained {
                    let text = format!("{} record {key} of {pair:?} is alone", side.name());
                    return Violation::check("I1", text);
                }
            }
        }
    }
    Ok(())
}

fn converged_link(facts: &Facts<'_>, pair: PairId, link: &Link) -> Check {
    let policy = &facts.scenario.policies[pair.0 as usize];
    let rows = BySide::from_fn(|side| {
        let key = link.keys[side].as_ref()?;
        facts.sides[side].table(pair).rows.get(key)
    });
    if finding_of_link(facts, pair, link) || choices::asks_of(facts, pair, link) {
        return Ok(());
    }
    // A link of nothing does no harm: the next scan drops it, and a new record of that key is
    // matched and created like any other.
    if link.is_detached() || (rows.left.is_none() && rows.right.is_none()) {
        return Ok(());
    }
    let (Some(left), Some(right)) = (rows.left, rows.right) else {
        return Violation::check("I1", format!("a linked record is missing: {link:?}"));
    };
    if choices::is_outside(policy, left) || choices::is_outside(policy, right) {
        return Ok(());
    }
    for (field, mapped) in policy.fields.iter().enumerate() {
        let free = mapped.direction == Direction::Neither
            || mapped.direction != Direction::Both && policy.drift == Drift::Ignore;
        let cells = BySide::new(&left.cells[field], &right.cells[field]);
        let agreed = Side::BOTH
            .iter()
            .all(|&side| facts.sides[side].prints.value(cells[side]) == link.baseline[side][field]);
        let link_only = policy.existing == Existing::LinkOnly && agreed;
        let is_left_empty =
            agreed && was_left_empty(facts, (pair, field), link, BySide::new(left, right));
        if let Some(reference) = policy.reference(field) {
            if !free
                && !link_only
                && !is_left_empty
                && !links::names_partners(facts, reference, cells)
            {
                let text = format!("{pair:?} field {field}: {cells:?} in {:?}", link.keys);
                return Violation::check("I17", text);
            }
            continue;
        }
        let asks = choices::asks_of_field(facts, (pair, field), link, cells);
        if !free && !link_only && !is_left_empty && !asks && !same(facts, pair, field, cells) {
            let text = format!("{pair:?} field {field}: {cells:?} in {:?}", link.keys);
            return Violation::check("I1", text);
        }
    }
    Ok(())
}

/// True for a one-way field of a record that we made on the side which the field flows from, and whose other
/// side has a value that never came from there: what a create of ours left empty is no value that flows. One
/// that was deleted and inserted again under its key is the same record, and so is to a scan one with the
/// same match key.
fn was_left_empty(
    facts: &Facts<'_>,
    (pair, field): (PairId, usize),
    link: &Link,
    records: BySide<&Record>,
) -> bool {
    let policy = &facts.scenario.policies[pair.0 as usize];
    source(policy, field).is_some_and(|from| {
        let there = (field, normal(&records[from.other()].cells[field]));
        let record = records[from];
        let is_empty = record.cells[field].is_null() && !record.forms.contains(&there);
        let made = &facts.sides[from].ledger.made;
        let is_made = |key: &Key| made.contains(&(pair, key.clone()));
        is_empty && (facts.store.was_scanned_again || link.keys[from].iter().any(is_made))
    })
}

/// The side from which a one-way field flows.
fn source(policy: &PairPolicy, field: usize) -> Option<Side> {
    match policy.fields[field].direction {
        Direction::LeftToRight => Some(Side::Left),
        Direction::RightToLeft => Some(Side::Right),
        Direction::Both | Direction::Neither => None,
    }
}

/// Equal but for what the sides do to values when they store them.
fn same(facts: &Facts<'_>, pair: PairId, field: usize, cells: BySide<&Value>) -> bool {
    let forms = BySide::from_fn(|side| normal(cells[side]));
    forms.left == forms.right
        || Side::BOTH
            .iter()
            .any(|&side| clobbers(facts, pair, field, side) && is_derived(&forms[side]))
}

fn clobbers(facts: &Facts<'_>, pair: PairId, field: usize, side: Side) -> bool {
    field == 2 && facts.sides[side].table(pair).quirks.before_trigger
}

fn has_finding(facts: &Facts<'_>, pair: PairId, side: Side, key: &Key) -> bool {
    facts
        .store
        .findings
        .contains_key(&(pair, side, key.clone()))
}

fn finding_of_link(facts: &Facts<'_>, pair: PairId, link: &Link) -> bool {
    Side::BOTH.iter().any(|&side| {
        let key = link.keys[side].as_ref();
        key.is_some_and(|key| has_finding(facts, pair, side, key))
    })
}

/// I2: every token is present, or was superseded where it stood, or is in the conflict record.
pub fn no_lost_update(facts: &Facts<'_>) -> Check {
    let mut known: HashSet<u64> = HashSet::new();
    for side in Side::BOTH {
        let side = &facts.sides[side];
        known.extend(&side.ledger.superseded);
        for table in &side.tables {
            let cells = table.rows.values().flat_map(|row| &row.cells);
            known.extend(cells.filter_map(token));
        }
    }
    for conflict in &facts.store.conflicts {
        for side in Side::BOTH {
            known.extend(conflict.values[side].value().and_then(token));
        }
    }
    // Who gives a copied record another key before the copy is complete has made two of it, one of
    // which the next scan takes for deleted.
    let was_moved = facts.store.was_scanned_again
        && Side::BOTH
            .iter()
            .any(|&side| !facts.sides[side].ledger.left.is_empty());
    match facts.tokens.iter().find(|written| {
        let overwritten = written.first_run && (was_moved || overwrites(facts, written));
        !overwritten && !known.contains(&written.token)
    }) {
        Some(lost) => Violation::check("I2", format!("lost: {lost:?}")),
        None => Ok(()),
    }
}

/// I2, the other way round: no value is there that nobody wrote.
pub fn no_invented_value(facts: &Facts<'_>) -> Check {
    let written: HashSet<u64> = facts.tokens.iter().map(|written| written.token).collect();
    for side in Side::BOTH {
        for table in &facts.sides[side].tables {
            let cells = table.rows.values().flat_map(|row| &row.cells);
            if let Some(token) = cells.filter_map(token).find(|t| !written.contains(t)) {
                let text = format!("{} has token {token}, which nobody wrote", side.name());
                return Violation::check("I2", text);
            }
        }
    }
    Ok(())
}

/// I2: where an edit undid a deletion, the conflict record says so.
pub fn undone_deletions_recorded(facts: &Facts<'_>, kept: &[PairId]) -> Check {
    for (pair, _) in facts.scenario.pairs() {
        let kept = kept.iter().filter(|of| **of == pair).count();
        let conflicts = facts.store.conflicts.iter();
        let recorded = conflicts.filter(|c| c.pair == pair && c.field.is_none());
        if recorded.count() < kept {
            let text = format!("{pair:?}: {kept} deletions were undone, unrecorded");
            return Violation::check("I2", text);
        }
    }
    Ok(())
}

/// I10: what can't be synced has a reason of its own: nothing else holds it up.
pub fn isolated(facts: &Facts<'_>) -> Check {
    for (pair, side, key) in facts.store.findings.keys() {
        let code = facts.store.findings[&(*pair, *side, key.clone())].code;
        if !has_reason(facts, (*pair, *side, key), code) {
            let text = format!(
                "{} {key} of {pair:?}: {} for nothing",
                side.name(),
                code.name()
            );
            return Violation::check("I10", text);
        }
    }
    Ok(())
}

fn has_reason(
    facts: &Facts<'_>,
    (pair, side, key): (PairId, Side, &Key),
    code: FindingCode,
) -> bool {
    let quirks = BySide::from_fn(|side: Side| &facts.sides[side].table(pair).quirks);
    if quirks.left.refuses || quirks.right.refuses {
        return true;
    }
    let Some(record) = facts.sides[side].table(pair).rows.get(key) else {
        return false;
    };
    let links = facts.store.links.iter().filter(|((of, _), _)| *of == pair);
    let mut own = links.filter(|(_, link)| link.keys[side].as_ref() == Some(key));
    let partner = own.find_map(|(_, link)| link.keys[side.other()].as_ref());
    // One value of a match key of two may come from this record while its counterpart keeps the other.
    let match_key = &facts.scenario.policies[pair.0 as usize].match_key;
    let mixes = |at: Side, cells: &[Value]| {
        let rows = &facts.sides[side.other()].table(pair).rows;
        let Some(rest) = partner.filter(|_| at != side).and_then(|key| rows.get(key)) else {
            return false;
        };
        let is_ours = |field: &usize| cells[*field] == record.cells[*field];
        let is_either = |field: &usize| is_ours(field) || cells[*field] == rest.cells[*field];
        match_key.iter().any(is_ours) && match_key.iter().all(is_either)
    };
    let is_same = |at: Side, other: &Key| {
        let is_other = if at == side {
            other != key
        } else {
            Some(other) != partner
        };
        let cells = &facts.sides[at].table(pair).rows[other].cells;
        is_other && (cells[0] == record.cells[0] || mixes(at, cells))
    };
    match code {
        FindingCode::NullMatchKey | FindingCode::NotNullViolation => true,
        FindingCode::CheckViolation => quirks.left.rejects.or(quirks.right.rejects).is_some(),
        FindingCode::LinkedRecordMissing | FindingCode::LinkedRecordRequired => {
            links::names_a_lone_record(facts, (pair, side, key))
        }
        FindingCode::ForeignKeyViolation => {
            let tables = facts
                .sides
                .left
                .tables
                .iter()
                .chain(&facts.sides.right.tables);
            tables
                .into_iter()
                .any(|table| table.quirks.refers.is_some() || !table.quirks.links.is_empty())
        }
        FindingCode::DuplicateMatchKey
        | FindingCode::MatchKeyTaken
        | FindingCode::UniqueViolation => Side::BOTH.iter().any(|&at| {
            let mut keys = facts.sides[at].table(pair).rows.keys();
            keys.any(|other| is_same(at, other))
        }),
        _ => false,
    }
}

/// I14: once the faults are over, everything that is under way comes to an end soon.
pub fn live_again(steps: usize, work: usize) -> Check {
    if steps <= CALM_STEPS + CALM_STEPS_PER_WORK * work {
        return Ok(());
    }
    Violation::check("I14", format!("not quiet after {steps} steps"))
}

/// The person chose to overwrite this side's existing data, or to agree to what differs: then
/// a later edit of one side overwrites what the other one had.
fn overwrites(facts: &Facts<'_>, written: &Token) -> bool {
    let existing = facts.scenario.policies[written.pair.0 as usize].existing;
    matches!(
        (existing, written.side),
        (Existing::LeftToRight, Side::Right)
            | (Existing::RightToLeft, Side::Left)
            | (Existing::LinkOnly, _)
    )
}

/// I3: N edits cause at most N writes.
pub fn no_echo(facts: &Facts<'_>) -> Check {
    let edits = facts.sides.left.ledger.edits + facts.sides.right.ledger.edits;
    // An edit of a record may need a write on the other side and a restored field on its own.
    // A reference whose partner is not there yet is filled in later.
    let refers = facts
        .scenario
        .policies
        .iter()
        .any(|policy| !policy.references.is_empty());
    let bound = if refers { 3 * edits } else { 2 * edits };
    if facts.store.written > bound {
        let text = format!("{} writes for {edits} edits", facts.store.written);
        return Violation::check("I3", text);
    }
    Ok(())
}

/// I4: a restart from what is settled, after everything is quiet, writes nothing.
pub fn idempotent(before: u64, after: u64) -> Check {
    if before == after {
        return Ok(());
    }
    Violation::check("I4", format!("a restart wrote {} records", after - before))
}

/// I5: a delete needs a person's delete of the counterpart.
pub fn no_phantom_delete(
    sides: &BySide<Database>,
    store: &Store,
    (side, pair, keys): (Side, PairId, &[Key]),
) -> Check {
    let of_key = |key: &Key| store.lookup(side, pair, key).links;
    let links: Vec<Link> = keys.iter().flat_map(of_key).collect();
    let other = &sides[side.other()];
    let was_deleted = |link: &Link| {
        let Some(key) = link.keys[side.other()].clone() else {
            return true;
        };
        let slot = (pair, key);
        // To a scan, a record that took another key while its history was not followed is gone.
        other.ledger.deleted.contains(&slot)
            || (store.was_scanned_again && other.ledger.left.contains(&slot))
    };
    if links.is_empty() || links.iter().any(was_deleted) {
        return Ok(());
    }
    let text = format!(
        "{} {keys:?} of {pair:?}: nobody deleted its counterpart",
        side.name()
    );
    Violation::check("I5", text)
}

/// I6: a key in two links.
pub fn link_taken(pair: PairId, side: Side, key: &Key, a: LinkId, b: LinkId) -> Check {
    let text = format!(
        "{} {key} of {pair:?} is in links {a:?} and {b:?}",
        side.name()
    );
    Violation::check("I6", text)
}

/// I6: no record exists twice: a token is in one record of a side at most.
///
/// Not for what was written before a first copy was complete: its batches are not recorded, and a
/// person who gives a copied record's match key to another one between a crash and the next scan
/// leaves two that nobody can tell apart. The same goes for a record that took another key (and
/// another match key with it) while its side's history was not followed, whatever became of the
/// record after that.
pub fn no_duplicates(facts: &Facts<'_>) -> Check {
    let sides = facts.sides;
    let early = facts.tokens.iter().filter(|written| written.first_run);
    let mut early: HashSet<u64> = early.map(|written| written.token).collect();
    early.extend(facts.unsure);
    if facts.store.was_scanned_again {
        early.extend(
            Side::BOTH
                .iter()
                .flat_map(|&side| &sides[side].ledger.moved),
        );
    }
    for side in Side::BOTH {
        let mut holders: BTreeMap<u64, (usize, &Key)> = BTreeMap::new();
        for (number, table) in sides[side].tables.iter().enumerate() {
            for (key, record) in &table.rows {
                for token in record.cells.iter().filter_map(token) {
                    if early.contains(&token) {
                        continue;
                    }
                    if let Some(other) = holders.insert(token, (number, key)) {
                        let text = format!("{} token {token}: {other:?} and {key}", side.name());
                        return Violation::check("I6", text);
                    }
                }
            }
        }
    }
    Ok(())
}

/// I6: at every moment a key is one record's: nobody gets a key that another one still has.
pub fn no_surprise(surprises: u64) -> Check {
    if surprises == 0 {
        return Ok(());
    }
    Violation::check("I6", format!("{surprises} keys had two records at once"))
}

/// I7: what a settlement remembers was reported by both sides, and is the same on both.
pub fn honest_settlement(
    scenario: &Scenario,
    sides: &BySide<Database>,
    store: &Store,
    settlement: &Settlement,
) -> Check {
    let null = scenario.prints.value(&Value::Null);
    for (pair, link) in &settlement.links {
        let policy = &scenario.policies[pair.0 as usize];
        let former = store.links.get(&(*pair, link.id));
        for field in 0..policy.fields.len() {
            let now = BySide::from_fn(|side| link.baseline[side][field]);
            let unmoved = former
                .is_some_and(|former| BySide::from_fn(|side| former.baseline[side][field]) == now);
            let is_new = |former: &Link| {
                let mut sides = Side::BOTH.iter();
                sides.all(|&side| !former.baseline[side][field].is_known())
            };
            let is_met = former.is_none_or(|former| former.is_half() || is_new(former));
            // What a create left empty on the side which the field flows from is no value that flows.
            let is_made = |from: Side| {
                let has_key = |former: &Link| former.since[from] == link.since[from];
                now[from] == null && (is_met || !former.is_some_and(has_key))
            };
            let is_left_empty = source(policy, field).is_some_and(is_made);
            // What a record had agreed on with one that is gone is kept for its side alone.
            let is_kept = |former: &Link| {
                let mut sides = Side::BOTH.into_iter();
                sides.all(|side| !now[side].is_known() || former.baseline[side][field] == now[side])
            };
            // Equal references read otherwise on the other side.
            if unmoved
                || former.is_some_and(is_kept)
                || is_left_empty
                || policy.fields[field].direction == Direction::Neither
                || policy.reference(field).is_some()
                || (policy.existing == Existing::LinkOnly && is_met)
            {
                continue;
            }
            honest_field(sides, (*pair, field), now, link)?;
        }
    }
    Ok(())
}

fn honest_field(
    sides: &BySide<Database>,
    (pair, field): (PairId, usize),
    now: BySide<Fingerprint>,
    link: &Link,
) -> Check {
    let forms = BySide::from_fn(|side| form(&sides[side].ledger.had, now[side]));
    let broken = |what: &str| {
        let text = format!(
            "{pair:?} field {field} {what}: {forms:?} in {:?}",
            link.keys
        );
        Violation::check("I7", text)
    };
    if forms.left.as_deref() == Some("?") || forms.right.as_deref() == Some("?") {
        return broken("was never reported");
    }
    if link.is_detached() {
        return Ok(());
    }
    let equal = forms.left == forms.right;
    let clobbered = Side::BOTH.iter().any(|&side| {
        let before = sides[side].table(pair).quirks.before_trigger;
        field == 2 && before && forms[side].as_deref().is_some_and(is_derived)
    });
    if equal || clobbered {
        return Ok(());
    }
    broken("moved on one side only")
}

fn form(had: &HashMap<Fingerprint, String>, print: Fingerprint) -> Option<String> {
    print
        .is_known()
        .then(|| had.get(&print).cloned().unwrap_or_else(|| "?".to_owned()))
}

/// I9: nothing is acknowledged before it is settled.
pub fn honest_acknowledgement(store: &Store, side: Side, position: &Position) -> Check {
    let settled = store.positions.as_ref().map_or(0, |at| at[side].offset);
    if position.offset <= settled {
        return Ok(());
    }
    let text = format!(
        "{} acknowledged {} over {settled}",
        side.name(),
        position.offset
    );
    Violation::check("I9", text)
}

/// I9: an idle side's position reaches the end of its log.
pub fn position_advances(facts: &Facts<'_>) -> Check {
    for side in Side::BOTH {
        let db = &facts.sides[side];
        if db.acknowledged < db.lsn {
            let text = format!(
                "{} is held at {} of {}",
                side.name(),
                db.acknowledged,
                db.lsn
            );
            return Violation::check("I9", text);
        }
    }
    Ok(())
}
