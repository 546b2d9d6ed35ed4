//! Writes what passed the guard: grouped into few statements, and when a record is refused,
//! narrowed down until exactly the bad ones are left out.
//!
//! Order within a batch: creates with parents first, then updates, then deletes with children
//! first. Called by [`super::apply`] within its transaction.

use std::collections::HashMap;

use futures_util::future::{join, join_all, join4};
use tidegate_sync::model::{Before, FindingCode, Outcome};
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::connect::Connected;
use super::guard::{Fields, GuardError, Write, WriteKind};
use super::reading::{Arrays, key_arrays, place, query, stored};
use super::shape::Shape;
use super::sqlstate::{endpoint_error, is_collision, refusal};
use super::statements;
use super::swap;
use crate::endpoint::EndpointError;

/// Why writing stopped.
pub(super) enum Failure {
    /// The side refuses at least one record among those written.
    Refused(FindingCode, String),
    /// Another transaction was in the way and this one is undone: try again.
    Collision(EndpointError),
    Other(EndpointError),
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Failure::Other(error)
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Query(error) => Failure::of_ours("read a batch's records", error),
            GuardError::Other(error) => Failure::Other(error),
        }
    }
}

impl Failure {
    /// Of a statement that writes records, or of the commit that checks them.
    pub(super) fn of(doing: &str, error: Error) -> Failure {
        if let Some((code, detail)) = error.as_db_error().and_then(refusal) {
            return Failure::Refused(code, detail);
        }
        Failure::of_ours(doing, error)
    }

    /// Of a statement that concerns no single record.
    pub(super) fn of_ours(doing: &str, error: Error) -> Failure {
        if error.as_db_error().is_some_and(is_collision) {
            return Failure::Collision(endpoint_error(doing, error));
        }
        Failure::Other(endpoint_error(doing, error))
    }

    pub(super) fn into_error(self) -> EndpointError {
        match self {
            Failure::Refused(code, detail) => {
                let message = format!("the batch is refused: {} ({detail})", code.name());
                EndpointError::operator("batch-refused", message)
            }
            Failure::Collision(error) | Failure::Other(error) => error,
        }
    }
}

pub(super) type Outcomes = Vec<(usize, Outcome)>;

/// A write that was refused, and why.
type Refusal = (Write, FindingCode, String);

/// The writer's tables, and for each its place in an order with parents first.
pub(super) struct Tables<'a> {
    pub shapes: &'a [Shape],
    pub ranks: &'a [usize],
}

/// One statement and the writes that it carries, in the order of its arrays.
struct Statement<'w> {
    table: usize,
    writes: Vec<&'w Write>,
    sql: String,
    arrays: Arrays<'w>,
}

impl Tables<'_> {
    /// Sorts writes into the order in which they are executed.
    pub(super) fn sort(&self, writes: &mut [Write]) {
        writes.sort_by_key(|write| {
            let rank = self.ranks[write.table] as i64;
            match write.kind {
                WriteKind::Create { .. } => (0, rank),
                WriteKind::Update { .. } => (1, rank),
                WriteKind::Delete { .. } => (2, -rank),
            }
        });
    }

    /// Executes sorted writes, all or none. One round trip.
    pub(super) async fn execute(
        &self,
        session: &Connected,
        writes: &[Write],
    ) -> Result<Outcomes, Failure> {
        let clearing = self.clearing(writes)?;
        let statements = self.statements(writes)?;
        let cleared = clearing
            .iter()
            .map(|(sql, arrays)| query(session, sql, arrays));
        let answers = statements
            .iter()
            .map(|statement| query(session, &statement.sql, &statement.arrays));
        let (cleared, answers) = join(join_all(cleared), join_all(answers)).await;
        for rows in cleared {
            rows.map_err(|error| Failure::of("write a batch", error))?;
        }
        let mut outcomes = Vec::with_capacity(writes.len());
        for (statement, rows) in statements.iter().zip(answers) {
            // The first failure is the cause; those after it only say "transaction is aborted".
            let rows = rows.map_err(|error| Failure::of("write a batch", error))?;
            self.read_back(statement, &rows, &mut outcomes)?;
        }
        self.link(session, writes, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// Executes sorted writes in savepoints, halving what is refused until single records are left.
    /// Those refused for the sake of another record (unique, foreign key) are tried again after
    /// the rest, as long as that helps.
    pub(super) async fn sift(
        &self,
        session: &Connected,
        writes: Vec<Write>,
    ) -> Result<Outcomes, Failure> {
        let patience = Instant::now() + limits::SIFT;
        let mut savepoint = Savepoint::None;
        let mut outcomes = Vec::new();
        let mut pending = writes;
        loop {
            let (done, refused) = self
                .sift_once(session, pending, &mut savepoint, patience)
                .await?;
            let mut progressed = !done.is_empty();
            outcomes.extend(done);
            let mut refused = refused;
            if !progressed {
                let swapped = self.untangle(session, &mut refused, &mut savepoint).await?;
                progressed = !swapped.is_empty();
                outcomes.extend(swapped);
            }
            let (again, finally): (Vec<_>, Vec<_>) = refused
                .into_iter()
                .partition(|(_, code, _)| progressed && may_heal(*code));
            outcomes.extend(
                finally
                    .into_iter()
                    .map(|(write, code, detail)| (write.step, Outcome::Rejected { code, detail })),
            );
            if again.is_empty() {
                break;
            }
            pending = again.into_iter().map(|(write, ..)| write).collect();
        }
        // The last part may be the refused one.
        session
            .batch_execute(savepoint.close())
            .await
            .map_err(|error| Failure::of_ours("undo a refused write", error))?;
        Ok(outcomes)
    }

    async fn sift_once(
        &self,
        session: &Connected,
        writes: Vec<Write>,
        savepoint: &mut Savepoint,
        patience: Instant,
    ) -> Result<(Outcomes, Vec<Refusal>), Failure> {
        let mut outcomes = Vec::new();
        let mut refused = Vec::new();
        let mut stack = vec![writes];
        while let Some(mut part) = stack.pop() {
            if part.is_empty() {
                continue;
            }
            let (code, detail) = match self
                .execute_in_savepoint(session, &[], &part, savepoint)
                .await
            {
                Ok(done) => {
                    outcomes.extend(done);
                    continue;
                }
                Err(Failure::Refused(code, detail)) => (code, detail),
                Err(other) => return Err(other),
            };
            if part.len() == 1 {
                refused.extend(part.pop().map(|write| (write, code, detail)));
            } else if Instant::now() < patience {
                let second = part.split_off(part.len() / 2);
                stack.push(second);
                stack.push(part);
            } else {
                let count = part.len();
                let detail = format!("{detail}; one of {count} records, not narrowed down in time");
                refused.extend(part.into_iter().map(|write| (write, code, detail.clone())));
            }
        }
        Ok((outcomes, refused))
    }

    /// Writes updates that only make room for one another, and takes them out of `refused`.
    async fn untangle(
        &self,
        session: &Connected,
        refused: &mut Vec<Refusal>,
        savepoint: &mut Savepoint,
    ) -> Result<Outcomes, Failure> {
        let doing = "undo a refused write";
        let closed = session.batch_execute(savepoint.close()).await;
        closed.map_err(|error| Failure::of_ours(doing, error))?;
        *savepoint = Savepoint::None;
        let mut outcomes = Vec::new();
        for (table, shape) in self.shapes.iter().enumerate() {
            let may_swap = |(write, code, _): &&Refusal| {
                write.table == table && swap::may_swap(shape, write, *code)
            };
            let writes = refused.iter().filter(may_swap).map(|(write, ..)| write);
            let writes: Vec<Write> = writes.cloned().collect();
            if writes.len() < 2 {
                continue;
            }
            for circle in swap::circles(session, shape, &writes).await? {
                let members = circle.members.iter().map(|member| writes[*member].clone());
                let members: Vec<Write> = members.collect();
                let parking = &circle.parking;
                match self
                    .execute_in_savepoint(session, parking, &members, savepoint)
                    .await
                {
                    Ok(done) => outcomes.extend(done),
                    Err(Failure::Refused(..)) => {}
                    Err(other) => return Err(other),
                }
            }
            // What comes next reads: the last circle may be a refused one.
            let closed = session.batch_execute(savepoint.close()).await;
            closed.map_err(|error| Failure::of_ours(doing, error))?;
            *savepoint = Savepoint::None;
        }
        refused.retain(|(write, ..)| !outcomes.iter().any(|(step, _)| *step == write.step));
        Ok(outcomes)
    }

    /// Executes `before`, whose outcomes don't count, and `writes`. One round trip. Deferred
    /// constraints are checked here: at the commit it would be too late to tell whose fault it is.
    async fn execute_in_savepoint(
        &self,
        session: &Connected,
        before: &[Write],
        writes: &[Write],
        savepoint: &mut Savepoint,
    ) -> Result<Outcomes, Failure> {
        let doing = "write a batch";
        let (opened, prepared, done, checked) = join4(
            session.batch_execute(savepoint.open()),
            self.execute(session, before),
            self.execute(session, writes),
            session.batch_execute("set constraints all immediate; set constraints all deferred"),
        )
        .await;
        opened.map_err(|error| Failure::of_ours(doing, error))?;
        let done = match (prepared.and(done), checked) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_), Err(error)) => Err(Failure::of(doing, error)),
            (Err(failure), _) => Err(failure),
        };
        *savepoint = match done {
            Ok(_) => Savepoint::Good,
            Err(_) => Savepoint::Refused,
        };
        done
    }

    fn statements<'w>(&self, writes: &'w [Write]) -> Result<Vec<Statement<'w>>, EndpointError> {
        let mut statements: Vec<Statement<'w>> = Vec::new();
        let mut open: HashMap<(usize, u8, Vec<usize>), usize> = HashMap::new();
        let mut sizes: Vec<usize> = Vec::new();
        for write in writes.iter().filter(|write| !write.is_of_links()) {
            let (tag, fields, alone) = group_of(write);
            let group = (write.table, tag, fields);
            let size = bytes_of(write);
            let joined = open.get(&group).copied().filter(|place| {
                let statement = &statements[*place];
                !alone
                    && statement.writes.len() < limits::ROWS_PER_STATEMENT
                    && sizes[*place] + size <= limits::BYTES_PER_STATEMENT
            });
            match joined {
                Some(place) => {
                    statements[place].writes.push(write);
                    sizes[place] += size;
                }
                None => {
                    if !alone {
                        open.insert(group.clone(), statements.len());
                    }
                    sizes.push(size);
                    statements.push(self.statement(write, &group.2));
                }
            }
        }
        for statement in &mut statements {
            let shape = &self.shapes[statement.table];
            statement.arrays = arrays(shape, &statement.writes)?;
        }
        Ok(statements)
    }

    fn statement<'w>(&self, first: &'w Write, fields: &[usize]) -> Statement<'w> {
        let shape = &self.shapes[first.table];
        let sql = match first.kind {
            WriteKind::Create { .. } => statements::insert(shape, fields),
            WriteKind::Update { .. } => statements::update(shape, fields),
            WriteKind::Delete { .. } => statements::delete(shape),
        };
        Statement {
            table: first.table,
            writes: vec![first],
            sql,
            arrays: Vec::new(),
        }
    }

    /// Matches what was returned with what was sent. Updates and deletes return their place;
    /// inserts can't, but return rows in the order of insertion, unless one was dropped. What was
    /// overwritten is known to the guard alone.
    fn read_back(
        &self,
        statement: &Statement<'_>,
        rows: &[tokio_postgres::Row],
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        if rows.len() != statement.writes.len() {
            let detail = "a trigger or rule of the table drops the write".to_owned();
            return Err(Failure::Refused(FindingCode::RejectedBySide, detail));
        }
        let shape = &self.shapes[statement.table];
        for (number, row) in rows.iter().enumerate() {
            let write = match statement.writes[0].kind {
                WriteKind::Create { .. } => statement.writes.get(number),
                _ => statement.writes.get(place(row)?),
            };
            let write = write.ok_or_else(|| {
                EndpointError::bug("odd-place", "a write returned a row that was not sent")
            })?;
            let outcome = match write.kind {
                WriteKind::Delete { .. } => Outcome::Deleted(Before::new()),
                _ => Outcome::Written(stored(shape, row)?, Before::new()),
            };
            outcomes.push((write.step, outcome));
        }
        Ok(())
    }

    /// Sets sequences forward to the greatest explicit value that was inserted, so that the side's
    /// own next insert doesn't collide with it.
    pub(super) async fn advance_sequences(
        &self,
        session: &Connected,
        writes: &[Write],
    ) -> Result<(), Failure> {
        let mut greatest: HashMap<&str, i64> = HashMap::new();
        for write in writes {
            let WriteKind::Create { set } = &write.kind else {
                continue;
            };
            for (field, text) in set {
                let sequence = self.shapes[write.table].fields[*field].sequence.as_deref();
                let value = text.as_deref().and_then(|text| text.parse::<i64>().ok());
                if let (Some(sequence), Some(value)) = (sequence, value) {
                    let greatest = greatest.entry(sequence).or_insert(value);
                    *greatest = value.max(*greatest);
                }
            }
        }
        for (sequence, value) in greatest {
            let sql = statements::advance_sequence(sequence);
            session
                .query_typed(&sql, &[(&value, Type::INT8)])
                .await
                .map_err(|error| Failure::of_ours("advance a sequence", error))?;
        }
        Ok(())
    }
}

/// The savepoint around the part that was executed last. It is closed together with the next one's
/// opening, which saves a round trip each.
enum Savepoint {
    None,
    Good,
    Refused,
}

impl Savepoint {
    fn open(&self) -> &'static str {
        match self {
            Savepoint::None => "savepoint part",
            Savepoint::Good => "release savepoint part; savepoint part",
            // It stays, as it was at its beginning.
            Savepoint::Refused => "rollback to savepoint part",
        }
    }

    fn close(&self) -> &'static str {
        match self {
            Savepoint::None => "",
            Savepoint::Good => "release savepoint part",
            Savepoint::Refused => "rollback to savepoint part; release savepoint part",
        }
    }
}

/// Refused because of another record, whose own write may still come.
fn may_heal(code: FindingCode) -> bool {
    matches!(
        code,
        FindingCode::UniqueViolation | FindingCode::ForeignKeyViolation
    )
}

/// What may share a statement: kind, fields, and whether the write must be alone.
fn group_of(write: &Write) -> (u8, Vec<usize>, bool) {
    let fields = |set: &Fields| set.iter().map(|(field, _)| *field).collect::<Vec<_>>();
    match &write.kind {
        WriteKind::Create { set } => (b'c', fields(set), set.is_empty()),
        // A chain of moved keys (1 to 2, 2 to 3) works only one by one.
        WriteKind::Update { set, moves_key, .. } => (b'u', fields(set), *moves_key),
        WriteKind::Delete { .. } => (b'd', Vec::new(), false),
    }
}

fn bytes_of(write: &Write) -> usize {
    match &write.kind {
        WriteKind::Create { set } | WriteKind::Update { set, .. } => set
            .iter()
            .map(|(_, text)| text.as_ref().map_or(0, String::len))
            .sum(),
        WriteKind::Delete { .. } => 0,
    }
}

fn arrays<'w>(shape: &Shape, writes: &[&'w Write]) -> Result<Arrays<'w>, EndpointError> {
    let keys = writes.iter().filter_map(|write| match &write.kind {
        WriteKind::Create { .. } => None,
        WriteKind::Update { key, .. } | WriteKind::Delete { key } => Some(key),
    });
    let mut arrays = match writes.first().map(|write| &write.kind) {
        Some(WriteKind::Create { .. }) => Vec::new(),
        _ => key_arrays(shape, keys)?,
    };
    let first = arrays.len();
    for write in writes {
        let (WriteKind::Create { set } | WriteKind::Update { set, .. }) = &write.kind else {
            continue;
        };
        arrays.resize_with(first + set.len(), Vec::new);
        for (array, (_, text)) in arrays[first..].iter_mut().zip(set) {
            array.push(text.as_deref().map(Into::into));
        }
    }
    Ok(arrays)
}

mod limits {
    use std::time::Duration;

    /// Above this, statements gain little (facts: 1k and 10k rows are equally fast).
    pub(super) const ROWS_PER_STATEMENT: usize = 2_000;
    /// Several big texts don't add up to one huge message; a single one may be larger.
    pub(super) const BYTES_PER_STATEMENT: usize = 8 << 20;
    /// Narrowing down costs a round trip per part. After this, what is refused is left out as a
    /// whole: nobody waits an hour for a table that may not be written at all.
    pub(super) const SIFT: Duration = Duration::from_secs(30);
}
