//! Opening a connection: the lookup, then one address after the other, under one deadline.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

use crate::pg::socket::{Interest, begin_connect};
use crate::pg::wait_event::WaitEvent;

use super::error::TransportError;
use super::transport::SocketTransport;
use super::wait::{Wait, WaitKind};
use super::{progress, resolver};

/// The first connector of the chain: opens the socket. It ignores the address that ureq passes, a placeholder.
#[derive(Debug)]
pub struct SocketConnector {
    pub wait_kind: WaitKind,
}

impl Connector for SocketConnector {
    type Out = SocketTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<SocketTransport>, ureq::Error> {
        progress::note_connecting();
        let uri = details.uri;
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default_port = if details.needs_tls() { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);

        let deadline = progress::deadline();
        let addresses = resolver::look_up(self.wait_kind, host, port, deadline)?;
        let (socket, wait) = connect_to_any(self.wait_kind, &addresses, deadline)?;
        // The transport sends buffered output in one piece. Nagle's algorithm could only delay the last segment.
        socket.set_nodelay(true)?;
        Ok(Some(SocketTransport::new(socket, wait, details.needs_tls(), details.config)))
    }
}

/// The last connector of the chain, after TLS. From here on, bytes that are written belong to the request.
#[derive(Debug)]
pub struct ReadyConnector;

impl<In: Transport> Connector<In> for ReadyConnector {
    type Out = ReadyTransport<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<ReadyTransport<In>>, ureq::Error> {
        progress::note_connected();
        Ok(chained.map(ReadyTransport))
    }
}

/// Notes the status of the reply, which ureq's error about invalid headers does not contain.
#[derive(Debug)]
pub struct ReadyTransport<In>(In);

impl<In: Transport> Transport for ReadyTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let has_received = self.0.await_input(timeout)?;
        progress::note_received(self.0.buffers().input());
        Ok(has_received)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

/// Connects to the first address that answers. Each address but the last may take half of the remaining time, so that
/// an unreachable first address leaves enough for the second.
fn connect_to_any(
    wait_kind: WaitKind,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(TcpStream, Wait), TransportError> {
    let mut failures = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            break;
        }
        let timeout = if place + 1 == addresses.len() { remaining } else { remaining / 2 };
        match connect_to(wait_kind, address, Instant::now() + timeout) {
            Ok(connection) => return Ok(connection),
            Err(TransportError::Interrupted(interrupted)) => return Err(interrupted.into()),
            Err(failure) => failures.push(format!("{address}: {}", describe(&failure, timeout))),
        }
    }
    Err(TransportError::Failed(failures.join(", ")))
}

fn describe(failure: &TransportError, timeout: Duration) -> String {
    match failure {
        TransportError::TimedOut => format!("no answer within {} ms", timeout.as_micros().div_ceil(1_000)),
        other => other.to_string(),
    }
}

fn connect_to(
    wait_kind: WaitKind,
    address: &SocketAddr,
    deadline: Instant,
) -> Result<(TcpStream, Wait), TransportError> {
    wait_kind.check()?;
    let socket = begin_connect(address).map_err(|error| TransportError::Failed(error.to_string()))?;
    let mut wait = Wait::new(wait_kind, socket.as_fd(), Interest::Writable)?;
    wait.wait(socket.as_fd(), Interest::Writable, deadline, WaitEvent::Connect)?;
    match socket.take_error() {
        Ok(None) => Ok((socket, wait)),
        Ok(Some(error)) | Err(error) => Err(TransportError::Failed(error.to_string())),
    }
}
