//! Records that a filter leaves out, and links that rest because of it. See [`crate::scope`].

use super::{Decided, LinkFate, Planner, Seen, Verdict};
use crate::model::{BySide, Link, Side};
use crate::policy::Direction;
use crate::scope::Scope;

impl Planner<'_> {
    /// The verdict on a record that its side's filter leaves out, or that rested until now.
    pub(super) fn outside(&self, scope: Scope) -> Option<Verdict> {
        let mut inside = BySide::new(None, None);
        for side in Side::BOTH {
            inside[side] = match &self.case.seen[side] {
                Seen::Present { row, .. } => match scope.row_is_inside(row) {
                    None => return Some(Verdict::NeedRead(side)),
                    known => known,
                },
                Seen::Gone { .. } => None,
                Seen::Unseen => match self.case.link.as_ref().filter(|l| l.keys[side].is_some()) {
                    Some(link) if !self.case.is_renewed => match scope.was_inside(link, side) {
                        None => return Some(Verdict::NeedRead(side)),
                        known => known,
                    },
                    _ => None,
                },
            };
        }
        let is_outside = inside.left == Some(false) || inside.right == Some(false);
        let has_both = inside.left.is_some() && inside.right.is_some();
        let Some(link) = &self.case.link else {
            let rests = is_outside && has_both && inside.left != inside.right;
            return match rests {
                true => Some(self.resting(self.fresh_link())),
                false => is_outside.then(|| self.nothing(self.fresh_link(), LinkFate::None)),
            };
        };
        if self.case.is_renewed {
            let mut fresh = self.fresh_link();
            fresh.id = link.id;
            return (is_outside && has_both).then(|| self.resting(fresh));
        }
        if link.is_detached() {
            return (is_outside && has_both).then(|| self.nothing(link.clone(), LinkFate::Keep));
        }
        let is_gone = |side: &Side| self.case.seen[*side].is_gone();
        match (Side::BOTH.into_iter().find(is_gone), has_both) {
            (Some(gone), _) if !is_gone(&gone.other()) => {
                let was_outside = scope.was_inside(link, gone) == Some(false);
                (is_outside || was_outside).then(|| self.detach(gone, link))
            }
            (None, true) if is_outside => Some(self.resting(link.clone())),
            // What happened while it rested was passed over.
            (None, true) if scope.rested(link) => {
                // What the side left out as unchanged may have changed meanwhile.
                let is_unseen = |side: &Side| {
                    let seen = &self.case.seen[*side];
                    !seen.is_present() || seen.is_partial()
                };
                Side::BOTH
                    .into_iter()
                    .find(is_unseen)
                    .map(Verdict::NeedRead)
            }
            _ => None,
        }
    }

    /// A link of which nothing is carried over for now.
    fn resting(&self, link: Link) -> Verdict {
        let mut decided = self.decided(link, LinkFate::Keep);
        self.look(&mut decided);
        Verdict::Decided(Box::new(decided))
    }

    /// Remembers the fields that are only looked at.
    pub(super) fn look(&self, decided: &mut Decided) {
        for field in self.looked_at() {
            for side in Side::BOTH {
                let now = decided.observed[side][field];
                if now.is_known() && now != decided.link.baseline[side][field] {
                    decided.link.baseline[side][field] = now;
                    decided.link_changed = true;
                }
            }
        }
    }

    pub(super) fn looked_at(&self) -> impl Iterator<Item = usize> + '_ {
        let fields = self.policy.fields.iter().enumerate();
        fields
            .filter_map(|(number, field)| (field.direction == Direction::Neither).then_some(number))
    }
}
