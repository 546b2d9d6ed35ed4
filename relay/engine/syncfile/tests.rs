//! What a sync file may say, and how it is told what is wrong with it.

use tidegate_sync::model::Side;

use super::*;

const BLOG: &str = r#"name  = "blog"
left  = "office-db"
right = "marketing"

[[table]]
left  = "public.posts"
right = "Posts"
key   = [["slug", "Slug"]]
existing  = "left-to-right"
changes   = "both"
deletes   = "ignore"
conflict  = "right"
conflict_delete = "delete"
drift     = "ignore"
fields = [
  { left = "title",  right = "Title" },
  { left = "body",   right = "Body",  direction = "left-to-right" },
]
"#;

/// A file with one table whose policy lines are `lines`, from line 7 on.
fn with(lines: &str) -> Result<SyncFile, FileError> {
    SyncFile::parse(&format!(
        "name = \"s\"\nleft = \"a\"\nright = \"b\"\n[[table]]\nleft = \"t\"\nright = \"u\"\n{lines}\n"
    ))
}

fn refusal(lines: &str) -> String {
    with(lines).expect_err("refused").to_string()
}

#[test]
fn the_documented_file_is_read() {
    let file = SyncFile::parse(BLOG).expect("valid");
    assert_eq!(
        (file.name.as_str(), file.left.as_str()),
        ("blog", "office-db")
    );
    let policy = &file.tables[0].policy;
    let names: Vec<&str> = policy
        .fields
        .iter()
        .map(|field| field.left.as_str())
        .collect();
    assert_eq!(names, ["slug", "title", "body"], "the key is a field too");
    assert_eq!(policy.match_key, [0]);
    assert_eq!(policy.fields[2].direction, Direction::LeftToRight);
    assert_eq!(policy.existing, Existing::LeftToRight);
    assert_eq!(policy.deletes, DeletePolicy::Ignore);
    assert_eq!(policy.conflict, ConflictPolicy::Right);
    assert_eq!(policy.conflict_delete, DeleteConflict::Delete);
    assert_eq!(policy.drift, Drift::Ignore);
}

#[test]
fn rendering_and_parsing_gives_the_same_sync() {
    let file = SyncFile::parse(BLOG).expect("valid");
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);
    let strange = "key = [['we\"ird', \"lïne\\nbreak\"]]\nfields = []";
    let file = with(strange).expect("valid");
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);
}

#[test]
fn what_is_left_out_has_the_documented_defaults() {
    let file = with("key = [[\"id\", \"id\"]]\nfields = []").expect("valid");
    let policy = &file.tables[0].policy;
    assert_eq!(policy.existing, Existing::Merge);
    assert_eq!(policy.conflict, ConflictPolicy::Newest);
    assert_eq!(policy.deletes, DeletePolicy::Propagate);
    assert_eq!(policy.conflict_delete, DeleteConflict::Keep);
    assert_eq!(policy.drift, Drift::Overwrite);
}

#[test]
fn a_listed_key_field_is_found_and_must_travel_both_ways() {
    let fields = "fields = [{ left = \"a\", right = \"a\" }, { left = \"b\", right = \"b\" }]";
    let file = with(&format!("key = [[\"b\", \"b\"], [\"x\", \"y\"]]\n{fields}")).expect("valid");
    let policy = &file.tables[0].policy;
    let key: Vec<&str> = policy
        .match_key
        .iter()
        .map(|&field| policy.fields[field].left.as_str())
        .collect();
    assert_eq!(
        key,
        ["b", "x"],
        "in the key's order, wherever the fields are"
    );
    let text = refusal(
        "key = [[\"a\", \"a\"]]\nfields = [{ left = \"a\", right = \"a\", direction = \"left-to-right\" }]",
    );
    assert!(
        text.starts_with("line 7, column 8: the match key's field `a` must"),
        "{text}"
    );
}

#[test]
fn future_changes_link_existing_records_and_copy_nothing() {
    let file = with("key = [[\"id\", \"id\"]]\nfields = []\nchanges = \"future\"").expect("valid");
    assert_eq!(file.tables[0].policy.existing, Existing::LinkOnly);
    let text =
        refusal("key = [[\"i\", \"i\"]]\nfields = []\nchanges = \"future\"\nexisting = \"merge\"");
    assert!(
        text.starts_with("line 10, column 12: changes = \"future\" copies no"),
        "{text}"
    );
}

#[test]
fn unknown_keys_and_words_are_told_by_line_and_column() {
    let text = refusal("key = [[\"id\", \"id\"]]\nfields = []\nconflct = \"left\"");
    assert!(
        text.starts_with("line 9, column 1: unknown field `conflct`, expected one of"),
        "{text}"
    );
    let text = refusal("key = [[\"id\", \"id\"]]\nfields = []\nconflict = \"latest\"");
    let expected = "line 9, column 12: expected \"newest\" or \"left\" or \"right\" or \"ask\", found \"latest\"";
    assert_eq!(text, expected);
    let text = refusal("key = [[\"id\", \"id\"]]\nfields = [{ left = \"a\", rihgt = \"b\" }]");
    assert!(
        text.starts_with("line 8, column 25: unknown field `rihgt`"),
        "{text}"
    );
    let text = refusal("key = \"id\"\nfields = []");
    assert!(
        text.starts_with("line 7, column 7: invalid type: string \"id\""),
        "{text}"
    );
    let text = refusal("key = [[\"id\"]]\nfields = []");
    assert!(
        text.starts_with("line 7, column 8: expected pairs of a left and a right"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_no_toml_or_lacks_a_key_is_refused() {
    let text = refusal("key = [[\"id\", \"id\"]\nfields = []");
    assert!(text.starts_with("line 8"), "{text}");
    let text = refusal("fields = []");
    assert!(text.contains("missing field `key`"), "{text}");
    let error = SyncFile::parse("name = \"s\"\nleft = \"a\"\nright = \"b\"\ntable = []\n");
    assert!(error.expect_err("refused").message.contains("[[table]]"));
}

#[test]
fn a_link_names_a_table_pair_of_the_file_and_is_written_again() {
    let linked = |more: &str, key: &str| {
        format!(
            "key = [[\"{key}\", \"{key}\"]]\nfields = [{{ left = \"a\", right = \"a\", {more} }}]"
        )
    };
    let file = with(&linked("link = \"t\"", "id")).expect("valid");
    let to = BySide::new("t".to_owned(), "u".to_owned());
    assert_eq!(file.tables[0].forms[1], FieldForm::Link { to });
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);

    let text = refusal(&linked("link = \"authors\"", "id"));
    let expected = "line 8, column 45: expected the left table of a [[table]] of this file: \"t\"";
    assert_eq!(text, expected);
    let text = refusal(&linked("link = \"t\", null_left = 0", "id"));
    assert!(text.contains("a link is between two columns"), "{text}");
    let text = refusal(&linked("link = \"t\"", "a"));
    assert!(text.contains("without a value map or a link"), "{text}");
}

#[test]
fn links_through_a_join_table_are_read_and_written_again() {
    let linked = |left: &str, more: &str| {
        format!("key = [[\"id\", \"id\"]]\nfields = [{{ {left}, right = \"Tags\"{more} }}]")
    };
    let links = "left_links = { through = \"t_u\", from = \"t\", to = \"u\" }";
    let file = with(&linked(links, ", link = \"t\"")).expect("valid");
    let form = &file.tables[0].forms[1];
    let through = form.through(Side::Left).expect("a join table");
    assert_eq!(
        (&*through.table, &*through.from, &*through.to),
        ("t_u", "t", "u")
    );
    assert!(form.is_made(Side::Left) && !form.is_made(Side::Right));
    assert_eq!(form.linked().map(|to| &*to.right), Some("u"));
    assert_eq!(file.tables[0].policy.fields[1].left, "t_u.u");
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);

    let text = refusal(&linked(links, ""));
    let expected = "line 8, column 26: links need `link`, the [[table]] whose records they name";
    assert!(text.starts_with(expected), "{text}");
    let same = links.replace("to = \"u\"", "to = \"t\"");
    let text = refusal(&linked(&same, ", link = \"t\""));
    let expected = "line 8, column 62: `from` and `to` are two columns of the join table";
    assert!(text.starts_with(expected), "{text}");
    let text = refusal(&linked(&format!("left = \"a\", {links}"), ", link = \"t\""));
    assert!(
        text.contains("expected one of `left`, `left_value` and `left_links`"),
        "{text}"
    );
    let unknown = links.replace("from", "form");
    let text = refusal(&linked(&unknown, ", link = \"t\""));
    assert!(text.starts_with("line 8"), "{text}");
}

#[test]
fn how_many_deletions_pass_unasked_is_read_in_parts_and_written_again() {
    let unasked = |line: &str| with(&format!("key = [[\"id\", \"id\"]]\nfields = []\n{line}"));
    let read = |line: &str| unasked(line).expect("valid").tables[0].unasked;
    assert_eq!(read(""), Unasked::default());
    let some = read("deletes_unasked = { records = 7 }");
    let percent = Unasked::default().percent;
    let records = 7;
    assert_eq!(some, Unasked { records, percent });
    let file = unasked("deletes_unasked = { records = 0, percent = 100 }").expect("valid");
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);
    for line in [
        "deletes_unasked = { percent = 101 }",
        "deletes_unasked = { records = -1 }",
        "deletes_unasked = { rows = 7 }",
        "deletes_unasked = 7",
    ] {
        assert!(unasked(line).is_err(), "{line}");
    }
}

/// Every kind of field, filters and an archive mark.
const RICH: &str = r#"key = [["slug", "Slug"]]
changes = "existing"
deletes = "archive"
archive_right = { field = "Archived", value = true }
conflict = "ask"
conflict_delete = "ask"
filter_left = 'status == "published" && row["Word Count"] > 100'
fields = [
  { left = "status", right = "Status", values = [["draft", "Draft"], ["published", "Live"]] },
  { left = "rank", right = "Rank", values = [[1, "first"], [2, "second"]], null_right = "none" },
  { left = "note", right = "Note", null_left = "" },
  { left_value = 'first + " " + last', right = "Name" },
  { left = "size", right_value = "row.Length * 2" },
]"#;

#[test]
fn value_maps_expressions_filters_and_archive_marks_are_read_and_written_again() {
    let file = with(RICH).expect("valid");
    let table = &file.tables[0];
    assert_eq!(table.forms.len(), table.policy.fields.len());
    assert_eq!(table.forms[0], FieldForm::Same, "the key that was added");
    let source = "first + \" \" + last".to_owned();
    let on = Side::Left;
    assert_eq!(table.forms[4], FieldForm::Computed { on, source });
    assert_eq!(table.policy.fields[4].direction, Direction::LeftToRight);
    assert_eq!(table.policy.fields[5].direction, Direction::RightToLeft);
    assert!(table.policy.once);
    assert_eq!(table.policy.conflict, ConflictPolicy::Ask);
    let value = Scalar::Bool(true);
    let field = "Archived".to_owned();
    assert_eq!(table.archive.right, Some(Mark { field, value }));
    assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);
}

#[test]
fn impossible_fields_and_expressions_are_refused_at_their_place() {
    let key = "key = [[\"id\", \"id\"]]\n";
    let field = |field: &str| refusal(&format!("{key}fields = [{field}]"));
    for (line, said) in [
        ("{ left = \"a\" }", "expected one of `left`"),
        (
            "{ left = \"a\", left_value = \"b\", right = \"c\" }",
            "expected one of",
        ),
        (
            "{ left_value = \"a\", right_value = \"b\" }",
            "must be a column",
        ),
        (
            "{ left_value = \"a +\", right = \"b\" }",
            "expected an expression (CEL)",
        ),
        (
            "{ left_value = \"a\", right = \"b\", direction = \"both\" }",
            "flows away",
        ),
        (
            "{ left = \"a\", right = \"b\", values = [[1]] }",
            "expected pairs",
        ),
        (
            "{ left = \"a\", right = \"b\", values = [[1, 2], [1, 3]] }",
            "in the map already",
        ),
        (
            "{ left = \"id\", right = \"id\", values = [[1, 2]] }",
            "match key must hold the same",
        ),
    ] {
        let text = field(line);
        assert!(text.contains(said), "{line}: {text}");
    }
    let text = refusal(&format!(
        "{key}fields = []\nfilter_left = \"[1].exists(x, x > 0)\""
    ));
    assert!(
        text.starts_with("line 9, column 15: expected an expression"),
        "{text}"
    );
    let text = refusal(&format!("{key}fields = []\ndeletes = \"archive\""));
    assert!(
        text.contains("needs archive_left or archive_right"),
        "{text}"
    );
    let mark = "archive_left = { field = \"a\", value = 1 }";
    let text = refusal(&format!("{key}fields = []\n{mark}"));
    assert!(text.contains("is for deletes = \"archive\""), "{text}");
}

#[test]
fn ambiguous_mappings_are_refused() {
    let text = refusal(
        "key = [[\"id\", \"id\"]]\nfields = [{ left = \"a\", right = \"a\" }, \
         { left = \"a\", right = \"b\" }]",
    );
    assert!(
        text.contains("the left field `a` is mapped twice"),
        "{text}"
    );
    let text = refusal("key = [[\"id\", \"id\"]]\nfields = [{ left = \"id\", right = \"b\" }]");
    assert!(
        text.starts_with("line 7, column 8: the match key pairs `id` with `id`"),
        "{text}"
    );
    let twice = format!("{BLOG}{}", &BLOG[BLOG.find("[[table]]").expect("there")..]);
    let error = SyncFile::parse(&twice).expect_err("refused").to_string();
    assert!(
        error.contains("line 20, column 9: this table is in another"),
        "{error}"
    );
}

#[test]
fn names_and_connections_are_checked() {
    let body = &BLOG[BLOG.find("[[table]]").expect("there")..];
    for name in ["", "Blog", "-x", "a b", "a_b", &"x".repeat(41)] {
        let text = format!("name = \"{name}\"\nleft = \"a\"\nright = \"b\"\n{body}");
        let error = SyncFile::parse(&text).expect_err("refused").to_string();
        assert!(
            error.starts_with("line 1, column 8: expected a name of 1 to 40"),
            "{error}"
        );
    }
    let text = format!("name = \"s\"\nleft = \"a\"\nright = \"a\"\n{body}");
    let error = SyncFile::parse(&text).expect_err("refused").to_string();
    assert!(
        error.starts_with("line 3, column 9: left and right are the same"),
        "{error}"
    );
}

#[test]
fn how_often_to_verify_is_read_and_written() {
    let with = |every: &str| {
        SyncFile::parse(&BLOG.replacen('\n', &format!("\nverify = \"{every}\"\n"), 1))
    };
    for (every, minutes) in [("1m", 1), ("24h", 24 * 60), ("7d", 7 * 24 * 60)] {
        let file = with(every).expect("valid");
        assert_eq!(file.verify, Some(Duration::from_secs(minutes * 60)));
        assert_eq!(SyncFile::parse(&file.render()).expect("valid"), file);
    }
    for wrong in [
        "",
        "h",
        "24",
        "0m",
        "367d",
        "-1h",
        "1.5h",
        "99999999d",
        "1 h",
        "24ä",
    ] {
        let refused = with(wrong).expect_err("refused").to_string();
        assert!(refused.contains("such as \"24h\""), "{wrong}: {refused}");
    }
    assert_eq!(SyncFile::parse(BLOG).expect("valid").verify, None);
}
