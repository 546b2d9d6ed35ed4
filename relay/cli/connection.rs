//! `connection`: add, list, show, test, capture, tables, types, fix-key, remove.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::client::Client;
use super::output::{or_dash, plain};
use super::{CliError, Exit, output, types};
use crate::api::connections::{CaptureChoice, FixKey, Fixed, NewConnection};
use crate::endpoint::catalog::{Catalog, Fix, Problem, Table};
use crate::engine::handle::{ConnectionInfo, ConnectionProblem, ConnectionTest};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a database, through an agent or directly, or an app.
    #[command(
        after_help = "Example:\n  tidegate-relay connection add office-db --kind postgres --agent \
                      office-db --target main\n  tidegate-relay connection add marketing --kind \
                      postgres --url-file marketing.url\n  tidegate-relay connection add notes --kind \
                      kinto --base-url https://kinto.example.com/v1 --token-file kinto.token"
    )]
    Add(Add),
    /// List the connections.
    #[command(after_help = "Example:\n  tidegate-relay connection list")]
    List,
    /// Show one connection, without its secret.
    #[command(after_help = "Example:\n  tidegate-relay connection show office-db")]
    Show { name: String },
    /// Connect, sign in, and tell what was found. Exit code 1: a sync could not run on it.
    #[command(after_help = "Example:\n  tidegate-relay connection test office-db")]
    Test { name: String },
    /// Choose how changes are read: auto, stream, peek, triggers, poll or compare.
    ///
    /// `connection test` tells which of them the server and the role allow. A sync file that names
    /// one goes first. Syncs take it at their next start.
    #[command(after_help = "Example:\n  tidegate-relay connection capture office-db triggers")]
    Capture {
        name: String,
        #[arg(value_parser = CAPTURES)]
        level: String,
    },
    /// List the tables, what a sync would miss, and ready-made fixes.
    #[command(after_help = "Example:\n  tidegate-relay connection tables office-db")]
    Tables { name: String },
    /// List the types of fields, and which of them can be synced with each other.
    ///
    /// Needs no running relay: it tells what this version does.
    #[command(
        after_help = "Example:\n  tidegate-relay connection types\n  tidegate-relay connection types \
                      'numeric(10,2)'\n  tidegate-relay connection types app:number --json"
    )]
    Types(types::Types),
    /// Give a table a primary key: an identity column, or an existing column.
    #[command(
        name = "fix-key",
        after_help = "Example:\n  tidegate-relay connection fix-key office-db public.log \
                      --identity --yes"
    )]
    FixKey(FixKeyArgs),
    /// Forget a connection that no sync uses.
    #[command(after_help = "Example:\n  tidegate-relay connection remove marketing")]
    Remove { name: String },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    name: String,
    /// What it is: postgres, or an app's connector (`connector list`).
    #[arg(long, default_value = "postgres")]
    kind: String,
    /// The agent that it goes through.
    #[arg(long, requires = "target", conflicts_with = "url_file")]
    agent: Option<String>,
    /// The agent's name for the database.
    #[arg(long, requires = "agent")]
    target: Option<String>,
    /// File with the URL of a direct connection, - for stdin; or set TIDEGATE_CONNECTION_URL.
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
    /// How changes are read, unless a sync file says otherwise.
    #[arg(long, value_name = "LEVEL", value_parser = CAPTURES)]
    capture: Option<String>,
    /// Where the app is, for apps that are not in one place.
    #[arg(long, value_name = "URL", conflicts_with_all = ["agent", "url_file"])]
    base_url: Option<String>,
    /// File with the app's token (or user:password), - for stdin; or set TIDEGATE_CONNECTION_TOKEN.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "url_file"])]
    token_file: Option<PathBuf>,
    /// The app may be at a private address, and may be spoken to without TLS.
    #[arg(long)]
    allow_private: bool,
}

/// As the API names them.
const CAPTURES: [&str; 6] = ["auto", "stream", "peek", "triggers", "poll", "compare"];

#[derive(Debug, clap::Args)]
pub(super) struct FixKeyArgs {
    name: String,
    /// schema.table
    table: String,
    /// Make this column the key, if it is unique and never null.
    #[arg(long, conflicts_with = "identity")]
    column: Option<String>,
    /// Add an identity column and make it the key.
    #[arg(long)]
    identity: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Add(new) => add(api, json, new).await,
        Command::List => {
            let connections: Vec<ConnectionInfo> = api.get(&["connections"]).await?;
            if json {
                output::json(&connections)?;
                return Ok(Exit::Done);
            }
            let rows = connections.iter().map(row).collect();
            let empty = "There are no connections: add one with `connection add NAME`.";
            output::table(&["NAME", "KIND", "REACHED"], rows, empty);
            Ok(Exit::Done)
        }
        Command::Show { name } => {
            let info: ConnectionInfo = api.get(&["connections", &name]).await?;
            if json {
                output::json(&info)?;
                return Ok(Exit::Done);
            }
            output::facts(&[
                ("name", info.name.clone()),
                ("kind", info.kind.clone()),
                ("reached", reached(&info)),
                ("capture", info.capture.clone()),
            ]);
            Ok(Exit::Done)
        }
        Command::Test { name } => test(api, json, &name).await,
        Command::Capture { name, level } => {
            let choice = CaptureChoice { capture: level };
            let info: ConnectionInfo = api.patch(&["connections", &name], &choice).await?;
            if json {
                output::json(&info)?;
            } else {
                output::note(&format!(
                    "Changes of {} are read by `{}` from the next start of its syncs on (`sync \
                     resume NAME`). Try it: connection test {}",
                    plain(&info.name),
                    info.capture,
                    plain(&info.name)
                ));
            }
            Ok(Exit::Done)
        }
        Command::Tables { name } => {
            let catalog: Catalog = api.get(&["connections", &name, "tables"]).await?;
            if json {
                output::json(&catalog)?
            } else {
                show_tables(&name, &catalog)
            }
            Ok(Exit::Done)
        }
        Command::Types(args) => types::run(json, &args),
        Command::FixKey(args) => fix_key(api, json, args).await,
        Command::Remove { name } => {
            api.delete(&["connections", &name]).await?;
            if json {
                output::json(&json!({"name": name, "removed": true}))?;
            } else {
                output::note(&format!("Connection {} is removed.", plain(&name)));
            }
            Ok(Exit::Done)
        }
    }
}

async fn add(api: &Client, json: bool, new: Add) -> Result<Exit, CliError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let is_app = new.kind != "postgres";
    let token = match (is_app, &new.token_file) {
        (false, None) => None,
        (_, Some(file)) => Some(output::read_text(file)?),
        (true, None) => Some(variable("TIDEGATE_CONNECTION_TOKEN").ok_or_else(|| {
            let message = "give --token-file with the app's token (or user:password)";
            CliError::Usage(message.into())
        })?),
    };
    let url = match (&new.agent, &new.url_file) {
        (Some(_), _) => None,
        _ if is_app => None,
        (None, Some(file)) => Some(output::read_text(file)?),
        (None, None) => Some(variable("TIDEGATE_CONNECTION_URL").ok_or_else(|| {
            let message = "give --agent and --target (through an agent), or --url-file (direct)";
            CliError::Usage(message.into())
        })?),
    };
    let request = NewConnection {
        name: new.name,
        kind: new.kind,
        agent: new.agent,
        target: new.target,
        url: url.map(|url| url.trim().to_owned()),
        capture: new.capture,
        base_url: new.base_url,
        token: token.map(|token| token.trim().to_owned()),
        allow_private: new.allow_private,
    };
    let added: ConnectionInfo = api.post(&["connections"], &request).await?;
    if json {
        output::json(&added)?;
    } else {
        let name = plain(&added.name);
        output::note(&format!(
            "Connection {name} is added. Try it: connection test {name}"
        ));
    }
    Ok(Exit::Done)
}

async fn test(api: &Client, json: bool, name: &str) -> Result<Exit, CliError> {
    let found: ConnectionTest = api.act(&["connections", name, "test"]).await?;
    if json {
        output::json(&found)?;
    } else {
        show_test(&found);
    }
    let blocking: Vec<&ConnectionProblem> = found.problems.iter().filter(|p| p.blocking).collect();
    match blocking.as_slice() {
        [] => Ok(Exit::Done),
        [first, others @ ..] => {
            let more = match others.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            let ConnectionProblem {
                message, remedy, ..
            } = first;
            let text = format!("no sync can run on {name}: {message}: {remedy}{more}");
            Err(CliError::Failed(plain(&text)))
        }
    }
}

fn show_test(found: &ConnectionTest) {
    output::facts(&[
        ("server", found.server.clone()),
        ("user", found.user.clone()),
        ("database", found.database.clone()),
        (
            "tables",
            format!("{} ({} may be written)", found.tables, found.writable),
        ),
        ("capture", found.capture.clone()),
    ]);
    for problem in &found.problems {
        let weight = if problem.blocking { "problem" } else { "note" };
        let text = format!("{weight}: {}: {}", problem.message, problem.remedy);
        output::say(&plain(&text));
    }
}

fn row(info: &ConnectionInfo) -> Vec<String> {
    vec![info.name.clone(), info.kind.clone(), reached(info)]
}

fn reached(info: &ConnectionInfo) -> String {
    match (&info.agent, &info.target) {
        (Some(agent), Some(target)) => format!("agent {agent}, target {target}"),
        _ => format!("direct, {}", or_dash(info.address.as_ref())),
    }
}

fn show_tables(name: &str, catalog: &Catalog) {
    let rows = catalog.tables.iter().map(table_row).collect();
    let headers = [
        "TABLE", "KIND", "ROWS", "COLUMNS", "KEY", "WRITE", "PROBLEMS",
    ];
    output::table(&headers, rows, "There are no tables that the role may see.");
    for problem in &catalog.problems {
        show_problem("the whole database", problem);
    }
    for table in &catalog.tables {
        for problem in &table.problems {
            show_problem(&table_name(table), problem);
            if problem.code == "no-primary-key" {
                let connection = catalog.allows_ddl.then_some(name);
                let show = |fix| show_fix(connection, &table_name(table), fix);
                table.fixes.iter().for_each(show);
            }
        }
    }
}

fn table_row(table: &Table) -> Vec<String> {
    let codes: Vec<&str> = table
        .problems
        .iter()
        .map(|problem| problem.code.as_str())
        .collect();
    vec![
        table_name(table),
        table.kind.clone(),
        format!("~{}", table.row_estimate),
        table.columns.len().to_string(),
        if table.primary_key.is_empty() {
            "none".into()
        } else {
            table.primary_key.join(", ")
        },
        if table.can_write {
            "yes".into()
        } else {
            "no".into()
        },
        codes.join(", "),
    ]
}

fn table_name(table: &Table) -> String {
    format!("{}.{}", table.schema, table.name)
}

fn show_problem(of: &str, problem: &Problem) {
    let weight = if problem.blocking {
        "prevents a sync"
    } else {
        "note"
    };
    output::say("");
    output::say(&plain(&format!("{of}: {} ({weight})", problem.message)));
    output::say(&plain(&format!("  {}", problem.remedy)));
}

/// Without a connection the fix is for the owner alone to run.
fn show_fix(connection: Option<&str>, table: &str, fix: &Fix) {
    let option = match fix {
        Fix::IdentityColumn { .. } => "--identity".to_owned(),
        Fix::ExistingColumn { column, .. } => format!("--column {column}"),
    };
    let intro = match connection {
        Some(name) => format!("fix with `connection fix-key {name} {table} {option}`, or run"),
        None => "run".to_owned(),
    };
    output::say(&plain(&format!("  {intro} as its owner:")));
    for statement in sql_of(fix) {
        output::say(&plain(&format!("    {}", terminated(statement))));
    }
}

fn sql_of(fix: &Fix) -> &[String] {
    match fix {
        Fix::IdentityColumn { sql, .. } | Fix::ExistingColumn { sql, .. } => sql,
    }
}

fn terminated(statement: &str) -> String {
    format!("{};", statement.trim().trim_end_matches(';'))
}

async fn fix_key(api: &Client, json: bool, args: FixKeyArgs) -> Result<Exit, CliError> {
    let catalog: Catalog = api.get(&["connections", &args.name, "tables"]).await?;
    let table = catalog.table(&args.table).ok_or_else(|| {
        let message = format!(
            "there is no table {}: see `connection tables {}`",
            args.table, args.name
        );
        CliError::Failed(plain(&message))
    })?;
    if !table.primary_key.is_empty() {
        let key = table.primary_key.join(", ");
        output::note(&plain(&format!(
            "{} has a primary key already: {key}.",
            args.table
        )));
        if json {
            let fixed = Fixed { sql: Vec::new() };
            output::json(&fixed)?;
        }
        return Ok(Exit::Done);
    }
    let wanted = |fix: &&Fix| match fix {
        Fix::IdentityColumn { .. } => args.identity,
        Fix::ExistingColumn { column, .. } => args.column.as_ref() == Some(column),
    };
    let offered = table.fixes.iter().find(wanted);
    if !args.identity && args.column.is_none() {
        table
            .fixes
            .iter()
            .for_each(|fix| show_fix(Some(&args.name), &args.table, fix));
        return Err(CliError::Approve(
            "choose one of the fixes: --identity or --column".into(),
        ));
    }
    if !catalog.allows_ddl {
        return Err(by_hand(&args.table, offered));
    }
    if !args.yes {
        confirm(&args.name, offered)?;
    }
    let request = FixKey {
        table: args.table,
        column: args.column,
        expected: None,
    };
    let fixed: Fixed = api
        .post(&["connections", &args.name, "fix-key"], &request)
        .await?;
    if json {
        output::json(&fixed)?;
    } else {
        fixed
            .sql
            .iter()
            .for_each(|statement| output::say(&plain(&terminated(statement))));
        output::note("Done: the table has a primary key.");
    }
    Ok(Exit::Done)
}

/// Shows what would be run, and asks.
fn confirm(connection: &str, offered: Option<&Fix>) -> Result<(), CliError> {
    for statement in offered.map(sql_of).unwrap_or_default() {
        output::note(&plain(&terminated(statement)));
    }
    match output::ask(&plain(&format!("Run this on {connection}?"))) {
        Some(true) => Ok(()),
        Some(false) => Err(CliError::Approve("nothing was changed".into())),
        None => {
            let text = "nothing was changed: confirm with --yes";
            Err(CliError::Approve(text.into()))
        }
    }
}

fn by_hand(table: &str, offered: Option<&Fix>) -> CliError {
    let statements = offered.map(sql_of).unwrap_or_default().join("; ");
    let message = format!(
        "the agent does not let the relay change tables: let the owner of {table} run \
         `{statements}`, or set allow_ddl = true for the target in agent.toml"
    );
    CliError::Failed(plain(&message))
}
