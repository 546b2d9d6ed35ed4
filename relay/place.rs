//! Where in a text file something stands, for people: line, column, and what was expected.
//!
//! Used by the two files that people write, `relay.toml` (`config`) and `sync.toml`
//! (`engine::syncfile`). It reads nothing itself.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` in `text`; the end of the text for an offset beyond it.
    pub fn of(text: &str, offset: usize) -> Place {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A file that does not say what it should, at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct FileError {
    pub place: Place,
    /// What is wrong and what was expected, in one line.
    pub message: String,
}

impl FileError {
    /// An error at the beginning of `span`.
    pub fn at(text: &str, span: Range<usize>, message: impl Into<String>) -> FileError {
        FileError {
            place: Place::of(text, span.start),
            message: message.into(),
        }
    }
}

/// Reads TOML into `T`; an unknown key or a value of the wrong type is an error at its place.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', ", ");
        FileError::at(text, error.span().unwrap_or(0..0), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "a\nbü=c\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 2), Place { line: 2, column: 1 });
        let equals = text.find('=').expect("there is one");
        assert_eq!(Place::of(text, equals), Place { line: 2, column: 3 });
        assert_eq!(Place::of(text, 999), Place { line: 3, column: 1 });
    }
}
