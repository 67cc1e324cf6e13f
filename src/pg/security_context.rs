//! Acting as another role, for the time of one function.
//!
//! An error inside such a function ends the (sub)transaction. Postgres then puts the role back, and the settings.

use std::ffi::{CStr, c_int};

use pgrx::pg_sys::{self, Oid};

use super::relation::{self, Table};
use super::session::{current_role, has_temporary_schema};
use super::{elog, guc, temporary_objects};

/// Whose rights count, and what is restricted for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    role: Oid,
    flags: c_int,
}

impl Identity {
    pub fn current() -> Identity {
        let mut identity = Identity { role: Oid::INVALID, flags: 0 };
        // SAFETY: copies two variables of the backend to two places of their types.
        unsafe { pg_sys::GetUserIdAndSecContext(&mut identity.role, &mut identity.flags) };
        identity
    }

    /// Runs `f` as this identity, which the session has had within the same statement.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let before = Identity::current();
        self.set();
        let result = f();
        before.set();
        result
    }

    fn set(self) {
        // SAFETY: sets two variables of the backend. The only values are those that `current` has read, and those of
        // `acting`: an owner from the catalogs with flags that restrict.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.flags) };
    }
}

/// Runs `f` with the rights of `owner`, in the restricted manner in which Postgres runs the functions of an index: the code
/// of a table can neither change its role nor leave a deferred trigger or a setting behind. Row security hides no row
/// of the owner's tables.
///
/// An object that such code leaves in the temporary schema would be found by the code of the next owner. So `f` fails if
/// the session has a temporary schema afterwards; the caller rolls the subtransaction back, and the schema with it.
pub fn restricted_to_owner<T>(owner: Oid, f: impl FnOnce() -> T) -> T {
    let flags =
        pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS;
    acting(owner, flags, false, || {
        let result = f();
        if has_temporary_schema() {
            elog::internal_error("the code of the table has made an object in pg_temp".to_owned());
        }
        result
    })
}

/// Runs `f`, an UPDATE of `table`, with the rights of its owner. Postgres looks for relations and types in the temporary
/// schema before or after all others, whatever search_path says. So an object of the session could stand in for one that
/// the owner's triggers name without a schema: then `f` is not run.
pub fn as_table_owner<T>(table: &Table, f: impl FnOnce() -> T) -> T {
    if let Some(object) = temporary_objects::object_in_the_way(table, table.owner) {
        elog::internal_error(format!("the code of the table's owner could find the temporary object {object}"));
    }
    acting(table.owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS, true, f)
}

/// Runs `f` with the rights of the outbox's owner. It executes statements of this extension only. They name the schema
/// of each relation, function, type and operator, so a temporary object is never found.
pub fn as_queue_owner<T>(f: impl FnOnce() -> T) -> T {
    let owner = relation::owner_of_queue();
    acting(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS, true, f)
}

/// Runs `f` with the rights and the search_path that the session has had within the same statement.
pub fn acting_as<T>(role: Oid, search_path: &CStr, f: impl FnOnce() -> T) -> T {
    let flags = if role == current_role() { 0 } else { pg_sys::SECURITY_LOCAL_USERID_CHANGE };
    acting_in(search_path, role, flags, true, f)
}

/// Runs `f`, which reads catalogs and executes no statement, with the rights of `role`.
pub fn looking_up_as<T>(role: Oid, f: impl FnOnce() -> T) -> T {
    acting(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE, true, f)
}

/// Runs `f` as `role`, with a search_path in which no other role can have put functions or operators.
fn acting<T>(role: Oid, flags: u32, keeps_settings: bool, f: impl FnOnce() -> T) -> T {
    acting_in(c"pg_catalog, pg_temp", role, flags, keeps_settings, f)
}

fn acting_in<T>(search_path: &CStr, role: Oid, flags: u32, keeps_settings: bool, f: impl FnOnce() -> T) -> T {
    let identity = Identity { role, flags: Identity::current().flags | flags as c_int };
    identity.run(|| guc::with_values([(c"search_path", search_path)], keeps_settings, f))
}
