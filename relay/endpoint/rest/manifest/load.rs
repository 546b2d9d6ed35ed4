//! Reads a manifest; what is wrong with it is told with its line and column.

use crate::endpoint::rest::manifest::check::{Fault, check};

use super::Manifest;

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ManifestError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Reads and checks.
///
/// # Errors
/// The first thing that is wrong, with what was expected.
pub fn load(text: &str) -> Result<Manifest, ManifestError> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        let message = error.message().replace('\n', ", ");
        at(text, error.span().map_or(0, |span| span.start), message)
    })?;
    match check(&manifest) {
        Ok(()) => Ok(manifest),
        Err(Fault { keys, message }) => Err(at(text, offset(text, &keys), message)),
    }
}

/// The JSON Schema of the format, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}

fn at(text: &str, offset: usize, message: String) -> ManifestError {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ManifestError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
}

/// Where the value of these keys begins, or as much of them as is there.
fn offset(text: &str, keys: &[String]) -> usize {
    let Ok(document) = toml::de::DeTable::parse(text) else {
        return 0;
    };
    let mut offset = 0;
    let mut table = Some(document.get_ref());
    for key in keys {
        let Some(value) = table.and_then(|table| table.get(key.as_str())) else {
            break;
        };
        offset = value.span().start;
        table = value.get_ref().as_table();
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINTO: &str = include_str!("../connectors/kinto.toml");

    #[test]
    fn a_mistake_is_told_with_its_line_and_column() {
        let unknown = KINTO.replace("outlives_s = 5", "outlives = 5");
        let error = load(&unknown).unwrap_err();
        let line = unknown
            .lines()
            .position(|line| line.starts_with("outlives"));
        assert_eq!(error.line, line.unwrap() + 1);
        assert!(error.message.contains("outlives"), "{error}");

        let variable = KINTO.replace(
            "_limit = \"{limit}\", _sort = \"id\"",
            "_limit = \"{size}\"",
        );
        let error = load(&variable).unwrap_err();
        assert!(error.message.contains("`{size}`"), "{error}");
        let line = variable.lines().nth(error.line - 1).unwrap();
        assert!(
            line[error.column - 1..].starts_with("\"{size}\""),
            "{error}: {line}"
        );
    }

    #[test]
    fn a_format_of_another_version_is_refused() {
        let error = load(&KINTO.replace("manifest = 1", "manifest = 2")).unwrap_err();
        assert!(error.message.contains("version 1"), "{error}");
    }

    #[test]
    fn the_schema_describes_every_section() {
        let schema = json_schema().to_string();
        for section in ["auth", "limit", "changes", "batch", "rounded_ms"] {
            assert!(schema.contains(&format!("\"{section}\"")), "{section}");
        }
    }
}
