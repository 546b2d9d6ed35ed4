//! SQLite as the relay's store: one writer thread, a few readers, one data directory.
//!
//! Nouns write their own statements (see [`super::sql`]). Every write is one `begin
//! immediate` transaction, durable when the call returns (WAL with `synchronous = full`). A panic
//! in a closure rolls its transaction back and is an error of that one call.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::sealer::{KeySource, Sealer};
use super::sql::{self, Connection, OptionalExtension, Transaction};
use super::{StoreError, limits, migrations, scans};

/// Name of the database in the data directory.
pub(super) const DATABASE_FILE: &str = "tidegate.db";
const LOCK_FILE: &str = "tidegate.lock";
const MASTER_KEY_CHECK: &str = "master_key_check";

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The relay's durable state. Cheap to clone; the last clone to go closes it, after the writes that
/// were queued.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    data_dir: PathBuf,
    sealer: Sealer,
    writer: Writer,
    readers: Arc<Readers>,
}

impl Store {
    /// Opens or makes the state in `data_dir`: takes the directory's lock, loads the master key
    /// (`TIDEGATE_MASTER_KEY` or `master.key`) and applies missing migrations. Blocks; called once,
    /// before anything is bound.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let data_dir = data_dir.as_ref();
        Self::open_with(data_dir, &KeySource::from_environment(data_dir))
    }

    /// Like [`Store::open`] with a master key from `source`.
    pub fn open_with(data_dir: &Path, source: &KeySource) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(StoreError::file("create", data_dir))?;
        let lock = lock_directory(data_dir)?;
        scans::remove_leftovers(data_dir)?;
        let path = data_dir.join(DATABASE_FILE);
        make_private_file(&path)?;
        let mut conn = connect(&path, limits::WRITER_CACHE_KIB)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update_and_check(
            None,
            "wal_autocheckpoint",
            limits::WAL_PAGES_MAX,
            |_| Ok(()),
        )?;
        conn.pragma_update(None, "journal_size_limit", limits::WAL_BYTES_KEPT)?;
        let applied = migrations::run(&mut conn)?;
        tracing::debug!(applied, "The state database is up to date.");
        let conn = Connection::sqlite(conn);
        let sealer = unlock(&conn, source)?;
        Ok(Self {
            inner: Arc::new(Inner {
                data_dir: data_dir.to_owned(),
                sealer,
                writer: Writer::start(conn, lock)?,
                readers: Arc::new(Readers::new(path)),
            }),
        })
    }

    /// The directory that was opened.
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    pub(super) fn database_path(&self) -> PathBuf {
        self.inner.data_dir.join(DATABASE_FILE)
    }

    /// Seals and opens columns of this store.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    /// Runs `job` in one transaction on the writer thread and commits it when it returns `Ok`.
    /// Durable when this returns. Writes run in the order of their calls. Not cancelled by dropping
    /// the future once the job is queued: it may still commit.
    pub async fn write<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> sql::Result<T> + Send + 'static,
    {
        self.transact(move |tx| Ok(job(tx)?)).await
    }

    /// [`Store::write`] for jobs that can refuse with any [`StoreError`]; an error rolls back.
    pub async fn transact<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let work: Job = Box::new(move |conn| {
            // A caller that went away does not need the answer.
            let _ = answer.send(run_transaction(conn, job));
        });
        self.inner.writer.send(work).await?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `job` on a reader, inside one read transaction: all its queries see the same state.
    /// Sees every write that returned before this call.
    pub async fn read<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> sql::Result<T> + Send + 'static,
    {
        self.view(move |conn| Ok(job(conn)?)).await
    }

    /// [`Store::read`] for jobs that can fail with any [`StoreError`].
    pub async fn view<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let readers = Arc::clone(&self.inner.readers);
        let permit = Arc::clone(&readers.free).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let work = move || {
            let conn = readers.take()?;
            let result = run_read(&conn, job);
            readers.put_back(conn);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| StoreError::Panicked(error.to_string()))?
    }
}

/// Owns the only connection that writes, and the lock of the data directory.
struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(conn: Connection, lock: File) -> Result<Self, StoreError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(limits::WRITE_QUEUE_LEN);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&conn);
                }
                // The lock goes last: who gets it next must find a closed database.
                drop(conn);
                drop(lock);
            })
            .map_err(StoreError::file("start the writer of", "the store"))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A job that held the last clone drops it on the writer itself, which cannot await itself.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

struct Readers {
    path: PathBuf,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            free: Arc::new(Semaphore::new(limits::READERS_MAX)),
            idle: Mutex::default(),
        }
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(|e| e.into_inner()).pop();
        if let Some(conn) = idle {
            return Ok(conn);
        }
        let conn = connect(&self.path, limits::READER_CACHE_KIB)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(Connection::sqlite(conn))
    }

    fn put_back(&self, conn: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        idle.push(conn);
    }
}

fn run_transaction<T>(
    conn: &Connection,
    job: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Immediate: a read transaction that turns into a write fails at once when another process
    // writes, without waiting for the busy timeout.
    let tx = conn.begin("begin immediate")?;
    let value = guard(|| job(&tx))?;
    tx.commit()?;
    Ok(value)
}

fn run_read<T>(
    conn: &Connection,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = conn.begin("begin")?;
    let value = guard(|| job(&tx))?;
    tx.commit()?;
    Ok(value)
}

/// Turns a panic into an error. Sound to go on after it: the transaction is rolled back, and the
/// job's own state is gone.
fn guard<T>(job: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(StoreError::Panicked(text.unwrap_or_default()))
    })
}

pub(super) fn connect(path: &Path, cache_kib: i64) -> Result<rusqlite::Connection, StoreError> {
    let conn = rusqlite::Connection::open(path)?;
    conn.busy_timeout(limits::BUSY_TIMEOUT)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Negative means KiB (SQLite manual, "pragma cache_size").
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    conn.set_prepared_statement_cache_capacity(limits::STATEMENTS_CACHED);
    Ok(conn)
}

pub(super) fn lock_directory(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse(data_dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(StoreError::file("lock", path)(error)),
    }
}

/// SQLite gives the log and the shared memory file the mode of the database file.
pub(super) fn make_private_file(path: &Path) -> Result<(), StoreError> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(StoreError::file("open", path))
}

/// Loads the master key and makes sure that it is the one of this database.
pub(super) fn unlock(conn: &Connection, source: &KeySource) -> Result<Sealer, StoreError> {
    let known: Option<Vec<u8>> = conn
        .query_row(
            "select value from meta where name = ?1",
            [MASTER_KEY_CHECK],
            |row| row.get(0),
        )
        .optional()?;
    let sealer = Sealer::load(source, known.is_none())?;
    match known {
        Some(known) => sealer.check(source, &known)?,
        None => {
            conn.execute(
                "insert into meta (name, value) values (?1, ?2)",
                (MASTER_KEY_CHECK, sealer.check_value()),
            )?;
        }
    }
    Ok(sealer)
}
