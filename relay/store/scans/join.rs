//! Joins a finished scan with the links, and what is left by match key.
//!
//! Decided completely before the first record is planned, so that the preview and the start see the
//! same matches however the links change meanwhile. Set operations and sorts are SQLite's, on disk;
//! memory is two bits for each scanned record.

use std::collections::HashMap;

use tidegate_sync::model::{FindingCode, PairId, Side};

use super::super::StoreError;
use super::super::keys::side_of;
use super::super::sql::{self, Connection, OptionalExtension, params};
use super::super::syncs::SyncId;

/// Which links are joined with what was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    All,
    /// Those whose keys name a record that was added.
    Named,
}

/// Joins what was added of these pairs; of all for `None`. Fills `matches`. `link_pair` tells the
/// number under which a pair's links are stored, if it has any.
pub(super) fn run(
    conn: &Connection,
    sync: SyncId,
    (only, which): (Option<&[PairId]>, Links),
    link_pair: impl Fn(i64) -> Option<i64>,
) -> Result<(), StoreError> {
    index_rows(conn)?;
    let tx = conn.begin("begin")?;
    tx.execute_batch(
        "create table found (
             seq       integer primary key,
             pair      integer not null,
             link      integer,
             left_row  integer,
             right_row integer,
             problem   integer
         ) strict;",
    )?;
    let all = match only {
        Some(pairs) => pairs.iter().map(|pair| i64::from(pair.0)).collect(),
        None => all_pairs(&tx, sync)?,
    };
    for pair in all {
        if let Some(links) = link_pair(pair) {
            join_links(&tx, sync, (pair, links), which)?;
        }
        let mut linked = Linked::load(&tx, pair)?;
        if linked.is_shared {
            leave_to_last_links(&tx, pair)?;
            linked = Linked::load(&tx, pair)?;
        }
        report_null_keys(&tx, pair, &linked)?;
        join_unlinked(&tx, pair, &linked)?;
    }
    order_matches(&tx)?;
    Ok(tx.commit()?)
}

/// The code that a stored problem number means.
pub(super) fn problem_of(number: i64) -> FindingCode {
    match number {
        NULL_KEY => FindingCode::NullMatchKey,
        TAKEN => FindingCode::MatchKeyTaken,
        _ => FindingCode::DuplicateMatchKey,
    }
}

const DUPLICATE: i64 = 0;
const NULL_KEY: i64 = 1;
const TAKEN: i64 = 2;

fn index_rows(conn: &Connection) -> Result<(), StoreError> {
    let by_key = "create unique index rows_key on rows (pair, side, key_hash)";
    if let Err(error) = conn.execute_batch(by_key) {
        if !error.is_unique_violation() {
            return Err(error.into());
        }
        // An app whose pages shifted reported a record twice: the later report is the newer one.
        conn.execute_batch(
            "delete from rows
             where id not in (select max(id) from rows group by pair, side, key_hash)",
        )?;
        conn.execute_batch(by_key)?;
    }
    conn.execute_batch("create index rows_match on rows (pair, match_hash, side)")?;
    Ok(())
}

/// The pairs that have records or may have links.
fn all_pairs(conn: &Connection, sync: SyncId) -> Result<Vec<i64>, StoreError> {
    let scanned: Vec<i64> = column(conn, "select distinct pair from rows", ())?;
    let linked: Vec<i64> = column(
        conn,
        "select pair from ledger.pairs where sync = ?1",
        [sync.0],
    )?;
    let mut all: Vec<i64> = scanned.into_iter().chain(linked).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Each link with the records that its keys name now.
fn join_links(
    conn: &Connection,
    sync: SyncId,
    (pair, number): (i64, i64),
    which: Links,
) -> Result<(), StoreError> {
    let links = match which {
        Links::All => "ledger.links",
        Links::Named if are_indexed(conn, sync)? => {
            "(select n.* from (
                 select distinct i.link as id from rows x
                 join ledger.link_keys i on i.sync = ?1 and i.pair = ?3
                     and i.side = x.side and i.key_hash = x.key_hash
                 where x.pair = ?2
             ) named join ledger.links n on n.id = named.id)"
        }
        Links::Named => {
            "(select n.* from ledger.links n where n.sync = ?1 and n.pair = ?3 and exists (
                 select 1 from rows x where x.pair = ?2 and (
                     x.side = 0 and x.key_hash = n.left_hash
                     or x.side = 1 and x.key_hash = n.right_hash)))"
        }
    };
    conn.execute(
        &format!(
            "insert into found (pair, link, left_row, right_row)
             select ?2, k.id, l.id, r.id
             from {links} k
             left join rows l on l.pair = ?2 and l.side = 0 and l.key_hash = k.left_hash
             left join rows r on r.pair = ?2 and r.side = 1 and r.key_hash = k.right_hash
             where k.sync = ?1 and k.pair = ?3"
        ),
        params![sync.0, pair, number],
    )?;
    Ok(())
}

/// True when every link is found by its keys: not in the middle of a copy.
fn are_indexed(conn: &Connection, sync: SyncId) -> Result<bool, StoreError> {
    let indexed = conn.query_row(
        "select live or links_indexed_to >=
             coalesce((select max(id) from ledger.links where sync = ?1), 0)
         from ledger.syncs where id = ?1",
        [sync.0],
        |row| row.get(0),
    );
    Ok(indexed.optional()?.unwrap_or(false))
}

/// A record that several links name belongs to the one that got its key last: the others' records
/// are gone.
fn leave_to_last_links(conn: &Connection, pair: i64) -> Result<(), StoreError> {
    for (row, since) in [("left_row", "left_since"), ("right_row", "right_since")] {
        conn.execute(
            &format!(
                "update found set {row} = null where pair = ?1 and seq in (
                     select seq from (
                         select f.seq, row_number() over (
                             partition by f.{row} order by k.{since} desc) as newness
                         from found f join ledger.links k on k.id = f.link
                         where f.pair = ?1 and f.{row} is not null
                     ) where newness > 1
                 )"
            ),
            [pair],
        )?;
    }
    Ok(())
}

/// Which scanned records have a link.
struct Linked {
    rows: Vec<u64>,
    /// Some record has more than one.
    is_shared: bool,
    /// Records whose link has nothing on the other side, by row; the value is the place in `found`.
    lonely: HashMap<i64, i64>,
}

impl Linked {
    fn load(conn: &Connection, pair: i64) -> Result<Self, StoreError> {
        let last: Option<i64> = conn
            .query_row("select max(id) from rows", (), |row| row.get(0))
            .optional()?
            .flatten();
        let words = usize::try_from(last.unwrap_or(0)).unwrap_or(0) / 64 + 1;
        let mut linked = Self {
            rows: vec![0; words],
            is_shared: false,
            lonely: HashMap::new(),
        };
        let mut statement =
            conn.prepare_cached("select seq, left_row, right_row from found where pair = ?1")?;
        let mut rows = statement.query([pair])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            match (row.get(1)?, row.get(2)?) {
                (Some(left), Some(right)) => {
                    linked.add(left);
                    linked.add(right);
                }
                (Some(row), None) | (None, Some(row)) => {
                    linked.add(row);
                    linked.lonely.insert(row, seq);
                }
                (None, None) => {}
            }
        }
        Ok(linked)
    }

    fn add(&mut self, row: i64) {
        self.is_shared |= self.contains(row);
        if let Some(word) = self.rows.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }

    fn contains(&self, row: i64) -> bool {
        let word = self.rows.get(row as usize / 64);
        word.is_some_and(|word| word & (1 << (row % 64)) != 0)
    }
}

/// Unlinked records without a match key can't be matched.
fn report_null_keys(conn: &Connection, pair: i64, linked: &Linked) -> Result<(), StoreError> {
    let mut statement =
        conn.prepare_cached("select id, side from rows where pair = ?1 and match_hash is null")?;
    let mut rows = statement.query([pair])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if !linked.contains(id) {
            let side = side_of(row.get(1)?, "scans.side")?;
            put(conn, pair, &Verdict::Problem(side, id, NULL_KEY))?;
        }
    }
    Ok(())
}

/// Goes through the records by match key, all with the same one together.
fn join_unlinked(conn: &Connection, pair: i64, linked: &Linked) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(
        "select id, side, match_hash from rows
         where pair = ?1 and match_hash is not null order by match_hash, side, id",
    )?;
    let mut rows = statement.query([pair])?;
    let mut current = [0u8; 16];
    let mut group: Vec<Member> = Vec::new();
    let mut verdicts = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let hash: [u8; 16] = row.get(2)?;
        if hash != current {
            classify(&group, &mut verdicts);
            group.clear();
            current = hash;
        }
        group.push(Member {
            row: id,
            side: side_of(row.get(1)?, "scans.side")?,
            linked: linked.contains(id),
            lonely: linked.lonely.get(&id).copied(),
        });
        for verdict in verdicts.drain(..) {
            put(conn, pair, &verdict)?;
        }
    }
    classify(&group, &mut verdicts);
    for verdict in verdicts {
        put(conn, pair, &verdict)?;
    }
    Ok(())
}

/// One of the records that share a match key.
#[derive(Clone, Copy, Debug)]
struct Member {
    row: i64,
    side: Side,
    linked: bool,
    /// Its link has nothing on the other side.
    lonely: Option<i64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Matched with each other.
    Pair(i64, i64),
    Alone(Side, i64),
    Problem(Side, i64, i64),
    /// Takes the empty place on its side in the link at this place in `found`.
    Joins(Side, i64, i64),
}

/// Decides about the unlinked ones among the records that share a match key. Never guesses: where
/// either side has two with the same key, nobody is matched.
fn classify(group: &[Member], out: &mut Vec<Verdict>) {
    if group.iter().all(|member| member.linked) {
        return;
    }
    let of_side = |side: Side| group.iter().filter(move |member| member.side == side);
    if of_side(Side::Left).count() > 1 || of_side(Side::Right).count() > 1 {
        let unlinked = group.iter().filter(|member| !member.linked);
        out.extend(unlinked.map(|m| Verdict::Problem(m.side, m.row, DUPLICATE)));
        return;
    }
    let left = of_side(Side::Left).next();
    let right = of_side(Side::Right).next();
    match (left, right) {
        (Some(left), Some(right)) if !left.linked && !right.linked => {
            out.push(Verdict::Pair(left.row, right.row));
        }
        (Some(new), Some(old)) | (Some(old), Some(new)) if old.linked && !new.linked => {
            out.push(match old.lonely {
                Some(seq) => Verdict::Joins(new.side, new.row, seq),
                None => Verdict::Problem(new.side, new.row, TAKEN),
            });
        }
        (Some(alone), None) | (None, Some(alone)) => {
            out.push(Verdict::Alone(alone.side, alone.row));
        }
        _ => {}
    }
}

fn put(conn: &Connection, pair: i64, verdict: &Verdict) -> Result<(), StoreError> {
    let on = |side: Side, row: i64| match side {
        Side::Left => (Some(row), None),
        Side::Right => (None, Some(row)),
    };
    let ((left, right), problem) = match verdict {
        Verdict::Pair(left, right) => ((Some(*left), Some(*right)), None),
        Verdict::Alone(side, row) => (on(*side, *row), None),
        Verdict::Problem(side, row, problem) => (on(*side, *row), Some(*problem)),
        Verdict::Joins(side, row, seq) => {
            let (left, right) = on(*side, *row);
            let mut statement = conn.prepare_cached(
                "update found set left_row = coalesce(?2, left_row),
                     right_row = coalesce(?3, right_row) where seq = ?1",
            )?;
            statement.execute(params![seq, left, right])?;
            return Ok(());
        }
    };
    let mut statement = conn.prepare_cached(
        "insert into found (pair, left_row, right_row, problem) values (?1, ?2, ?3, ?4)",
    )?;
    statement.execute(params![pair, left, right, problem])?;
    Ok(())
}

/// In the order in which the records were scanned: reading their values goes through the tables
/// front to back. Links without any record come first.
fn order_matches(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(
        "create table matches (
             pair      integer not null,
             at        integer not null,
             link      integer,
             left_row  integer,
             right_row integer,
             problem   integer,
             primary key (pair, at)
         ) strict, without rowid;
         insert into matches
         select pair, coalesce(left_row, right_row, -link), link, left_row, right_row, problem
         from found order by 1, 2;
         drop table found;",
    )?;
    Ok(())
}

fn column(conn: &Connection, sql: &str, params: impl sql::Params) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(row: i64, side: Side, linked: bool, lonely: Option<i64>) -> Member {
        Member {
            row,
            side,
            linked,
            lonely,
        }
    }

    fn check(group: &[Member], expected: &[Verdict]) {
        let mut verdicts = Vec::new();
        classify(group, &mut verdicts);
        assert_eq!(verdicts, expected);
    }

    use Side::{Left, Right};
    use Verdict::{Alone, Joins, Pair, Problem};

    #[test]
    fn one_on_each_side_is_matched() {
        let group = [member(1, Left, false, None), member(2, Right, false, None)];
        check(&group, &[Pair(1, 2)]);
    }

    #[test]
    fn one_on_one_side_is_alone() {
        check(&[member(1, Left, false, None)], &[Alone(Left, 1)]);
        check(&[member(1, Right, false, None)], &[Alone(Right, 1)]);
    }

    #[test]
    fn two_on_one_side_match_nobody() {
        let group = [
            member(1, Left, false, None),
            member(2, Left, false, None),
            member(3, Right, false, None),
        ];
        let all = [
            Problem(Left, 1, DUPLICATE),
            Problem(Left, 2, DUPLICATE),
            Problem(Right, 3, DUPLICATE),
        ];
        check(&group, &all);
    }

    #[test]
    fn a_copy_of_a_linked_record_is_a_duplicate() {
        let group = [
            member(1, Left, true, None),
            member(2, Left, false, None),
            member(3, Right, true, None),
        ];
        check(&group, &[Problem(Left, 2, DUPLICATE)]);
    }

    #[test]
    fn a_record_that_is_linked_elsewhere_is_taken() {
        let group = [member(1, Left, false, None), member(2, Right, true, None)];
        check(&group, &[Problem(Left, 1, TAKEN)]);
        let group = [member(1, Left, true, None), member(2, Right, false, None)];
        check(&group, &[Problem(Right, 2, TAKEN)]);
    }

    #[test]
    fn a_rekeyed_record_takes_its_place_in_the_link() {
        let group = [
            member(1, Left, false, None),
            member(2, Right, true, Some(7)),
        ];
        check(&group, &[Joins(Left, 1, 7)]);
    }

    #[test]
    fn linked_records_need_no_decision() {
        let group = [member(1, Left, true, None), member(2, Right, true, None)];
        check(&group, &[]);
    }
}
