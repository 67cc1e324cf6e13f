//! Beginning a TCP connection without waiting for its end, which std cannot do.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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
