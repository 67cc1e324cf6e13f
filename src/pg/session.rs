//! Facts of the session and the transaction.

use std::ffi::{CStr, CString};
use std::time::{SystemTime, UNIX_EPOCH};

use pgrx::pg_sys;

use super::relation::{self, Table};
use super::spi::Connection;
use super::{elog, guc, temporary};

/// Whether the transaction may not write; on a standby none may.
pub fn is_read_only() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::XactReadOnly }
}

/// The role whose rights count now: the caller's, or a SECURITY DEFINER function's owner.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the current role may name files of the server's machine: superusers and members of pg_read_server_files.
pub fn may_name_server_files() -> bool {
    // SAFETY: looks into the catalogs, which needs a transaction; SQL functions run in one.
    unsafe { pg_sys::has_privs_of_role(current_role(), pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES)) }
}

/// The account of the operating system that the server runs as.
pub fn server_account() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The time in seconds since 1970.
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The oid of the database, as a number; 0 in a process that is connected to none.
pub fn database() -> u32 {
    // SAFETY: a variable of the process, which is set once.
    unsafe { pg_sys::MyDatabaseId.to_u32() }
}

/// The clock, in Postgres' microseconds since 2000.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether this is the number of the current transaction, or of a part of it that was not undone.
pub fn is_own_transaction(number: u32) -> bool {
    // SAFETY: looks into the state of the backend.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(pg_sys::TransactionId::from_inner(number)) }
}

/// When the client sent the statement that runs, in Postgres' microseconds since 2000.
pub fn statement_start() -> i64 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// When the transaction began, in Postgres' microseconds since 2000.
pub fn transaction_start() -> i64 {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Whether the current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: looks into the catalogs, within a transaction.
    unsafe { pg_sys::superuser() }
}

/// Whether the transaction goes on seeing what it saw first.
pub fn has_fixed_snapshot() -> bool {
    // SAFETY: a variable of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Runs `f` without the triggers of tables, but for those that fire always. The current role must be a superuser.
pub fn without_triggers<T>(connection: &Connection, f: impl FnOnce() -> T) -> T {
    let before = connection.text("SELECT pg_catalog.current_setting('session_replication_role')", &[]);
    connection.execute("SET LOCAL session_replication_role = 'replica'");
    let result = f();
    let before = before.as_deref().unwrap_or("origin");
    connection.execute(&format!("SET LOCAL session_replication_role = '{before}'"));
    result
}

/// Whose rights count, and what is restricted for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    role: pg_sys::Oid,
    context: i32,
}

impl Identity {
    pub fn current() -> Identity {
        let mut identity = Identity { role: pg_sys::Oid::INVALID, context: 0 };
        // SAFETY: reads variables of the backend.
        unsafe { pg_sys::GetUserIdAndSecContext(&mut identity.role, &mut identity.context) };
        identity
    }

    /// Runs `f` as this identity, which the session has had within the same statement. An error inside ends the
    /// (sub)transaction, which puts the former one back.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let before = Identity::current();
        // SAFETY: sets variables of the backend, and sets them back.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.role, self.context);
            let result = f();
            pg_sys::SetUserIdAndSecContext(before.role, before.context);
            result
        }
    }
}

/// Runs `f` with the rights of `owner`, in the restricted manner in which Postgres runs the functions of an index: the code
/// of a table can neither change its role nor leave a deferred trigger or a setting behind. Row security hides no row
/// of the owner's tables.
///
/// An object that such code leaves in the temporary schema would be found by the code of the next owner. So `f` fails if
/// the session has a temporary schema afterwards; the caller rolls the subtransaction back, and the schema with it.
pub fn restricted_to_owner<T>(owner: pg_sys::Oid, f: impl FnOnce() -> T) -> T {
    let flags =
        pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS;
    acting(owner, flags, false, || {
        let result = f();
        if temporary_schema().is_some() {
            elog::internal_error("the code of the table has made an object in pg_temp".to_owned());
        }
        result
    })
}

/// Runs `f`, an UPDATE of `table`, with the rights of its owner. Postgres looks for relations and types in the temporary
/// schema before or after all others, whatever search_path says. So an object of the session could stand in for one that
/// the owner's triggers name without a schema: then `f` is not run.
pub fn as_table_owner<T>(table: &Table, f: impl FnOnce() -> T) -> T {
    if let Some(object) = temporary::object_in_the_way(table, table.owner) {
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

/// The search_path that is set.
pub fn search_path() -> CString {
    // SAFETY: a variable of the backend, a string that ends with a NUL.
    unsafe { CStr::from_ptr(pg_sys::namespace_search_path).to_owned() }
}

/// Runs `f` with the rights and the search_path that the session has had within the same statement.
pub fn acting_as<T>(role: pg_sys::Oid, search_path: &CStr, f: impl FnOnce() -> T) -> T {
    let flags = if role == current_role() { 0 } else { pg_sys::SECURITY_LOCAL_USERID_CHANGE };
    acting_in(search_path, role, flags, true, f)
}

/// Runs `f`, which reads catalogs and executes no statement, with the rights of `role`.
pub fn looking_up_as<T>(role: pg_sys::Oid, f: impl FnOnce() -> T) -> T {
    acting(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE, true, f)
}

/// Whether the session has made a temporary object, which may be gone again.
pub fn has_temporary_schema() -> bool {
    temporary_schema().is_some()
}

/// The session's schema of temporary objects; None if it has not needed one yet.
pub(super) fn temporary_schema() -> Option<pg_sys::Oid> {
    let (mut schema, mut toast) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
    // SAFETY: copies two variables of the backend.
    unsafe { pg_sys::GetTempNamespaceState(&mut schema, &mut toast) };
    (schema != pg_sys::Oid::INVALID).then_some(schema)
}

/// Runs `f` as `role`, with a search_path in which no other role can have put functions or operators. An error inside
/// ends the (sub)transaction, and with it the change of both.
fn acting<T>(role: pg_sys::Oid, flags: u32, keeps_settings: bool, f: impl FnOnce() -> T) -> T {
    acting_in(c"pg_catalog, pg_temp", role, flags, keeps_settings, f)
}

fn acting_in<T>(search_path: &CStr, role: pg_sys::Oid, flags: u32, keeps_settings: bool, f: impl FnOnce() -> T) -> T {
    // SAFETY: reads and sets variables of the backend; the old values are put back.
    unsafe {
        let (mut before, mut context) = (pg_sys::Oid::INVALID, 0);
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | flags as std::ffi::c_int);
        let result = guc::with_values([(c"search_path", search_path)], keeps_settings, f);
        pg_sys::SetUserIdAndSecContext(before, context);
        result
    }
}
