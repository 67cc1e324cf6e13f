//! The outbox follows a foreign server that is renamed. `sequin.history` keeps the names under which records were sent.

use pgrx::PgSqlErrorCode as Code;

use crate::ereport::Error;
use crate::outbox::claims_lock;
use crate::outbox::worker::{registry, wake_at_commit};
use crate::pg::event_trigger::Renaming;
use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::text::quoted;

use super::store::{claim, state};

/// Locks the workers out, and refuses the new name while requests under the old name are in flight: their records are
/// settled under the name in the claim.
pub fn begin(connection: &Connection, renaming: &Renaming) -> Result<(), Error> {
    if session::has_fixed_snapshot() {
        let message = format!("server \"{}\" cannot be renamed in this transaction", renaming.before);
        let hint =
            "It cannot see what was sent since it began. Rename the server in a transaction that is READ COMMITTED.";
        return Err(error(Code::ERRCODE_ACTIVE_SQL_TRANSACTION, message, hint.to_owned()));
    }
    // In the order of the names, as two sessions may swap them.
    let mut names = [&renaming.before, &renaming.after];
    names.sort_unstable();
    names.into_iter().for_each(|name| claims_lock::acquire(name));
    wake_at_commit::note_locked();
    let alive = registry::owners();
    // The next worker ends the claim of a worker that is gone, under either name.
    if claim::owners(connection, &renaming.before).iter().any(|owner| alive.contains(owner)) {
        let message = format!("server \"{}\" cannot be renamed while requests to it are in flight", renaming.before);
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
    // Before the tables are locked: a worker that writes these ids locks the ids first, and then a table.
    state::rename_pending_upstream_ids(connection, &renaming.before, &renaming.after);
    Ok(())
}

/// Gives the outbox of the server the new name. The attached tables are locked.
pub fn finish(connection: &Connection, renaming: &Renaming) {
    state::rename(connection, &renaming.before, &renaming.after);
    wake_at_commit::note_changed();
}

fn error(code: Code, message: String, hint: String) -> Error {
    Error::refused(code, message, hint)
}
