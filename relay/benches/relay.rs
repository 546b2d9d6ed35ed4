//! A relay and an agent as they are shipped, with a private database behind the agent and another one
//! that the relay reaches directly; spoken to as the command line does.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::place::{Place, Running, output_of};
use crate::postgres::{PASSWORD, ROLE, Server, free_port};
use crate::transports::write_agent;

const WAIT_MAX: Duration = Duration::from_secs(600);

/// The databases of both sides.
pub const LEFT: &str = "private_side";
pub const RIGHT: &str = "other_side";

pub struct Relay {
    pub relay: Running,
    pub agent: Running,
    http: u16,
    token: String,
    client: reqwest::Client,
}

impl Relay {
    /// Connections `left`, through the agent, and `right`.
    pub async fn start(binaries: &Path, dir: &Path, server: &Server) -> anyhow::Result<Relay> {
        let (http, tunnel) = (free_port(), free_port());
        let config = dir.join("relay.toml");
        let text = format!(
            "data_dir = \"{}\"\n[tunnel]\nlisten = \"127.0.0.1:{tunnel}\"\n\
             names = [\"localhost:{tunnel}\"]\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
             [metrics]\nlisten = \"127.0.0.1:{}\"\n",
            dir.join("relay").display(),
            free_port()
        );
        fs::write(&config, text)?;
        let mut command = Place::Here.command(binaries.join("tidegate-relay"));
        command.args(["serve", "--config"]).arg(&config);
        let relay = Running::start(&mut command, &dir.join("relay.log"))?;
        let client = reqwest::Client::new();
        let began = Instant::now();
        while client
            .get(format!("http://127.0.0.1:{http}/healthz"))
            .send()
            .await
            .is_err()
        {
            ensure!(began.elapsed() < WAIT_MAX, "the relay does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let token = fs::read_to_string(dir.join("relay/operator.token"))?;
        let call = |path: &'static str, body: Value| {
            send(
                &client,
                http,
                token.trim(),
                Method::POST,
                path.to_owned(),
                body,
            )
        };
        let invited = call("agents", json!({"name": "left"})).await?;
        let file = dir.join("token");
        fs::write(&file, invited["token"].as_str().context("a token")?)?;
        let config = dir.join("agent.toml");
        write_agent(&config, dir, server.port, LEFT, "auto")?;
        let program = binaries.join("tidegate-agent");
        let mut pair = Place::Here.command(&program);
        output_of(pair.arg("pair").arg(&file).arg("--config").arg(&config))?;
        let mut command = Place::Here.command(&program);
        command
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null());
        let agent = Running::start(&mut command, &dir.join("agent.log"))?;
        let through =
            json!({"name": "left", "kind": "postgres", "agent": "left", "target": "main"});
        let url = format!(
            "postgres://{ROLE}:{PASSWORD}@127.0.0.1:{}/{RIGHT}?sslmode=disable",
            server.port
        );
        let relay = Relay {
            relay,
            agent,
            http,
            token: token.trim().to_owned(),
            client,
        };
        relay.wait("agents/left", "online").await?;
        relay.post("connections", through).await?;
        let direct = json!({"name": "right", "kind": "postgres", "url": url});
        relay.post("connections", direct).await?;
        Ok(relay)
    }

    pub fn cpu_s(&self) -> f64 {
        self.relay.cpu_s() + self.agent.cpu_s()
    }

    /// Starts a sync of one table and waits until it is live.
    pub async fn sync(&self, table: &str) -> anyhow::Result<()> {
        self.post("syncs/apply", json!({"file": sync_file(table)}))
            .await?;
        self.wait(&format!("syncs/{table}"), "live").await
    }

    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, body).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        send(
            &self.client,
            self.http,
            &self.token,
            method,
            path.to_owned(),
            body,
        )
        .await
    }

    async fn wait(&self, path: &str, state: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let found = self.send(Method::GET, path, Value::Null).await?;
            if found["state"] == state {
                return Ok(());
            }
            ensure!(began.elapsed() < WAIT_MAX, "{path} is not {state}: {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn send(
    client: &reqwest::Client,
    http: u16,
    token: &str,
    method: Method,
    path: String,
    body: Value,
) -> anyhow::Result<Value> {
    let url = format!("http://127.0.0.1:{http}/api/v1/{path}");
    let request = client.request(method, url).bearer_auth(token);
    let answer = match body {
        Value::Null => request.send().await?,
        body => request.json(&body).send().await?,
    };
    let is_ok = answer.status().is_success();
    let text = answer.text().await?;
    if !is_ok {
        bail!("{path}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn sync_file(table: &str) -> String {
    let fields = ["id", "code", "n", "f", "title", "body", "at", "flag"];
    let fields = fields.map(|name| format!("{{ left = \"{name}\", right = \"{name}\" }}"));
    format!(
        "name = \"{table}\"\nleft = \"left\"\nright = \"right\"\n[[table]]\n\
         left = \"public.{table}\"\nright = \"public.{table}\"\nkey = [[\"id\", \"id\"]]\n\
         fields = [{}]\n",
        fields.join(", ")
    )
}
