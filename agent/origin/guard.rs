//! Keeps a read-only session read-only, by what the relay's statements say.
//!
//! PostgreSQL enforces `read only`; a raw session can only ask for the opposite, and it is this
//! asking that does not pass: `read write` becomes `read only`, so that PostgreSQL itself refuses
//! the write, and what would switch the setting off cuts the session. Best effort: a function in the
//! database may do what a statement may not. What really holds is a role without write grants.
//! Pure; called by `forward`.

use super::frames::NotFrontend;

mod limits {
    /// Longest statement that is looked at, bytes; a longer one cuts a read-only session.
    pub(super) const STATEMENT_BYTES_MAX: usize = 4 << 20;
}

/// Why a read-only session is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReadOnly {
    #[error(transparent)]
    NotFrontend(#[from] NotFrontend),
    #[error("the relay tried to lift the session's read-only mode ({0})")]
    Lifts(&'static str),
    #[error("a statement of more than 4 MiB can't be judged in a read-only session")]
    TooLong,
}

/// Follows the frontend's messages and holds back statements until they are whole.
#[derive(Debug, Default)]
pub struct Guard {
    header: Vec<u8>,
    /// Bytes of the message's body still to come.
    left: usize,
    /// The body of a statement; nothing while another message passes.
    statement: Option<Vec<u8>>,
}

impl Guard {
    /// Takes bytes and appends what may go on to `out`. Lengths were judged by `Boundary` before.
    pub fn on_frontend(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotReadOnly> {
        while !bytes.is_empty() {
            if self.header.len() < 5 {
                let taken = (5 - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..taken]);
                bytes = &bytes[taken..];
                if self.header.len() < 5 {
                    return Ok(());
                }
                self.begin(out)?;
            }
            let taken = self.left.min(bytes.len());
            match &mut self.statement {
                Some(body) => body.extend_from_slice(&bytes[..taken]),
                None => out.extend_from_slice(&bytes[..taken]),
            }
            bytes = &bytes[taken..];
            self.left -= taken;
            if self.left == 0 {
                self.end(out)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), NotReadOnly> {
        let [kind, a, b, c, d] = self.header[..] else {
            return Ok(());
        };
        let length = u32::from_be_bytes([a, b, c, d]).saturating_sub(4);
        self.left = usize::try_from(length).unwrap_or(usize::MAX);
        if matches!(kind, b'Q' | b'P') {
            if self.left > limits::STATEMENT_BYTES_MAX {
                return Err(NotReadOnly::TooLong);
            }
            self.statement = Some(Vec::with_capacity(self.left));
        } else {
            out.extend_from_slice(&self.header);
        }
        if self.left == 0 {
            self.end(out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), NotReadOnly> {
        if let Some(mut body) = self.statement.take() {
            // Parse: the statement's name first (PostgreSQL manual, 55.7).
            let from = match self.header.first() {
                Some(b'P') => body
                    .iter()
                    .position(|byte| *byte == 0)
                    .map_or(0, |at| at + 1),
                _ => 0,
            };
            keep_read_only(&mut body[from..])?;
            out.extend_from_slice(&self.header);
            out.extend_from_slice(&body);
        }
        self.header.clear();
        Ok(())
    }
}

/// Judges a statement and turns its `read write` into `read only`, in the same length.
fn keep_read_only(text: &mut [u8]) -> Result<(), NotReadOnly> {
    let lower = String::from_utf8_lossy(text).to_ascii_lowercase();
    // Lossy text may be longer than the bytes; then no place in it can be trusted.
    let exact = lower.len() == text.len();
    let words = words(&lower);
    let first = words.first().map_or("", |(_, word)| *word);
    if matches!(first, "do" | "call") {
        return Err(NotReadOnly::Lifts("a block of code"));
    }
    if lower.contains("read_only") && first != "show" {
        return Err(NotReadOnly::Lifts("its setting is named"));
    }
    // Names that are written in other letters.
    if lower.contains("u&\"") || lower.contains("u&'") {
        return Err(NotReadOnly::Lifts("an escaped name"));
    }
    if lower.contains("pg_settings") && words.iter().any(|(_, word)| *word == "update") {
        return Err(NotReadOnly::Lifts("settings are updated"));
    }
    if !configures_plainly(&lower) {
        return Err(NotReadOnly::Lifts("a computed setting"));
    }
    for pair in words.windows(2) {
        let [(read_at, "read"), (write_at, "write")] = pair else {
            continue;
        };
        if !exact || *write_at != read_at + 5 {
            return Err(NotReadOnly::Lifts("read write"));
        }
        text[*write_at..*write_at + 5].copy_from_slice(b"only ");
    }
    Ok(())
}

/// Whether each `set_config` names its setting as a plain literal, so that the search for the
/// forbidden name has found what there is. The second form is what pg_dump asks.
fn configures_plainly(lower: &str) -> bool {
    const OF_PG_DUMP: &str = "where name = 'restrict_nonsystem_relation_kind'";
    lower.split("set_config").skip(1).all(|rest| {
        let argument = rest.trim_start().strip_prefix('(').unwrap_or_default();
        let argument = argument.trim_start();
        if argument.starts_with("name,") && rest.trim_end_matches('\0').ends_with(OF_PG_DUMP) {
            return true;
        }
        let name = argument
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''));
        name.is_some_and(|(name, rest)| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'))
                && rest.trim_start().starts_with(',')
        })
    })
}

/// Words outside of comments, strings and quoted names, each with its place.
fn words(text: &str) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"--") {
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += comment(rest);
        } else if rest[0] == b'\'' || rest[0] == b'"' {
            let end = rest[1..].iter().position(|b| *b == rest[0]);
            at += end.map_or(rest.len(), |end| end + 2);
        } else if is_word(rest[0]) {
            let end = rest.iter().position(|b| !is_word(*b)).unwrap_or(rest.len());
            found.push((at, text.get(at..at + end).unwrap_or_default()));
            at += end;
        } else {
            at += 1;
        }
    }
    found
}

/// Length of a comment, which may hold others.
fn comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn query(text: &str) -> Vec<u8> {
        message(b'Q', format!("{text}\0").as_bytes())
    }

    /// Feeds `bytes` in pieces of several sizes and returns the agreeing outcome.
    fn pass(bytes: &[u8]) -> Result<Vec<u8>, NotReadOnly> {
        let mut results = [1, 2, 3, 7, 64, bytes.len()].into_iter().map(|size| {
            let (mut guard, mut out) = (Guard::default(), Vec::new());
            for piece in bytes.chunks(size) {
                guard.on_frontend(piece, &mut out)?;
            }
            Ok(out)
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first));
        first
    }

    #[test]
    fn read_write_becomes_read_only_and_the_rest_passes_unchanged() {
        let written = query("begin isolation level read committed READ WRITE; select 'read write'");
        let read = query("begin isolation level read committed READ only ; select 'read write'");
        assert_eq!(pass(&written).unwrap(), read);
        let parse = message(b'P', b"s1\0start transaction read write\0\0\0");
        let expected = message(b'P', b"s1\0start transaction read only \0\0\0");
        assert_eq!(pass(&parse).unwrap(), expected);
        let copied = message(b'd', b"begin read write");
        let others = [
            query("select set_config('search_path', '', false)"),
            query("show transaction_read_only"),
            query("begin transaction isolation level repeatable read, read only"),
            query("insert into posts values (1)"),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            copied,
            message(b'S', b""),
        ]
        .concat();
        assert_eq!(pass(&others).unwrap(), others);
    }

    #[test]
    fn what_pg_dump_asks_passes() {
        let asked = query(
            "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = \
             'restrict_nonsystem_relation_kind'",
        );
        assert_eq!(pass(&asked).unwrap(), asked);
    }

    #[test]
    fn what_lifts_read_only_cuts_the_session() {
        for text in [
            "set default_transaction_read_only = off",
            "SET SESSION transaction_READ_ONLY to off",
            "select set_config('default_transaction_read_only', 'off', false)",
            "select set_config('default_transaction_' || 'read' || '_only', 'off', false)",
            "select set_config(name, 'off', false) from pg_settings where name like 'def%'",
            "update pg_settings set setting = 'off' where name like 'default_tr%'",
            "do $$ begin execute 'set default_' || 'x'; end $$",
            "call p()",
            "set u&\"default\\005ftransaction\" = off",
            "begin read /* not */ write",
            "begin read  write",
            "begin read--\n write",
        ] {
            let refused = pass(&query(text));
            assert!(
                matches!(refused, Err(NotReadOnly::Lifts(_))),
                "{text}: {refused:?}"
            );
        }
        let long = message(b'Q', &vec![b' '; limits::STATEMENT_BYTES_MAX + 1]);
        let (mut guard, mut out) = (Guard::default(), Vec::new());
        assert_eq!(
            guard.on_frontend(&long, &mut out),
            Err(NotReadOnly::TooLong)
        );
    }
}
