//! The mutation check: the sources are broken on purpose, one place at a time, and the tests must
//! notice. `make mutants` runs all of them; without it, this checks that each one still has its
//! place in the sources.
//!
//! Every mutant is compiled into one scratch copy of the crate (`target/mutants`), behind a switch
//! that an environment variable sets, so that one build serves all. Some are listed by hand, because
//! they break a rule that the sync model names; the others follow from the form of the sources.

mod drawn;
mod judged;
mod listed;
mod mutant;
mod run;
mod scratch;

use std::collections::{BTreeMap, HashSet};

use mutant::{Mutant, Source};

/// What is broken: everything that decides, and nothing that only converts or prints.
const FILES: &[&str] = &[
    "baseline.rs",
    "decide.rs",
    "inbox.rs",
    "merge.rs",
    "plan.rs",
    "plan/deletion.rs",
    "plan/outside.rs",
    "plan/references.rs",
    "plan/renewed.rs",
    "policy.rs",
    "scope.rs",
    "session/book.rs",
    "session/book/since.rs",
    "session/copying.rs",
    "session/counterpart.rs",
    "session/given.rs",
    "session/live.rs",
    "session/mod.rs",
    "session/open.rs",
    "session/reach.rs",
    "session/round.rs",
    "session/round/unfilled.rs",
    "session/round/unsure.rs",
    "session/waiting.rs",
];

fn main() {
    let sources: BTreeMap<&'static str, Source> = FILES
        .iter()
        .map(|file| (*file, Source::read(file)))
        .collect();
    let mut mutants = listed::mutants(&sources);
    for source in sources.values() {
        mutants.extend(drawn::mutants(source));
    }
    check_judged(&mutants);
    println!("{} mutants have their place", mutants.len());
    let is_wanted = std::env::var("MUTANTS").ok();
    if let Some(wanted) = is_wanted
        && !run::run(&sources, &mutants, &wanted)
    {
        std::process::exit(1);
    }
}

/// A judgement of a mutant that does not exist any more says nothing.
fn check_judged(mutants: &[Mutant]) {
    let names: HashSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    assert_eq!(names.len(), mutants.len(), "two mutants share a name");
    for (judged, _) in judged::JUDGED {
        let is_any = names.iter().any(|name| name.starts_with(judged));
        assert!(is_any, "judged, but there is none: {judged}");
    }
}
