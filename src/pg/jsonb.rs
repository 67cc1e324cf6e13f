//! jsonb as text, both ways, without a tree in between.
//!
//! `pgrx::JsonB` goes through serde values and loses what they cannot hold: `1.10` becomes `1.1`, long numbers are
//! rounded, depth over 128 panics. Postgres' own text form keeps every digit and every key.

use std::ffi::{CStr, c_char};

use pgrx::datum::FromDatum;
use pgrx::pg_sys::{self, Datum, Oid};

use super::text;

/// An argument of type jsonb, as the text that Postgres prints for it, in UTF-8. The text is owned by Postgres until
/// [`JsonText::release`], because a large one would otherwise be in memory twice.
pub struct JsonText {
    /// palloc'd and NUL-terminated, in the database's encoding.
    printed: *mut c_char,
    length: usize,
}

super::argument_from_datum!(JsonText, "jsonb");

impl FromDatum for JsonText {
    unsafe fn from_polymorphic_datum(datum: Datum, is_null: bool, _: Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: as the caller promises, a jsonb. What was detoasted for it is freed at once: it may be large.
        unsafe {
            let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
            let plain = pg_sys::pg_detoast_datum(stored);
            let jsonb = plain.cast::<pg_sys::Jsonb>();
            let length = pgrx::varsize_any(plain) as i32;
            let printed = pg_sys::JsonbToCString(std::ptr::null_mut(), &raw mut (*jsonb).root, length);
            if !std::ptr::eq(plain, stored) {
                pg_sys::pfree(plain.cast());
            }
            let length = CStr::from_ptr(printed).count_bytes();
            Some(JsonText { printed, length })
        }
    }
}

impl JsonText {
    pub fn as_str(&self) -> std::borrow::Cow<'_, str> {
        // SAFETY: `printed` has `length` bytes until `release`, which takes `self`.
        text::from_server(unsafe { std::slice::from_raw_parts(self.printed.cast::<u8>(), self.length) })
    }

    /// Frees the text. Without it the memory is held until Postgres resets the caller's memory context.
    pub fn release(self) {
        // SAFETY: palloc'd by `from_datum` and used no more.
        unsafe { pg_sys::pfree(self.printed.cast()) };
    }
}

/// `json` as a jsonb datum. Raises Postgres' own error for what a jsonb cannot hold.
pub fn to_jsonb_datum(json: &str) -> Datum {
    // pgrx's own binding is a Rust function, which Postgres cannot be given to call.
    unsafe extern "C-unwind" {
        fn jsonb_in(call: pg_sys::FunctionCallInfo) -> Datum;
    }
    let printed = text::to_server_cstring(json);
    // SAFETY: jsonb_in takes one NUL-terminated string.
    unsafe {
        let datum = pg_sys::DirectFunctionCall1Coll(Some(jsonb_in), Oid::INVALID, Datum::from(printed));
        pg_sys::pfree(printed.cast());
        datum
    }
}
