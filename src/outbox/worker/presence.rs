//! Whether the database and the extension that a worker serves exist, or another session is dropping them.

use std::ffi::CStr;

use pgrx::pg_sys::Oid;

use crate::pg::lock::{self, Mode, Object};
use crate::pg::{catalog, session, transaction};

const EXTENSION: &CStr = c"sequin_mutations";

/// Whether another session drops, renames or copies this database, and waits for all other sessions to leave it.
pub fn is_database_being_dropped() -> bool {
    !lock::is_database_lock_free(Oid::from(session::database()))
}

/// Whether the extension was dropped. In a transaction of its own, which takes microseconds.
pub fn is_extension_dropped() -> bool {
    // An error says nothing. The next round meets it again.
    transaction::try_transaction(|| !catalog::has_wrapper()).unwrap_or(false)
}

/// Whether the extension is in this database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The lock lasts until the end of the transaction. A recreated extension has another oid.
    Present(Oid),
    Absent,
    /// Another session drops it, or alters it, in a transaction that is still open.
    BeingDropped,
}

/// Looks for the extension, in a transaction that has not touched a table yet. DROP EXTENSION locks the extension
/// first, and then its tables in an arbitrary order. A worker that held one table and waited for another would cause a
/// deadlock.
pub fn of_extension() -> Presence {
    let Some(found) = catalog::extension_oid(EXTENSION) else { return Presence::Absent };
    if !Object::extension(found).try_lock(Mode::AccessShare) {
        return Presence::BeingDropped;
    }
    // It may have gone before the lock was taken.
    if catalog::extension_oid(EXTENSION) == Some(found) { Presence::Present(found) } else { Presence::Absent }
}
