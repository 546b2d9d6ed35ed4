//! How far a session has taken in one side's history.

use crate::model::{BatchId, Change, Place, Position, Since};

#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// The end of the last transaction that was taken in whole.
    pub position: Position,
    /// Everything up to here was taken in: further than `position` within a transaction that comes
    /// in parts.
    pub place: Place,
    passed: BatchId,
}

impl Reach {
    pub fn at(position: Position) -> Reach {
        Reach {
            place: Place::end_of(position.offset),
            passed: position.passed,
            position,
        }
    }

    pub fn advance(&mut self, last: Option<&Change>, end: Option<&Position>) {
        if let Some(change) = last {
            self.place = self.place.max(change.place());
            self.passed = self.passed.max(change.passed);
        }
        if let Some(end) = end {
            *self = Reach::at(end.clone());
        }
    }

    /// Now, in the side's history.
    pub fn moment(&self) -> Since {
        Since {
            batch: self.passed,
            place: self.place,
        }
    }
}
