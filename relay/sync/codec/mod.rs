//! Which values a field can hold, and which pairs of field types can be synced.
//!
//! Three things say the same from different ends: a [`FieldType`] names a set of values, [`holds`]
//! decides whether one value is in it, and [`travel`] whether all of another type's values are.
//! `tests/codec` checks that they agree for every pair of types. Endpoints map their own types to
//! field types; [`app`] lists those that apps have in common.

pub mod app;
mod decimal;
mod field_type;
mod holds;
mod misfit;
mod travel;

pub use self::decimal::is_decimal;
pub use self::field_type::{FieldType, LineForm};
pub use self::holds::{
    DATE_FIRST, DATE_LAST, TIMESTAMP_FIRST, TIMESTAMP_LAST, as_text, holds, narrow_float,
};
pub use self::misfit::Misfit;
pub use self::travel::{Relation, Travel, relate, travel};
pub use crate::json::normal_json;
