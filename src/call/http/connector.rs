//! Making a connection: look-up, then each address in turn, all of it under one deadline and open to a cancel.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::pg::socket::begin_connect;
use crate::pg::wait::{Interest, SocketWait, Unready};
use crate::pg::wait_event::WaitEvent;

use super::transport::LatchTransport;
use super::{TransportError, progress, resolver};

/// The first of the chain: opens the socket. What ureq resolved is a stand-in and not looked at.
#[derive(Debug)]
pub struct LatchConnector;

impl Connector for LatchConnector {
    type Out = LatchTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<LatchTransport>, ureq::Error> {
        progress::connecting();
        let uri = details.uri;
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default_port = if details.needs_tls() { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);

        let deadline = progress::deadline();
        let addresses = resolver::look_up(host, port, deadline)?;
        let (socket, wait) = connect_to_any(&addresses, deadline)?;
        // The held-back output is sent in one piece; Nagle could only delay its last segment.
        socket.set_nodelay(true)?;
        Ok(Some(LatchTransport::new(socket, wait, details.needs_tls(), details.config)))
    }
}

/// The last of the chain, after TLS: from here on, what is written is the request.
#[derive(Debug)]
pub struct ReadyConnector;

impl<In: Transport> Connector<In> for ReadyConnector {
    type Out = Ready<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Ready<In>>, ureq::Error> {
        progress::connected();
        Ok(chained.map(Ready))
    }
}

/// A connection that remembers the reply's status: ureq's error about headers that it cannot read has none.
#[derive(Debug)]
pub struct Ready<In>(In);

impl<In: Transport> Transport for Ready<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let came = self.0.await_input(timeout)?;
        progress::came(self.0.buffers().input());
        Ok(came)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

/// The first address that answers. Each but the last may use half of the time that is left, so that a dead first
/// address leaves enough for the second.
fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> Result<(TcpStream, SocketWait), TransportError> {
    let mut failures = Vec::new();
    for (i, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let share = if i + 1 == addresses.len() { left } else { left / 2 };
        match connect_to(address, Instant::now() + share) {
            Ok(connection) => return Ok(connection),
            Err(TransportError::Interrupted(interrupted)) => return Err(interrupted.into()),
            Err(failure) => failures.push(format!("{address}: {}", describe(&failure, share))),
        }
    }
    Err(TransportError::Failed(failures.join(", ")))
}

fn describe(failure: &TransportError, share: Duration) -> String {
    match failure {
        TransportError::TimedOut => format!("no answer within {} ms", share.as_micros().div_ceil(1_000)),
        other => other.to_string(),
    }
}

fn connect_to(address: &SocketAddr, deadline: Instant) -> Result<(TcpStream, SocketWait), TransportError> {
    let socket = begin_connect(address).map_err(|error| TransportError::Failed(error.to_string()))?;
    let mut wait = SocketWait::new(socket.as_fd(), Interest::Writable)?;
    match wait.wait(Interest::Writable, deadline, WaitEvent::Connect) {
        Ok(()) => {}
        Err(Unready::TimedOut) => return Err(TransportError::TimedOut),
        Err(Unready::Interrupted(interrupted)) => return Err(interrupted.into()),
    }
    match socket.take_error() {
        Ok(None) => Ok((socket, wait)),
        Ok(Some(error)) | Err(error) => Err(TransportError::Failed(error.to_string())),
    }
}
