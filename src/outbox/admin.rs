//! What a person may do to a record, or to a server's queue.
//!
//! Everybody may do it to records of their own, and of roles that they are members of; to a server's queue, who may
//! use the server. The tables are written as their owner, which the caller's rights were checked before.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;

use crate::attach::write_ids;
use crate::call::read_only;
use crate::ereport;
use crate::outbox::worker::{registry, wake_at_commit};
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};
use crate::pg::text::for_message;
use crate::pg::{catalog, relation, security_context, session};

use super::claims_lock;
use super::guard::{self, guarded};
use super::server_state;
use super::settle::archive::{Finished, finish_in_part};
use super::settle::transitions::{self, Disposition};
use super::write_back;

/// Sends a record again, at once. A change that was rejected because its row had no upstream id takes the one that its row
/// has now.
pub fn retry(id: i64) -> Result<(), ErrorReport> {
    static RETRY: Statement = Statement::new(
        "UPDATE sequin.deferred p SET resend_verbatim = p.resend_verbatim OR p.state OPERATOR(pg_catalog.=) 'unknown', \
         state = 'pending', next_attempt_at = pg_catalog.clock_timestamp(), \
         upstream_id = COALESCE(p.upstream_id, CASE WHEN p.kind OPERATOR(pg_catalog.<>) 'create' THEN $2 END) \
         WHERE p.id OPERATOR(pg_catalog.=) $1",
    );
    possible("sequin_retry")?;
    // Before the workers are locked out: it runs code of the table's owner, and may wait for a lock of the table.
    let upstream_id = id_of_row(id)?;
    with_record("sequin_retry", id, |connection, record| {
        // A record that was not tried yet needs no help.
        if record.is_deferred {
            RETRY.run(connection, &[Value::Int8(id), Value::Text(upstream_id.as_deref())]).free();
        }
        Ok(())
    })
}

/// The upstream id that the row of a rejected change has, if the change has none.
fn id_of_row(id: i64) -> Result<Option<String>, ErrorReport> {
    static FIND: Statement = Statement::new(
        "SELECT p.relation::pg_catalog.oid, p.ordering_key, p.role::pg_catalog.oid FROM sequin.deferred p \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) p.relation \
         WHERE p.id OPERATOR(pg_catalog.=) $1 AND p.state OPERATOR(pg_catalog.=) 'rejected' \
         AND p.kind OPERATOR(pg_catalog.<>) 'create' AND p.upstream_id IS NULL AND p.ordering_key IS NOT NULL",
    );
    let role = session::current_role();
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            let rows = FIND.run(connection, &[Value::Int8(id)]);
            let may = |row| catalog::has_rights_of(role, rows.oid_number(row, 3).unwrap_or_default());
            if rows.len() == 0 || !may(0) {
                return Ok(None);
            }
            let (Some(table), Some(key)) = (rows.oid_number(0, 1), rows.text(0, 2)) else { return Ok(None) };
            let Some(table) = relation::Table::open(table.into()) else { return Ok(None) };
            let Some(statement) = write_ids::of(connection, &table) else { return Ok(None) };
            // A subtransaction, because a deferred constraint or a setting of the owner's code must leave nothing behind.
            let found = guarded(|| security_context::as_table_owner(&table, || statement.find(connection, &key)));
            found.or_else(|failure| {
                guard::note("given the upstream id of its row", id, &failure);
                Ok(None)
            })
        })
    })
}

/// Takes a record out without sending it, whatever is wrong with it: moved to the history, in part if need be, or else
/// removed.
pub fn discard(id: i64) -> Result<(), ErrorReport> {
    with_record("sequin_discard", id, |connection, record| {
        let server = &record.server;
        record.release(connection);
        let outcome = "discarded";
        let finished = Finished { id, outcome, upstream_id: None, record: None, sent_with: None };
        let is_moved = guarded(|| transitions::one(connection, server, id, &Disposition::ended(outcome))).is_ok()
            || finish_in_part(connection, server, &finished);
        if !is_moved {
            remove(connection, server, id);
        }
        // Nothing of a claim that is no worker's is sent. A claim of this record alone would keep its key waiting.
        let unclaim = || UNCLAIM.run(connection, &[Value::Int8(id), Value::Int8s(&registry::owners())]).free();
        if let Err(failure) = guarded(unclaim) {
            guard::note("freed from its claim", id, &failure);
        }
        Ok(())
    })
}

static UNCLAIM: Statement = Statement::new(
    "DELETE FROM sequin.claims c WHERE c.ids OPERATOR(pg_catalog.=) ARRAY[$1] \
     AND c.owner OPERATOR(pg_catalog.<>) ALL ($2)",
);

/// Deletes a record that the history does not take. A trigger that does not let it be deleted is passed over.
fn remove(connection: &Connection, server: &str, id: i64) {
    static QUEUED: Statement = Statement::new(
        "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) $2",
    );
    static PARKED: Statement = Statement::new(
        "DELETE FROM sequin.deferred p WHERE p.server OPERATOR(pg_catalog.=) $1 AND p.id OPERATOR(pg_catalog.=) $2",
    );
    let values = [Value::Text(Some(server)), Value::Int8(id)];
    let delete = || {
        QUEUED.run(connection, &values).free();
        PARKED.run(connection, &values).free();
    };
    if guarded(delete).is_err() {
        session::without_triggers(connection, delete);
    }
}

/// Says that an unknown create was applied.
pub fn resolve(id: i64, upstream_id: &str) -> Result<(), ErrorReport> {
    with_record("sequin_resolve", id, |connection, record| {
        if record.state != "unknown" {
            let message = format!("record {id} is {}, not unknown", record.state);
            return Err(error(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                message,
                "Only an unknown create is resolved.",
            ));
        }
        record.release(connection);
        transitions::resolve(connection, &record.server, id, upstream_id);
        write_back::note_ids(connection, &[id]);
        // Everything is looked at, also the ids that are to be written into rows.
        wake_at_commit::note_changed();
        Ok(())
    })
}

/// A record of the outbox, as its row says.
struct Record {
    id: i64,
    server: String,
    state: String,
    is_deferred: bool,
}

impl Record {
    /// Lets the records go on that wait behind it.
    fn release(&self, connection: &Connection) {
        static BEHIND: Statement = Statement::new(concat!(
            "SELECT p.id FROM (SELECT q.server, q.ordering_key FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
             AND q.id OPERATOR(pg_catalog.=) $2 UNION ALL SELECT r.server, r.ordering_key FROM sequin.deferred r \
             WHERE r.id OPERATOR(pg_catalog.=) $2) k JOIN sequin.deferred p ON p.server OPERATOR(pg_catalog.=) k.server AND ",
            same_key!("p.ordering_key", "k.ordering_key"),
            " WHERE p.id OPERATOR(pg_catalog.<>) $2 AND p.state OPERATOR(pg_catalog.=) 'pending' \
             AND p.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'",
        ));
        // The key itself may be what cannot be read.
        let behind = guarded(|| {
            let rows = BEHIND.run(connection, &[Value::Text(Some(&self.server)), Value::Int8(self.id)]);
            (0..rows.len()).filter_map(|row| rows.int8(row, 1)).collect::<Vec<i64>>()
        });
        match behind {
            Ok(behind) => transitions::free(connection, &behind),
            Err(failure) => guard::note("read by its key", self.id, &failure),
        }
    }
}

fn with_record(
    verb: &str,
    id: i64,
    f: impl FnOnce(&Connection, &Record) -> Result<(), ErrorReport>,
) -> Result<(), ErrorReport> {
    static FIND: Statement = Statement::new(concat!(
        named_servers!(),
        "SELECT o.server, o.state, o.is_deferred, o.role, EXISTS (SELECT FROM sequin.claims c \
           WHERE o.id OPERATOR(pg_catalog.=) ANY (c.ids) AND c.owner OPERATOR(pg_catalog.=) ANY ($2)) FROM ( \
           SELECT q.id, q.server, 'pending'::pg_catalog.text AS state, false AS is_deferred, \
             q.role::pg_catalog.oid AS role FROM named n JOIN sequin.queue q ON q.server OPERATOR(pg_catalog.=) n.server \
             WHERE q.id OPERATOR(pg_catalog.=) $1 UNION ALL \
           SELECT p.id, p.server, p.state, true, p.role::pg_catalog.oid \
             FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) $1) o"
    ));
    possible(verb)?;
    let role = session::current_role();
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            // No worker may claim it in the meantime.
            lock();
            // What a worker that is gone has claimed is not being sent.
            let rows = FIND.run(connection, &[Value::Int8(id), Value::Int8s(&registry::owners())]);
            let is_own = rows.len() == 1 && catalog::has_rights_of(role, rows.oid_number(0, 4).unwrap_or_default());
            if !is_own {
                let message = format!("the outbox has no record {id}");
                return Err(error(
                    Code::ERRCODE_UNDEFINED_OBJECT,
                    message,
                    "The view sequin.outbox shows those of this role.",
                ));
            }
            if rows.boolean(0, 5) {
                let message = format!("record {id} is being sent");
                return Err(error(Code::ERRCODE_OBJECT_IN_USE, message, "Wait until it is settled."));
            }
            let record = Record {
                id,
                server: rows.text(0, 1).unwrap_or_default(),
                state: rows.text(0, 2).unwrap_or_default(),
                is_deferred: rows.boolean(0, 3),
            };
            f(connection, &record)?;
            wake_at_commit::note_queued(id);
            Ok(())
        })
    })
}

/// Stops the delivery of a server's queue.
pub fn pause(server: &str) -> Result<(), ErrorReport> {
    let who = catalog::role_name(session::current_role().to_u32()).unwrap_or_default();
    with_server("sequin_pause", server, |connection| {
        server_state::pause(connection, server, 0, &format!("paused by {who}"), None);
    })
    // Nobody is told: a worker that this started could claim before the pause is there for it to see.
}

/// Ends all pauses of a server's queue.
pub fn resume(server: &str) -> Result<(), ErrorReport> {
    with_server("sequin_resume", server, |connection| server_state::resume(connection, server, None))?;
    // From here on everything is looked at.
    wake_at_commit::note_changed();
    Ok(())
}

fn with_server(verb: &str, server: &str, f: impl FnOnce(&Connection)) -> Result<(), ErrorReport> {
    possible(verb)?;
    let role = session::current_role();
    match catalog::server_oid(server) {
        Some(oid) if !catalog::may_use(oid, role) => {
            let message = format!("permission denied for foreign server {server}");
            return Err(error(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                message,
                "GRANT USAGE ON FOREIGN SERVER gives it.",
            ));
        }
        Some(_) => {}
        // One that is gone may have left records.
        None if session::is_superuser() => {}
        None => {
            let message = format!("server \"{server}\" does not exist");
            return Err(error(Code::ERRCODE_UNDEFINED_OBJECT, message, "The view sequin.status shows the servers."));
        }
    }
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            // A worker that has read the pauses would go by them: sending what is enqueued after this commits, or
            // parking what nobody frees any more.
            lock();
            f(connection);
            Ok(())
        })
    })
}

/// Whether the transaction may write, and sees what has happened since it began.
fn possible(verb: &str) -> Result<(), ErrorReport> {
    if session::is_read_only() {
        return Err(ereport::error(&read_only(&format!("{verb}()"))));
    }
    if session::has_fixed_snapshot() {
        let message = format!("{verb}() cannot see in this transaction what was sent since it began");
        return Err(error(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, message, "Call it in one that is READ COMMITTED."));
    }
    Ok(())
}

/// Keeps the workers away to the end of the transaction.
fn lock() {
    claims_lock::acquire();
    wake_at_commit::note_locked();
}

fn error(code: Code, message: String, hint: &str) -> ErrorReport {
    ErrorReport::new(code, for_message(message), "sequin_mutations").set_hint(hint)
}
