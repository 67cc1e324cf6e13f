//! Settings (GUC): set for a while, set for a process, and read by name.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Makes Postgres refuse a setting `prefix.*` that no library has defined.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: a NUL-terminated string, which Postgres copies.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
}

/// Runs `f` with these values of settings that every role may set, and puts the old values back. Settings that `f` changes
/// itself stay changed if `keeps_others`. An error inside ends the (sub)transaction, and with it the change.
pub fn with_values<'a, T>(
    values: impl IntoIterator<Item = (&'a CStr, &'a CStr)>,
    keeps_others: bool,
    f: impl FnOnce() -> T,
) -> T {
    // SAFETY: takes nothing. Postgres ends the level itself if an error ends the (sub)transaction.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    for (name, value) in values {
        set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
    }
    let result = f();
    // SAFETY: the level that was begun above. `f` has ended the levels that it began, or raised.
    unsafe { pg_sys::AtEOXact_GUC(keeps_others, level) };
    result
}

/// Sets a setting that every role may set until the transaction ends, as SET LOCAL does.
pub fn set_local(name: &CStr, value: &CStr) {
    set(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL);
}

fn set(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    let (context, source) = (pg_sys::GucContext::PGC_USERSET, pg_sys::GucSource::PGC_S_SESSION);
    // SAFETY: NUL-terminated strings, which Postgres copies. It raises for a name or a value that it does not know.
    unsafe { pg_sys::set_config_option(name.as_ptr(), value.as_ptr(), context, source, action, true, 0, false) };
}

/// Sets a setting for the whole process, against the values of its role, its database and the configuration file.
pub fn set_for_process(name: &CStr, value: &CStr) {
    let (context, source) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_OVERRIDE);
    // SAFETY: as in `set`.
    unsafe { pg_sys::SetConfigOption(name.as_ptr(), value.as_ptr(), context, source) };
}

/// Whether the setting `name` has this value. Raises if there is no such setting.
pub fn has_value(name: &CStr, value: &CStr) -> bool {
    // SAFETY: a NUL-terminated name. The result is null, or a NUL-terminated string that lasts until the next call.
    unsafe {
        let current = pg_sys::GetConfigOption(name.as_ptr(), false, false);
        !current.is_null() && CStr::from_ptr(current) == value
    }
}
