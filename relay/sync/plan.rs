//! One record's plan: a pure function of what both sides report, the link and the policy.
//!
//! A [`Case`] is everything known about one record; [`plan`] turns it into a [`Verdict`]: at most
//! one step per side, and what may be remembered once the steps have succeeded. Plans are never
//! stored: after a crash they are derived again.

use crate::baseline::{Fingerprint, Fingerprinter};
use crate::merge::{FieldRule, FieldState, FieldVerdict, merge};
use crate::model::{
    BatchId, BySide, Cell, Conflict, Key, Link, LinkId, PairId, Place, Row, Side, Since, StepKind,
    Stored,
};
use crate::policy::{Existing, PairPolicy};
use crate::scope::Scope;
use crate::value::Value;

mod deletion;
mod outside;
#[cfg(test)]
mod reference_tests;
mod references;
mod renewed;
#[cfg(test)]
mod tests;

use self::references::Translated;
pub(crate) use self::references::named;
pub use self::references::{Named, Partners, Waits};

/// The newest that one side reports about a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen {
    /// No news: the side still has what the baseline says.
    #[default]
    Unseen,
    Present {
        row: Row,
        time: Option<i64>,
    },
    Gone {
        time: Option<i64>,
    },
}

impl Seen {
    pub fn row(&self) -> Option<&Row> {
        match self {
            Seen::Present { row, .. } => Some(row),
            Seen::Unseen | Seen::Gone { .. } => None,
        }
    }

    pub fn time(&self) -> Option<i64> {
        match self {
            Seen::Unseen => None,
            Seen::Present { time, .. } | Seen::Gone { time } => *time,
        }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self, Seen::Gone { .. })
    }

    pub fn is_present(&self) -> bool {
        matches!(self, Seen::Present { .. })
    }

    /// True when a row is there but lacks cells that the side did not send.
    pub fn is_partial(&self) -> bool {
        self.row().is_some_and(|row| row.contains(&Cell::Unchanged))
    }
}

/// Everything known about one record when it is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub pair: PairId,
    pub link: Option<Link>,
    /// The keys that the sides' histories call it by now; the last ones where it is gone.
    pub keys: BySide<Option<Key>>,
    /// From when on they do.
    pub since: BySide<Since>,
    pub seen: BySide<Seen>,
    /// True when one of the link's records is gone and another has come to take its place: they are
    /// linked anew.
    pub is_renewed: bool,
    /// Set while existing data is reconciled for the first time: how matched records are merged.
    pub existing: Option<Existing>,
    /// True for what a reconcile found: it is the data that a person chose a run mode for. What comes
    /// later is news, even of a field pair that is still new.
    pub is_scanned: bool,
    /// Sides of which all that is told is what a write of ours did.
    pub echoes: BySide<bool>,
    /// Sides whose last write of ours may keep the history from telling what an earlier one did.
    pub masks: BySide<bool>,
}

impl Case {
    /// A record without a link, of which nothing is known yet.
    pub(crate) fn lone(pair: PairId, side: Side, key: Key, since: Since) -> Case {
        let mut case = Case {
            pair,
            link: None,
            keys: BySide::default(),
            since: BySide::default(),
            seen: BySide::default(),
            is_renewed: false,
            existing: None,
            is_scanned: false,
            echoes: BySide::default(),
            masks: BySide::default(),
        };
        case.keys[side] = Some(key);
        case.since[side] = since;
        case
    }

    /// The records of a link, without news.
    pub(crate) fn of(pair: PairId, link: Link) -> Case {
        let gone = |side| match link.gone[side] {
            true => Seen::Gone { time: None },
            false => Seen::Unseen,
        };
        Case {
            pair,
            keys: link.keys.clone(),
            since: link.since,
            seen: BySide::from_fn(gone),
            link: Some(link),
            is_renewed: false,
            existing: None,
            is_scanned: false,
            echoes: BySide::default(),
            masks: BySide::default(),
        }
    }

    /// The side that alone has a record, if so.
    pub(crate) fn only_side(&self) -> Option<Side> {
        let has = |side: Side| self.keys[side].is_some() && !self.seen[side].is_gone();
        match (has(Side::Left), has(Side::Right)) {
            (true, false) => Some(Side::Left),
            (false, true) => Some(Side::Right),
            _ => None,
        }
    }

    /// A write of ours made the record this, while the other side's step must be planned again.
    pub(crate) fn wrote(&mut self, side: Side, stored: Stored, batch: BatchId) {
        if self.keys[side].as_ref() != Some(&stored.key) {
            self.since[side] = Since::written(batch);
        }
        self.keys[side] = Some(stored.key);
        let row = stored.row;
        let time = self.seen[side].time();
        self.seen[side] = Seen::Present { row, time };
    }
}

/// One step with what its success lets us remember.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    pub side: Side,
    pub kind: StepKind,
    /// Fields whose baseline moves on both sides when the step succeeds.
    pub fields: Vec<usize>,
}

/// What to do with the link beside the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFate {
    /// There is none and none comes of this.
    None,
    /// It is kept (or made) as [`Verdict::link`] says.
    Keep,
    /// Both records are gone, or will be when the steps have succeeded.
    Drop,
}

/// The plan of one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The side's full record must be read before it can be decided.
    NeedRead(Side),
    /// The partners of the records that its references name must be known before it can be decided.
    NeedPartners,
    /// Its record can't be made before the partner of another one is there.
    Waits(Box<Waits>),
    Decided(Box<Decided>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// At most one per side.
    pub steps: Vec<PlannedStep>,
    /// The link with everything that both sides confirmed already, before any step.
    pub link: Link,
    pub fate: LinkFate,
    /// True when `link` differs from the stored one even if no step is taken.
    pub link_changed: bool,
    /// What each side was seen to have, [`Fingerprint::UNKNOWN`] where it sent no news.
    pub observed: BySide<Vec<Fingerprint>>,
    pub conflicts: Vec<Conflict>,
    /// References that are not carried over, because whom they name has no partner. What is created
    /// lacks them.
    pub waits: Vec<Waits>,
}

impl Decided {
    /// Nothing but the link.
    pub(crate) fn of(link: Link, fate: LinkFate) -> Decided {
        Decided {
            steps: Vec::new(),
            link,
            fate,
            link_changed: false,
            observed: BySide::default(),
            conflicts: Vec::new(),
            waits: Vec::new(),
        }
    }
}

/// Plans one record.
pub fn plan(
    case: &Case,
    policy: &PairPolicy,
    prints: &Fingerprinter,
    partners: &Partners,
) -> Verdict {
    let observed = |side: Side| match case.seen[side].row() {
        Some(row) => prints.row(row),
        None => vec![Fingerprint::UNKNOWN; policy.fields.len()],
    };
    let mut planner = Planner {
        case,
        policy,
        prints,
        observed: BySide::from_fn(observed),
        partners,
        translated: BySide::default(),
    };
    if let Some(verdict) = planner.translate() {
        return verdict;
    }
    if let Some(scope) = Scope::of(policy, prints)
        && let Some(verdict) = planner.outside(scope)
    {
        return verdict;
    }
    match &case.link {
        Some(link) if case.is_renewed => planner.renewed(link),
        Some(link) if link.is_detached() => planner.detached(link),
        Some(link) => planner.linked(link),
        None => planner.unlinked(),
    }
}

struct Planner<'a> {
    case: &'a Case,
    policy: &'a PairPolicy,
    prints: &'a Fingerprinter,
    /// What each side was seen to have, [`Fingerprint::UNKNOWN`] where it sent no news.
    observed: BySide<Vec<Fingerprint>>,
    partners: &'a Partners,
    /// References in the other side's keys.
    translated: BySide<Translated>,
}

impl Planner<'_> {
    fn unlinked(&self) -> Verdict {
        let seen = &self.case.seen;
        match (seen.left.is_present(), seen.right.is_present()) {
            (true, true) => self.merged(&self.fresh_link()),
            (true, false) => self.created_from(Side::Left),
            (false, true) => self.created_from(Side::Right),
            (false, false) => self.nothing(self.fresh_link(), LinkFate::None),
        }
    }

    /// A record that only `from` has.
    fn created_from(&self, from: Side) -> Verdict {
        if !self.policy.records_flow_to(from.other()) {
            return self.nothing(self.fresh_link(), LinkFate::None);
        }
        if self.case.seen[from].is_partial() {
            return Verdict::NeedRead(from);
        }
        if let Some(verdict) = self.lacks_required(from.other()) {
            return verdict;
        }
        let mut decided = self.decided(self.fresh_link(), LinkFate::Keep);
        decided.link.keys[from.other()] = None;
        self.create_on(from.other(), &mut decided);
        Verdict::Decided(Box::new(decided))
    }

    /// A record whose counterpart is missing on purpose.
    fn detached(&self, link: &Link) -> Verdict {
        let side = if link.keys.left.is_some() {
            Side::Left
        } else {
            Side::Right
        };
        if self.case.seen[side].is_gone() {
            return self.changed(link.clone(), LinkFate::Drop);
        }
        if self.case.seen[side.other()].is_present() {
            // The counterpart came back (or was found again by its match key).
            return self.renewed(link);
        }
        Verdict::Decided(Box::new(self.decided(link.clone(), LinkFate::Keep)))
    }

    fn linked(&self, link: &Link) -> Verdict {
        let seen = &self.case.seen;
        match (seen.left.is_gone(), seen.right.is_gone()) {
            (true, true) => self.changed(link.clone(), LinkFate::Drop),
            (true, false) => self.deleted_on(Side::Left, link),
            (false, true) => self.deleted_on(Side::Right, link),
            (false, false) => self.merged(link),
        }
    }

    /// Creates the record on `to`, without the references that wait.
    fn create_on(&self, to: Side, decided: &mut Decided) {
        let from = to.other();
        let flowing = (0..self.policy.fields.len())
            .filter(|&field| self.policy.fields[field].direction.flows_to(to));
        let waits = flowing.clone().filter_map(|field| self.lack(from, field));
        decided.waits.extend(waits);
        let fields: Vec<usize> = flowing
            .filter(|&field| self.lack(from, field).is_none())
            .collect();
        let settles = fields.iter().copied().chain(self.looked_at()).collect();
        // While existing data is reconciled, matching was decided before the first write, but for
        // records that a filter leaves out.
        let matching = if self.case.existing.is_some() && self.policy.scope.is_none() {
            Vec::new()
        } else {
            self.values(from, &self.policy.match_key)
        };
        let has_null = matching.iter().any(|(_, value)| value.is_null());
        decided.steps.push(PlannedStep {
            side: to,
            kind: StepKind::Create {
                set: self.values(from, &fields),
                matching: if has_null { Vec::new() } else { matching },
            },
            fields: settles,
        });
    }

    /// Both records exist as far as is known: merge field by field.
    fn merged(&self, link: &Link) -> Verdict {
        let mut decided = self.decided(link.clone(), LinkFate::Keep);
        self.look(&mut decided);
        let mut writes: BySide<Vec<usize>> = BySide::default();
        for field in 0..self.policy.fields.len() {
            match self.merged_field(field, link, &mut decided) {
                Ok(Some(to)) => writes[to].push(field),
                Ok(None) => {}
                Err(verdict) => return verdict,
            }
        }
        for side in Side::BOTH {
            let fields = std::mem::take(&mut writes[side]);
            if let Err(verdict) = self.update(side, fields, link, &mut decided) {
                return verdict;
            }
        }
        Verdict::Decided(Box::new(decided))
    }

    /// The side that gets the other one's value of the field, if one does.
    fn merged_field(
        &self,
        field: usize,
        link: &Link,
        decided: &mut Decided,
    ) -> Result<Option<Side>, Verdict> {
        let mut state = FieldState {
            baseline: BySide::from_fn(|side| link.baseline[side][field]),
            observed: BySide::from_fn(|side| known(self.observed[side][field])),
        };
        if let Some(side) = self.unheard_reference(field, &state) {
            return Err(Verdict::NeedRead(side));
        }
        self.forget_misled(field, &mut state, decided);
        let verdict = match self.policy.reference(field) {
            Some(_) => self.merge_filled(field, &state)?,
            None => {
                state = state.unless_met();
                self.merge_field(field, &state)
            }
        };
        let target = verdict.target();
        if let Some(waits) = target.and_then(|to| self.lack(to.other(), field)) {
            decided.waits.push(waits);
            return Ok(None);
        }
        match verdict {
            FieldVerdict::Write { to } if self.must_see(to, field, &state) => {
                return Err(Verdict::NeedRead(to));
            }
            FieldVerdict::Write { to } if self.was_left_empty(to.other(), field, &state) => {
                let conflict = self.conflict(Some(field), Some(to.other()));
                decided.conflicts.push(conflict);
            }
            FieldVerdict::Nothing | FieldVerdict::Write { .. } => {}
            FieldVerdict::Settle => {
                for side in Side::BOTH {
                    if let Some(now) = state.observed[side] {
                        decided.link.baseline[side][field] = now;
                    }
                }
                decided.link_changed = true;
            }
            FieldVerdict::Conflict { winner } => {
                if self.is_recorded(winner, &state.baseline) {
                    let conflict = self.conflict(Some(field), Some(winner));
                    decided.conflicts.push(conflict);
                }
            }
            FieldVerdict::Ask => {
                let unseen = |side: &Side| self.value(*side, field).is_none();
                if let Some(side) = Side::BOTH.into_iter().find(unseen) {
                    return Err(Verdict::NeedRead(side));
                }
                decided.conflicts.push(self.conflict(Some(field), None));
                decided.link_changed = true;
            }
            FieldVerdict::Restore { to } => {
                let conflict = self.conflict(Some(field), Some(to.other()));
                decided.conflicts.push(conflict);
            }
        }
        match target {
            Some(to) if self.value(to.other(), field).is_none() => {
                Err(Verdict::NeedRead(to.other()))
            }
            _ => Ok(target),
        }
    }

    /// True when what `to` has must be known before it is overwritten.
    fn must_see(&self, to: Side, field: usize, state: &FieldState) -> bool {
        // The two have never agreed: both count.
        let is_unmet = !state.baseline[to].is_known() && state.observed[to].is_none();
        let is_kept = self.was_left_empty(to.other(), field, state);
        is_unmet || self.may_have_it(to, field, state) || is_kept && self.value(to, field).is_none()
    }

    /// True when the other side has come to what `to` had when they were agreed to differ. Whether `to`
    /// still has it must be read: written to it, the value would be an echo; taken for agreed, it would
    /// be overwritten unrecorded by an edit of `to` that is not known yet.
    fn may_have_it(&self, to: Side, field: usize, state: &FieldState) -> bool {
        let is_reference = self.policy.reference(field).is_some();
        let is_unseen = state.observed[to].is_none();
        is_unseen && !is_reference && state.observed[to.other()] == Some(state.baseline[to])
    }

    /// True for a one-way field that was empty on `from`, where the other side has a value that never came
    /// from there (see `PendingCase::leave_empty`): it is overwritten now, and recorded.
    fn was_left_empty(&self, from: Side, field: usize, state: &FieldState) -> bool {
        let null = self.prints.value(&Value::Null);
        let there = state.baseline[from.other()];
        !self.policy.fields[field].direction.flows_to(from)
            && state.baseline[from] == null
            && there.is_known()
            && there != null
    }

    /// Adds the update of `side` by the other one's values of these fields.
    fn update(
        &self,
        side: Side,
        fields: Vec<usize>,
        link: &Link,
        decided: &mut Decided,
    ) -> Result<(), Verdict> {
        let key = self.key(side, link).filter(|_| !fields.is_empty());
        let Some(key) = key else {
            return Ok(());
        };
        let set = self.values(side.other(), &fields);
        let expect = self.expect(side, link);
        if expect.contains(&Fingerprint::UNKNOWN) {
            // What was never agreed on and is not in sight would pass unguarded, and from then
            // on count as known.
            return Err(Verdict::NeedRead(side));
        }
        let kind = StepKind::Update { key, set, expect };
        let fields = fields.into_iter().chain(self.looked_at()).collect();
        decided.steps.push(PlannedStep { side, kind, fields });
        Ok(())
    }

    fn merge_field(&self, field: usize, state: &FieldState) -> FieldVerdict {
        if self.case.existing == Some(Existing::LinkOnly) && self.case.link.is_none() {
            return FieldVerdict::Settle;
        }
        let first = self.first_look(&state.baseline);
        let rule = rule(self.policy, field, first, self.times());
        match merge(state, &rule) {
            FieldVerdict::Conflict { .. } | FieldVerdict::Ask
                if first == Some(Existing::LinkOnly) && self.case.link.is_some() =>
            {
                FieldVerdict::Settle
            }
            verdict => verdict,
        }
    }

    /// The run mode, where it decides how the values are merged: those of two newly matched records,
    /// or of a field pair that is new.
    fn first_look(&self, baseline: &BySide<Fingerprint>) -> Option<Existing> {
        let link = self.case.link.as_ref();
        match self.case.is_renewed || link.is_none_or(Link::is_detached) {
            true => self.case.existing,
            false => new_field(self.policy, baseline),
        }
    }

    /// Overwriting what a person chose to overwrite (`left-to-right`) is no conflict; a one-way
    /// field that overwrites the chosen side is.
    fn is_recorded(&self, winner: Side, baseline: &BySide<Fingerprint>) -> bool {
        match self.first_look(baseline).filter(|_| self.case.is_scanned) {
            Some(Existing::LeftToRight) => winner != Side::Left,
            Some(Existing::RightToLeft) => winner != Side::Right,
            Some(Existing::Merge | Existing::LinkOnly) | None => true,
        }
    }

    fn conflict(&self, field: Option<usize>, winner: Option<Side>) -> Conflict {
        let cell = |side: Side| match (field, self.case.seen[side].row()) {
            (Some(field), Some(row)) => row[field].clone(),
            _ => Cell::Unchanged,
        };
        Conflict {
            pair: self.case.pair,
            keys: self.case.keys.clone(),
            field,
            values: BySide::from_fn(cell),
            times: self.times(),
            winner,
        }
    }

    /// What the record must still look like for a write to land.
    fn expect(&self, side: Side, link: &Link) -> Vec<Fingerprint> {
        let observed = &self.observed[side];
        observed
            .iter()
            .zip(&link.baseline[side])
            .map(|(now, base)| {
                let known = [now, base].into_iter().find(|print| print.is_known());
                known.copied().unwrap_or_default()
            })
            .collect()
    }

    fn key(&self, side: Side, link: &Link) -> Option<Key> {
        self.case.keys[side]
            .clone()
            .or_else(|| link.keys[side].clone())
    }

    fn times(&self) -> BySide<Option<i64>> {
        BySide::from_fn(|side| self.case.seen[side].time())
    }

    fn value(&self, side: Side, field: usize) -> Option<&Value> {
        self.case.seen[side]
            .row()
            .and_then(|row| row[field].value())
    }

    fn values(&self, side: Side, fields: &[usize]) -> Vec<(usize, Value)> {
        fields
            .iter()
            .filter_map(|&field| Some((field, self.travelling(side, field)?.clone())))
            .collect()
    }

    /// `from`'s value of the field as the other side says it.
    fn travelling(&self, from: Side, field: usize) -> Option<&Value> {
        match self.policy.reference(field) {
            Some(_) => self.translated[from].get(&field)?.as_ref().ok(),
            None => self.value(from, field),
        }
    }

    fn fresh_link(&self) -> Link {
        let fields = self.policy.fields.len();
        Link {
            id: LinkId(0),
            keys: self.case.keys.clone(),
            since: self.case.since,
            gone: BySide::default(),
            baseline: BySide::from_fn(|_| vec![Fingerprint::UNKNOWN; fields]),
            seen: BySide::new(Place::default(), Place::default()),
            written: BySide::new(BatchId::NONE, BatchId::NONE),
        }
    }

    /// A verdict without steps, whose link is as it was, but for the sides' new keys.
    fn decided(&self, mut link: Link, fate: LinkFate) -> Decided {
        let mut link_changed = link.id == LinkId(0) && fate == LinkFate::Keep;
        for side in Side::BOTH {
            let now = &self.case.keys[side];
            let has_moved = *now != link.keys[side] || self.case.since[side] != link.since[side];
            if link.keys[side].is_some() && now.is_some() && has_moved {
                link.keys[side] = now.clone();
                link.since[side] = self.case.since[side];
                link_changed = true;
            }
        }
        Decided {
            steps: Vec::new(),
            link,
            fate,
            link_changed,
            observed: self.observed.clone(),
            conflicts: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn nothing(&self, link: Link, fate: LinkFate) -> Verdict {
        let mut decided = self.decided(link, fate);
        decided.link_changed = false;
        Verdict::Decided(Box::new(decided))
    }

    fn changed(&self, link: Link, fate: LinkFate) -> Verdict {
        let mut decided = self.decided(link, fate);
        decided.link_changed = true;
        Verdict::Decided(Box::new(decided))
    }
}

/// How the values of two linked records are merged in a field that is new in the mapping: as when
/// records are matched for the first time. `None` for other fields.
pub(crate) fn new_field(policy: &PairPolicy, baseline: &BySide<Fingerprint>) -> Option<Existing> {
    let is_new = [baseline.left, baseline.right].contains(&Fingerprint::NEW);
    is_new.then_some(policy.existing)
}

/// The rule of one field; `first_match` is set when two records meet for the first time.
pub(crate) fn rule(
    policy: &PairPolicy,
    field: usize,
    first_match: Option<Existing>,
    times: BySide<Option<i64>>,
) -> FieldRule {
    use crate::policy::ConflictPolicy;
    let conflict = match first_match {
        Some(Existing::LeftToRight) => ConflictPolicy::Left,
        Some(Existing::RightToLeft) => ConflictPolicy::Right,
        _ => policy.conflict,
    };
    FieldRule {
        direction: policy.fields[field].direction,
        conflict,
        drift: policy.drift,
        times,
    }
}

fn known(print: Fingerprint) -> Option<Fingerprint> {
    print.is_known().then_some(print)
}
