//! Threads inside a process of Postgres: for getaddrinfo, which cannot be made to wait on a latch, and for the requests of a
//! worker.
//!
//! Postgres is a single-threaded program that gets its wake-ups as signals. A thread with signals unblocked would
//! swallow some of them, and one that called Postgres would abort the process. So all signals are blocked before the
//! thread begins, and it runs a function that is given nothing of Postgres.

use std::io;
use std::mem;
use std::thread::{self, JoinHandle};

/// Enough for getaddrinfo and its plug-ins, for a TLS handshake, and for the thread-local data of every library in the
/// process, which glibc takes from the same place. The default of 2 MiB would be reserved for nothing.
const STACK_BYTES: usize = 512 * 1024;

/// Runs `work` on a thread of its own that no signal reaches. `work` must not call Postgres, nor panic.
pub fn spawn_without_signals(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
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
    let spawned = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work);
    // SAFETY: `before` is the mask that the call above has stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    spawned
}

/// Lets all threads share one arena of malloc. Otherwise each of them would reserve 64 MiB of address space, and keep freed
/// memory for itself.
pub fn share_malloc_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of malloc; called before the process has a second thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
