//! File descriptors that Postgres does not open itself, but counts: it keeps as many of its own closed.

use pgrx::pg_sys;

/// Reserves one descriptor. False if this process may have no more: the limit is a third of `max_files_per_process`.
pub fn reserve() -> bool {
    // SAFETY: changes a counter of the process, and raises nothing.
    unsafe { pg_sys::AcquireExternalFD() }
}

/// Gives one reserved descriptor back.
pub fn release() {
    // SAFETY: as in `reserve`.
    unsafe { pg_sys::ReleaseExternalFD() };
}
