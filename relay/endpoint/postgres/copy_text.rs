//! COPY's text format: split into rows and cells, and written. Source: PostgreSQL manual, COPY,
//! "Text Format".

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

/// Cuts a stream of chunks into lines. A line may span chunks, and a chunk hold many lines.
#[derive(Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Calls `on_line` for each complete line, without its newline.
    pub(super) fn push<E>(
        &mut self,
        chunk: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = chunk;
        // Newlines inside values are escaped: each raw one ends a row.
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, tail) = rest.split_at(end);
            if self.pending.is_empty() {
                on_line(line)?;
            } else {
                self.pending.extend_from_slice(line);
                on_line(&self.pending)?;
                self.pending.clear();
            }
            rest = &tail[1..];
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// True when the stream may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }
}

/// The cells of one line, `Some(None)` for null. Nothing for text that isn't UTF-8; `None` for a
/// cell that ends in a lone backslash.
pub(super) fn cells(line: &[u8]) -> Option<impl Iterator<Item = Option<Option<Cow<'_, str>>>>> {
    let line = std::str::from_utf8(line).ok()?;
    Some(line.split('\t').map(cell))
}

fn cell(raw: &str) -> Option<Option<Cow<'_, str>>> {
    if raw == "\\N" {
        return Some(None);
    }
    if !raw.contains('\\') {
        return Some(Some(Cow::Borrowed(raw)));
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        text.push(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            // The server writes no octal or hexadecimal forms.
            other => other,
        });
    }
    Some(Some(Cow::Owned(text)))
}

/// Appends a row, as [`cells`] reads it. Source: as above.
pub(super) fn put_line<'c>(out: &mut BytesMut, cells: impl Iterator<Item = Option<&'c str>>) {
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            out.put_u8(b'\t');
        }
        match cell {
            None => out.put_slice(b"\\N"),
            Some(text) => put_cell(out, text.as_bytes()),
        }
    }
    out.put_u8(b'\n');
}

fn put_cell(out: &mut BytesMut, text: &[u8]) {
    let mut from = 0;
    for (at, byte) in text.iter().enumerate() {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            _ => continue,
        };
        out.put_slice(&text[from..at]);
        out.put_slice(&[b'\\', escaped]);
        from = at + 1;
    }
    out.put_slice(&text[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the server escapes (`CopyAttributeOutText`).
    fn escape(text: Option<&str>) -> String {
        let Some(text) = text else {
            return "\\N".into();
        };
        let mut out = String::new();
        for char in text.chars() {
            match char {
                '\\' => out.push_str("\\\\"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{b}' => out.push_str("\\v"),
                other => out.push(other),
            }
        }
        out
    }

    fn cells(line: &[u8]) -> Option<Vec<Option<Cow<'_, str>>>> {
        super::cells(line)?.collect()
    }

    #[test]
    fn null_and_its_spelling_as_text_differ() {
        let read = cells(b"\\N\t\\\\N\t").unwrap();
        assert_eq!(read, [None, Some("\\N".into()), Some("".into())]);
        assert_eq!(cells(b"a\\"), None);
        assert_eq!(cells(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn rows_survive_any_chunking(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of("[\\PC\t\n\r\\\\\u{8}\u{b}]{0,9}"), 1..4), 0..6),
            size in 1usize..40,
        ) {
            let mut wire = String::new();
            for row in &rows {
                let cells: Vec<String> = row.iter().map(|c| escape(c.as_deref())).collect();
                wire.push_str(&cells.join("\t"));
                wire.push('\n');
            }
            let mut lines = Lines::default();
            let mut read: Vec<Vec<Option<String>>> = Vec::new();
            for chunk in wire.as_bytes().chunks(size) {
                let done: Result<(), ()> = lines.push(chunk, |line| {
                    let cells = cells(line).ok_or(())?;
                    read.push(cells.into_iter().map(|c| c.map(Cow::into_owned)).collect());
                    Ok(())
                });
                prop_assert!(done.is_ok());
            }
            prop_assert!(lines.is_complete());
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn what_is_written_reads_back(
            row in prop::collection::vec(prop::option::of("[\\PC\t\n\r\\\\\u{8}\u{b}N.]{0,9}"), 1..4),
        ) {
            let mut wire = BytesMut::new();
            put_line(&mut wire, row.iter().map(Option::as_deref));
            prop_assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), 1);
            let line = wire.strip_suffix(b"\n").unwrap();
            let read: Vec<_> = cells(line).unwrap().into_iter().map(|c| c.map(Cow::into_owned)).collect();
            prop_assert_eq!(read, row);
        }
    }
}
