//! Descriptors of rows.

use pgrx::pg_sys::{self, TupleDesc};

/// # Safety
/// `descriptor` has more than `i` attributes.
pub(super) unsafe fn attribute(descriptor: TupleDesc, i: usize) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: as the caller promises: the attributes follow the descriptor. From 18 on a compact form stands before them.
    unsafe {
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::TupleDescAttr(descriptor, i as std::ffi::c_int);
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        (*descriptor).attrs.as_ptr().add(i)
    }
}
