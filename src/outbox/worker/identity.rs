//! The identity of the database that an outbox belongs to: a copy of the database would send everything a second time.
//!
//! `sequin.origin` names the database. A restored dump brings a second row; a database made from a template has the row of
//! the template alone. In such a copy only older records are in doubt. Their ids are lower than the ids that the copy
//! assigns, so the first id of each session that enqueues divides the records in two. The older ones are held: a record
//! that was enqueued in the copy is delivered, unless it waits for a held one of its key. A restored dump may have
//! other ids in its sequence, and so may a database that was moved to another cluster. There the whole queue of a
//! server is paused.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::outbox::store::origin::{self, Database};
use crate::outbox::store::{scan, state};
use crate::outbox::{claims_lock, server_state};
use crate::pg::spi::{self, Connection};
use crate::pg::{bgworker, session};

/// Why records are not sent from a copy. The rest of the sentence says which records.
const IN_A_COPY: &str = "this database is a copy: ";

/// This cluster and database.
fn here() -> Database {
    let (system, database) = (bgworker::system_identifier(), session::database());
    (system, database.into())
}

/// Stores the first id that a session enqueues in a database made from a template, in the transaction that enqueues it.
/// Runs as the owner of the queue.
pub fn note_enqueued(first: i64) {
    /// A session never leaves its database, and a database does not become a copy while it has sessions.
    static IS_ORIGINAL: AtomicBool = AtomicBool::new(false);
    if IS_ORIGINAL.load(Ordering::Relaxed) {
        return;
    }
    let connected = spi::connected(|connection| -> Result<(), std::convert::Infallible> {
        if origin::is_from_template(connection, here()) {
            origin::note_first_id(connection, here(), first);
        } else {
            IS_ORIGINAL.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    let Ok(()) = connected;
}

/// Holds or pauses the older records if this database is a copy, and notes that the outbox belongs to it now. Returns false
/// if the database is a copy, and another session changes the queue of a server: nothing may be sent yet.
pub fn check(connection: &Connection) -> bool {
    let holds = state::holds(connection).into_iter().map(|hold| hold.server);
    let holds: Vec<String> = holds.filter(|server| claims_lock::try_acquire(server)).collect();
    state::release_empty(connection, &holds.iter().map(String::as_str).collect::<Vec<_>>());
    let here = here();
    if !origin::is_elsewhere(connection, here) {
        return true;
    }
    let servers = scan::named_servers(connection);
    if !servers.iter().all(|server| claims_lock::try_acquire(server)) {
        return false;
    }
    if origin::is_from_template(connection, here) {
        hold_older(connection, here);
    } else {
        for server in servers {
            let reason = format!("{IN_A_COPY}its queued records may have been sent by the original database");
            server_state::pause(connection, &server, 0, &reason, None);
        }
    }
    origin::write(connection, here);
    true
}

/// Holds the records from before the copy was made. Records of open transactions are not visible here, and have higher
/// ids.
fn hold_older(connection: &Connection, here: Database) {
    let reason = format!(
        "{IN_A_COPY}records queued before it was made may have been sent by the original database; sequin_resume sends them"
    );
    for (server, last) in origin::last_ids_before(connection, here) {
        state::hold(connection, &server, last + 1, &reason);
    }
}
