//! Bringing the upstream ids of delivered creates into the rows of attached tables.
//!
//! The write is the only statement of the worker that runs code of others: the table's triggers, its domains, the input
//! functions of its key's types. It runs with the rights of the table's owner, in the restricted manner in which Postgres
//! itself runs the functions of an index (no deferred trigger, no change of role), with a limit of time, and in a
//! subtransaction. A row that somebody has locked is not waited for but visited later.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::mutation::kind::Kind;
use crate::pg::relation::Table;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::worker as process;
use crate::pg::{board, session};
use crate::tables::late_ids::{self, Row};

use super::plan::Operation;
use super::settle::Fate;

/// How long a row that is locked is left alone.
const LATER: Duration = Duration::from_millis(200);

/// The longest that the triggers of one table may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The creates whose upstream ids are not in their rows yet.
#[derive(Default)]
pub struct Pending {
    ids: BTreeSet<i64>,
    not_before: Option<Instant>,
}

static NOTE: Statement = Statement::new(
    "INSERT INTO sequin.created (id, server, relation, ordering_key, upstream_id) \
     SELECT h.id, h.server, h.relation, h.ordering_key, h.upstream_id FROM sequin.history h \
     WHERE h.id OPERATOR(pg_catalog.=) ANY ($1) AND h.relation IS NOT NULL AND h.upstream_id IS NOT NULL \
     AND h.ordering_key IS NOT NULL RETURNING id",
);

static ALL: Statement = Statement::new("SELECT c.id FROM sequin.created c ORDER BY c.id");

static READ: Statement = Statement::new(
    "SELECT c.id, c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.created c \
     WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.relation, c.id",
);

static FAILED: Statement =
    Statement::new("UPDATE sequin.created c SET error = $2 WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)");

static FORGET: Statement = Statement::new("DELETE FROM sequin.created c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)");

/// The first delete of each row that does not know what it deletes: what it leaves behind is another row.
static DELETED: Statement = Statement::new(
    "SELECT d.ordering_key FROM (SELECT q.ordering_key FROM sequin.queue q WHERE q.relation OPERATOR(pg_catalog.=) $1 \
     AND q.ordering_key OPERATOR(pg_catalog.=) ANY ($2) AND q.upstream_id IS NULL \
     AND q.kind OPERATOR(pg_catalog.=) 'delete' UNION ALL SELECT p.ordering_key FROM sequin.parked p \
     WHERE p.relation OPERATOR(pg_catalog.=) $1 AND p.ordering_key OPERATOR(pg_catalog.=) ANY ($2) \
     AND p.upstream_id IS NULL AND p.kind OPERATOR(pg_catalog.=) 'delete') d",
);

/// Gives the changes that were queued before their row had its upstream id that id, up to the first delete.
macro_rules! tell {
    ($table:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " q SET upstream_id = c.upstream_id FROM sequin.created c ",
            "WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) AND q.relation OPERATOR(pg_catalog.=) c.relation ",
            "AND q.ordering_key OPERATOR(pg_catalog.=) c.ordering_key AND q.upstream_id IS NULL ",
            "AND q.kind OPERATOR(pg_catalog.<>) 'create' AND q.id OPERATOR(pg_catalog.>) c.id AND NOT EXISTS (",
            "SELECT FROM ",
            $table,
            " d WHERE d.relation OPERATOR(pg_catalog.=) c.relation ",
            "AND d.ordering_key OPERATOR(pg_catalog.=) c.ordering_key AND d.upstream_id IS NULL ",
            "AND d.kind OPERATOR(pg_catalog.=) 'delete' AND d.id OPERATOR(pg_catalog.>) c.id ",
            "AND d.id OPERATOR(pg_catalog.<) q.id)"
        )
    };
}
static TELL_QUEUE: Statement = Statement::new(tell!("sequin.queue"));
static TELL_PARKED: Statement = Statement::new(tell!("sequin.parked"));

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
    pub fn note(&mut self, connection: &Connection, kind: Kind, fates: &[(&Operation, Fate)]) {
        if kind != Kind::Create {
            return;
        }
        let done = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Done { upstream_id: Some(_), .. }));
        let ids: Vec<i64> = done.map(|(operation, _)| operation.id).collect();
        if ids.is_empty() {
            return;
        }
        self.ids.extend(note_ids(connection, &ids));
    }

    /// How long the next attempt is away; None if there is nothing to write.
    pub fn due_in(&self) -> Option<Duration> {
        (!self.ids.is_empty())
            .then(|| self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())))
    }

    /// Writes what is due, each table in a transaction of its own.
    pub fn write(&mut self) {
        if self.due_in() != Some(Duration::ZERO) {
            return;
        }
        let rows = process::transaction(|| {
            let ids: Vec<i64> = self.ids.iter().copied().collect();
            let connected =
                spi::connected(|connection| -> Result<_, std::convert::Infallible> { Ok(read(connection, &ids)) });
            let Ok(rows) = connected;
            rows
        });
        // What is not there any more was written by another worker.
        self.ids = rows.iter().map(|(_, row)| row.id).collect();
        for table in rows.chunk_by(|one, other| one.0 == other.0) {
            let rows: Vec<&Row> = table.iter().map(|(_, row)| row).collect();
            for written in process::transaction(|| write_table(table[0].0, &rows)) {
                self.ids.remove(&written);
            }
        }
        self.not_before = (!self.ids.is_empty()).then(|| Instant::now() + LATER);
    }
}

fn read(connection: &Connection, ids: &[i64]) -> Vec<(u32, Row)> {
    let rows = READ.run(connection, &[Value::Int8s(ids)]);
    (0..rows.len())
        .map(|row| {
            let text = |column| rows.text(row, column).unwrap_or_default();
            let of = Row { id: rows.int8(row, 1).unwrap_or_default(), key: text(3), upstream_id: text(4) };
            (rows.oid_number(row, 2).unwrap_or_default(), of)
        })
        .collect()
}

/// Writes the ids of one table's rows, and gives those that need not be visited again.
fn write_table(relation: u32, rows: &[&Row]) -> Vec<i64> {
    let connected = spi::connected(|connection| -> Result<Vec<i64>, std::convert::Infallible> {
        let keys: Vec<Option<&str>> = rows.iter().map(|row| Some(row.key.as_str())).collect();
        let deleted = DELETED.run(connection, &[Value::Oid(relation), Value::Texts(&keys)]);
        let deleted: BTreeSet<String> = (0..deleted.len()).filter_map(|row| deleted.text(row, 1)).collect();
        let (gone, there): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| deleted.contains(&row.key));
        let mut visited: Vec<i64> = gone.iter().map(|row| row.id).collect();
        match write_rows(connection, relation, &there) {
            Ok(written) => visited.extend(written),
            Err(error) => {
                // The table's own doing; the id stands in sequin.delivered.
                process::log(&format!("upstream ids could not be written into their rows: {error}"));
                let ids: Vec<i64> = there.iter().map(|row| row.id).collect();
                FAILED.run(connection, &[Value::Int8s(&ids), Value::Text(Some(&error))]).free();
            }
        }
        for statement in [&TELL_QUEUE, &TELL_PARKED] {
            statement.run(connection, &[Value::Int8s(&visited)]).free();
        }
        FORGET.run(connection, &[Value::Int8s(&visited)]).free();
        Ok(visited)
    });
    let Ok(visited) = connected;
    // What waited for an id can go now.
    if !visited.is_empty() {
        board::call_all();
    }
    visited
}

fn write_rows(connection: &Connection, relation: u32, rows: &[&Row]) -> Result<Vec<i64>, String> {
    let ids = || rows.iter().map(|row| row.id).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let Some(table) = Table::open_to_write(relation.into())? else { return Ok(ids()) };
    let Some(statement) = late_ids::of(connection, &table) else { return Ok(ids()) };
    process::attempt(|| {
        let deadline = process::Deadline::after(PATIENCE);
        let visited = session::restricted_to(table.owner, || statement.write(connection, rows));
        deadline.lift();
        visited
    })
}
