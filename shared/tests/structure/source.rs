//! One file of the workspace, and finding them all.

use std::fs;
use std::path::Path;

use crate::Violation;
use crate::lexer::{Token, tokens};

/// A text file, by its path from the workspace's root with `/` between the parts.
pub struct Source {
    pub path: String,
    pub text: String,
    /// Of a Rust file: what is left without comments and the contents of literals.
    pub tokens: Vec<Token>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let is_rust = path.ends_with(".rs");
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: if is_rust { tokens(text) } else { Vec::new() },
        }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// True for integration tests, benchmarks and examples, which stand outside the rooms.
    pub fn is_outside_rooms(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "examples"))
    }

    pub fn violation(&self, line: usize, what: String, remedy: &'static str) -> Violation {
        Violation {
            path: self.path.clone(),
            line,
            what,
            remedy,
        }
    }
}

/// Every text file that people write, in the order of their paths.
pub fn read_all(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(root, "", &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(root.join(&path)).ok()?;
            Some(Source::new(&path, &text))
        })
        .collect()
}

fn collect(root: &Path, under: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(under)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if under.is_empty() {
            name.clone()
        } else {
            format!("{under}/{name}")
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && !is_generated(&name) {
            collect(root, &path, found);
        } else if kind.is_file() && is_written_by_people(&name) {
            found.push(path);
        }
    }
}

fn is_generated(folder: &str) -> bool {
    folder == ".git"
        || folder == ".demo"
        || matches!(folder, "node_modules" | "dist" | "shots" | "test-results")
        || folder.starts_with("target")
}

fn is_written_by_people(name: &str) -> bool {
    const KINDS: [&str; 14] = [
        "rs", "toml", "md", "sh", "sql", "yml", "yaml", "json", "ts", "tsx", "js", "css", "html",
        "service",
    ];
    // The console's types, which its build makes of the API's document.
    if name == "schema.ts" {
        return false;
    }
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    kind.is_some_and(|kind| KINDS.contains(&kind)) || matches!(name, "Makefile" | "run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_folders_and_binaries_are_not_read() {
        assert!(is_generated("target"));
        assert!(is_generated("target-ci"));
        assert!(is_generated("dist"));
        assert!(!is_written_by_people("schema.ts"));
        assert!(!is_generated("relay"));
        assert!(is_written_by_people("mod.rs"));
        assert!(is_written_by_people("Makefile"));
        assert!(!is_written_by_people("Cargo.lock"));
        assert!(!is_written_by_people("logo.png"));
    }

    #[test]
    fn integration_tests_stand_outside_the_rooms() {
        assert!(Source::new("relay/tests/it/main.rs", "").is_outside_rooms());
        assert!(!Source::new("relay/store/mod.rs", "").is_outside_rooms());
    }
}
