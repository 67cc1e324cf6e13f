//! What std cannot do with a socket: beginning a TCP connection without waiting for its end, and waiting for one of two
//! descriptors. Nothing here calls Postgres, so it may run on any thread.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Instant;

/// The event to wait for. A connection in progress becomes writable when it is made or has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    Readable,
    Writable,
}

/// How a [`poll`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// The descriptor is ready, or failed: the next read or write tells.
    Ready,
    /// The second descriptor is readable, or its other end is closed.
    Stopped,
    TimedOut,
}

/// Waits until `socket` is ready or `deadline` has passed, or until `stop` is readable.
pub fn poll(socket: BorrowedFd<'_>, interest: Interest, stop: BorrowedFd<'_>, deadline: Instant) -> io::Result<Polled> {
    let events = match interest {
        Interest::Readable => libc::POLLIN,
        Interest::Writable => libc::POLLOUT,
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Polled::TimedOut);
        }
        // Rounded up, so that the last millisecond is waited for and not spun through.
        let millis = left.as_millis().saturating_add(1).min(libc::c_int::MAX as u128) as libc::c_int;
        let mut fds = [
            libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 },
            libc::pollfd { fd: stop.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        // SAFETY: an array of two elements, whose descriptors are open as long as they are borrowed.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
        match ready {
            _ if ready < 0 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ if fds[1].revents != 0 => return Ok(Polled::Stopped),
            _ if fds[0].revents != 0 => return Ok(Polled::Ready),
            _ => {}
        }
    }
}

/// A non-blocking socket that connects to `address`. When it becomes writable, [`TcpStream::take_error`] gives the error,
/// if there was one.
pub fn begin_connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let (storage, length) = sockaddr(address);
    // SAFETY: takes numbers alone, and its result is checked.
    let fd = unsafe {
        libc::socket(
            libc::c_int::from(storage.ss_family),
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made, so no other value owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the first `length` bytes of `storage` are an address, and outlive the call.
    let refused = unsafe { libc::connect(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    if refused != 0 {
        let error = io::Error::last_os_error();
        // An interrupted connect goes on by itself, as one under way does.
        if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) {
            return Err(error);
        }
    }
    Ok(TcpStream::from(socket))
}

/// `address` as the kernel wants it, and its size in bytes.
fn sockaddr(address: &SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: a C struct of integers, for which all zeroes is a value (the family AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            let target = (&raw mut storage).cast::<libc::sockaddr_in>();
            // SAFETY: sockaddr_storage has the size and the alignment for each kind of address.
            unsafe {
                (*target).sin_family = libc::AF_INET as libc::sa_family_t;
                (*target).sin_port = v4.port().to_be();
                (*target).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            }
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let target = (&raw mut storage).cast::<libc::sockaddr_in6>();
            // SAFETY: sockaddr_storage has the size and the alignment for each kind of address.
            unsafe {
                (*target).sin6_family = libc::AF_INET6 as libc::sa_family_t;
                (*target).sin6_port = v6.port().to_be();
                (*target).sin6_addr.s6_addr = v6.ip().octets();
                (*target).sin6_flowinfo = v6.flowinfo();
                (*target).sin6_scope_id = v6.scope_id();
            }
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}
