//! A query whose rows are read some at a time, so that they take no memory all at once.

use std::ffi::{CString, c_char, c_int, c_long};
use std::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use super::spi::{Batch, Connection};
use super::statement::Value;

/// A query that has begun. It has no drop, which would call Postgres while an error unwinds; then the transaction's end
/// closes it.
pub struct Cursor(pg_sys::Portal);

impl Cursor {
    /// Begins `query`, a SELECT in ASCII. It sees what the transaction has done before.
    pub fn open(_: &Connection, query: &str, values: &[Value<'_>]) -> Cursor {
        let query = CString::new(query).expect("our statements hold no NUL");
        let datums: Vec<Option<Datum>> = values.iter().map(Value::datum).collect();
        let mut arguments: Vec<Datum> = datums.iter().map(|datum| datum.unwrap_or(Datum::null())).collect();
        let nulls: Vec<c_char> = datums.iter().map(|d| if d.is_none() { b'n' } else { b' ' } as c_char).collect();
        let mut types: Vec<Oid> = values.iter().map(Value::type_oid).collect();
        // SAFETY: a type and a value for each parameter, which Postgres copies. Raises if the query cannot run.
        let portal = unsafe {
            pg_sys::SPI_cursor_open_with_args(
                ptr::null(),
                query.as_ptr(),
                types.len() as c_int,
                types.as_mut_ptr(),
                arguments.as_mut_ptr(),
                nulls.as_ptr(),
                false,
                pg_sys::CURSOR_OPT_NO_SCROLL as c_int,
            )
        };
        Cursor(portal)
    }

    /// The next rows, at most `most`.
    pub fn fetch(&self, _: &Connection, most: usize) -> Batch {
        // SAFETY: the portal is open until this value ends. The batch is that of this fetch.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0, true, most as c_long);
            Batch::of_last()
        }
    }

    pub fn close(self) {
        // SAFETY: the portal is open, and this value ends here.
        unsafe { pg_sys::SPI_cursor_close(self.0) };
    }
}
