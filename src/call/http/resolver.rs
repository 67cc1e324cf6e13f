//! Name resolution that can be interrupted.
//!
//! getaddrinfo blocks and cannot wait for a latch, so it runs on a thread. A literal address and `localhost` need no
//! lookup and no thread. Requests that are sent on threads share the result of a lookup for a moment: many of them connect
//! at once.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::pg::socket::Interest;
use crate::pg::thread::spawn_without_signals;
use crate::pg::wait_event::WaitEvent;

use super::error::TransportError;
use super::wait::{Wait, WaitKind};

/// How many lookups may hang at once. Each one occupies a thread until getaddrinfo gives up. A statement that is
/// cancelled and repeated must not accumulate threads.
const MAX_HUNG_LOOKUPS: usize = 4;

/// Gives ureq a placeholder address. ureq resolves for every request, even if it then takes a connection from its pool;
/// the connector calls [`look_up`] when it opens a connection.
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

/// A lookup on its thread. The thread closes its end of the socket pair after it has stored the result.
struct Lookup {
    host: String,
    port: u16,
    result: Arc<Mutex<Option<LookupResult>>>,
    ended: UnixStream,
}

impl Lookup {
    /// Whether the thread still holds its end of the pair. A thread that panicked has closed it, too.
    fn is_running(&self) -> bool {
        let mut end = [0];
        matches!((&self.ended).read(&mut end), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Lookups whose callers gave up. The threads cannot be stopped: the next call for the same name joins its lookup.
static HUNG_LOOKUPS: Mutex<Vec<Lookup>> = Mutex::new(Vec::new());

/// The addresses of `host`, in the system's order of preference.
pub fn look_up(
    wait_kind: WaitKind,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, TransportError> {
    if let Some(known) = without_lookup(host, port) {
        return Ok(known);
    }
    match wait_kind {
        WaitKind::Latch => look_up_now(wait_kind, host, port, deadline),
        WaitKind::Poll => look_up_together(host, port, deadline),
    }
}

/// How long threads share the result of a lookup.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// The last lookup of a name and port, and when it ended. The lock is held during a lookup.
type SharedLookup = Arc<Mutex<Option<(Instant, Result<Vec<SocketAddr>, String>)>>>;

/// One lookup at a time for each name: the threads that connect meanwhile take its result.
fn look_up_together(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, TransportError> {
    static SHARED: LazyLock<Mutex<HashMap<(String, u16), SharedLookup>>> = LazyLock::new(Mutex::default);
    let entry = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shared.entry((host.to_owned(), port)).or_default())
    };
    let mut last = entry.lock().unwrap_or_else(PoisonError::into_inner);
    let result = match last.take().filter(|(ended, _)| ended.elapsed() < SHARED_FOR) {
        Some((ended, result)) => {
            *last = Some((ended, result.clone()));
            result
        }
        None => {
            let result = look_up_now(WaitKind::Poll, host, port, deadline).map_err(|error| error.to_string());
            *last = Some((Instant::now(), result.clone()));
            result
        }
    };
    result.map_err(TransportError::Failed)
}

fn look_up_now(
    wait_kind: WaitKind,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, TransportError> {
    let lookup = join_or_start(host, port)?;
    let mut wait = Wait::new(wait_kind, lookup.ended.as_fd(), Interest::Readable)?;
    if let Err(unready) = wait.wait(lookup.ended.as_fd(), Interest::Readable, deadline, WaitEvent::Resolve) {
        drop(wait);
        HUNG_LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner).push(lookup);
        return Err(unready);
    }
    let result = lookup.result.lock().unwrap_or_else(PoisonError::into_inner).take();
    match result {
        Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Some(Err(error)) => Err(TransportError::Failed(format!("could not look up \"{host}\": {error}"))),
        _ => Err(TransportError::Failed(format!("the lookup of \"{host}\" returned no address"))),
    }
}

/// The addresses of a literal, or of `localhost`, which is the loopback interface whatever a resolver says.
fn without_lookup(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Some(vec![SocketAddr::from((address, port))]);
    }
    host.eq_ignore_ascii_case("localhost")
        .then(|| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))])
}

fn join_or_start(host: &str, port: u16) -> Result<Lookup, TransportError> {
    let mut hung = HUNG_LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner);
    // A lookup that ended in the meantime has an old result.
    hung.retain(Lookup::is_running);
    if let Some(place) = hung.iter().position(|lookup| lookup.host == host && lookup.port == port) {
        return Ok(hung.swap_remove(place));
    }
    if hung.len() >= MAX_HUNG_LOOKUPS {
        return Err(TransportError::Failed(format!(
            "could not look up \"{host}\": {MAX_HUNG_LOOKUPS} earlier lookups still wait for the name server"
        )));
    }
    drop(hung);
    start(host, port)
        .map_err(|error| TransportError::Failed(format!("could not start a lookup of \"{host}\": {error}")))
}

fn start(host: &str, port: u16) -> io::Result<Lookup> {
    let (ended, end) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let name = host.to_owned();
    spawn_without_signals("sequin name look-up", move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
        drop(end);
    })?;
    Ok(Lookup { host: host.to_owned(), port, result, ended })
}
