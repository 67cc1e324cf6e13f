//! Facts of the session and the transaction.

use std::ffi::{CStr, CString};
use std::time::{SystemTime, UNIX_EPOCH};

use pgrx::pg_sys;

use super::spi::Connection;

/// Whether the transaction may not write; on a standby none may.
pub fn is_read_only() -> bool {
    // SAFETY: copies a variable of the backend.
    unsafe { pg_sys::XactReadOnly }
}

/// The role whose rights count now: the caller's, or a SECURITY DEFINER function's owner.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// Whether the current role may name files of the server's machine: superusers and members of pg_read_server_files.
pub fn may_name_server_files() -> bool {
    // SAFETY: a look-up by oid, in a transaction.
    unsafe { pg_sys::has_privs_of_role(current_role(), pg_sys::Oid::from(pg_sys::ROLE_PG_READ_SERVER_FILES)) }
}

/// Whether the current role may read all statistics: superusers and members of pg_read_all_stats.
pub fn may_read_all_statistics() -> bool {
    // SAFETY: as in `may_name_server_files`.
    unsafe { pg_sys::has_privs_of_role(current_role(), pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS)) }
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
    // SAFETY: copies a variable of the process.
    unsafe { pg_sys::MyDatabaseId.to_u32() }
}

/// The clock, in Postgres' microseconds since 2000.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether this is the number of the current transaction, or of a part of it that was not undone.
pub fn is_own_transaction(number: u32) -> bool {
    // SAFETY: compares a number with those of the transaction; no number is invalid.
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
    // SAFETY: a look-up of the current role, in a transaction.
    unsafe { pg_sys::superuser() }
}

/// Whether the transaction goes on seeing what it saw first.
pub fn has_fixed_snapshot() -> bool {
    // SAFETY: copies a variable of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Runs `f` without the triggers of tables, but for those that fire always. The current role must be a superuser.
pub fn without_triggers<T>(connection: &Connection, f: impl FnOnce() -> T) -> T {
    let before = connection.query::<()>("SELECT pg_catalog.current_setting('session_replication_role')", ());
    let (before,) = before.first::<(String,)>().expect("a query without FROM gives one row");
    connection.execute("SET LOCAL session_replication_role = 'replica'");
    let result = f();
    connection.execute(&format!("SET LOCAL session_replication_role = '{before}'"));
    result
}

/// The search_path that is set.
pub fn search_path() -> CString {
    // SAFETY: a variable of the backend that is never null: a NUL-terminated string, which is copied at once.
    unsafe { CStr::from_ptr(pg_sys::namespace_search_path).to_owned() }
}

/// Whether the session has made a temporary object, which may be gone again.
pub fn has_temporary_schema() -> bool {
    temporary_schema().is_some()
}

/// The session's schema of temporary objects; None if it has not needed one yet.
pub fn temporary_schema() -> Option<pg_sys::Oid> {
    let (mut schema, mut toast) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
    // SAFETY: copies two variables of the backend to two places of their type.
    unsafe { pg_sys::GetTempNamespaceState(&mut schema, &mut toast) };
    (schema != pg_sys::Oid::INVALID).then_some(schema)
}
