//! Where a target's password comes from: its file, a systemd credential, or libpq's password file.
//!
//! Read at every login, so that a rotated password needs no restart. The password never prints and
//! is wiped when dropped. Called by `login` and by the doctor.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{Address, Target};

/// A password file larger than this is the wrong file, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A database password. Doesn't print, is wiped when dropped.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// The raw bytes; PostgreSQL passwords need not be UTF-8.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The environment that the look-up depends on; passed in, so that tests need not change theirs.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `$CREDENTIALS_DIRECTORY`, set by systemd's `LoadCredential=`.
    pub credentials: Option<PathBuf>,
    /// `$PGPASSFILE`.
    pub pgpassfile: Option<PathBuf>,
    /// `$HOME`, for `~/.pgpass`.
    pub home: Option<PathBuf>,
}

impl Places {
    /// The places of this process.
    pub fn from_env() -> Places {
        let path = |name| {
            std::env::var_os(name)
                .filter(|v: &OsString| !v.is_empty())
                .map(Into::into)
        };
        Places {
            credentials: path("CREDENTIALS_DIRECTORY"),
            pgpassfile: path("PGPASSFILE"),
            home: path("HOME"),
        }
    }

    /// Finds the password of `target`, or `None` when no place has one. The first place that
    /// exists decides: `password_file`, `$CREDENTIALS_DIRECTORY/<target>.password`, then
    /// `$PGPASSFILE` or `~/.pgpass`.
    pub fn find(&self, target: &Target) -> Result<Option<Password>, PasswordError> {
        if let Some(file) = &target.password_file {
            return read_whole(file).map(Some);
        }
        if let Some(directory) = &self.credentials {
            let file = directory.join(format!("{}.password", target.name));
            if file.exists() {
                return read_whole(&file).map(Some);
            }
        }
        let file = match (&self.pgpassfile, &self.home) {
            (Some(file), _) => file.clone(),
            (None, Some(home)) => home.join(".pgpass"),
            (None, None) => return Ok(None),
        };
        if !file.exists() {
            return Ok(None);
        }
        refuse_open_modes(&file)?;
        let text = read_bounded(&file)?;
        Ok(find_in_pgpass(&text, target))
    }
}

/// Why a password can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("can't read {}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{} is empty", file.display())]
    Empty { file: PathBuf },
    #[error("{} is larger than 64 KiB: is this the right file?", file.display())]
    TooLarge { file: PathBuf },
    #[error("{} can be read by others: run chmod 0600 on it", file.display())]
    OpenModes { file: PathBuf },
}

fn read_whole(file: &Path) -> Result<Password, PasswordError> {
    let mut bytes = read_bounded(file)?;
    // One line end is the editor's, not the password's.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(PasswordError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(Password(bytes))
}

fn read_bounded(file: &Path) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    let failed = |source| PasswordError::Read {
        file: file.to_owned(),
        source,
    };
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(PasswordError::TooLarge {
            file: file.to_owned(),
        });
    }
    Ok(Zeroizing::new(std::fs::read(file).map_err(failed)?))
}

/// libpq ignores a password file that others can read; ignoring it silently helps nobody.
fn refuse_open_modes(file: &Path) -> Result<(), PasswordError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| PasswordError::Read {
        file: file.to_owned(),
        source,
    };
    let mode = std::fs::metadata(file)
        .map_err(failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(PasswordError::OpenModes {
            file: file.to_owned(),
        });
    }
    Ok(())
}

/// The first matching line of a password file (PostgreSQL manual, 34.16 "The Password File"):
/// `host:port:database:user:password`, `*` matches anything, a backslash escapes `:` and itself.
/// A socket matches under the name `localhost` and under its directory.
fn find_in_pgpass(text: &[u8], target: &Target) -> Option<Password> {
    let (hosts, port) = match &target.address {
        Address::Tcp { host, port } => (vec![host.clone()], port),
        Address::Socket { directory, port } => (
            vec!["localhost".to_owned(), directory.display().to_string()],
            port,
        ),
    };
    let port = port.to_string();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let fields = split_pgpass(line);
        let [host, line_port, database, user, password] = fields.as_slice() else {
            continue;
        };
        let is = |field: &[u8], value: &str| field == b"*" || field == value.as_bytes();
        if hosts.iter().any(|name| is(host, name))
            && is(line_port, &port)
            && is(database, &target.database)
            && is(user, &target.user)
            && !password.is_empty()
        {
            return Some(Password(password.clone()));
        }
    }
    None
}

/// Splits a line into at most five unescaped fields; colons of the last one belong to it.
fn split_pgpass(line: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut fields = vec![Zeroizing::new(Vec::new())];
    let mut bytes = line.iter();
    while let Some(&byte) = bytes.next() {
        let count = fields.len();
        let Some(field) = fields.last_mut() else {
            break;
        };
        match byte {
            b'\\' => field.extend(bytes.next().copied()),
            b':' if count < 5 => fields.push(Zeroizing::new(Vec::new())),
            _ => field.push(byte),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    fn target(address: &str, extra: &str) -> Target {
        let text = format!(
            "[[target]]\nname='main'\naddress='{address}'\ndatabase='shop'\nuser='tide'\n{extra}"
        );
        Config::parse(&text, Path::new("agent.toml"))
            .unwrap()
            .targets
            .remove(0)
    }

    fn pgpass(text: &str, address: &str) -> Option<String> {
        find_in_pgpass(text.as_bytes(), &target(address, ""))
            .map(|found| String::from_utf8_lossy(found.expose()).into_owned())
    }

    #[test]
    fn pgpass_line_matches_as_libpq_matches() {
        let text = "# comment\ndb:5432:other:tide:no\n*:*:shop:tide:a\\:b\\\\c:d\n*:*:*:*:late\n";
        assert_eq!(pgpass(text, "db:5432").as_deref(), Some("a:b\\c:d"));
        assert_eq!(pgpass("db:5432:shop:other:no\n", "db:5432"), None);
        assert_eq!(
            pgpass("localhost:5432:shop:tide:s\n", "/run/pg").as_deref(),
            Some("s")
        );
        assert_eq!(
            pgpass("/run/pg:5432:shop:tide:s\n", "/run/pg").as_deref(),
            Some("s")
        );
    }

    #[test]
    fn first_place_that_exists_decides() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
            file
        };
        let pgpassfile = write("pgpass", "*:*:*:*:from-pgpass\n");
        let places = Places {
            credentials: Some(dir.path().to_owned()),
            pgpassfile: Some(pgpassfile),
            home: None,
        };
        let find = |target: &Target| {
            let found = places.find(target).unwrap().unwrap();
            String::from_utf8_lossy(found.expose()).into_owned()
        };
        let plain = target("db:5432", "");
        assert_eq!(find(&plain), "from-pgpass");
        write("main.password", "from-credential\n");
        assert_eq!(find(&plain), "from-credential");
        let own = write("own", "from-file\r\n");
        let with_file = target("db:5432", &format!("password_file='{}'", own.display()));
        assert_eq!(find(&with_file), "from-file");
    }

    #[test]
    fn readable_pgpass_and_empty_file_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pgpass");
        std::fs::write(&file, "*:*:*:*:x\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let places = Places {
            pgpassfile: Some(file.clone()),
            ..Places::default()
        };
        let error = places
            .find(&target("db:5432", ""))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("chmod 0600"), "{error}");
        std::fs::write(&file, "\n").unwrap();
        let with_file = target("db:5432", &format!("password_file='{}'", file.display()));
        let error = places.find(&with_file).err().unwrap().to_string();
        assert!(error.ends_with("is empty"), "{error}");
    }
}
