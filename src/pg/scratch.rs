//! Memory that is freed before the statement ends: a loop over many rows must not keep what each of them needs.

use pgrx::pg_sys::{self, MemoryContext};

/// The memory context that was current when this value was made, for what must last as long as that.
#[derive(Clone, Copy)]
pub struct Home(MemoryContext);

impl Home {
    pub fn current() -> Home {
        // SAFETY: reads a variable of the backend.
        Home(unsafe { pg_sys::CurrentMemoryContext })
    }

    /// Runs `f` in that context. It must last still.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> T {
        // SAFETY: as said. An error leaves the variable to Postgres, which sets it when it catches the error.
        unsafe {
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.0;
            let result = f();
            pg_sys::CurrentMemoryContext = caller;
            result
        }
    }
}

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
