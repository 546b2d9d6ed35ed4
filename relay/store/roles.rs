//! What a caller may do: each role may do all that the one before it may.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Of a person or a token, within one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything, secrets and audit excepted, and changes nothing.
    Viewer,
    /// Plans, starts, edits and repairs syncs over the connections that are there.
    Editor,
    /// Decides who and what takes part: agents, connections, users, tokens.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Editor, Role::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
        }
    }

    /// The role of this name, as stored.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
