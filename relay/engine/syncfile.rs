//! The sync file (`sync.toml`): parsed once, at the edge, into checked types.
//!
//! [`SyncFile::parse`] refuses what it does not know with the line, the column and what was
//! expected; [`SyncFile::render`] writes a file that parses to the same sync. Whether tables and
//! fields exist is not known here: that is the plan's work. The engine calls it.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sync::model::BySide;
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair, PairPolicy,
};
use toml::Spanned;

use super::forms::{FieldForm, Mark, Scalar};
use super::paused::{PausedField, PausedTable};
use crate::endpoint::expression::Expression;
use crate::endpoint::level::Level;
use crate::place::{FileError, parse_toml};

mod fields;
mod retention;
mod unasked;
mod write;

pub use retention::Retention;
pub use unasked::Unasked;

#[cfg(test)]
mod tests;

/// Bounds of a sync file.
pub mod limits {
    /// Bytes of a file: many thousand mapped fields.
    pub const FILE_BYTES_MAX: usize = 1 << 20;
    /// Characters of a sync's name: it becomes part of slot names, which PostgreSQL cuts at 63.
    pub const NAME_CHARS_MAX: usize = 40;
    /// Table pairs of a sync.
    pub const TABLES_MAX: usize = 500;
    /// Field pairs of a table pair: PostgreSQL's own bound for columns.
    pub const FIELDS_MAX: usize = 1600;
    /// Minutes between two comparisons.
    pub const VERIFY_MINUTES: std::ops::RangeInclusive<u32> = 1..=366 * 24 * 60;
}

/// A checked sync file.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncFile {
    /// `[a-z0-9][a-z0-9-]*`.
    pub name: String,
    /// Name of the left connection.
    pub left: String,
    /// Name of the right connection, another one than the left.
    pub right: String,
    /// How each side's changes are to be read; `None`: the best way that the side offers.
    pub captures: BySide<Option<Level>>,
    /// How often both sides are compared by themselves; `None`: only when a person asks.
    pub verify: Option<Duration>,
    pub history: Retention,
    /// Table pairs in the order of the file; the index is the pair's `PairId`. Never empty.
    pub tables: Vec<TableFile>,
    /// Table pairs that were taken out of it because they can't be synced at present. A file that was
    /// just read has none.
    pub paused: Vec<PausedTable>,
}

/// One table pair of a sync file.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFile {
    pub left: String,
    pub right: String,
    /// Key fields that `fields` does not list come first, in both directions.
    pub policy: PairPolicy,
    /// How the columns of each of the policy's field pairs relate.
    pub forms: Vec<FieldForm>,
    pub filters: BySide<Option<String>>,
    /// On which side what is set instead of a deletion.
    pub archive: BySide<Option<Mark>>,
    pub unasked: Unasked,
    /// Field pairs that were taken out of it because they can't be synced at present. A file that was
    /// just read has none.
    pub paused: Vec<PausedField>,
}

impl SyncFile {
    /// Parses and checks `text`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place: `line 7, column 3: …`.
    pub fn parse(text: &str) -> Result<SyncFile, FileError> {
        if text.len() > limits::FILE_BYTES_MAX {
            let message = format!("a sync file has at most {} bytes", limits::FILE_BYTES_MAX);
            return Err(FileError::at(text, 0..0, message));
        }
        let raw: RawSync = parse_toml(text)?;
        let names = |table: &Spanned<RawTable>| {
            let RawTable { left, right, .. } = table.get_ref();
            BySide::new(left.get_ref().clone(), right.get_ref().clone())
        };
        let pairs = raw.table.iter().map(names).collect();
        Reader { text, pairs }.sync(raw)
    }

    /// The word of a sync file that stands for a choice about existing data.
    pub fn word_of(existing: Existing) -> &'static str {
        name_in(EXISTING, existing)
    }
}

/// The words of one key, and what they stand for.
type Words<T> = &'static [(&'static str, T)];

const CAPTURE: Words<Option<Level>> = &[
    ("auto", None),
    ("stream", Some(Level::Stream)),
    ("peek", Some(Level::Peek)),
    ("triggers", Some(Level::Triggers)),
    ("poll", Some(Level::Poll)),
    ("compare", Some(Level::Compare)),
];
const DIRECTION: Words<Direction> = &[
    ("both", Direction::Both),
    ("left-to-right", Direction::LeftToRight),
    ("right-to-left", Direction::RightToLeft),
];
const EXISTING: Words<Existing> = &[
    ("left-to-right", Existing::LeftToRight),
    ("right-to-left", Existing::RightToLeft),
    ("merge", Existing::Merge),
    ("link-only", Existing::LinkOnly),
];
/// Which data is carried over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Both,
    /// Existing records are linked, and only what changes from now on is carried over.
    Future,
    /// Nothing after the first copy.
    Existing,
}

const CHANGES: Words<Which> = &[
    ("both", Which::Both),
    ("future", Which::Future),
    ("existing", Which::Existing),
];
const DELETES: Words<DeletePolicy> = &[
    ("propagate", DeletePolicy::Propagate),
    ("ignore", DeletePolicy::Ignore),
    ("archive", DeletePolicy::Archive),
];
const CONFLICT: Words<ConflictPolicy> = &[
    ("newest", ConflictPolicy::Newest),
    ("left", ConflictPolicy::Left),
    ("right", ConflictPolicy::Right),
    ("ask", ConflictPolicy::Ask),
];
const CONFLICT_DELETE: Words<DeleteConflict> = &[
    ("keep", DeleteConflict::Keep),
    ("delete", DeleteConflict::Delete),
    ("ask", DeleteConflict::Ask),
];
const DRIFT: Words<Drift> = &[("overwrite", Drift::Overwrite), ("ignore", Drift::Ignore)];

fn name_in<T: Copy + PartialEq>(words: Words<T>, value: T) -> &'static str {
    let found = words.iter().find(|(_, word)| *word == value);
    found.map_or("", |(name, _)| name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSync {
    name: Spanned<String>,
    left: Spanned<String>,
    right: Spanned<String>,
    capture_left: Option<Spanned<String>>,
    capture_right: Option<Spanned<String>>,
    verify: Option<Spanned<String>>,
    history: Option<Spanned<String>>,
    #[serde(default)]
    table: Vec<Spanned<RawTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    left: Spanned<String>,
    right: Spanned<String>,
    key: Spanned<Vec<Spanned<Vec<String>>>>,
    fields: Spanned<Vec<Spanned<RawField>>>,
    existing: Option<Spanned<String>>,
    changes: Option<Spanned<String>>,
    deletes: Option<Spanned<String>>,
    deletes_unasked: Option<Spanned<unasked::RawUnasked>>,
    conflict: Option<Spanned<String>>,
    conflict_delete: Option<Spanned<String>>,
    drift: Option<Spanned<String>>,
    filter_left: Option<Spanned<String>>,
    filter_right: Option<Spanned<String>>,
    archive_left: Option<Spanned<RawMark>>,
    archive_right: Option<Spanned<RawMark>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMark {
    field: String,
    value: RawScalar,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, true or false")]
enum RawScalar {
    Bool(bool),
    Int(i64),
    Text(String),
}

impl From<&RawScalar> for Scalar {
    fn from(raw: &RawScalar) -> Scalar {
        match raw {
            RawScalar::Bool(value) => Scalar::Bool(*value),
            RawScalar::Int(number) => Scalar::Int(*number),
            RawScalar::Text(text) => Scalar::Text(text.clone()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    left: Option<Spanned<String>>,
    right: Option<Spanned<String>>,
    left_value: Option<Spanned<String>>,
    right_value: Option<Spanned<String>>,
    direction: Option<Spanned<String>>,
    values: Option<Spanned<Vec<Spanned<Vec<RawScalar>>>>>,
    null_left: Option<Spanned<RawScalar>>,
    null_right: Option<Spanned<RawScalar>>,
    link: Option<Spanned<String>>,
    left_links: Option<Spanned<RawThrough>>,
    right_links: Option<Spanned<RawThrough>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThrough {
    through: Spanned<String>,
    from: Spanned<String>,
    to: Spanned<String>,
}

/// Turns what was read into checked types; knows the text, for places.
struct Reader<'a> {
    text: &'a str,
    /// The tables of the file's pairs, which links may name.
    pairs: Vec<BySide<String>>,
}

impl Reader<'_> {
    fn sync(&self, raw: RawSync) -> Result<SyncFile, FileError> {
        self.check_name(&raw.name)?;
        self.check_filled(&raw.left, "the name of a connection")?;
        self.check_filled(&raw.right, "the name of a connection")?;
        if raw.left.get_ref() == raw.right.get_ref() {
            let message = "left and right are the same connection; a sync needs two";
            return Err(self.error(&raw.right, message));
        }
        if raw.table.is_empty() || raw.table.len() > limits::TABLES_MAX {
            let most = limits::TABLES_MAX;
            let message =
                format!("expected 1 to {most} [[table]]: add one for each pair of tables");
            return Err(FileError::at(
                self.text,
                self.text.len()..self.text.len(),
                message,
            ));
        }
        let captures = BySide::new(
            self.word(raw.capture_left.as_ref(), CAPTURE, None)?,
            self.word(raw.capture_right.as_ref(), CAPTURE, None)?,
        );
        let history = self.history(raw.history.as_ref())?;
        let mut tables: Vec<TableFile> = Vec::with_capacity(raw.table.len());
        for table in raw.table {
            let raw = table.into_inner();
            let is_left_taken = tables.iter().any(|one| one.left == *raw.left.get_ref());
            let is_right_taken = tables.iter().any(|one| one.right == *raw.right.get_ref());
            for (table, is_taken) in [(&raw.left, is_left_taken), (&raw.right, is_right_taken)] {
                if is_taken {
                    let message = "this table is in another [[table]] already; a table can be in \
                                   one pair of a sync";
                    return Err(self.error(table, message));
                }
            }
            tables.push(self.table(raw)?);
        }
        let verify = raw.verify.as_ref().map(|every| self.verify(every));
        Ok(SyncFile {
            verify: verify.transpose()?,
            name: raw.name.into_inner(),
            left: raw.left.into_inner(),
            right: raw.right.into_inner(),
            captures,
            history,
            tables,
            paused: Vec::new(),
        })
    }

    /// `30m`, `24h` or `7d`.
    fn verify(&self, raw: &Spanned<String>) -> Result<Duration, FileError> {
        let text = raw.get_ref();
        let minutes_of = |unit| match unit {
            'm' => Some(1),
            'h' => Some(60),
            'd' => Some(24 * 60),
            _ => None,
        };
        let unit = text.chars().next_back();
        let number = unit.and_then(|unit| text.strip_suffix(unit)?.parse::<u32>().ok());
        let minutes = number.zip(unit.and_then(minutes_of));
        let minutes = minutes.and_then(|(number, unit): (u32, u32)| number.checked_mul(unit));
        match minutes.filter(|minutes| limits::VERIFY_MINUTES.contains(minutes)) {
            Some(minutes) => Ok(Duration::from_secs(u64::from(minutes) * 60)),
            None => {
                let message =
                    format!("expected a time from 1m to 366d, such as \"24h\", found {text:?}");
                Err(self.error(raw, message))
            }
        }
    }

    fn history(&self, raw: Option<&Spanned<String>>) -> Result<Retention, FileError> {
        let Some(raw) = raw else {
            return Ok(Retention::default());
        };
        let message = "expected how long history keeps values, from \"1h\" to \"366d\", or \"off\"";
        Retention::parse(raw.get_ref()).ok_or_else(|| self.error(raw, message))
    }

    fn table(&self, raw: RawTable) -> Result<TableFile, FileError> {
        self.check_filled(&raw.left, "a table")?;
        self.check_filled(&raw.right, "a table")?;
        let (mut fields, mut forms) = self.fields(&raw.fields)?;
        let match_key = self.match_key(&raw.key, &mut fields, &mut forms)?;
        let (existing, once) = self.existing(&raw)?;
        let filters = BySide::new(raw.filter_left.as_ref(), raw.filter_right.as_ref());
        for filter in [filters.left, filters.right].into_iter().flatten() {
            self.check_expression(filter)?;
        }
        let archive = self.archive(&raw)?;
        let unasked = self.unasked(raw.deletes_unasked.as_ref())?;
        let policy = PairPolicy {
            fields,
            match_key,
            existing,
            deletes: self.word(raw.deletes.as_ref(), DELETES, DeletePolicy::default())?,
            conflict: self.word(raw.conflict.as_ref(), CONFLICT, ConflictPolicy::default())?,
            conflict_delete: self.word(
                raw.conflict_delete.as_ref(),
                CONFLICT_DELETE,
                DeleteConflict::default(),
            )?,
            drift: self.word(raw.drift.as_ref(), DRIFT, Drift::default())?,
            once,
            scope: None,
            archive: BySide::default(),
            // They are known with the tables' columns.
            references: Vec::new(),
        };
        let text = |filter: Option<&Spanned<String>>| filter.map(|text| text.get_ref().clone());
        Ok(TableFile {
            filters: BySide::new(text(filters.left), text(filters.right)),
            left: raw.left.into_inner(),
            right: raw.right.into_inner(),
            policy,
            forms,
            archive,
            unasked,
            paused: Vec::new(),
        })
    }

    /// `changes = "future"` is what `existing = "link-only"` does. True for existing data only.
    fn existing(&self, raw: &RawTable) -> Result<(Existing, bool), FileError> {
        let which = self.word(raw.changes.as_ref(), CHANGES, Which::Both)?;
        let existing = self.word(raw.existing.as_ref(), EXISTING, Existing::default())?;
        match &raw.existing {
            _ if which != Which::Future => Ok((existing, which == Which::Existing)),
            Some(word) if existing != Existing::LinkOnly => {
                let message = "changes = \"future\" copies no existing data: remove `existing`, \
                               or write existing = \"link-only\"";
                Err(self.error(word, message))
            }
            _ => Ok((Existing::LinkOnly, false)),
        }
    }

    fn archive(&self, raw: &RawTable) -> Result<BySide<Option<Mark>>, FileError> {
        let archives = raw
            .deletes
            .as_ref()
            .filter(|word| word.get_ref() == "archive");
        let marks = BySide::new(raw.archive_left.as_ref(), raw.archive_right.as_ref());
        match (archives, marks.left.or(marks.right)) {
            (Some(word), None) => {
                let message = "deletes = \"archive\" needs archive_left or archive_right: what is set \
                               there, such as { field = \"archived\", value = true }";
                return Err(self.error(word, message));
            }
            (None, Some(mark)) => {
                let message = "this is for deletes = \"archive\": add that, or remove it";
                return Err(self.error(mark, message));
            }
            _ => {}
        }
        let mark = |raw: Option<&Spanned<RawMark>>| {
            raw.map(|raw| Mark {
                field: raw.get_ref().field.clone(),
                value: Scalar::from(&raw.get_ref().value),
            })
        };
        Ok(BySide::new(mark(marks.left), mark(marks.right)))
    }

    fn check_expression(&self, source: &Spanned<String>) -> Result<(), FileError> {
        let checked = Expression::check(source.get_ref());
        checked.map(drop).map_err(|reason| {
            let message = format!("expected an expression (CEL): {reason}");
            self.error(source, message)
        })
    }

    /// Indices of the key's fields. One that `fields` does not list is added in front of them.
    fn match_key(
        &self,
        raw: &Spanned<Vec<Spanned<Vec<String>>>>,
        fields: &mut Vec<FieldPair>,
        forms: &mut Vec<FieldForm>,
    ) -> Result<Vec<usize>, FileError> {
        if raw.get_ref().is_empty() {
            return Err(self.error(raw, KEY_EXPECTED));
        }
        let mut names: Vec<(&str, &str)> = Vec::new();
        for part in raw.get_ref() {
            let [left, right] = part.get_ref().as_slice() else {
                return Err(self.error(part, KEY_EXPECTED));
            };
            if left.is_empty() || right.is_empty() || names.contains(&(left, right)) {
                return Err(self.error(part, KEY_EXPECTED));
            }
            let is_listed = self.is_listed(part, (left, right), fields)?;
            let listed = fields.iter().position(|field| field.left == *left);
            let form = listed.and_then(|at| forms.get(at));
            if form.is_some_and(|form| *form != FieldForm::Same) {
                let message = "a field of the match key must hold the same on both sides: without a \
                               value map or a link";
                return Err(self.error(part, message));
            }
            if !is_listed {
                let added = names.len().min(fields.len());
                fields.insert(
                    added,
                    FieldPair {
                        left: left.clone(),
                        right: right.clone(),
                        direction: Direction::Both,
                    },
                );
                forms.insert(added, FieldForm::Same);
            }
            names.push((left, right));
        }
        if fields.len() > limits::FIELDS_MAX {
            let message = format!("a table pair has at most {} fields", limits::FIELDS_MAX);
            return Err(self.error(raw, message));
        }
        let place_of = |(left, right): (&str, &str)| {
            fields
                .iter()
                .position(|field| field.left == left && field.right == right)
        };
        Ok(names.into_iter().filter_map(place_of).collect())
    }

    /// Does `fields` list this part of the key? Refuses a field that can't be part of a key.
    fn is_listed(
        &self,
        part: &Spanned<Vec<String>>,
        (left, right): (&str, &str),
        fields: &[FieldPair],
    ) -> Result<bool, FileError> {
        let Some(field) = fields
            .iter()
            .find(|field| field.left == left || field.right == right)
        else {
            return Ok(false);
        };
        if field.left != left || field.right != right {
            let message = format!(
                "the match key pairs `{left}` with `{right}`, but `fields` pairs `{}` with `{}`",
                field.left, field.right
            );
            return Err(self.error(part, message));
        }
        if field.direction != Direction::Both {
            let message = format!("the match key's field `{left}` must have direction \"both\"");
            return Err(self.error(part, message));
        }
        Ok(true)
    }

    /// The choice that a word stands for.
    fn word<T: Copy>(
        &self,
        raw: Option<&Spanned<String>>,
        words: Words<T>,
        default: T,
    ) -> Result<T, FileError> {
        let Some(raw) = raw else { return Ok(default) };
        if let Some((_, choice)) = words.iter().find(|(name, _)| name == raw.get_ref()) {
            return Ok(*choice);
        }
        let known: Vec<String> = words
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let known = known.join(" or ");
        let message = format!("expected {known}, found {:?}", raw.get_ref());
        Err(self.error(raw, message))
    }

    fn check_name(&self, name: &Spanned<String>) -> Result<(), FileError> {
        let text = name.get_ref();
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if starts_well && text.len() <= limits::NAME_CHARS_MAX && text.chars().all(is_inner) {
            return Ok(());
        }
        let message = format!(
            "expected a name of 1 to {} of a-z, 0-9 and -, beginning with a letter or digit, \
             found {text:?}",
            limits::NAME_CHARS_MAX
        );
        Err(self.error(name, message))
    }

    fn check_filled(&self, text: &Spanned<String>, expected: &str) -> Result<(), FileError> {
        if text.get_ref().trim().is_empty() {
            return Err(self.error(text, format!("expected {expected}, found an empty text")));
        }
        Ok(())
    }

    fn error<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> FileError {
        FileError::at(self.text, at.span(), message)
    }
}

const KEY_EXPECTED: &str = "expected pairs of a left and a right field, each once, such as \
                            [[\"slug\", \"Slug\"]]";
