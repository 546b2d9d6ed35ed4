//! Renamed, added and made anew, without a server.

use tidegate_sync::codec::FieldType;

use super::*;
use crate::endpoint::catalog::ForeignKey;

fn column(number: i16, name: &str) -> Column {
    Column {
        number,
        name: name.into(),
        type_name: "text".into(),
        field_type: FieldType::Text {
            max: None,
            ignores_case: false,
        },
        nullable: true,
        has_default: false,
        generated: false,
        identity: String::new(),
        enum_labels: Vec::new(),
    }
}

fn table(oid: u32, name: &str, columns: &[(i16, &str)]) -> Table {
    Table {
        oid,
        schema: "public".into(),
        name: name.into(),
        columns: columns
            .iter()
            .map(|&(number, name)| column(number, name))
            .collect(),
        foreign_keys: Vec::<ForeignKey>::new(),
        ..Table::default()
    }
}

fn catalog(tables: &[Table]) -> Catalog {
    Catalog {
        tables: tables.to_vec(),
        ..Catalog::default()
    }
}

fn named<'a>(table: &'a str, columns: &'a [String]) -> Named<'a> {
    Named {
        table,
        columns,
        joins: &[],
    }
}

/// `posts (id, title, body)`, of which title and body are mapped.
fn known() -> Known {
    let posts = catalog(&[table(7, "posts", &[(1, "id"), (2, "title"), (3, "body")])]);
    let columns = ["title".to_owned(), "body".to_owned()];
    let found = Known::default()
        .find(Side::Left, &posts, named("posts", &columns))
        .unwrap();
    assert_eq!(found.news, Vec::<String>::new());
    Known(BySide::new(vec![found.identity], Vec::new()))
}

fn find(tables: &[Table], name: &str, columns: &[&str]) -> Result<Found, Vec<String>> {
    let (known, mut catalog) = (known(), catalog(tables));
    known.add_former_names(Side::Left, &mut catalog);
    let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    known.find(Side::Left, &catalog, named(name, &columns))
}

#[test]
fn what_was_renamed_is_found_by_either_name() {
    let renamed = [table(
        7,
        "articles",
        &[(1, "id"), (2, "headline"), (3, "body")],
    )];
    for (name, field) in [
        ("posts", "title"),
        ("articles", "headline"),
        ("articles", "title"),
    ] {
        let found = find(&renamed, name, &[field, "body"]).unwrap();
        assert_eq!(found.columns, ["headline", "body"]);
        assert!(found.table.ends_with("articles"), "{found:?}");
        assert_eq!(found.identity.number(field), Some(2));
        let told = usize::from(name == "posts") + usize::from(field == "title");
        assert_eq!(found.news.len(), told, "{found:?}");
    }
    let both = find(&renamed, "posts", &["title", "headline"]).unwrap_err();
    assert!(both[0].contains("under two names"), "{both:?}");
}

#[test]
fn what_was_made_anew_under_the_same_name_is_refused() {
    let anew = [table(7, "posts", &[(1, "id"), (3, "body"), (4, "title")])];
    let refused = find(&anew, "posts", &["title", "body"]).unwrap_err();
    assert!(refused[0].contains("column-remade: `title`"), "{refused:?}");
    assert!(refused[0].contains("was dropped"), "{refused:?}");
    assert!(find(&anew, "posts", &["body"]).is_ok());

    let taken = [table(
        7,
        "posts",
        &[(1, "id"), (2, "old"), (3, "body"), (4, "title")],
    )];
    let refused = find(&taken, "posts", &["title"]).unwrap_err();
    assert!(refused[0].contains("is named `old` now"), "{refused:?}");

    let other = [
        table(7, "posts_old", &[(2, "title")]),
        table(8, "posts", &[(2, "title")]),
    ];
    let refused = find(&other, "public.posts", &["title"]).unwrap_err();
    assert!(refused[0].contains("table-remade"), "{refused:?}");
    assert!(refused[0].contains("public.posts_old"), "{refused:?}");
    let old = find(&other, "posts_old", &["title"]).unwrap();
    assert_eq!(old.table, "posts_old");
}

#[test]
fn columns_that_exchanged_their_names_are_refused() {
    let swapped = [table(7, "posts", &[(1, "id"), (2, "body"), (3, "title")])];
    let refused = find(&swapped, "posts", &["title", "body"]).unwrap_err();
    assert_eq!(refused.len(), 2, "{refused:?}");
}

#[test]
fn an_added_column_is_told_until_it_is_mapped() {
    let grown = [table(
        7,
        "posts",
        &[(1, "id"), (2, "title"), (3, "body"), (4, "tag")],
    )];
    let found = find(&grown, "posts", &["title"]).unwrap();
    assert!(found.news[0].contains("`tag` was added"), "{found:?}");
    let found = find(&grown, "posts", &["title", "tag"]).unwrap();
    assert_eq!(found.news, Vec::<String>::new());
}

#[test]
fn what_has_no_number_is_known_by_its_name() {
    let app = catalog(&[table(0, "tasks", &[(0, "name"), (0, "state")])]);
    let columns = ["name".to_owned(), "state".to_owned()];
    let found = Known::default()
        .find(Side::Right, &app, named("tasks", &columns))
        .unwrap();
    assert_eq!(
        (found.table.as_str(), &found.columns[..]),
        ("tasks", &columns[..])
    );
    assert_eq!(found.news, Vec::<String>::new());
}

#[test]
fn a_table_is_gone_when_it_was_dropped_or_another_one_has_its_name() {
    let identity = known().0.left[0].clone();
    let gone = |tables: &[Table], hidden: &[u32]| {
        let catalog = Catalog {
            hidden: hidden.to_vec(),
            ..catalog(tables)
        };
        identity.gone(Side::Left, &catalog)
    };
    let own = |name| table(7, name, &[(2, "title")]);
    assert_eq!(gone(&[own("posts")], &[]), None);
    assert_eq!(gone(&[own("articles")], &[]), None);
    let told = gone(&[], &[]).unwrap();
    assert_eq!(told, "left public.posts: the table was dropped");
    // The role's right to look into the schema may come back.
    assert_eq!(gone(&[], &[7]), None);
    let other = table(8, "posts", &[(2, "title")]);
    for (tables, hidden, fate) in [
        (vec![other.clone()], [0], "was dropped"),
        (
            vec![other.clone(), own("old")],
            [0],
            "is named public.old now",
        ),
        (vec![other], [7], "closed to the role"),
    ] {
        let told = gone(&tables, &hidden).unwrap();
        assert!(
            told.contains("table-remade") && told.contains(fate),
            "{told}"
        );
    }
    assert_eq!(Identity::default().gone(Side::Left, &catalog(&[])), None);
}

#[test]
fn a_join_table_made_anew_is_told_from_the_one_that_was_synced() {
    let posts = table(7, "posts", &[(1, "id")]);
    let joined = |oid| {
        catalog(&[
            posts.clone(),
            table(oid, "post_tags", &[(1, "post"), (2, "tag")]),
        ])
    };
    let joins = [Through {
        table: "post_tags".into(),
        from: "post".into(),
        to: "tag".into(),
    }];
    let whole = Named {
        joins: &joins,
        ..named("posts", &[])
    };
    let found = Known::default().find(Side::Left, &joined(9), whole);
    let known = Known(BySide::new(vec![found.unwrap().identity], Vec::new()));
    assert!(known.find(Side::Left, &joined(9), whole).is_ok());
    let refused = known.find(Side::Left, &joined(10), whole).unwrap_err();
    assert!(
        refused[0].starts_with("left post_tags: table-remade"),
        "{refused:?}"
    );
    let without = named("posts", &[]);
    assert!(known.find(Side::Left, &joined(10), without).is_ok());
}
