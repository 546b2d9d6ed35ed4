//! The scratch copy of the crate with all mutants in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mutant::{Mutant, Source};

/// The test programs of the scratch copy.
pub struct Programs {
    pub unit: PathBuf,
    pub sim: PathBuf,
}

const SWITCH: &str = r#"
/// Which mutant is on.
pub(crate) fn is_mutant(number: u32) -> bool {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let number_of = |text: String| text.parse().ok();
    *ON.get_or_init(|| std::env::var("MUTANT").ok().and_then(number_of).unwrap_or(u32::MAX)) == number
}
"#;

pub fn build(sources: &BTreeMap<&'static str, Source>, mutants: &[Mutant]) -> Programs {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = crate_dir.join("../..");
    let scratch = root.join("target/mutants");
    let copy = scratch.join("relay/sync");
    let _ = fs::remove_dir_all(&copy);
    copy_dir(crate_dir, &copy);
    let manifest = read(&root.join("Cargo.toml"));
    let members = manifest
        .lines()
        .map(|line| match line.starts_with("members =") {
            true => "members = [\"relay/sync\"]",
            false => line,
        });
    write(
        &scratch.join("Cargo.toml"),
        &members.collect::<Vec<_>>().join("\n"),
    );
    write(&scratch.join("Cargo.lock"), &read(&root.join("Cargo.lock")));
    for source in sources.values() {
        write(&copy.join(source.file), &mutated(source, mutants));
    }
    let lib = copy.join("lib.rs");
    write(&lib, &(read(&lib) + SWITCH));
    compile(&scratch)
}

/// The source with every mutant of it, each behind its switch. Of those that begin at one place the
/// longest is outside.
fn mutated(source: &Source, mutants: &[Mutant]) -> String {
    let mut inserts: Vec<((usize, bool, isize, isize), String)> = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let (Some(first), Some(last)) = (mutant.inserts.first(), mutant.inserts.last()) else {
            continue;
        };
        if mutant.file != source.file {
            continue;
        }
        let (len, order) = ((last.at - first.at) as isize, number as isize);
        for (place, insert) in mutant.inserts.iter().enumerate() {
            let key = match place {
                0 => (insert.at, true, -len, order),
                _ => (insert.at, false, len, -order),
            };
            inserts.push((key, insert.what.text(number)));
        }
    }
    inserts.sort_by_key(|(key, _)| *key);
    let mut text = source.text.clone();
    for ((at, ..), insert) in inserts.iter().rev() {
        text.insert_str(*at, insert);
    }
    text
}

fn compile(scratch: &Path) -> Programs {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["test", "--offline", "-p", "tidegate-sync"])
        .args(["--lib", "--test", "sim", "--no-run", "--target-dir"])
        .arg(scratch.join("target"))
        .current_dir(scratch)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(
        built.status.success(),
        "the mutants do not compile:\n{said}"
    );
    let program = |mark: &str| {
        let line = said
            .lines()
            .find(|line| line.contains("Executable") && line.contains(mark));
        let path = line.and_then(|line| line.rsplit_once('('));
        let path = path.map(|(_, path)| path.trim_end_matches(')'));
        scratch.join(path.expect("cargo says where the program is"))
    };
    Programs {
        unit: program("lib.rs"),
        sim: program("tests/sim"),
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch directory can be made");
    for entry in fs::read_dir(from).expect("the crate can be read") {
        let entry = entry.expect("the crate can be read");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("the crate can be copied");
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
