//! Agents: their records, the pairing tokens that invite them, the certificates they hold.
//!
//! Nothing here judges a secret or a certificate: `pairing` does, and calls these statements in
//! one transaction. Every statement that takes an agent's id takes its workspace too. Times are
//! milliseconds since 1970.

use super::StoreError;
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};

/// One agent, revoked ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    pub id: String,
    pub workspace: String,
    /// Unique among the agents of the workspace that are not revoked.
    pub name: String,
    pub created_at: i64,
    /// Unset until a token was redeemed.
    pub paired_at: Option<i64>,
    pub revoked_at: Option<i64>,
    /// What the agent last said about itself, for people.
    pub host: Option<String>,
    pub version: Option<String>,
    pub last_seen_at: Option<i64>,
}

/// A pairing token as it is stored: without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub id: [u8; 16],
    pub workspace: String,
    pub agent: String,
    pub secret_hash: [u8; 32],
    pub created_at: i64,
    pub expires_at: i64,
    /// When, and with the key of which hash, it was used.
    pub redeemed: Option<(i64, [u8; 32])>,
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    pub serial: String,
    pub workspace: String,
    pub agent: String,
    /// SHA-256 of the public key.
    pub key: [u8; 32],
    pub not_before: i64,
    pub not_after: i64,
    pub issued_at: i64,
    pub revoked_at: Option<i64>,
}

const AGENT_COLUMNS: &str =
    "id, workspace, name, created_at, paired_at, revoked_at, host, version, last_seen_at";

/// Adds an agent that nobody has paired yet.
pub fn add(
    tx: &Transaction<'_>,
    workspace: &str,
    name: &str,
    id: &str,
    now_ms: i64,
) -> Result<AgentRecord, StoreError> {
    let inserted = tx.execute(
        "insert into agents (id, workspace, name, created_at) values (?1, ?2, ?3, ?4)",
        params![id, workspace, name, now_ms],
    );
    StoreError::named(inserted, "agent", name)?;
    find(tx, workspace, id)?.ok_or(StoreError::Malformed("agent"))
}

/// All agents of a workspace by name; revoked ones only when asked for.
pub fn list(
    conn: &Connection,
    workspace: &str,
    revoked_too: bool,
) -> Result<Vec<AgentRecord>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {AGENT_COLUMNS} from agents
         where workspace = ?1 and (?2 = 1 or revoked_at is null) order by name, created_at"
    ))?;
    let rows = statement.query_map(params![workspace, revoked_too], agent_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// An agent by id, revoked or not.
pub fn find(
    conn: &Connection,
    workspace: &str,
    id: &str,
) -> Result<Option<AgentRecord>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {AGENT_COLUMNS} from agents where workspace = ?1 and id = ?2"
    ))?;
    Ok(statement
        .query_row(params![workspace, id], agent_from_row)
        .optional()?)
}

/// The agent of that name that is not revoked.
pub fn find_by_name(
    conn: &Connection,
    workspace: &str,
    name: &str,
) -> Result<Option<AgentRecord>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {AGENT_COLUMNS} from agents
         where workspace = ?1 and name = ?2 and revoked_at is null"
    ))?;
    Ok(statement
        .query_row(params![workspace, name], agent_from_row)
        .optional()?)
}

/// Notes what a connected agent said about itself.
pub fn note_seen(
    tx: &Transaction<'_>,
    workspace: &str,
    id: &str,
    host: &str,
    version: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "update agents set host = ?3, version = ?4, last_seen_at = ?5
         where workspace = ?1 and id = ?2",
        params![workspace, id, host, version, now_ms],
    )?;
    Ok(())
}

/// Revokes the agent, its certificates and its tokens. Returns its id, or nothing when no agent
/// of that name is there to revoke.
pub fn revoke(
    tx: &Transaction<'_>,
    workspace: &str,
    name: &str,
    now_ms: i64,
) -> Result<Option<String>, StoreError> {
    let Some(agent) = find_by_name(tx, workspace, name)? else {
        return Ok(None);
    };
    tx.execute(
        "update agents set revoked_at = ?3 where workspace = ?1 and id = ?2",
        params![workspace, agent.id, now_ms],
    )?;
    tx.execute(
        "update certificates set revoked_at = ?3
         where workspace = ?1 and agent = ?2 and revoked_at is null",
        params![workspace, agent.id, now_ms],
    )?;
    drop_tokens(tx, workspace, &agent.id)?;
    Ok(Some(agent.id))
}

/// Stores a new token; tokens of the same agent that were not used yet stop working.
pub fn add_token(tx: &Transaction<'_>, token: &TokenRow) -> Result<(), StoreError> {
    tx.execute(
        "delete from pairing_tokens where workspace = ?1 and agent = ?2 and redeemed_at is null",
        params![token.workspace, token.agent],
    )?;
    tx.execute(
        "insert into pairing_tokens (id, workspace, agent, secret_hash, created_at, expires_at)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            token.id,
            token.workspace,
            token.agent,
            token.secret_hash,
            token.created_at,
            token.expires_at
        ],
    )?;
    Ok(())
}

/// A token by its public id, whatever its state.
pub fn token(conn: &Connection, id: &[u8; 16]) -> Result<Option<TokenRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, workspace, agent, secret_hash, created_at, expires_at, redeemed_at,
                redeemed_key
         from pairing_tokens where id = ?1",
    )?;
    Ok(statement.query_row([id], token_from_row).optional()?)
}

/// Uses a token for a key: the one conditional update that makes it single use. False when it was
/// used before, or has expired.
pub fn redeem_token(
    tx: &Transaction<'_>,
    id: &[u8; 16],
    key: &[u8; 32],
    now_ms: i64,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "update pairing_tokens set redeemed_at = ?3, redeemed_key = ?2
         where id = ?1 and redeemed_at is null and expires_at > ?3",
        params![id, key, now_ms],
    )?;
    Ok(changed == 1)
}

/// Makes `key` the only key of a paired agent: certificates of its former keys stop working.
pub fn pair_with_key(
    tx: &Transaction<'_>,
    workspace: &str,
    id: &str,
    key: &[u8; 32],
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "update agents set paired_at = ?3 where workspace = ?1 and id = ?2",
        params![workspace, id, now_ms],
    )?;
    tx.execute(
        "update certificates set revoked_at = ?4
         where workspace = ?1 and agent = ?2 and key <> ?3 and revoked_at is null",
        params![workspace, id, key, now_ms],
    )?;
    Ok(())
}

/// Notes a certificate, unless its agent was revoked meanwhile: then false.
pub fn add_certificate(tx: &Transaction<'_>, row: &CertificateRow) -> Result<bool, StoreError> {
    let inserted = tx.execute(
        "insert into certificates
             (serial, workspace, agent, key, not_before, not_after, issued_at)
         select ?1, workspace, id, ?4, ?5, ?6, ?7 from agents
         where workspace = ?2 and id = ?3 and revoked_at is null",
        params![
            row.serial,
            row.workspace,
            row.agent,
            row.key,
            row.not_before,
            row.not_after,
            row.issued_at
        ],
    )?;
    Ok(inserted == 1)
}

/// A certificate that was presented: signed here, which says nothing yet of what became of it.
#[derive(Clone, Debug)]
pub struct Presented {
    pub workspace: String,
    pub agent: String,
    pub serial: String,
    /// SHA-256 of the public key.
    pub key: [u8; 32],
}

/// What is known of a certificate that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Good,
    /// It, its key or its agent.
    Revoked,
    /// No such agent, or not its key.
    Nothing,
}

/// Whether neither this certificate nor its agent is revoked. One that is not known was issued after the
/// backup that this store was restored from: it is as good as another one of the same agent and key.
pub fn known(conn: &Connection, presented: &Presented) -> Result<Known, StoreError> {
    let Presented {
        workspace,
        agent,
        serial,
        key,
    } = presented;
    let mut statement = conn.prepare_cached(
        "select 1 from agents a join certificates c on c.agent = a.id and c.workspace = a.workspace
         where a.workspace = ?1 and a.id = ?2 and a.revoked_at is null and c.revoked_at is null
           and (c.serial = ?3
                or c.key = ?4 and not exists (select 1 from certificates where serial = ?3))",
    )?;
    if statement.exists(params![workspace, agent, serial, key])? {
        return Ok(Known::Good);
    }
    let mut statement = conn.prepare_cached(
        "select 1 from agents a left join certificates c
              on c.agent = a.id and c.workspace = a.workspace and (c.serial = ?3 or c.key = ?4)
         where a.workspace = ?1 and a.id = ?2
           and (a.revoked_at is not null or c.revoked_at is not null)",
    )?;
    let is_revoked = statement.exists(params![workspace, agent, serial, key])?;
    Ok(match is_revoked {
        true => Known::Revoked,
        false => Known::Nothing,
    })
}

/// How an agent's certificates stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the last one ends that is not revoked.
    pub until: i64,
    /// How often its key got one only after the end of the one before.
    pub reissues: u32,
    /// SHA-256 of the public key.
    pub key: [u8; 32],
}

/// An agent of any workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub id: String,
    pub workspace: String,
    pub name: String,
}

impl Owner {
    /// A line of a few of them.
    pub fn text(all: &[Owner]) -> String {
        const SHOWN: usize = 10;
        let names = all.iter().take(SHOWN).map(ToString::to_string);
        let mut text = names.collect::<Vec<_>>().join(", ");
        if all.len() > SHOWN {
            text.push_str(&format!(" and {} more", all.len() - SHOWN));
        }
        text
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.workspace.as_str() {
            super::DEFAULT_WORKSPACE => f.write_str(&self.name),
            workspace => write!(f, "{} (of {workspace})", self.name),
        }
    }
}

/// Agents of all workspaces whose newest certificate is good, but was issued before `since`.
pub fn certified_before(
    conn: &Connection,
    since_ms: i64,
    now_ms: i64,
) -> Result<Vec<Owner>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select a.id, a.workspace, a.name from agents a join certificates c on c.agent = a.id
         where a.revoked_at is null and c.revoked_at is null
         group by a.id, a.workspace, a.name
         having max(c.not_after) > ?2 and max(c.issued_at) < ?1
         order by a.workspace, a.name",
    )?;
    let rows = statement.query_map(params![since_ms, now_ms], owner_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Agents of all workspaces with a certificate that ends after a moment.
pub fn certified_until(conn: &Connection, moment_ms: i64) -> Result<Vec<Owner>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select distinct a.id, a.workspace, a.name from agents a
         join certificates c on c.agent = a.id
         where a.revoked_at is null and c.revoked_at is null and c.not_after > ?1
         order by a.workspace, a.name",
    )?;
    let rows = statement.query_map([moment_ms], owner_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nothing for an agent that holds no certificate.
pub fn standing(
    conn: &Connection,
    workspace: &str,
    agent: &str,
) -> Result<Option<Standing>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select not_after, key from certificates
         where workspace = ?1 and agent = ?2 and revoked_at is null
         order by not_after desc limit 1",
    )?;
    let newest = statement.query_row(params![workspace, agent], |row| {
        Ok((row.get::<i64>(0)?, row.get::<[u8; 32]>(1)?))
    });
    let Some((until, key)) = newest.optional()? else {
        return Ok(None);
    };
    let reissues = count_reissues(conn, &key)?;
    Ok(Some(Standing {
        until,
        reissues,
        key,
    }))
}

/// The certificate of a key that ends last, whatever became of it, for issuing another one.
pub fn newest_certificate_of_key(
    conn: &Connection,
    key: &[u8; 32],
) -> Result<Option<CertificateRow>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select serial, workspace, agent, key, not_before, not_after, issued_at, revoked_at
         from certificates where key = ?1 order by not_after desc limit 1",
    )?;
    Ok(statement
        .query_row([key], certificate_from_row)
        .optional()?)
}

/// Certificates issued for a key since a moment.
pub fn count_issued_since(
    conn: &Connection,
    key: &[u8; 32],
    since_ms: i64,
) -> Result<u32, StoreError> {
    let mut statement = conn
        .prepare_cached("select count(*) from certificates where key = ?1 and issued_at >= ?2")?;
    Ok(statement.query_row(params![key, since_ms], |row| row.get(0))?)
}

/// How often a key got a certificate after the end of all that it had before.
pub fn count_reissues(conn: &Connection, key: &[u8; 32]) -> Result<u32, StoreError> {
    let mut statement = conn.prepare_cached(
        "select count(*) from (
           select issued_at, max(not_after) over (
             order by issued_at rows between unbounded preceding and 1 preceding) as covered_until
           from certificates where key = ?1) as issued
         where covered_until < issued_at",
    )?;
    Ok(statement.query_row([key], |row| row.get(0))?)
}

/// Forgets tokens that expired, and certificates that ran out, before a moment.
pub fn forget_before(tx: &Transaction<'_>, moment_ms: i64) -> Result<(), StoreError> {
    tx.execute(
        "delete from pairing_tokens where expires_at < ?1",
        [moment_ms],
    )?;
    tx.execute("delete from certificates where not_after < ?1", [moment_ms])?;
    Ok(())
}

fn drop_tokens(tx: &Transaction<'_>, workspace: &str, agent: &str) -> Result<(), StoreError> {
    tx.execute(
        "delete from pairing_tokens where workspace = ?1 and agent = ?2",
        params![workspace, agent],
    )?;
    Ok(())
}

fn owner_from_row(row: &Row<'_>) -> sql::Result<Owner> {
    Ok(Owner {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
    })
}

fn agent_from_row(row: &Row<'_>) -> sql::Result<AgentRecord> {
    Ok(AgentRecord {
        id: row.get(0)?,
        workspace: row.get(1)?,
        name: row.get(2)?,
        created_at: row.get(3)?,
        paired_at: row.get(4)?,
        revoked_at: row.get(5)?,
        host: row.get(6)?,
        version: row.get(7)?,
        last_seen_at: row.get(8)?,
    })
}

fn token_from_row(row: &Row<'_>) -> sql::Result<TokenRow> {
    let redeemed_at: Option<i64> = row.get(6)?;
    let redeemed_key: Option<[u8; 32]> = row.get(7)?;
    Ok(TokenRow {
        id: row.get(0)?,
        workspace: row.get(1)?,
        agent: row.get(2)?,
        secret_hash: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        redeemed: redeemed_at.zip(redeemed_key),
    })
}

fn certificate_from_row(row: &Row<'_>) -> sql::Result<CertificateRow> {
    Ok(CertificateRow {
        serial: row.get(0)?,
        workspace: row.get(1)?,
        agent: row.get(2)?,
        key: row.get(3)?,
        not_before: row.get(4)?,
        not_after: row.get(5)?,
        issued_at: row.get(6)?,
        revoked_at: row.get(7)?,
    })
}
