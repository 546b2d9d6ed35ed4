//! Backup and restore: the whole state of a relay in one file, and back.
//!
//! A backup is a copy of the state database, taken while the relay writes (SQLite's online backup), with
//! the files of [`KEPT`] sealed inside. It opens with the master key only, which is not in it
//! unless asked for. What is restored is older than both sides of every sync, so it never goes on from
//! its positions: epochs jump, so that what ran since is fenced, and each sync reconciles. `cli`
//! calls both.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Component, Path, PathBuf};

use rusqlite::OpenFlags;
use rusqlite::backup::Backup;
use serde::Serialize;
use zeroize::Zeroizing;

use super::audit::{self, AuditEvent};
use super::sealer::{KeySource, Sealer, write_secret_file};
use super::sql::{self, Connection, OptionalExtension, Transaction};
use super::sqlite::{DATABASE_FILE, connect, lock_directory, make_private_file, unlock};
use super::syncs::{self, SyncRecord};
use super::{DEFAULT_WORKSPACE, StoreError, intents, limits, migrations, positions};

/// Directories whose files belong to the state: the authorities that agents trust, and manifests of
/// the operator's own.
const KEPT: [&str; 2] = ["identity", "connectors"];
/// A file of these is a few certificates or a manifest; more is something else, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Runs that may have begun since the backup: at one every 15 seconds, half a year of them.
const EPOCHS_SKIPPED: u32 = 1 << 20;

const TAKEN_AT: &str = "backup_taken_at";
const MASTER_KEY: &str = "backup_master_key";
const LABEL: &str = "backup_files.content";

/// A file of [`KEPT`]: its path in the data directory, and what is in it.
type KeptFile = (String, Zeroizing<Vec<u8>>);

/// What a backup holds.
#[derive(Clone, Debug, Serialize)]
pub struct BackedUp {
    pub bytes: u64,
    pub syncs: Vec<String>,
    /// Whether the master key is in it.
    pub master_key: bool,
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// Milliseconds since 1970.
    pub taken_at_ms: i64,
    pub syncs: Vec<String>,
}

/// Writes the state in `data_dir` to the new file `target`; a relay may be running on it.
pub fn back_up(
    data_dir: &Path,
    target: &Path,
    with_master_key: bool,
    now_ms: i64,
) -> Result<BackedUp, StoreError> {
    let path = data_dir.join(DATABASE_FILE);
    if !path.exists() {
        return Err(StoreError::NoState(data_dir.to_owned()));
    }
    let partial = beside(target, ".partial");
    remove_if_there(&partial)?;
    make_private_file(&partial)?;
    let copied = copy_state(data_dir, &partial, with_master_key, now_ms);
    let done = copied.and_then(|syncs| {
        let file = File::open(&partial).map_err(StoreError::file("open", &partial))?;
        let synced = file.sync_all().and_then(|()| file.metadata());
        let bytes = synced.map_err(StoreError::file("write", &partial))?.len();
        // A link refuses where a rename would replace.
        fs::hard_link(&partial, target).map_err(StoreError::file("create", target))?;
        Ok(BackedUp {
            bytes,
            syncs,
            master_key: with_master_key,
        })
    });
    remove_if_there(&partial)?;
    done
}

/// Fills `partial`; returns the syncs' names.
fn copy_state(
    data_dir: &Path,
    partial: &Path,
    with_master_key: bool,
    now_ms: i64,
) -> Result<Vec<String>, StoreError> {
    // Not read-only: reading beside a writer takes part in its shared memory.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = rusqlite::Connection::open_with_flags(data_dir.join(DATABASE_FILE), flags)?;
    source.busy_timeout(limits::BUSY_TIMEOUT)?;
    let keys = KeySource::from_environment(data_dir);
    let mut copy = rusqlite::Connection::open(partial)?;
    // In one step: it is one read transaction, which the writer neither waits for nor disturbs.
    let pause = limits::BUSY_TIMEOUT / 50;
    Backup::new(&source, &mut copy)?.run_to_completion(i32::MAX, pause, None)?;
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    let copy = Connection::sqlite(copy);
    let sealer = unlock(&copy, &keys)?;
    let tx = copy.begin("begin")?;
    tx.execute_batch("create table backup_files (content blob not null) strict")?;
    for (name, bytes) in kept_files(data_dir)? {
        let content = Zeroizing::new([name.as_bytes(), &[0], &bytes].concat());
        let sealed = sealer.seal(LABEL, &content);
        tx.execute("insert into backup_files (content) values (?1)", [sealed])?;
    }
    put_fact(&tx, TAKEN_AT, now_ms.to_string().as_bytes())?;
    if with_master_key {
        put_fact(&tx, MASTER_KEY, keys.text(false)?.as_bytes())?;
    }
    let syncs = names(&syncs::list_everywhere(&tx)?);
    tx.commit()?;
    Ok(syncs)
}

/// Puts the state of the backup `source` into `data_dir`, in which there is none and no relay runs.
/// With `paused` its syncs wait until somebody resumes them.
pub fn restore(
    source: &Path,
    data_dir: &Path,
    paused: bool,
    now_ms: i64,
) -> Result<Restored, StoreError> {
    make_directory(data_dir)?;
    let _lock = lock_directory(data_dir)?;
    let place = data_dir.join(DATABASE_FILE);
    // A log without its database would be played into the next one of that name.
    let leftovers = ["", "-wal", "-shm"].map(|suffix| beside(&place, suffix));
    if leftovers.iter().any(|path| path.exists()) {
        return Err(StoreError::Occupied(data_dir.to_owned()));
    }
    let staged = data_dir.join("restoring.db");
    remove_if_there(&staged)?;
    make_private_file(&staged)?;
    fs::copy(source, &staged).map_err(StoreError::file("read", source))?;
    let restored = settle_in(&staged, source, data_dir, paused, now_ms);
    let done = restored.and_then(|restored| {
        let file = File::open(&staged).and_then(|file| file.sync_all());
        file.map_err(StoreError::file("write", &staged))?;
        fs::rename(&staged, &place).map_err(StoreError::file("rename to", &place))?;
        let directory = File::open(data_dir).and_then(|directory| directory.sync_all());
        directory.map_err(StoreError::file("sync", data_dir))?;
        Ok(restored)
    });
    remove_if_there(&staged)?;
    give_to_owner(data_dir)?;
    done
}

/// Makes the copy what a relay may start from.
fn settle_in(
    staged: &Path,
    source: &Path,
    data_dir: &Path,
    paused: bool,
    now_ms: i64,
) -> Result<Restored, StoreError> {
    let no_backup = |why: String| StoreError::NoBackup {
        path: source.to_owned(),
        why,
    };
    let opened = connect(staged, limits::WRITER_CACHE_KIB);
    let mut conn = opened.map_err(|error| no_backup(error.to_string()))?;
    let sound = conn.query_row("pragma quick_check(1)", [], |row| row.get::<_, String>(0));
    match sound {
        Ok(sound) if sound == "ok" => {}
        Ok(fault) => return Err(no_backup(fault)),
        Err(error) => return Err(no_backup(error.to_string())),
    }
    let sql = "select value from meta where name = ?1";
    let taken_at = conn.query_row(sql, [TAKEN_AT], |row| row.get::<_, Vec<u8>>(0));
    let taken_at = rusqlite::OptionalExtension::optional(taken_at);
    let taken_at = taken_at.map_err(|error| no_backup(error.to_string()))?;
    let taken_at_ms = taken_at
        .and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<i64>().ok())
        .ok_or_else(|| no_backup("it does not say when it was taken".to_owned()))?;
    migrations::run(&mut conn)?;
    let conn = Connection::sqlite(conn);
    let keys = KeySource::from_environment(data_dir);
    if let (Some(key), KeySource::File(path)) = (fact(&conn, MASTER_KEY)?, &keys)
        && !path.exists()
    {
        let text = Zeroizing::new(String::from_utf8_lossy(&key).into_owned());
        write_secret_file(path, &text)?;
    }
    let sealer = unlock(&conn, &keys)?;
    put_kept_files(&conn, &sealer, data_dir)?;
    let tx = conn.begin("begin immediate")?;
    let syncs = begin_anew(&tx, paused)?;
    let event = AuditEvent {
        at_ms: now_ms,
        workspace: DEFAULT_WORKSPACE.to_owned(),
        actor: "relay".to_owned(),
        action: "relay.restore".to_owned(),
        object: format!("backup of {taken_at_ms}"),
    };
    audit::append(&tx, &sealer, &event)?;
    tx.commit()?;
    // What was in the key's place and in the files' must not stay in free pages.
    conn.execute_batch("vacuum")?;
    Ok(Restored { taken_at_ms, syncs })
}

/// Nothing of the past goes on by itself: neither a run nor a session nor an invitation.
fn begin_anew(tx: &Transaction<'_>, paused: bool) -> Result<Vec<String>, StoreError> {
    let records = syncs::list_everywhere(tx)?;
    for record in &records {
        // What was intended then is done or overtaken since; a reconcile finds which.
        intents::clear(tx, record.id)?;
        positions::forget(tx, record.id)?;
        syncs::raise_epoch(tx, record.id, record.epoch.saturating_add(EPOCHS_SKIPPED))?;
    }
    if paused {
        tx.execute("update syncs set wanted = 'paused'", ())?;
    }
    tx.execute("delete from sessions", ())?;
    // What was to be told then is told already, or over.
    tx.execute("delete from deliveries where state = 'pending'", ())?;
    tx.execute(
        "update channels set told_to = (select coalesce(max(id), 0) from news)",
        (),
    )?;
    // One that was open then may have been used since.
    tx.execute("delete from pairing_tokens where redeemed_at is null", ())?;
    tx.execute_batch("drop table backup_files")?;
    let facts = [TAKEN_AT, MASTER_KEY];
    tx.execute("delete from meta where name in (?1, ?2)", facts)?;
    Ok(names(&records))
}

/// Files of the data directory that are part of the state, by their path in it.
fn kept_files(data_dir: &Path) -> Result<Vec<KeptFile>, StoreError> {
    let mut kept = Vec::new();
    for directory in KEPT {
        let path = data_dir.join(directory);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::file("read", path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::file("read", &path))?;
            let file = entry.path();
            let facts = entry.metadata().map_err(StoreError::file("read", &file))?;
            let name = entry.file_name().into_string().ok();
            let Some(name) = name.filter(|_| facts.is_file() && facts.len() <= FILE_BYTES_MAX)
            else {
                continue;
            };
            let bytes = fs::read(&file).map_err(StoreError::file("read", &file))?;
            kept.push((format!("{directory}/{name}"), Zeroizing::new(bytes)));
        }
    }
    Ok(kept)
}

fn put_kept_files(conn: &Connection, sealer: &Sealer, data_dir: &Path) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached("select content from backup_files")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let content = sealer.open(LABEL, &row.get::<Vec<u8>>(0)?)?;
        let malformed = || StoreError::Malformed(LABEL);
        let cut = content.iter().position(|byte| *byte == 0);
        let (name, rest) = content.split_at(cut.ok_or_else(malformed)?);
        let name = std::str::from_utf8(name).map_err(|_| malformed())?;
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let path = Path::new(name);
        if path.components().count() != 2 || !path.components().all(is_plain) {
            return Err(malformed());
        }
        let path = data_dir.join(path);
        make_directory(path.parent().unwrap_or(data_dir))?;
        remove_if_there(&path)?;
        make_private_file(&path)?;
        fs::write(&path, &rest[1..]).map_err(StoreError::file("write", &path))?;
    }
    Ok(())
}

fn fact(conn: &Connection, name: &str) -> sql::Result<Option<Vec<u8>>> {
    let sql = "select value from meta where name = ?1";
    conn.query_row(sql, [name], |row| row.get(0)).optional()
}

fn put_fact(tx: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), StoreError> {
    let sql = "insert into meta (name, value) values (?1, ?2)";
    tx.execute(sql, (name, value))?;
    Ok(())
}

fn names(records: &[SyncRecord]) -> Vec<String> {
    records.iter().map(|record| record.name.clone()).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(StoreError::file("create", path))
}

/// What root restores belongs to the directory's owner, as whom the service runs.
fn give_to_owner(data_dir: &Path) -> Result<(), StoreError> {
    let facts = |path: &Path| fs::metadata(path).map_err(StoreError::file("look at", path));
    let owner = facts(data_dir)?;
    let mut unseen = vec![data_dir.to_owned()];
    while let Some(directory) = unseen.pop() {
        let entries = fs::read_dir(&directory).map_err(StoreError::file("read", &directory))?;
        for entry in entries {
            let path = entry.map_err(StoreError::file("read", &directory))?.path();
            let found = fs::symlink_metadata(&path).map_err(StoreError::file("look at", &path))?;
            if found.is_symlink() {
                continue;
            }
            if found.uid() == 0 && owner.uid() != 0 {
                let given = chown(&path, Some(owner.uid()), Some(owner.gid()));
                given.map_err(StoreError::file("give away", &path))?;
            }
            if found.is_dir() {
                unseen.push(path);
            }
        }
    }
    Ok(())
}
