//! The ways to a private database that are compared. Each is started with its two ends, and gives a port
//! beside the client; what can't be started says why.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::peers;
use crate::place::{Place, Running, make_dir, output_of};
use crate::postgres::{Address, DATABASE, PASSWORD, ROLE, Server, free_port};

const START_MAX: Duration = Duration::from_secs(30);

/// What the others are compared with: no tunnel, and the cheapest that encrypts.
pub const DIRECT: &str = "direct";
pub const RATHOLE: &str = "rathole-tls";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP to PostgreSQL, as if its port were open.
    Direct,
    TidegateQuic,
    TidegateTcp,
    RatholeTls,
    RatholeNoise,
    Bore,
    Ssh,
    Stunnel,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Direct,
        Kind::TidegateQuic,
        Kind::TidegateTcp,
        Kind::RatholeTls,
        Kind::RatholeNoise,
        Kind::Bore,
        Kind::Ssh,
        Kind::Stunnel,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => DIRECT,
            Kind::TidegateQuic => "tidegate-quic",
            Kind::TidegateTcp => "tidegate-tcp",
            Kind::RatholeTls => RATHOLE,
            Kind::RatholeNoise => "rathole-noise",
            Kind::Bore => "bore",
            Kind::Ssh => "ssh -R",
            Kind::Stunnel => "stunnel",
        }
    }
}

/// Two places with a path between them: the private database is near, its clients are far.
pub struct Site {
    pub dir: PathBuf,
    pub near: Place,
    pub far: Place,
    /// Addresses on the path.
    pub near_ip: String,
    pub far_ip: String,
    pub server: Server,
    /// The directory of Tidegate's programs, this one among them.
    pub binaries: PathBuf,
    /// The directory of the peers that cargo installed.
    pub peers: PathBuf,
}

/// One that is up.
pub struct Transport {
    pub kind: Kind,
    pub address: Address,
    /// Both ends' processes.
    ends: Vec<Running>,
}

impl Transport {
    pub fn start(kind: Kind, site: &Site) -> anyhow::Result<Transport> {
        let dir = site.dir.join(kind.name().replace(' ', ""));
        make_dir(&dir)?;
        let port = free_port();
        let ends = match kind {
            Kind::Direct => Vec::new(),
            Kind::TidegateQuic => tidegate(site, &dir, port, "quic")?,
            Kind::TidegateTcp => tidegate(site, &dir, port, "tcp")?,
            Kind::RatholeTls => peers::rathole(site, &dir, port, peers::Cipher::Tls)?,
            Kind::RatholeNoise => peers::rathole(site, &dir, port, peers::Cipher::Noise)?,
            Kind::Bore => peers::bore(site, &dir, port)?,
            Kind::Ssh => peers::ssh(site, &dir, port)?,
            Kind::Stunnel => peers::stunnel(site, &dir, port)?,
        };
        let (host, port) = match kind {
            Kind::Direct => (site.near_ip.clone(), site.server.port),
            _ => ("127.0.0.1".to_owned(), port),
        };
        let place = site.far.clone();
        let mut transport = Transport {
            kind,
            address: Address { place, host, port },
            ends,
        };
        transport.wait(site, &dir)?;
        Ok(transport)
    }

    /// CPU of both ends up to now, seconds.
    pub fn cpu_s(&self) -> f64 {
        self.ends.iter().map(Running::cpu_s).sum()
    }

    /// Until a query comes through; none of the programs tells when it is ready.
    fn wait(&mut self, site: &Site, dir: &Path) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut asked = site.server.client("psql", &self.address);
            let failed = match output_of(asked.args(["-XqAt", "-c", "select 1"])) {
                Ok(_) => return Ok(()),
                Err(failed) => failed,
            };
            for end in &mut self.ends {
                if let Some(status) = end.child().try_wait()? {
                    bail!("it ended by itself ({status}){}", logged(dir));
                }
            }
            if began.elapsed() > START_MAX {
                return Err(failed.context(format!("no query came through{}", logged(dir))));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The ends of what was logged in a directory, on one line.
fn logged(dir: &Path) -> String {
    let tail = |name: &str| {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        text.lines().last().map(|line| format!("; {name}: {line}"))
    };
    [tail("near.log"), tail("far.log")]
        .into_iter()
        .flatten()
        .collect()
}

/// The agent as it is shipped, and the relay's rooms behind a plain port (`far_end`).
fn tidegate(site: &Site, dir: &Path, port: u16, over: &str) -> anyhow::Result<Vec<Running>> {
    let (listen, token) = (free_port(), dir.join("token"));
    let mut relay = site.far.command(site.binaries.join("tidegate-bench"));
    relay
        .arg("far-end")
        .args(["--listen", &format!("{}:{listen}", site.far_ip)])
        .args(["--name", &site.far_ip, "--port", &port.to_string()])
        .arg("--data-dir")
        .arg(dir.join("relay"))
        .arg("--token-file")
        .arg(&token);
    let relay = Running::start(&mut relay, &dir.join("far.log"))?;
    let began = Instant::now();
    while !token.exists() {
        if began.elapsed() > START_MAX {
            bail!("the relay's end did not start{}", logged(dir));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let config = dir.join("agent.toml");
    write_agent(&config, dir, site.server.port, DATABASE, over)?;
    let program = site.binaries.join("tidegate-agent");
    let mut pair = site.near.command(&program);
    pair.arg("pair").arg(&token).arg("--config").arg(&config);
    output_of(&mut pair).context("pair the agent")?;
    let mut agent = site.near.command(&program);
    agent.args(["run", "--config"]).arg(&config);
    let agent = Running::start(&mut agent, &dir.join("near.log"))?;
    Ok(vec![relay, agent])
}

/// The agent's configuration; its bound on logins is far above what the workloads reach.
pub fn write_agent(
    file: &Path,
    dir: &Path,
    port: u16,
    database: &str,
    over: &str,
) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let password = dir.join("main.password");
    std::fs::write(&password, format!("{PASSWORD}\n"))?;
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600))?;
    let text = format!(
        "state_dir = \"{}\"\ntransport = \"{over}\"\n[[target]]\nname = \"main\"\n\
         address = \"127.0.0.1:{port}\"\ndatabase = \"{database}\"\nuser = \"{ROLE}\"\n\
         password_file = \"{}\"\nsslmode = \"disable\"\nallow_ddl = true\nmax_sessions = 256\n\
         max_opens_per_minute = 10000000\n",
        dir.join("agent").display(),
        password.display(),
    );
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
}
