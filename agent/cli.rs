//! The command line: parses, reads the configuration, calls one room, turns its result into an
//! exit code (0 done, 1 failed with one line of advice, 2 wrong usage or configuration).
//!
//! A pairing token never comes from the command line, where every user of the host could read it.

use std::io::{IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_shared::identity::fingerprint_text;
use tidegate_shared::log_writer::{self, LogEnd};
use tidegate_shared::pairing::PairingToken;
use tidegate_shared::size;
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

use crate::audit::{Audit, Chain};
use crate::config::{Config, DEFAULT_FILE, FILE_VARIABLE};
use crate::identity::enroll::{self, EnrollError};
use crate::identity::keystore::{Identity, Keystore, KeystoreError};
use crate::origin::hold::{Hold, Level};
use crate::origin::unix_ms;
use crate::route::Routes;
use crate::tunnel::status::{self, Ask, Status};
use crate::{doctor, grant, service};

/// Prints a line of data. A reader that went away (`| head`) is no error of ours; `println` panics.
macro_rules! out {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

/// Where a token may come from besides a file and stdin.
const TOKEN_VARIABLE: &str = "TIDEGATE_PAIRING_TOKEN";
/// Every token starts with this, so that one in a wrong place can be recognised.
const TOKEN_PREFIX: &str = "tg_pair_";
/// Larger than any token; a wrong file must not be read into memory, bytes.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

#[derive(Parser)]
#[command(
    name = "tidegate-agent",
    version,
    about = "Runs beside a private PostgreSQL and hands logged-in sessions to a Tidegate relay",
    after_help = "Example: tidegate-agent pair token.txt && tidegate-agent check && \
                  tidegate-agent run"
)]
struct Cli {
    /// Configuration file.
    #[arg(long, global = true, env = FILE_VARIABLE, default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Redeem a pairing token for this host's own certificate.
    ///
    /// The token is read from a file, from stdin (`-`), or from TIDEGATE_PAIRING_TOKEN.
    #[command(
        after_help = "Example: ssh relay tidegate-relay agent invite office-db | \
                            tidegate-agent pair -"
    )]
    Pair {
        /// File that holds the token; `-` reads stdin.
        #[arg(value_name = "TOKEN-FILE|-")]
        token_file: Option<PathBuf>,
        /// Do nothing where this agent is paired already: for what runs at each start.
        #[arg(long)]
        unless_paired: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Connect to the relay and serve, until SIGTERM.
    #[command(after_help = "Example: tidegate-agent run --config /etc/tidegate-agent/agent.toml")]
    Run,
    /// Look for what would keep the agent from working, from configuration to database grants.
    #[command(after_help = "Example: tidegate-agent check --bundle for-support.tar.gz")]
    Check {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Also write what was found, status, audit record and log into an archive, without secrets.
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Show what the running agent is connected to and which sessions are open.
    #[command(after_help = "Example: tidegate-agent status --json")]
    Status {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Stop the relay from reaching anything, or from writing, until `resume`. Kept over restarts.
    ///
    /// Open sessions that this forbids are cut, and a transaction that was open is rolled back.
    #[command(after_help = "Example: tidegate-agent pause --writes --reason 'month end closing'")]
    Pause {
        /// Let reads go on: sessions are read-only.
        #[arg(long)]
        writes: bool,
        /// One line for the people who look after the relay.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// End a pause, or what the write brake holds back.
    #[command(after_help = "Example: tidegate-agent resume")]
    Resume,
    /// Look at the record of what was done through this agent.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print the SQL of a least-privilege role for these tables.
    #[command(after_help = "Example: tidegate-agent grant public.posts public.authors | psql shop")]
    Grant {
        /// Tables, as `table` (schema public) or `schema.table`.
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<String>,
        /// The target whose role and database are meant; the first one unless given.
        #[arg(long)]
        target: Option<String>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Show the newest entries.
    #[command(after_help = "Example: tidegate-agent audit show --last 50 --json")]
    Show {
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        last: usize,
        /// Print one JSON document a line.
        #[arg(long)]
        json: bool,
    },
    /// Check that no entry was changed or taken out of the middle.
    #[command(after_help = "Example: tidegate-agent audit verify")]
    Verify,
}

/// A failed command: its exit code and its one line.
struct Failure {
    code: u8,
    line: String,
}

impl Failure {
    fn failed(line: impl ToString) -> Failure {
        Failure {
            code: 1,
            line: line.to_string(),
        }
    }

    fn usage(line: impl ToString) -> Failure {
        Failure {
            code: 2,
            line: line.to_string(),
        }
    }
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    // First, so that no library can choose another provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Before clap, which repeats unexpected arguments in its messages.
    if std::env::args_os()
        .skip(1)
        .any(|a| a.to_string_lossy().contains(TOKEN_PREFIX))
    {
        return finish(Err(Failure::usage(
            "a pairing token on the command line can be read by every user of this host: put it \
             into a file or pipe it (`tidegate-agent pair -`), and revoke this one",
        )));
    }
    let cli = Cli::parse();
    let log = match log_to_stderr() {
        Ok(log) => log,
        Err(error) => return finish(Err(Failure::failed(format!("start the log: {error}")))),
    };
    let done = run(cli);
    drop(log);
    finish(done)
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tidegate-agent: {}", failure.line);
            ExitCode::from(failure.code)
        }
    }
}

/// `TIDEGATE_LOG` filters as tracing's EnvFilter does; `info` unless set.
fn log_to_stderr() -> std::io::Result<LogEnd> {
    let (log, end) = log_writer::start(std::io::stderr(), |count| {
        format!(
            "WARN tidegate_agent: {count} lines were left out: whoever reads this log is slow\n"
        )
    })?;
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone())
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(end)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = Config::load(&cli.config).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("start: {error}")))?;
    runtime.block_on(async {
        match cli.command {
            Command::Pair {
                token_file,
                unless_paired,
                json,
            } => match unless_paired {
                true => pair_once(&config, token_file, json).await,
                false => pair(&config, token_file, json).await,
            },
            Command::Run => service::run(config, &cli.config)
                .await
                .map_err(Failure::failed),
            Command::Check { json, bundle } => check(&config, json, bundle.as_deref()).await,
            Command::Status { json } => show_status(&config, json).await,
            Command::Pause { writes, reason } => {
                let level = if writes {
                    Level::Writes
                } else {
                    Level::Everything
                };
                hold(&config, level, reason).await
            }
            Command::Resume => hold(&config, Level::Nothing, String::new()).await,
            Command::Audit(command) => audit(&config, &command),
            Command::Grant { tables, target } => print_grant(&config, &tables, target.as_deref()),
        }
    })
}

async fn pair_once(config: &Config, file: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    match Keystore::new(&config.state_dir).current() {
        Ok(identity) => {
            print_paired(&identity, json, "Already paired");
            Ok(())
        }
        Err(KeystoreError::NotPaired) => pair(config, file, json).await,
        Err(error) => Err(Failure::failed(format!("state_dir: {error}"))),
    }
}

async fn pair(config: &Config, file: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    let text = read_token(file.as_deref())?;
    let token = PairingToken::parse(&text)
        .map_err(|error| Failure::usage(format!("pairing token: {error}")))?;
    let store = Keystore::new(&config.state_dir);
    let routes = Routes::of(config).map_err(Failure::usage)?;
    let identity = enroll::pair(&token, &store, &routes)
        .await
        .map_err(|error| match error {
            EnrollError::Keystore(error) => Failure::failed(format!("state_dir: {error}")),
            error => Failure::failed(error),
        })?;
    let fingerprint = fingerprint_text(&identity.key.fingerprint());
    Audit::new(&config.state_dir).note("agent.pair", &identity.agent_name, &fingerprint);
    print_paired(&identity, json, "Paired");
    Ok(())
}

fn print_paired(identity: &Identity, json: bool, done: &str) {
    let fingerprint = fingerprint_text(&identity.key.fingerprint());
    let relays: Vec<String> = identity.relays.iter().map(ToString::to_string).collect();
    if json {
        let until = identity.facts().ok().map(|facts| unix_ms(facts.not_after));
        let document = serde_json::json!({
            "agent": identity.agent_name,
            "workspace": identity.workspace,
            "relays": relays,
            "key_fingerprint": fingerprint,
            "certificate_until_ms": until,
        });
        out!("{document}");
        return;
    }
    out!(
        "{done} as {} with {}.",
        identity.agent_name,
        relays.join(", ")
    );
    out!(
        "Key fingerprint: {fingerprint} (`tidegate-relay agent show {}` says the same)",
        identity.agent_name
    );
    out!("Next: tidegate-agent check, then start the service.");
}

/// The token from the file, from stdin, or from the environment, in this order.
fn read_token(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file.filter(|file| *file != Path::new("-")) {
        let open = std::fs::File::open(file).map_err(|error| {
            let file = file.display();
            Failure::usage(format!(
                "can't read the token file {file}: {error}; make one on the relay with \
                     `tidegate-relay agent invite NAME > FILE`"
            ))
        })?;
        return read_text(open, &file.display().to_string());
    }
    if file.is_none() {
        if let Some(text) = std::env::var_os(TOKEN_VARIABLE) {
            return Ok(Zeroizing::new(text.to_string_lossy().into_owned()));
        }
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage(
                "no token: give a file, pipe it to `tidegate-agent pair -`, or set \
                 TIDEGATE_PAIRING_TOKEN",
            ));
        }
    }
    read_text(std::io::stdin(), "stdin")
}

fn read_text(reader: impl Read, name: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    reader
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(text)
}

async fn check(config: &Config, json: bool, bundle: Option<&Path>) -> Result<(), Failure> {
    let unwritten = |error| Failure::failed(format!("--bundle: {error}"));
    let archive = bundle.map(doctor::bundle::create).transpose();
    let archive = archive.map_err(unwritten)?;
    let report = doctor::check(config).await;
    if json {
        out!("{}", report.to_json());
    } else {
        out!("{}", report.to_string().trim_end());
    }
    if let (Some(archive), Some(file)) = (archive, bundle) {
        let written = doctor::bundle::write(archive, config, &report).await;
        written.map_err(unwritten)?;
        eprintln!(
            "Wrote {}: look through it before you send it.",
            file.display()
        );
    }
    match report.first_action() {
        None => Ok(()),
        Some(action) => Err(Failure::failed(action)),
    }
}

async fn show_status(config: &Config, json: bool) -> Result<(), Failure> {
    let status = status::ask(&config.state_dir)
        .await
        .map_err(|error| Failure::failed(format!("ask the running agent: {error}")))?
        .ok_or_else(|| {
            Failure::failed(format!(
                "no agent is running on {}: start the service, or `tidegate-agent run`",
                config.state_dir.display()
            ))
        })?;
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(Failure::failed)?;
        out!("{text}");
    } else {
        print_status(&status);
    }
    Ok(())
}

/// Through the running agent, or for the next one that starts.
async fn hold(config: &Config, level: Level, reason: String) -> Result<(), Failure> {
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    let ask = Ask::Hold {
        level,
        reason: reason.clone(),
    };
    let running = status::send(&config.state_dir, &ask)
        .await
        .map_err(|error| Failure::failed(format!("tell the running agent: {error}")))?;
    if running.is_none() {
        let since_ms = unix_ms(std::time::SystemTime::now());
        let hold = Hold {
            level,
            reason: reason.clone(),
            since_ms,
        };
        hold.save(&config.state_dir)
            .map_err(|error| Failure::failed(format!("state_dir: {error}")))?;
        let action = "hold.offline";
        Audit::new(&config.state_dir).note(action, "agent", &format!("{level:?}: {reason}"));
    }
    let now = match level {
        Level::Nothing => "Nothing is held back.",
        Level::Writes => "Writes are held back: sessions are read-only until `resume`.",
        Level::Everything => "Paused: the relay reaches nothing until `resume`.",
    };
    out!("{now}");
    if running.is_none() {
        out!("No agent is running; this holds from its next start.");
    }
    Ok(())
}

fn audit(config: &Config, command: &AuditCommand) -> Result<(), Failure> {
    let audit = Audit::new(&config.state_dir);
    let unreadable = |error| Failure::failed(format!("read the audit record: {error}"));
    match command {
        AuditCommand::Show { last, json } => {
            for entry in audit.tail(*last).map_err(unreadable)? {
                if *json {
                    out!(
                        "{}",
                        serde_json::to_string(&entry).map_err(Failure::failed)?
                    );
                    continue;
                }
                let (action, object, detail) = (&entry.action, &entry.object, &entry.detail);
                out!(
                    "{:>8} {} ago  {action}  {object}  {detail}",
                    entry.seq,
                    ago(entry.at_ms)
                );
            }
            Ok(())
        }
        AuditCommand::Verify => match audit.verify().map_err(unreadable)? {
            Chain::Intact { entries, head } => {
                out!("{entries} entries, none changed or missing. Newest hash: {head}");
                Ok(())
            }
            Chain::Broken { file, line } => Err(Failure::failed(format!(
                "{}:{line} was changed, or an entry before it is missing: compare with a backup",
                file.display()
            ))),
        },
    }
}

fn print_status(status: &Status) {
    let state = format!("{:?}", status.state).to_lowercase();
    let agent = status.agent.as_deref().unwrap_or("(not paired)");
    let relay = status.relay.as_deref().unwrap_or("-");
    out!(
        "agent    {agent}, version {}, process {}",
        status.version,
        status.process_id
    );
    if let Some(fingerprint) = &status.key_fingerprint {
        out!("key      {fingerprint}");
    }
    out!("state    {state} for {}", ago(status.since_ms));
    match &status.remote {
        Some(remote) => out!(
            "relay    {relay} ({remote}) over {}, {} ms, version {}",
            status.transport.as_deref().unwrap_or("quic"),
            status.rtt_ms.unwrap_or(0),
            status.relay_version.as_deref().unwrap_or("unknown")
        ),
        None => out!("relay    {relay}, {} dials in vain", status.attempts),
    }
    let hold = &status.hold;
    let held = match hold.level {
        Level::Nothing => None,
        Level::Writes => Some("writes"),
        Level::Everything => Some("everything"),
    };
    if let Some(held) = held {
        let (since, reason) = (ago(hold.since_ms), &hold.reason);
        out!("held     {held} for {since} {reason} (`tidegate-agent resume` ends it)");
    }
    if let Some(error) = &status.last_error {
        let code = status.last_error_code.as_deref();
        let code = code.map_or(String::new(), |code| format!("{code}: "));
        out!("error    {code}{error}");
    }
    print_databases(status);
    out!("sessions {}", status.sessions.len());
    for session in &status.sessions {
        out!(
            "  {} {} {}/{} for {}, {} B to the server, {} B to the relay",
            session.target,
            session.purpose,
            session.sync,
            session.run,
            ago(session.since_ms),
            session.to_server_bytes,
            session.to_relay_bytes
        );
    }
    print_slots(status);
}

/// Which leg of the way works.
fn print_databases(status: &Status) {
    out!("ready    {}", if status.ready { "yes" } else { "no" });
    for reached in &status.databases {
        let name = &reached.target;
        match (reached.at_ms, &reached.error) {
            (Some(at_ms), None) => out!("  {name} reached {} ago", ago(at_ms)),
            (Some(at_ms), Some(why)) => out!("  {name} not reached {} ago: {why}", ago(at_ms)),
            (None, _) => out!("  {name} not asked for yet by the relay"),
        }
    }
}

fn print_slots(status: &Status) {
    out!(
        "slots    {}, {} dropped since the start",
        status.slots.len(),
        status.slots_dropped
    );
    for slot in &status.slots {
        out!(
            "  {} {} {}{}, keeps {} of at most {}",
            slot.target,
            slot.slot,
            if slot.active { "reading" } else { "idle" },
            if slot.known {
                ""
            } else {
                ", of no sync that came through here"
            },
            slot.retained_bytes
                .map_or("nothing".to_owned(), size::rounded),
            size::rounded(slot.bound_bytes)
        );
    }
}

/// How long ago, in the largest two units.
fn ago(since_ms: u64) -> String {
    let seconds = unix_ms(std::time::SystemTime::now()).saturating_sub(since_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn print_grant(config: &Config, tables: &[String], target: Option<&str>) -> Result<(), Failure> {
    let found = match target {
        Some(name) => config.targets.iter().find(|target| target.name == name),
        None => config.targets.first(),
    };
    let target = found.ok_or_else(|| {
        Failure::usage("no such target in the configuration: add a [[target]] first")
    })?;
    let sql = grant::sql(target, tables).map_err(Failure::usage)?;
    out!("{}", sql.trim_end());
    Ok(())
}
