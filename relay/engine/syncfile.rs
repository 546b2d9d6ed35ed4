//! The sync file (`sync.toml`): parsed once, at the edge, into checked types.
//!
//! A wrong file is refused with line, column and what was expected.

use serde::Deserialize;
use tidegate_sync::policy::{
    ConflictPolicy, DeleteConflict, DeletePolicy, Direction, Drift, Existing, FieldPair,
    PairPolicy,
};
use toml::Spanned;

/// A checked sync file.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncFile {
    pub name: String,
    pub left: String,
    pub right: String,
    pub tables: Vec<TableFile>,
}

/// One table pair of a sync file.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFile {
    pub left: String,
    pub right: String,
    pub policy: PairPolicy,
}

/// Longest name of a sync, characters: it becomes part of slot names, which PostgreSQL cuts at 63.
pub const NAME_CHARS_MAX: usize = 40;

/// Largest sync file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    name: Spanned<String>,
    left: String,
    right: String,
    #[serde(default, rename = "table")]
    tables: Vec<Spanned<RawTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    left: String,
    right: String,
    key: Spanned<Vec<(String, String)>>,
    #[serde(default)]
    existing: Existing,
    #[serde(default)]
    changes: Option<Spanned<String>>,
    #[serde(default)]
    deletes: Option<Spanned<String>>,
    #[serde(default)]
    conflict: Option<Spanned<String>>,
    #[serde(default)]
    conflict_delete: Option<Spanned<String>>,
    #[serde(default)]
    drift: Drift,
    #[serde(default)]
    filter_left: Option<Spanned<String>>,
    #[serde(default)]
    filter_right: Option<Spanned<String>>,
    fields: Vec<Spanned<RawField>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    left: String,
    right: String,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    link: Option<Spanned<String>>,
}

impl SyncFile {
    /// Parses and checks `text`. The error is for people: `line 7, column 3: …`.
    pub fn parse(text: &str) -> Result<SyncFile, String> {
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("the sync file is larger than {FILE_BYTES_MAX} bytes"));
        }
        let raw: RawFile = toml::from_str(text).map_err(|error| located(text, &error))?;
        let at = |span: std::ops::Range<usize>, message: String| place(text, span.start, &message);
        check_name(raw.name.get_ref()).map_err(|message| at(raw.name.span(), message))?;
        if raw.tables.is_empty() {
            return Err("there is no [[table]]: add one for each pair of tables".to_owned());
        }
        let mut tables = Vec::new();
        for table in raw.tables {
            tables.push(table_of(text, table)?);
        }
        Ok(SyncFile {
            name: raw.name.into_inner(),
            left: raw.left,
            right: raw.right,
            tables,
        })
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        return Ok(());
    }
    Err(format!(
        "`{name}` can't be a sync's name: use 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -"
    ))
}

fn table_of(text: &str, table: Spanned<RawTable>) -> Result<TableFile, String> {
    let start = table.span().start;
    let table = table.into_inner();
    let fields: Vec<FieldPair> = fields_of(text, table.fields)?;
    if fields.is_empty() {
        return Err(place(text, start, "`fields` is empty: map at least the match key's fields"));
    }
    let match_key = match_key_of(text, &table.key, &fields)?;
    for filter in [&table.filter_left, &table.filter_right].into_iter().flatten() {
        return Err(later(text, filter, "filters"));
    }
    if let Some(changes) = &table.changes
        && changes.get_ref() != "both"
    {
        return Err(later(text, changes, "changes other than \"both\""));
    }
    let policy = PairPolicy {
        fields,
        match_key,
        existing: table.existing,
        deletes: choose(
            text,
            &table.deletes,
            &[("propagate", DeletePolicy::Propagate), ("ignore", DeletePolicy::Ignore)],
            &["archive"],
        )?,
        conflict: choose(
            text,
            &table.conflict,
            &[
                ("newest", ConflictPolicy::Newest),
                ("left", ConflictPolicy::Left),
                ("right", ConflictPolicy::Right),
            ],
            &["ask"],
        )?,
        conflict_delete: choose(
            text,
            &table.conflict_delete,
            &[("keep", DeleteConflict::Keep), ("delete", DeleteConflict::Delete)],
            &["ask"],
        )?,
        drift: table.drift,
    };
    Ok(TableFile { left: table.left, right: table.right, policy })
}

fn fields_of(text: &str, raw: Vec<Spanned<RawField>>) -> Result<Vec<FieldPair>, String> {
    let mut fields: Vec<FieldPair> = Vec::new();
    for field in raw {
        let start = field.span().start;
        let RawField { left, right, direction, link } = field.into_inner();
        if let Some(link) = &link {
            return Err(later(text, link, "links to other table pairs"));
        }
        for known in &fields {
            let (side, name) = if known.left == left {
                ("left", &left)
            } else if known.right == right {
                ("right", &right)
            } else {
                continue;
            };
            let message = format!("the {side} field `{name}` is mapped twice");
            return Err(place(text, start, &message));
        }
        fields.push(FieldPair { left, right, direction });
    }
    Ok(fields)
}

fn match_key_of(
    text: &str,
    key: &Spanned<Vec<(String, String)>>,
    fields: &[FieldPair],
) -> Result<Vec<usize>, String> {
    let start = key.span().start;
    if key.get_ref().is_empty() {
        let message = "`key` is empty: name at least one pair of fields, as in [[\"slug\", \"Slug\"]]";
        return Err(place(text, start, message));
    }
    let mut indices = Vec::new();
    for (left, right) in key.get_ref() {
        let found = fields.iter().position(|field| field.left == *left && field.right == *right);
        match found {
            Some(index) if fields[index].direction == Direction::Both => indices.push(index),
            Some(_) => {
                let message = format!("the match key's field `{left}` must have direction \"both\"");
                return Err(place(text, start, &message));
            }
            None => {
                let message = format!(
                    "the match key names `{left}` and `{right}`, which `fields` does not map: add \
                     {{ left = \"{left}\", right = \"{right}\" }}"
                );
                return Err(place(text, start, &message));
            }
        }
    }
    Ok(indices)
}

fn choose<T: Copy + Default>(
    text: &str,
    value: &Option<Spanned<String>>,
    known: &[(&str, T)],
    coming: &[&str],
) -> Result<T, String> {
    let Some(value) = value else { return Ok(T::default()) };
    if let Some((_, choice)) = known.iter().find(|(name, _)| name == value.get_ref()) {
        return Ok(*choice);
    }
    if coming.contains(&value.get_ref().as_str()) {
        return Err(later(text, value, &format!("\"{}\"", value.get_ref())));
    }
    let names: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let message = format!("expected {}, found \"{}\"", names.join(" or "), value.get_ref());
    Err(place(text, value.span().start, &message))
}

fn later(text: &str, value: &Spanned<String>, what: &str) -> String {
    place(text, value.span().start, &format!("this version can't do {what} yet: leave it out"))
}

fn located(text: &str, error: &toml::de::Error) -> String {
    match error.span() {
        Some(span) => place(text, span.start, error.message()),
        None => error.message().to_owned(),
    }
}

/// `line 7, column 3: message`, both from 1, the column in characters.
fn place(text: &str, offset: usize, message: &str) -> String {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "blog"
left = "office-db"
right = "marketing"

[[table]]
left = "public.posts"
right = "public.articles"
key = [["slug", "handle"]]
existing = "merge"
conflict = "right"
fields = [
  { left = "slug", right = "handle" },
  { left = "body", right = "text", direction = "left-to-right" },
]
"#;

    fn refused(change: impl Fn(String) -> String) -> String {
        SyncFile::parse(&change(GOOD.to_owned())).unwrap_err()
    }

    #[test]
    fn a_good_file_parses() {
        let file = SyncFile::parse(GOOD).unwrap();
        let policy = &file.tables[0].policy;
        assert_eq!(policy.match_key, [0]);
        assert_eq!(policy.conflict, ConflictPolicy::Right);
        assert_eq!(policy.fields[1].direction, Direction::LeftToRight);
    }

    #[test]
    fn wrong_files_tell_line_column_and_what_was_expected() {
        let unknown = refused(|text| text.replace("conflict =", "conflct ="));
        assert!(unknown.starts_with("line 11, column 1: unknown field `conflct`"), "{unknown}");
        let value = refused(|text| text.replace("\"right\"\nfields", "\"latest\"\nfields"));
        assert!(value.contains("line 11, column 12: expected \"newest\" or \"left\""), "{value}");
        let key = refused(|text| text.replace("[[\"slug\", \"handle\"]]", "[[\"id\", \"id\"]]"));
        assert!(key.contains("line 9") && key.contains("does not map"), "{key}");
        let twice = refused(|text| text.replace("left = \"body\"", "left = \"slug\""));
        assert!(twice.contains("mapped twice"), "{twice}");
        let later = refused(|text| text.replace("\"right\"\nfields", "\"ask\"\nfields"));
        assert!(later.contains("this version can't do \"ask\" yet"), "{later}");
        let name = refused(|text| text.replace("\"blog\"", "\"My Blog\""));
        assert!(name.starts_with("line 2, column 8"), "{name}");
    }
}
