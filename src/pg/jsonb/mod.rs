//! jsonb, both ways, without a tree in between and without losing a digit.
//!
//! `pgrx::JsonB` goes through serde values: `1.10` becomes `1.1`, long numbers are rounded, depth over 128 panics.
//! Postgres' own text functions are exact, and slow: they are half the time of a call with many records. So a UTF-8
//! database prints and builds here ([`print`], [`build`]), and what these two do not do is left to Postgres.

mod build;
mod print;
pub mod values;

use std::ffi::CStr;
use std::ptr;

use pgrx::PgSqlErrorCode as Code;
use pgrx::datum::FromDatum;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, Datum, Oid};

use super::{elog, text};

/// A jsonb where it is stored: in an argument, in a row, or in the memory context that it was made in. It lasts no longer.
pub struct Json {
    stored: *mut pg_sys::varlena,
}

super::argument_from_datum!(Json, "jsonb");

impl FromDatum for Json {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        (!is_null).then(|| Json { stored: datum.cast_mut_ptr() })
    }
}

impl Json {
    /// Appends the value's text, in UTF-8. What had to be detoasted for it is freed at once, because it may be large.
    pub fn print_to(&self, out: &mut Vec<u8>) {
        // SAFETY: `stored` is a jsonb, as each maker of this value promises, and is still there. A detoasted copy is freed
        // here, and only if it is one.
        unsafe {
            let plain = pg_sys::pg_detoast_datum(self.stored);
            if text::database_is_utf8() {
                reserve(out, pgrx::varsize_any(plain));
                print::print(plain.cast(), out);
            } else {
                print_by_postgres(plain, out);
            }
            if !ptr::eq(plain, self.stored) {
                pg_sys::pfree(plain.cast());
            }
        }
    }

    /// The value's text, in UTF-8.
    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.print_to(&mut out);
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// The jsonb `datum` as JSON text. It is a jsonb that [`to_datum`] or [`values::ObjectOf`] has made.
pub fn text_of(datum: Datum) -> String {
    Json { stored: datum.cast_mut_ptr() }.to_text()
}

/// Makes room for the text of a jsonb of this size. Most of a jsonb is its strings; the rest of the text is rarely
/// larger than what stands in its place. A lack of memory is an error here, and would be an abort where Rust grows a
/// vector by itself.
fn reserve(out: &mut Vec<u8>, size: usize) {
    /// Postgres' own limit for a text.
    const MOST_BYTES: usize = 0x3FFF_FFFF;
    let room = size + size / 8;
    if out.len().saturating_add(size) > MOST_BYTES {
        let message = format!("the request would be larger than {MOST_BYTES} bytes");
        elog::raise(ErrorReport::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, message, "sequin_mutations"));
    }
    if out.try_reserve(room).is_err() {
        let message = format!("out of memory: the request takes {room} bytes");
        elog::raise(ErrorReport::new(Code::ERRCODE_OUT_OF_MEMORY, message, "sequin_mutations"));
    }
}

/// # Safety
/// `plain` is a jsonb that is neither compressed nor out of line.
unsafe fn print_by_postgres(plain: *mut pg_sys::varlena, out: &mut Vec<u8>) {
    // SAFETY: as the caller promises: the header says the size, and the root container follows it. The result is
    // NUL-terminated, and copied before it is freed.
    unsafe {
        let length = pgrx::varsize_any(plain) as i32;
        let root = &raw mut (*plain.cast::<pg_sys::Jsonb>()).root;
        let printed = pg_sys::JsonbToCString(ptr::null_mut(), root, length);
        out.extend_from_slice(text::from_server(CStr::from_ptr(printed).to_bytes()).as_bytes());
        pg_sys::pfree(printed.cast());
    }
}

/// Above this size [`build`] leaves the value to Postgres, which knows what is too large for a jsonb.
const BUILD_BYTES: usize = 64 << 20;

/// `json`, a valid JSON text, as a jsonb datum. Raises Postgres' own error for what a jsonb cannot hold.
pub fn to_datum(json: &str) -> Datum {
    let is_container = matches!(json.as_bytes().first(), Some(b'{' | b'['));
    if is_container && json.len() < BUILD_BYTES && text::database_is_utf8() {
        build::build(json)
    } else {
        read_by_postgres(json)
    }
}

fn read_by_postgres(json: &str) -> Datum {
    // pgrx's own binding is a Rust function, which Postgres cannot be given to call.
    unsafe extern "C-unwind" {
        fn jsonb_in(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    let printed = text::to_server_cstring(json);
    // SAFETY: jsonb_in takes one NUL-terminated string, and gives a jsonb that does not point into it.
    unsafe {
        let datum = pg_sys::DirectFunctionCall1Coll(Some(jsonb_in), Oid::INVALID, Datum::from(printed));
        pg_sys::pfree(printed.cast());
        datum
    }
}
