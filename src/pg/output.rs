//! Values as text that does not depend on the session that prints them.
//!
//! A key is the text of a row's primary key. Two sessions with different settings (`TimeZone`, `IntervalStyle`,
//! `bytea_output` ...) would print one row's key in two ways, and its changes would lose their order. So a value is
//! printed under the same settings in each session, as pg_dump and postgres_fdw do it.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use super::guc;
use super::relation::Column;

/// The settings that output functions look at, each with its value here. With it times are in UTC.
const SETTINGS: [(&CStr, &CStr); 6] = [
    (c"TimeZone", c"UTC"),
    (c"DateStyle", c"ISO, MDY"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"lc_monetary", c"C"),
];

/// With this one, types that name objects (regclass and the like) name their schema.
const SEARCH_PATH: (&CStr, &CStr) = (c"search_path", c"pg_catalog");

/// The settings that the text of a type's values depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependsOn {
    Nothing,
    Settings,
    /// And on the search_path.
    SearchPath,
}

impl DependsOn {
    /// The most that one of the columns depends on.
    pub fn of<'a>(columns: impl IntoIterator<Item = &'a Column>) -> DependsOn {
        columns.into_iter().map(|column| of_type(column.base_type)).max().unwrap_or(DependsOn::Nothing)
    }
}

fn of_type(base_type: Oid) -> DependsOn {
    match base_type {
        pg_sys::BOOLOID
        | pg_sys::CHAROID
        | pg_sys::NAMEOID
        | pg_sys::INT2OID
        | pg_sys::INT4OID
        | pg_sys::INT8OID
        | pg_sys::OIDOID
        | pg_sys::TEXTOID
        | pg_sys::VARCHAROID
        | pg_sys::BPCHAROID
        | pg_sys::NUMERICOID
        | pg_sys::UUIDOID
        | pg_sys::JSONOID
        | pg_sys::JSONBOID
        // JSON has these two as ISO 8601, whatever the DateStyle.
        | pg_sys::DATEOID
        | pg_sys::TIMESTAMPOID => DependsOn::Nothing,
        pg_sys::TIMESTAMPTZOID
        | pg_sys::TIMEOID
        | pg_sys::TIMETZOID
        | pg_sys::INTERVALOID
        | pg_sys::FLOAT4OID
        | pg_sys::FLOAT8OID
        | pg_sys::BYTEAOID
        | pg_sys::MONEYOID => DependsOn::Settings,
        // SAFETY: a look-up by oid, in a transaction. It gives a zero if the type is gone.
        other if unsafe { pg_sys::get_typtype(other) } as u8 == pg_sys::TYPTYPE_ENUM => DependsOn::Nothing,
        // Of arrays, composite types, ranges and other people's types anything can be inside.
        _ => DependsOn::SearchPath,
    }
}

/// The settings that input functions look at when they read a text that was printed so, each with its value here. All
/// other types are read alike in every session.
const INPUT_SETTINGS: [(&CStr, &CStr); 2] = [(c"IntervalStyle", c"postgres"), (c"lc_monetary", c"C")];

/// Runs `f`, which reads texts that were printed by [`printed_alike`].
pub fn read_alike<T>(f: impl FnOnce() -> T) -> T {
    with_settings(INPUT_SETTINGS.iter(), f)
}

/// Runs `f`, which prints values that depend on so much. An error inside ends the (sub)transaction, and with it the change
/// of the settings.
pub fn printed_alike<T>(depends_on: DependsOn, f: impl FnOnce() -> T) -> T {
    let settings: &[(&CStr, &CStr)] = if depends_on == DependsOn::Nothing { &[] } else { &SETTINGS };
    let path = (depends_on == DependsOn::SearchPath).then_some(&SEARCH_PATH);
    with_settings(settings.iter().chain(path), f)
}

/// Runs `f` with these settings, and puts the old values back.
fn with_settings<'a, T>(
    settings: impl Iterator<Item = &'a (&'static CStr, &'static CStr)>,
    f: impl FnOnce() -> T,
) -> T {
    let others: Vec<_> = settings.filter(|(name, value)| !guc::has_value(name, value)).collect();
    if others.is_empty() {
        return f();
    }
    guc::with_values(others.into_iter().map(|(name, value)| (*name, *value)), true, f)
}
