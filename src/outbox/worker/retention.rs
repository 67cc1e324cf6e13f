//! Deleting what the history has kept long enough.
//!
//! What was deleted is not stepped over again: while another transaction keeps dead rows from being vacuumed, each look
//! would otherwise take longer than the last.

use std::time::{Duration, Instant};

use crate::ereport;
use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::transaction;

use crate::outbox::guard;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(15);

/// Rows that are deleted in one transaction, so that delivery goes on in between.
const AT_ONCE: usize = 10_000;

/// What a worker has deleted so far.
pub struct Retention {
    looked: Option<Instant>,
    /// Before this time, in Postgres' microseconds, nothing is left.
    clean_until: i64,
}

static DELETE: Statement = Statement::new(
    "DELETE FROM sequin.history h WHERE h.ctid OPERATOR(pg_catalog.=) ANY (ARRAY( \
     SELECT o.ctid FROM sequin.history o WHERE o.delivered_at OPERATOR(pg_catalog.>=) $1 \
     AND o.delivered_at OPERATOR(pg_catalog.<) $2 ORDER BY o.delivered_at LIMIT $3)) RETURNING 1",
);

/// The rows that [`DELETE`] deletes.
static OLD: Statement = Statement::new(
    "SELECT o.id FROM sequin.history o WHERE o.delivered_at OPERATOR(pg_catalog.>=) $1 \
     AND o.delivered_at OPERATOR(pg_catalog.<) $2 ORDER BY o.delivered_at LIMIT $3",
);

static DELETE_BY_ID: Statement =
    Statement::new("DELETE FROM sequin.history h WHERE h.id OPERATOR(pg_catalog.=) ANY ($1)");

impl Retention {
    pub fn new() -> Retention {
        Retention { looked: None, clean_until: i64::MIN + 1 }
    }

    /// Deletes some of what is older than `kept`, if it is time to look.
    pub fn enforce(&mut self, connection: &Connection, kept: Duration) {
        if self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        let until = session::now() - i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let values = [Value::Time(self.clean_until), Value::Time(until), Value::Int8(AT_ONCE as i64)];
        let deleted = transaction::attempt(|| match guard::carefully(|| DELETE.run(connection, &values).len()) {
            Ok(deleted) => deleted,
            Err(_) => {
                guard::be_careful();
                self.delete_one_by_one(connection, until)
            }
        });
        match deleted {
            Ok(AT_ONCE..) => self.looked = None,
            Ok(_) => {
                self.looked = Some(Instant::now());
                self.clean_until = until;
            }
            // Whatever it is, it must not stop the delivery.
            Err(error) => {
                guard::be_careful();
                ereport::log(&format!("what was delivered long ago could not be deleted: {error}"));
                self.looked = Some(Instant::now());
            }
        }
    }

    /// Deletes what can be deleted when one row cannot be: it stays. Gives the number of rows that were looked at.
    fn delete_one_by_one(&self, connection: &Connection, until: i64) -> usize {
        let values = [Value::Time(self.clean_until), Value::Time(until), Value::Int8(AT_ONCE as i64)];
        let rows = OLD.run(connection, &values);
        let ids: Vec<i64> = (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect();
        rows.free();
        let deleted = guard::each_logged("deleted from the history", &ids, |ids| {
            DELETE_BY_ID.run(connection, &[Value::Int8s(ids)]).free();
        });
        if deleted > 0 { ids.len() } else { 0 }
    }

    /// Whether there is more to delete, which must not wait for the next record or the look at everything.
    pub fn is_behind(&self) -> bool {
        self.looked.is_none()
    }
}
