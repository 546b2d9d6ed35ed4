//! SECURITY.md names the tests that prove its lines: each of them is there, and each line has one or
//! says why not.

use std::collections::BTreeSet;

use crate::Violation;
use crate::source::Source;

const REMEDY_GONE: &str = "name the test that proves it now, or say that there is none";
const REMEDY_BARE: &str =
    "a line is proven by a named test, or says `Not …`, `Falls short` or `Does not apply`";

/// How a line begins that has no test.
const EXCUSES: [&str; 3] = ["Not ", "Falls short: ", "Does not apply: "];
/// Shorter names in code are files and commands.
const WORDS_OF_A_TEST_MIN: usize = 4;

pub fn check(document: &Source, sources: &[Source]) -> Vec<Violation> {
    let tests: BTreeSet<&str> = sources.iter().flat_map(tests_of).collect();
    let mut found = Vec::new();
    for (index, line) in document.text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, _, proof, ""] = cells[..] else {
            continue;
        };
        if number.is_empty() || number.starts_with('-') {
            continue;
        }
        let named: Vec<&str> = proof
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(is_test)
            .collect();
        for name in named.iter().filter(|name| !tests.contains(*name)) {
            let what = format!("line {number} names `{name}`, which is no test");
            found.push(document.violation(index + 1, what, REMEDY_GONE));
        }
        if named.is_empty() && !EXCUSES.iter().any(|excuse| proof.starts_with(excuse)) {
            let what = format!("line {number} is not proven");
            found.push(document.violation(index + 1, what, REMEDY_BARE));
        }
    }
    found
}

fn is_test(name: &&str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(is_inner) && name.split('_').count() >= WORDS_OF_A_TEST_MIN
}

/// Functions of files that hold tests: what macros make tests of has no attribute of its own.
fn tests_of(source: &Source) -> Vec<&str> {
    let holds_tests = ["#[test]", "tokio::test"];
    if !holds_tests.iter().any(|mark| source.text.contains(mark)) {
        return Vec::new();
    }
    let pairs = source.tokens.windows(2).filter(|pair| pair[0].is("fn"));
    pairs.map(|pair| pair[1].text.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_tests_and_bare_lines_are_seen() {
        let tests = "//! D.\n#[test]\nfn what_is_promised_is_so() {}\n";
        let sources = [Source::new("a/tests/a.rs", tests)];
        let table = "| | what | proven by |\n|---|---|---|\n\
                     | 1 | a | `what_is_promised_is_so` |\n\
                     | 2 | b | `what_was_promised_is_so` |\n\
                     | 3 | c | By care. |\n\
                     | 4 | d | Falls short: see `make lint`. |\n";
        let found = check(&Source::new("SECURITY.md", table), &sources);
        let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
        assert_eq!(lines, [4, 5], "{found:?}");
    }
}
