//! Rows that are deleted and inserted again in one transaction, with the same upstream id. Their records are kept.
//!
//! A program may move rows from one partition to another, or save a row by DELETE and INSERT. The delete of the record is
//! then already in the queue. If a transaction has queued deletes and has also written upstream ids into attached tables,
//! these tables are searched for the deleted ids before the commit. A delete whose id a row has becomes an update of the
//! fields that differ; without a difference it is removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;

use crate::ereport::Error;
use crate::outbox::worker::wake_at_commit;
use crate::pg::column::row;
use crate::pg::cursor::Cursor;
use crate::pg::jsonb::Json;
use crate::pg::memory_context::ScratchContext;
use crate::pg::output::{DependsOn, printed_alike};
use crate::pg::param::JsonbArray;
use crate::pg::spi::{self, Connection, QueryRows};
use crate::pg::statement::Statement;
use crate::pg::transition::CopiedRow;
use crate::pg::{relation, security_context, session, temporary_objects};
use crate::settings;

use super::columns::{Columns, resolve};
use super::partitions::key_scope;
use super::written_rows::DataPrinter;
use contract::attachment::Attachment;
use contract::field_digests;

/// How many deleted records are compared at a time. A transaction may have queued millions of deletes.
const DELETES_AT_ONCE: usize = 1_000;

/// How many rows are printed and compared at a time.
const ROWS_AT_ONCE: usize = 100;

/// Up to this number, the upstream ids that have arrived in a table are remembered.
const MAX_REMEMBERED_IDS: usize = 1_000;

/// The transaction's work so far, including subtransactions that were rolled back: the tables and the queue have the
/// final state.
struct TransactionMoves {
    has_departures: bool,
    /// The tables in which upstream ids have arrived, with the ids; None if there are too many, or if they are unknown.
    arrivals: BTreeMap<u32, Option<BTreeSet<String>>>,
}

static STATE: Mutex<TransactionMoves> =
    Mutex::new(TransactionMoves { has_departures: false, arrivals: BTreeMap::new() });

fn state() -> MutexGuard<'static, TransactionMoves> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that the transaction has queued the delete of a record.
pub fn note_departure() {
    state().has_departures = true;
}

/// Notes that a row of an attached table has a new upstream id.
pub fn note_arrival(relation: u32, upstream_id: &str) {
    let mut state = state();
    let ids = state.arrivals.entry(relation).or_insert_with(|| Some(BTreeSet::new()));
    if ids.as_ref().is_some_and(|ids| ids.len() == MAX_REMEMBERED_IDS) {
        *ids = None;
    }
    if let Some(ids) = ids {
        ids.insert(upstream_id.to_owned());
    }
}

/// Notes that rows of an attached table may have new upstream ids.
pub fn note_arrivals(relation: u32) {
    state().arrivals.insert(relation, None);
}

/// Whether a row may have been reinserted: deletes were queued, and upstream ids have arrived.
pub fn are_likely() -> bool {
    let state = state();
    state.has_departures && !state.arrivals.is_empty()
}

/// Forgets the transaction.
pub fn forget() {
    let mut state = state();
    state.has_departures = false;
    state.arrivals.clear();
}

/// The deletes of one record that this transaction has queued, in the order of the queue.
struct Departure {
    upstream_id: String,
    queue_ids: Vec<i64>,
}

/// The queued deletes of one record whose row exists again.
struct Move {
    /// All but the last one.
    earlier: Vec<i64>,
    last: i64,
    key: String,
    /// The fields of the row that differ from one of the deleted rows, as a JSON object; None if none differs.
    data: Option<String>,
}

static ARGUMENT: Statement<(Oid,)> = Statement::new(
    "SELECT pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, pg_catalog.octet_length(t.tgargs) \
     OPERATOR(pg_catalog.-) 1), pg_catalog.getdatabaseencoding()) FROM pg_catalog.pg_trigger t \
     WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure \
     AND t.tgnargs OPERATOR(pg_catalog.=) 1 AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 0 \
     LIMIT 1",
);

/// The deletes of a collection's records. Those of one record come together.
const DELETES: &str = "SELECT q.id, q.upstream_id, q.xmin::pg_catalog.text::pg_catalog.int8 FROM sequin.queue q \
     WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.>=) $2 \
     AND q.kind OPERATOR(pg_catalog.=) 'delete' AND q.sync_id OPERATOR(pg_catalog.=) $3 \
     AND q.collection_id OPERATOR(pg_catalog.=) $4 AND q.relation IS NOT NULL AND q.upstream_id IS NOT NULL";
const OF_ARRIVALS: &str = " AND q.upstream_id OPERATOR(pg_catalog.=) ANY ($5)";
const BY_RECORD: &str = " ORDER BY q.upstream_id COLLATE pg_catalog.\"C\", q.id";

row! {
    /// A row of [`DELETES`].
    struct QueuedDelete {
        queue_id: i64,
        upstream_id: String,
        /// The transaction that enqueued it.
        writer: i64,
    }
}

static DIGESTS: Statement<(&str, &[i64])> = Statement::new(
    "SELECT q.id, q.data FROM sequin.queue q \
     WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2)",
);

static DROP: Statement<(&str, &[i64])> = Statement::new(
    "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2)",
);

static TURN: Statement<(&str, &[i64], JsonbArray, &[&str], Oid)> = Statement::new(
    "UPDATE sequin.queue q SET kind = 'update', data = m.data, ordering_key = m.key, \
     relation = $5::pg_catalog.oid::pg_catalog.regclass \
     FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS m(id, data, key) \
     WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) m.id",
);

/// Replaces or removes the queued deletes of records whose rows exist. Called before the commit.
pub fn reconcile() -> Result<(), Error> {
    let arrivals = std::mem::take(&mut state().arrivals);
    let mut repeated = Vec::new();
    for (relation, upstream_ids) in arrivals {
        repeated.extend(spi::connected(|connection| reconcile_table(connection, relation, upstream_ids.as_ref()))?);
    }
    spi::connected(|connection| repeated.iter().try_for_each(|deletes| drop_repeated(connection, deletes)))
}

/// Deletes that a later delete of the same record makes redundant.
struct Repeated {
    server: String,
    queue_ids: Vec<i64>,
}

/// Keeps one delete of a record that was deleted, reinserted and deleted again. Called after all tables are reconciled:
/// a row of another table may have to be compared with each of the deletes.
fn drop_repeated(connection: &Connection, deletes: &Repeated) -> Result<(), Error> {
    for queue_ids in deletes.queue_ids.chunks(DELETES_AT_ONCE) {
        drop_deletes(connection, &deletes.server, queue_ids);
    }
    Ok(())
}

/// Takes deletes out of the queue.
fn drop_deletes(connection: &Connection, server: &str, queue_ids: &[i64]) {
    if !queue_ids.is_empty() {
        freeing(|| security_context::as_queue_owner(|| DROP.run(connection, (server, queue_ids)).free()));
    }
}

/// Runs `f`, and frees the memory of its statement's parameters. A statement leaves SPI's memory context as the current
/// one. So `f` runs one statement at most, and allocates nothing after it.
fn freeing<T>(f: impl FnOnce() -> T) -> T {
    let scratch = ScratchContext::enter();
    let result = f();
    scratch.leave();
    result
}

fn reconcile_table(
    connection: &Connection,
    oid: u32,
    arrivals: Option<&BTreeSet<String>>,
) -> Result<Option<Repeated>, Error> {
    let argument =
        security_context::as_queue_owner(|| ARGUMENT.run(connection, (Oid::from(oid),))).first::<(String,)>();
    // The table was detached or dropped since.
    let Some(attachment) = argument.and_then(|(argument,)| Attachment::from_argument(&argument).ok()) else {
        return Ok(None);
    };
    let Some(table) = relation::Table::open(Oid::from(oid)) else { return Ok(None) };
    let server = attachment.server.clone().unwrap_or_else(settings::default_server);
    let mut departures = Departures::open(connection, &server, &attachment, arrivals);
    let mut batch = departures.next(connection);
    let mut repeated = Vec::new();
    if !batch.is_empty() {
        let columns = resolve(&table, &attachment)?;
        check_reader(&table)?;
        let search = TableSearch { connection, columns: &columns, server: &server, key_scope: key_scope(&table) };
        while !batch.is_empty() {
            repeated.extend(search.reconcile(batch));
            batch = departures.next(connection);
        }
    }
    departures.cursor.close();
    Ok((!repeated.is_empty()).then_some(Repeated { server, queue_ids: repeated }))
}

/// Refuses a search with the owner's rights if the owner's code could find a temporary object of the session.
fn check_reader(table: &relation::Table) -> Result<(), Error> {
    if table.may_be_updated() {
        return Ok(());
    }
    let Some(object) = temporary_objects::object_in_the_way(table, table.owner) else { return Ok(()) };
    let quoted = &table.quoted;
    let message = format!(
        "cannot search {quoted} as its owner for rows that were deleted and came back, while the session has the \
         temporary object {object}"
    );
    let hint = format!(
        "The owner's functions could find {object} in place of their own objects. Drop it before COMMIT, or GRANT SELECT, \
         UPDATE ON {quoted} to the role, where no policy hides rows from it."
    );
    let code = PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE;
    Err(Error::refused(code, message, hint))
}

/// This transaction's deletes of a collection's records. Postgres sorts them, within its own memory limits.
struct Departures {
    cursor: Cursor,
    /// The last record that was read. More deletes of it may follow.
    begun: Option<Departure>,
    is_at_end: bool,
}

impl Departures {
    fn open(
        connection: &Connection,
        server: &str,
        attachment: &Attachment,
        arrivals: Option<&BTreeSet<String>>,
    ) -> Departures {
        let ids: Vec<&str> = arrivals.into_iter().flatten().map(String::as_str).collect();
        let values = (server, wake_at_commit::lowest_queued(), &*attachment.sync_id, &*attachment.collection_id, &*ids);
        let query = [DELETES, arrivals.map_or("", |_| OF_ARRIVALS), BY_RECORD].concat();
        let cursor = security_context::as_queue_owner(|| {
            Cursor::open::<(&str, i64, &str, &str, &[&str])>(connection, &query, values)
        });
        Departures { cursor, begun: None, is_at_end: false }
    }

    /// The next records; none at the end.
    fn next(&mut self, connection: &Connection) -> Vec<Departure> {
        let mut departures: Vec<Departure> = Vec::new();
        while !self.is_at_end && departures.is_empty() {
            departures.extend(self.begun.take());
            let rows = security_context::as_queue_owner(|| self.cursor.fetch(connection, DELETES_AT_ONCE));
            let own = rows.iter::<QueuedDelete>().filter(|delete| session::is_own_transaction(delete.writer as u32));
            for QueuedDelete { queue_id, upstream_id, .. } in own {
                match departures.last_mut() {
                    Some(last) if last.upstream_id == upstream_id => last.queue_ids.push(queue_id),
                    _ => departures.push(Departure { upstream_id, queue_ids: vec![queue_id] }),
                }
            }
            self.is_at_end = rows.len() < DELETES_AT_ONCE;
            rows.free();
            if !self.is_at_end {
                self.begun = departures.pop();
            }
        }
        departures
    }
}

/// A table that is searched for reinserted rows.
struct TableSearch<'a> {
    connection: &'a Connection,
    columns: &'a Columns<'a>,
    server: &'a str,
    key_scope: u32,
}

impl TableSearch<'_> {
    /// Settles the deletes of records that a row of the table has now. Returns the other deletes, except the last one
    /// of each record.
    fn reconcile(&self, departures: Vec<Departure>) -> Vec<i64> {
        let rows = self.rows(&departures);
        let mut gone: HashMap<String, Vec<i64>> =
            departures.into_iter().map(|departure| (departure.upstream_id, departure.queue_ids)).collect();
        let all: Vec<_> = self.columns.all().collect();
        let found = (0..rows.len()).filter_map(|place| {
            let row = CopiedRow::of(&rows, place, &all);
            // The column's collation may treat other ids as equal.
            Some((place, gone.remove(row.row().text(self.columns.upstream_id)?.as_ref())?))
        });
        let found: Vec<(usize, Vec<i64>)> = found.collect();
        for found in found.chunks(ROWS_AT_ONCE) {
            let mut deleted = self.digests(found.iter().flat_map(|(_, queue_ids)| queue_ids).copied().collect());
            let moves = freeing(|| self.moves(&rows, found, &mut deleted));
            self.write(&moves);
        }
        rows.free();
        let earlier = gone.values().filter_map(|queue_ids| Some(queue_ids.split_last()?.1));
        earlier.flatten().copied().collect()
    }

    /// The rows of the table that may have one of the upstream ids.
    fn rows(&self, departures: &[Departure]) -> QueryRows<'_> {
        let names: Vec<String> = self.columns.all().map(|column| format!("t.{}", column.quoted)).collect();
        // With the column's collation, like its index.
        let query = format!(
            "SELECT {} FROM {}{} AS t WHERE t.{} OPERATOR(pg_catalog.=) ANY ($1)",
            names.join(", "),
            if self.columns.table.is_partitioned { "" } else { "ONLY " },
            self.columns.table.quoted,
            self.columns.upstream_id.quoted,
        );
        let ids: Vec<&str> = departures.iter().map(|departure| departure.upstream_id.as_str()).collect();
        let run = || self.connection.query::<(&[&str],)>(&query, (&ids,));
        // The planner calls functions of the table's owner, for instance in the condition of an index. So the query
        // runs with the rights of a role that wrote the table, or as the owner. No policy may hide a row.
        let table = self.columns.table;
        freeing(|| if table.may_be_updated() { run() } else { security_context::as_table_owner(table, run) })
    }

    /// The moves in `found`, each given as the place of its row and the queued deletes.
    fn moves(&self, rows: &QueryRows, found: &[(usize, Vec<i64>)], deleted: &mut HashMap<i64, String>) -> Vec<Move> {
        let all: Vec<_> = self.columns.all().collect();
        let mut data = DataPrinter::new(self.columns);
        let places = data.all();
        let key = self.columns.key_printer();
        let read = |(place, queue_ids): &(usize, Vec<i64>)| {
            let row = CopiedRow::of(rows, *place, &all);
            let row = row.row();
            let (last, earlier) = queue_ids.split_last()?;
            let deleted: Vec<String> = queue_ids.iter().filter_map(|queue_id| deleted.remove(queue_id)).collect();
            // An update that was queued between two deletes must not override the fields of the row.
            let data = field_digests::changed_fields(&data.text(&row, &places), &deleted);
            Some(Move { last: *last, earlier: earlier.to_vec(), key: key.text(&row), data })
        };
        printed_alike(DependsOn::of(all.iter().copied()), || found.iter().filter_map(read).collect())
    }

    /// The digests of deleted rows, by the ids of their queued deletes.
    fn digests(&self, queue_ids: Vec<i64>) -> HashMap<i64, String> {
        let rows =
            freeing(|| security_context::as_queue_owner(|| DIGESTS.run(self.connection, (self.server, &*queue_ids))));
        let digests = rows.iter::<(i64, Json)>().map(|(queue_id, digests)| (queue_id, digests.to_text())).collect();
        rows.free();
        digests
    }

    fn write(&self, moves: &[Move]) {
        let (turned, unchanged): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(|moved| moved.data.is_some());
        let earlier = moves.iter().flat_map(|moved| &moved.earlier).copied();
        let gone: Vec<i64> = earlier.chain(unchanged.iter().map(|moved| moved.last)).collect();
        drop_deletes(self.connection, self.server, &gone);
        let data: Vec<Option<&str>> = turned.iter().map(|moved| moved.data.as_deref()).collect();
        let keys: Vec<&str> = turned.iter().map(|moved| moved.key.as_str()).collect();
        let ids: Vec<i64> = turned.iter().map(|moved| moved.last).collect();
        if !ids.is_empty() {
            let values = (self.server, &*ids, JsonbArray(&data), &*keys, Oid::from(self.key_scope));
            freeing(|| security_context::as_queue_owner(|| TURN.run(self.connection, values).free()));
        }
    }
}
