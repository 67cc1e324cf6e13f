//! Open work follows a foreign server that is renamed. `sequin.history` keeps the names under which records were sent.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use crate::outbox::claims_lock;
use crate::outbox::worker::{registry, wake_at_commit};
use crate::pg::event_trigger::Renaming;
use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::text::{for_message, quoted};

/// Keeps the workers away, and refuses the new name if requests under the old one are under way: what becomes of their
/// records is looked for under the name that the claim has.
pub fn begin(connection: &Connection, renaming: &Renaming) -> Result<(), ErrorReport> {
    static CLAIMS: Statement =
        Statement::new("SELECT c.owner FROM sequin.claims c WHERE c.server OPERATOR(pg_catalog.=) $1");
    if session::has_fixed_snapshot() {
        let message = format!("server \"{}\" cannot be renamed in this transaction", renaming.before);
        let hint =
            "It cannot see what was sent since it began. Rename the server in a transaction that is READ COMMITTED.";
        return Err(error(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, message, hint.to_owned()));
    }
    claims_lock::acquire();
    wake_at_commit::note_locked();
    let claims = CLAIMS.run(connection, &[Value::Text(Some(&renaming.before))]);
    let alive = registry::owners();
    // A request of a worker that is gone is settled by the next worker, under whatever name.
    if (0..claims.len()).any(|row| claims.int8(row, 1).is_some_and(|owner| alive.contains(&owner))) {
        let message = format!("server \"{}\" cannot be renamed while requests to it are under way", renaming.before);
        let name = renaming.before.replace('\'', "''");
        let hint = format!(
            "SELECT sequin_pause('{name}'), wait until no record of sequin.outbox is sending, ALTER SERVER {} RENAME TO \
             {}, SELECT sequin_resume('{}').",
            quoted(&renaming.before),
            quoted(&renaming.after),
            renaming.after.replace('\'', "''")
        );
        return Err(error(Code::ERRCODE_OBJECT_IN_USE, message, hint));
    }
    // Before the tables are locked: a worker that writes these ids has the rows first, and then a table.
    static CREATED: Statement =
        Statement::new("UPDATE sequin.pending_upstream_ids c SET server = $2 WHERE c.server OPERATOR(pg_catalog.=) $1");
    CREATED.run(connection, &names(renaming)).free();
    Ok(())
}

/// Gives the records, and what is known of the server, the new name. The attached tables are locked.
pub fn finish(connection: &Connection, renaming: &Renaming) {
    /// What a server that was dropped has left under the new name: its records and its pauses are this server's now.
    static FORGET: Statement =
        Statement::new("DELETE FROM sequin.server_backoff t WHERE t.server OPERATOR(pg_catalog.=) $1");
    static QUEUE: Statement =
        Statement::new("UPDATE sequin.queue q SET server = $2 WHERE q.server OPERATOR(pg_catalog.=) $1");
    static PARKED: Statement =
        Statement::new("UPDATE sequin.deferred p SET server = $2 WHERE p.server OPERATOR(pg_catalog.=) $1");
    static CLAIMS: Statement =
        Statement::new("UPDATE sequin.claims c SET server = $2 WHERE c.server OPERATOR(pg_catalog.=) $1");
    static PAUSES: Statement = Statement::new(
        "UPDATE sequin.pauses p SET server = $2 WHERE p.server OPERATOR(pg_catalog.=) $1 \
         AND NOT EXISTS (SELECT FROM sequin.pauses o WHERE o.server OPERATOR(pg_catalog.=) $2 \
         AND o.role OPERATOR(pg_catalog.=) p.role)",
    );
    static UNPAUSE: Statement = Statement::new("DELETE FROM sequin.pauses p WHERE p.server OPERATOR(pg_catalog.=) $1");
    static HOLDS: Statement = Statement::new(
        "WITH old AS (DELETE FROM sequin.holds o WHERE o.server OPERATOR(pg_catalog.=) $1 RETURNING o.*) \
         INSERT INTO sequin.holds AS h (server, below, reason, since) SELECT $2, old.below, old.reason, old.since FROM old \
         ON CONFLICT (server) DO UPDATE SET below = GREATEST(h.below, excluded.below)",
    );
    static TROUBLES: Statement =
        Statement::new("UPDATE sequin.server_backoff t SET server = $2 WHERE t.server OPERATOR(pg_catalog.=) $1");
    let old = [Value::Text(Some(&renaming.before))];
    FORGET.run(connection, &[Value::Text(Some(&renaming.after))]).free();
    for statement in [&QUEUE, &PARKED, &CLAIMS, &PAUSES, &HOLDS, &TROUBLES] {
        statement.run(connection, &names(renaming)).free();
    }
    UNPAUSE.run(connection, &old).free();
    wake_at_commit::note_changed();
}

fn names(renaming: &Renaming) -> [Value<'_>; 2] {
    [Value::Text(Some(&renaming.before)), Value::Text(Some(&renaming.after))]
}

fn error(code: Code, message: String, hint: String) -> ErrorReport {
    ErrorReport::new(code, for_message(message), "sequin_mutations").set_hint(for_message(hint))
}
