//! Writes upstream ids into the rows of an attached table after the outbox has delivered their creates.
//!
//! A row is found by its primary key, which the outbox has stored as a JSON array. Since then another session may have
//! deleted the row, written another id into it, or locked it. The statements run without row security: a row that they do
//! not find was deleted, and its id is dropped.

use std::collections::HashMap;
use std::fmt::Write as _;

use pgrx::pg_sys::Oid;

use crate::outbox::write_back::{AttachedTable, PendingId};
use crate::pg::output::read_alike;
use crate::pg::relation::Table;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use crate::pg::text;
use contract::json::Cursor;

use super::write_back_guard::{Afterwards, WriteBackGuard};
use contract::capture_sql::upstream_id_expression;

/// The statements for one table.
pub struct IdWriter {
    table: Oid,
    /// The names of the key's columns.
    key: Vec<String>,
    write: String,
    visited: String,
    find: String,
}

/// The interface of `table` for the outbox; None if it is no longer attached, or has no primary key.
pub fn open(connection: &Connection, table: &Table) -> Option<Box<dyn AttachedTable>> {
    of(connection, table).map(|writer| Box::new(writer) as Box<dyn AttachedTable>)
}

fn of(connection: &Connection, table: &Table) -> Option<IdWriter> {
    static ATTACHED: Statement<(Oid,)> = Statement::new(
        "SELECT a.upstream_id_column::pg_catalog.text FROM sequin.attachments a \
         WHERE a.relation OPERATOR(pg_catalog.=) $1 LIMIT 1",
    );
    static TYPES: Statement<(Oid,)> = Statement::new(
        "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1 \
         AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped ORDER BY a.attnum",
    );
    let (id,) = ATTACHED.run(connection, (table.oid,)).first::<(String,)>()?;
    let id = table.column(&id)?;
    let types: HashMap<String, String> = TYPES.run(connection, (table.oid,)).iter::<(String, String)>().collect();
    let (mut key, mut columns, mut same) = (Vec::new(), String::new(), String::new());
    for column in table.key() {
        let (comma, and) = if key.is_empty() { ("", "") } else { (", ", " AND ") };
        write!(columns, "{comma}{} {}", column.quoted, types.get(&column.name)?).ok()?;
        write!(same, "{and}t.{0} OPERATOR({1}) k.{0}", column.quoted, column.key_equality()).ok()?;
        key.push(column.name.clone());
    }
    if key.is_empty() {
        return None;
    }
    let only = if table.is_partitioned { "" } else { "ONLY " };
    let (name, id) = (&table.quoted, &id.quoted);
    let given = upstream_id_expression("t", id, text::database_is_utf8());
    // LIMIT and OFFSET keep the planner from a join that reads the whole table: each row is found by its key.
    let wanted = format!(
        "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(id, key, upstream_id) \
         CROSS JOIN LATERAL pg_catalog.jsonb_to_record(w.key::pg_catalog.jsonb) AS k({columns})"
    );
    Some(IdWriter {
        table: table.oid,
        key,
        write: format!(
            "UPDATE {only}{name} AS t SET {id} = l.upstream_id FROM (SELECT w.id, w.upstream_id, r.place, r.part \
             FROM {wanted} CROSS JOIN LATERAL (SELECT t.ctid AS place, t.tableoid AS part FROM {only}{name} AS t \
             WHERE {same} AND {given} IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED) AS r) AS l WHERE t.ctid OPERATOR(pg_catalog.=) l.place \
             AND t.tableoid OPERATOR(pg_catalog.=) l.part RETURNING l.id"
        ),
        find: format!(
            "SELECT t.{id}::pg_catalog.text FROM pg_catalog.jsonb_to_record($1::pg_catalog.jsonb) AS k({columns}) \
             JOIN {only}{name} AS t ON {same} WHERE t.{id} IS NOT NULL LIMIT 1"
        ),
        visited: format!(
            "SELECT w.id FROM {wanted} WHERE NOT EXISTS (SELECT FROM {only}{name} AS t WHERE {same} AND {given} IS NULL \
             OFFSET 0)"
        ),
    })
}

impl AttachedTable for IdWriter {
    /// Writes the ids that can be written now, and returns the numbers of all creates that are done.
    fn write(&self, connection: &Connection, rows: &[&PendingId]) -> Vec<i64> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        let keys: Vec<String> = rows.iter().map(|row| key_object(&names, &row.row_key)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let upstream_ids: Vec<&str> = rows.iter().map(|row| row.upstream_id.as_str()).collect();
        let run = |query: &str| -> Vec<i64> {
            let values = (&*ids, &*keys, &*upstream_ids);
            let rows = connection.query::<(&[i64], &[&str], &[&str])>(query, values);
            rows.iter::<(i64,)>().map(|(id,)| id).collect()
        };
        // Constraint triggers of the table run now, with the rights of its owner, and not at the end of the transaction.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE");
        read_alike(|| {
            let guard = WriteBackGuard::begin(self.table, Afterwards::Sent);
            let written = run(&self.write);
            drop(guard);
            let mut visited = run(&self.visited);
            visited.extend(written);
            visited
        })
    }

    /// The current upstream id of the row with this primary key, a JSON array.
    fn find(&self, connection: &Connection, key: &str) -> Option<String> {
        let names: Vec<&str> = self.key.iter().map(String::as_str).collect();
        let key = key_object(&names, key);
        let (found,) = read_alike(|| connection.query::<(&str,)>(&self.find, (&key,)).first::<(String,)>())?;
        (!found.trim().is_empty()).then_some(found)
    }
}

/// Turns a primary key, an array of the values of its columns, into an object with the names of the columns.
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
