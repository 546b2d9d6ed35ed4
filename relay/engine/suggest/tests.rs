//! Proposals for tables as people have them.

use tidegate_sync::codec::FieldType;

use super::*;
use crate::endpoint::catalog::Problem;

fn column(name: &str, field_type: FieldType) -> Column {
    Column {
        number: 0,
        name: name.into(),
        type_name: field_type.name(),
        field_type,
        nullable: true,
        has_default: false,
        generated: false,
        identity: String::new(),
        enum_labels: Vec::new(),
    }
}

fn text(name: &str, max: Option<u32>) -> Column {
    let ignores_case = false;
    column(name, FieldType::Text { max, ignores_case })
}

fn own_id() -> Column {
    Column {
        identity: "by-default".into(),
        ..column("id", FieldType::Int { bits: 64 })
    }
}

fn table(name: &str, columns: Vec<Column>, unique: &[&str]) -> Table {
    Table {
        schema: "public".into(),
        name: name.into(),
        columns,
        primary_key: vec!["id".into()],
        unique_keys: unique.iter().map(|name| vec![(*name).into()]).collect(),
        can_read: true,
        can_write: true,
        ..Table::default()
    }
}

fn names(fields: &[SuggestedField]) -> Vec<(&str, &str, &str)> {
    fields
        .iter()
        .map(|field| {
            (
                field.left.as_str(),
                field.right.as_str(),
                field.direction.as_str(),
            )
        })
        .collect()
}

#[test]
fn fields_are_mapped_by_name_and_type_and_never_to_what_would_lose_values() {
    let generated = Column {
        generated: true,
        ..text("search", None)
    };
    let left = table(
        "posts",
        vec![
            own_id(),
            text("title", Some(80)),
            text("slug", None),
            column("price", FieldType::Bool),
            generated,
        ],
        &["slug"],
    );
    let right = table(
        "Posts",
        vec![
            own_id(),
            text("Title", None),
            text("Slug", None),
            text("Price", None),
            text("Search", None),
        ],
        &["Slug"],
    );
    let map = fields(&left, &right, None);
    let expected = [
        ("title", "Title", "left-to-right"),
        ("slug", "Slug", "both"),
        ("search", "Search", "left-to-right"),
    ];
    assert_eq!(names(&map.suggested), expected);
    assert_eq!(map.suggested_key, [["slug", "Slug"]]);
    assert_eq!(map.fits.len(), 25);
    let refused = map.fits.iter().find(|fit| fit.left == "price");
    assert!(refused.is_some_and(|fit| fit.fits == Fits::Refused && fit.reason.is_some()));
    let of_title = fields(&left, &right, Some("title"));
    assert_eq!(of_title.fits.len(), 5);
}

#[test]
fn what_both_sides_compute_fits_nobody() {
    let generated = |name: &str| Column {
        generated: true,
        ..text(name, None)
    };
    let (fits, reason) = fit(&generated("a"), &generated("b"));
    assert_eq!(fits, Fits::Refused);
    assert!(reason.is_some_and(|reason| reason.contains("generated")));
    let (fits, _) = fit(&generated("a"), &text("b", None));
    assert_eq!(fits, Fits::LeftToRight);
}

#[test]
fn tables_are_paired_by_name_and_say_whether_they_are_ready() {
    let blocking = Problem {
        code: "no-primary-key".into(),
        message: "the table has no primary key".into(),
        remedy: "give it one".into(),
        blocking: true,
    };
    let keyless = Table {
        problems: vec![blocking],
        ..table("order_lines", vec![text("sku", None)], &[])
    };
    let hidden = Table {
        can_read: false,
        ..table("authors", Vec::new(), &[])
    };
    let catalog = |tables: Vec<Table>| Catalog {
        tables,
        ..Catalog::default()
    };
    let left = catalog(vec![
        table("posts", vec![text("title", None)], &[]),
        keyless,
        hidden,
    ]);
    let right = catalog(vec![
        table("Authors", Vec::new(), &[]),
        table("Order Lines", vec![text("SKU", None)], &[]),
        table("Post", vec![text("Title", None)], &[]),
    ]);
    let found = tables(&left, &right);
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.left.as_str(), one.right.as_str(), one.fields, one.ready))
        .collect();
    let expected = [
        ("public.posts", "public.Post", 1, true),
        ("public.order_lines", "public.Order Lines", 1, false),
    ];
    assert_eq!(found, expected);
}
