//! Field pairs and table pairs that can't be synced as they are: paused, while everything else is
//! synced on.
//!
//! A column is dropped or made anew, or gets a type that its counterpart can't hold; a table is dropped
//! or made anew. What was agreed of such a pair is forgotten, so it doesn't come back by itself: when
//! a person applies the sync file, the pair is a new one, and the plan shows what becomes of its
//! values.

use serde::{Deserialize, Serialize};
use tidegate_sync::model::Side;
use tidegate_sync::policy::FieldPair;

use super::layout::{Layout, PairLayout};
use super::mapping::{Checks, Mapping};
use super::syncfile::{SyncFile, TableFile};

/// A field pair of the sync file that a run leaves out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PausedField {
    pub left: String,
    pub right: String,
    /// What is wrong, and with which side.
    pub reason: String,
}

/// A table pair of the sync file that a run leaves out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PausedTable {
    pub left: String,
    pub right: String,
    /// What became of which table.
    pub reason: String,
}

impl PausedTable {
    fn is(&self, table: &TableFile) -> bool {
        self.left == table.left && self.right == table.right
    }
}

impl PausedField {
    fn is(&self, field: &FieldPair) -> bool {
        self.left == field.left && self.right == field.right
    }
}

impl Layout {
    fn pair_of(&self, table: &TableFile) -> Option<&PairLayout> {
        let is_it = |pair: &&PairLayout| pair.left == table.left && pair.right == table.right;
        self.pairs.iter().find(is_it)
    }

    /// Was the field synced?
    fn has_field(&self, table: &TableFile, field: &PausedField) -> bool {
        let pair = self.pair_of(table);
        pair.is_some_and(|pair| pair.policy.fields.iter().any(|one| field.is(one)))
    }
}

impl SyncFile {
    /// The file as the sync runs it: without what is paused.
    pub(super) fn laid_out(self, layout: &Layout) -> SyncFile {
        let file = self.without(&layout.paused);
        let tables = file
            .tables
            .into_iter()
            .map(|table| match layout.pair_of(&table) {
                Some(pair) => table.without(&pair.paused),
                None => table,
            });
        SyncFile {
            tables: tables.collect(),
            ..file
        }
    }

    /// Without these table pairs.
    fn without(mut self, paused: &[PausedTable]) -> SyncFile {
        let is_paused = |table: &TableFile| paused.iter().find(|one| one.is(table));
        self.paused
            .extend(self.tables.iter().filter_map(is_paused).cloned());
        self.tables.retain(|table| is_paused(table).is_none());
        self
    }

    fn with_table(&self, number: usize, table: TableFile) -> SyncFile {
        let mut file = self.clone();
        file.tables[number] = table;
        file
    }
}

impl TableFile {
    /// Without these fields; none of them is a part of the match key.
    fn without(mut self, paused: &[PausedField]) -> TableFile {
        for field in paused {
            let place = self.policy.fields.iter().position(|one| field.is(one));
            let Some(place) = place.filter(|at| !self.policy.match_key.contains(at)) else {
                continue;
            };
            self.policy.fields.remove(place);
            self.forms.remove(place);
            for part in &mut self.policy.match_key {
                *part -= usize::from(*part > place);
            }
            self.paused.push(field.clone());
        }
        self
    }

    /// The fields that could be paused: what has no part in telling records apart.
    fn optional(&self) -> Vec<PausedField> {
        let fields = self.policy.fields.iter().enumerate();
        let optional = fields.filter(|(at, _)| !self.policy.match_key.contains(at));
        let paused = |(_, field): (usize, &FieldPair)| PausedField {
            left: field.left.clone(),
            right: field.right.clone(),
            reason: String::new(),
        };
        optional.map(paused).collect()
    }
}

/// Checks the file of a sync that runs. Table pairs and field pairs that were synced and can't be any
/// more are left out; gives the file without them.
///
/// # Errors
/// The problems, where leaving pairs out does not help: of the match key, a filter, a right; and where
/// nothing would be left.
pub(super) fn check(
    file: &SyncFile,
    layout: &Layout,
    checks: &Checks<'_>,
) -> Result<(SyncFile, Mapping), Vec<String>> {
    let problems = match Mapping::check(file, checks) {
        Ok(mapping) => return Ok((file.clone(), mapping)),
        Err(problems) => problems,
    };
    let file = &file.clone().without(&gone(file, layout, checks));
    if file.tables.is_empty() {
        return Err(problems);
    }
    // Every table without its optional fields, so that what is found of one field is of that one alone.
    let mut bare = file.clone();
    for table in &mut bare.tables {
        let all = table.optional();
        *table = table.clone().without(&all);
    }
    let mut kept = file.clone();
    for (number, table) in file.tables.iter().enumerate() {
        let whole = bare.with_table(number, table.clone());
        if Mapping::check(&whole, checks).is_err() {
            let mut paused = of_table(&bare, number, table, checks);
            paused.retain(|field| layout.has_field(table, field));
            kept.tables[number] = table.clone().without(&paused);
        }
    }
    match Mapping::check(&kept, checks) {
        Ok(mapping) => Ok((kept, mapping)),
        Err(_) => Err(problems),
    }
}

/// The table pairs of which a table is no more the one that was synced.
fn gone(file: &SyncFile, layout: &Layout, checks: &Checks<'_>) -> Vec<PausedTable> {
    let paused = |table: &TableFile| {
        let pair = layout.pair_of(table)?;
        let gone = Side::BOTH.into_iter().filter_map(|side| {
            let identity = &pair.identities[side];
            identity.gone(side, &checks.catalogs[side])
        });
        let reasons: Vec<String> = gone.collect();
        (!reasons.is_empty()).then(|| PausedTable {
            left: table.left.clone(),
            right: table.right.clone(),
            reason: reasons.join("; "),
        })
    };
    file.tables.iter().filter_map(paused).collect()
}

/// The fields of a table that have a problem of their own.
fn of_table(
    bare: &SyncFile,
    number: usize,
    table: &TableFile,
    checks: &Checks<'_>,
) -> Vec<PausedField> {
    let mut paused = Vec::new();
    let all = table.optional();
    for field in &all {
        let others: Vec<PausedField> = all.iter().filter(|one| *one != field).cloned().collect();
        let alone = bare.with_table(number, table.clone().without(&others));
        if let Err(problems) = Mapping::check(&alone, checks) {
            paused.push(PausedField {
                reason: problems.join("; "),
                ..field.clone()
            });
        }
    }
    paused
}

/// One sentence for each table pair that is left out, with the way on.
pub(super) fn tables_told(file: &SyncFile) -> Vec<String> {
    let told = |table: &PausedTable| {
        format!(
            "left {} and right {}: table-paused: no record is synced at present, all other tables are: \
             {}; once there is a table to sync, or the pair is taken out of the sync file, apply the \
             file: `sync plan` shows what that does",
            table.left, table.right, table.reason
        )
    };
    file.paused.iter().map(told).collect()
}

/// One sentence for each field pair that is left out, with the way on.
pub(super) fn fields_told(file: &SyncFile) -> Vec<String> {
    let of_table = |table: &TableFile| {
        let place = format!("left {} and right {}", table.left, table.right);
        let told = move |field: &PausedField| {
            format!(
                "{place}: field-paused: `{}` ↔ `{}` is not synced at present, everything else is: {}; \
                 once it can be, or is taken out of the sync file, apply the file: `sync plan` shows \
                 what that does",
                field.left, field.right, field.reason
            )
        };
        table.paused.iter().map(told).collect::<Vec<_>>()
    };
    file.tables.iter().flat_map(of_table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        name = "blog"
        left = "office"
        right = "site"
        [[table]]
        left = "public.posts"
        right = "public.posts"
        key = [["slug", "slug"], ["lang", "lang"]]
        fields = [
          { left = "title", right = "title" },
          { left = "slug", right = "slug" },
          { left = "state", right = "state", null_right = "-" },
          { left = "lang", right = "lang" },
          { left = "body", right = "text" },
        ]
    "#;

    fn field(left: &str, right: &str) -> PausedField {
        PausedField {
            left: left.into(),
            right: right.into(),
            reason: "it is gone".into(),
        }
    }

    fn without(paused: &[PausedField]) -> TableFile {
        SyncFile::parse(FILE)
            .unwrap()
            .tables
            .remove(0)
            .without(paused)
    }

    #[test]
    fn what_is_paused_is_taken_out_and_the_match_key_stays_the_same_fields() {
        let table = without(&[field("title", "title"), field("state", "state")]);
        let names = table.policy.fields.iter().map(|field| field.left.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["slug", "lang", "body"]);
        assert_eq!(table.policy.match_key, [0, 1]);
        assert_eq!(table.forms, vec![Default::default(); 3]);
        assert_eq!(table.paused.len(), 2);
    }

    #[test]
    fn only_pairs_of_both_names_that_tell_no_records_apart_are_paused() {
        let whole = without(&[]);
        assert_eq!(
            without(&[field("body", "body"), field("slug", "slug")]),
            whole
        );
        let optional: Vec<_> = whole.optional().into_iter().map(|one| one.left).collect();
        assert_eq!(optional, ["title", "state", "body"]);
    }

    #[test]
    fn a_file_is_read_as_it_was_laid_out_until_it_is_edited() {
        let file = SyncFile::parse(FILE).unwrap();
        let paused = SyncFile {
            tables: vec![without(&[field("body", "text")])],
            ..file.clone()
        };
        let layout = Layout::of_file(&paused);
        assert!(layout.has_field(&file.tables[0], &field("state", "state")));
        assert!(!layout.has_field(&file.tables[0], &field("body", "text")));
        assert_eq!(file.clone().laid_out(&layout), paused);
        assert_eq!(paused.clone().laid_out(&layout), paused);
        assert_eq!(file.clone().laid_out(&layout.resumed()), file);
    }
    #[test]
    fn a_paused_table_pair_is_left_out_until_the_file_is_edited() {
        let more =
            "[[table]]\nleft = \"tags\"\nright = \"tags\"\nkey = [[\"id\", \"id\"]]\nfields = []";
        let file = SyncFile::parse(&format!("{FILE}\n{more}")).unwrap();
        let gone = PausedTable {
            left: "public.posts".into(),
            right: "public.posts".into(),
            reason: "it is gone".into(),
        };
        let paused = file.clone().without(std::slice::from_ref(&gone));
        assert_eq!((paused.tables.len(), &paused.paused[..]), (1, &[gone][..]));
        let layout = Layout::of_file(&paused);
        assert_eq!(file.clone().laid_out(&layout), paused);
        assert_eq!(paused.clone().laid_out(&layout), paused);
        assert_eq!(file.clone().laid_out(&layout.resumed()), file);
    }
}
