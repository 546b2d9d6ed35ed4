//! The write brake: how many rows were written through a target within a minute.
//!
//! It counts what PostgreSQL itself reports (CommandComplete tags, PostgreSQL manual, 55.7), so it
//! sees a write after the statement and, as a rule, before the commit. It is a brake against
//! accidents. Against a hostile relay it is best effort only: a function that a `select` calls, or a
//! trigger, writes without a tag, and a commit may travel in the same packet as its statement. Pure;
//! called by `forward` through `Origin`.

use std::time::Duration;

use crate::config::WriteBounds as Bounds;

/// Rows are counted over this long.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Counts of one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brake {
    /// When the window began, on the caller's clock.
    since: Duration,
    changed: u64,
    deleted: u64,
}

/// What a statement wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    Nothing,
    Changed(u64),
    Deleted(u64),
    /// Rows were removed, and PostgreSQL doesn't say how many (TRUNCATE, DROP TABLE).
    Emptied,
}

/// What a command tag says. `copies_in` tells the two directions of COPY apart.
pub fn wrote(tag: &str, copies_in: bool) -> Wrote {
    let mut words = tag.split(' ');
    let verb = words.next().unwrap_or_default();
    let rows = words
        .next_back()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    match verb {
        "INSERT" | "UPDATE" | "MERGE" => Wrote::Changed(rows),
        "COPY" if copies_in => Wrote::Changed(rows),
        "DELETE" => Wrote::Deleted(rows),
        "TRUNCATE" => Wrote::Emptied,
        "DROP" if tag == "DROP TABLE" => Wrote::Emptied,
        _ => Wrote::Nothing,
    }
}

/// Reads what was written out of the backend's bytes as they pass by.
#[derive(Debug, Default)]
pub struct Tags {
    header: [u8; 5],
    header_bytes: usize,
    left: u64,
    /// The body of a CommandComplete so far.
    tag: Vec<u8>,
    copies_in: bool,
}

/// The longest tag is below this, bytes.
const TAG_BYTES_MAX: usize = 64;

impl Tags {
    /// Hands on what each finished statement wrote. Lengths were judged by `Boundary` before.
    pub fn on_backend(&mut self, mut bytes: &[u8], mut on_wrote: impl FnMut(Wrote)) {
        while !bytes.is_empty() {
            if self.header_bytes < 5 {
                let taken = (5 - self.header_bytes).min(bytes.len());
                let place = self.header_bytes..self.header_bytes + taken;
                self.header[place].copy_from_slice(&bytes[..taken]);
                self.header_bytes += taken;
                bytes = &bytes[taken..];
                if self.header_bytes < 5 {
                    return;
                }
                let [kind, a, b, c, d] = self.header;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d])).saturating_sub(4);
                match kind {
                    b'G' => self.copies_in = true,
                    b'H' => self.copies_in = false,
                    _ => {}
                }
            }
            let taken = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            if self.header[0] == b'C' {
                let room = TAG_BYTES_MAX.saturating_sub(self.tag.len()).min(taken);
                self.tag.extend_from_slice(&bytes[..room]);
            }
            bytes = &bytes[taken..];
            self.left -= taken as u64;
            if self.left == 0 {
                self.header_bytes = 0;
                if self.header[0] == b'C' {
                    let tag = self.tag.strip_suffix(b"\0").unwrap_or(&self.tag);
                    let tag = std::str::from_utf8(tag).unwrap_or_default();
                    on_wrote(wrote(tag, self.copies_in));
                    self.tag.clear();
                }
            }
        }
    }
}

impl Brake {
    /// Counts; says why the brake trips, if it does. `now` only grows.
    pub fn note(&mut self, wrote: Wrote, bounds: Bounds, now: Duration) -> Option<String> {
        if now.saturating_sub(self.since) >= WINDOW {
            *self = Brake {
                since: now,
                ..Brake::default()
            };
        }
        match wrote {
            Wrote::Nothing => return None,
            Wrote::Changed(rows) => self.changed = self.changed.saturating_add(rows),
            Wrote::Deleted(rows) => self.deleted = self.deleted.saturating_add(rows),
            Wrote::Emptied if bounds.deleted_rows.is_some() => {
                return Some("a table was emptied".to_owned());
            }
            Wrote::Emptied => return None,
        }
        let above = |count, bound: Option<u64>| bound.filter(|bound| count > *bound);
        if let Some(bound) = above(self.changed, bounds.changed_rows) {
            let rows = self.changed;
            return Some(format!(
                "{rows} rows changed within a minute, {bound} allowed"
            ));
        }
        let bound = above(self.deleted, bounds.deleted_rows)?;
        let rows = self.deleted;
        Some(format!(
            "{rows} rows deleted within a minute, {bound} allowed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tags_say_what_was_written() {
        for (tag, copies_in, expected) in [
            ("INSERT 0 5", false, Wrote::Changed(5)),
            ("UPDATE 12", false, Wrote::Changed(12)),
            ("MERGE 3", false, Wrote::Changed(3)),
            ("DELETE 7", false, Wrote::Deleted(7)),
            ("COPY 9", true, Wrote::Changed(9)),
            ("COPY 9", false, Wrote::Nothing),
            ("SELECT 100", false, Wrote::Nothing),
            ("TRUNCATE TABLE", false, Wrote::Emptied),
            ("DROP TABLE", false, Wrote::Emptied),
            ("DROP FUNCTION", false, Wrote::Nothing),
            ("BEGIN", false, Wrote::Nothing),
            ("", false, Wrote::Nothing),
        ] {
            assert_eq!(wrote(tag, copies_in), expected, "{tag}");
        }
    }

    #[test]
    fn tags_are_read_whatever_the_pieces() {
        let bytes = b"T\0\0\0\x06\0\0D\0\0\0\x08C\0\0\0C\0\0\0\x0dSELECT 1\0\
                      G\0\0\0\x07\0\0\0C\0\0\0\x0bCOPY 7\0Z\0\0\0\x05IC\0\0\0\x0dDELETE 2\0";
        for size in 1..=bytes.len() {
            let (mut tags, mut seen) = (Tags::default(), Vec::new());
            for piece in bytes.chunks(size) {
                tags.on_backend(piece, |wrote| seen.push(wrote));
            }
            let expected = [Wrote::Nothing, Wrote::Changed(7), Wrote::Deleted(2)];
            assert_eq!(seen, expected, "{size}");
        }
    }

    #[test]
    fn brake_trips_above_its_bound_and_forgets_after_a_minute() {
        let bounds = Bounds {
            changed_rows: Some(100),
            deleted_rows: Some(10),
        };
        let at = Duration::from_secs;
        let mut brake = Brake::default();
        assert_eq!(brake.note(Wrote::Changed(100), bounds, at(1)), None);
        assert!(brake.note(Wrote::Changed(1), bounds, at(2)).is_some());
        assert_eq!(brake.note(Wrote::Changed(100), bounds, at(62)), None);
        assert_eq!(brake.note(Wrote::Deleted(10), bounds, at(63)), None);
        let said = brake.note(Wrote::Deleted(1), bounds, at(64)).unwrap();
        assert_eq!(said, "11 rows deleted within a minute, 10 allowed");
        assert!(brake.note(Wrote::Emptied, bounds, at(200)).is_some());
    }

    #[test]
    fn target_without_bounds_is_never_braked() {
        let mut brake = Brake::default();
        for wrote in [
            Wrote::Changed(u64::MAX),
            Wrote::Deleted(u64::MAX),
            Wrote::Emptied,
        ] {
            assert_eq!(brake.note(wrote, Bounds::default(), WINDOW), None);
        }
    }
}
