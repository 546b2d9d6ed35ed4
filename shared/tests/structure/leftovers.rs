//! What must not be left behind: unfinished code, skipped tests, tasks without an owner, and paths
//! of the machine on which something was written.

use crate::Violation;
use crate::lexer::Token;
use crate::source::Source;

const REMEDY_UNFINISHED: &str = "finish it, or leave it out: what is there works";
const REMEDY_SKIPPED: &str =
    "a test that does not run protects nothing: mend it, or delete it and say so";
const REMEDY_DETACHED: &str =
    "a task belongs to somebody who awaits or aborts it: spawn it in a JoinSet";
const REMEDY_MACHINE: &str =
    "nobody else has this path: take it from the configuration or the environment";

/// In halves, because this file is read too.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

pub fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    check_unfinished(source, &mut found);
    check_detached(source, &mut found);
    check_machine_paths(source, &mut found);
    found
}

fn check_unfinished(source: &Source, found: &mut Vec<Violation>) {
    for window in source.tokens.windows(3) {
        let text = |at: usize| window[at].text.as_str();
        match (text(0), text(1), text(2)) {
            (name @ ("todo" | "unimplemented" | "dbg"), "!", _) => {
                found.push(source.violation(
                    window[0].line,
                    format!("`{name}!`"),
                    REMEDY_UNFINISHED,
                ));
            }
            ("#", "[", "ignore") => {
                found.push(source.violation(window[0].line, "`#[ignore]`".into(), REMEDY_SKIPPED));
            }
            _ => {}
        }
    }
}

/// `tokio::spawn(…);` as a statement of its own: nobody holds the handle. A test's runtime ends
/// with the test and takes its tasks along.
fn check_detached(source: &Source, found: &mut Vec<Violation>) {
    if source.is_outside_rooms() {
        return;
    }
    let tokens = &source.tokens;
    for at in 0..tokens.len() {
        let is_spawn = ["tokio", "::", "spawn", "("]
            .iter()
            .enumerate()
            .all(|(ahead, text)| tokens.get(at + ahead).is_some_and(|token| token.is(text)));
        if is_spawn && is_statement(tokens, at) {
            let what = "a task that nobody owns".to_owned();
            found.push(source.violation(tokens[at].line, what, REMEDY_DETACHED));
        }
    }
}

fn is_statement(tokens: &[Token], at: usize) -> bool {
    let starts = at == 0 || matches!(tokens[at - 1].text.as_str(), ";" | "{" | "}");
    let is_dropped =
        at >= 3 && tokens[at - 1].is("=") && tokens[at - 2].is("_") && tokens[at - 3].is("let");
    let mut depth = 0_usize;
    let after = tokens[at..].iter().position(|token| {
        match token.text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => return false,
        }
        depth == 0
    });
    let next = after.and_then(|after| tokens.get(at + after + 1));
    (starts || is_dropped) && next.is_some_and(|token| token.is(";"))
}

fn check_machine_paths(source: &Source, found: &mut Vec<Violation>) {
    // Unit tests may make a home up.
    let is_code = |line: &&str| !line.starts_with("#[cfg(test)]");
    for (index, line) in source.text.lines().take_while(is_code).enumerate() {
        for path in MACHINE_PATHS {
            let at_start = |at: usize| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"-_./}".contains(c))
            };
            if line.match_indices(path).any(|(at, _)| at_start(at)) {
                let what = format!("a path of one machine: `{path}…`");
                found.push(source.violation(index + 1, what, REMEDY_MACHINE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_lines(text: &str, expected: &[usize]) {
        let found = check(&Source::new("agent/a.rs", text));
        let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
        assert_eq!(lines, expected, "{found:?}");
    }

    #[test]
    fn unfinished_code_and_skipped_tests_are_refused() {
        check_lines("fn f() { todo!() }\n", &[1]);
        check_lines(
            "fn f() { unimplemented!() }\nfn g() { dbg!(1); }\n",
            &[1, 2],
        );
        check_lines("#[test]\n#[ignore = \"slow\"]\nfn f() {}\n", &[2]);
        check_lines("// todo!() in a comment\nlet todo = \"todo!\";\n", &[]);
    }

    #[test]
    fn task_without_an_owner_is_refused() {
        check_lines("fn f() { tokio::spawn(async { g(1) }); }\n", &[1]);
        check_lines("fn f() { let _ = tokio::spawn(g()); }\n", &[1]);
        check_lines(
            "fn f() { let task = tokio::spawn(g()); set.spawn(h()); }\n",
            &[],
        );
        check_lines(
            "fn f() { tokio::spawn(g()).await; AbortOnDrop(tokio::spawn(g())); }\n",
            &[],
        );
    }

    #[test]
    fn path_of_one_machine_is_refused() {
        let path = |folder: &str| format!("let x = \"/{folder}/someone/x\";\n");
        check_lines(&path(concat!("ho", "me")), &[1]);
        check_lines(&path(concat!("wo", "rk")), &[1]);
        check_lines(&path("var/lib/tidegate-relay"), &[]);
        check_lines(&format!("#[cfg(test)]\n{}", path(concat!("ho", "me"))), &[]);
        check_lines(concat!("// see framework", "/wo", "rk/\n"), &[]);
    }
}
