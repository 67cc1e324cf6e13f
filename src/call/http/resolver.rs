//! From a host and a port to addresses, without ever making a wait that cannot be cancelled.
//!
//! getaddrinfo blocks and takes no latch, so it runs on a thread. A literal address and `localhost` need no look-up and
//! get no thread. ureq asks its resolver before it looks into its pool, on every call; it is given a stand-in, and the
//! connector looks the name up when it really makes a connection.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::pg::thread::spawn_without_signals;
use crate::pg::wait::{Interest, SocketWait, Unready};
use crate::pg::wait_event::WaitEvent;

/// How many look-ups may hang at once. A name server that does not answer keeps a thread for as long as getaddrinfo
/// tries; a statement that is cancelled and repeated must not collect them without end.
const MAX_HUNG_LOOKUPS: usize = 4;

/// The stand-in: the connector asks [`look_up`] itself.
#[derive(Debug)]
pub struct NoopResolver;

impl Resolver for NoopResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(addresses)
    }
}

type LookupResult = io::Result<Vec<SocketAddr>>;

/// A look-up on its thread. The thread closes its end of the pipe when the answer is there.
struct Lookup {
    host: String,
    port: u16,
    answer: Arc<Mutex<Option<LookupResult>>>,
    ended: UnixStream,
}

impl Lookup {
    /// The thread has not let go of its end. A thread that died has, too.
    fn is_under_way(&self) -> bool {
        let mut end = [0];
        matches!((&self.ended).read(&mut end), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

static LOOKUPS: Mutex<Vec<Lookup>> = Mutex::new(Vec::new());

/// The addresses of `host`, in the system's order of preference.
pub fn look_up(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, super::TransportError> {
    if let Some(known) = without_look_up(host, port) {
        return Ok(known);
    }
    let lookup = take_or_start(host, port)?;
    let mut wait = SocketWait::new(lookup.ended.as_fd(), Interest::Readable)?;
    match wait.wait(Interest::Readable, deadline, WaitEvent::Resolve) {
        Ok(()) => {}
        Err(unready) => {
            drop(wait);
            // The thread cannot be stopped: the next call for the same name joins it.
            LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner).push(lookup);
            return Err(match unready {
                Unready::TimedOut => super::TransportError::TimedOut,
                Unready::Interrupted(interrupted) => interrupted.into(),
            });
        }
    }
    let answer = lookup.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match answer {
        Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Some(Err(error)) => Err(super::TransportError::Failed(format!("could not look up \"{host}\": {error}"))),
        _ => Err(super::TransportError::Failed(format!("the look-up of \"{host}\" gave no address"))),
    }
}

/// The addresses that are plain from the name: a literal, or `localhost`, which is loopback whatever a resolver says.
fn without_look_up(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Some(vec![SocketAddr::from((address, port))]);
    }
    host.eq_ignore_ascii_case("localhost")
        .then(|| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))])
}

fn take_or_start(host: &str, port: u16) -> Result<Lookup, super::TransportError> {
    let mut lookups = LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner);
    // One that has ended meanwhile is an old answer, or an old error: it is asked for anew.
    lookups.retain(Lookup::is_under_way);
    if let Some(i) = lookups.iter().position(|p| p.host == host && p.port == port) {
        return Ok(lookups.swap_remove(i));
    }
    if lookups.len() >= MAX_HUNG_LOOKUPS {
        return Err(super::TransportError::Failed(format!(
            "could not look up \"{host}\": {MAX_HUNG_LOOKUPS} earlier look-ups still wait for the name server"
        )));
    }
    drop(lookups);
    start(host, port)
        .map_err(|error| super::TransportError::Failed(format!("could not begin to look up \"{host}\": {error}")))
}

fn start(host: &str, port: u16) -> io::Result<Lookup> {
    let (ended, end) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    let answer = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&answer);
    let name = host.to_owned();
    spawn_without_signals(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        drop(end);
    })?;
    Ok(Lookup { host: host.to_owned(), port, answer, ended })
}
