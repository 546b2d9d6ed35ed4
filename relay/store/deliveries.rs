//! Deliveries: the outbox of notifications. A message to one channel is here before it is sent, and until
//! it has arrived or is given up; so it is sent at least once, whatever ends meanwhile.

use super::StoreError;
use super::matters::{self, NewsRecord};
use super::sql::{self, Connection, OptionalExtension, Row, Transaction, params};

const COLUMNS: &str =
    "id, message, body, state, attempts, next_at, last_error, created_at, ended_at";

/// Ended deliveries that are kept of each channel, for people's eyes.
const KEPT_MAX: i64 = 200;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Delivered,
    GivenUp,
}

impl State {
    /// As stored, and as in the API.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Delivered => "delivered",
            State::GivenUp => "given-up",
        }
    }
}

/// A message to one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    pub id: i64,
    /// The same at each attempt.
    pub message: String,
    pub body: String,
    pub state: State,
    /// Those that failed.
    pub attempts: u32,
    pub next_at_ms: i64,
    pub last_error: Option<String>,
    pub created_at_ms: i64,
    pub ended_at_ms: Option<i64>,
}

/// How a channel's deliveries stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub delivered_at_ms: Option<i64>,
    /// Of the last one, if it has not arrived (yet).
    pub last_error: Option<String>,
    pub failed_attempts: u32,
    /// When the last one was made.
    pub made_at_ms: Option<i64>,
    /// Made since a moment that the caller named.
    pub made_since: u64,
}

/// Makes a message of what a channel was not told of, which `compose` may find to be nothing, and puts it
/// into the outbox; at most of so many news. Forgets ended ones that are too many.
pub fn make(
    tx: &Transaction<'_>,
    channel: i64,
    news_max: u32,
    now_ms: i64,
    compose: impl FnOnce(Vec<NewsRecord>) -> Option<(String, String)>,
) -> Result<Option<DeliveryRecord>, StoreError> {
    let news = matters::untold(tx, channel, news_max)?;
    let Some(upto) = news.last().map(|news| news.id) else {
        return Ok(None);
    };
    matters::note_told(tx, channel, upto)?;
    let Some((message, body)) = compose(news) else {
        return Ok(None);
    };
    tx.execute(
        "insert into deliveries (message, channel, body, next_at, created_at)
         values (?1, ?2, ?3, ?4, ?4)",
        params![message, channel, body, now_ms],
    )?;
    tx.execute(
        "delete from deliveries where channel = ?1 and state <> 'pending' and id <=
             (select max(id) from deliveries where channel = ?1) - ?2",
        params![channel, KEPT_MAX],
    )?;
    pending(tx, channel)
}

/// The message that a channel waits for: the oldest, where some were given up and are sent again.
pub fn pending(conn: &Connection, channel: i64) -> Result<Option<DeliveryRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from deliveries where channel = ?1 and state = 'pending'
         order by id limit 1"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    Ok(statement.query_row([channel], from_row).optional()?)
}

/// Takes a message of a channel that was given up into the outbox again; `None` if it was not given up.
pub fn resend(
    tx: &Transaction<'_>,
    channel: i64,
    id: i64,
    now_ms: i64,
) -> Result<Option<DeliveryRecord>, StoreError> {
    let changed = tx.execute(
        "update deliveries set state = 'pending', attempts = 0, next_at = ?3, ended_at = null
         where channel = ?1 and id = ?2 and state = 'given-up'",
        params![channel, id, now_ms],
    )?;
    let sql = format!("select {COLUMNS} from deliveries where channel = ?1 and id = ?2");
    let found = tx.query_row(&sql, [channel, id], from_row).optional()?;
    let found = found.ok_or_else(|| StoreError::not_found("delivery", id))?;
    Ok((changed > 0).then_some(found))
}

/// It has arrived.
pub fn note_delivered(tx: &Transaction<'_>, id: i64, now_ms: i64) -> Result<(), StoreError> {
    let sql = "update deliveries set state = 'delivered', ended_at = ?2 where id = ?1";
    tx.execute(sql, params![id, now_ms])?;
    Ok(())
}

/// An attempt failed. `next_at_ms`: when to try again; `None` gives it up.
pub fn note_failed(
    tx: &Transaction<'_>,
    id: i64,
    error: &str,
    next_at_ms: Option<i64>,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "update deliveries set attempts = attempts + 1, last_error = ?2,
             next_at = coalesce(?3, next_at),
             state = case when ?3 is null then 'given-up' else state end,
             ended_at = case when ?3 is null then ?4 end
         where id = ?1",
        params![id, error, next_at_ms, now_ms],
    )?;
    Ok(())
}

/// Deliveries to a channel, the newest first, with numbers below `before`.
pub fn list(
    conn: &Connection,
    channel: i64,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from deliveries where channel = ?1 and id < ?2 order by id desc limit ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let values = params![channel, before.unwrap_or(i64::MAX), limit];
    let rows = statement.query_map(values, from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How a channel stands, and how many messages were made for it since a moment.
pub fn standing(conn: &Connection, channel: i64, since_ms: i64) -> Result<Standing, StoreError> {
    let mut statement = conn.prepare_cached(
        "select max(ended_at) filter (where state = 'delivered'), max(created_at),
             count(*) filter (where created_at > ?2) from deliveries where channel = ?1",
    )?;
    let mut standing = statement.query_row(params![channel, since_ms], |row| {
        Ok(Standing {
            delivered_at_ms: row.get(0)?,
            made_at_ms: row.get(1)?,
            made_since: row.get::<i64>(2)?.max(0) as u64,
            ..Standing::default()
        })
    })?;
    let last = list(conn, channel, None, 1)?.pop();
    if let Some(last) = last.filter(|last| last.state != State::Delivered) {
        standing.last_error = last.last_error;
        standing.failed_attempts = last.attempts;
    }
    Ok(standing)
}

fn from_row(row: &Row<'_>) -> sql::Result<DeliveryRecord> {
    let state: String = row.get(3)?;
    Ok(DeliveryRecord {
        id: row.get(0)?,
        message: row.get(1)?,
        body: row.get(2)?,
        state: match state.as_str() {
            "delivered" => State::Delivered,
            "given-up" => State::GivenUp,
            _ => State::Pending,
        },
        attempts: row.get(4)?,
        next_at_ms: row.get(5)?,
        last_error: row.get(6)?,
        created_at_ms: row.get(7)?,
        ended_at_ms: row.get(8)?,
    })
}
