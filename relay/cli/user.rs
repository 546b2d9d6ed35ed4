//! `user`: add, list, change, remove.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use super::client::Client;
use super::{CliError, Exit, output};
use crate::api::access::users::{NewUser, UserChange, UserInfo};
use crate::store::roles::Role;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add somebody who may sign in to the console.
    #[command(
        after_help = "Example:\n  tidegate-relay user add ada@example.com --role editor \
                      --password-file ada.password"
    )]
    Add {
        /// A name or an e-mail address.
        name: String,
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleArg,
        /// File with the password, - for stdin. Without one the person signs in with the provider of
        /// [oidc], whose verified e-mail address has to be the name.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Where the person works; your own workspace unless given.
        #[arg(long, value_name = "NAME")]
        workspace: Option<String>,
    },
    /// List who may sign in.
    #[command(after_help = "Example:\n  tidegate-relay user list")]
    List,
    /// Give somebody another role or another password.
    #[command(after_help = "Example:\n  tidegate-relay user change ada@example.com --role admin")]
    Change {
        name: String,
        #[arg(long, value_enum, required_unless_present = "password_file")]
        role: Option<RoleArg>,
        /// File with the new password, - for stdin. Ends the person's sessions.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove somebody: signed out from the next request on.
    #[command(after_help = "Example:\n  tidegate-relay user remove ada@example.com")]
    Remove { name: String },
}

/// A role on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArg {
    Viewer,
    Editor,
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Role {
        match role {
            RoleArg::Viewer => Role::Viewer,
            RoleArg::Editor => Role::Editor,
            RoleArg::Admin => Role::Admin,
        }
    }
}

pub(super) async fn run(api: &Client, json: bool, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Add {
            name,
            role,
            password_file,
            workspace,
        } => {
            let new = NewUser {
                name,
                role: role.into(),
                password: password_file.as_deref().map(read_password).transpose()?,
                workspace,
            };
            let added: UserInfo = api.post(&["users"], &new).await?;
            show(json, &added, "was added")?;
        }
        Command::List => {
            let users: Vec<UserInfo> = api.get(&["users"]).await?;
            if json {
                output::json(&users)?;
            } else {
                let row = |user: UserInfo| vec![user.name, user.role.to_string(), user.since];
                let rows = users.into_iter().map(row).collect();
                let empty = "Nobody can sign in yet: `user add`, or the link that `serve` printed.";
                output::table(&["NAME", "ROLE", "SINCE"], rows, empty);
            }
        }
        Command::Change {
            name,
            role,
            password_file,
        } => {
            let change = UserChange {
                role: role.map(Role::from),
                password: password_file.as_deref().map(read_password).transpose()?,
            };
            let changed: UserInfo = api.patch(&["users", &name], &change).await?;
            show(json, &changed, "was changed")?;
        }
        Command::Remove { name } => {
            api.delete(&["users", &name]).await?;
            if json {
                output::json(&json!({"name": name, "removed": true}))?;
            } else {
                output::note(&format!("{} was removed.", output::plain(&name)));
            }
        }
    }
    Ok(Exit::Done)
}

fn read_password(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let text = Zeroizing::new(output::read_text(path)?);
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn show(json: bool, user: &UserInfo, what: &str) -> Result<(), CliError> {
    if json {
        return output::json(user);
    }
    let name = output::plain(&user.name);
    output::note(&format!("{name} {what}, as {}.", user.role));
    Ok(())
}
