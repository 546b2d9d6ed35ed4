//! What a person decided for a table pair: mapping, directions and policies.

use serde::{Deserialize, Serialize};

use crate::model::{BySide, PairId, Side};
use crate::reference::KeyForm;
use crate::value::Value;

/// Where a field's changes may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    Both,
    LeftToRight,
    RightToLeft,
    /// It is only looked at: a filter's verdict, or what marks a record as archived.
    Neither,
}

impl Direction {
    /// May a change travel to `side`?
    pub fn flows_to(self, side: Side) -> bool {
        match self {
            Direction::Both => true,
            Direction::Neither => false,
            Direction::LeftToRight => side == Side::Right,
            Direction::RightToLeft => side == Side::Left,
        }
    }

    pub fn mirrored(self) -> Direction {
        match self {
            Direction::Both | Direction::Neither => self,
            Direction::LeftToRight => Direction::RightToLeft,
            Direction::RightToLeft => Direction::LeftToRight,
        }
    }
}

/// What happens to the records that exist before the first run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// The right is made equal to the left for matched records; missing ones are created right.
    LeftToRight,
    RightToLeft,
    /// Missing records are created on both sides; differing fields follow the conflict policy.
    #[default]
    Merge,
    /// Matched records are linked; nothing is written.
    LinkOnly,
}

/// Who wins when both sides changed a field to different values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// The later change by each side's own clock; the left where a side gives no time.
    #[default]
    Newest,
    Left,
    Right,
    /// A person picks; until then both sides keep their value of the field, and nothing else waits.
    Ask,
}

/// Who wins when one side deleted a record that the other side edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeleteConflict {
    /// The edited record is kept and created anew on the side that deleted it.
    #[default]
    Keep,
    Delete,
    /// A person picks; until then the record stays where it is.
    Ask,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletePolicy {
    #[default]
    Propagate,
    /// The counterpart stays and is detached.
    Ignore,
    /// Like `Ignore`, and the counterpart is marked as [`PairPolicy::archive`] says.
    Archive,
}

/// What happens to a one-way field that was edited on the side it flows to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// The value is restored.
    #[default]
    Overwrite,
    /// The edit is left alone.
    Ignore,
}

/// One left field and one right field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldPair {
    pub left: String,
    pub right: String,
    pub direction: Direction,
}

/// A field pair whose values name records of a table pair of the same sync: on each side by the keys
/// that it has there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Index of the field pair.
    pub field: usize,
    /// The table pair whose records it names.
    pub to: PairId,
    pub keys: BySide<KeyForm>,
    /// Per side true where a record must have one.
    pub required: BySide<bool>,
}

/// One table pair's mapping and policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairPolicy {
    pub fields: Vec<FieldPair>,
    /// Indices into `fields` of the match key.
    pub match_key: Vec<usize>,
    pub existing: Existing,
    pub deletes: DeletePolicy,
    pub conflict: ConflictPolicy,
    pub conflict_delete: DeleteConflict,
    pub drift: Drift,
    /// Existing data is copied, and nothing is carried over after that.
    pub once: bool,
    /// Index of the field pair that tells whether a record is in its side's filter: true, false, or
    /// null where that can't be told. It flows nowhere. `None` without filters.
    pub scope: Option<usize>,
    /// What is set on the side that still has a record, for `deletes` = [`DeletePolicy::Archive`]:
    /// index of the field pair, and value.
    pub archive: BySide<Option<(usize, Value)>>,
    #[serde(default)]
    pub references: Vec<Reference>,
}

impl PairPolicy {
    /// What the field pair names, if it is a reference.
    pub fn reference(&self, field: usize) -> Option<&Reference> {
        let mut references = self.references.iter();
        references.find(|reference| reference.field == field)
    }

    /// May records be created or deleted on `side` because of the other one? Only when the match
    /// key travels there: a record without it could never be found again.
    pub fn records_flow_to(&self, side: Side) -> bool {
        self.match_key
            .iter()
            .all(|&field| self.fields[field].direction.flows_to(side))
    }
}
