//! The progress row: which batch was written last, under which epoch, and what came of it.
//!
//! It lives beside the data and is updated in the same transaction, so it can't disagree with it.
//! Its row lock is what fences a zombie: whoever locks it with a newer epoch has the last word.

use tidegate_sync::baseline::Fingerprint;
use tidegate_sync::model::{BatchId, Key, Outcome, Side};
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::Connected;
use super::problems::progress_remedy;
use super::slots::Names;
use crate::endpoint::{EndpointError, Recovered};

/// Names one side of one sync: `blog:l`. Both sides may be in one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressName {
    /// The row's key.
    row: String,
    /// What the writing sessions are called, up to the epoch.
    session: String,
    names: Names,
}

/// What the row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub epoch: u32,
    pub batch: BatchId,
    pub outcome: Option<Vec<u8>>,
}

impl ProgressName {
    /// `sync` must be `[a-z0-9_]{1,40}`: it becomes part of statements and slot names.
    pub fn new(sync: &str, side: Side) -> Result<ProgressName, EndpointError> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if sync.is_empty() || sync.len() > 40 || !sync.bytes().all(is_plain) {
            let message = format!("\"{sync}\" is no sync identifier");
            return Err(EndpointError::bug("sync-identifier", message));
        }
        let letter = match side {
            Side::Left => 'l',
            Side::Right => 'r',
        };
        Ok(ProgressName {
            row: format!("{sync}:{letter}"),
            session: format!("tidegate/{sync}/apply-{letter}"),
            names: Names::new(sync, side),
        })
    }

    /// The content of the marker with which each of our transactions begins.
    pub(super) fn marker(&self, batch: BatchId) -> String {
        self.names.marker(batch)
    }

    /// Name of the writing session, by which a later epoch finds lingering ones.
    pub(super) fn application_name(&self, epoch: u32) -> String {
        format!("{}{epoch}", self.session)
    }

    /// Creates schema, table and row where they are missing.
    pub(super) async fn prepare(&self, session: &Connected) -> Result<(), EndpointError> {
        let there = session
            .bounded("look for the progress table", self.table_exists(session))
            .await?;
        if !there {
            create(session).await?;
        }
        Ok(())
    }

    pub(super) async fn table_exists(&self, session: &Connected) -> Result<bool, Error> {
        let sql = "select to_regclass('tidegate.progress') is not null";
        session.query_typed_one(sql, &[]).await?.try_get(0)
    }

    /// The newest batch as this transaction sees it.
    pub(super) async fn batch(&self, session: &Connected) -> Result<BatchId, Error> {
        let sql = "select batch from tidegate.progress where sync = $1";
        let row = session
            .query_typed_opt(sql, &[(&self.row, Type::TEXT)])
            .await?;
        let batch = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
        Ok(BatchId(batch.unwrap_or(0) as u64))
    }

    /// Locks the row until the transaction ends and raises its epoch to `epoch`; the answer's
    /// epoch is greater when somebody newer has been here.
    pub(super) async fn claim(&self, session: &Connected, epoch: u32) -> Result<Progress, Error> {
        let sql = "
            insert into tidegate.progress as p (sync, epoch) values ($1, $2)
            on conflict (sync) do update set epoch = greatest(p.epoch, excluded.epoch)
            returning p.epoch, p.batch, p.outcome";
        let epoch = i64::from(epoch);
        let row = session
            .query_typed_one(sql, &[(&self.row, Type::TEXT), (&epoch, Type::INT8)])
            .await?;
        Ok(Progress {
            epoch: row.try_get::<_, i64>(0)?.try_into().unwrap_or(u32::MAX),
            batch: BatchId(row.try_get::<_, i64>(1)? as u64),
            outcome: row.try_get(2)?,
        })
    }

    pub(super) async fn store(
        &self,
        session: &Connected,
        batch: BatchId,
        outcome: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let sql = "
            update tidegate.progress set batch = $2, outcome = $3, updated_at = now()
            where sync = $1";
        let batch = batch.0 as i64;
        session
            .execute_typed(
                sql,
                &[
                    (&self.row, Type::TEXT),
                    (&batch, Type::INT8),
                    (&outcome, Type::BYTEA),
                ],
            )
            .await
    }

    /// Ends sessions of this writer with this or an older epoch, other than `session`: a network
    /// that lost a client may leave one in its transaction for hours.
    pub(super) async fn end_lingering(
        &self,
        session: &Connected,
        epoch: u32,
    ) -> Result<u64, Error> {
        let sql = "
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and usename = current_user
              and pid <> pg_backend_pid() and starts_with(application_name, $1)
              and substr(application_name, length($1) + 1) ~ '^[0-9]{1,10}$'
              and substr(application_name, length($1) + 1)::bigint <= $2";
        let epoch = i64::from(epoch);
        let ended = session
            .query_typed(sql, &[(&self.session, Type::TEXT), (&epoch, Type::INT8)])
            .await?;
        Ok(ended.len() as u64)
    }

    /// What [`ProgressName::forget`] does, as one statement for a person; the last row takes table
    /// and schema with it.
    pub(super) fn forget_sql(&self) -> String {
        format!(
            "do $$ begin if to_regclass('tidegate.progress') is not null then \
             delete from tidegate.progress where sync = '{}'; \
             if not exists (select from tidegate.progress) then \
             drop table tidegate.progress; drop schema tidegate; end if; end if; end $$",
            self.row
        )
    }

    pub(super) async fn forget(&self, session: &Connected) -> Result<(), Error> {
        if !self.table_exists(session).await? {
            return Ok(());
        }
        let sql = "delete from tidegate.progress where sync = $1";
        session
            .execute_typed(sql, &[(&self.row, Type::TEXT)])
            .await?;
        Ok(())
    }
}

/// Two writers may create it at once: the loser looks again.
async fn create(session: &Connected) -> Result<(), EndpointError> {
    // `create schema if not exists` asks for the right to create even when the schema is there.
    let sql = "
        do $$ begin
            if to_regnamespace('tidegate') is null then create schema tidegate; end if;
        end $$;
        create table if not exists tidegate.progress (
            sync text primary key,
            epoch bigint not null default 0,
            batch bigint not null default 0,
            outcome bytea,
            updated_at timestamptz not null default now()
        );
        comment on table tidegate.progress is 'Which batch each sync wrote last. Keep it.'";
    let Err(error) = session.batch_execute(sql).await else {
        return Ok(());
    };
    match error.as_db_error().map(|db| db.code().code()) {
        Some("42501") => {
            let role = session
                .query_typed_one("select current_user::text", &[])
                .await;
            let role: String = role.and_then(|row| row.try_get(0)).unwrap_or_default();
            let message = format!(
                "role \"{role}\" may not create the table that remembers progress; as an \
                 administrator run: {}",
                progress_remedy(&role)
            );
            Err(EndpointError::operator("no-progress-schema", message))
        }
        Some("23505" | "42P06" | "42P07") => Err(EndpointError::retry(
            "progress-race",
            "another writer creates it now",
        )),
        _ => Err(super::sqlstate::endpoint_error(
            "create the progress table",
            error,
        )),
    }
}

/// Outcomes as the progress row keeps them: per step a tag, and for what was written the key and
/// the fields' fingerprints. No value but the key is in it.
pub(super) fn encode(
    outcomes: &[Outcome],
    fingerprints: impl Fn(&Outcome) -> Vec<Fingerprint>,
) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    for outcome in outcomes {
        match outcome {
            Outcome::Written(stored, _) => {
                bytes.push(b'w');
                let key = stored.key.to_bytes();
                bytes.extend_from_slice(&(key.len() as u32).to_be_bytes());
                bytes.extend_from_slice(&key);
                let fingerprints = fingerprints(outcome);
                bytes.extend_from_slice(&(fingerprints.len() as u32).to_be_bytes());
                for fingerprint in fingerprints {
                    bytes.extend_from_slice(&fingerprint.0.to_be_bytes());
                }
            }
            Outcome::Deleted(_) => bytes.push(b'd'),
            _ => bytes.push(b'n'),
        }
    }
    bytes
}

/// The inverse of [`encode`]; `None` for bytes that it did not make.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Recovered>> {
    let (format, mut rest) = bytes.split_first()?;
    if *format != FORMAT {
        return None;
    }
    let mut recovered = Vec::new();
    while let Some((tag, tail)) = rest.split_first() {
        rest = tail;
        recovered.push(match tag {
            b'w' => {
                let length = take_u32(&mut rest)?;
                let (key, tail) = rest.split_at_checked(length)?;
                rest = tail;
                let count = take_u32(&mut rest)?;
                let (packed, tail) = rest.split_at_checked(count.checked_mul(8)?)?;
                rest = tail;
                let fingerprints = packed
                    .chunks_exact(8)
                    .map(|eight| eight.try_into().map(u64::from_be_bytes).map(Fingerprint))
                    .collect::<Result<_, _>>()
                    .ok()?;
                Recovered::Written {
                    key: Key::from_bytes(key)?,
                    fingerprints,
                }
            }
            b'd' => Recovered::Deleted,
            b'n' => Recovered::NotDone,
            _ => return None,
        });
    }
    Some(recovered)
}

fn take_u32(bytes: &mut &[u8]) -> Option<usize> {
    let (four, rest) = bytes.split_at_checked(4)?;
    *bytes = rest;
    Some(u32::from_be_bytes(four.try_into().ok()?) as usize)
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use tidegate_sync::model::{FindingCode, Stored};

    use super::*;

    #[test]
    fn outcomes_round_trip_and_garbage_is_refused() {
        let stored = Stored::whole(Key(vec!["1".into(), "ü".into()]), Vec::new());
        let written = Outcome::Written(stored, Vec::new());
        let rejected = Outcome::Rejected {
            code: FindingCode::CheckViolation,
            detail: String::new(),
        };
        let outcomes = [written, Outcome::Deleted(Vec::new()), rejected];
        let bytes = encode(&outcomes, |_| vec![Fingerprint(7), Fingerprint::UNKNOWN]);
        let expected = vec![
            Recovered::Written {
                key: Key(vec!["1".into(), "ü".into()]),
                fingerprints: vec![Fingerprint(7), Fingerprint::UNKNOWN],
            },
            Recovered::Deleted,
            Recovered::NotDone,
        ];
        assert_eq!(decode(&bytes), Some(expected));
        for cut in 1..bytes.len() - 2 {
            assert_ne!(decode(&bytes[..cut]).map(|r| r.len()), Some(3));
        }
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"\x01w\xff\xff\xff\xff"), None);
    }

    #[test]
    fn names_are_checked_and_tell_the_sides_apart() {
        let left = ProgressName::new("blog_1", Side::Left).unwrap();
        assert_eq!(left.marker(BatchId(42)), "blog_1:l:42");
        assert_eq!(left.application_name(17), "tidegate/blog_1/apply-l17");
        assert!(ProgressName::new("a'b", Side::Left).is_err());
        assert!(ProgressName::new("", Side::Left).is_err());
    }
}
