//! Memory that is freed before the statement ends, so that a loop over many rows does not keep the memory of each.

use std::ffi::CStr;

use pgrx::pg_sys::{self, MemoryContext};

/// A memory context that is current only while [`run`](Self::run) runs. It lasts as long as the context that was current
/// when this value was made.
pub struct ChildContext(MemoryContext);

impl ChildContext {
    pub fn new() -> ChildContext {
        ChildContext(below_current(c"sequin child"))
    }

    /// Runs `f` in that context, which must not be gone yet.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        // SAFETY: a variable of the backend, set to a context that the caller says is there, and set back. After an error
        // of `f` the code that catches it sets the variable: pgrx's guard, Postgres, or `transaction`.
        unsafe {
            let caller = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.0;
            let result = f();
            pg_sys::CurrentMemoryContext = caller;
            result
        }
    }

    /// Frees all that was made in it. Its datums must not be used any more.
    pub fn reset(&self) {
        // SAFETY: a context that is there. It frees memory that Postgres has allocated, never a Rust value.
        unsafe { pg_sys::MemoryContextReset(self.0) };
    }
}

/// A child of the current memory context.
fn below_current(name: &'static CStr) -> MemoryContext {
    // SAFETY: the current context is there, and becomes the parent. Postgres keeps the name's address, which is static.
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

/// A memory context that is current from [`enter`](Self::enter) to [`leave`](Self::leave). After an error its parent, the
/// context of the function, takes it along.
pub struct ScratchContext {
    own: MemoryContext,
    previous: MemoryContext,
}

impl ScratchContext {
    pub fn enter() -> Self {
        // SAFETY: a variable of the backend, set to a context that was just made.
        unsafe {
            let previous = pg_sys::CurrentMemoryContext;
            let own = below_current(c"sequin scratch");
            pg_sys::CurrentMemoryContext = own;
            ScratchContext { own, previous }
        }
    }

    /// Frees all that was made in it. Its datums must not be used any more.
    pub fn reset(&self) {
        // SAFETY: a context that is there until `leave`, which takes this value.
        unsafe { pg_sys::MemoryContextReset(self.own) };
    }

    /// Frees all that was made in it, and makes the former context current.
    pub fn leave(self) {
        // SAFETY: contexts nest: the one that was current at `enter` outlives its child. It is current when the child goes.
        unsafe {
            pg_sys::CurrentMemoryContext = self.previous;
            pg_sys::MemoryContextDelete(self.own);
        }
    }
}
