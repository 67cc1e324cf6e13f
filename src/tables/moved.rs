//! Rows that are deleted and inserted again in one transaction, with the same upstream id: their records live on.
//!
//! A partition is emptied into another one, or an application saves a row as a delete and an insert. The delete is in the
//! queue by then. So before the commit, if the transaction has queued deletes and has also brought upstream ids into
//! attached tables, these tables are asked which of the deleted ids a row has now. Such a delete becomes an update of the
//! fields that differ, or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::output::{DependsOn, printed_alike};
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::transition::CopiedRow;
use crate::pg::{commit, relation, session, settings};

use super::attachment::Attachment;
use super::capture::identity;
use super::columns::{Columns, resolve};
use super::differences;
use super::rows::DataPrinter;

/// What the transaction has done so far. What a subtransaction has done counts even if it was undone: the tables and the
/// queue are asked what is so.
struct State {
    has_departures: bool,
    /// The tables that rows with upstream ids have come into.
    arrivals: BTreeSet<u32>,
}

static STATE: Mutex<State> = Mutex::new(State { has_departures: false, arrivals: BTreeSet::new() });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that the transaction has queued the delete of a record.
pub fn note_departure() {
    state().has_departures = true;
}

/// Notes that rows of an attached table may have upstream ids that they did not have before.
pub fn note_arrival(relation: u32) {
    state().arrivals.insert(relation);
}

/// Whether a row may have been moved: records were to be deleted, and upstream ids have come.
pub fn is_likely() -> bool {
    let state = state();
    state.has_departures && !state.arrivals.is_empty()
}

/// Forgets the transaction.
pub fn forget() {
    let mut state = state();
    state.has_departures = false;
    state.arrivals.clear();
}

/// A delete that this transaction has queued.
struct Departure {
    queue_id: i64,
    /// The fields that the row had, a JSON object.
    data: String,
}

/// The deletes of one record, of which the row is there.
struct Move {
    /// All but the last one.
    earlier: Vec<i64>,
    last: i64,
    key: String,
    /// Those fields of the row that are not the same in all deleted rows, as a JSON object; None if all are.
    data: Option<String>,
}

static ARGUMENT: Statement = Statement::new(
    "SELECT pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) \
     OPERATOR(pg_catalog.-) 1), pg_catalog.getdatabaseencoding()) FROM pg_catalog.pg_trigger t \
     WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure \
     AND t.tgnargs OPERATOR(pg_catalog.=) 1 AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 0 \
     LIMIT 1",
);

static DEPARTURES: Statement = Statement::new(
    "SELECT q.id, q.upstream_id, q.data, q.xmin::pg_catalog.text::pg_catalog.int8 FROM sequin.queue q \
     WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.>=) $2 \
     AND q.kind OPERATOR(pg_catalog.=) 'delete' AND q.sync_id OPERATOR(pg_catalog.=) $3 \
     AND q.collection_id OPERATOR(pg_catalog.=) $4 AND q.relation IS NOT NULL AND q.upstream_id IS NOT NULL \
     ORDER BY q.id",
);

static DROP: Statement = Statement::new(
    "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2)",
);

static TURN: Statement = Statement::new(
    "UPDATE sequin.queue q SET kind = 'update', data = m.data, ordering_key = m.key, \
     relation = $5::pg_catalog.oid::pg_catalog.regclass \
     FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS m(id, data, key) \
     WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) m.id",
);

/// Settles the transaction's deletes of records that a row has now. Called before the commit.
pub fn settle() -> Result<(), ErrorReport> {
    let arrivals = std::mem::take(&mut state().arrivals);
    for relation in arrivals {
        settle_table(relation)?;
    }
    Ok(())
}

fn settle_table(oid: u32) -> Result<(), ErrorReport> {
    let argument = session::as_queue_owner(|| {
        connected(|connection| {
            let rows = ARGUMENT.run(connection, &[Value::Oid(oid)]);
            if rows.len() > 0 { rows.text(0, 1) } else { None }
        })
    });
    // Detached since, or dropped.
    let Some(attachment) = argument.and_then(|argument| Attachment::from_argument(&argument).ok()) else {
        return Ok(());
    };
    let Some(table) = relation::Table::open(Oid::from(oid)) else { return Ok(()) };
    let server = attachment.server.clone().unwrap_or_else(settings::default_server);
    let departures = session::as_queue_owner(|| connected(|connection| departures(connection, &server, &attachment)));
    if departures.is_empty() {
        return Ok(());
    }
    let columns = resolve(&table, &attachment)?;
    let moves = connected(|connection| moves(connection, &columns, departures));
    let identity = identity(&table);
    session::as_queue_owner(|| connected(|connection| write(connection, &server, identity, &moves)));
    Ok(())
}

fn connected<T>(f: impl FnOnce(&Connection) -> T) -> T {
    spi::connected(|connection| Ok::<T, Infallible>(f(connection))).unwrap_or_else(|never| match never {})
}

/// This transaction's deletes of a collection's records, by upstream id, in the order of the queue.
fn departures(connection: &Connection, server: &str, attachment: &Attachment) -> BTreeMap<String, Vec<Departure>> {
    let values = [
        Value::Text(Some(server)),
        Value::Int8(commit::lowest_queued()),
        Value::Text(Some(&attachment.sync_id)),
        Value::Text(Some(&attachment.collection_id)),
    ];
    let rows = DEPARTURES.run(connection, &values);
    let departure = |row| {
        let is_own = rows.int8(row, 4).is_some_and(|writer| session::is_own_transaction(writer as u32));
        let (queue_id, id) = (rows.int8(row, 1)?, rows.text(row, 2)?);
        is_own.then(|| (id, Departure { queue_id, data: rows.json(row, 3) }))
    };
    let mut departures: BTreeMap<String, Vec<Departure>> = BTreeMap::new();
    for (id, departure) in (0..rows.len()).filter_map(departure) {
        departures.entry(id).or_default().push(departure);
    }
    departures
}

/// Those of the departures whose id a row of the table has now.
fn moves(
    connection: &Connection,
    columns: &Columns<'_>,
    mut departures: BTreeMap<String, Vec<Departure>>,
) -> Vec<Move> {
    let all: Vec<_> = columns.all().collect();
    let names: Vec<String> = all.iter().map(|column| format!("t.{}", column.quoted)).collect();
    let query = format!(
        "SELECT {} FROM {}{} AS t JOIN pg_catalog.unnest($1) AS w(id) \
         ON (t.{}::pg_catalog.text COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) w.id",
        names.join(", "),
        if columns.table.is_partitioned { "" } else { "ONLY " },
        columns.table.quoted,
        columns.upstream_id.quoted,
    );
    let ids: Vec<String> = departures.keys().cloned().collect();
    let ids: Vec<Option<&str>> = ids.iter().map(|id| Some(id.as_str())).collect();
    // To select columns runs no code of the table's, and no policy hides a row. What prints the values may be another's.
    let rows = session::as_queue_owner(|| connection.run(&query, &[Value::Texts(&ids)]));
    let mut data = DataPrinter::new(columns);
    let places = data.all();
    let key = columns.key_printer();
    let depends_on = DependsOn::of(all.iter().copied());
    let read = |place| {
        let row = CopiedRow::of(&rows, place, &all);
        let row = row.row();
        let departures = departures.remove(row.text(columns.upstream_id)?.as_ref())?;
        let (mut ids, deleted): (Vec<i64>, Vec<String>) =
            departures.into_iter().map(|departure| (departure.queue_id, departure.data)).unzip();
        // An update that was queued between two deletes comes before the last one, and must not have the last word.
        let data = differences::of_row(&data.text(&row, &places), &deleted);
        Some(Move { last: ids.pop()?, earlier: ids, key: key.text(&row), data })
    };
    printed_alike(depends_on, || (0..rows.len()).filter_map(read).collect())
}

fn write(connection: &Connection, server: &str, identity: u32, moves: &[Move]) {
    let server = Value::Text(Some(server));
    let (turned, unchanged): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(|moved| moved.data.is_some());
    let earlier = moves.iter().flat_map(|moved| &moved.earlier).copied();
    let gone: Vec<i64> = earlier.chain(unchanged.iter().map(|moved| moved.last)).collect();
    DROP.run(connection, &[server, Value::Int8s(&gone)]).free();
    let data: Vec<Option<&str>> = turned.iter().map(|moved| moved.data.as_deref()).collect();
    let keys: Vec<Option<&str>> = turned.iter().map(|moved| Some(moved.key.as_str())).collect();
    let ids: Vec<i64> = turned.iter().map(|moved| moved.last).collect();
    let values = [server, Value::Int8s(&ids), Value::Jsonbs(&data), Value::Texts(&keys), Value::Oid(identity)];
    TURN.run(connection, &values).free();
}
