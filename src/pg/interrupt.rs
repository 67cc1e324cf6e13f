//! Postgres' interrupts (cancel, statement_timeout, terminate) and errors, taken below ureq and delivered above it.
//!
//! A request waits for the network inside ureq, and ureq holds locks and half-made connections while it does. An
//! error that unwound through it would poison its pool. So everything that may raise runs in [`caught`]: the
//! panic is kept here, ureq sees an ordinary I/O error, drops the connection and returns, and then the outermost
//! caller continues the panic with [`resume`]. Without that last step a cancelled statement would report a network
//! error, or, worse, success.
//!
//! "Returns" may take several tries: rustls drops an error of the socket below it and writes again. So while something
//! is kept here, every [`check`] fails at once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pgrx::pg_sys;

/// Something was caught. [`resume`] must be called as soon as no foreign frame is left on the stack.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

static CAUGHT: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);

/// Runs `f`, which may raise a Postgres error, and keeps what it raises for [`resume`].
///
/// Postgres keeps the error too, on its stack of errors, from where pgrx raises it again. So nothing between here and
/// [`resume`] may catch another error and flush that stack.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Interrupted> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        *lock() = Some(payload);
        Interrupted
    })
}

/// Forgets what was caught in a call that then ended by a panic of another kind.
pub fn forget() {
    *lock() = None;
}

fn lock() -> MutexGuard<'static, Option<Box<dyn Any + Send>>> {
    CAUGHT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Acts on a pending interrupt, if there is one. Costs some nanoseconds when there is none.
pub fn check() -> Result<(), Interrupted> {
    if lock().is_some() {
        return Err(Interrupted);
    }
    // SAFETY: a flag that signal handlers set; read volatile, as C does, because the compiler cannot see those handlers.
    let pending = unsafe { (&raw const pg_sys::InterruptPending).read_volatile() } != 0;
    if !pending {
        return Ok(());
    }
    // SAFETY: takes nothing. pgrx turns the jump of an ERROR into a panic, which `caught` keeps. A FATAL ends the process.
    caught(|| unsafe { pg_sys::ProcessInterrupts() })
}

/// Continues the panic that [`caught`] has kept, if any. To be called with no foreign frame on the stack.
pub fn resume() {
    let payload = lock().take();
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}
