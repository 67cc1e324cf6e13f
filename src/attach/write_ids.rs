//! Writing upstream ids into the rows of a table that is delivered by the outbox, some time after their creates.
//!
//! A row is found by its primary key, which the queue kept as a JSON array. In the meantime another session may have
//! deleted the row, given it another id, or locked it. The statements run where row security hides no row: a row that
//! they do not find is gone, and its id is forgotten.

use std::fmt::Write as _;

use pgrx::pg_sys;

use crate::outbox::write_back::{AttachedTable, PendingId};
use crate::pg::output::read_alike;
use crate::pg::relation::Table;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::text;
use contract::json::Cursor;

use super::write_back_guard::{Afterwards, WriteBackGuard};
use contract::capture_sql::upstream_id_expression;

/// The statements for one table.
pub struct IdWriter {
    table: pg_sys::Oid,
    /// The names of the key's columns.
    key: Vec<String>,
    write: String,
    visited: String,
    find: String,
}

/// The table as the outbox sees it; None if it is not attached any more, or its key is gone.
pub fn open(connection: &Connection, table: &Table) -> Option<Box<dyn AttachedTable>> {
    of(connection, table).map(|writer| Box::new(writer) as Box<dyn AttachedTable>)
}

/// The statements for `table`; None if it is not attached any more, or its key is gone.
fn of(connection: &Connection, table: &Table) -> Option<IdWriter> {
    static ATTACHED: Statement = Statement::new(
        "SELECT a.upstream_id_column::pg_catalog.text FROM sequin.attachments a \
         WHERE a.relation OPERATOR(pg_catalog.=) $1 LIMIT 1",
    );
    static TYPES: Statement = Statement::new(
        "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1 \
         AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum",
    );
    let relation = Value::Oid(table.oid.to_u32());
    let attached = ATTACHED.run(connection, &[relation]);
    let id = table.column(&(attached.len() > 0).then(|| attached.text(0, 1)).flatten()?)?;
    let types = TYPES.run(connection, &[relation]);
    let type_of = |name: &str| {
        (0..types.len()).find(|row| types.text(*row, 1).as_deref() == Some(name)).and_then(|row| types.text(row, 2))
    };
    let (mut key, mut columns, mut same) = (Vec::new(), String::new(), String::new());
    for column in table.key() {
        let (comma, and) = if key.is_empty() { ("", "") } else { (", ", " AND ") };
        write!(columns, "{comma}{} {}", column.quoted, type_of(&column.name)?).ok()?;
        write!(same, "{and}t.{0} OPERATOR({1}) k.{0}", column.quoted, column.key_equality()).ok()?;
        key.push(column.name.clone());
    }
    if key.is_empty() {
        return None;
    }
    let only = if table.is_partitioned { "" } else { "ONLY " };
    let (name, id) = (&table.quoted, &id.quoted);
    let given = upstream_id_expression("t", id, text::database_is_utf8());
    let wanted = format!(
        "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(id, key, upstream_id) \
         CROSS JOIN LATERAL pg_catalog.jsonb_to_record(w.key::pg_catalog.jsonb) AS k({columns})"
    );
    Some(IdWriter {
        table: table.oid,
        key,
        write: format!(
            "UPDATE {only}{name} AS t SET {id} = l.upstream_id FROM (SELECT w.id, w.upstream_id, t.ctid AS place, \
             t.tableoid AS part FROM {wanted} JOIN {only}{name} AS t ON {same} WHERE {given} IS NULL \
             FOR UPDATE OF t SKIP LOCKED) AS l WHERE t.ctid OPERATOR(pg_catalog.=) l.place \
             AND t.tableoid OPERATOR(pg_catalog.=) l.part RETURNING l.id"
        ),
        find: format!(
            "SELECT t.{id}::pg_catalog.text FROM pg_catalog.jsonb_to_record($1::pg_catalog.jsonb) AS k({columns}) \
             JOIN {only}{name} AS t ON {same} WHERE t.{id} IS NOT NULL LIMIT 1"
        ),
        visited: format!(
            "SELECT w.id FROM {wanted} WHERE NOT EXISTS (SELECT FROM {only}{name} AS t WHERE {same} AND {given} IS NULL)"
        ),
    })
}

impl AttachedTable for IdWriter {
    /// Writes what can be written now, and gives the ids of all rows that need not be visited again.
    fn write(&self, connection: &Connection, rows: &[&PendingId]) -> Vec<i64> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        let keys: Vec<String> = rows.iter().map(|row| key_object(&names, &row.row_key)).collect();
        let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
        let upstream_ids: Vec<Option<&str>> = rows.iter().map(|row| Some(row.upstream_id.as_str())).collect();
        let values = [Value::Int8s(&ids), Value::Texts(&keys), Value::Texts(&upstream_ids)];
        // The table's constraint triggers run now, with its owner's rights, and not at the end of the transaction.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE");
        read_alike(|| {
            let quiet = WriteBackGuard::begin(self.table, Afterwards::Sent);
            let written = connection.ids(&self.write, &values);
            drop(quiet);
            let mut visited = connection.ids(&self.visited, &values);
            visited.extend(written);
            visited
        })
    }

    /// The upstream id that the row with this key, a JSON array, has now.
    fn find(&self, connection: &Connection, key: &str) -> Option<String> {
        let names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        let key = key_object(&names, key);
        let found = read_alike(|| connection.text(&self.find, &[Value::Text(Some(&key))]))?;
        (!found.trim().is_empty()).then_some(found)
    }
}

/// `key`, an array of the values of a key's columns, as an object with their names.
pub fn key_object(names: &[&str], key: &str) -> String {
    let mut cursor = Cursor::new(key);
    cursor.enter();
    let mut object = String::from("{");
    for name in names {
        let value = if cursor.next_element() { cursor.value() } else { "null" };
        let comma = if object.len() > 1 { "," } else { "" };
        let name = serde_json::to_string(name).expect("a string can be written");
        object.extend([comma, &name, ":", value]);
    }
    object.push('}');
    object
}
