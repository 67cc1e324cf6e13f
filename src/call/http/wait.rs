//! How a request waits for its socket: in a session on the process latch, so that Postgres can interrupt it; on a thread of
//! the outbox's worker with poll, because no thread may call Postgres.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::pg::interrupt;
use crate::pg::socket::{Interest, Polled, poll};
use crate::pg::wait::SocketWait;
use crate::pg::wait_event::WaitEvent;

use super::error::TransportError;

/// The kind of wait of all connections of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitKind {
    /// On the main thread of a process of Postgres.
    Latch,
    /// On a thread of its own.
    Poll,
}

impl WaitKind {
    /// Whether the request may go on. A session acts on a pending interrupt.
    pub fn check(self) -> Result<(), TransportError> {
        match self {
            WaitKind::Latch => Ok(interrupt::check()?),
            WaitKind::Poll if IS_STOPPED.load(Ordering::Acquire) => Err(stopped()),
            WaitKind::Poll => Ok(()),
        }
    }
}

/// The waits of one socket.
#[derive(Debug)]
pub enum Wait {
    Latch(SocketWait),
    Poll(OpenConnection),
}

impl Wait {
    pub fn new(kind: WaitKind, socket: BorrowedFd<'_>, interest: Interest) -> Result<Wait, TransportError> {
        Ok(match kind {
            WaitKind::Latch => Wait::Latch(SocketWait::new(socket, interest)?),
            WaitKind::Poll => Wait::Poll(OpenConnection::new()),
        })
    }

    pub fn kind(&self) -> WaitKind {
        match self {
            Wait::Latch(_) => WaitKind::Latch,
            Wait::Poll(_) => WaitKind::Poll,
        }
    }

    /// Waits until the socket is ready. `event` is what a session shows meanwhile.
    pub fn wait(
        &mut self,
        socket: BorrowedFd<'_>,
        interest: Interest,
        deadline: Instant,
        event: WaitEvent,
    ) -> Result<(), TransportError> {
        match self {
            Wait::Latch(wait) => Ok(wait.wait(interest, deadline, event)?),
            Wait::Poll(_) => match poll(socket, interest, stop_signal().fd(), deadline) {
                Ok(Polled::Ready) => Ok(()),
                Ok(Polled::TimedOut) => Err(TransportError::TimedOut),
                Ok(Polled::Stopped) => Err(stopped()),
                Err(error) => Err(TransportError::Failed(error.to_string())),
            },
        }
    }
}

/// Counts a connection of a thread while it is open.
#[derive(Debug)]
pub struct OpenConnection(());

static OPEN_CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

impl OpenConnection {
    fn new() -> OpenConnection {
        OPEN_CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        OpenConnection(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN_CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of threads that are open, in use or idle.
pub fn open_connections() -> usize {
    OPEN_CONNECTIONS.load(Ordering::Relaxed)
}

/// Set once, when the process ends: no thread sends another byte afterwards.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// A pair of sockets that wakes all threads at once: each polls the read end beside its own socket.
struct StopSignal {
    read_end: UnixStream,
    write_end: UnixStream,
}

impl StopSignal {
    fn fd(&self) -> BorrowedFd<'_> {
        self.read_end.as_fd()
    }
}

fn stop_signal() -> &'static StopSignal {
    static SIGNAL: OnceLock<StopSignal> = OnceLock::new();
    SIGNAL.get_or_init(|| {
        let (read_end, write_end) = UnixStream::pair().expect("a process has room for two more descriptors");
        StopSignal { read_end, write_end }
    })
}

/// Makes sure that [`stop_threads`] cannot fail.
pub fn prepare_to_stop_threads() {
    stop_signal();
}

/// Makes all threads give up their requests.
pub fn stop_threads() {
    IS_STOPPED.store(true, Ordering::Release);
    // The byte stays in the pair, so the read end stays readable. A full or broken pair has woken them already.
    let _ = (&stop_signal().write_end).write(&[0]);
}

fn stopped() -> TransportError {
    TransportError::Failed("the worker was asked to end".to_owned())
}
