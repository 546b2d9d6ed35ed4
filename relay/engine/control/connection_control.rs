//! Connections by name: add, test, look into, give a table its missing key, remove.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::errors::{conflict, invalid, named, unreachable};
use super::look_in::table_in;
use super::{Engine, POSTGRES, asked};
use crate::endpoint::catalog::{Catalog, Fix, Problem};
use crate::endpoint::level::{Level, choose};
use crate::engine::handle::{
    AppKind, ConnectionControl, ConnectionInfo, ConnectionProblem, ConnectionTarget,
    ConnectionTest, ControlError, ControlErrorKind, RowCount, Within,
};
use crate::engine::run::now_ms;
use crate::engine::suggest::{FieldMap, TableSuggestion};
use crate::store::connections::{self, ConnectionRecord, Route, Via};

#[async_trait]
impl ConnectionControl for Engine {
    async fn add(
        &self,
        name: &str,
        kind: &str,
        target: ConnectionTarget,
    ) -> Result<ConnectionInfo, ControlError> {
        check_connection_name(name)?;
        if matches!(target, ConnectionTarget::App(_)) == (kind == POSTGRES) {
            let text = match kind {
                POSTGRES => "a postgres connection has an agent and a target, or a URL".to_owned(),
                _ => format!("a connection of kind `{kind}` needs a token"),
            };
            return Err(invalid("bad-target", text));
        }
        let route = match target {
            ConnectionTarget::Agent { agent, target } => {
                if !self.sources.knows_agent(&self.workspace, &agent).await {
                    let text = format!(
                        "there is no agent `{agent}`: make one with `agent invite {agent}` and pair it"
                    );
                    return Err(ControlError::new(
                        ControlErrorKind::NotFound,
                        "no-agent",
                        text,
                    ));
                }
                Route::Agent { agent, target }
            }
            ConnectionTarget::Direct { url } => {
                let url = SecretString::from(url.expose_secret().trim().to_owned());
                self.sources
                    .direct(&self.workspace, &url)
                    .map_err(|error| invalid(error.code, error.message))?;
                Route::Direct { url }
            }
            ConnectionTarget::App(account) => {
                self.sources
                    .app(&self.workspace, kind, &account)
                    .map_err(|error| invalid(error.code, error.message))?;
                Route::Direct {
                    url: account.to_document(),
                }
            }
        };
        let (owned, kind, sealer) = (
            name.to_owned(),
            kind.to_owned(),
            self.store.sealer().clone(),
        );
        let workspace = self.workspace.clone();
        self.store
            .transact(move |tx| {
                let called = (owned.as_str(), kind.as_str());
                connections::add(tx, &sealer, &workspace, called, &route, now_ms())
            })
            .await
            .map_err(|error| named(error, "connection", name))?;
        ConnectionControl::show(self, name).await
    }

    async fn list(&self) -> Result<Vec<ConnectionInfo>, ControlError> {
        let records = self.all_connections().await?;
        Ok(records.into_iter().map(info).collect())
    }

    async fn show(&self, name: &str) -> Result<ConnectionInfo, ControlError> {
        Ok(info(self.connection(name).await?))
    }

    async fn choose_capture(
        &self,
        name: &str,
        capture: Option<Level>,
    ) -> Result<ConnectionInfo, ControlError> {
        let (workspace, owned) = (self.workspace.clone(), name.to_owned());
        let level = capture.map(Level::name);
        self.store
            .transact(move |tx| connections::set_capture(tx, &workspace, &owned, level))
            .await
            .map_err(|error| named(error, "connection", name))?;
        ConnectionControl::show(self, name).await
    }

    async fn remove(&self, name: &str) -> Result<(), ControlError> {
        let (workspace, owned) = (self.workspace.clone(), name.to_owned());
        self.store
            .transact(move |tx| connections::remove(tx, &workspace, &owned))
            .await
            .map_err(|error| named(error, "connection", name))
    }

    async fn test(&self, name: &str) -> Result<ConnectionTest, ControlError> {
        let catalog = self.tables(name).await?;
        let asked = asked(&self.connection(name).await?);
        let mut found = catalog.problems;
        let capture = match choose(&catalog.captures, asked) {
            Ok(chosen) => format!("{} ({})", chosen.level.name(), chosen.reason),
            Err(obstacles) => {
                found.extend(obstacles);
                "none".to_owned()
            }
        };
        let problem = |found: Problem| ConnectionProblem {
            code: found.code,
            message: found.message,
            remedy: found.remedy,
            blocking: found.blocking,
        };
        Ok(ConnectionTest {
            ok: !found.iter().any(|found| found.blocking),
            server: catalog.server,
            user: catalog.user,
            database: catalog.database,
            tables: catalog.tables.len(),
            writable: catalog
                .tables
                .iter()
                .filter(|table| table.can_write)
                .count(),
            problems: found.into_iter().map(problem).collect(),
            capture,
        })
    }

    async fn tables(&self, name: &str) -> Result<Catalog, ControlError> {
        let endpoint = self.endpoint(&self.connection(name).await?).await?;
        endpoint.inspect().await.map_err(unreachable)
    }

    fn app_kinds(&self) -> Vec<AppKind> {
        self.sources.app_kinds()
    }

    async fn suggest_tables(
        &self,
        left: Within<'_>,
        right: Within<'_>,
    ) -> Result<Vec<TableSuggestion>, ControlError> {
        self.suggested_tables(left, right).await
    }

    async fn suggest_fields(
        &self,
        left: (&str, &str),
        right: (&str, &str),
        only: Option<&str>,
    ) -> Result<FieldMap, ControlError> {
        self.field_map(left, right, only).await
    }

    async fn count(
        &self,
        name: &str,
        table: &str,
        filter: Option<&str>,
    ) -> Result<RowCount, ControlError> {
        self.rows(name, table, filter).await
    }

    async fn fix_key(
        &self,
        name: &str,
        table: &str,
        column: Option<&str>,
        expected: Option<&[String]>,
    ) -> Result<Vec<String>, ControlError> {
        let endpoint = self.endpoint(&self.connection(name).await?).await?;
        let catalog = endpoint.inspect().await.map_err(unreachable)?;
        let found = table_in(&catalog, (name, table))?;
        let wanted = found.fixes.iter().find(|fix| match (fix, column) {
            (Fix::IdentityColumn { .. }, None) => true,
            (Fix::ExistingColumn { column: known, .. }, Some(column)) => known == column,
            _ => false,
        });
        let Some(fix) = wanted else {
            let text = if found.primary_key.is_empty() {
                format!("this is no fix for `{table}`: see `connection tables {name}`")
            } else {
                format!("`{table}` has a primary key already: nothing to fix")
            };
            return Err(invalid("no-such-fix", text));
        };
        let (Fix::IdentityColumn { sql, .. } | Fix::ExistingColumn { sql, .. }) = fix;
        if expected.is_some_and(|expected| expected != sql) {
            let text = format!("the fix of `{table}` is another one by now: look at it again");
            return Err(conflict("fix-changed", text));
        }
        endpoint.fix_key(table, fix).await.map_err(unreachable)?;
        Ok(sql.clone())
    }
}

fn check_connection_name(name: &str) -> Result<(), ControlError> {
    let fits = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits {
        return Ok(());
    }
    let text = format!("`{name}` can't be a connection's name: use 1 to 63 of a-z, 0-9, - and _");
    Err(invalid("bad-name", text))
}

fn info(record: ConnectionRecord) -> ConnectionInfo {
    let (agent, target) = match record.via {
        Via::Agent { agent, target } => (Some(agent), Some(target)),
        Via::Direct => (None, None),
    };
    ConnectionInfo {
        name: record.name,
        kind: record.kind,
        agent,
        target,
        address: None,
        capture: record.capture.unwrap_or_else(|| "auto".to_owned()),
    }
}
