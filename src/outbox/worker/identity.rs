//! Which database an outbox belongs to: a copy of it would send everything a second time.
//!
//! `sequin.origin` names the database. A restored dump brings a second row; a database made from a template has the row of
//! the template alone. In such a copy only records from before are in doubt. Their ids are lower than any that is given
//! out there, so the first id of each session that enqueues divides the records in two. They are held: a record that was
//! enqueued in the copy is delivered, unless it has to wait for a held one of its key. A restored dump, and a database
//! that was moved to another cluster, may have other ids in its sequence: there the whole queue of a server is paused.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::{bgworker, session};

use crate::outbox::claim::NAMED_SERVERS;
use crate::outbox::server_state;

/// Why records are not sent from a copy. What follows the colon says which.
const IN_A_COPY: &str = "this database is a copy: ";

/// One row, if the database was made from a template in this cluster and no worker has noticed yet.
static IS_FROM_TEMPLATE: Statement = Statement::new(
    "SELECT 1 FROM sequin.origin h HAVING pg_catalog.bool_and(h.system_identifier OPERATOR(pg_catalog.=) $1 \
     AND h.database OPERATOR(pg_catalog.<>) $2)",
);

/// This cluster and database, as parameters.
fn here() -> [Value<'static>; 2] {
    let (system, database) = (bgworker::system_identifier(), session::database());
    [Value::Int8(system), Value::Oid(database)]
}

/// Notes the first id that a session enqueues in a database made from a template, in the transaction that enqueues it.
/// Runs as the owner of the queue.
pub fn note_enqueued(first: i64) {
    /// A session never leaves its database, and a database does not become a copy while it has sessions.
    static IS_AT_HOME: AtomicBool = AtomicBool::new(false);
    static NOTE: Statement = Statement::new(
        "INSERT INTO sequin.first_ids (system_identifier, database, id) SELECT $1, $2, $3 WHERE NOT EXISTS ( \
         SELECT FROM sequin.first_ids f WHERE f.system_identifier OPERATOR(pg_catalog.=) $1 \
         AND f.database OPERATOR(pg_catalog.=) $2 AND f.id OPERATOR(pg_catalog.<=) $3)",
    );
    if IS_AT_HOME.load(Ordering::Relaxed) {
        return;
    }
    let connected = spi::connected(|connection| -> Result<(), std::convert::Infallible> {
        let [system, database] = here();
        if IS_FROM_TEMPLATE.run(connection, &[system, database]).len() == 0 {
            IS_AT_HOME.store(true, Ordering::Relaxed);
        } else {
            NOTE.run(connection, &[system, database, Value::Int8(first)]).free();
        }
        Ok(())
    });
    let Ok(()) = connected;
}

/// Makes sure that this worker is in its own database: a copy would send everything a second time.
pub fn check(connection: &Connection) {
    static ELSEWHERE: Statement = Statement::new(
        "DELETE FROM sequin.origin h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    static IS_ELSEWHERE: Statement = Statement::new(
        "SELECT FROM sequin.origin h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    static FORGET: Statement = Statement::new("DELETE FROM sequin.first_ids");
    server_state::end_empty_holds(connection);
    let here = here();
    if IS_ELSEWHERE.run(connection, &here).len() == 0 {
        return;
    }
    if IS_FROM_TEMPLATE.run(connection, &here).len() > 0 {
        hold(connection, &here);
    } else {
        let named = NAMED_SERVERS.run(connection, &[]);
        for server in (0..named.len()).filter_map(|row| named.text(row, 1)) {
            let reason = format!("{IN_A_COPY}what is queued here may have been sent from where it was copied from");
            server_state::pause(connection, &server, 0, &reason, None);
        }
    }
    FORGET.run(connection, &[]).free();
    ELSEWHERE.run(connection, &here).free();
    write_home(connection, &here);
}

/// Holds the records from before the copy was made. A record of a transaction that has not ended is not scan here, and
/// its id is higher.
fn hold(connection: &Connection, here: &[Value<'_>; 2]) {
    static BEFORE: Statement = Statement::new(concat!(
        named_servers!(),
        ", first(id) AS (SELECT COALESCE(pg_catalog.min(f.id), 9223372036854775807) FROM sequin.first_ids f \
           WHERE f.system_identifier OPERATOR(pg_catalog.=) $1 AND f.database OPERATOR(pg_catalog.=) $2), \
         before(server, id) AS (SELECT n.server, (SELECT q.id FROM sequin.queue q \
           WHERE q.server OPERATOR(pg_catalog.=) n.server AND q.id OPERATOR(pg_catalog.<) (SELECT first.id FROM first) \
           ORDER BY q.id DESC LIMIT 1) FROM named n WHERE n.server IS NOT NULL UNION ALL \
           SELECT p.server, p.id FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.<) (SELECT first.id FROM first)) \
         SELECT b.server, pg_catalog.max(b.id) FROM before b WHERE b.id IS NOT NULL GROUP BY b.server"
    ));
    let before = BEFORE.run(connection, here);
    for row in 0..before.len() {
        if let (Some(server), Some(last)) = (before.text(row, 1), before.int8(row, 2)) {
            let reason = format!(
                "{IN_A_COPY}what was queued before may have been sent from where it was copied from; sequin_resume sends it"
            );
            server_state::hold(connection, &server, last + 1, &reason);
        }
    }
}

/// Notes which database this is.
fn write_home(connection: &Connection, here: &[Value<'_>; 2]) {
    static WRITE: Statement = Statement::new(
        "INSERT INTO sequin.origin (system_identifier, database) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM sequin.origin)",
    );
    WRITE.run(connection, here).free();
}
