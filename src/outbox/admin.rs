//! The verbs for a record, or for a server's queue.
//!
//! A role may call them for its own records, and for those of roles that it is a member of; for a server's queue, if it may
//! use the server. The tables are written as their owner, after the caller's rights have been checked.

use pgrx::PgSqlErrorCode as Code;

use crate::call::read_only;
use crate::ereport::Error;
use crate::outbox::worker::{registry, wake_at_commit};
use crate::pg::spi::{self, Connection};
use crate::pg::{catalog, relation, security_context, session};

use super::claims_lock;
use super::disposition::SettledAs;
use super::guard::{self, guarded};
use super::server_state;
use super::settle::transitions;
use super::store::archive::{Settled, archive_in_part};
use super::store::row::{self, OpenRecord, State};
use super::store::{claim, requeue, state, upstream_ids};
use super::write_back::OpenAttached;

/// Sends a record again, at once. A change that was rejected because its row had no upstream id takes the id that the row
/// has now.
pub fn retry(id: i64, open: OpenAttached) -> Result<(), Error> {
    check_transaction("sequin_retry")?;
    // Before the worker is locked out: it runs code of the table's owner, and may wait for a lock of the table.
    let upstream_id = upstream_id_of_row(id, open)?;
    with_record("sequin_retry", id, |connection, record| {
        // A queued record has had no attempt yet.
        if record.is_deferred {
            requeue::retry(connection, id, upstream_id.as_deref());
        }
        state::try_now(connection, &record.server);
        Ok(())
    })
}

/// The upstream id that the row of a rejected change has, if the change has none.
fn upstream_id_of_row(id: i64, open: OpenAttached) -> Result<Option<String>, Error> {
    let role = session::current_role();
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            let Some(change) = row::without_upstream_id(connection, id) else { return Ok(None) };
            if !catalog::has_rights_of(role, change.role.to_u32()) {
                return Ok(None);
            }
            let Some(table) = relation::Table::open(change.relation) else { return Ok(None) };
            let Some(attached) = open(connection, &table) else { return Ok(None) };
            // A subtransaction, because a deferred constraint or a setting of the owner's code must leave nothing behind.
            let found =
                guarded(|| security_context::as_table_owner(&table, || attached.find(connection, &change.row_key)));
            found.or_else(|failure| {
                guard::note("given the upstream id of its row", id, &failure);
                Ok(None)
            })
        })
    })
}

/// Removes a record without sending it, even if it is damaged. It moves to the history, in part if need be, or is
/// deleted.
pub fn discard(id: i64) -> Result<(), Error> {
    with_record("sequin_discard", id, |connection, record| {
        let server = &record.server;
        transitions::free_behind_record(connection, server, id);
        let discarded = Settled::without_reply(id, SettledAs::Discarded);
        let settle = || transitions::settle_unsent(connection, server, id, SettledAs::Discarded);
        if guarded(settle).is_err() && !archive_in_part(connection, server, &discarded) {
            delete(connection, server, id);
        }
        // A claim without an owner is not sent, but it would block the record's key.
        let unclaim = || claim::delete_of_record(connection, id, &registry::owners());
        match guarded(unclaim) {
            // A full scan: the worker knows the claim, and those that wait behind it, from its last one.
            Ok(true) => wake_at_commit::note_changed(),
            Ok(false) => {}
            Err(failure) => guard::note("freed from its claim", id, &failure),
        }
        Ok(())
    })
}

/// Deletes a record that the history refuses, and overrides a trigger that prevents it.
fn delete(connection: &Connection, server: &str, id: i64) {
    let delete = || row::delete(connection, server, id);
    if guarded(delete).is_err() {
        session::without_triggers(connection, delete);
    }
}

/// Settles an unknown create that was applied.
pub fn resolve(id: i64, upstream_id: &str) -> Result<(), Error> {
    with_record("sequin_resolve", id, |connection, record| {
        if record.state != State::Unknown {
            let message = format!("record {id} is {}, not unknown", record.state.as_str());
            let code = Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(error(code, message, "Only an unknown create can be resolved."));
        }
        transitions::free_behind_record(connection, &record.server, id);
        upstream_ids::note_resolved(connection, id, upstream_id);
        transitions::resolve(connection, &record.server, id, upstream_id);
        // A full scan, which finds the pending upstream id.
        wake_at_commit::note_changed();
        Ok(())
    })
}

fn with_record(
    verb: &str,
    id: i64,
    f: impl FnOnce(&Connection, &OpenRecord) -> Result<(), Error>,
) -> Result<(), Error> {
    check_transaction(verb)?;
    let role = session::current_role();
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            let find = || {
                let record = row::find(connection, id, &registry::owners());
                record.filter(|record| catalog::has_rights_of(role, record.role.to_u32()))
            };
            // The worker may not claim the record in the meantime. Until then it may have done so.
            let record = find().and_then(|record| {
                lock_out_worker(&record.server);
                find()
            });
            let Some(record) = record else {
                let message = format!("the outbox has no record {id}");
                let hint = "The view sequin.outbox shows the records that this role may see.";
                return Err(error(Code::ERRCODE_UNDEFINED_OBJECT, message, hint));
            };
            if record.is_claimed {
                let message = format!("record {id} is being sent");
                return Err(error(Code::ERRCODE_OBJECT_IN_USE, message, "Wait until it is settled."));
            }
            f(connection, &record)?;
            wake_at_commit::note_queued(id);
            Ok(())
        })
    })
}

/// Stops the delivery of a server's queue.
pub fn pause(server: &str) -> Result<(), Error> {
    let role = catalog::role_name(session::current_role().to_u32()).unwrap_or_default();
    with_server("sequin_pause", server, |connection| {
        server_state::pause(connection, server, 0, &format!("paused by {role}"), None);
    })
    // No wake-up: a worker that it started could claim before it can see the pause.
}

/// Ends all pauses of a server's queue.
pub fn resume(server: &str) -> Result<(), Error> {
    with_server("sequin_resume", server, |connection| server_state::resume(connection, server))?;
    // A full scan.
    wake_at_commit::note_changed();
    Ok(())
}

fn with_server(verb: &str, server: &str, f: impl FnOnce(&Connection)) -> Result<(), Error> {
    check_transaction(verb)?;
    let role = session::current_role();
    match catalog::server_oid(server) {
        Some(oid) if !catalog::may_use(oid, role) => {
            let message = format!("permission denied for foreign server {server}");
            return Err(error(
                Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
                message,
                "GRANT USAGE ON FOREIGN SERVER grants it.",
            ));
        }
        Some(_) => {}
        // A dropped server may have left records.
        None if session::is_superuser() => {}
        None => {
            let message = format!("server \"{server}\" does not exist");
            return Err(error(Code::ERRCODE_UNDEFINED_OBJECT, message, "The view sequin.status shows the servers."));
        }
    }
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            // A worker that has read the pauses would act on old ones: send records that are enqueued after this commit, or
            // defer records that nothing frees any more.
            lock_out_worker(server);
            f(connection);
            Ok(())
        })
    })
}

/// Checks that the transaction may write, and sees records that were sent since it began.
fn check_transaction(verb: &str) -> Result<(), Error> {
    if session::is_read_only() {
        return Err(read_only(&format!("{verb}()")).into());
    }
    if session::has_fixed_snapshot() {
        let message = format!("{verb}() cannot see in this transaction what was sent since it began");
        return Err(error(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, message, "Call it in one that is READ COMMITTED."));
    }
    Ok(())
}

/// Keeps the worker from claiming records of this server until the end of the transaction.
fn lock_out_worker(server: &str) {
    claims_lock::acquire(server);
    wake_at_commit::note_locked();
}

fn error(code: Code, message: String, hint: &str) -> Error {
    Error::refused(code, message, hint)
}
