//! How many records may be deleted without asking: `deletes_unasked = { records = 50, percent = 5 }`.

use serde::Deserialize;
use toml::Spanned;

use super::Reader;
use crate::engine::limits::{DELETES_UNASKED_MAX, DELETES_UNASKED_PERCENT_MAX};
use crate::place::FileError;

/// A person is asked before more records than both of these are deleted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unasked {
    pub records: u32,
    /// Of the table's records, 0 to 100; with 100, nobody is asked.
    pub percent: u32,
}

impl Default for Unasked {
    fn default() -> Self {
        Unasked {
            records: DELETES_UNASKED_MAX,
            percent: DELETES_UNASKED_PERCENT_MAX,
        }
    }
}

impl Unasked {
    pub(super) fn render(self) -> String {
        let Unasked { records, percent } = self;
        format!("{{ records = {records}, percent = {percent} }}")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUnasked {
    records: Option<u32>,
    percent: Option<u32>,
}

impl Reader<'_> {
    pub(super) fn unasked(&self, raw: Option<&Spanned<RawUnasked>>) -> Result<Unasked, FileError> {
        let default = Unasked::default();
        let Some(raw) = raw else {
            return Ok(default);
        };
        let RawUnasked { records, percent } = raw.get_ref();
        let unasked = Unasked {
            records: records.unwrap_or(default.records),
            percent: percent.unwrap_or(default.percent),
        };
        if unasked.percent > 100 {
            return Err(self.error(raw, "expected a percentage from 0 to 100"));
        }
        Ok(unasked)
    }
}
