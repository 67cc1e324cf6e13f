//! Facts of the session and the transaction.

use std::time::{SystemTime, UNIX_EPOCH};

use pgrx::pg_sys;

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

/// Runs `f` with the rights of `role`, and with a search_path in which no other role can have put anything: what the
/// role's own triggers call by a bare name must not be somebody else's. An error inside ends the (sub)transaction, and
/// with it the change of both.
pub fn acting_as<T>(role: pg_sys::Oid, f: impl FnOnce() -> T) -> T {
    // SAFETY: reads and sets variables of the backend; the old values are put back.
    unsafe {
        let (mut before, mut context) = (pg_sys::Oid::INVALID, 0);
        pg_sys::GetUserIdAndSecContext(&mut before, &mut context);
        let local = (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as std::ffi::c_int;
        pg_sys::SetUserIdAndSecContext(role, context | local);
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            c"pg_catalog, pg_temp".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        let result = f();
        pg_sys::AtEOXact_GUC(true, level);
        pg_sys::SetUserIdAndSecContext(before, context);
        result
    }
}
