//! Two records of which one has come to take the place of another in a link.

use super::{Planner, Verdict};
use crate::model::{Link, Side};

impl Planner<'_> {
    /// Two records that take over a link.
    pub(super) fn renewed(&self, link: &Link) -> Verdict {
        let mut fresh = self.fresh_link();
        fresh.id = link.id;
        if self.case.is_renewed && !link.is_detached() {
            self.keep_agreed(link, &mut fresh);
        }
        let is_unseen = |side: &Side| !self.case.seen[*side].is_present();
        match Side::BOTH.into_iter().find(is_unseen) {
            Some(side) => Verdict::NeedRead(side),
            None => self.merged(&fresh),
        }
    }

    /// What the record that stays had agreed on with the one that is gone. Should the newcomer go, too, before
    /// they have agreed on something else, it is no edit.
    fn keep_agreed(&self, link: &Link, fresh: &mut Link) {
        let stays = |side: Side| {
            let since = self.case.since[side];
            self.case.keys[side] == link.keys[side] && since == link.since[side]
        };
        let side = match (stays(Side::Left), stays(Side::Right)) {
            (true, false) => Side::Left,
            (false, true) => Side::Right,
            _ => return,
        };
        let own = |field: &usize| self.policy.reference(*field).is_none();
        for field in (0..self.policy.fields.len()).filter(own) {
            let agreed = link.baseline[side][field];
            if agreed.is_known() {
                fresh.baseline[side][field] = agreed;
            }
        }
    }
}
