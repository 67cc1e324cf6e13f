//! Deleting what the history has kept long enough.
//!
//! What was deleted is not stepped over again: while another transaction keeps dead rows from being vacuumed, each look
//! would otherwise take longer than the last.

use std::time::{Duration, Instant};

use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::worker as process;

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
        let deleted = process::attempt(|| DELETE.run(connection, &values).len());
        match deleted {
            Ok(AT_ONCE..) => self.looked = None,
            Ok(_) => {
                self.looked = Some(Instant::now());
                self.clean_until = until;
            }
            // Whatever it is, it must not stop the delivery.
            Err(error) => {
                process::log(&format!("what was delivered long ago could not be deleted: {error}"));
                self.looked = Some(Instant::now());
            }
        }
    }

    /// Whether there is more to delete, which must not wait for the next record or the look at everything.
    pub fn is_behind(&self) -> bool {
        self.looked.is_none()
    }
}
