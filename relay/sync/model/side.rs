//! The two sides of a sync. There is no source and no target: a step says which side it goes to.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Left,
    Right,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Left, Side::Right];

    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    /// `left` or `right`, as in files, logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            Side::Left => "left",
            Side::Right => "right",
        }
    }
}

/// One `T` for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BySide<T> {
    pub left: T,
    pub right: T,
}

impl<T> BySide<T> {
    pub fn new(left: T, right: T) -> Self {
        BySide { left, right }
    }

    /// Builds both halves by the same rule.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Self {
        BySide {
            left: make(Side::Left),
            right: make(Side::Right),
        }
    }

    pub fn as_ref(&self) -> BySide<&T> {
        BySide {
            left: &self.left,
            right: &self.right,
        }
    }
}

impl<T> Index<Side> for BySide<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }
}

impl<T> IndexMut<Side> for BySide<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }
}
