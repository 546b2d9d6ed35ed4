//! Reads the workspace's sources and fails on what the architecture forbids: imports between rooms,
//! swallowing files and functions, modules without a purpose, empty names, leftovers.
//!
//! It knows text, not types: what it can't see (a path hidden in a macro) is left to review. Each
//! rule says why it exists and what to do instead, and is tested with a planted violation.

mod imports;
mod leftovers;
mod lexer;
mod paths;
mod proofs;
mod shape;
mod source;

use std::fmt;
use std::path::Path;

use source::Source;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// From 1.
    pub line: usize,
    /// What is there.
    pub what: String,
    /// Why that is forbidden, and what to do instead.
    pub remedy: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            path,
            line,
            what,
            remedy,
        } = self;
        write!(f, "{path}:{line}: {what}\n    {remedy}")
    }
}

fn check(source: &Source) -> Vec<Violation> {
    let mut found = shape::check(source);
    found.extend(leftovers::check(source));
    found.extend(imports::check(source));
    found
}

/// Cargo runs tests in their package's folder.
const WORKSPACE: &str = "..";

#[test]
fn workspace_follows_its_architecture() {
    let sources = source::read_all(Path::new(WORKSPACE));
    assert!(
        sources
            .iter()
            .any(|source| source.path == "relay/sync/lib.rs"),
        "the sources were not found: run this test with cargo, or from the folder shared"
    );
    let broken: Vec<String> = sources
        .iter()
        .flat_map(check)
        .map(|violation| violation.to_string())
        .collect();
    assert!(
        broken.is_empty(),
        "{} broken rules:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn security_lines_name_tests_that_are_there() {
    let sources = source::read_all(Path::new(WORKSPACE));
    let text = std::fs::read_to_string(Path::new(WORKSPACE).join("SECURITY.md")).unwrap();
    let document = Source::new("SECURITY.md", &text);
    let lines = text.lines().filter(|line| line.starts_with("| ")).count();
    assert!(lines >= 50, "{lines} lines of the tables were read");
    let broken: Vec<String> = proofs::check(&document, &sources)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn violation_says_where_why_and_what_to_do() {
    let source = Source::new("agent/origin/gate.rs", "fn f() {}\n");
    let broken = check(&source);
    assert_eq!(broken.len(), 1);
    let text = broken[0].to_string();
    assert!(text.starts_with("agent/origin/gate.rs:1: "), "{text}");
    assert!(text.contains("//!"), "{text}");
}
