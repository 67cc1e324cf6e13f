//! Memory that is freed before the statement ends: a loop over many rows must not keep what each of them needs.

use std::ffi::CStr;

use pgrx::pg_sys::{self, MemoryContext};

/// A memory context of its own that is current only while [`ChildContext::run`] runs. It lasts as long as the context that was
/// current when this value was made.
pub struct ChildContext(MemoryContext);

impl ChildContext {
    pub fn new() -> ChildContext {
        ChildContext(below_current(c"sequin child"))
    }

    /// Runs `f` in that context. The context above must last still.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: as said. An error leaves the variable to Postgres, which sets it when it catches the error.
        unsafe {
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.0;
            let result = f();
            pg_sys::CurrentMemoryContext = caller;
            result
        }
    }

    /// Frees all that was made in it, which nothing may use any more.
    pub fn reset(&self) {
        // SAFETY: as said.
        unsafe { pg_sys::MemoryContextReset(self.0) };
    }
}

/// A child of the current memory context.
fn below_current(name: &'static CStr) -> MemoryContext {
    // SAFETY: the current context; Postgres keeps the name's address, which is static.
    unsafe {
        pg_sys::AllocSetContextCreateExtended(
            pg_sys::CurrentMemoryContext,
            name.as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// A memory context of its own, made current. It has no drop, which would call Postgres while an error unwinds; then
/// its parent, the function's context, takes it along.
pub struct ScratchContext {
    own: MemoryContext,
    previous: MemoryContext,
}

impl ScratchContext {
    pub fn enter() -> Self {
        // SAFETY: a child of the current context, and the current context itself to go back to.
        unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            let own = below_current(c"sequin scratch");
            pg_sys::CurrentMemoryContext = own;
            ScratchContext { own, previous }
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
