//! The sync file (`sync.toml`): parsed once, at the edge, into checked types.
//!
//! [`SyncFile::parse`] refuses what it does not know with the line, the column and what was
//! expected; [`SyncFile::render`] writes a file that parses to the same sync. Whether tables and
//! fields exist is not known here: that is the plan's work. The engine calls it.

use serde::Deserialize;
use tidegate_sync::model::{BySide, Side};
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair, PairPolicy,
};
use toml::Spanned;

use crate::endpoint::level::Level;
use crate::place::{FileError, parse_toml};

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
    /// Table pairs in the order of the file; the index is the pair's `PairId`. Never empty.
    pub tables: Vec<TableFile>,
}

/// One table pair of a sync file.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFile {
    pub left: String,
    pub right: String,
    /// Key fields that `fields` does not list come first, in both directions.
    pub policy: PairPolicy,
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
        Reader { text }.sync(raw)
    }

    /// A file that parses to this sync, with every policy spelled out.
    pub fn render(&self) -> String {
        let mut out = format!("name = {}\n", quote(&self.name));
        out += &format!("left = {}\n", quote(&self.left));
        out += &format!("right = {}\n", quote(&self.right));
        for side in Side::BOTH {
            let word = name_in(CAPTURE, self.captures[side]);
            out += &format!("capture_{} = \"{word}\"\n", side.name());
        }
        for table in &self.tables {
            table.render(&mut out);
        }
        out
    }
}

impl TableFile {
    fn render(&self, out: &mut String) {
        let policy = &self.policy;
        let pair = |field: &FieldPair| format!("[{}, {}]", quote(&field.left), quote(&field.right));
        let key = policy.match_key.iter();
        let key: Vec<String> = key.map(|&field| pair(&policy.fields[field])).collect();
        *out += "\n[[table]]\n";
        *out += &format!("left = {}\n", quote(&self.left));
        *out += &format!("right = {}\n", quote(&self.right));
        *out += &format!("key = [{}]\n", key.join(", "));
        *out += &format!("existing = \"{}\"\n", name_in(EXISTING, policy.existing));
        *out += &format!("deletes = \"{}\"\n", name_in(DELETES, policy.deletes));
        *out += &format!("conflict = \"{}\"\n", name_in(CONFLICT, policy.conflict));
        let delete = name_in(CONFLICT_DELETE, policy.conflict_delete);
        *out += &format!("conflict_delete = \"{delete}\"\n");
        *out += &format!("drift = \"{}\"\n", name_in(DRIFT, policy.drift));
        *out += "fields = [\n";
        for field in &policy.fields {
            let (left, right) = (quote(&field.left), quote(&field.right));
            let direction = name_in(DIRECTION, field.direction);
            *out +=
                &format!("  {{ left = {left}, right = {right}, direction = \"{direction}\" }},\n");
        }
        *out += "]\n";
    }
}

/// A TOML string on one line.
fn quote(text: &str) -> String {
    // JSON's escapes are a subset of those of a TOML basic string, but for the delete character.
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007F")
}

/// The words of one key: `Some` for a choice, `None` for what comes in a later version.
type Words<T> = &'static [(&'static str, Option<T>)];

const CAPTURE: Words<Option<Level>> = &[
    ("auto", Some(None)),
    ("stream", Some(Some(Level::Stream))),
    ("peek", Some(Some(Level::Peek))),
    ("triggers", Some(Some(Level::Triggers))),
];
const DIRECTION: Words<Direction> = &[
    ("both", Some(Direction::Both)),
    ("left-to-right", Some(Direction::LeftToRight)),
    ("right-to-left", Some(Direction::RightToLeft)),
];
const EXISTING: Words<Existing> = &[
    ("left-to-right", Some(Existing::LeftToRight)),
    ("right-to-left", Some(Existing::RightToLeft)),
    ("merge", Some(Existing::Merge)),
    ("link-only", Some(Existing::LinkOnly)),
];
/// True: existing records are linked, and only what changes from now on is carried over.
const CHANGES: Words<bool> = &[
    ("both", Some(false)),
    ("future", Some(true)),
    ("existing", None),
];
const DELETES: Words<DeletePolicy> = &[
    ("propagate", Some(DeletePolicy::Propagate)),
    ("ignore", Some(DeletePolicy::Ignore)),
    ("archive", None),
];
const CONFLICT: Words<ConflictPolicy> = &[
    ("newest", Some(ConflictPolicy::Newest)),
    ("left", Some(ConflictPolicy::Left)),
    ("right", Some(ConflictPolicy::Right)),
    ("ask", None),
];
const CONFLICT_DELETE: Words<DeleteConflict> = &[
    ("keep", Some(DeleteConflict::Keep)),
    ("delete", Some(DeleteConflict::Delete)),
    ("ask", None),
];
const DRIFT: Words<Drift> = &[
    ("overwrite", Some(Drift::Overwrite)),
    ("ignore", Some(Drift::Ignore)),
];

fn name_in<T: Copy + PartialEq>(words: Words<T>, value: T) -> &'static str {
    let found = words.iter().find(|(_, word)| *word == Some(value));
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
    conflict: Option<Spanned<String>>,
    conflict_delete: Option<Spanned<String>>,
    drift: Option<Spanned<String>>,
    filter_left: Option<Spanned<toml::Value>>,
    filter_right: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    left: Spanned<String>,
    right: Spanned<String>,
    direction: Option<Spanned<String>>,
    link: Option<Spanned<toml::Value>>,
}

/// Turns what was read into checked types; knows the text, for places.
struct Reader<'a> {
    text: &'a str,
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
        Ok(SyncFile {
            name: raw.name.into_inner(),
            left: raw.left.into_inner(),
            right: raw.right.into_inner(),
            captures,
            tables,
        })
    }

    fn table(&self, raw: RawTable) -> Result<TableFile, FileError> {
        self.check_filled(&raw.left, "a table")?;
        self.check_filled(&raw.right, "a table")?;
        if let Some(filter) = raw.filter_left.as_ref().or(raw.filter_right.as_ref()) {
            let message = "this version can't do filters yet: leave it out to sync every record";
            return Err(self.error(filter, message));
        }
        let mut fields = self.fields(&raw.fields)?;
        let match_key = self.match_key(&raw.key, &mut fields)?;
        let existing = self.existing(&raw)?;
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
        };
        Ok(TableFile {
            left: raw.left.into_inner(),
            right: raw.right.into_inner(),
            policy,
        })
    }

    /// `changes = "future"` is what `existing = "link-only"` does.
    fn existing(&self, raw: &RawTable) -> Result<Existing, FileError> {
        let only_future = self.word(raw.changes.as_ref(), CHANGES, false)?;
        let existing = self.word(raw.existing.as_ref(), EXISTING, Existing::default())?;
        match &raw.existing {
            _ if !only_future => Ok(existing),
            Some(word) if existing != Existing::LinkOnly => {
                let message = "changes = \"future\" copies no existing data: remove `existing`, \
                               or write existing = \"link-only\"";
                Err(self.error(word, message))
            }
            _ => Ok(Existing::LinkOnly),
        }
    }

    fn fields(&self, raw: &Spanned<Vec<Spanned<RawField>>>) -> Result<Vec<FieldPair>, FileError> {
        let mut fields: Vec<FieldPair> = Vec::with_capacity(raw.get_ref().len());
        for raw in raw.get_ref() {
            let raw = raw.get_ref();
            if let Some(link) = &raw.link {
                let message = "this version can't do links to other table pairs yet: leave it out \
                               to copy the value itself";
                return Err(self.error(link, message));
            }
            self.check_filled(&raw.left, "a field")?;
            self.check_filled(&raw.right, "a field")?;
            let is_left_taken = fields.iter().any(|one| one.left == *raw.left.get_ref());
            let is_right_taken = fields.iter().any(|one| one.right == *raw.right.get_ref());
            for (side, field, is_taken) in [
                ("left", &raw.left, is_left_taken),
                ("right", &raw.right, is_right_taken),
            ] {
                if is_taken {
                    let message = format!("the {side} field `{}` is mapped twice", field.get_ref());
                    return Err(self.error(field, message));
                }
            }
            fields.push(FieldPair {
                left: raw.left.get_ref().clone(),
                right: raw.right.get_ref().clone(),
                direction: self.word(raw.direction.as_ref(), DIRECTION, Direction::default())?,
            });
        }
        Ok(fields)
    }

    /// Indices of the key's fields. One that `fields` does not list is added in front of them.
    fn match_key(
        &self,
        raw: &Spanned<Vec<Spanned<Vec<String>>>>,
        fields: &mut Vec<FieldPair>,
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
        let known = words.iter().filter(|(_, choice)| choice.is_some());
        let known: Vec<String> = known.map(|(name, _)| format!("\"{name}\"")).collect();
        let known = known.join(" or ");
        match words.iter().find(|(name, _)| name == raw.get_ref()) {
            Some((_, Some(choice))) => Ok(*choice),
            Some((name, None)) => {
                let message = format!("this version can't do \"{name}\" yet: expected {known}");
                Err(self.error(raw, message))
            }
            None => {
                let message = format!("expected {known}, found {:?}", raw.get_ref());
                Err(self.error(raw, message))
            }
        }
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
