//! Memory that is freed before the statement ends: a loop over many rows must not keep what each of them needs.

use pgrx::pg_sys::{self, MemoryContext};

/// A memory context of its own, made current. It has no drop, which would call Postgres while an error unwinds; then
/// its parent, the function's context, takes it along.
pub struct Scratch {
    own: MemoryContext,
    previous: MemoryContext,
}

impl Scratch {
    pub fn enter() -> Self {
        // SAFETY: a child of the current context, and the current context itself to go back to.
        unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            let own = pg_sys::AllocSetContextCreateExtended(
                previous,
                c"sequin scratch".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            pg_sys::CurrentMemoryContext = own;
            Scratch { own, previous }
        }
    }

    pub fn reset(&self) {
        // SAFETY: nothing of the last row is used any more.
        unsafe { pg_sys::MemoryContextReset(self.own) };
    }

    pub fn leave(self) {
        // SAFETY: the context that was current before, and ours, which nothing uses any more.
        unsafe {
            pg_sys::CurrentMemoryContext = self.previous;
            pg_sys::MemoryContextDelete(self.own);
        }
    }
}
