//! One way of breaking a source: text that is put in at some places, behind the mutant's switch.

use std::fs;
use std::path::Path;

/// A source file of the crate, without its tests.
pub struct Source {
    pub file: &'static str,
    pub text: String,
    /// Where the tests begin.
    pub end: usize,
}

impl Source {
    pub fn read(file: &'static str) -> Source {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        Source { file, text, end }
    }
}

/// Text to be put in at a place.
pub struct Insert {
    pub at: usize,
    pub what: What,
}

/// What is put in; the switch's number is known later.
pub enum What {
    /// At the beginning of a function's body: leaves it at once.
    Return(String),
    /// Before a condition, which holds if it does not, and …
    NegateFrom,
    /// … after it.
    NegateTo,
    /// Before what is replaced by this text, and …
    ReplaceFrom(String),
    /// … after it.
    ReplaceTo,
}

impl What {
    pub fn text(&self, number: usize) -> String {
        let is_on = format!("crate::is_mutant({number})");
        match self {
            What::Return(value) => format!(" if {is_on} {{ return {value}; }}"),
            What::NegateFrom => format!("{is_on} != ("),
            What::NegateTo => ")".to_owned(),
            What::ReplaceFrom(text) => format!("{{ if {is_on} {{ {text} }} else {{ "),
            What::ReplaceTo => " } }".to_owned(),
        }
    }
}

pub struct Mutant {
    /// Says where it is and what it does; the same as long as the source there is the same.
    pub name: String,
    pub file: &'static str,
    pub inserts: Vec<Insert>,
}
