//! A throwaway PostgreSQL with SCRAM, TLS and a few roles, shared by all tests of this binary.
//!
//! A shell owns it: when the test process ends, however it ends, the shell's stdin closes, and it
//! stops the server and removes its directory.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tidegate_agent::config::{Config, Target};

/// The password of every role; searched for in places where it must not be.
pub(crate) const PASSWORD: &str = "s3cret-of-the-origin";

/// An unprivileged user that exists everywhere: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

pub(crate) struct Server {
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    _shell: Child,
}

/// The server, started by the first test that asks.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

impl Server {
    /// A target on loopback; `extra` is TOML, later lines of it win over nothing.
    pub(crate) fn target(&self, user: &str, extra: &str) -> Target {
        let address = format!("127.0.0.1:{}", self.port);
        self.target_at(&address, user, extra)
    }

    pub(crate) fn target_at(&self, address: &str, user: &str, extra: &str) -> Target {
        let password = self.directory.join("password");
        let text = format!(
            "[[target]]\nname='main'\naddress='{address}'\ndatabase='shop'\n\
             user='{user}'\n{}{extra}",
            if extra.contains("password_file") {
                String::new()
            } else {
                format!("password_file='{}'\n", password.display())
            }
        );
        let config = Config::parse(&text, Path::new("/agent.toml")).unwrap();
        config.targets.into_iter().next().unwrap()
    }

    pub(crate) fn socket_address(&self) -> String {
        format!("{}:{}", self.directory.display(), self.port)
    }

    pub(crate) fn authority_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Connects as the superuser, past the agent.
    pub(crate) async fn superuser(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::Config::new()
            .host("127.0.0.1")
            .port(self.port)
            .user("postgres")
            .password(PASSWORD)
            .dbname("shop")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        // Ends with the client.
        tokio::spawn(connection);
        client
    }
}

const SETUP: &str = "
set password_encryption = 'scram-sha-256';
create role tidegate login replication password 's3cret-of-the-origin';
create role reader login password 's3cret-of-the-origin';
create role plainonly login password 's3cret-of-the-origin';
create role cleartext login password 's3cret-of-the-origin';
set password_encryption = 'md5';
create role oldstyle login password 's3cret-of-the-origin';
";

const TABLES: &str = "
create table posts (id int primary key, title text);
insert into posts select i, 'post ' || i from generate_series(1, 1000) i;
grant select, insert, update, delete on posts to tidegate;
grant select on posts to reader;
";

const HBA: &str = "
local all all scram-sha-256
host all oldstyle 127.0.0.1/32 md5
host all cleartext 127.0.0.1/32 password
hostssl all plainonly 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
";

const SCRIPT: &str = r#"
set -e
cd "$DIR"
trap '"$BIN/pg_ctl" -D data -m immediate -s stop >/dev/null 2>&1; cd /; rm -rf "$DIR"' EXIT
"$BIN/initdb" -D data --auth=scram-sha-256 --pwfile=password -U postgres --no-sync -E UTF8 \
  --no-locale >initdb.log
cp pg_hba.conf data/pg_hba.conf
"$BIN/pg_ctl" -D data -w -s -l log -o "-c listen_addresses=127.0.0.1 -c port=$PORT \
  -c unix_socket_directories=$DIR -c wal_level=logical -c fsync=off -c max_connections=50 \
  -c ssl=on -c ssl_cert_file=$DIR/server.pem -c ssl_key_file=$DIR/server.key" start
export PGPASSWORD="$(cat password)"
"$BIN/psql" -qX -h "$DIR" -p "$PORT" -U postgres -d postgres -v ON_ERROR_STOP=1 -f setup.sql
"$BIN/psql" -qX -h "$DIR" -p "$PORT" -U postgres -d postgres -v ON_ERROR_STOP=1 \
  -c 'create database shop'
"$BIN/psql" -qX -h "$DIR" -p "$PORT" -U postgres -d shop -v ON_ERROR_STOP=1 -f tables.sql
echo ready
cat >/dev/null
"#;

fn start() -> Server {
    let directory = tempfile::Builder::new()
        .prefix("tg-agent-")
        .tempdir()
        .unwrap()
        .keep();
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    let (authority, certificate, key) = certificates();
    let files = [
        ("password", PASSWORD),
        ("setup.sql", SETUP),
        ("tables.sql", TABLES),
        ("pg_hba.conf", HBA),
        ("ca.pem", &authority),
        ("server.pem", &certificate),
        ("server.key", &key),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        if is_root {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    let port = free_port();
    let mut command = if is_root {
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        let mut command = Command::new("setpriv");
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut shell = command
        .args(["-c", SCRIPT])
        .env("DIR", &directory)
        .env("BIN", binaries())
        .env("PORT", port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = shell.stdout.take().unwrap();
    let line = BufReader::new(stdout).lines().next();
    assert!(
        matches!(&line, Some(Ok(text)) if text == "ready"),
        "PostgreSQL did not start: {line:?}"
    );
    Server {
        directory,
        port,
        _shell: shell,
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The newest installed server.
fn binaries() -> PathBuf {
    if let Some(path) = std::env::var_os("PG_BIN") {
        return path.into();
    }
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's server programs are installed, or PG_BIN names their directory")
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.pop().expect("a PostgreSQL server is installed").1
}

/// An authority and a certificate of it for `localhost` only, so that 127.0.0.1 is a wrong name.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}
