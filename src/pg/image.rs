//! Comparing the stored images of two values, where the type's own equality may take different images for one value.

use std::ffi::c_int;
use std::slice;

use pgrx::pg_sys::Datum;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

/// Whether the images are the same, for one value that is stored in two ways (compressed, out of line) too.
///
/// # Safety
/// Two values, neither of them NULL, of a type with these `typbyval` and `typlen` of pg_type.
pub(super) unsafe fn is_same_image(one: Datum, two: Datum, by_value: bool, length: i16) -> bool {
    if by_value {
        return one == two;
    }
    // SAFETY: as the caller promises, pointers: to `length` bytes; for -1 to a varlena, whose header says its size; for
    // -2 to a C string, which has no header.
    unsafe {
        if length > 0 {
            return bytes(one, length as usize) == bytes(two, length as usize);
        }
        if length == -1 {
            let (first, second) = (one.cast_mut_ptr(), two.cast_mut_ptr());
            let is_elsewhere = |value| pgrx::varatt_is_1b_e(value) || pgrx::varatt_is_4b_c(value);
            if !is_elsewhere(first) && !is_elsewhere(second) {
                let content = |value| {
                    slice::from_raw_parts(pgrx::vardata_any(value).cast::<u8>(), pgrx::varsize_any_exhdr(value))
                };
                return content(first) == content(second);
            }
            // Most values that were not written are the same pointer to the same place.
            let (size, other_size) = (pgrx::varsize_any(first), pgrx::varsize_any(second));
            if size == other_size && bytes(one, size) == bytes(two, size) {
                return true;
            }
        }
        datum_image_eq(one, two, by_value, c_int::from(length))
    }
}

/// # Safety
/// A pointer to so many bytes, which last for `'a`.
unsafe fn bytes<'a>(value: Datum, length: usize) -> &'a [u8] {
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts(value.cast_mut_ptr::<u8>(), length) }
}

/// Postgres' own comparison, which fetches values that are stored out of line.
///
/// # Safety
/// Two values, neither of them NULL, of a type with these `typbyval` and `typlen` of pg_type.
pub(super) unsafe fn datum_image_eq(one: Datum, two: Datum, by_value: bool, length: c_int) -> bool {
    // Not in pgrx's bindings.
    unsafe extern "C-unwind" {
        fn datum_image_eq(one: Datum, two: Datum, by_value: bool, length: c_int) -> bool;
    }
    // SAFETY: as the caller promises. The closure owns nothing, so the guard may end it by a jump.
    unsafe { pg_guard_ffi_boundary(|| datum_image_eq(one, two, by_value, length)) }
}
