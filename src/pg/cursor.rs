//! A query whose rows are read some at a time, so that they take no memory all at once.

use std::ffi::{CString, c_int, c_long};
use std::ptr;

use pgrx::pg_sys;

use super::param::Params;
use super::spi::{Connection, QueryRows};

/// A query that has begun. It has no drop, which would call Postgres while an error unwinds; then the transaction's end
/// closes it. So no value may be used after the (sub)transaction that opened it.
pub struct Cursor(pg_sys::Portal);

impl Cursor {
    /// Begins `query`, a SELECT in ASCII. It sees what the transaction has done before.
    pub fn open<P: Params>(_: &Connection, query: &str, values: P::Values<'_>) -> Cursor {
        let query = CString::new(query).expect("our statements hold no NUL");
        let (mut types, mut arguments) = (P::TYPES.to_vec(), P::arguments(values));
        // SAFETY: a type and a value for each parameter, which Postgres copies. Raises if the query cannot run.
        let portal = unsafe {
            pg_sys::SPI_cursor_open_with_args(
                ptr::null(),
                query.as_ptr(),
                types.len() as c_int,
                types.as_mut_ptr(),
                arguments.datums.as_mut_ptr(),
                arguments.nulls.as_ptr(),
                false,
                pg_sys::CURSOR_OPT_NO_SCROLL as c_int,
            )
        };
        Cursor(portal)
    }

    /// The next rows, at most `most`.
    pub fn fetch<'conn>(&self, _: &'conn Connection, most: usize) -> QueryRows<'conn> {
        // SAFETY: the portal is open until `close` takes this value, or the (sub)transaction ends. The batch is that of this fetch.
        unsafe {
            pg_sys::SPI_cursor_fetch(self.0, true, most as c_long);
            QueryRows::of_last()
        }
    }

    pub fn close(self) {
        // SAFETY: the portal is open, and this value ends here.
        unsafe { pg_sys::SPI_cursor_close(self.0) };
    }
}
