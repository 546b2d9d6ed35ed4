//! The agent's own record of what was done through it: append-only, each line bound to the one
//! before by its hash, in `audit.log` of the state directory.
//!
//! It holds names and codes, never a secret, a statement or a row. Whoever may write the file can
//! write all of it anew: what the chain shows is a change or a gap in the middle, and its newest
//! hash, which `status` and `audit verify` print, is worth noting elsewhere. Called by `origin`,
//! `tunnel::supervise` and `cli`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::durable::give_to_owner;
use crate::origin::unix_ms;

mod limits {
    /// A file of this size is put aside, bytes.
    pub(super) const FILE_BYTES_MAX: u64 = 32 << 20;
    /// Files that were put aside; the oldest goes.
    pub(super) const OLD_FILES_MAX: u64 = 8;
    /// Longest object or detail, characters: names of the relay's choice are in them.
    pub(super) const TEXT_CHARS_MAX: usize = 200;
    /// A line is at most this long, bytes: two texts, all of them escaped, and the rest.
    pub(super) const LINE_BYTES_MAX: u64 = 8 * 1024;
}

/// Where the record is kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    file: PathBuf,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without holes.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What, as `noun.verb`: `stream.deny`, `writes.hold`.
    pub action: String,
    /// To which target, relay or agent.
    pub object: String,
    pub detail: String,
    /// SHA-256 of the line before and of everything above, hexadecimal.
    pub hash: String,
}

/// What a check of the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// The number of entries that are there, and the newest hash.
    Intact { entries: u64, head: String },
    /// The line of this file is changed, or one before it is missing.
    Broken { file: PathBuf, line: u64 },
}

impl Audit {
    pub fn new(state_dir: &Path) -> Audit {
        Audit {
            file: state_dir.join("audit.log"),
        }
    }

    /// Notes an event. What can't be noted is logged as an error and goes on: a full disk must not
    /// stop the database's owner from being served.
    pub fn note(&self, action: &str, object: &str, detail: &str) {
        if let Err(error) = self.append(action, object, detail) {
            tracing::error!(%error, action, "the audit record can't be written");
        }
    }

    /// Appends under a lock, as `pair` and the running agent may write at the same time.
    pub fn append(&self, action: &str, object: &str, detail: &str) -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.file)?;
        let directory = self.file.parent().unwrap_or(Path::new("."));
        give_to_owner(&file, directory)?;
        file.lock()?;
        let size = file.metadata()?.len();
        let last = match last_line(&mut file, size)? {
            Some(entry) => entry,
            None => self.last_of_old()?,
        };
        let clean = |text: &str| -> String {
            let text = text.chars().filter(|c| !c.is_control());
            text.take(limits::TEXT_CHARS_MAX).collect()
        };
        let mut entry = Entry {
            seq: last.0 + 1,
            at_ms: unix_ms(SystemTime::now()),
            action: action.to_owned(),
            object: clean(object),
            detail: clean(detail),
            hash: String::new(),
        };
        entry.hash = chain_hash(&entry, &last.1);
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()?;
        if size >= limits::FILE_BYTES_MAX {
            self.put_aside(entry.seq)?;
        }
        Ok(())
    }

    /// Recomputes the chain over all files that are there. The first entry's own hash is taken as
    /// it is where older files were removed.
    pub fn verify(&self) -> io::Result<Chain> {
        let (mut entries, mut before) = (0, None::<(u64, String)>);
        let mut files: Vec<PathBuf> = self
            .old_files()?
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        files.push(self.file.clone());
        for path in files {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for (line, text) in (1..).zip(BufReader::new(file).lines()) {
                let broken = || Chain::Broken {
                    file: path.clone(),
                    line,
                };
                let Ok(entry) = serde_json::from_str::<Entry>(&text?) else {
                    return Ok(broken());
                };
                let is_next = match &before {
                    Some((seq, hash)) => {
                        entry.seq == seq + 1 && entry.hash == chain_hash(&entry, hash)
                    }
                    None => entry.seq > 1 || entry.hash == chain_hash(&entry, ""),
                };
                if !is_next {
                    return Ok(broken());
                }
                entries += 1;
                before = Some((entry.seq, entry.hash));
            }
        }
        let head = before.map(|(_, hash)| hash).unwrap_or_default();
        Ok(Chain::Intact { entries, head })
    }

    /// The newest entries of the current file, oldest first.
    pub fn tail(&self, count: usize) -> io::Result<Vec<Entry>> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = std::collections::VecDeque::with_capacity(count);
        for text in BufReader::new(file).lines() {
            if let Ok(entry) = serde_json::from_str(&text?) {
                if entries.len() == count {
                    entries.pop_front();
                }
                entries.push_back(entry);
            }
        }
        Ok(entries.into())
    }

    fn put_aside(&self, seq: u64) -> io::Result<()> {
        let aside = self.file.with_file_name(format!("audit-{seq:012}.log"));
        std::fs::rename(&self.file, aside)?;
        let old = self.old_files()?;
        let surplus = old.len().saturating_sub(limits::OLD_FILES_MAX as usize);
        for (_, path) in old.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Files that were put aside, oldest first, by their last entry's number.
    fn old_files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".log"))
                .and_then(|number| number.parse().ok());
            if let Some(number) = number {
                found.push((number, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    fn last_of_old(&self) -> io::Result<(u64, String)> {
        let Some((_, path)) = self.old_files()?.pop() else {
            return Ok((0, String::new()));
        };
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(last_line(&mut file, size)?.unwrap_or_default())
    }
}

/// Number and hash of the last line; nothing of an empty file.
fn last_line(file: &mut File, size: u64) -> io::Result<Option<(u64, String)>> {
    if size == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size.saturating_sub(limits::LINE_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(limits::LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = bytes.trim_ascii_end();
    let from = text
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let entry: Entry = serde_json::from_slice(&text[from..]).map_err(|error| {
        let text = format!("audit.log ends in what is no entry ({error}): put it aside");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    Ok(Some((entry.seq, entry.hash)))
}

fn chain_hash(entry: &Entry, before: &str) -> String {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&entry.seq.to_be_bytes());
    bytes.extend_from_slice(&entry.at_ms.to_be_bytes());
    for text in [&entry.action, &entry.object, &entry.detail, before] {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    let hash = digest(&SHA256, &bytes);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: u64) -> (tempfile::TempDir, Audit) {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        for number in 0..count {
            audit
                .append("stream.open", "main", &format!("blog/{number}"))
                .unwrap();
        }
        (dir, audit)
    }

    fn rewrite(audit: &Audit, change: impl FnOnce(&mut Vec<String>)) {
        let text = std::fs::read_to_string(&audit.file).unwrap();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        change(&mut lines);
        std::fs::write(&audit.file, lines.join("\n") + "\n").unwrap();
    }

    #[test]
    fn changed_removed_and_inserted_lines_break_the_chain() {
        let (_dir, audit) = filled(5);
        let whole = audit.verify().unwrap();
        assert!(
            matches!(whole, Chain::Intact { entries: 5, .. }),
            "{whole:?}"
        );
        for change in [
            |lines: &mut Vec<String>| lines[2] = lines[2].replace("blog/2", "blog/9"),
            |lines: &mut Vec<String>| drop(lines.remove(2)),
            |lines: &mut Vec<String>| lines.insert(2, lines[2].clone()),
            |lines: &mut Vec<String>| lines.swap(1, 2),
        ] {
            let (_dir, audit) = filled(5);
            rewrite(&audit, change);
            let found = audit.verify().unwrap();
            assert!(matches!(found, Chain::Broken { .. }), "{found:?}");
        }
    }

    #[test]
    fn chain_goes_on_in_the_next_file() {
        let (_dir, audit) = filled(3);
        audit.put_aside(3).unwrap();
        audit.append("relay.connect", "relay", "").unwrap();
        let found = audit.verify().unwrap();
        assert!(
            matches!(found, Chain::Intact { entries: 4, .. }),
            "{found:?}"
        );
        assert_eq!(audit.tail(9).unwrap()[0].seq, 4);
    }

    #[test]
    fn names_of_the_relays_choice_stay_on_one_line() {
        let (_dir, audit) = filled(0);
        audit
            .append("stream.deny", &"x\n\"".repeat(500), "a\tb")
            .unwrap();
        let entry = audit.tail(1).unwrap().remove(0);
        assert_eq!(
            (entry.detail.as_str(), entry.object.chars().count()),
            ("ab", 200)
        );
        audit.append("stream.deny", "y", "").unwrap();
        assert!(matches!(
            audit.verify().unwrap(),
            Chain::Intact { entries: 2, .. }
        ));
    }
}
