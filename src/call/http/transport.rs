//! One connection, on a non-blocking socket.
//!
//! Output is buffered until ureq wants to read, or until the buffer is full: head and body of a small request leave in
//! one system call, which halves the time of an exchange. The buffer also tells, to the byte, whether a part of the
//! request was sent.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use ureq::config::Config;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use crate::pg::interrupt::Interrupted;
use crate::pg::socket::Interest;
use crate::pg::wait_event::WaitEvent;

use super::error::TransportError;
use super::progress;
use super::tls_records::TlsRecords;
use super::wait::{Wait, WaitKind};

/// Larger output is sent at once: a large request gains nothing from the buffer.
const MAX_BUFFERED_BYTES: usize = 64 * 1024;

/// The failure of a step, which each later step repeats.
#[derive(Clone, Copy)]
enum FailureKind {
    TimedOut,
    Interrupted,
    Failed,
}

impl From<&TransportError> for FailureKind {
    fn from(error: &TransportError) -> Self {
        match error {
            TransportError::TimedOut => FailureKind::TimedOut,
            TransportError::Interrupted(_) => FailureKind::Interrupted,
            TransportError::Failed(_) => FailureKind::Failed,
        }
    }
}

impl From<FailureKind> for TransportError {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::TimedOut => TransportError::TimedOut,
            FailureKind::Interrupted => TransportError::Interrupted(Interrupted),
            FailureKind::Failed => TransportError::Failed("the connection is broken".to_owned()),
        }
    }
}

pub struct SocketTransport {
    // Declared before the socket: it is dropped first, while the descriptor that it watches is open.
    wait: Wait,
    socket: TcpStream,
    buffers: LazyBuffers,
    unsent: Vec<u8>,
    /// For input that TLS encrypts.
    tls_records: Option<TlsRecords>,
    peer_closed: bool,
    /// The peer may have sent a reply before it stopped.
    peer_stopped_reading: bool,
    /// rustls drops the error of a write and writes again. That write must fail for the same reason, and send nothing.
    failure: Option<FailureKind>,
    /// ureq has called `is_open` since the last read.
    was_asked: bool,
}

impl SocketTransport {
    pub fn new(socket: TcpStream, wait: Wait, is_for_tls: bool, config: &Config) -> Self {
        SocketTransport {
            wait,
            socket,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            unsent: Vec::new(),
            tls_records: is_for_tls.then(TlsRecords::default),
            peer_closed: false,
            peer_stopped_reading: false,
            failure: None,
            was_asked: false,
        }
    }

    /// Runs one step, unless an earlier one has failed.
    fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, TransportError>) -> Result<T, ureq::Error> {
        if let Some(kind) = self.failure {
            return Err(TransportError::from(kind).into());
        }
        step(self).map_err(|error| {
            self.failure = Some(FailureKind::from(&error));
            error.into()
        })
    }

    /// Sends the buffered bytes, and then the first `amount` bytes of ureq's output buffer.
    fn send(&mut self, amount: usize) -> Result<(), TransportError> {
        let mut sent = 0;
        let total = self.unsent.len() + amount;
        while sent < total && !self.peer_stopped_reading {
            check(self.wait.kind())?;
            let output = &self.buffers.output()[..amount];
            let written = match self.unsent.get(sent..) {
                Some(unsent) if output.is_empty() => self.socket.write(unsent),
                Some(unsent) if !unsent.is_empty() => {
                    self.socket.write_vectored(&[IoSlice::new(unsent), IoSlice::new(output)])
                }
                _ => self.socket.write(&output[sent - self.unsent.len()..]),
            };
            match written {
                Ok(bytes) => {
                    sent += bytes;
                    progress::note_sent(bytes);
                }
                Err(error) if would_block(&error) => {
                    let socket = self.socket.as_fd();
                    self.wait.wait(socket, Interest::Writable, progress::deadline(), WaitEvent::Send)?;
                }
                // An API that refuses a large request may reply and close before it has read all of it. Its reply says
                // more than this error, so it is read.
                Err(error) if progress::was_sent() && is_closed(&error) => self.peer_stopped_reading = true,
                Err(error) => return Err(TransportError::Failed(error.to_string())),
            }
        }
        self.unsent.clear();
        Ok(())
    }

    /// Reads the available bytes into the input buffer, and waits for the first one. 0 is the end of the stream.
    fn receive(&mut self) -> Result<usize, TransportError> {
        loop {
            check(self.wait.kind())?;
            // The read comes before the wait, which a fast reply makes unnecessary.
            match self.socket.read(self.buffers.input_append_buf()) {
                Ok(bytes) => {
                    self.buffers.input_appended(bytes);
                    progress::note_bytes_received(bytes);
                    if let Some(records) = &mut self.tls_records {
                        let input = self.buffers.input();
                        records.advance(&input[input.len() - bytes..]);
                    }
                    return Ok(bytes);
                }
                Err(error) if would_block(&error) => {
                    let socket = self.socket.as_fd();
                    self.wait.wait(socket, Interest::Readable, progress::deadline(), WaitEvent::Receive)?;
                }
                Err(error) => return Err(TransportError::Failed(error.to_string())),
            }
        }
    }
}

/// The waits check both, too. But a peer that sends without a pause, or accepts all output at once, causes no wait.
fn check(kind: WaitKind) -> Result<(), TransportError> {
    kind.check()?;
    if Instant::now() < progress::deadline() { Ok(()) } else { Err(TransportError::TimedOut) }
}

fn would_block(error: &io::Error) -> bool {
    // After a signal the step is repeated; the wait before it checks for interrupts.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        if self.unsent.len() + amount > MAX_BUFFERED_BYTES {
            return self.step(|connection| connection.send(amount));
        }
        let output = &self.buffers.output()[..amount];
        self.unsent.extend_from_slice(output);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.was_asked = false;
        let received = self.step(|connection| {
            connection.send(0)?;
            connection.receive()
        })?;
        self.peer_closed |= received == 0;
        Ok(received > 0)
    }

    /// ureq asks twice for each exchange: when it returns the connection to its pool, right after the last read, and
    /// when it takes it out again. Only the second call needs to look at the socket.
    fn is_open(&mut self) -> bool {
        // With TLS, ureq does not see the rest in this input buffer; without TLS it has checked.
        let is_idle = self.unsent.is_empty()
            && self.buffers.input().is_empty()
            && self.tls_records.as_ref().is_none_or(TlsRecords::is_at_boundary);
        if self.peer_closed || self.peer_stopped_reading || self.failure.is_some() || !is_idle {
            return false;
        }
        if !self.was_asked {
            self.was_asked = true;
            return true;
        }
        // Unexpected bytes make a connection unusable, as an end does.
        matches!(self.socket.peek(&mut [0]), Err(error) if would_block(&error))
    }
}

/// Without the buffers, which hold the token.
impl fmt::Debug for SocketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketTransport").field("peer", &self.socket.peer_addr().ok()).finish_non_exhaustive()
    }
}
