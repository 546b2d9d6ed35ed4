//! The programs that users take otherwise, each with the configuration that its manual shows, and with
//! Nagle's algorithm off where it can be said.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::place::{Place, Running, is_root, output_of};
use crate::postgres::free_port;
use crate::transports::Site;

/// What rathole encrypts with.
#[derive(Clone, Copy)]
pub enum Cipher {
    Tls,
    Noise,
}

pub fn rathole(site: &Site, dir: &Path, port: u16, cipher: Cipher) -> anyhow::Result<Vec<Running>> {
    let program = installed(site, "rathole")?;
    let (server, client) = ciphered(&program, dir, cipher)?;
    let control = format!("{}:{}", site.far_ip, free_port());
    let far = write(
        dir,
        "server.toml",
        &format!(
            "[server]\nbind_addr = \"{control}\"\ndefault_token = \"bench\"\n\
             [server.services.pg]\nbind_addr = \"127.0.0.1:{port}\"\nnodelay = true\n\
             [server.transport]\n{server}[server.transport.tcp]\nnodelay = true\n"
        ),
    )?;
    let near = write(
        dir,
        "client.toml",
        &format!(
            "[client]\nremote_addr = \"{control}\"\ndefault_token = \"bench\"\n\
             [client.services.pg]\nlocal_addr = \"127.0.0.1:{}\"\nnodelay = true\n\
             [client.transport]\n{client}[client.transport.tcp]\nnodelay = true\n",
            site.server.port
        ),
    )?;
    let mut server = site.far.command(&program);
    let mut client = site.near.command(&program);
    server.arg(far).env("RUST_LOG", "warn");
    client.arg(near).env("RUST_LOG", "warn");
    Ok(vec![
        Running::start(&mut server, &dir.join("far.log"))?,
        Running::start(&mut client, &dir.join("near.log"))?,
    ])
}

/// The transport's part of the server's configuration, and of the client's.
fn ciphered(program: &Path, dir: &Path, cipher: Cipher) -> anyhow::Result<(String, String)> {
    let both = match cipher {
        Cipher::Tls => {
            let identity = make_certificate(dir)?;
            output_of(
                Place::Here
                    .command("openssl")
                    .args(["pkcs12", "-export", "-passout", "pass:bench", "-inkey"])
                    .arg(&identity.key)
                    .arg("-in")
                    .arg(&identity.certificate)
                    .arg("-out")
                    .arg(dir.join("identity.p12")),
            )?;
            (
                format!(
                    "type = \"tls\"\n[server.transport.tls]\npkcs12 = \"{}\"\n\
                     pkcs12_password = \"bench\"\n",
                    dir.join("identity.p12").display()
                ),
                format!(
                    "type = \"tls\"\n[client.transport.tls]\ntrusted_root = \"{}\"\n\
                     hostname = \"localhost\"\n",
                    identity.certificate.display()
                ),
            )
        }
        Cipher::Noise => {
            let keys = output_of(Place::Here.command(program).arg("--genkey"))?;
            let mut keys = keys.lines().filter(|line| line.len() > 40);
            let private = keys.next().context("rathole --genkey printed no key")?;
            let public = keys.next().context("rathole --genkey printed one key")?;
            (
                format!(
                    "type = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{private}\"\n"
                ),
                format!(
                    "type = \"noise\"\n[client.transport.noise]\nremote_public_key = \"{public}\"\n"
                ),
            )
        }
    };
    Ok(both)
}

/// Its control port can't be chosen, and it does not encrypt.
pub fn bore(site: &Site, dir: &Path, port: u16) -> anyhow::Result<Vec<Running>> {
    let program = installed(site, "bore")?;
    let text = port.to_string();
    let mut server = site.far.command(&program);
    server
        .args(["server", "--min-port", &text, "--max-port", &text])
        .args(["--bind-addr", &site.far_ip, "--bind-tunnels", "127.0.0.1"]);
    let server = Running::start(&mut server, &dir.join("far.log"))?;
    wait_listening(&site.far, &dir.join("far.log"))?;
    let mut client = site.near.command(&program);
    client
        .args(["local", &site.server.port.to_string()])
        .args(["--local-host", "127.0.0.1"])
        .args(["--to", &site.far_ip, "--port", &text]);
    let client = Running::start(&mut client, &dir.join("near.log"))?;
    Ok(vec![server, client])
}

/// The system's programs, with keys and configuration of their own, as whoever runs the bench; as
/// `nobody` where that is root.
pub fn ssh(site: &Site, dir: &Path, port: u16) -> anyhow::Result<Vec<Running>> {
    let sshd = on_path("sshd", "openssh-server")?;
    let ssh = on_path("ssh", "openssh-client")?;
    let keygen = on_path("ssh-keygen", "openssh-client")?;
    let (host_key, key) = (dir.join("host_key"), dir.join("key"));
    for file in [&host_key, &key] {
        let mut made = Place::Here.unprivileged(&keygen);
        output_of(made.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file))?;
    }
    let listen = free_port();
    let config = write(
        dir,
        "sshd_config",
        &format!(
            "ListenAddress {}:{listen}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             UsePAM yes\nStrictModes no\nPasswordAuthentication no\nAllowTcpForwarding yes\n",
            site.far_ip,
            host_key.display(),
            key.with_extension("pub").display()
        ),
    )?;
    let mut server = site.far.unprivileged(sshd);
    server.arg("-D").arg("-e").arg("-f").arg(config);
    let server = Running::start(&mut server, &dir.join("far.log"))?;
    wait_listening(&site.far, &dir.join("far.log"))?;
    let user = match is_root() {
        true => "nobody".to_owned(),
        false => std::env::var("USER").context("who are you? ($USER)")?,
    };
    let mut client = site.near.unprivileged(ssh);
    client
        .args(["-N", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"])
        .args(["-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR"])
        .args(["-p", &listen.to_string(), "-i"])
        .arg(&key)
        .arg("-R")
        .arg(format!("127.0.0.1:{port}:127.0.0.1:{}", site.server.port))
        .arg(format!("{user}@{}", site.far_ip));
    let client = Running::start(&mut client, &dir.join("near.log"))?;
    Ok(vec![server, client])
}

/// No reverse tunnel: the near end listens, so that this needs an open port. Here as what plain TLS costs.
pub fn stunnel(site: &Site, dir: &Path, port: u16) -> anyhow::Result<Vec<Running>> {
    let program = on_path("stunnel", "stunnel4")?;
    let identity = make_certificate(dir)?;
    let tls = format!("{}:{}", site.near_ip, free_port());
    let always = "foreground = yes\npid =\nsyslog = no\ndebug = 4\nsocket = l:TCP_NODELAY=1\n\
                  socket = r:TCP_NODELAY=1\n";
    let near = write(
        dir,
        "near.conf",
        &format!(
            "{always}[pg]\naccept = {tls}\nconnect = 127.0.0.1:{}\ncert = {}\nkey = {}\n",
            site.server.port,
            identity.certificate.display(),
            identity.key.display()
        ),
    )?;
    let far = write(
        dir,
        "far.conf",
        &format!(
            "{always}[pg]\nclient = yes\naccept = 127.0.0.1:{port}\nconnect = {tls}\n\
             CAfile = {}\nverifyPeer = yes\n",
            identity.certificate.display()
        ),
    )?;
    let mut server = site.near.command(&program);
    let mut client = site.far.command(&program);
    Ok(vec![
        Running::start(server.arg(near), &dir.join("near.log"))?,
        Running::start(client.arg(far), &dir.join("far.log"))?,
    ])
}

struct Identity {
    key: PathBuf,
    certificate: PathBuf,
}

fn make_certificate(dir: &Path) -> anyhow::Result<Identity> {
    let identity = Identity {
        key: dir.join("tls.key"),
        certificate: dir.join("tls.pem"),
    };
    output_of(
        Place::Here
            .command("openssl")
            .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .arg("-keyout")
            .arg(&identity.key)
            .arg("-out")
            .arg(&identity.certificate),
    )?;
    Ok(identity)
}

/// Servers whose clients do not try again: each says in its log that it listens.
fn wait_listening(place: &Place, log: &Path) -> anyhow::Result<()> {
    for _ in 0..200 {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.to_lowercase().contains("listening") {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    bail!("its server does not listen ({place:?}): {}", said.trim())
}

fn installed(site: &Site, program: &str) -> anyhow::Result<PathBuf> {
    let file = site.peers.join(program);
    if !file.exists() {
        bail!("{program} could not be installed (relay/benches/fetch-peers.sh says why)");
    }
    Ok(file)
}

fn on_path(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let mut files = dirs.map(|dir| dir.join(program));
    files
        .find(|file| file.exists())
        .with_context(|| format!("{program} is not installed (Debian's package {package})"))
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let file = dir.join(name);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}
