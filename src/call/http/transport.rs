//! One connection, on a non-blocking socket and the process latch.
//!
//! What ureq writes is held back until it wants to read, or until there is a lot of it: head and body of a small
//! request leave in one system call, which halves the time of an exchange (probes.md 3). It is also what lets the
//! caller know, to the byte, whether anything of the request has left.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use ureq::Timeout;
use ureq::config::Config;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use crate::pg::interrupt::{self, Interrupted};
use crate::pg::wait::{Interest, SocketWait};
use crate::pg::wait_event::WaitEvent;

use super::tls_records::TlsRecords;
use super::{TransportError, progress};

/// Above this much, output is sent at once. A small request stays below it, a large one gains nothing from waiting.
const HOLD_BACK_BYTES: usize = 64 * 1024;

/// The kind of a failure, to fail with again.
#[derive(Clone, Copy)]
enum FailureKind {
    TimedOut,
    Interrupted,
    Failed,
}

impl From<&TransportError> for FailureKind {
    fn from(broken: &TransportError) -> Self {
        match broken {
            TransportError::TimedOut => FailureKind::TimedOut,
            TransportError::Interrupted(_) => FailureKind::Interrupted,
            TransportError::Failed(_) => FailureKind::Failed,
        }
    }
}

impl From<FailureKind> for TransportError {
    fn from(why: FailureKind) -> Self {
        match why {
            FailureKind::TimedOut => TransportError::TimedOut,
            FailureKind::Interrupted => TransportError::Interrupted(Interrupted),
            FailureKind::Failed => TransportError::Failed("the connection is broken".to_owned()),
        }
    }
}

pub struct LatchTransport {
    // Before the socket: it is dropped first, while the descriptor it watches is still open.
    wait: SocketWait,
    socket: TcpStream,
    buffers: LazyBuffers,
    held: Vec<u8>,
    /// Of what has come, if it is for TLS.
    tls_records: Option<TlsRecords>,
    /// The peer has closed its side.
    ended: bool,
    /// The peer has stopped reading; it may have said why before it did.
    peer_stopped_reading: bool,
    /// Nothing works any more. rustls drops what a write fails with and writes again: then it must fail again, and for
    /// the same reason, and nothing may be sent twice.
    broken: Option<FailureKind>,
    /// Whether ureq has asked since the last read if the connection is open.
    was_asked: bool,
}

impl LatchTransport {
    pub fn new(socket: TcpStream, wait: SocketWait, is_for_tls: bool, config: &Config) -> Self {
        LatchTransport {
            wait,
            socket,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            held: Vec::new(),
            tls_records: is_for_tls.then(TlsRecords::default),
            ended: false,
            peer_stopped_reading: false,
            broken: None,
            was_asked: false,
        }
    }

    /// Runs one step, unless an earlier one has failed.
    fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, TransportError>) -> Result<T, ureq::Error> {
        if let Some(why) = self.broken {
            return Err(TransportError::from(why).into());
        }
        step(self).map_err(|broken| {
            self.broken = Some(FailureKind::from(&broken));
            broken.into()
        })
    }

    /// Sends what is held back and then the first `amount` bytes of the output buffer.
    fn send(&mut self, amount: usize) -> Result<(), TransportError> {
        let mut sent = 0;
        let total = self.held.len() + amount;
        while sent < total && !self.peer_stopped_reading {
            check_deadline_and_interrupts()?;
            let output = &self.buffers.output()[..amount];
            let written = match self.held.get(sent..) {
                Some(held) if output.is_empty() => self.socket.write(held),
                Some(held) if !held.is_empty() => {
                    self.socket.write_vectored(&[IoSlice::new(held), IoSlice::new(output)])
                }
                _ => self.socket.write(&output[sent - self.held.len()..]),
            };
            match written {
                Ok(bytes) => {
                    sent += bytes;
                    progress::sent(bytes);
                }
                Err(error) if would_block(&error) => {
                    self.wait.wait(Interest::Writable, progress::deadline(), WaitEvent::Send)?;
                }
                // An API that refuses a large request may answer and close before it has read all of it. The answer is
                // worth more than the complaint that the rest was not taken: go on to read it.
                Err(error) if progress::was_sent() && is_closed(&error) => self.peer_stopped_reading = true,
                Err(error) => return Err(TransportError::Failed(error.to_string())),
            }
        }
        self.held.clear();
        Ok(())
    }

    /// Reads what there is into the input buffer, waiting for the first byte. 0 is the end of the stream.
    fn receive(&mut self) -> Result<usize, TransportError> {
        loop {
            check_deadline_and_interrupts()?;
            // The read comes before the wait: a fast reply is there already, and the wait is saved.
            match self.socket.read(self.buffers.input_append_buf()) {
                Ok(bytes) => {
                    self.buffers.input_appended(bytes);
                    if let Some(records) = &mut self.tls_records {
                        let input = self.buffers.input();
                        records.follow(&input[input.len() - bytes..]);
                    }
                    return Ok(bytes);
                }
                Err(error) if would_block(&error) => {
                    self.wait.wait(Interest::Readable, progress::deadline(), WaitEvent::Receive)?;
                }
                Err(error) => return Err(TransportError::Failed(error.to_string())),
            }
        }
    }
}

/// Whether the call may still take its time. A peer that always has something to say, or takes all that is sent, never
/// makes us wait, so the waits alone would notice neither a cancel nor the deadline.
fn check_deadline_and_interrupts() -> Result<(), TransportError> {
    interrupt::check()?;
    if Instant::now() < progress::deadline() { Ok(()) } else { Err(TransportError::TimedOut) }
}

fn would_block(error: &io::Error) -> bool {
    // A signal interrupts nothing that cannot be done again; the wait looks at what it was about.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Transport for LatchTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        if self.held.len() + amount > HOLD_BACK_BYTES {
            return self.step(|connection| connection.send(amount));
        }
        let output = &self.buffers.output()[..amount];
        self.held.extend_from_slice(output);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        self.was_asked = false;
        let received = self.step(|connection| {
            connection.send(0)?;
            connection.receive()
        })?;
        self.ended |= received == 0;
        Ok(received > 0)
    }

    /// ureq asks twice for each exchange: when it puts the connection into its pool, right after the last read, and
    /// when it takes it out. Only the second time can the answer have changed.
    fn is_open(&mut self) -> bool {
        // Below TLS, ureq does not see what is left in this input buffer; above it, it has looked.
        let is_idle = self.held.is_empty()
            && self.buffers.input().is_empty()
            && self.tls_records.as_ref().is_none_or(TlsRecords::is_between);
        if self.ended || self.peer_stopped_reading || self.broken.is_some() || !is_idle {
            return false;
        }
        if !self.was_asked {
            self.was_asked = true;
            return true;
        }
        // Bytes that nobody asked for are as bad as an end.
        matches!(self.socket.peek(&mut [0]), Err(error) if would_block(&error))
    }
}

/// The buffers hold the token; nothing of them is shown.
impl fmt::Debug for LatchTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchTransport").field("peer", &self.socket.peer_addr().ok()).finish_non_exhaustive()
    }
}

impl From<TransportError> for ureq::Error {
    fn from(broken: TransportError) -> Self {
        match broken {
            TransportError::TimedOut => ureq::Error::Timeout(Timeout::Global),
            other => ureq::Error::Other(Box::new(other)),
        }
    }
}
