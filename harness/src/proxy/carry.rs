//! The connections of a proxy: two pumps for each, and the harm that they do.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::fault::{Direction, Fault, Harm};

/// Long enough for a reader to get a single byte, short enough for a reply of some hundred.
const DRIP: Duration = Duration::from_micros(100);

/// Large enough to take a small message in one piece.
const BUFFER: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    stopping: bool,
    fault: Option<Fault>,
    pub(super) struck: bool,
    /// One for each direction.
    pub(super) traffic: [Traffic; 2],
    links: Vec<Arc<Link>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes: u64,
    pub(super) came: Vec<u8>,
    pub(super) went: Vec<u8>,
}

/// A client's connection and its continuation to the API.
#[derive(Debug)]
pub(super) struct Link {
    /// The write ends, in the order of the directions.
    sinks: [TcpStream; 2],
    flow: [Mutex<Flow>; 2],
    /// Further bytes are discarded.
    ended: AtomicBool,
}

/// The state of one direction of a link.
#[derive(Debug)]
enum Flow {
    Free,
    Dripping,
    Stalled(Vec<u8>),
}

/// The treatment of received bytes: pass these, then take this step.
struct Step {
    pass: Vec<u8>,
    then: Option<Harm>,
    rest: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Counts from now on.
    pub(super) fn arm(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.struck = false;
        for traffic in &mut self.traffic {
            traffic.came.clear();
            traffic.went.clear();
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn await_strike(&self, patience: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), patience, |state| !state.struck);
        waited.unwrap_or_else(PoisonError::into_inner).0.struck
    }

    pub(super) fn relent(&self) {
        let links = {
            let mut state = self.state();
            state.fault = None;
            state.links.clone()
        };
        for link in links {
            for direction in Direction::ALL {
                let mut flow = lock(&link.flow[direction as usize]);
                if let Flow::Stalled(held) = std::mem::replace(&mut *flow, Flow::Free) {
                    self.pass(&link, direction, &held);
                }
            }
        }
    }

    pub(super) fn hang_up(&self) {
        let links = self.state().links.clone();
        links.iter().for_each(|link| link.cut());
    }

    /// Ends all links, and refuses new ones.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.links.iter().for_each(|link| link.end(Shutdown::Both));
    }

    /// Continues `client` to the API. None if the API or the proxy is gone.
    pub(super) fn link(&self, client: &TcpStream, api: SocketAddr) -> Option<Arc<Link>> {
        let api = TcpStream::connect(api).ok()?;
        let client = client.try_clone().ok()?;
        // A dripped byte must be sent at once, without its neighbours.
        api.set_nodelay(true).and(client.set_nodelay(true)).ok()?;
        let flow = [Mutex::new(Flow::Free), Mutex::new(Flow::Free)];
        let link = Arc::new(Link { sinks: [api, client], flow, ended: AtomicBool::new(false) });
        let mut state = self.state();
        if state.stopping {
            return None;
        }
        state.links.push(link.clone());
        Some(link)
    }

    /// Runs until both directions have ended.
    pub(super) fn carry(&self, link: &Arc<Link>) {
        thread::scope(|scope| {
            for direction in Direction::ALL {
                scope.spawn(move || self.pump(link, direction));
            }
        });
        self.state().links.retain(|other| !Arc::ptr_eq(other, link));
    }

    fn pump(&self, link: &Link, direction: Direction) {
        let mut source = link.source(direction);
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = source.read(&mut buffer) {
            let mut flow = lock(&link.flow[direction as usize]);
            let step = self.step(link, direction, &buffer[..read]);
            self.treat(link, direction, &mut flow, &step.pass);
            match step.then {
                Some(Harm::Cut) => link.cut(),
                Some(Harm::Reset) => link.reset(),
                Some(Harm::Stall) => *flow = Flow::Stalled(Vec::new()),
                Some(Harm::Drip) => *flow = Flow::Dripping,
                Some(Harm::DuplicateByte | Harm::DuplicateRest | Harm::Corrupt(_)) | None => {}
            }
            if step.then == Some(Harm::Stall) {
                self.state().struck = true;
            }
            self.changed.notify_all();
            self.treat(link, direction, &mut flow, &step.rest);
        }
        // The end of one side is passed on, unless earlier bytes are held back: then both sides end.
        let is_stalled = matches!(*lock(&link.flow[direction as usize]), Flow::Stalled(_));
        if is_stalled {
            link.end(Shutdown::Both);
        } else if !link.has_ended() {
            // The other side may have closed.
            let _ = link.sinks[direction as usize].shutdown(Shutdown::Write);
        }
    }

    /// Counts the received bytes, and checks whether the fault is among them.
    fn step(&self, link: &Link, direction: Direction, came: &[u8]) -> Step {
        let mut state = self.state();
        // Checked under the lock: a test that ends the links and then arms a fault means the next connections.
        if link.has_ended() {
            return Step { pass: Vec::new(), then: None, rest: Vec::new() };
        }
        let traffic = &mut state.traffic[direction as usize];
        let before = traffic.came.len();
        traffic.bytes += came.len() as u64;
        traffic.came.extend_from_slice(came);
        let struck = state
            .fault
            .take_if(|fault| fault.direction == direction && (before..before + came.len()).contains(&fault.at));
        let Some(Fault { at, harm, .. }) = struck else {
            return Step { pass: came.to_vec(), then: None, rest: Vec::new() };
        };
        // A test that notices the harm may ask at once. A stall is counted as done when all bytes before it have
        // passed.
        state.struck = harm != Harm::Stall;
        let at = at - before;
        // Changed bytes leave in one piece, as they came.
        let whole = |pass| Step { pass, then: Some(harm), rest: Vec::new() };
        match harm {
            Harm::DuplicateByte => whole([&came[..=at], &came[at..]].concat()),
            Harm::DuplicateRest => whole([came, &came[at..]].concat()),
            Harm::Corrupt(bits) => {
                let mut changed = came.to_vec();
                changed[at] ^= bits;
                whole(changed)
            }
            _ => Step { pass: came[..at].to_vec(), then: Some(harm), rest: came[at..].to_vec() },
        }
    }

    fn treat(&self, link: &Link, direction: Direction, flow: &mut Flow, bytes: &[u8]) {
        match flow {
            Flow::Free => self.pass(link, direction, bytes),
            Flow::Dripping => {
                for byte in bytes {
                    if link.has_ended() {
                        break;
                    }
                    self.pass(link, direction, &[*byte]);
                    thread::sleep(DRIP);
                }
            }
            Flow::Stalled(held) => held.extend_from_slice(bytes),
        }
    }

    fn pass(&self, link: &Link, direction: Direction, bytes: &[u8]) {
        let mut state = self.state();
        if link.has_ended() {
            return;
        }
        // Counted first: the receiver may ask at once.
        state.traffic[direction as usize].went.extend_from_slice(bytes);
        drop(state);
        // A closed side gets nothing more; its own pump sees the end.
        let _ = (&link.sinks[direction as usize]).write_all(bytes);
    }
}

impl Link {
    fn source(&self, direction: Direction) -> &TcpStream {
        &self.sinks[1 - direction as usize]
    }

    /// An end in both directions. Further input is read: otherwise the kernel would send a reset.
    fn cut(&self) {
        self.end(Shutdown::Write);
    }

    /// The last handle sends an RST when it closes. Until then nothing is sent, not even an end.
    fn reset(&self) {
        for socket in &self.sinks {
            // It fails on a socket that has ended already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.end(Shutdown::Read);
    }

    fn end(&self, how: Shutdown) {
        self.ended.store(true, Ordering::SeqCst);
        for socket in &self.sinks {
            // A connection that has ended already is fine too.
            let _ = socket.shutdown(how);
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}
