//! What the triggers do with `delivery => 'outbox'`: they write what the statement changed into the queue.
//!
//! A change is in order with the others of its row, by the primary key. So a row without an upstream id is no mistake
//! here: its create may be in the queue before it, and brings the id when it is delivered.

use std::cell::OnceCell;

use pgrx::pg_sys::panic::ErrorReport;

use crate::exchange::read_only;
use crate::mutation::kind::Kind;
use crate::outbox::enqueue::{self, Columns, Route};
use crate::pg::spi::{Batch, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::{relation, report, session, text};
use crate::server::{self, Server};

use super::attachment::{Attachment, Operation};
use super::columns::changed_key;
use super::queries::Table;

/// Rows that are read and written at once.
const ROWS: u32 = 1_000;

/// Queues what the statement changed.
pub fn queue(
    connection: &Connection,
    attachment: &Attachment,
    described: &relation::Table,
    table: &Table,
    operation: Operation,
) -> Result<(), ErrorReport> {
    let (kind, query) = match operation {
        Operation::Insert => (Kind::Create, table.inserted_with_key()),
        Operation::Update => (Kind::Update, table.updated()),
        Operation::Delete => (Kind::Delete, table.deleted_with_key()),
    };
    let relation = identity(connection, described);
    // Looked for when there is a row: a statement that changes nothing upstream needs no right to.
    let server: OnceCell<Server> = OnceCell::new();
    let begin = || -> Result<u32, ErrorReport> {
        if session::is_read_only() {
            return Err(report::error(&read_only(operation.keyword())));
        }
        let found = match attachment.server.as_deref() {
            // The lock of the table keeps the argument, and the server's name in it, as they are.
            Some(name) => server::find(Some(name)),
            None => server::find_and_keep(None),
        };
        let found = found.map_err(|unusable| report::error(&unusable.into()))?;
        server.get_or_init(|| found);
        Ok(ROWS)
    };
    connection.in_batches(&query, begin, |batch| {
        let Some(server) = server.get() else { return Ok(()) };
        attachment.with_arguments(|arguments| {
            let route = Route {
                server: &server.name,
                kind,
                sync_id: &attachment.sync_id,
                collection_id: &attachment.collection_id,
                await_consumers: arguments.await_consumers.filter(|consumers| !consumers.is_empty()),
                timeout_ms: attachment.timeout_ms,
                relation: Some(relation),
            };
            write(&route, batch, table, operation)
        })
    })
}

/// The table that a row's key belongs to. A partition's rows are also written through the tables above it, so it is the
/// uppermost of these that is attached.
fn identity(connection: &Connection, described: &relation::Table) -> u32 {
    static UPPERMOST: Statement = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) WITH ORDINALITY AS a(relation, height) \
         WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) a.relation \
         AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure) ORDER BY a.height DESC LIMIT 1",
    );
    let own = described.oid.to_u32();
    if !described.is_partition {
        return own;
    }
    let rows = UPPERMOST.run(connection, &[Value::Oid(own)]);
    let uppermost = if rows.len() > 0 { rows.oid_number(0, 1) } else { None };
    rows.free();
    uppermost.unwrap_or(own)
}

/// Writes a batch, whose columns are the upstream id, the key, whether the key was changed, and the data.
fn write(route: &Route<'_>, batch: &Batch, table: &Table, operation: Operation) -> Result<(), ErrorReport> {
    let rows = 0..batch.len();
    let keys: Vec<String> = rows.clone().map(|row| batch.json(row, 2)).collect();
    if operation == Operation::Update
        && let Some(row) = rows.clone().find(|row| batch.boolean(*row, 3))
    {
        return Err(changed_key(table, &keys[row]));
    }
    if !text::database_is_utf8() {
        // What has no place in UTF-8 can never be sent: that is an error of this statement, as it is of a call that waits.
        rows.clone().for_each(|row| drop(batch.json(row, 4)));
    }
    let upstream_ids: Vec<Option<String>> = rows.clone().map(|row| batch.text(row, 1)).collect();
    let columns = Columns {
        ordering_keys: keys.iter().map(|key| Some(key.as_str())).collect(),
        upstream_ids: upstream_ids.iter().map(|id| id.as_deref().filter(|id| !id.trim().is_empty())).collect(),
        data: rows.map(|row| batch.jsonb(row, 4)).collect(),
    };
    enqueue::append(route, &columns);
    Ok(())
}
