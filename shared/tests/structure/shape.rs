//! Sizes, names and module docs.

use crate::Violation;
use crate::lexer::Token;
use crate::source::Source;

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing of what is inside, and so gather everything.
const EMPTY_NAMES: [&str; 10] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "core",
    "base",
    "misc",
    "shared_utils",
    "tools",
];

const REMEDY_FILE: &str =
    "nobody reads a file of this size whole: split it along its nouns or its verbs";
const REMEDY_FUNCTION: &str =
    "a function is read at one glance: keep the branches here, move the leaves out";
const REMEDY_DOC: &str = "start the file with `//!`: what it is, what it is not, who calls it";
const REMEDY_NAME: &str =
    "a module is a noun of the domain or a verb of the path: name it after what it holds";

pub fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    check_size(source, &mut found);
    check_name(source, &mut found);
    if source.is_rust() {
        check_doc(source, &mut found);
        check_functions(source, &mut found);
    }
    found
}

fn check_size(source: &Source, found: &mut Vec<Violation>) {
    let lines = source.text.lines().count();
    let is_data = source.path.ends_with(".json");
    if lines > FILE_LINES_MAX && !is_data {
        let what = format!("{lines} lines, {FILE_LINES_MAX} are allowed");
        found.push(source.violation(FILE_LINES_MAX + 1, what, REMEDY_FILE));
    }
}

fn check_name(source: &Source, found: &mut Vec<Violation>) {
    let parts = source.path.split('/');
    for part in parts {
        let stem = part.split('.').next().unwrap_or(part);
        if EMPTY_NAMES.contains(&stem) {
            found.push(source.violation(1, format!("a module named `{stem}`"), REMEDY_NAME));
        }
    }
    for pair in source.tokens.windows(2) {
        let name = pair[1].text.as_str();
        if pair[0].is("mod") && EMPTY_NAMES.contains(&name) {
            let what = format!("a module named `{name}`");
            found.push(source.violation(pair[1].line, what, REMEDY_NAME));
        }
    }
}

fn check_doc(source: &Source, found: &mut Vec<Violation>) {
    let doc = source.text.lines().next().unwrap_or_default();
    let is_said = doc
        .strip_prefix("//!")
        .is_some_and(|doc| !doc.trim().is_empty());
    if !is_said {
        found.push(source.violation(1, "the file does not start with `//!`".into(), REMEDY_DOC));
    }
}

fn check_functions(source: &Source, found: &mut Vec<Violation>) {
    let tokens = &source.tokens;
    for at in 0..tokens.len() {
        let is_function = tokens[at].is("fn") && tokens.get(at + 1).is_some_and(Token::is_word);
        if !is_function {
            continue;
        }
        let Some(end) = end_of_body(tokens, at) else {
            continue;
        };
        let lines = tokens[end].line - tokens[at].line + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &tokens[at + 1].text;
            let what = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed");
            found.push(source.violation(tokens[at].line, what, REMEDY_FUNCTION));
        }
    }
}

/// The closing brace of the function that starts at `at`; `None` when it has no body.
fn end_of_body(tokens: &[Token], at: usize) -> Option<usize> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if brackets == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_broken(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<String> = check(&Source::new(path, text))
            .into_iter()
            .map(|violation| violation.what)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn file_of_701_lines_is_refused() {
        let text = format!("//! Doc.\n{}", "\n".repeat(700));
        check_broken("agent/a.rs", &text, &["701 lines, 700 are allowed"]);
        check_broken(
            "agent/a.rs",
            &format!("//! Doc.\n{}", "\n".repeat(699)),
            &[],
        );
    }

    #[test]
    fn function_of_71_lines_is_refused() {
        let body = |lines| {
            format!(
                "//! D.\nfn long(a: [u8; 2]) {{\n{}}}\n",
                "x();\n".repeat(lines)
            )
        };
        let expected = ["`long` has 71 lines, 70 are allowed"];
        check_broken("agent/a.rs", &body(69), &expected);
        check_broken("agent/a.rs", &body(68), &[]);
        check_broken(
            "agent/a.rs",
            "//! D.\ntrait T { fn no_body(&self); }\n",
            &[],
        );
    }

    #[test]
    fn module_without_a_doc_is_refused() {
        let expected = ["the file does not start with `//!`"];
        check_broken("agent/a.rs", "use std::fs;\n//! Late.\n", &expected);
        check_broken("agent/a.rs", "//!\n", &expected);
        check_broken("Makefile", "all:\n", &[]);
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        let expected = ["a module named `utils`"];
        check_broken("relay/store/utils.rs", "//! D.\n", &expected);
        check_broken("relay/utils/links.rs", "//! D.\n", &expected);
        check_broken("relay/store/mod.rs", "//! D.\nmod utils;\n", &expected);
        check_broken("relay/sync/baseline.rs", "//! D.\n", &[]);
    }
}
