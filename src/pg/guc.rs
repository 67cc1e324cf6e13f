//! Settings (GUC): set for a while, set for a process, and read by name.

use std::ffi::{CStr, CString};

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

/// The values that settings have in a process that is not connected yet: those of the configuration file.
pub struct Configured(Vec<(CString, CString)>);

/// Reads the settings that can be set for the sessions of a database or a role, before the process connects.
pub fn configured() -> Configured {
    use pg_sys::GucContext::{PGC_SUSET, PGC_USERSET};
    let settable = [PGC_SUSET, PGC_USERSET];
    let read = |setting: &pg_sys::config_generic| {
        if !settable.contains(&setting.context) {
            return None;
        }
        // SAFETY: the NUL-terminated name of a setting that exists. The result is null, or a NUL-terminated string that lasts
        // until the next call, and is copied.
        unsafe {
            let value = pg_sys::GetConfigOption(setting.name, true, false);
            let name = CStr::from_ptr(setting.name).to_owned();
            (!value.is_null()).then(|| (name, CStr::from_ptr(value).to_owned()))
        }
    };
    Configured(all().filter_map(read).collect())
}

impl Configured {
    /// Puts the values back where the database or the role of the connection has others. Settings with a dot in their name
    /// keep these: they belong to applications and other extensions, whose triggers may read them.
    pub fn restore(&self) {
        use pg_sys::GucSource::{PGC_S_DATABASE, PGC_S_DATABASE_USER, PGC_S_GLOBAL, PGC_S_USER};
        let of_sessions = [PGC_S_GLOBAL, PGC_S_DATABASE, PGC_S_USER, PGC_S_DATABASE_USER];
        let changed: Vec<&CStr> = all()
            .filter(|setting| of_sessions.contains(&setting.source))
            // SAFETY: a NUL-terminated name, which lasts as long as the setting: settings are never removed here.
            .map(|setting| unsafe { CStr::from_ptr(setting.name) })
            .collect();
        for (name, value) in &self.0 {
            if changed.contains(&name.as_c_str()) && !name.as_bytes().contains(&b'.') {
                // A value that was valid may not be so in this database: then a message of this level is all.
                let (context, source) = (pg_sys::GucContext::PGC_SUSET, pg_sys::GucSource::PGC_S_OVERRIDE);
                let (action, level) = (pg_sys::GucAction::GUC_ACTION_SET, pg_sys::LOG as i32);
                // SAFETY: NUL-terminated strings, which Postgres copies.
                unsafe {
                    pg_sys::set_config_option(
                        name.as_ptr(),
                        value.as_ptr(),
                        context,
                        source,
                        action,
                        true,
                        level,
                        false,
                    )
                };
            }
        }
    }
}

/// All settings that the process knows.
fn all() -> impl Iterator<Item = &'static pg_sys::config_generic> {
    let mut count = 0;
    // SAFETY: Postgres gives an array of `count` settings, each of which lasts as long as the process. The array does until
    // a setting is defined, so it is copied.
    let settings: Vec<&'static pg_sys::config_generic> = unsafe {
        #[cfg(feature = "pg15")]
        let array = {
            count += pg_sys::GetNumConfigOptions();
            pg_sys::get_guc_variables()
        };
        #[cfg(not(feature = "pg15"))]
        let array = pg_sys::get_guc_variables(&mut count);
        (0..count as usize).map(|place| &**array.add(place)).collect()
    };
    settings.into_iter()
}

/// Whether the setting `name` has this value. Raises if there is no such setting.
pub fn has_value(name: &CStr, value: &CStr) -> bool {
    // SAFETY: a NUL-terminated name. The result is null, or a NUL-terminated string that lasts until the next call.
    unsafe {
        let current = pg_sys::GetConfigOption(name.as_ptr(), false, false);
        !current.is_null() && CStr::from_ptr(current) == value
    }
}
