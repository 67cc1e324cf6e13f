//! A visit to one attached table: writing upstream ids into its rows.
//!
//! These statements are the only ones of a worker that run code of other roles: the table's triggers, its domains, the
//! input functions of its key's types. They run with the rights of the table's owner, in the restricted manner in which
//! Postgres itself runs the functions of an index (no deferred trigger, no change of role), with a time limit, and in a
//! subtransaction.

use std::collections::BTreeSet;
use std::time::Instant;

use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::outbox::guard;
use crate::outbox::store::upstream_ids::{self, PendingId};
use crate::pg::relation::Table;
use crate::pg::spi::Connection;
use crate::pg::{security_context, text, transaction};

use super::propagate_ids::propagate;
use super::table_backoff::{VISIT_TIMEOUT, Visit, end_visit};

/// An attached table, as far as write-back uses it.
pub trait AttachedTable {
    /// Writes the upstream ids of rows that have none and are not locked. Returns the creates that need no other visit:
    /// their row has an id now, or is gone.
    fn write(&self, connection: &Connection, rows: &[&PendingId]) -> Vec<i64>;

    /// The upstream id that a row has now. `row_key` is its primary key, a JSON array.
    fn find(&self, connection: &Connection, row_key: &str) -> Option<String>;
}

/// Opens an attached table. None if it is not attached any more, or has no key. The caller of the worker passes it, so
/// that the outbox does not depend on how tables are attached.
pub type OpenAttached = fn(&Connection, &Table) -> Option<Box<dyn AttachedTable>>;

pub fn ids(rows: &[&PendingId]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// Visits one table. `failures` counts this visit too.
pub fn visit_table(
    connection: &Connection,
    open: OpenAttached,
    relation: Oid,
    rows: &[&PendingId],
    failures: u32,
) -> Visit {
    let locked = upstream_ids::lock(connection, &ids(rows));
    let begun: Vec<i64> = locked.iter().filter(|(_, is_in_backoff)| *is_in_backoff).map(|(id, _)| *id).collect();
    let locked: BTreeSet<i64> = locked.into_iter().map(|(id, _)| id).collect();
    let rows: Vec<&PendingId> = rows.iter().copied().filter(|row| locked.contains(&row.id)).collect();
    let deleted = deleted_rows(connection, relation, &rows);
    let (gone, there): (Vec<&PendingId>, Vec<&PendingId>) =
        rows.into_iter().partition(|row| deleted.contains(&row.row_key));
    let mut visit = write_rows(connection, open, relation, &there);
    visit.done.extend(forget(connection, &ids(&gone)));
    if let Err(failure) = guard::carefully(|| end_visit(connection, &visit, failures, &begun)) {
        ereport::log(&format!("could not write down the end of a visit to a table: {}", failure.message));
    }
    visit
}

fn deleted_rows(connection: &Connection, relation: Oid, rows: &[&PendingId]) -> BTreeSet<String> {
    let keys: Vec<&str> = rows.iter().map(|row| row.row_key.as_str()).collect();
    upstream_ids::deleted_rows(connection, relation, &keys)
}

/// Stores these ids in the changes that wait for them, and deletes the pending ids. Returns the ids for which this
/// succeeded.
fn forget(connection: &Connection, creates: &[i64]) -> Vec<i64> {
    let mut forgotten = Vec::with_capacity(creates.len());
    let failed = guard::each_carefully(creates, |creates| {
        propagate_and_delete(connection, creates);
        forgotten.extend_from_slice(creates);
    });
    for (id, failure) in failed {
        guard::note("forgotten after its row was deleted", *id, &failure);
    }
    forgotten
}

fn propagate_and_delete(connection: &Connection, creates: &[i64]) {
    for (id, failure) in guard::each_guarded(creates, |creates| propagate(connection, creates)) {
        guard::note("followed by changes that have its upstream id", *id, &failure);
    }
    upstream_ids::delete(connection, creates);
}

/// Writes the ids of rows. Finds a row that cannot be written by halves, so that the other rows still get their ids.
fn write_rows(connection: &Connection, open: OpenAttached, relation: Oid, rows: &[&PendingId]) -> Visit {
    let begun = Instant::now();
    let mut visit = Visit::default();
    let fail = |visit: &mut Visit, rows: &[&PendingId], error: &str| {
        // Once for each visit: sequin.delivered has the error of each row.
        if visit.failed.is_empty() {
            ereport::log(&format!("could not write upstream ids into their rows: {error}"));
        }
        let error = text::storable(error);
        guard::each_logged("marked as not written back", &ids(rows), |ids| {
            upstream_ids::set_error(connection, ids, &error);
        });
        visit.failed.extend(ids(rows));
        visit.took = begun.elapsed();
    };
    if rows.is_empty() {
        return visit;
    }
    // Reading the catalogs can raise as well: they hold text of other roles.
    let opened = Table::open_to_write(relation).and_then(|table| {
        let Some(table) = table else { return Ok(None) };
        let attached = transaction::attempt(|| open(connection, &table))?;
        Ok(attached.map(|attached| (attached, table.owner)))
    });
    let (attached, owner) = match opened {
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
        let left = VISIT_TIMEOUT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            fail(&mut visit, part, "the triggers of the table take too long");
            continue;
        }
        let deadline = transaction::Deadline::after(left);
        let written = transaction::attempt(|| {
            let written = security_context::restricted_to_owner(owner, || attached.write(connection, part));
            // A delete that was committed since may have been followed by another row with the same key.
            if !deleted_rows(connection, relation, part).is_empty() {
                ereport::internal_error("the row was deleted meanwhile".to_owned());
            }
            // In the same subtransaction: an id that is written and stays pending could be written into another row later.
            propagate_and_delete(connection, &written);
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
