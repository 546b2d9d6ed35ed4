//! Matters: what is wrong at present and has been told, so that it is told once, also by a relay that was
//! started anew meanwhile; and the news by which it is told, in order.

use super::StoreError;
use super::sql::{self, Connection, Row, Transaction, params};

/// News are kept this long, milliseconds: a channel that is told nothing for longer begins with the present.
pub const NEWS_KEPT_MS: i64 = 7 * 24 * 3600 * 1000;

/// Something that is the matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatterRecord {
    pub workspace: String,
    /// Name of the kind of event.
    pub event: String,
    /// What it is about, as JSON.
    pub subject: String,
    pub since_ms: i64,
}

/// That something began, or is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewsRecord {
    pub id: i64,
    pub event: String,
    pub subject: String,
    /// For people.
    pub detail: String,
    pub is_over: bool,
    pub since_ms: i64,
    pub at_ms: i64,
}

/// Everything that is the matter, of all workspaces.
pub fn all(conn: &Connection) -> Result<Vec<MatterRecord>, StoreError> {
    let sql = "select workspace, event, subject, since from matters";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map((), |row| {
        Ok(MatterRecord {
            workspace: row.get(0)?,
            event: row.get(1)?,
            subject: row.get(2)?,
            since_ms: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Something is the matter from now on, and is told. Nothing where that is known.
pub fn begin(
    tx: &Transaction<'_>,
    matter: &MatterRecord,
    detail: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let MatterRecord {
        workspace,
        event,
        subject,
        since_ms,
    } = matter;
    let is_known = "select 1 from matters where workspace = ?1 and event = ?2 and subject = ?3";
    if tx
        .prepare_cached(is_known)?
        .exists([workspace, event, subject])?
    {
        return Ok(());
    }
    let news = tx.insert(
        "insert into news (workspace, event, subject, detail, is_over, since, at, begun)
         values (?1, ?2, ?3, ?4, 0, ?5, ?6, 0)",
        params![workspace, event, subject, detail, since_ms, now_ms],
    )?;
    tx.execute("update news set begun = id where id = ?1", [news])?;
    tx.execute(
        "insert into matters (workspace, event, subject, since, news) values (?1, ?2, ?3, ?4, ?5)",
        params![workspace, event, subject, since_ms, news],
    )?;
    Ok(())
}

/// It is over, and that is told.
pub fn end(
    tx: &Transaction<'_>,
    matter: &MatterRecord,
    detail: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let MatterRecord {
        workspace,
        event,
        subject,
        ..
    } = matter;
    tx.execute(
        "insert into news (workspace, event, subject, detail, is_over, since, at, begun)
         select workspace, event, subject, ?4, 1, since, ?5, news from matters
         where workspace = ?1 and event = ?2 and subject = ?3",
        params![workspace, event, subject, detail, now_ms],
    )?;
    tx.execute(
        "delete from matters where workspace = ?1 and event = ?2 and subject = ?3",
        [workspace, event, subject],
    )?;
    Ok(())
}

/// Forgets what is the matter in workspaces that nobody is told of: it is told anew when somebody is.
pub fn forget_untold(tx: &Transaction<'_>) -> Result<usize, StoreError> {
    let sql = "delete from matters where workspace not in
                   (select workspace from channels where enabled = 1)";
    Ok(tx.execute(sql, ())?)
}

/// Forgets news that are too old.
pub fn forget_news(tx: &Transaction<'_>, now_ms: i64) -> Result<usize, StoreError> {
    let sql = "delete from news where at < ?1";
    Ok(tx.execute(sql, [now_ms - NEWS_KEPT_MS])?)
}

/// News that a channel was not told of, the oldest first; not the end of what began before it was added.
pub fn untold(conn: &Connection, channel: i64, limit: u32) -> Result<Vec<NewsRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "select n.id, n.event, n.subject, n.detail, n.is_over, n.since, n.at
         from news n join channels c on c.workspace = n.workspace
         where c.id = ?1 and n.id > c.told_to and n.begun > c.added_at_news
         order by n.id limit ?2",
    )?;
    let rows = statement.query_map(params![channel, limit], news_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A channel was told of all up to this one, or does not want them.
pub fn note_told(tx: &Transaction<'_>, channel: i64, news: i64) -> Result<(), StoreError> {
    let sql = "update channels set told_to = ?2 where id = ?1 and told_to < ?2";
    tx.execute(sql, params![channel, news])?;
    Ok(())
}

fn news_from_row(row: &Row<'_>) -> sql::Result<NewsRecord> {
    Ok(NewsRecord {
        id: row.get(0)?,
        event: row.get(1)?,
        subject: row.get(2)?,
        detail: row.get(3)?,
        is_over: row.get(4)?,
        since_ms: row.get(5)?,
        at_ms: row.get(6)?,
    })
}
