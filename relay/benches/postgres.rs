//! The database that everything is measured on: a throwaway server with SCRAM, its own client
//! programs, and the tables of the workloads.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::place::{Place, Running, make_dir, output_of};

pub const ROLE: &str = "tidegate";
pub const PASSWORD: &str = "throwaway-secret";
/// The relay's schema has the role's name, which would else come first.
pub const SEARCH_PATH: &str = "-c search_path=public";
/// Where the workloads are.
pub const DATABASE: &str = "bench";

const START_MAX: Duration = Duration::from_secs(60);

/// Rows of the workloads' tables.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub typical_rows: u64,
    pub wide_rows: u64,
}

/// A server of its own.
pub struct Server {
    pub port: u16,
    programs: PathBuf,
    dir: PathBuf,
    place: Place,
    _postmaster: Running,
}

/// How a client reaches a database.
#[derive(Clone)]
pub struct Address {
    pub place: Place,
    pub host: String,
    pub port: u16,
}

impl Server {
    /// `programs`: the directory of PostgreSQL's programs. As durable as tests need it (`fsync` off):
    /// disks are not what is compared.
    pub fn start(programs: &Path, dir: &Path, place: &Place) -> anyhow::Result<Server> {
        make_dir(dir)?;
        let data = dir.join("data");
        let secret = dir.join("password");
        fs::write(&secret, PASSWORD)?;
        output_of(
            place
                .unprivileged(programs.join("initdb"))
                .args(["-U", ROLE, "-A", "scram-sha-256", "-E", "UTF8"])
                .args(["--locale=C.UTF-8", "--no-sync", "--pwfile"])
                .arg(&secret)
                .arg("-D")
                .arg(&data)
                .current_dir(dir),
        )?;
        let port = free_port();
        let settings = format!(
            "port = {port}\nunix_socket_directories = '{}'\nlisten_addresses = '*'\n\
             wal_level = logical\nfsync = off\nshared_buffers = 512MB\nmax_connections = 300\n\
             max_wal_size = 8GB\nautovacuum = off\n",
            dir.display()
        );
        append(&data.join("postgresql.conf"), &settings)?;
        append(
            &data.join("pg_hba.conf"),
            "host all all 0.0.0.0/0 scram-sha-256\n",
        )?;
        let mut command = place.unprivileged(programs.join("postgres"));
        command.arg("-D").arg(&data).current_dir(dir);
        let postmaster = Running::start(&mut command, &dir.join("log"))?;
        let server = Server {
            port,
            programs: programs.to_owned(),
            dir: dir.to_owned(),
            place: place.clone(),
            _postmaster: postmaster,
        };
        let began = Instant::now();
        // The server has no way to call back.
        while server.sql("postgres", "select 1").is_err() {
            ensure!(
                began.elapsed() < START_MAX,
                "PostgreSQL did not start: {}",
                fs::read_to_string(dir.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server.sql("postgres", &format!("create database {DATABASE}"))?;
        Ok(server)
    }

    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        output_of(self.psql(database).args(["-c", sql]))
    }

    /// psql over the server's own socket: what no tunnel takes part in.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = self.place.command(self.programs.join("psql"));
        command
            .env("PGPASSWORD", PASSWORD)
            .env("PGOPTIONS", SEARCH_PATH)
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", ROLE, "-d", database])
            .args(["-p", &self.port.to_string()])
            .arg("-h")
            .arg(&self.dir)
            .current_dir(&self.dir);
        command
    }

    /// A client program, sent to an address.
    pub fn client(&self, program: &str, address: &Address) -> Command {
        let mut command = address.place.command(self.programs.join(program));
        command
            .envs([
                ("PGHOST", address.host.as_str()),
                ("PGPORT", &address.port.to_string()),
                ("PGUSER", ROLE),
                ("PGPASSWORD", PASSWORD),
                ("PGDATABASE", DATABASE),
                ("PGSSLMODE", "disable"),
                ("PGGSSENCMODE", "disable"),
                ("PGCONNECT_TIMEOUT", "10"),
            ])
            .current_dir(&self.dir);
        command
    }

    /// Fills the workloads' tables.
    pub fn fill(&self, sizes: Sizes) -> anyhow::Result<()> {
        self.sql(DATABASE, &typical_table("typical"))?;
        self.sql(DATABASE, &typical_rows("typical", sizes.typical_rows))?;
        let wide = format!(
            "create table wide as select n::bigint id, repeat(md5(n::text), 56) body \
             from generate_series(1, {}) n",
            sizes.wide_rows
        );
        self.sql(DATABASE, &wide)?;
        let local = Address {
            place: self.place.clone(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
        };
        output_of(self.client("pgbench", &local).args(["-i", "-q", "-s", "5"]))?;
        self.sql(DATABASE, "vacuum analyze").map(drop)
    }

    /// What COPY sends of a table, bytes.
    pub fn copy_bytes(&self, table: &str) -> anyhow::Result<u64> {
        let sql = format!("copy {table} to stdout");
        Ok(self.sql(DATABASE, &sql)?.len() as u64)
    }
}

/// Eight columns as business tables have them, about 150 bytes a row.
pub fn typical_table(name: &str) -> String {
    format!(
        "create table {name} (id bigint primary key, code text not null, n int, f float8,
         title text, body text, at timestamptz, flag boolean)"
    )
}

pub fn typical_rows(name: &str, rows: u64) -> String {
    format!(
        "insert into {name} select n, 'c-' || n, n * 7 % 1000000, n / 3.0, 'title number ' || n,
             'a somewhat longer text, record ' || n || ', round 0',
             '2024-01-01'::timestamptz + n * interval '1.000003 s', n % 2 = 0
         from generate_series(1, {rows}) n"
    )
}

fn append(file: &Path, text: &str) -> anyhow::Result<()> {
    let old = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    fs::write(file, old + text).with_context(|| format!("write {}", file.display()))
}

/// A port that nobody uses, for servers that can't choose one themselves; below those that outgoing
/// connections are given.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let from = (std::process::id() % 8_000) as u16;
        let port = 20_000 + (from + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
