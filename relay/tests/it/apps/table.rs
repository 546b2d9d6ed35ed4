//! Who passes what, as docs/connectors.md shows it: made of the suite itself.

use super::{CLAIMS, CONNECTORS};

/// How the table begins, to its first connector.
const START: &str = "| claim | ";

fn table() -> String {
    let mut table = format!("{START}{} |\n|---|", CONNECTORS.join(" | "));
    table.push_str(&"---|".repeat(CONNECTORS.len()));
    for claim in CLAIMS {
        table.push_str(&format!(
            "\n| {claim} |{}",
            " yes |".repeat(CONNECTORS.len())
        ));
    }
    table
}

/// `UPDATE_DOCS=1` writes it.
#[test]
fn the_documentation_says_who_is_held_to_which_claims() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connectors.md");
    let page = std::fs::read_to_string(file).unwrap();
    let (before, rest) = page.split_once(START).expect("the page has the table");
    let after = rest.find("\n\n").map_or("\n", |end| &rest[end..]);
    let wanted = format!("{before}{}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, wanted).unwrap();
        return;
    }
    assert_eq!(
        page, wanted,
        "run this test with UPDATE_DOCS=1 and commit docs/connectors.md"
    );
}
