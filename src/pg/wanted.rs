//! Whether somebody is taking away what a worker works in: its database, or the extension.

use std::ffi::c_int;

use pgrx::pg_sys::{self, Oid};

use super::session::object_tag;

/// Whether somebody is dropping this database, renaming it, or copying it, and waits for its sessions to leave.
pub fn database_is_wanted() -> bool {
    // SAFETY: a lock of the session, given back at once. It is only tried.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: 0,
            locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
            locktag_field3: pg_sys::MyDatabaseId.to_u32(),
            locktag_field4: 0,
            locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
            locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
        };
        let mode = pg_sys::RowExclusiveLock as c_int;
        let taken = pg_sys::LockAcquire(&tag, mode, true, true);
        if taken == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
            return true;
        }
        pg_sys::LockRelease(&tag, mode, true);
        false
    }
}

/// Whether the extension is in this database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// And it stays to the end of the transaction. Made anew, it has another number.
    Present(Oid),
    Absent,
    /// Somebody is dropping it, or altering it, in a transaction that has not ended.
    Wanted,
}

/// Looks for the extension. Within a transaction, before it touches a table: DROP EXTENSION locks the extension first
/// and its tables in an order of its own, so whoever had one of them and waited for another would wait for ever.
pub fn extension() -> Extension {
    // SAFETY: look-ups by name, and a lock that is only tried and ends with the transaction.
    unsafe {
        let find = || {
            pg_sys::AcceptInvalidationMessages();
            pg_sys::get_extension_oid(c"sequin_mutations".as_ptr(), true)
        };
        let found = find();
        if found == Oid::INVALID {
            return Extension::Absent;
        }
        let tag = object_tag(pg_sys::ExtensionRelationId, found);
        let taken = pg_sys::LockAcquire(&tag, pg_sys::AccessShareLock as c_int, false, true);
        if taken == pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL {
            return Extension::Wanted;
        }
        if find() == found { Extension::Present(found) } else { Extension::Absent }
    }
}
