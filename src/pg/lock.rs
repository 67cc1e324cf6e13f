//! Locks of objects, which a transaction keeps until its end.

use std::ffi::c_int;

use pgrx::pg_sys::{self, Oid};

/// An object of this database that can be locked.
#[derive(Clone, Copy)]
pub struct Object(pg_sys::LOCKTAG);

#[derive(Clone, Copy)]
pub enum Mode {
    AccessShare,
    Exclusive,
}

impl Mode {
    const fn number(self) -> c_int {
        match self {
            Mode::AccessShare => pg_sys::AccessShareLock as c_int,
            Mode::Exclusive => pg_sys::ExclusiveLock as c_int,
        }
    }
}

impl Object {
    pub fn extension(oid: Oid) -> Object {
        Object(object_tag(database(), pg_sys::ExtensionRelationId, oid))
    }

    /// A part of a relation as an object. No statement on the relation takes or waits for this lock.
    pub fn part_of_relation(oid: Oid, part: u16) -> Object {
        let mut tag = object_tag(database(), pg_sys::RelationRelationId, oid);
        tag.locktag_field4 = part;
        Object(tag)
    }

    /// Waits for the lock. Raises if a deadlock is found, or the wait is cancelled.
    pub fn lock(&self, mode: Mode) {
        // SAFETY: a whole tag, which Postgres copies. Without a transaction Postgres raises.
        unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, false) };
    }

    /// Takes the lock unless another session has it in the way. Gives whether it was taken.
    pub fn try_lock(&self, mode: Mode) -> bool {
        // SAFETY: as in `lock`.
        let result = unsafe { pg_sys::LockAcquire(&self.0, mode.number(), false, true) };
        result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
    }
}

/// Whether a session could connect to the database now. It could not while another session drops, renames or copies the
/// database, and waits for all others to leave it.
pub fn is_database_lock_free(database: Oid) -> bool {
    // The lock that each session takes while it connects.
    let tag = object_tag(Oid::INVALID, pg_sys::DatabaseRelationId, database);
    let mode = pg_sys::RowExclusiveLock as c_int;
    // SAFETY: a whole tag, which Postgres copies. A session lock needs no transaction; one that was taken is given back.
    unsafe {
        let taken = pg_sys::LockAcquire(&tag, mode, true, true) != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        if taken {
            pg_sys::LockRelease(&tag, mode, true);
        }
        taken
    }
}

fn database() -> Oid {
    Oid::from(super::session::database())
}

/// As LockDatabaseObject and LockSharedObject name an object. Shared ones are in no database.
fn object_tag(database: Oid, class: Oid, object: Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: class.to_u32(),
        locktag_field3: object.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
