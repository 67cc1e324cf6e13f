//! A thread inside a backend, for the one call that cannot be made to wait on a latch: getaddrinfo.
//!
//! Postgres is a single-threaded program that gets its wake-ups as signals. A thread with signals unblocked would
//! swallow some of them, and one that called Postgres would abort the process. So all signals are blocked before the
//! thread begins, and it runs a plain function that is given nothing of Postgres.

use std::io;
use std::mem;
use std::thread;

/// Enough for getaddrinfo, its plug-ins and the thread-local data of every library in the process, which glibc takes
/// from the same place; the default of 2 MiB would be reserved for nothing.
const STACK_BYTES: usize = 512 * 1024;

/// Runs `work` on a thread of its own that no signal reaches. `work` must not call Postgres, nor panic.
pub fn spawn_without_signals(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: sigset_t is a C struct of integers, for which all zeroes is a value, and both are filled in: with these
    // arguments neither call can fail. A thread inherits the mask of the one that makes it, so the new one is at no moment
    // open to a signal.
    let before = unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        let mut before: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let spawned = thread::Builder::new().name("sequin name look-up".into()).stack_size(STACK_BYTES).spawn(work);
    // SAFETY: `before` is the mask that the call above has stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    spawned.map(drop)
}
