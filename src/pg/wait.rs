//! Waiting for a socket and for Postgres at once: the one loop in which a request spends its time.
//!
//! A wait that saw only the socket could not be cancelled; one that saw only the latch would poll. A kept
//! WaitEventSet costs a tenth of WaitLatchOrSocket, which builds and closes an epoll each time.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::bgworker;
use super::interrupt::{Interrupted, caught, check};
use super::socket::Interest;
use super::wait_event::WaitEvent;

const fn socket_event(interest: Interest) -> u32 {
    match interest {
        Interest::Readable => pg_sys::WL_SOCKET_READABLE,
        Interest::Writable => pg_sys::WL_SOCKET_WRITEABLE,
    }
}

/// Why a wait ended without the socket.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error("timed out")]
    TimedOut,
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// A wait event set over one socket, the process latch and the postmaster's death. It must not outlive the socket by
/// more than its own drop: the kernel forgets a closed socket by itself.
#[derive(Debug)]
pub struct SocketWait {
    set: NonNull<pg_sys::WaitEventSet>,
    position: c_int,
    interest: Interest,
}

// SAFETY: ureq asks for both bounds, for programs that have threads. Here the main thread makes all requests and keeps all
// connections, so no `SocketWait` ever reaches another one; the threads of `thread` are given none.
unsafe impl Send for SocketWait {}
// SAFETY: as for `Send`.
unsafe impl Sync for SocketWait {}

impl SocketWait {
    /// Fails only as [`Interrupted`]: Postgres may be out of memory or of file descriptors.
    pub fn new(socket: BorrowedFd<'_>, interest: Interest) -> Result<Self, Interrupted> {
        let fd = socket.as_raw_fd();
        // SAFETY: the main thread of a process of Postgres. The set is freed below, or in `drop`.
        let set = caught(|| unsafe { create_set() })?;
        let nothing = ptr::null_mut();
        // SAFETY: a set that was just made, with room for three events. The latch lasts as long as the process. The socket
        // is open as long as it is borrowed; the kernel forgets it when it is closed.
        let position = caught(|| unsafe {
            let (no_socket, no_latch) = (pg_sys::PGINVALID_SOCKET, ptr::null_mut());
            pg_sys::AddWaitEventToSet(set, pg_sys::WL_LATCH_SET, no_socket, pg_sys::MyLatch, nothing);
            pg_sys::AddWaitEventToSet(set, pg_sys::WL_EXIT_ON_PM_DEATH, no_socket, no_latch, nothing);
            pg_sys::AddWaitEventToSet(set, socket_event(interest), fd, no_latch, nothing)
        });
        match position {
            // SAFETY: the set is not null: Postgres gives one or raises, and then `caught` has returned.
            Ok(position) => Ok(SocketWait { set: unsafe { NonNull::new_unchecked(set) }, position, interest }),
            Err(interrupted) => {
                // SAFETY: made above, and freed once: no `SocketWait` has it.
                unsafe { pg_sys::FreeWaitEventSet(set) };
                Err(interrupted)
            }
        }
    }

    /// Waits until the socket is ready, `deadline` has passed, or Postgres wants something else of this backend.
    pub fn wait(&mut self, interest: Interest, deadline: Instant, event: WaitEvent) -> Result<(), Unready> {
        if interest != self.interest {
            // SAFETY: `new` has made the set, and the position in it.
            caught(|| unsafe {
                pg_sys::ModifyWaitEvent(self.set.as_ptr(), self.position, socket_event(interest), ptr::null_mut());
            })?;
            self.interest = interest;
        }
        loop {
            // Before the wait, not only after a wake-up: another ResetLatch may have eaten the wake-up.
            check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unready::TimedOut);
            }
            match self.wait_once(left, event)? {
                // SAFETY: the process' own latch.
                Some(events) if events & pg_sys::WL_LATCH_SET != 0 => unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) },
                Some(_) => return Ok(()),
                None => {}
            }
        }
    }

    /// Waits for the socket or the latch, at most `most`, as [`bgworker::wait`] does for the latch alone.
    pub fn wait_for_any(&mut self, most: Duration, event: WaitEvent) -> Result<(), Interrupted> {
        self.wait_once(most, event)?;
        // SAFETY: the process' own latch.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        caught(bgworker::handle_interrupts)
    }

    /// The events that ended one wait; None when it ran for `left`.
    fn wait_once(&self, left: Duration, event: WaitEvent) -> Result<Option<u32>, Interrupted> {
        // Rounded up, so that the last millisecond is waited for and not spun through.
        let millis = left.as_millis().saturating_add(1).min(i32::MAX as u128) as std::ffi::c_long;
        // SAFETY: `new` has made the set. A WaitEvent is a C struct of integers and a pointer, for which all zeroes is a
        // value. Postgres writes at most one, as the fourth argument says.
        caught(|| unsafe {
            let mut fired: pg_sys::WaitEvent = std::mem::zeroed();
            let count = pg_sys::WaitEventSetWait(self.set.as_ptr(), millis, &mut fired, 1, event.id());
            (count > 0).then_some(fired.events)
        })
    }
}

impl Drop for SocketWait {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once. FreeWaitEventSet closes an epoll and frees memory. It raises no error, so a
        // drop may call it. It does not touch the socket, which may be closed by now.
        unsafe { pg_sys::FreeWaitEventSet(self.set.as_ptr()) };
    }
}

/// An empty set for latch, postmaster and socket, which lives until it is freed.
///
/// # Safety
/// On the main thread of a backend. May raise.
unsafe fn create_set() -> *mut pg_sys::WaitEventSet {
    const EVENTS: c_int = 3;
    // SAFETY: as the caller promises: TopMemoryContext is set. From 17 on a set belongs to a resource owner; none means the
    // session.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        return pg_sys::CreateWaitEventSet(pg_sys::TopMemoryContext, EVENTS);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        return pg_sys::CreateWaitEventSet(ptr::null_mut(), EVENTS);
    }
}
