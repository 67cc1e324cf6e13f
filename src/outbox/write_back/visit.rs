//! A visit to one attached table: writing upstream ids into its rows.
//!
//! These statements are the only ones of the outbox that run code of other roles: the table's triggers, its domains, the
//! input functions of its key's types. They run with the rights of the table's owner, in the restricted manner in which
//! Postgres itself runs the functions of an index (no deferred trigger, no change of role), with a time limit, and in a
//! subtransaction.
//!
//! While this code runs, the transaction has locked nothing that delivery waits for. See [the module](super) for the rest
//! of the transaction.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contract::batching::visits::{Visit, Visited};
use pgrx::pg_sys::Oid;

use crate::ereport;
use crate::outbox::guard;
use crate::outbox::store::upstream_ids::{self, PendingId};
use crate::pg::relation::Table;
use crate::pg::spi::Connection;
use crate::pg::transaction::Deadline;
use crate::pg::{security_context, transaction};

use super::propagate_ids::{self, propagate};
use super::writer::{Gone, in_transaction};

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

/// A visit without any success ends after so many failures: the next one tries other rows.
const MAX_FAILURES: usize = 8;

/// What came of a visit, with the error of each failed row.
pub struct Written {
    pub visited: Visited,
    pub errors: Vec<String>,
}

/// The result for some rows of a visit, which are written in one transaction.
enum Part {
    /// The creates whose rows are written or gone, in order. The others are locked.
    Done(Vec<i64>),
    /// Another session is changing one of the pending ids or waiting changes. Nothing is written.
    Busy,
    /// One row at least cannot be written. Nothing is written.
    Failed(String),
    /// None of the table's rows can be written now.
    Refused(String),
}

/// Makes a visit. Rows that cannot be written are found by halves, so that the other rows still get their ids.
pub fn write_rows(open: OpenAttached, visit: &Visit, extension: Oid) -> Result<Written, Gone> {
    let begun = Instant::now();
    let (mut visited, mut errors) = (Visited::default(), Vec::new());
    let mut parts: Vec<&[i64]> = vec![&visit.creates];
    while let Some(part) = parts.pop() {
        let left = visit.limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            visited.exceeded_limit = true;
            break;
        }
        if visited.failed.len() >= MAX_FAILURES && visited.done.is_empty() {
            break;
        }
        let written = in_transaction(extension, |connection| write_part(connection, open, visit.table, part, left));
        let written = written?.unwrap_or_else(|failure| {
            guard::be_careful();
            Part::Failed(failure.message)
        });
        // Postgres' timers count whole milliseconds, and may fire a little early.
        let is_over = begun.elapsed() + Duration::from_millis(2) >= visit.limit;
        match written {
            Part::Done(done) => {
                visited.locked.extend(part.iter().filter(|create| done.binary_search(create).is_err()));
                visited.done.extend(done);
            }
            // Perhaps only because the rows before it took their time.
            Part::Failed(_) if is_over && visit.creates.len() > 1 => visited.exceeded_limit = true,
            Part::Failed(_) if is_over => {
                visited.failed.extend(part);
                errors.push(format!("the triggers of the table took longer than {} ms", visit.limit.as_millis()));
            }
            Part::Busy | Part::Failed(_) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Part::Busy => visited.locked.extend(part),
            Part::Failed(error) | Part::Refused(error) => {
                visited.failed.extend(part);
                errors.extend(part.iter().map(|_| error.clone()));
            }
        }
    }
    visited.took = begun.elapsed();
    Ok(Written { visited, errors })
}

/// Writes the ids of some rows. What it writes is undone if one of them fails.
fn write_part(connection: &Connection, open: OpenAttached, table: u32, creates: &[i64], limit: Duration) -> Part {
    let relation = Oid::from(table);
    // Reading the catalogs can raise as well: they hold text of other roles.
    let opened = Table::open_to_write(relation).and_then(|table| {
        let Some(table) = table else { return Ok(None) };
        let attached = transaction::attempt(|| open(connection, &table))?;
        Ok(attached.map(|attached| (attached, table.owner)))
    });
    let attached = match opened {
        Ok(attached) => attached,
        Err(error) => return Part::Refused(error),
    };
    let (is_busy, deadline) = (Cell::new(false), Cell::new(None::<Deadline>));
    let undo = |message: &str| -> ! {
        is_busy.set(true);
        ereport::internal_error(message.to_owned())
    };
    let written = transaction::attempt(|| {
        let rows = upstream_ids::read(connection, creates);
        let deleted = deleted_rows(connection, relation, rows.iter());
        let (gone, there): (Vec<&PendingId>, Vec<&PendingId>) =
            rows.iter().partition(|row| attached.is_none() || deleted.contains(&row.row_key));
        let mut done: Vec<i64> = gone.iter().map(|row| row.id).collect();
        if let Some((attached, owner)) = attached.as_ref().filter(|_| !there.is_empty()) {
            deadline.set(Some(Deadline::after(limit)));
            let written = security_context::restricted_to_owner(*owner, || attached.write(connection, &there));
            lift(&deadline);
            // A delete that was committed since may have been followed by another row with the same key.
            if !deleted_rows(connection, relation, there.into_iter()).is_empty() {
                undo("the row was deleted meanwhile");
            }
            done.extend(written);
        }
        done.sort_unstable();
        done.dedup();
        // Delivery deletes the pending id of a row when it has delivered the delete of that row. So an id that is not
        // there any more must not stay in a row.
        if upstream_ids::lock(connection, &done) != done {
            undo("the pending id was deleted meanwhile");
        }
        if !propagate_ids::lock_waiting_changes(connection, &done) {
            undo("a change of the row is being settled");
        }
        propagate_and_delete(connection, &done);
        // Those that another session has deleted need no visit.
        let missing = creates.iter().filter(|create| rows.binary_search_by_key(*create, |row| row.id).is_err());
        done.extend(missing);
        done.sort_unstable();
        done
    });
    lift(&deadline);
    match written {
        Ok(done) => Part::Done(done),
        Err(_) if is_busy.get() => Part::Busy,
        Err(error) => Part::Failed(error),
    }
}

fn lift(deadline: &Cell<Option<Deadline>>) {
    if let Some(deadline) = deadline.take() {
        deadline.lift();
    }
}

fn deleted_rows<'a>(
    connection: &Connection,
    relation: Oid,
    rows: impl Iterator<Item = &'a PendingId>,
) -> BTreeSet<String> {
    let keys: Vec<&str> = rows.map(|row| row.row_key.as_str()).collect();
    upstream_ids::deleted_rows(connection, relation, &keys)
}

/// Stores these ids in the changes that wait for them, and deletes the pending ids. In the subtransaction that writes the
/// rows: an id that is written and stays pending could be written into another row later.
fn propagate_and_delete(connection: &Connection, creates: &[i64]) {
    for (id, failure) in guard::each_guarded(creates, |creates| propagate(connection, creates)) {
        guard::note("followed by changes that have its upstream id", *id, &failure);
    }
    upstream_ids::delete(connection, creates);
}
