//! Bringing the upstream ids of delivered creates into the rows of attached tables.
//!
//! The write is the only statement of the worker that runs code of others: the table's triggers, its domains, the input
//! functions of its key's types. It runs with the rights of the table's owner, in the restricted manner in which Postgres
//! itself runs the functions of an index (no deferred trigger, no change of role), with a limit of time, and in a
//! subtransaction. A row that somebody has locked is not waited for but visited later; one that cannot be written is
//! left alone longer and longer, so that a table whose triggers are slow or broken costs the others little.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::attach::write_ids::{self, WriteBackRow};
use crate::ereport;
use crate::outbox::worker::presence::{self, Presence};
use crate::pg::relation::Table;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::transaction::{self, Failure};
use crate::pg::{security_context, text};
use contract::kind::Kind;

mod propagate_ids;
mod table_backoff;

use self::propagate_ids::tell;
use self::table_backoff::{self as resting, Resting};
use crate::outbox::guard;
use crate::outbox::settle::transitions::Disposition;
use contract::batching::plan::Operation;

/// How long a row that is locked is left alone.
const LATER: Duration = Duration::from_millis(200);

/// How long all ids are left alone when they cannot be read.
const UNREADABLE: Duration = Duration::from_secs(5);

/// The longest that the triggers of one table may take at a visit.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The creates whose upstream ids are not in their rows yet.
#[derive(Default)]
pub struct Pending {
    ids: BTreeSet<i64>,
    not_before: Option<Instant>,
    resting: Resting,
}

/// What a visit to a table came to. What is not in it is locked.
#[derive(Default)]
pub struct Visit {
    /// Written, or of rows that want no id any more.
    pub done: Vec<i64>,
    pub failed: Vec<i64>,
    /// How long the table took.
    pub took: Duration,
}

static NOTE: Statement = Statement::new(
    "INSERT INTO sequin.pending_upstream_ids (id, server, relation, ordering_key, upstream_id, role) \
     SELECT h.id, h.server, h.relation, h.ordering_key, h.upstream_id, h.role FROM sequin.history h \
     WHERE h.id OPERATOR(pg_catalog.=) ANY ($1) AND h.relation IS NOT NULL AND h.upstream_id IS NOT NULL \
     AND h.ordering_key IS NOT NULL RETURNING id",
);

static ALL: Statement = Statement::new("SELECT c.id FROM sequin.pending_upstream_ids c ORDER BY c.id");

static READ: Statement = Statement::new(
    "SELECT c.id, c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.pending_upstream_ids c \
     WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.relation, c.id",
);

static FAILED: Statement =
    Statement::new("UPDATE sequin.pending_upstream_ids c SET error = $2 WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)");

static FORGET: Statement =
    Statement::new("DELETE FROM sequin.pending_upstream_ids c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)");

/// The first delete of each row that does not know what it deletes: what it leaves behind is another row.
static DELETED: Statement = Statement::new(concat!(
    "SELECT d.ordering_key FROM (SELECT q.ordering_key FROM sequin.queue q WHERE q.relation OPERATOR(pg_catalog.=) $1 \
     AND ",
    has_key_of!("q.ordering_key", "$2"),
    " AND q.upstream_id IS NULL AND q.kind OPERATOR(pg_catalog.=) 'delete' \
     UNION ALL SELECT p.ordering_key FROM sequin.deferred p \
     WHERE p.relation OPERATOR(pg_catalog.=) $1 AND ",
    has_key_of!("p.ordering_key", "$2"),
    " AND p.upstream_id IS NULL AND p.kind OPERATOR(pg_catalog.=) 'delete') d",
));

/// Those that are still to be written, which until the end of the transaction nobody else writes or forgets. The others
/// are gone, or another worker is about to write them; it may be waiting for a trigger, and is not waited for.
static LOCK: Statement = Statement::new(
    "SELECT c.id, c.next_attempt_at IS NOT NULL FROM sequin.pending_upstream_ids c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) \
     ORDER BY c.id FOR UPDATE SKIP LOCKED",
);

/// The creates before a delete of their row.
static REPLACED: Statement = Statement::new(concat!(
    "DELETE FROM sequin.pending_upstream_ids c USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
     AS d(id, relation, ordering_key) WHERE c.relation OPERATOR(pg_catalog.=) d.relation::pg_catalog.oid \
     AND ",
    same_key!("c.ordering_key", "d.ordering_key"),
    " AND c.id OPERATOR(pg_catalog.<) d.id",
));

/// Notes that these creates are delivered, and gives those whose upstream id has a row to be written into.
pub fn note_ids(connection: &Connection, ids: &[i64]) -> Vec<i64> {
    let rows = NOTE.run(connection, &[Value::Int8s(ids)]);
    (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect()
}

impl Pending {
    /// Looks for what an earlier worker has left.
    pub fn find_all(&mut self, connection: &Connection) {
        let rows = ALL.run(connection, &[]);
        self.ids.extend((0..rows.len()).filter_map(|row| rows.int8(row, 1)));
    }

    /// Notes the creates among what was delivered, in the transaction that writes them down.
    pub fn note(&mut self, connection: &Connection, kind: Kind, dispositions: &[(&Operation, Disposition)]) {
        if kind != Kind::Create {
            return;
        }
        let done = dispositions
            .iter()
            .filter(|(_, disposition)| matches!(disposition, Disposition::Done { upstream_id: Some(_), .. }));
        let ids: Vec<i64> = done.map(|(operation, _)| operation.id).collect();
        if ids.is_empty() {
            return;
        }
        guard::each_logged("noted for writing its upstream id back", &ids, |ids| {
            self.ids.extend(note_ids(connection, ids));
        });
        self.not_before = None;
    }

    /// Forgets the ids of rows whose delete is delivered, in the transaction that writes that down, and before it writes
    /// the queue: what is found under their keys from then on are other rows.
    pub fn forget_deleted(connection: &Connection, kind: Kind, dispositions: &[(&Operation, Disposition)]) {
        if kind != Kind::Delete {
            return;
        }
        let (mut ids, mut relations, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (operation, _) in
            dispositions.iter().filter(|(_, disposition)| matches!(disposition, Disposition::Done { .. }))
        {
            let Some(key) = operation.ordering_key.as_deref() else { continue };
            let Some(relation) = key.relation else { continue };
            ids.push(operation.id);
            relations.push(i64::from(relation));
            keys.push(Some(key.text.as_str()));
        }
        if !ids.is_empty() {
            let values = [Value::Int8s(&ids), Value::Int8s(&relations), Value::Texts(&keys)];
            REPLACED.run(connection, &values).free();
        }
    }

    /// How long the next attempt is away; None if there is nothing to write.
    pub fn due_in(&self) -> Option<Duration> {
        let now = Instant::now();
        let next = (!self.ids.is_empty()).then(|| self.not_before.unwrap_or(now));
        next.into_iter().chain(self.resting.next()).min().map(|at| at.saturating_duration_since(now))
    }

    /// Writes what is due, each table in a transaction of its own.
    pub fn write(&mut self) {
        if self.due_in() != Some(Duration::ZERO) {
            return;
        }
        self.ids.append(&mut self.resting.take_rested());
        let ids: Vec<i64> = self.ids.iter().copied().collect();
        let rows = in_transaction(|connection| {
            self.resting.read(connection);
            read(connection, &ids)
        });
        let rows = match rows {
            Ok(Some(rows)) => rows,
            Ok(None) => {
                self.not_before = Some(Instant::now() + LATER);
                return;
            }
            Err(failure) => {
                ereport::log(&format!("the upstream ids that wait could not be read: {}", failure.message));
                self.not_before = Some(Instant::now() + UNREADABLE);
                return;
            }
        };
        // What is not there any more was written by another worker.
        self.ids = rows.iter().map(|(_, row)| row.id).collect();
        for table in rows.chunk_by(|one, other| one.0 == other.0) {
            let relation = table[0].0;
            let (left, rows): (Vec<&WriteBackRow>, Vec<&WriteBackRow>) =
                table.iter().map(|(_, row)| row).partition(|row| self.resting.keeps(relation, row.id));
            let visit = if rows.is_empty() { Visit::default() } else { self.visit(relation, &rows) };
            for id in left.iter().map(|row| &row.id).chain(&visit.done).chain(&visit.failed) {
                self.ids.remove(id);
            }
        }
        self.resting.tidy();
        self.not_before = (!self.ids.is_empty()).then(|| Instant::now() + LATER);
    }

    fn visit(&mut self, relation: u32, rows: &[&WriteBackRow]) -> Visit {
        let begun = Instant::now();
        if self.resting.is_doubtful(relation)
            && let Err(failure) = in_transaction(|connection| self.resting.begin(connection, relation, &ids(rows)))
        {
            ereport::log(&format!("a visit to a table could not be written down: {}", failure.message));
        }
        let failures = self.resting.failures_with_next(relation);
        let visited = in_transaction(|connection| write_table(connection, relation, rows, failures));
        let visit = visited.map(Option::unwrap_or_default).unwrap_or_else(|failure| {
            ereport::log(&format!("upstream ids could not be written into their rows: {}", failure.message));
            guard::be_careful();
            Visit { done: Vec::new(), failed: ids(rows), took: begun.elapsed() }
        });
        self.resting.note(relation, &visit);
        visit
    }
}

/// Runs `f` in a transaction. None if somebody is taking the extension away, or has: then nothing is done.
fn in_transaction<T>(f: impl FnOnce(&Connection) -> T) -> Result<Option<T>, Failure> {
    transaction::try_transaction(|| {
        let Presence::Present(_) = presence::of_extension() else { return None };
        let connected = spi::connected(|connection| -> Result<T, std::convert::Infallible> { Ok(f(connection)) });
        let Ok(result) = connected;
        Some(result)
    })
}

fn ids(rows: &[&WriteBackRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

fn read(connection: &Connection, ids: &[i64]) -> Vec<(u32, WriteBackRow)> {
    let rows = READ.run(connection, &[Value::Int8s(ids)]);
    (0..rows.len())
        .map(|row| {
            let text = |column| rows.text(row, column).unwrap_or_default();
            let of = WriteBackRow { id: rows.int8(row, 1).unwrap_or_default(), key: text(3), upstream_id: text(4) };
            (rows.oid_number(row, 2).unwrap_or_default(), of)
        })
        .collect()
}

/// Writes the ids of one table's rows.
fn write_table(connection: &Connection, relation: u32, rows: &[&WriteBackRow], failures: u32) -> Visit {
    let locked = LOCK.run(connection, &[Value::Int8s(&ids(rows))]);
    let begun: Vec<i64> =
        (0..locked.len()).filter(|row| locked.boolean(*row, 2)).filter_map(|row| locked.int8(row, 1)).collect();
    let locked: BTreeSet<i64> = (0..locked.len()).filter_map(|row| locked.int8(row, 1)).collect();
    let rows: Vec<&WriteBackRow> = rows.iter().copied().filter(|row| locked.contains(&row.id)).collect();
    let deleted = deleted(connection, relation, &rows);
    let (gone, there): (Vec<&WriteBackRow>, Vec<&WriteBackRow>) =
        rows.into_iter().partition(|row| deleted.contains(&row.key));
    let mut visit = write_rows(connection, relation, &there);
    visit.done.extend(forget(connection, &ids(&gone)));
    if let Err(failure) = guard::carefully(|| resting::end(connection, &visit, failures, &begun)) {
        ereport::log(&format!("the end of a visit to a table could not be written down: {}", failure.message));
    }
    visit
}

/// Tells these ids to the changes that wait for them, and forgets them. Gives those that could be forgotten.
fn forget(connection: &Connection, ids: &[i64]) -> Vec<i64> {
    let mut forgotten = Vec::with_capacity(ids.len());
    let failed = guard::each_carefully(ids, |ids| {
        tell_and_forget(connection, ids);
        forgotten.extend_from_slice(ids);
    });
    for (id, failure) in failed {
        guard::note("forgotten after its upstream id was of no use", *id, &failure);
    }
    forgotten
}

fn tell_and_forget(connection: &Connection, ids: &[i64]) {
    for (id, failure) in guard::each_guarded(ids, |ids| tell(connection, ids)) {
        guard::note("followed by changes that know its upstream id", *id, &failure);
    }
    FORGET.run(connection, &[Value::Int8s(ids)]).free();
}

/// The keys, among those of `rows`, of which a delete waits.
fn deleted(connection: &Connection, relation: u32, rows: &[&WriteBackRow]) -> BTreeSet<String> {
    let keys: Vec<Option<&str>> = rows.iter().map(|row| Some(row.key.as_str())).collect();
    let deleted = DELETED.run(connection, &[Value::Oid(relation), Value::Texts(&keys)]);
    (0..deleted.len()).filter_map(|row| deleted.text(row, 1)).collect()
}

/// A row that cannot be written is found by halves, so that it keeps no other from its id.
fn write_rows(connection: &Connection, relation: u32, rows: &[&WriteBackRow]) -> Visit {
    let begun = Instant::now();
    let mut visit = Visit::default();
    let fail = |visit: &mut Visit, rows: &[&WriteBackRow], error: &str| {
        // The table's own doing; the id stands in sequin.delivered.
        if visit.failed.is_empty() {
            ereport::log(&format!("upstream ids could not be written into their rows: {error}"));
        }
        let words = text::storable(error);
        guard::each_logged("marked as not written back", &ids(rows), |ids| {
            FAILED.run(connection, &[Value::Int8s(ids), Value::Text(Some(&words))]).free();
        });
        visit.failed.extend(ids(rows));
        visit.took = begun.elapsed();
    };
    if rows.is_empty() {
        return visit;
    }
    // The catalogs hold what others have written, too.
    let opened = Table::open_to_write(relation.into()).and_then(|table| {
        let Some(table) = table else { return Ok(None) };
        let statement = transaction::attempt(|| write_ids::of(connection, &table))?;
        Ok(statement.map(|statement| (statement, table.owner)))
    });
    let (statement, owner) = match opened {
        Ok(Some(table)) => table,
        Ok(None) => {
            visit.done = forget(connection, &ids(rows));
            return visit;
        }
        Err(error) => {
            fail(&mut visit, rows, &error);
            return visit;
        }
    };
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            fail(&mut visit, part, "the triggers of the table take too long");
            continue;
        }
        let deadline = transaction::Deadline::after(left);
        let written = transaction::attempt(|| {
            let written = security_context::restricted_to_owner(owner, || statement.write(connection, part));
            // Committed since the last look: then what was written may be another row.
            if !deleted(connection, relation, part).is_empty() {
                ereport::internal_error("the row was deleted meanwhile".to_owned());
            }
            // Were an id written and not forgotten, it could be written once more, into another row of the same key.
            tell_and_forget(connection, &written);
            written
        });
        deadline.lift();
        match written {
            Ok(written) => visit.done.extend(written),
            Err(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => fail(&mut visit, part, &error),
        }
    }
    visit
}
