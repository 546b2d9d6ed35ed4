//! E-mail against a real server: over TLS with a certificate that is verified, signed in, and refused.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::receiver::{python, script};
use crate::e2e::stage::Stage;
use crate::support::port::free_port;

const USER: &str = "relay";
const PASSWORD: &str = "planted-mail-password-6b0d";

/// A mail server; killed when dropped.
struct MailServer {
    port: u16,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl MailServer {
    fn start(dir: &TempDir, security: &str) -> MailServer {
        let port = free_port();
        let mut child = Command::new(python())
            .arg(script("mail_server.py"))
            .args([&port.to_string(), security])
            .args([dir.path().join("server.pem"), dir.path().join("server.key")])
            .args([USER, PASSWORD])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut server = MailServer { port, child, lines };
        assert_eq!(server.line(), "ready");
        server
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn mail(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority that the relay is told to trust, and its certificate for `localhost`.
fn certificates() -> TempDir {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write(
        "authority.pem",
        params.self_signed(&authority_key).unwrap().pem(),
    );
    let authority = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    write(
        "server.pem",
        params.signed_by(&key, &authority).unwrap().pem(),
    );
    write("server.key", key.serialize_pem());
    dir
}

fn channel(server: &MailServer, name: &str, security: &str, password: &str) -> Value {
    json!({"name": name, "allow_private": true, "email": {"host": "localhost", "port": server.port,
        "security": security, "user": USER, "password": password, "from": "relay@example.com",
        "to": ["ops@example.com", "ada@example.com"]}})
}

async fn test(stage: &Stage, name: &str) -> Value {
    stage
        .post(&format!("channels/{name}/test"), json!({}))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_over_verified_tls_to_a_real_server_and_tells_no_password() {
    let dir = certificates();
    let mut stage = Stage::start("mail").await;
    let authority = dir.path().join("authority.pem").display().to_string();
    stage.environment = vec![
        ("SSL_CERT_FILE".into(), authority),
        ("TIDEGATE_LOG".into(), "info,lettre=trace".into()),
    ];
    stage
        .restart_relay_with("[notifications]\ndelay_max = \"1s\"\n")
        .await;
    for security in ["tls", "starttls"] {
        let mut server = MailServer::start(&dir, security);
        stage
            .post("channels", channel(&server, security, security, PASSWORD))
            .await;
        let arrived = test(&stage, security).await;
        assert_eq!(
            arrived,
            json!({"delivered": true, "error": null}),
            "{}",
            stage.logs()
        );
        let mail = server.mail();
        assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!(USER)));
        assert_eq!(mail["to"], json!(["ops@example.com", "ada@example.com"]));
        let headers = &mail["headers"];
        assert_eq!(headers["from"], "Tidegate <relay@example.com>");
        assert_eq!(headers["auto-submitted"], "auto-generated");
        assert_eq!(
            headers["subject"],
            "[Tidegate] A test: notifications arrive here"
        );
        let id = headers["message-id"].as_str().unwrap();
        assert!(
            id.starts_with("<msg_") && id.ends_with("@example.com>"),
            "{id}"
        );

        let wrong = format!("wrong-{security}");
        let new = channel(&server, &wrong, security, "planted-wrong-password-91c4");
        stage.post("channels", new).await;
        let refused = test(&stage, &wrong).await;
        let expected = "localhost does not take the name and password (535)";
        assert_eq!(refused["error"], expected);
        stage.delete(&format!("channels/{wrong}")).await;
        if security == "starttls" {
            let told = agent_goes(&mut stage, &mut server).await;
            let line = told.lines().next();
            assert_eq!(line, Some("* Agent office-db is not connected."));
        }
        stage.delete(&format!("channels/{security}")).await;
    }
    unsafe_servers_get_nothing(&stage, &dir).await;
    let everything = [
        std::fs::read_to_string(stage.dir.path().join("relay.log")).unwrap(),
        stage.get("channels").await.to_string(),
        stage.get("channels/plain").await.to_string(),
    ];
    for text in everything {
        for secret in [PASSWORD, "planted-wrong-password-91c4"] {
            assert!(!text.contains(secret) && !text.contains(&base64(secret)));
        }
    }
}

/// Neither one that offers no encryption nor one whose certificate nobody knows.
async fn unsafe_servers_get_nothing(stage: &Stage, dir: &TempDir) {
    let plain = MailServer::start(dir, "none");
    stage
        .post("channels", channel(&plain, "plain", "starttls", PASSWORD))
        .await;
    let refused = test(stage, "plain").await;
    assert_eq!(refused["error"], "localhost offers no STARTTLS: use tls");

    let server = MailServer::start(&certificates(), "tls");
    stage
        .post("channels", channel(&server, "unknown", "tls", PASSWORD))
        .await;
    let refused = test(stage, "unknown").await["error"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        refused.starts_with("localhost can't be reached, or its certificate"),
        "{refused}"
    );
}

/// The agent is killed, and what is told of it.
async fn agent_goes(stage: &mut Stage, server: &mut MailServer) -> String {
    stage.kill_agent();
    let mail = server.mail();
    stage.start_agent();
    let subject = mail["headers"]["subject"].as_str().unwrap();
    assert_eq!(subject, "[Tidegate] Agent office-db is not connected");
    let back = server.mail();
    let subject = back["headers"]["subject"].as_str().unwrap();
    assert_eq!(subject, "[Tidegate] Agent office-db is connected again");
    mail["text"].as_str().unwrap().to_owned()
}

/// As SASL's PLAIN has it, in part: whole groups of three bytes from the second byte on.
fn base64(secret: &str) -> String {
    use base64::Engine as _;
    let whole = format!("\0{USER}\0{secret}");
    base64::engine::general_purpose::STANDARD.encode(whole)
}
