//! The three-way merge of one field, on fingerprints alone.
//!
//! It decides; it never holds a value. [`crate::plan`] adds the values, [`crate::decide`] uses it
//! to count what a run would do before any value is read.

use crate::baseline::Fingerprint;
use crate::model::{BySide, Side};
use crate::policy::{ConflictPolicy, Direction, Drift};

/// What is known of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldState {
    /// What both sides last agreed on, as each reported it.
    pub baseline: BySide<Fingerprint>,
    /// What each side reports now; `None` when it sent no news of the field.
    pub observed: BySide<Option<Fingerprint>>,
}

impl FieldState {
    /// The same, where the sides have never agreed if one of them is not known to: what a record had agreed
    /// on with one that is gone (see `Planner::renewed`) tells whether it was edited, and nothing else.
    pub(crate) fn unless_met(mut self) -> FieldState {
        if !self.baseline.left.is_known() || !self.baseline.right.is_known() {
            for side in Side::BOTH {
                if self.baseline[side].is_known() {
                    self.baseline[side] = Fingerprint::UNKNOWN;
                }
            }
        }
        self
    }

    /// True when either side reports something else than at the baseline.
    pub(crate) fn is_news(&self) -> bool {
        self.changed(Side::Left) || self.changed(Side::Right)
    }

    pub(crate) fn changed(&self, side: Side) -> bool {
        self.observed[side].is_some_and(|now| now != self.baseline[side])
    }
}

/// How to choose, for one field.
#[derive(Clone, Copy, Debug)]
pub struct FieldRule {
    pub direction: Direction,
    pub conflict: ConflictPolicy,
    pub drift: Drift,
    /// When each side's change happened, by its own clock.
    pub times: BySide<Option<i64>>,
}

/// What to do about one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldVerdict {
    Nothing,
    /// Both sides have the same: remember it, write nothing.
    Settle,
    /// Carry the other side's value to this side.
    Write {
        to: Side,
    },
    /// Both sides changed; the loser's value is recorded and `winner`'s carried over.
    Conflict {
        winner: Side,
    },
    /// Both sides changed, and a person picks: write nothing until then.
    Ask,
    /// Put back what the side must not change: carry the other side's value to `to`, whose own
    /// value is recorded.
    Restore {
        to: Side,
    },
}

impl FieldVerdict {
    /// The side that will be written, if any.
    pub fn target(self) -> Option<Side> {
        match self {
            FieldVerdict::Nothing | FieldVerdict::Settle | FieldVerdict::Ask => None,
            FieldVerdict::Write { to } | FieldVerdict::Restore { to } => Some(to),
            FieldVerdict::Conflict { winner } => Some(winner.other()),
        }
    }
}

/// Merges one field.
pub fn merge(state: &FieldState, rule: &FieldRule) -> FieldVerdict {
    if rule.direction == Direction::Neither {
        return FieldVerdict::Nothing;
    }
    match (state.changed(Side::Left), state.changed(Side::Right)) {
        (false, false) => FieldVerdict::Nothing,
        // Or one side has come to what the other one reports to have still.
        _ if state.observed.left == state.observed.right => FieldVerdict::Settle,
        (true, false) => one_changed(Side::Left, rule),
        (false, true) => one_changed(Side::Right, rule),
        (true, true) => match winner(rule) {
            Some(winner) => FieldVerdict::Conflict { winner },
            None => FieldVerdict::Ask,
        },
    }
}

fn one_changed(side: Side, rule: &FieldRule) -> FieldVerdict {
    if rule.direction.flows_to(side.other()) {
        return FieldVerdict::Write { to: side.other() };
    }
    match rule.drift {
        Drift::Overwrite => FieldVerdict::Restore { to: side },
        Drift::Ignore => FieldVerdict::Nothing,
    }
}

/// `None` when a person must pick.
fn winner(rule: &FieldRule) -> Option<Side> {
    match rule.direction {
        Direction::LeftToRight => return Some(Side::Left),
        Direction::RightToLeft => return Some(Side::Right),
        Direction::Both | Direction::Neither => {}
    }
    match (rule.conflict, rule.times.left, rule.times.right) {
        (ConflictPolicy::Ask, _, _) => None,
        (ConflictPolicy::Right, _, _) => Some(Side::Right),
        (ConflictPolicy::Newest, Some(left), Some(right)) if right > left => Some(Side::Right),
        (ConflictPolicy::Newest | ConflictPolicy::Left, _, _) => Some(Side::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: FieldRule = FieldRule {
        direction: Direction::Both,
        conflict: ConflictPolicy::Newest,
        drift: Drift::Overwrite,
        times: BySide {
            left: None,
            right: None,
        },
    };

    fn check(base: (u64, u64), now: (u64, u64), rule: FieldRule, expected: FieldVerdict) {
        let seen = |value: u64| (value != 0).then_some(Fingerprint(value));
        let state = FieldState {
            baseline: BySide::new(Fingerprint(base.0), Fingerprint(base.1)),
            observed: BySide::new(seen(now.0), seen(now.1)),
        };
        assert_eq!(merge(&state, &rule), expected);
    }

    #[test]
    fn echo_of_own_write_plans_nothing() {
        check((1, 2), (1, 0), RULE, FieldVerdict::Nothing);
        check((1, 2), (0, 2), RULE, FieldVerdict::Nothing);
        check((1, 2), (1, 2), RULE, FieldVerdict::Nothing);
    }

    #[test]
    fn one_sided_change_is_carried_over() {
        check(
            (1, 1),
            (5, 0),
            RULE,
            FieldVerdict::Write { to: Side::Right },
        );
        check((1, 1), (1, 5), RULE, FieldVerdict::Write { to: Side::Left });
    }

    #[test]
    fn what_the_other_side_reports_to_have_is_not_written_to_it() {
        check((1, 5), (5, 5), RULE, FieldVerdict::Settle);
        check((5, 1), (5, 5), RULE, FieldVerdict::Settle);
    }

    /// See `Planner::may_have_it`.
    #[test]
    fn what_the_other_side_had_and_does_not_report_is_written() {
        let to = Side::Right;
        check((1, 5), (5, 0), RULE, FieldVerdict::Write { to });
    }

    #[test]
    fn false_conflict_settles_silently() {
        check((1, 1), (5, 5), RULE, FieldVerdict::Settle);
        check((0, 0), (5, 5), RULE, FieldVerdict::Settle);
    }

    #[test]
    fn newest_compares_times_and_falls_back_to_left() {
        let timed = |left, right| FieldRule {
            times: BySide::new(left, right),
            ..RULE
        };
        let won_by = |winner| FieldVerdict::Conflict { winner };
        check((1, 1), (5, 6), timed(Some(3), Some(4)), won_by(Side::Right));
        check((1, 1), (5, 6), timed(Some(4), Some(3)), won_by(Side::Left));
        check((1, 1), (5, 6), timed(None, Some(4)), won_by(Side::Left));
        check((1, 1), (5, 6), timed(Some(4), Some(4)), won_by(Side::Left));
    }

    #[test]
    fn one_way_field_is_restored_or_left_alone() {
        let one_way = FieldRule {
            direction: Direction::LeftToRight,
            ..RULE
        };
        check(
            (1, 1),
            (0, 5),
            one_way,
            FieldVerdict::Restore { to: Side::Right },
        );
        let ignored = FieldRule {
            drift: Drift::Ignore,
            ..one_way
        };
        check((1, 1), (0, 5), ignored, FieldVerdict::Nothing);
        check(
            (1, 1),
            (6, 5),
            one_way,
            FieldVerdict::Conflict { winner: Side::Left },
        );
    }
}
