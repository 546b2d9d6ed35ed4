//! A throwaway PostgreSQL: own data directory, SCRAM everywhere, logical decoding on.
//!
//! [`Server::shared`] is one server for all tests that run at the same time; each test takes a
//! database of its own. [`Server::start_with`] is for tests that need settings of their own or stop
//! the server. Everything goes away when the last user drops it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_relay::endpoint::{ByteStream, Dial, EndpointError, Login, Purpose, StreamLabel};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::{Client, Config, NoTls};

use super::port::free_port;

/// Superuser of every throwaway server, for what a test's administrator does.
pub const ADMIN: &str = "postgres";
/// The role that syncs: no superuser, owns its databases, may replicate.
pub const ROLE: &str = "tidegate";
/// Both roles' password.
pub const PASSWORD: &str = "throwaway-secret";

const START_MAX: Duration = Duration::from_secs(60);

pub struct Server {
    dir: TempDir,
    port: u16,
    settings: Vec<String>,
    postmaster: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Server {
    /// The server that all tests running now share.
    pub fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Server::start_with(&[]);
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server of the test's own; `settings` are `name=value` for postgresql.conf.
    pub fn start_with(settings: &[&str]) -> Arc<Server> {
        let dir = tempfile::Builder::new()
            .prefix("tidegate-pg-")
            .tempdir()
            .unwrap();
        let server = Server {
            port: free_port(),
            settings: settings.iter().map(|setting| setting.to_string()).collect(),
            postmaster: Mutex::new(None),
            databases: AtomicU32::new(0),
            dir,
        };
        server.initdb();
        server.create_role();
        server.start();
        Arc::new(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Creates a database owned by [`ROLE`], with a name that nobody else has.
    pub async fn database(self: &Arc<Self>, hint: &str) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("{hint}_{number}");
        let admin = Database {
            server: self.clone(),
            name: "postgres".into(),
        };
        let sql = format!("create database {name} owner {ROLE}");
        admin.admin().await.batch_execute(&sql).await.unwrap();
        Database {
            server: self.clone(),
            name,
        }
    }

    /// Stops the server as a power cut would (`immediate`) or in an orderly way.
    pub fn stop(&self, immediate: bool) {
        let mode = if immediate { "immediate" } else { "fast" };
        let mut postmaster = self.postmaster.lock().unwrap();
        let Some(mut child) = postmaster.take() else {
            return;
        };
        let _ = self
            .command("pg_ctl")
            .args(["stop", "-s", "-m", mode, "-D"])
            .arg(self.data())
            .status();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// `kill -9` of all its processes, the postmaster first so that it can't clean up.
    pub fn kill(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        let Some(mut child) = postmaster.take() else {
            return;
        };
        let children = children_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        for pid in &children {
            // One that has ended by itself is as good as killed.
            let _ = Command::new("kill")
                .args(["-9", pid])
                .stderr(Stdio::null())
                .status();
        }
        // A new postmaster refuses to start while one of them holds the shared memory.
        let began = Instant::now();
        while children.iter().any(|pid| is_alive(pid)) {
            assert!(began.elapsed() < START_MAX, "a backend survives kill -9");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it (again) and waits until it takes connections.
    pub fn start(&self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = child.id();
        *self.postmaster.lock().unwrap() = Some(child);
        let began = Instant::now();
        // The server has no way to call back.
        while !self.is_ready(pid) {
            assert!(
                began.elapsed() < START_MAX,
                "PostgreSQL did not start: {}",
                fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `pg_ctl start` waits for: the state in the last line of the postmaster's file.
    fn is_ready(&self, pid: u32) -> bool {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
    }

    fn initdb(&self) {
        let secret = self.dir.path().join("password");
        fs::write(&secret, PASSWORD).unwrap();
        // PostgreSQL refuses to run as root, as which containers often run tests.
        if let Some((uid, gid)) = unprivileged() {
            chown(self.dir.path(), Some(uid), Some(gid)).unwrap();
            chown(&secret, Some(uid), Some(gid)).unwrap();
        }
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let done = self
            .command("initdb")
            .args([
                "-U",
                ADMIN,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            ])
            .arg("--no-sync")
            .arg("--pwfile")
            .arg(&secret)
            .arg("-D")
            .arg(self.data())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let socket_dir = self.dir.path().display();
        let mut settings = vec![
            format!("port = {}", self.port),
            format!("unix_socket_directories = '{socket_dir}'"),
            "listen_addresses = '127.0.0.1'".into(),
            "wal_level = logical".into(),
            "fsync = off".into(),
            "shared_buffers = 64MB".into(),
            "max_connections = 200".into(),
            "max_wal_senders = 60".into(),
            // A test that ends leaves its syncs' slots, two each, for as long as any other test runs.
            "max_replication_slots = 400".into(),
        ];
        settings.extend(self.settings.iter().cloned());
        let config = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&config).unwrap();
        text.push_str(&settings.join("\n"));
        text.push('\n');
        fs::write(&config, text).unwrap();
    }

    /// In single-user mode, which takes statements without any client program.
    fn create_role(&self) {
        let mut single = self
            .command("postgres")
            .arg("--single")
            .arg("-D")
            .arg(self.data())
            .arg("postgres")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let sql = format!("create role {ROLE} login replication password '{PASSWORD}'\n");
        single
            .stdin
            .take()
            .unwrap()
            .write_all(sql.as_bytes())
            .unwrap();
        let done = single.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && !said.contains("ERROR"), "{said}");
    }

    /// One of PostgreSQL's own client programs, told where the server is and who asks.
    pub fn program(&self, name: &str, user: &str, database: &str) -> Command {
        let mut command = self.run(&clients().join(name));
        command
            .env("PGPASSWORD", PASSWORD)
            .args(["-U", user, "-d", database, "-p", &self.port.to_string()])
            .arg("-h")
            .arg(self.dir.path());
        command
    }

    /// pgbench as [`ROLE`]. Before version 17 its `-d` means something else than elsewhere.
    pub fn pgbench(&self, database: &str) -> Command {
        let mut command = self.run(&clients().join("pgbench"));
        command
            .envs([("PGPASSWORD", PASSWORD), ("PGDATABASE", database)])
            .args(["-U", ROLE, "-p", &self.port.to_string()])
            .arg("-h")
            .arg(self.dir.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        self.run(&binaries().join(program))
    }

    fn run(&self, path: &Path) -> Command {
        let mut command = match unprivileged() {
            None => Command::new(path),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={gid}"));
                command.arg("--clear-groups").arg(path);
                command
            }
        };
        command.current_dir(self.dir.path());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(true);
    }
}

/// A database of a throwaway server; keeps the server alive.
#[derive(Clone)]
pub struct Database {
    pub server: Arc<Server>,
    pub name: String,
}

impl Database {
    /// An ordinary connection as [`ROLE`].
    pub async fn client(&self) -> Client {
        connect(&self.dial_as(ROLE, PASSWORD)).await.unwrap()
    }

    /// The same, from a server that may be down.
    pub async fn try_client(&self) -> Option<Client> {
        let dial = self.dial_as(ROLE, PASSWORD);
        let label = StreamLabel::default();
        let stream = dial.dial(Purpose::Session, &label).await.ok()?;
        sign_in(&dial, stream).await.ok()
    }

    /// An ordinary connection as superuser.
    pub async fn admin(&self) -> Client {
        connect(&self.dial_as(ADMIN, PASSWORD)).await.unwrap()
    }

    /// What an endpoint is given: streams over the Unix socket, signing in as [`ROLE`].
    pub fn dial(&self) -> Arc<dyn Dial> {
        Arc::new(self.dial_as(ROLE, PASSWORD))
    }

    pub fn dial_as(&self, user: &str, password: &str) -> TestDial {
        TestDial {
            socket: self
                .server
                .socket_dir()
                .join(format!(".s.PGSQL.{}", self.server.port)),
            port: self.server.port,
            tcp: false,
            allows_ddl: true,
            login: Login::Password {
                user: user.into(),
                password: password.to_owned().into(),
                database: self.name.clone(),
            },
        }
    }
}

/// Dials a throwaway server without any tunnel.
#[derive(Clone)]
pub struct TestDial {
    socket: PathBuf,
    port: u16,
    /// Over loopback TCP instead of the Unix socket.
    pub tcp: bool,
    pub allows_ddl: bool,
    pub login: Login,
}

#[async_trait]
impl Dial for TestDial {
    async fn dial(
        &self,
        _purpose: Purpose,
        _label: &StreamLabel,
    ) -> Result<Box<dyn ByteStream>, EndpointError> {
        let refused = |error| EndpointError::retry("connection-refused", "dial").caused_by(error);
        if self.tcp {
            let stream = TcpStream::connect(("127.0.0.1", self.port))
                .await
                .map_err(refused)?;
            return Ok(Box::new(stream));
        }
        Ok(Box::new(
            UnixStream::connect(&self.socket).await.map_err(refused)?,
        ))
    }

    fn login(&self) -> Login {
        self.login.clone()
    }

    async fn allows_ddl(&self) -> Result<bool, EndpointError> {
        Ok(self.allows_ddl)
    }
}

/// An ordinary session over a dial. Its connection task ends when the client is dropped.
pub async fn connect(dial: &TestDial) -> Result<Client, tokio_postgres::Error> {
    let stream = dial
        .dial(Purpose::Session, &StreamLabel::default())
        .await
        .unwrap();
    sign_in(dial, stream).await
}

async fn sign_in(
    dial: &TestDial,
    stream: Box<dyn ByteStream>,
) -> Result<Client, tokio_postgres::Error> {
    use secrecy::ExposeSecret;
    let Login::Password {
        user,
        password,
        database,
    } = dial.login()
    else {
        panic!("test dials sign in by password");
    };
    let mut config = Config::new();
    config
        .user(user)
        .password(password.expose_secret())
        .dbname(database);
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Process numbers of a process's children. Source: proc(5).
fn children_of(parent: u32) -> Vec<String> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(file).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// A killed orphan is gone once its new parent has waited for it; until then it is a zombie, which
/// holds nothing any more.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

/// Whom to run PostgreSQL as, when the tests run as root: whoever owns nothing here.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    const NOBODY: u32 = 65534;
    let me = fs::metadata("/proc/self").unwrap().uid();
    (me == 0).then_some((NOBODY, NOBODY))
}

/// The server's programs: `TIDEGATE_PG_BIN`, or what is installed.
fn binaries() -> PathBuf {
    match std::env::var_os("TIDEGATE_PG_BIN") {
        Some(dir) => dir.into(),
        None => installed(),
    }
}

/// Client programs work with servers of other versions, and the downloaded servers bring none.
pub fn clients() -> PathBuf {
    let beside = binaries();
    if beside.join("pg_recvlogical").exists() {
        return beside;
    }
    installed()
}

/// The newest version of Debian's packages, or the `PATH`.
fn installed() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = installed
        .filter(|entry| entry.path().join("bin/postgres").exists())
        .max_by_key(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse::<u32>()
                .unwrap_or(0)
        });
    if let Some(version) = newest {
        return version.path().join("bin");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|dir| dir.join("postgres").exists())
        .unwrap_or_else(|| Path::new("/usr/local/pgsql/bin").to_owned())
}
