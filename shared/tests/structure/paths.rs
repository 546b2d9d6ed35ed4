//! Which paths a Rust file names, resolved to crate and room: `use` trees and paths in code alike.

use crate::lexer::Token;
use crate::source::Source;

/// A path as written in the source, from its crate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// First the crate's name (`tidegate_relay`, `tokio`), then its modules.
    pub segments: Vec<String>,
    pub line: usize,
}

impl Named {
    pub fn text(&self) -> String {
        self.segments.join("::")
    }

    /// True for the path itself and all that lies below it.
    pub fn is_under(&self, prefix: &str) -> bool {
        let mut segments = self.segments.iter();
        prefix
            .split("::")
            .all(|part| segments.next().is_some_and(|segment| segment == part))
    }
}

/// The module path of a file, its crate first; `None` for a file that is no part of our crates.
pub fn module_of(path: &str) -> Option<Vec<String>> {
    let (name, inside) = [
        ("tidegate_sync", "relay/sync/"),
        ("tidegate_relay", "relay/"),
        ("tidegate_agent", "agent/"),
        ("tidegate_shared", "shared/"),
    ]
    .into_iter()
    .find_map(|(name, folder)| Some((name, path.strip_prefix(folder)?)))?;
    let mut module = vec![name.to_owned()];
    let inside = inside.strip_suffix(".rs")?;
    module.extend(inside.split('/').map(str::to_owned));
    if matches!(module.last()?.as_str(), "mod" | "lib" | "main") {
        module.pop();
    }
    Some(module)
}

/// Every path of two segments and more that the file names, and every crate that it imports.
pub fn named(source: &Source) -> Vec<Named> {
    let Some(module) = module_of(&source.path) else {
        return Vec::new();
    };
    let mut reader = Reader {
        tokens: &source.tokens,
        at: 0,
        depth: 0,
        module,
        inline: Vec::new(),
        out: Vec::new(),
    };
    reader.read();
    reader.out
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Open braces.
    depth: usize,
    module: Vec<String>,
    /// The depths at which inline modules were opened.
    inline: Vec<usize>,
    out: Vec<Named>,
}

impl Reader<'_> {
    fn read(&mut self) {
        while let Some(token) = self.tokens.get(self.at) {
            if token.is("mod") && self.is_at(2, "{") {
                self.module.push(self.tokens[self.at + 1].text.clone());
                self.inline.push(self.depth);
                self.at += 2;
            } else if token.is("{") {
                self.depth += 1;
                self.at += 1;
            } else if token.is("}") {
                self.depth = self.depth.saturating_sub(1);
                if self.inline.last() == Some(&self.depth) {
                    self.inline.pop();
                    self.module.pop();
                }
                self.at += 1;
            } else if token.is("use") {
                self.at += 1;
                self.path(Vec::new(), true);
            } else if token.is_word() && self.is_at(1, "::") && !self.follows("::") {
                self.path(Vec::new(), false);
            } else {
                self.at += 1;
            }
        }
    }

    fn is_at(&self, ahead: usize, text: &str) -> bool {
        let token = self.tokens.get(self.at + ahead);
        token.is_some_and(|token| token.is(text))
    }

    fn follows(&self, text: &str) -> bool {
        self.at > 0 && self.tokens[self.at - 1].is(text)
    }

    /// Reads `a::b`, and the whole tree of a `use`.
    fn path(&mut self, mut segments: Vec<String>, is_use: bool) {
        if self.is_at(0, "::") {
            self.at += 1;
        }
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        while let Some(token) = self.tokens.get(self.at) {
            if !token.is_word() && !token.is("*") {
                break;
            }
            segments.push(token.text.clone());
            self.at += 1;
            if !self.is_at(0, "::") {
                break;
            }
            self.at += 1;
        }
        if is_use && self.is_at(0, "{") {
            self.group(&segments);
            return;
        }
        if is_use && self.is_at(0, "as") {
            self.at += 2;
        }
        if let Some(segments) = self.resolve(segments, is_use) {
            self.out.push(Named { segments, line });
        }
    }

    fn group(&mut self, before: &[String]) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is_at(0, "}") {
            let start = self.at;
            self.path(before.to_vec(), true);
            if self.is_at(0, ",") || self.at == start {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// From the crate on; `None` for what names nothing outside its own scope.
    fn resolve(&self, segments: Vec<String>, is_use: bool) -> Option<Vec<String>> {
        let first = segments.first()?.as_str();
        let mut base = match first {
            "crate" => vec![self.module[0].clone()],
            "self" | "super" => self.module.clone(),
            _ if is_use || segments.len() > 1 => Vec::new(),
            _ => return None,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    base.pop();
                }
                _ => base.push(segment),
            }
        }
        Some(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<String> = named(&Source::new(path, text))
            .iter()
            .map(Named::text)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn trees_are_taken_apart() {
        check(
            "relay/engine/mod.rs",
            "use crate::{store::{self, Store as S}, endpoint::*}; use bincode;",
            &[
                "tidegate_relay::store",
                "tidegate_relay::store::Store",
                "tidegate_relay::endpoint::*",
                "bincode",
            ],
        );
    }

    #[test]
    fn super_is_followed_through_files_and_inline_modules() {
        let text = "use super::x; mod tests { use super::super::y; } use super::super::z;";
        let expected = [
            "tidegate_relay::endpoint::x",
            "tidegate_relay::endpoint::y",
            "tidegate_relay::z",
        ];
        check("relay/endpoint/postgres/mod.rs", text, &expected);
    }

    #[test]
    fn paths_in_code_and_attributes_count() {
        let text = "#[derive(bincode::Encode)] fn f() { tokio::spawn(g()); crate::app::run() }";
        let expected = [
            "bincode::Encode",
            "tokio::spawn",
            "tidegate_agent::app::run",
        ];
        check("agent/tunnel/dial.rs", text, &expected);
    }

    #[test]
    fn files_belong_to_the_innermost_crate() {
        let module = |path| module_of(path).map(|module| module.join("::"));
        assert_eq!(module("relay/sync/plan.rs").unwrap(), "tidegate_sync::plan");
        assert_eq!(module("relay/main.rs").unwrap(), "tidegate_relay");
        assert_eq!(module("fuzz/a.rs"), None);
    }
}
